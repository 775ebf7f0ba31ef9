"""Under `void_counts` numbers are those of mmseg's metric with 255 ignored, on labels of 16 bits and void 65535."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from in_process import call, door
from PIL import Image

from harness.contracts.facts import protocol_facts
from harness.work.scoring import Overlaps, overlaps, overlaps_with_void
from results import leaderboard, verify
from results.counts.estimators import ClassCounts, image_mious, miou
from results.counts.image_counts import image_counts
from results.counts.image_effects import image_effects, of_arrays

CLASSES = 300
SHADE = """
import numpy as np

class Shade:
    def segment(self, image, vocabulary):
        bright = image.astype(np.int64).sum(axis=2)
        return np.where(bright > 2, 255, bright // 2)
"""


def mmseg_areas(labels: np.ndarray, given: np.ndarray, ignored: int = 255) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union by mmseg's rule: labels and predictions from 0, histograms over the classes alone."""
    kept = labels != ignored
    labels, given = labels[kept], given[kept]
    bins = np.arange(CLASSES + 1) - 0.5
    inside, predicted, labelled = (np.histogram(one, bins)[0] for one in (given[given == labels], given, labels))
    return inside, predicted + labelled - inside


def mean_iou(inside: np.ndarray, union: np.ndarray) -> float:
    return float(np.mean(inside[union > 0].astype(np.float64) / union[union > 0]))


def drawn(rng: np.random.Generator, images: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    """Truths and predictions in the house's numbering: few classes, the 256th, void, pixels without a class."""
    values = np.array([1, 2, 255, 256, 257, 300, 65535], np.uint16)
    shapes = [(17 + n, 11) for n in range(images)]  # of as many pixels each value is surely drawn
    return [(rng.choice(values, shape), rng.choice(np.array([1, 2, 256, 299], np.uint16), shape)) for shape in shapes]


def as_mmseg(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wide = truth.astype(np.int64)
    return np.where(wide == 65535, 65535, wide - 1), predicted.astype(np.int64) - 1


def frame(found: list[Overlaps]) -> pl.DataFrame:
    rows = [{"run_id": "r", "image_id": f"{n}", "status": "ok", **{k: v.tolist() for k, v in one._asdict().items()}}
            for n, one in enumerate(found)]  # fmt: skip
    schema = {name: pl.List(pl.UInt16) for name in ("true", "predicted")} | {"pixels": pl.List(pl.Int64)}
    return pl.DataFrame(rows, schema_overrides=schema)


def test_counts_are_mmsegs_in_every_room_that_divides(rng: np.random.Generator) -> None:
    pairs = drawn(rng)
    found = [overlaps_with_void(*pair) for pair in pairs]
    areas = [mmseg_areas(*as_mmseg(*pair)) for pair in pairs]
    inside, union = (sum(one[n] for one in areas) for n in (0, 1))
    joined = [np.concatenate(column) for column in zip(*found, strict=True)]
    counts = ClassCounts.of(*joined, 1, CLASSES)
    np.testing.assert_array_equal(counts.intersection, inside)
    np.testing.assert_array_equal(counts.union, union)
    assert miou(counts) == pytest.approx(mean_iou(inside, union), rel=1e-15)
    assert counts.labelled[255] == 0 < counts.predicted[255]  # the 256th class is predicted, and nothing is it
    image = np.repeat(np.arange(len(found)), [one.pixels.size for one in found])
    own = image_mious(*joined, image, len(found))
    np.testing.assert_allclose(own, [mean_iou(*one) for one in areas], rtol=1e-14)
    per_image = image_counts([frame(found)], ["r"], CLASSES, background=False)
    np.testing.assert_array_equal(per_image.intersection[0], np.stack([one[0] for one in areas]))
    np.testing.assert_array_equal(per_image.union[0], np.stack([one[1] for one in areas]))
    effects = image_effects([frame(found)], {"r": counts}, background=False)
    labelled = np.stack([ClassCounts.of(*one, 1, CLASSES).labelled for one in found])
    expected = of_arrays(per_image.intersection, per_image.union, labelled)
    np.testing.assert_allclose(effects.values, expected.values, atol=1e-15)
    np.testing.assert_allclose(effects.score, expected.score)


def test_other_protocols_count_as_before(rng: np.random.Generator) -> None:
    for truth, predicted in drawn(rng):
        plain = overlaps(truth, predicted)
        assert 65535 not in plain.true and 256 in plain.true
    record = {"protocol": {"vocabulary": "all", "void_counts": False}, "names": [], "tagger": None, "rule": None}
    without = {**record, "protocol": {"vocabulary": "all"}}
    assert protocol_facts(record) == protocol_facts(without)
    counted = {**record, "protocol": {"vocabulary": "all", "void_counts": True}}
    assert protocol_facts(counted) != protocol_facts(without)


def test_a_sweep_under_it_gives_mmsegs_number_and_another_run(tmp_path: Path, rng: np.random.Generator) -> None:
    truths = {f"{n}": rng.choice(np.array([0, 1, 255, 65535], np.uint16), (9 + n, 14)) for n in range(3)}
    photos = {key: rng.integers(0, 2, (*truth.shape, 3)).astype(np.uint8) for key, truth in truths.items()}
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for key, truth in truths.items():
        np.save(tmp_path / f"data/masks/{key}.npy", truth)
        Image.fromarray(photos[key]).save(tmp_path / f"data/images/{key}.png")
    settings = {"root": "data", "classes": [f"kind {n}" for n in range(CLASSES)], "ignore": [65535]}
    grid = {
        "name": "void", "methods": [{"name": "Shade", "use": "my_shade:Shade"}],
        "benchmarks": [
            {"name": name, "use": "benchmarks.folder:Folder", "with": settings, "protocol": {"void_counts": counts}}
            for name, counts in (("as forks", True), ("plain", False))
        ],
        "protocol": {"vocabulary": "all"},
    }  # fmt: skip
    (tmp_path / "my_shade.py").write_text(SHADE)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    lines = {line["benchmark"]: line for line in csv.DictReader((tmp_path / "runs" / "leaderboard.csv").open())}
    for name, ignored in (("as forks", 255), ("plain", 65535)):
        given = {key: np.where(photo.sum(axis=2) > 2, 255, photo.sum(axis=2) // 2) for key, photo in photos.items()}
        areas = [mmseg_areas(truth.astype(np.int64), given[key], ignored) for key, truth in truths.items()]
        inside, union = (sum(one[n] for one in areas) for n in (0, 1))
        assert float(lines[name]["miou"]) == pytest.approx(100 * mean_iou(inside, union), abs=0.0001)
    assert lines["as forks"]["miou"] != lines["plain"]["miou"]
    for command in (verify, leaderboard):
        checked = call(command.main, "runs", cwd=tmp_path)
        assert checked.returncode == 0, checked
