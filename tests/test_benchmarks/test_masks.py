"""The label table, the EXIF decision and the run lengths, each against an independent account of the same thing."""

from __future__ import annotations

import io

import numpy as np
import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.faults import SizeMismatch, StrayLabel
from benchmarks.masks import LabelTable, offset_table, ranges_in_words
from benchmarks.orientation import exif_orientation, upright
from benchmarks.pictures import Blob, decode
from harness.contracts.rle import decode_rle, runs_of_text


def test_table_maps_every_value_and_refuses_the_rest(rng: np.random.Generator) -> None:
    table = offset_table("a set", 7, first=0, also={255: 255, 9: 0})
    for value in range(256):
        raw = np.full((3, 4), value, np.uint8)
        if value <= 6 or value in (9, 255):
            expected = value + 1 if value <= 6 else {9: 0, 255: 255}[value]
            assert (table.apply(raw, "mask.png") == expected).all()
        else:
            with pytest.raises(StrayLabel, match=rf"mask.png has the label {value} in 12 pixels, first at row 0"):
                table.apply(raw, "mask.png")


def test_table_names_all_strays_and_the_first_place() -> None:
    raw = np.array([[1, 1, 1], [1, 30, 20]], np.uint8)
    with pytest.raises(StrayLabel) as raised:
        offset_table("a set", 3, first=1, also={0: 0}).apply(raw, "m.png")
    found = "m.png has the label 20, 30 in 2 pixels, first at row 1, column 1"
    assert str(raised.value) == f"{found}; labels of a set are 0 to 3."


def test_table_of_16_bits(rng: np.random.Generator) -> None:
    table = LabelTable.of("a set", {300: 1, 65535: 255, 0: 0}, bits=16)
    raw = np.array([[300, 0, 65535]], np.uint16)
    np.testing.assert_array_equal(table.apply(raw, "m"), [[1, 0, 255]])
    with pytest.raises(StrayLabel, match="the label 44 "):  # 300 in 8 bits
        table.apply(np.array([[300 % 256]], np.uint8), "m")


@pytest.mark.parametrize("classes", [254, 255, 1000])
@pytest.mark.parametrize("also", [{}, {0: 255}])
def test_tables_of_more_than_254_classes_have_16_bits(classes: int, also: dict[int, int]) -> None:
    table = offset_table("a set", classes, first=1, also=also, bits=16)
    raw = np.arange(0 if also else 1, classes + 1, dtype=np.uint16).reshape(-1, 1)
    truth = table.apply(raw, "m")
    kind = np.uint8 if classes == 254 else np.uint16
    assert truth.dtype == kind
    assert truth[-classes:, 0].tolist() == list(range(1, classes + 1))
    assert truth[:-classes, 0].tolist() == [np.iinfo(kind).max] * len(also)
    with pytest.raises(StrayLabel, match=f"has the label {classes + 1} in 1 pixels"):
        table.apply(np.array([[classes + 1]], np.uint16), "m")


def test_values_in_words() -> None:
    assert ranges_in_words([0, 1, 2, 255]) == "0 to 2 and 255"
    assert ranges_in_words([255, 0, 7, 8, 30]) == "0, 7 to 8, 30 and 255"
    assert ranges_in_words([4]) == "4"


def with_orientation(turn: int, shape: tuple[int, int], rng: np.random.Generator) -> tuple[Image.Image, np.ndarray]:
    """A stored picture with an EXIF orientation, and the pixels that it stands for by the EXIF standard's table."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(stored).save(buffer, "PNG", exif=exif)
    meant = {  # where the stored first row and first column belong: EXIF 2.3, tag 0112
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.transpose(1, 0, 2),
        6: stored[::-1].transpose(1, 0, 2), 7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: stored.transpose(1, 0, 2)[::-1],
    }[turn]  # fmt: skip
    return decode(Blob(buffer.getvalue(), "x.png")), meant


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_turned_only_when_that_fits(turn: int, rng: np.random.Generator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    picture, meant = with_orientation(turn, (21, 34), rng)
    assert exif_orientation(picture) == turn
    np.testing.assert_array_equal(np.asarray(upright(picture, (34, 21), "x")), meant)
    assert f"turned by its EXIF orientation {turn}" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(np.asarray(upright(picture, (21, 34), "x")), np.asarray(picture))
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "left aside; the mask fits without it" in caplog.text
    with pytest.raises(SizeMismatch, match=r"21 x 34 .* its mask is 20 x 34"):
        upright(picture, (20, 34), "x")


@pytest.mark.parametrize("turn, shape", [(2, (21, 34)), (3, (21, 34)), (4, (21, 34)), (6, (21, 21)), (8, (21, 21))])
def test_what_sizes_cannot_decide_is_kept_and_told(
    turn: int, shape: tuple[int, int], rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    picture, _ = with_orientation(turn, shape, rng)
    np.testing.assert_array_equal(np.asarray(upright(picture, shape, "x")), np.asarray(picture))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot decide" in caplog.text


@pytest.mark.parametrize("turn", [1, 2, 3, 4])
def test_orientations_that_keep_the_size_explain_no_other(turn: int, rng: np.random.Generator) -> None:
    picture, _ = with_orientation(turn, (21, 34), rng)
    with pytest.raises(SizeMismatch):
        upright(picture, (34, 21), "x")


def test_damaged_exif_counts_as_none(rng: np.random.Generator) -> None:
    picture = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=b"Exif\0\0garbage that is no TIFF header")
    stored = decode(Blob(buffer.getvalue(), "x.jpg"))
    assert exif_orientation(stored) == 1
    assert upright(stored, (5, 7), "x").size == (7, 5)


def test_run_lengths_by_hand() -> None:
    """Down the columns: 2 outside, 1 inside, 3 outside."""
    np.testing.assert_array_equal(decode_rle([2, 1, 3], 3, 2), [[False, False], [False, False], [True, False]])
    assert runs_of_text("0") == [0]
    assert runs_of_text("P1") == [32]  # 'P': low bits 0 and more follows; '1': next bits 1
    assert runs_of_text("PO") == [-32]  # 'O': next bits 31 with the sign, that is -1
    assert runs_of_text("511O") == [5, 1, 1, 0]  # the fourth is a difference to the second: 1 - 1


@settings(deadline=None)
@given(st.data())
def test_run_lengths_come_back(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    cells = np.frombuffer(data.draw(st.binary(min_size=1, max_size=60)), np.uint8)
    mask = np.resize(np.unpackbits(cells), (height, width)).astype(bool)
    runs = trees.runs_down_columns(mask)
    np.testing.assert_array_equal(decode_rle(runs, height, width), mask)
    np.testing.assert_array_equal(decode_rle(trees.runs_as_text(runs), height, width), mask)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**8), max_size=30))
def test_run_lengths_as_text_come_back(runs: list[int]) -> None:
    assert runs_of_text(trees.runs_as_text(runs)) == runs
