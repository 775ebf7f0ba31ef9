"""Parquet files come back as they were written, whatever their columns are, and what does not fit is told."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees
from PIL import Image

from benchmarks.table import Table
from harness.contracts import Benchmark, DataError, Recipe
from harness.errors import SettingsError
from harness.recipes import loading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SETTINGS: dict[str, Any] = {"classes": ("a", "b", "c"), "ignore": (255,)}
Drawn = dict[str, tuple[np.ndarray, np.ndarray]]


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


def write(root: Path, rng: np.random.Generator, **changes: Any) -> Drawn:
    """Two files in row groups of one: name, photo (bytes), image {bytes, path}, mask {bytes}, inner.masks [...]."""
    import pyarrow
    from pyarrow import parquet

    drawn: Drawn = {}
    rows = []
    for number, shape in enumerate(trees.SIZES):
        labels = trees.draw_labels(rng, shape, [0, 1, 2, 255])
        photo = np.asarray(trees.draw_picture(rng, shape))
        mask = encoded(labels)
        row = {
            "name": f"deep/{9 - number}", "number": 7 * number, "photo": encoded(photo),
            "image": {"bytes": encoded(photo), "path": "x.png"}, "mask": {"bytes": mask, "path": None},
            "inner": {"masks": [mask, encoded(labels * 0)]}, "lossy": encoded(labels, "JPEG"),
        }  # fmt: skip
        rows.append(row | changes)
        drawn[row["name"]] = labels, photo
    (root / "data").mkdir(parents=True)
    for part, some in enumerate((rows[:2], rows[2:])):
        parquet.write_table(pyarrow.Table.from_pylist(some), root / f"data/test-0000{part}.parquet", row_group_size=1)
    return drawn


@pytest.mark.parametrize(
    ("columns", "ids"),
    [
        ({"id": "name"}, ["deep/7", "deep/8", "deep/9"]),
        ({"id": "number", "image": "photo"}, ["00000000", "00000007", "00000014"]),
        ({"mask": "inner.masks.0", "files": "data/*.parquet"}, ["00000000", "00000001", "00000002"]),
        ({"id": "name", "mask": "mask.bytes"}, ["deep/7", "deep/8", "deep/9"]),
    ],
)
def test_rows_come_back(
    tmp_path: Path, rng: np.random.Generator, columns: dict[str, str], ids: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    drawn = write(tmp_path, rng)
    table = Table(root=str(tmp_path), **columns, **SETTINGS)
    assert isinstance(table, Benchmark) and list(table.ids()) == ids
    order = sorted(drawn) if columns.get("id") == "name" else list(drawn)
    for image_id, key in zip(ids, order, strict=True):
        labels, photo = drawn[key]
        sample = table.load(image_id)
        np.testing.assert_array_equal(sample.truth, np.where(labels == 255, 255, labels + 1))
        np.testing.assert_array_equal(sample.image, photo)
    assert ("images are called by their row" in caplog.text) == ("id" not in columns)
    assert (
        table.fingerprint()
        != Table(root=str(tmp_path), **columns, classes=("a", "b", "d"), ignore=(255,)).fingerprint()
    )


def test_a_data_set_of_the_hub_is_read_from_the_cache_at_its_commit(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    drawn = write(tmp_path / "datasets--some--set" / "snapshots" / COMMIT, rng)
    recipe = Recipe.of("benchmarks.table:Table", hub="some/set", revision=COMMIT, id="name", **SETTINGS)
    assert sorted(loading.build(recipe).ids()) == sorted(drawn)
    other = Table(hub="some/set", revision=COMMIT[::-1], files="data/test-*", **SETTINGS)
    with pytest.raises(DataError, match=r"fetch it with `hf download some/set --repo-type dataset --revision 7654"):
        other.ids()


FAULTS: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"root": "nowhere"}, {}, "wrong root", "the folder does not exist"),
    ({"files": "*.parquet"}, {}, "broken list", "has no file that fits '*.parquet'; found: data/"),
    ({"mask": "label"}, {}, "broken list", "lacks the columns label; it has name, number"),
    ({"id": "key"}, {}, "broken list", "lacks the columns key"),
    ({"id": "inner"}, {}, "broken list", "holds dict; ids are texts or numbers"),
    ({"id": "name"}, {"name": "x"}, "broken list", "more than once: x"),
    ({"mask": "inner.masks.7"}, {}, "missing file", "column inner.masks.7 holds no bytes"),
    ({"mask": "number"}, {}, "missing file", "column number holds no bytes"),
    ({"mask": "lossy"}, {}, "wrong mode", "is a JPEG, which changes labels"),
    ({"classes": ("a", "b")}, {}, "stray label", "column mask has the label 2"),
    ({}, {"image": {"bytes": b"\x89PNG\r\n\x1a\n", "path": "x"}}, "unreadable file", "column image cannot be decoded"),
    ({}, {"mask": {"bytes": encoded(np.zeros((3, 4))), "path": None}}, "size mismatch", "its mask is 3 x 4"),
]


@pytest.mark.parametrize(("settings", "changes", "kind", "says"), FAULTS)
def test_each_fault_has_its_sentence(
    tmp_path: Path, rng: np.random.Generator, settings: dict[str, Any], changes: dict[str, Any], kind: str, says: str
) -> None:
    write(tmp_path, rng, **changes)
    table = Table(**{"root": str(tmp_path), **SETTINGS, **settings})
    with pytest.raises(DataError) as raised:
        table.load(table.ids()[0])
    assert says in str(raised.value) and raised.value.kind == kind, str(raised.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "give root, a folder, or hub"),
        ({"root": "x", "hub": "a/b"}, "and not both"),
        ({"hub": "a"}, "hub is owner/name, not 'a'"),
        ({"hub": "../../a"}, "hub is owner/name"),
        ({"hub": "a/b"}, "revision of a/b is a commit of 40 digits"),
        ({"hub": "a/b", "revision": "main"}, "not 'main'"),
        ({"root": "x", "files": "../*"}, "leads out of the folder"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as raised:
        loading.build(Recipe.of("benchmarks.table:Table", **settings, **SETTINGS))
    assert says in str(raised.value)
