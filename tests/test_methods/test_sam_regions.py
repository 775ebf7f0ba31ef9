"""Regions that a SAM, the first or the second, finds by itself: beside the library, in CorrCLIP, and as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from published import write_dino, write_sam
from small_sam2 import SIDE, write_sam2

from harness.contracts import ModelError, Query, Recipe, Vocabulary
from harness.recipes.loading import build
from methods.corrclip import CorrCLIP
from methods.sam import Sam, Sam2
from methods.sam.passes import ATTENTION, REGIONS, RegionsPass, SamPass
from methods.sam.regions import found_regions
from methods.sam.second import open_sam2
from methods.store_regions import main

ALL: dict[str, Any] = {"least_iou": -9.0, "least_stability": 0.0}


def test_masks_of_a_sam_2_are_those_of_the_library(tmp_path: Path, rng: np.random.Generator) -> None:
    """Pixels by the library's own processor, prompts one by one, and its own way back to the image."""
    from transformers import Sam2ImageProcessor

    network = open_sam2(str(write_sam2(tmp_path)), None, "float32")
    image = rng.integers(0, 256, (37, 61, 3), dtype=np.uint8)
    points = torch.tensor([[5.0, 60.0], [40.5, 12.25], [33.0, 33.0]])
    processor = Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    shown = network.shown(image)
    sure, logits = network.decoded(shown, points)
    large = network.enlarged(logits, shown, (37, 61))
    for place, point in enumerate(points):
        with torch.no_grad():
            left = network.model(pixels, input_points=point[None, None, None], multimask_output=False)
        (wanted,) = processor.post_process_masks(left.pred_masks, [(37, 61)], binarize=False)
        # The library brings pixels to the square in another filter's rounding: a grey level, here and there.
        np.testing.assert_allclose(large[place].numpy(), wanted[0, 0].numpy(), rtol=0, atol=2e-2)
        assert float(sure[place]) == pytest.approx(float(left.iou_scores[0, 0, 0]), abs=1e-2)


def one_by_one(network: Any, image: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """What is thought of the mask of every point alone, and its logits at the image's size."""
    shown, found = network.shown(image), []
    for row in range(3):
        for column in range(3):
            point = torch.tensor([[(column + 0.5) / 3 * SIDE, (row + 0.5) / 3 * SIDE]])
            sure, logits = network.decoded(shown, point)
            found.append((float(sure), network.enlarged(logits, shown, image.shape[:2])[0].numpy()))
    return found


def clear(found: list[tuple[float, np.ndarray]]) -> bool:
    """Whether rounding, which points in company do otherwise by some 1e-5, decides nothing: no pixel and no order."""
    near = min(np.abs(logits - edge).min() for _, logits in found for edge in (-1, 0, 1))
    return near > 1e-4 and float(np.diff(sorted(sure for sure, _ in found)).min()) > 1e-6


def test_regions_by_a_plain_loop(tmp_path: Path, rng: np.random.Generator) -> None:
    """Every point alone; stability, thresholds, boxes and the order of painting once more."""
    network = open_sam2(str(write_sam2(tmp_path)), None, "float32")
    drawn = (rng.integers(0, 256, (40, 26, 3), dtype=np.uint8) for _ in range(100))
    image, alone = next((image, alone) for image in drawn if clear(alone := one_by_one(network, image)))
    found = [(sure, float((large > 1).sum() / max((large > -1).sum(), 1)), large > 0) for sure, large in alone]
    least = float(np.median([steady for _, steady, mask in found if mask.any()]))
    asked = RegionsPass(Recipe.of("methods.sam:Sam2"), 3, least_iou=-9.0, least_stability=round(least, 3) - 1e-3)
    held = [(sure, mask) for sure, steady, mask in found if mask.any() and steady >= asked.least_stability]
    kept: list[np.ndarray] = []
    for _, mask in sorted(held, key=lambda one: -one[0]):
        if all(boxes_overlap(mask, other) <= 0.7 for other in kept):
            kept.append(mask)
    wanted = np.zeros((40, 26), int)
    for number, mask in enumerate(sorted(kept, key=np.count_nonzero), start=1):
        wanted[mask] = number
    assert kept and (found_regions(network, image, asked) == wanted).all()


def boxes_overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of the boxes around two masks, counted in pixels."""
    filled = []
    for mask in (one, other):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = np.zeros(mask.shape, bool)
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        filled.append(box)
    return float((filled[0] & filled[1]).sum() / (filled[0] | filled[1]).sum())


def test_a_sam_2_gives_regions_alone_and_a_sam_is_none(tmp_path: Path) -> None:
    folder = write_sam2(tmp_path / "sam2")
    asked = SamPass(Recipe.of("methods.sam:Sam2"))
    with pytest.raises(ModelError, match="A SAM 2 serves regions, and SamPass was asked"):
        list(Sam2(str(folder)).run([], {asked: ATTENTION}))
    with pytest.raises(ModelError, match="was asked for a sam2 model and holds sam"):
        Sam2(str(write_sam(tmp_path / "sam"))).fingerprint()
    held = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**held, "model_type": "sam2_video"}))  # as on the hub
    assert Sam2(str(folder)).network.side == SIDE


def test_corrclip_asks_either_and_its_id_is_what_it_was() -> None:
    assert CorrCLIP().regions_pass.backbone.use == "methods.sam:Sam" and "sam_version" in CorrCLIP().idle
    second = CorrCLIP(sam="facebook/sam2-hiera-large", sam_version=2)
    assert second.regions_pass.backbone.use == "methods.sam:Sam2" and "sam_version" not in second.idle
    with pytest.raises(ValueError, match="sam_version is 3; give 1 for a SamModel, 2 for a Sam2Model"):
        CorrCLIP(sam_version=3)


def pictures(folder: Path, rng: np.random.Generator) -> None:
    for name, size in (("one.png", (37, 61)), ("below/two.jpg", (40, 52))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / name)


@pytest.mark.parametrize("version", [1, 2])
def test_stored_regions_are_those_that_corrclip_would_find(
    version: int, tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "images", rng)
    sam = str(write_sam(tmp_path / "sam") if version == 1 else write_sam2(tmp_path / "sam"))
    words = [str(tmp_path / "images"), "--out", str(tmp_path / "maps"), "--sam", sam, "--sam-version", str(version),
             "--points", "3", "--least-iou", "-9", "--least-stability", "0"]  # fmt: skip
    assert main(words) == 0 and "2 maps of regions are in" in capsys.readouterr().out
    network = (Sam, Sam2)[version - 1](sam).network
    dino = str(write_dino(tmp_path / "dino", 8, 56))
    method = CorrCLIP(dino=dino, regions=tmp_path / "maps")
    assert method.unanswered(["one", "below/two", "three"]) == ["three"]
    for name in ("one.png", "below/two.jpg"):
        image = np.asarray(Image.open(tmp_path / "images" / name))
        query = Query(name.split(".")[0], image, Vocabulary(()))
        asked = method.regions_pass
        ((_, (found,)),) = build(asked.backbone).run([query], {asked: REGIONS})
        wanted = found_regions(network, image, RegionsPass(asked.backbone, 3, **ALL))
        assert found.max() > 0 and (found == wanted).all()


def test_storing_goes_on_where_it_was_and_mixes_nothing(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "images", rng)
    sam, out = str(write_sam2(tmp_path / "sam")), tmp_path / "maps"
    words = [str(tmp_path / "images"), "--out", str(out), "--sam", sam, "--sam-version", "2", "--points", "2"]
    (tmp_path / "images/three.png").write_bytes(b"no picture")
    assert main(words) == 3
    assert "three.png cannot be read" in capsys.readouterr().err
    (out / "below/two.png").unlink()
    kept = (out / "one.png").stat().st_mtime_ns
    (tmp_path / "images/three.png").unlink()
    assert main(words) == 0 and (out / "below/two.png").exists() and (out / "one.png").stat().st_mtime_ns == kept
    for changed, said in (
        ([*words[:-1], "3"], "holds regions that were made otherwise"),
        ([*words[:2], str(tmp_path / "images"), *words[3:]], "holds files that are none of this command's"),
        ([str(tmp_path / "nowhere"), *words[1:]], "There is no folder"),
        ([str(tmp_path / "sam"), *words[1:]], "There is no image in"),
    ):
        assert main(changed) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "images/one.jpg").write_bytes((tmp_path / "images/below/two.jpg").read_bytes())
    assert main(words) == 2 and "would have one map" in capsys.readouterr().err
