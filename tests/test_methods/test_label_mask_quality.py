"""Masks against a truth by hand: on objects, on the background, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts import IGNORED, WIDE_IGNORED
from perf.label_masks import claims, counted, quality


def test_masks_are_judged_on_objects_and_on_background_apart() -> None:
    truth = np.array([[1, 1, 1, 1, 2, 2, 0], [0, 0, 0, 0, 0, IGNORED, 2]], np.uint8)
    mask = np.array([[1, 1, 2, 0, 2, WIDE_IGNORED, 0], [0, 2, 2, 2, WIDE_IGNORED, 1, 2]], np.uint16)
    counts = counted(truth, mask, 2)
    assert counts.tolist() == [[2, 0, 3, 1], [1, 2, 1, 0], [0, 0, 2, 1]]
    found = quality(counts)
    assert found["of object pixels taught a class"] == pytest.approx(100 * 5 / 7)
    assert found["right of those"] == pytest.approx(100 * 4 / 5)
    assert found["mIoU of those"] == pytest.approx(100 * (2 / 3 + 2 / 3) / 2)
    assert found["of object pixels taught background"] == pytest.approx(100 / 7)
    assert found["of background taught a class"] == pytest.approx(50.0)
    assert found["mIoU with background"] == pytest.approx(100 * (2 / 6 + 2 / 4 + 2 / 6) / 3)
    assert claims(counts).tolist() == [0.0, 1.0]
