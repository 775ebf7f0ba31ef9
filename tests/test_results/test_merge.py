"""Merging: any order, any grouping, any number of times gives one result; contradictions stop it."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import call
from PIL import Image as Pillow

from harness.contracts import Picture, Row
from harness.errors import StoreError
from results.folder import artefacts, keepsakes
from results.folder.called import told_of_names
from results.folder.recipes import RunRecipe
from results.folder.rows import Contradiction
from results.folder.store import Store
from results.folder.writer import Writer
from results.merge import Brought, main, merge
from results.tables.leaderboard import build_board, leaderboard_csv

ROOT = Path(__file__).resolve().parents[2]
# (run, image) -> status; counts follow from the key, as they do when a run is reproducible
Content = dict[tuple[str, str], tuple[str, float]]
contents = st.dictionaries(
    st.tuples(st.sampled_from(["r1", "r2"]), st.sampled_from(["0", "1", "2"])),
    st.tuples(st.sampled_from(["ok", "failed"]), st.sampled_from([0.5, 1.0])),
    max_size=5,
)
# What lies beside rows: of an artefact when it was finished; of label maps and pictures how well the PNG is packed.
Beside = dict[str, int]
besides = st.dictionaries(st.sampled_from(["feed01", "feed02", "map 0", "map 1", "picture 0"]), st.integers(0, 2))
MAP = np.array([[0, 1, 2, 255], [2, 2, 1, 0]], np.uint8)


def row(run_id: str, image_id: str, status: str = "ok", seconds: float = 1.0, extra: int = 0) -> Row:
    if status == "failed":
        return Row(run_id, image_id, status, seconds, f"after {seconds} s")
    pixels = 10 * int(image_id) + int(run_id[1]) + extra
    counts = np.array([pixels, 100 - pixels])  # of one truth, whichever run looks at it
    return Row(run_id, image_id, status, seconds, None, np.array([1, 1]), np.array([1, 2]), counts)


def recipe(run_id: str, commit: str = "c", **changes: object) -> dict[str, object]:
    method = {"use": "m:M", "settings": {"id": run_id}}
    made = RunRecipe(
        run_id, "M", run_id, method, "B", {"use": "b:B"}, {"vocabulary": "all"}, ("x", "y"), 3, commit=commit
    )
    return {**made.as_dict(), **changes}


def filled(folder: Path, content: Content, commit: str = "c") -> Store:
    store = Store.open(folder)
    with store.writer() as writer:
        writer.append([row(*key, *value) for key, value in content.items()])
    runs = sorted({run_id for run_id, _ in content})
    for run_id in runs:
        store.write_recipe(run_id, recipe(run_id, commit))
    if runs:
        store.set_table(f"grid {commit}", runs[::-1])
    return store


def png(labels: np.ndarray, level: int = 6) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(labels).save(stream, "PNG", compress_level=level)
    return stream.getvalue()


def learn(folder: Path, artefact_id: str, weights: bytes, turn: int = 0) -> Path:
    """An artefact as a learner leaves it, and beside it what an unfinished one has."""
    place = artefacts.artefact_path(folder, artefact_id)
    (place / "heads").mkdir(parents=True)
    (place / "heads" / "weights.bin").write_bytes(weights)
    (place / "curve.jsonl").write_text(f'{{"step": 1, "loss": 0.5, "seconds": {turn}.25}}\n')
    tells = {"device": f"gpu {turn}", "last": {"loss": 0.5, "seconds": turn}}
    artefacts.finish(folder, artefact_id, {"labels": "r1", "learner_tells": tells, "finished": f"2026-01-0{3 - turn}"})
    half = artefacts.gathered_path(folder, artefact_id, "0")
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    return place


def keep_beside(folder: Path, beside: Beside) -> None:
    for name, turn in beside.items():
        if name.startswith("feed"):
            learn(folder, name, name.encode() * 1000, turn)
        elif name.startswith("map"):
            keepsakes.keep_label_maps(folder, [Row("r1", name[-1], "ok", 1.0, None, label_map=png(MAP, 3 * turn))])
        else:
            pictures = [Picture(name[-1], bytes([turn]), png(MAP, 3 * turn))]
            keepsakes.keep_pictures(folder, {"use": "b:B"}, pictures)


def files(folder: Path) -> dict[str, bytes]:
    """All that is carried beside rows, and a learner's leftovers if a merge took them."""
    places = ("artefacts", "label_maps", "pictures", "ledger")
    paths = [path for place in places for path in (folder / place).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def what(store: Store) -> tuple[object, ...]:
    rows = store.rows().to_dict(as_series=False)
    return rows, store.raw_recipes(), store.table(), files(store.folder)


def joined(folder: Path, *sources: Store) -> Store:
    target = Store(folder)
    merge(sources, target)
    return target


@settings(max_examples=6, deadline=None)  # of each run's seed
@given(st.tuples(contents, besides), st.tuples(contents, besides), st.tuples(contents, besides))
def test_merging_is_commutative_associative_and_idempotent(
    a: tuple[Content, Beside], b: tuple[Content, Beside], c: tuple[Content, Beside]
) -> None:
    with tempfile.TemporaryDirectory() as temporary, patch("os.fsync"):  # the disk's pace is not under test
        here = Path(temporary)
        one, two, three = (filled(here / n, content[0], n) for n, content in zip("abc", (a, b, c), strict=True))
        for store, (_, beside) in zip((one, two, three), (a, b, c), strict=True):
            keep_beside(store.folder, beside)
        whole = joined(here / "abc", one, two, three)
        assert what(joined(here / "cba", three, two, one)) == what(whole)
        assert what(joined(here / "ab_c", joined(here / "ab", one, two), three)) == what(whole)
        assert what(joined(here / "a_bc", one, joined(here / "bc", two, three))) == what(whole)
        before = what(whole)
        assert merge([one, two, three, whole], whole) == Brought(0, 0)
        assert what(whole) == before
        assert what(joined(here / "aa", one, one)) == what(joined(here / "a1", one))
        everything = {name for store in (one, two, three) for name in files(store.folder)}
        assert set(files(whole.folder)) == {name for name in everything if "/unfinished/" not in name}
        if a[0] or b[0] or c[0]:
            texts = {leaderboard_csv(build_board(Store(here / name))) for name in ("abc", "cba", "ab_c", "a_bc")}
            assert len(texts) == 1


def test_the_union_is_there_and_ok_beats_failed(tmp_path: Path) -> None:
    one = filled(tmp_path / "a", {("r1", "0"): ("failed", 1.0), ("r1", "1"): ("ok", 1.0)})
    two = filled(tmp_path / "b", {("r1", "0"): ("ok", 1.0), ("r2", "0"): ("ok", 1.0)})
    assert merge([one, two], Store(tmp_path / "c")) == Brought(3, 0)
    assert Store.open(tmp_path / "c", create=False).stored() == {"r1": {"0": "ok", "1": "ok"}, "r2": {"0": "ok"}}


def test_a_merge_that_is_interrupted_leaves_no_row_without_its_recipe_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [filled(tmp_path / name, {(name, "0"): ("ok", 1.0)}) for name in ("r1", "r2")]
    write = Writer.write

    def interrupted(self: Writer, frame: pl.DataFrame) -> None:
        write(self, frame)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Writer, "write", interrupted)
        merge(sources, Store(tmp_path / "into"))
    into = Store(tmp_path / "into")
    assert into.stored() and into.stored().keys() <= into.recipes().keys()
    merge(sources, into)
    assert into.stored() == {"r1": {"0": "ok"}, "r2": {"0": "ok"}} and into.recipes().keys() == {"r1", "r2"}


def test_other_counts_for_the_same_key_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    keys = {("r1", "0"): ("ok", 1.0), ("r1", "1"): ("ok", 1.0), ("r2", "2"): ("ok", 1.0)}
    one, two = filled(tmp_path / "a", keys), filled(tmp_path / "b", {})
    with two.writer() as writer:
        writer.append([row("r1", "0", extra=1), row("r1", "1"), row("r2", "2", extra=1)])
    with pytest.raises(Contradiction, match="2 images of 2 runs have different counts"):
        merge([one, two], Store(tmp_path / "c"))
    done = call(main, one.folder, two.folder, "--into", tmp_path / "c")
    assert done.returncode == 3
    assert done.stdout == "r1\t0\nr2\t2\n"
    assert "not reproducible" in done.stderr
    assert not (tmp_path / "c").exists()


def test_an_id_with_two_meanings_is_refused(tmp_path: Path) -> None:
    one, two = (filled(tmp_path / n, {("r1", "0"): ("ok", 1.0)}) for n in "ab")
    two.write_recipe("r1", recipe("r1", protocol={"vocabulary": "present"}))
    with pytest.raises(StoreError, match="recipes of run r1 differ in protocol"):
        merge([one, two], Store(tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_the_command_merges_and_refuses_a_wrong_folder(tmp_path: Path) -> None:
    one = filled(tmp_path / "a", {("r1", "0"): ("ok", 1.0)})
    done = call(main, one.folder, "--into", tmp_path / "c")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 row and 0 files beside them from 1 folder ")
    wrong = call(main, one.folder, tmp_path / "none", "--into", tmp_path / "d")
    assert wrong.returncode == 2
    assert "does not exist" in wrong.stderr


def test_a_file_that_lies_elsewhere_is_the_same_run_and_every_sweep_is_remembered(tmp_path: Path) -> None:
    stores = []
    for place, digest in (("a", "1"), ("b", "1"), ("c", "2")):
        store = filled(tmp_path / place, {("f1", "0"): ("ok",)})
        path = f"/{place}/w.npy"
        method = {"use": "m:M", "settings": {"checkpoint": path}, "files": {path: digest}}
        store.write_recipe("f1", recipe("f1", method=method, sweeps=[{"commit": place, "versions": {}}]))
        stores.append(store)
    for order in (stores[:2], stores[1::-1]):
        target = Store(tmp_path / f"into {order[0].folder.name}")
        merge(order, target)
        assert [one["commit"] for one in target.recipes()["f1"].made_by] == ["a", "b"]
    with pytest.raises(StoreError, match="the recipes of run f1 differ in method"):
        merge(stores[1:], Store(tmp_path / "never"))


def test_a_run_of_two_names_and_a_name_of_two_runs_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"classes": ("disc",), "images": 2, "protocol": {}, "benchmark": {"use": "b:B", "settings": {}}}
    made = [("n1", "r1", "Ours", 0.9), ("n2", "r1", "Baseline", 0.9), ("n2", "r2", "Ours", 0.95)]
    for folder, run_id, name, good in made:
        method = {"use": "m:M", "settings": {"good": good}}
        recipe = RunRecipe(run_id, name, "", method, benchmark_name="W", **content)
        Store.open(tmp_path / folder).write_recipe(run_id, recipe.as_dict())
    assert main([str(tmp_path / "n1"), str(tmp_path / "n2"), "--into", str(tmp_path / "nm")]) == 0
    said = capsys.readouterr().err
    stands = Store.open(tmp_path / "nm").recipes()["r1"].method_name
    both = f"Ours in {tmp_path / 'n1'} and Baseline in {tmp_path / 'n2'}"
    assert f"Run r1 is called {both}; it stands as {stands}." in said
    assert ("2 runs are called Ours on W: r1 (good=0.9) and r2 (good=0.95)." in said) is (stands == "Ours")


def test_runs_of_one_name_on_parts_of_a_data_set_are_told_apart_by_their_part(tmp_path: Path) -> None:
    runs = {
        run_id: RunRecipe(
            run_id, "Ours", "", {"use": "m:M", "settings": {}}, "W", {"use": "b:B", "settings": {"images": images}}, {},
            ("disc",), images,
        )
        for run_id, images in (("r1", 12), ("r2", 8))
    }  # fmt: skip
    assert told_of_names({}, runs) == ["2 runs are called Ours on W: r1 (images=12) and r2 (images=8)."]


def test_runs_that_differ_in_what_they_learned_from_alone_are_told_apart_by_it() -> None:
    whole = {"id": "a", "teacher": "T", "labels": "t", "image_labels": False, "train_images": 7}
    learned = {"r1": whole, "r2": {**whole, "left_out": ["002", "005"]}}
    runs = {
        run_id: RunRecipe(
            run_id, "Plus", "", {"use": "m:M", "settings": {}}, "W", {"use": "b:B", "settings": {}}, {}, ("disc",), 7,
            artefact=artefact,
        )
        for run_id, artefact in learned.items()
    }  # fmt: skip
    apart = "r1 (all train images) and r2 (without 2 of 7 train images)"
    assert told_of_names({}, runs) == [f"2 runs are called Plus on W: {apart}."]
    same = {run_id: replace(recipe, artefact=whole) for run_id, recipe in runs.items()}
    assert "r1 (code, files or data differ) and r2" in told_of_names({}, same)[0]
