"""The Shapes world: pure, exact, never square, and the same as a VOC tree as it is in memory."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.shapes import Shapes
from benchmarks.shapes_world import CLASSES, draw_scene, mark_border

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "9b661d1955a87044"
MIXED = "57bad0df6c32de57"
MOVED = (
    "The pictures of Shapes have moved: digest {found}, was {wanted}. If the drawing was changed on purpose, or numpy "
    "draws or computes other numbers than 2.4, put the new digest here and train and measure the embedded models again."
)


def digest(images: int = 4, *splits: str) -> str:
    state = hashlib.blake2b(digest_size=8)
    for split in splits or ("train", "val"):
        benchmark = Shapes(split=split, images=images)
        for image_id in benchmark.ids():
            sample = benchmark.load(image_id)
            state.update(repr(sample.image.shape).encode() + sample.image.tobytes() + sample.truth.tobytes())
    return state.hexdigest()


def test_the_pictures_have_not_moved() -> None:
    for found, wanted in ((digest(), DIGEST), (digest(12, "mixed"), MIXED)):
        assert found == wanted, MOVED.format(found=found, wanted=wanted)


def test_an_image_depends_on_its_name_alone() -> None:
    forward, backward = Shapes(images=6), Shapes(images=9)
    first = {image_id: forward.load(image_id) for image_id in forward.ids()}
    for image_id in reversed(forward.ids()):
        again = backward.load(image_id)
        assert np.array_equal(again.image, first[image_id].image)
        assert np.array_equal(again.truth, first[image_id].truth)


def test_another_process_draws_the_same_bytes() -> None:
    program = "from tests.test_benchmarks.test_shapes import digest; print(digest(2))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(2)


def test_split_index_and_seed_all_matter() -> None:
    scenes = [draw_scene("val", 0, 0), draw_scene("val", 1, 0), draw_scene("train", 0, 0), draw_scene("val", 0, 1)]
    pictures = {image.tobytes() for image, _ in scenes}
    assert len(pictures) == 4


def test_val_images_are_not_square_and_hold_two_or_three_objects() -> None:
    benchmark = Shapes("val", images=60)
    counts, sizes = set(), set()
    for image_id in benchmark.ids():
        sample = benchmark.load(image_id)
        assert sample.image.dtype == np.uint8 and sample.truth.dtype == np.uint8
        assert sample.image.shape == (*sample.truth.shape, 3)
        height, width = sample.truth.shape
        assert height != width
        sizes.add((height, width))
        counts.add(len(set(np.unique(sample.truth).tolist()) - {0, 255}))
    assert counts == {2, 3}
    assert len(sizes) > 3


def test_train_images_hold_one_to_three_objects() -> None:
    counts = {len(np.unique(draw_scene("train", index, 0)[1])) - 1 for index in range(60)}
    assert counts == {1, 2, 3}


def test_mixed_images_hold_none_to_three_objects() -> None:
    counts = [len(np.unique(draw_scene("mixed", index, 0)[1])) - 1 for index in range(200)]
    assert Shapes() == Shapes("mixed") and set(counts) == {0, 1, 2, 3}
    assert 10 <= counts.count(0) <= 35 and 40 <= counts.count(1) <= 80


def test_every_class_occurs_on_val() -> None:
    benchmark = Shapes(images=60)
    seen = {int(value) for image_id in benchmark.ids() for value in np.unique(benchmark.load(image_id).truth)}
    assert seen == {0, 255, *range(1, len(CLASSES) + 1)}


def test_the_border_is_ignored_on_both_sides_and_nothing_else() -> None:
    labels = np.zeros((6, 8), dtype=np.uint8)
    labels[2:5, 3:8] = 7
    wanted = np.array(
        [
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 255, 255, 255, 255, 255],
            [0, 0, 255, 255, 255, 255, 255, 255],
            [0, 0, 255, 255, 7, 7, 7, 7],
            [0, 0, 255, 255, 255, 255, 255, 255],
            [0, 0, 0, 255, 255, 255, 255, 255],
        ]
    )
    assert np.array_equal(mark_border(labels), wanted)


def test_ids_sort_in_index_order() -> None:
    ids = list(Shapes(images=1200).ids())
    assert ids == sorted(ids) and len(set(ids)) == 1200


@pytest.mark.parametrize("settings", [{"split": "test"}, {"images": 0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Shapes"):
        Shapes(**settings)


@pytest.mark.parametrize("image_id", ["mixed-000200", "train-000000", "val", "val-x", "-1"])
def test_unknown_images_are_refused(image_id: str) -> None:
    with pytest.raises(Exception, match="Shapes has no image"):
        Shapes().load(image_id)
