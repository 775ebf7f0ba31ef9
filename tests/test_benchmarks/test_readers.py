"""Every reader gives back, image by image, the labels that were drawn, in every layout its data set comes in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image
from sklearn.metrics import confusion_matrix

from benchmarks.ade20k import ADE20K
from benchmarks.ade20k_full import ADE20KFull
from benchmarks.cityscapes import Cityscapes
from benchmarks.classnames import catalogue
from benchmarks.coco_object import COCOObject
from benchmarks.coco_stuff import COCOStuff
from benchmarks.dataset import DataSet
from benchmarks.foodpix import FoodPix
from benchmarks.foodseg import FoodSeg
from benchmarks.masks import read_labels
from benchmarks.pascal_context import PascalContext
from benchmarks.pascal_context_full import PascalContextFull
from benchmarks.pascal_voc import PascalVOC
from benchmarks.pictures import read_blob
from harness.contracts import Benchmark, Sample, widened
from harness.work.scoring import overlaps

# label ids 0 to 33 of the official table, written out again: the train id, or 255
CITY_TRAIN_IDS = (
    255, 255, 255, 255, 255, 255, 255, 0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14,
    15, 255, 255, 16, 17, 18,
)  # fmt: skip
SAME_WITH_BACKGROUND = {value: value for value in range(256)}


def check(benchmark: DataSet, drawn: trees.Drawn, meaning: Mapping[int, int]) -> None:
    """Ids, images and truths are those that were drawn; images as another decoder call gives them."""
    assert isinstance(benchmark, Benchmark)
    assert list(benchmark.ids()) == sorted(drawn)
    for image_id in benchmark.ids():
        raw, path = drawn[image_id]
        sample = benchmark.load(image_id)
        np.testing.assert_array_equal(sample.truth, trees.translated(raw, meaning))
        assert sample.image_id == image_id
        assert (sample.truth.dtype, sample.image.dtype) == (
            np.uint8 if len(benchmark.classes) < 255 else np.uint16,
            np.uint8,
        )
        assert sample.image.shape == (*raw.shape, 3)
        assert raw.shape[0] != raw.shape[1]
        expected = np.asarray(Image.open(path).convert("RGB"))
        if expected.shape != sample.image.shape:
            expected = np.rot90(expected, k=-1)  # EXIF orientation 6: stored a quarter turn too far to the left
        np.testing.assert_array_equal(sample.image, expected)
        count_as_scikit_learn_does(sample, trees.translated(raw, meaning), len(benchmark.classes))


def count_as_scikit_learn_does(sample: Sample, drawn: np.ndarray, classes: int) -> None:
    """Of a predicted map that follows the image: what is stored of it, against the truth as it was drawn."""
    shade = (sample.image.astype(int).sum(axis=2) % classes + 1).astype(np.uint16)
    found = overlaps(widened(sample.truth), shade)
    scored = drawn != (65535 if sample.truth.dtype == np.uint16 else 255)
    labels, matrix = np.arange(classes + 1), np.zeros((classes + 1, classes + 1), np.int64)
    matrix[found.true, found.predicted] = found.pixels
    np.testing.assert_array_equal(matrix, confusion_matrix(drawn[scored], shade[scored], labels=labels))


@pytest.mark.parametrize(("split", "masks"), [("val", "SegmentationClass"), ("trainaug", "SegmentationClassAug")])
@pytest.mark.parametrize("inside", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_pascal_voc(tmp_path: Path, rng: np.random.Generator, split: str, masks: str, inside: str) -> None:
    drawn = trees.write_voc(tmp_path, rng, masks)
    assert any((raw == 255).any() for raw, _ in drawn.values())
    check(PascalVOC(root=str(tmp_path / inside), split=split, masks=masks), drawn, SAME_WITH_BACKGROUND)


def alphabetical(order: tuple[str, ...], first: int) -> dict[int, int]:
    """Raw value -> position in the sorted names plus 1, for names in some order from `first` on."""
    names = sorted(order)
    return {first + index: names.index(name) + 1 for index, name in enumerate(order)}


@pytest.mark.parametrize("label_order", ["alphabetical", "voc_first"])
@pytest.mark.parametrize("label_offset", [0, 1])
def test_pascal_context_png(tmp_path: Path, rng: np.random.Generator, label_order: str, label_offset: int) -> None:
    facts = catalogue("pascal_context")
    order = facts.classes if label_order == "alphabetical" else facts.facts["voc_first"]
    meaning = {**alphabetical(order, label_offset), 255: 255, **({0: 0} if label_offset else {})}
    folder = "SegmentationClassContext" if label_offset else "annotations_detectron2/pc59_val"
    drawn = trees.write_context_png(tmp_path, rng, sorted(meaning), folder, ovseg=not label_offset)
    settings = {"layout": "png", "label_order": label_order, "label_offset": label_offset, "masks": folder}
    check(PascalContext(root=str(tmp_path), **settings), drawn, meaning)


def numbers_of_459(rng: np.random.Generator) -> tuple[list[int], dict[int, int]]:
    """All kept numbers, 0 and some others, and what they mean: place in the sorted kept numbers, others background."""
    kept = sorted(catalogue("pascal_context").facts["numbers_of_459"])
    others = rng.choice([n for n in range(1, 460) if n not in kept], size=9, replace=False).tolist()
    meaning = {0: 0, **dict.fromkeys(others, 0), **{number: index + 1 for index, number in enumerate(kept)}}
    return [0, *others, *kept], meaning


def test_pascal_context_mat(tmp_path: Path, rng: np.random.Generator) -> None:
    values, meaning = numbers_of_459(rng)
    drawn = trees.write_context_mat(tmp_path, rng, values)
    assert max(int(raw.max()) for raw, _ in drawn.values()) > 255
    check(PascalContext(root=str(tmp_path), layout="mat"), drawn, meaning)


@pytest.mark.parametrize("text", [True, False])
def test_pascal_context_json(tmp_path: Path, rng: np.random.Generator, text: bool) -> None:
    values, meaning = numbers_of_459(rng)
    drawn = trees.write_context_json(tmp_path, rng, values, text)
    check(PascalContext(root=str(tmp_path), layout="json"), drawn, meaning)
    assert len(PascalContext(root=str(tmp_path), layout="json", split="train").ids()) == 1


def test_ade20k(tmp_path: Path, rng: np.random.Generator) -> None:
    drawn = trees.write_ade(tmp_path, rng)
    check(ADE20K(root=str(tmp_path)), drawn, {**SAME_WITH_BACKGROUND, 0: 255})


@pytest.mark.parametrize("labels", ["any", "labelIds"])
def test_cityscapes_label_ids(tmp_path: Path, rng: np.random.Generator, labels: str) -> None:
    drawn = trees.write_cityscapes(tmp_path, rng, "labelIds", range(34))
    meaning = {label: 255 if train == 255 else train + 1 for label, train in enumerate(CITY_TRAIN_IDS)}
    check(Cityscapes(root=str(tmp_path), labels=labels), drawn, meaning)


@pytest.mark.parametrize("labels", ["any", "labelTrainIds"])
def test_cityscapes_train_ids(tmp_path: Path, rng: np.random.Generator, labels: str) -> None:
    drawn = trees.write_cityscapes(tmp_path, rng, "labelTrainIds", [*range(19), 255])
    check(Cityscapes(root=str(tmp_path), labels=labels), drawn, {255: 255, **{i: i + 1 for i in range(19)}})


def test_cityscapes_takes_each_file_by_its_suffix(tmp_path: Path, rng: np.random.Generator) -> None:
    """Both kinds lie there and disagree: the suffix decides, and the manifest tells which kind was read."""
    trees.write_cityscapes(tmp_path, rng, "labelIds", range(34))
    drawn = trees.write_cityscapes(tmp_path, rng, "labelTrainIds", [*range(19), 255])
    check(Cityscapes(root=str(tmp_path)), drawn, {255: 255, **{i: i + 1 for i in range(19)}})
    by_label_id = Cityscapes(root=str(tmp_path), labels="labelIds")
    assert by_label_id.fingerprint() != Cityscapes(root=str(tmp_path)).fingerprint()


@pytest.mark.parametrize(
    "folders",
    [
        "UECFOODPIXCOMPLETE/data/UECFoodPIXCOMPLETE", "data/UECFOODPIXCOMPLETE", "UECFoodPIXCOMPLETE",
        "UECFOODPIXCOMPLETE/uecfoodpixcomplete",
    ],
)  # fmt: skip
def test_foodpix(tmp_path: Path, rng: np.random.Generator, folders: str) -> None:
    drawn = trees.write_foodpix(tmp_path, rng, folders)
    check(FoodPix(root=str(tmp_path)), drawn, SAME_WITH_BACKGROUND)


def test_foodseg_folders(tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    drawn = trees.write_foodseg(tmp_path, rng)
    check(FoodSeg(root=str(tmp_path)), drawn, SAME_WITH_BACKGROUND)
    assert "1 names are listed and have no files: 00009999" in caplog.text
    assert "turned by its EXIF orientation 6" in caplog.text
    assert "calls class" not in caplog.text


def test_foodseg_parquet(tmp_path: Path, rng: np.random.Generator) -> None:
    drawn = trees.write_foodseg_parquet(tmp_path, rng)
    check(FoodSeg(root=str(tmp_path), layout="parquet"), drawn, SAME_WITH_BACKGROUND)
    check(FoodSeg(root=str(tmp_path / "data"), layout="parquet"), drawn, SAME_WITH_BACKGROUND)


# numbers 0 to 181 of COCO-Stuff's list, minus 1, that are no class
COCO_HOLES = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
COCO_RAWS = [raw for raw in range(182) if raw not in COCO_HOLES]


def test_coco_stuff_and_object_in_a_folder_that_holds_three_pngs_an_image(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    drawn = trees.write_coco(tmp_path / "coco", rng, {
        "": [*COCO_RAWS, 255], "_labelTrainIds": [*range(171), 255], "_instanceTrainIds": range(81),
        "detectron2": [*range(171), 255],
    })  # fmt: skip
    for root in (tmp_path, tmp_path / "coco"):
        ranked = {raw: rank + 1 for rank, raw in enumerate(COCO_RAWS)} | {255: 255}
        check(COCOStuff(root=str(root)), drawn[""], ranked)
        indices = {index: index + 1 for index in range(171)} | {255: 255}
        check(COCOStuff(root=str(root), layout="label_train_ids"), drawn["_labelTrainIds"], indices)
        check(COCOStuff(root=str(root), layout="detectron2"), drawn["detectron2"], indices)
        for scored, rest in ((True, 0), (False, 255)):
            things = {raw: rank + 1 if raw < 90 else rest for rank, raw in enumerate(COCO_RAWS)} | {255: rest}
            check(COCOObject(root=str(root), background=scored), drawn[""], things)
            plain = {0: rest, **{number: number for number in range(1, 81)}}
            check(COCOObject(root=str(root), layout="instance_train_ids", background=scored),
                  drawn["_instanceTrainIds"], plain)  # fmt: skip
    assert sum(raw < 90 for raw in COCO_RAWS) == 80 and len(COCO_RAWS) == 171


def test_coco_as_the_archives_unpack(tmp_path: Path, rng: np.random.Generator) -> None:
    drawn = trees.write_coco(tmp_path, rng, {"": [*COCO_RAWS, 255]})
    (tmp_path / "images/val2017").rename(tmp_path / "val2017")
    (tmp_path / "annotations").rename(tmp_path / "stuffthingmaps")
    moved = {key: (labels, tmp_path / "val2017" / path.name) for key, (labels, path) in drawn[""].items()}
    check(COCOStuff(root=str(tmp_path)), moved, {raw: rank + 1 for rank, raw in enumerate(COCO_RAWS)} | {255: 255})


def test_ade20k_full_in_both_forms(tmp_path: Path, rng: np.random.Generator) -> None:
    numbers = catalogue("ade20k_full").facts["ade_id_of_index"]
    drawn = trees.write_ade_full(tmp_path, rng, numbers)
    original = {number: 65535 for number in range(3200)} | {number: place + 1 for place, number in enumerate(numbers)}
    check(ADE20KFull(root=str(tmp_path), layout="original"), drawn["original"], original)
    converted = {0: 1, 255: 256, 300: 301, 846: 847, 65535: 65535}
    check(ADE20KFull(root=str(tmp_path / "ADE20K_2021_17_01"), layout="converted"), drawn["converted"], converted)


def test_pascal_context_full_in_both_forms(tmp_path: Path, rng: np.random.Generator) -> None:
    values = [0, 1, 255, 256, 300, 459]
    drawn = trees.write_context_mat(tmp_path / "a", rng, values)
    meaning = {0: 65535, **{number: number for number in range(1, 460)}}
    check(PascalContextFull(root=str(tmp_path / "a"), layout="mat"), drawn, meaning)
    drawn = trees.write_context_tif(tmp_path / "b", rng, [0, 255, 300, 458, 65535])
    meaning = {65535: 65535, **{index: index + 1 for index in range(459)}}
    check(PascalContextFull(root=str(tmp_path / "b"), layout="converted"), drawn, meaning)


def test_another_edition_of_the_names_is_told(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    trees.write_foodseg(tmp_path, rng, names=("candy", "popcorn"))
    FoodSeg(root=str(tmp_path)).ids()
    assert "calls class 2 'popcorn'; here it is 'egg tart'" in caplog.text


def test_a_foreign_palette_is_told(tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture) -> None:
    trees.write_voc(tmp_path, rng)
    benchmark = PascalVOC(root=str(tmp_path))
    first, second = benchmark.ids()[:2]
    benchmark.load(first)
    assert not caplog.records
    path = tmp_path / "VOCdevkit/VOC2012/SegmentationClass" / f"{second}.png"
    foreign = [*trees.voc_colours()[:3], *trees.voc_colours()[6:], 0, 0, 0]
    trees.save_palette(path, np.asarray(Image.open(path)), foreign)
    benchmark.load(second)
    assert f"{path} paints class" in caplog.text


def test_junk_in_green_and_blue_is_told(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    trees.write_foodpix(tmp_path, rng)
    path = tmp_path / "data/UECFoodPIXCOMPLETE/test/mask/12.png"
    mask = np.array(Image.open(path))
    mask[0, :5] = 0, 9, 0
    trees.save_grey(path, mask)
    sample = FoodPix(root=str(tmp_path)).load("12")
    assert f"{path}: 5 pixels are 0 in red" in caplog.text
    assert not sample.truth[0, :5].any()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_small_palettes_keep_their_indices(tmp_path: Path, rng: np.random.Generator, bits: int) -> None:
    """Palette PNGs of 1, 2 and 4 bits are decoded to their indices, not stretched."""
    labels = trees.draw_labels(rng, (23, 31), range(1 << bits)).astype(np.uint8)
    mask = Image.fromarray(labels)
    mask.putpalette(trees.voc_colours())
    mask.save(tmp_path / "mask.png", bits=bits)
    np.testing.assert_array_equal(read_labels(read_blob(tmp_path / "mask.png", "a mask")), labels)


def test_fingerprint_follows_the_files(tmp_path: Path, rng: np.random.Generator) -> None:
    drawn = trees.write_voc(tmp_path, rng)
    before = PascalVOC(root=str(tmp_path)).fingerprint()
    assert before == PascalVOC(root=str(tmp_path / "VOCdevkit")).fingerprint()
    path = next(iter(drawn.values()))[1]
    path.write_bytes(path.read_bytes() + b"\0")
    after = PascalVOC(root=str(tmp_path)).fingerprint()
    assert after != before
    path.unlink()
    assert PascalVOC(root=str(tmp_path)).fingerprint() not in (before, after)


def test_expected_images() -> None:
    splits = {
        (PascalVOC(root="x"), 1449), (PascalVOC(root="x", split="train"), 1464),
        (PascalVOC(root="x", split="trainaug"), 10582), (ADE20K(root="x"), 2000),
        (PascalContext(root="x", layout="mat"), 5104), (Cityscapes(root="x"), 500), (FoodPix(root="x"), 1000),
        (FoodSeg(root="x"), 2135), (FoodSeg(root="x", split="train"), 4983), (PascalVOC(root="x", split="mine"), None),
        (COCOStuff(root="x"), 5000), (COCOStuff(root="x", split="train2017"), 118287), (COCOObject(root="x"), 5000),
        (ADE20KFull(root="x", layout="original"), 2000),
        (ADE20KFull(root="x", split="training", layout="original"), None),
        (PascalContextFull(root="x", layout="mat"), 5104),
    }  # fmt: skip
    for benchmark, count in splits:
        assert benchmark.expected_images == count
    assert PascalContext(root="x", layout="mat").accepted_images == (5105,)
