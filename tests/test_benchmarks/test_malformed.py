"""Every way in which a data set can be damaged gives one sentence of its own kind, and never a wrong class."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damages import Case
from malformed_pascal import PASCAL
from malformed_scenes import SCENES
from PIL import Image

from benchmarks.ade20k import ADE20K
from benchmarks.ade20k_full import ADE20KFull
from benchmarks.cityscapes import Cityscapes
from benchmarks.coco_object import COCOObject
from benchmarks.coco_stuff import COCOStuff
from benchmarks.faults import UnreadableFile
from benchmarks.foodpix import FoodPix
from benchmarks.foodseg import FoodSeg
from benchmarks.pascal_context import PascalContext
from benchmarks.pascal_context_full import PascalContextFull
from benchmarks.pascal_voc import PascalVOC
from benchmarks.pictures import Blob, decode
from harness.contracts import DataError

CASES = (*PASCAL, *SCENES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_damage_has_its_sentence(tmp_path: Path, rng: np.random.Generator, case: Case) -> None:
    benchmark = case.tree(tmp_path, rng)
    case.damage(tmp_path)
    with pytest.raises(DataError) as raised:
        benchmark.ids() if case.image_id is None else benchmark.load(case.image_id)
    message = str(raised.value)
    assert case.says in message
    assert raised.value.kind == case.kind
    assert "\n" not in message
    assert message.endswith(".")


def test_there_are_forty_kinds_of_damage() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("name", ["voc stray label", "mat truncated", "foodpix grey mask", "json short runs"])
def test_one_damaged_image_leaves_the_others_alone(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    benchmark = case.tree(tmp_path, rng)
    case.damage(tmp_path)
    broken = []
    for image_id in benchmark.ids():
        try:
            benchmark.load(image_id)
        except DataError:
            broken.append(image_id)
    assert broken == [case.image_id]
    assert len(benchmark.ids()) > 1


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"layout": "tif"}, "it has png, json, mat"),
        (
            {"layout": "png", "label_offset": 1},
            "has no label_order for layout png None; it has alphabetical, voc_first",
        ),
        ({"layout": "png", "label_order": "voc_first"}, "has no label_offset for layout png None; it has 0, 1"),
        ({"layout": "png", "label_order": "by hand", "label_offset": 1}, "'by hand'"),
        ({"layout": "png", "label_order": "voc_first", "label_offset": 2}, "it has 0, 1"),
        ({"layout": "mat", "label_order": "alphabetical"}, "numbers its labels itself"),
        ({"layout": "json", "label_offset": 0}, "numbers its labels itself"),
        ({"layout": "json", "split": "test"}, "it has train, val"),
    ],
)
def test_context_is_told_and_never_guesses(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match="Pascal Context") as raised:
        PascalContext(root="x", **settings)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "reader, settings",
    [
        (PascalVOC, {"masks": "SegmentationObject"}), (ADE20K, {"split": "val"}), (Cityscapes, {"split": "test"}),
        (Cityscapes, {"labels": "color"}), (FoodPix, {"split": "val"}), (FoodSeg, {"split": "validation"}),
        (FoodSeg, {"layout": "zip"}), (COCOStuff, {"split": "val"}), (COCOStuff, {"layout": "instance_train_ids"}),
        (COCOObject, {"split": "test2017"}), (COCOObject, {"layout": "label_train_ids"}),
        (ADE20KFull, {"layout": "reduced"}), (ADE20KFull, {"layout": "original", "split": "val"}),
        (PascalContextFull, {"layout": "json"}), (PascalContextFull, {"layout": "mat", "split": "trainval"}),
    ],
)  # fmt: skip
def test_settings_that_no_data_set_has(reader: type, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has no .*; it has "):
        reader(root="x", **settings)


def test_a_picture_cut_anywhere_within_its_header_is_told_as_truncated(rng: np.random.Generator) -> None:
    for kind, start in (("JPEG", 3), ("PNG", 8)):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (37, 52, 3), dtype=np.uint8)).save(stream, kind)
        for size in range(start, 700):
            with pytest.raises(UnreadableFile, match=r"is truncated or damaged\.$"):
                decode(Blob(stream.getvalue()[:size], "picture"), (kind,))
