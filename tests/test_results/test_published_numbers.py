"""Areas and numbers of ten small data sets against those that mmseg's IoUMetric gives."""

from __future__ import annotations

import numpy as np
import pytest
from published import arrays

from harness.contracts import WIDE_IGNORED
from harness.work.scoring import overlaps
from results.counts import estimators
from results.counts.estimators import ClassCounts


@pytest.mark.parametrize("case", range(10))
def test_counts_and_numbers_are_mmsegs(case: int) -> None:
    held = arrays("mmseg_iou")
    classes, found = int(held[f"classes{case}"]), []
    for image in range(int(held[f"images{case}"])):
        truth, given = (held[f"{kind}{case}_{image}"].astype(np.uint16) + 1 for kind in ("truth", "pred"))
        found.append(overlaps(np.where(truth == 256, np.uint16(WIDE_IGNORED), truth), given))
    together = [np.concatenate([getattr(one, part) for one in found]) for part in ("true", "predicted", "pixels")]
    counts = ClassCounts.of(*together, first=1, last=classes)
    areas = np.stack([counts.intersection, counts.union, counts.predicted, counts.labelled])
    assert np.array_equal(areas, held[f"areas{case}"].astype(np.int64))
    close = {"rtol": 1e-6, "atol": 1e-7, "equal_nan": True}
    np.testing.assert_allclose(estimators.class_iou(counts), held[f"IoU{case}"], **close)
    np.testing.assert_allclose(estimators.class_dice(counts), held[f"Dice{case}"], **close)
    np.testing.assert_allclose(estimators.class_f_score(counts), held[f"Fscore{case}"], **close)
    np.testing.assert_allclose(estimators.ratio(counts.intersection, counts.labelled), held[f"Acc{case}"], **close)
    assert estimators.pixel_accuracy(counts) == pytest.approx(float(held[f"aAcc{case}"]), abs=1e-7)
    assert estimators.miou(counts) == pytest.approx(float(np.nanmean(held[f"IoU{case}"])), abs=1e-7)
