"""What a stranger's benchmark gets wrong is a failed row of one image, or exit 2 before anything is computed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from careless_benchmarks import SPOILED, TURNED, Careless
from numpy.typing import NDArray

from harness import sweep
from harness.checks.__main__ import main as checks
from harness.contracts import MOST_CLASSES, MethodError
from harness.protocol.decision import checked_answer
from harness.protocol.given import checked_sample, ids_of
from results.folder.store import Store

GRID = """
name: careless
methods: [{name: Flat, use: 'toy_world:Flat'}]
benchmarks: [{name: Strange, use: 'careless_benchmarks:Careless', with: {about: %s}}]
"""
PER_IMAGE = {
    "truth: short": "the truth is uint8 (1, 5); it must be uint8 or uint16 (4, 5), as the image",
    "truth: label 3": "the truth holds 3 in 10 pixels; it may hold 0 to 2 and 255",
    "truth: label 300": "the truth holds 300 in 10 pixels; it may hold 0 to 2 and 65535",
    "truth: 255 of 16 bits": "the truth holds 255 in 10 pixels; it may hold 0 to 2 and 65535 (255 means ignored in 8 "
    "bits alone)",
    "truth: 32 bits": "the truth is uint32 (4, 5); it must be uint8 or uint16 (4, 5), as the image",
    "truth: signed": "the truth is int16 (4, 5); it must be uint8 or uint16 (4, 5), as the image",
    "truth: whole numbers": "the truth is int64 (4, 5); it must be uint8 or uint16 (4, 5), as the image",
    "truth: bool": "the truth is bool (4, 5); it must be uint8 or uint16 (4, 5), as the image",
    "truth: masked": "the truth is a MaskedArray; it must be a plain numpy array",
    "truth: a list": "the truth is a list; it must be a plain numpy array",
    "image: float": "the image is float64 (4, 5, 3); it must be uint8 (height, width, 3), RGB",
    "image: grey": "the image is uint8 (4, 5); it must be uint8 (height, width, 3), RGB",
    "image: four channels": "the image is uint8 (4, 5, 4); it must be uint8 (height, width, 3), RGB",
    "image: planes first": "the image is uint8 (3, 4, 5); it must be uint8 (height, width, 3), RGB",
    "image: None": "the image is a NoneType; it must be a plain numpy array",
    "image: empty": "the image is uint8 (0, 5, 3); it must be uint8 (height, width, 3), RGB",
    "sample: None": "load() gave a NoneType; it must give a Sample",
    "sample: a pair": "load() gave a tuple; it must give a Sample",
    "sample: other": "the sample calls itself 'a'; it was loaded as 'b'",
}
AT_ONCE = {
    "classes: a list": "classes is a list; it must be a tuple of names",
    "classes: one word": "classes is a str; it must be a tuple of names",
    "classes: none": "classes has 0 entries; there can be 1 to 65534",
    "classes: too many": "classes has 65535 entries; there can be 1 to 65534",
    "classes: twice": "classes holds 1 text more than once: 'cat'",
    "classes: empty word": "classes holds an empty text: ' '",
    "classes: a number": "classes holds an int, 3; it must hold texts",
    "classes: two lines": "classes holds a text with control characters, or bytes that are no UTF-8: 'd\\nog'",
    "ids: whole numbers": "ids() holds an int, 1; it must hold texts",
    "ids: twice": "ids() holds 1 text more than once: 'a'",
    "ids: none": "ids() gives no image",
    "ids: one text": "ids() gives a str; it must give a list of texts",
    "ids: endless": "ids() gives a generator; it must give a list of texts",
    "ids: None": "ids() gives a NoneType; it must give a list of texts",
    "ids: empty": "ids() holds an empty text: ''",
    "ids: a bell": "ids() holds a text with control characters, or bytes that are no UTF-8: 'b\\x07'",
    "ids: foreign bytes": "ids() holds a text with control characters, or bytes that are no UTF-8: 'b\\udcff'",
    "ids: long": "ids() holds a text of more than 1000 characters: 'bbbb",
    "ids: raises": "ids() cannot be had: RuntimeError: two lines",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def swept(*about: str, plan: bool = False) -> int:
    Path("grid.yaml").write_text(GRID % json.dumps(about))
    return sweep.main(["grid.yaml", "--local", "--no-report", *["--plan"] * plan])


def test_a_spoiled_image_is_a_failed_row_with_its_sentence_and_the_others_stand(folder: Path) -> None:
    assert swept(*PER_IMAGE) == 3
    store = Store.open("runs")
    about = {run_id: recipe.benchmark["settings"]["about"] for run_id, recipe in store.recipes().items()}
    rows = {(about[row["run_id"]], row["image_id"]): row for row in store.rows().to_dicts()}
    assert {about: rows[about, SPOILED]["error"] for about in PER_IMAGE} == PER_IMAGE
    assert {row["status"] for (_, image_id), row in rows.items() if image_id != SPOILED} == {"ok"}
    assert len(rows) == 3 * len(PER_IMAGE) and (folder / "runs" / "leaderboard.csv").exists()


@pytest.mark.parametrize("about", AT_ONCE)
def test_wrong_ids_and_classes_end_the_sweep_before_anything_is_computed(
    about: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for plan in (True, False) if about == "ids: twice" else (True,):
        assert swept(about, plan=plan) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"Strange about={about!r}: {AT_ONCE[about]}") and said.count("\n") == 1
        assert len(said) < 700
        assert not list((folder / "runs").rglob("*.parquet"))


def test_the_gate_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    for about, sentence in (PER_IMAGE | AT_ONCE).items():
        assert checks(["benchmark", "careless_benchmarks:Careless", "--with", f"about={about!r}"]) == 1
        where = f"broken contract {SPOILED}:" if about in PER_IMAGE else "broken contract"
        assert f"{where} {sentence.removeprefix('ids() cannot be had: ')}" in capsys.readouterr().out


@pytest.mark.parametrize("about", ["ids: numpy", "ids: paths", "image: turned"])
def test_what_is_only_unusual_is_taken(about: str, folder: Path) -> None:
    Path("grid.yaml").write_text(GRID % json.dumps(about) + "keep: {label_maps: 3}\n")
    assert sweep.main(["grid.yaml", "--local", "--no-report"]) == 0
    inside = {path for path in folder.rglob("*") if path.is_file()}
    assert {path.relative_to(folder).parts[0] for path in inside} == {"grid.yaml", "runs"}


def test_images_come_in_one_piece() -> None:
    found = checked_sample(Careless("image: turned").load(SPOILED), SPOILED, 2)
    assert found.image.flags.c_contiguous and np.array_equal(found.image, TURNED[::-1, ::-1])


def test_the_largest_number_of_classes_can_be_told_apart_in_a_truth() -> None:
    assert MOST_CLASSES == 65534
    assert ids_of(Careless(), "x") == ("a", "b", "c")


SCORES = np.random.default_rng(3).random((2, 3, 4)).astype(np.float32)
FORMS: dict[str, NDArray[np.floating]] = {
    "backwards": SCORES[:, ::-1, ::-1][:, ::-1, ::-1], "other byte order": SCORES.astype(">f4"),
    "from planes last": np.asfortranarray(SCORES), "long": SCORES.astype(np.longdouble),
    "double, other byte order": SCORES.astype(">f8"), "read-only": np.broadcast_to(SCORES, SCORES.shape),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_scores_of_numpy_are_read_in_any_form(form: str) -> None:
    assert np.array_equal(checked_answer(FORMS[form], 2, (3, 4)).numpy(), SCORES)
    turned = FORMS[form][:, ::-1]
    assert np.array_equal(checked_answer(turned, 2, (3, 4)).numpy(), SCORES[:, ::-1])


@pytest.mark.parametrize("sign", [1, -1])
def test_scores_that_single_precision_cannot_hold_are_refused_where_their_order_would_be_lost(sign: int) -> None:
    tiny = sign * (1 + SCORES.astype(np.float64)) * 1e-300
    with pytest.raises(MethodError, match="too small for the single precision"):
        checked_answer(tiny, 2, (3, 4))
    losing = np.stack([SCORES[0].astype(np.float64) + 1, np.full((3, 4), 1e-300)])  # a softmax has such shares
    assert np.array_equal(checked_answer(losing, 2, (3, 4)).numpy(), losing.astype(np.float32))
    assert not checked_answer(np.zeros((2, 3, 4)), 2, (3, 4)).numpy().any()


@pytest.mark.parametrize("kind", [">i2", "<u8", "i1", ">u4"])
def test_label_maps_of_numpy_are_read_in_any_form(kind: str) -> None:
    labels = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 0]])
    assert checked_answer(labels.astype(kind)[::-1, ::-1], 2, (3, 4)).tolist() == labels[::-1, ::-1].tolist()
    assert checked_answer(np.asfortranarray(labels.astype(kind)), 2, (3, 4)).tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (np.ma.masked_greater(SCORES, 0.5), "the method gave a masked array; give a plain one"),
        (np.ma.masked_equal(np.zeros((3, 4), np.int64), 0), "the method gave a masked array; give a plain one"),
        (SCORES.astype(object), "the method gave scores of type object; expected floating point"),
        (SCORES.astype(np.complex64), "the method gave scores of type complex64; expected floating point"),
        (SCORES > 0.5, "the method gave scores of type torch.bool; expected floating point"),
        (np.zeros((3, 4), bool), "the method gave a label map of type bool; expected integers"),
        (np.zeros((3, 4)), "the method gave a label map of type float64; expected integers"),
        (np.zeros((3, 4), "U1"), "the method gave a label map of type <U1; expected integers"),
    ],
)
def test_what_is_no_answer_is_refused_in_a_sentence(answer: object, says: str) -> None:
    with pytest.raises(MethodError) as caught:
        checked_answer(answer, 2, (3, 4))
    assert str(caught.value).startswith(says)
