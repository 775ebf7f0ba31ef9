"""What is stored proves itself: rows that no store writes, runs that disagree about a truth, lost digests and seals."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow
from three_images import IMAGES, filled, recipe, row

from harness.contracts import Mark, Origin, Picture, Row
from harness.contracts.facts import digest
from harness.errors import StoreError
from results import verify
from results.folder import artefacts, events, keepsakes, parts, proof
from results.folder.bounds import BOUNDARIES
from results.folder.rows import SCHEMA, Contradiction
from results.folder.store import Store
from results.merge import merge
from results.tables import leaderboard

CONTENTS: tuple[dict[str, Any], ...] = (
    {"event": "batch", "rows": 96, "seconds": 0.1, "errors": ["ü \ud800", "\"b\""], "card": None, "on": True},
    {"seconds": float("nan"), "spent": 1e300, "errors": []},
    {"images": {"run": ["1"], 7: [2]}}, {"pair": (1, "2")}, {"place": Path("a/b")}, {3: "x"}, {"number": np.int64(3)},
    {"seal": "0", "z": 1}, {},
)  # fmt: skip


@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_a_line_that_is_put_together_is_what_json_says(content: dict[str, Any]) -> None:
    assert events.lines_of([content]) == json.dumps(proof.sealed(content, default=str)) + "\n"


def test_an_origin_that_is_put_together_is_what_json_says() -> None:
    marks = (Mark('/ü/\\"1.jpg', 2**40, 3, 4, 5), Mark("b", -1, 0))
    for origin in (Origin("ü\n", "0" * 32, marks, "numpy 2", "1"), Origin("", "", ()), Origin("a", "b", marks[:1])):
        assert origin.line() == json.dumps(origin)


def part(store: Store, number: int = 0) -> Path:
    return parts.listed(store.folder / "rows")[number]


def rewritten(store: Store, proven: bool, **columns: Any) -> None:
    """The first part, changed by somebody who knows how names are made, or as a part of before names were proof."""
    path = part(store)
    frame = pl.read_parquet(path).with_columns(**columns)
    path.unlink()
    if proven:
        parts.write_part(path.parent, frame)
    else:
        frame.write_parquet(path.with_name("01700000000000000000-0123abcd.parquet"))


def listed(store: Store, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = verify.main([str(store.folder), *options])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out + said.err


def bounds(*columns: list[int | None]) -> dict[str, pl.Expr]:
    """What every row of a part says of the boundaries of classes."""
    return {name: pl.lit(one, SCHEMA[name]) for name, one in zip(BOUNDARIES, columns, strict=True)}


CUT = {name: pl.col(name).list.head(1) for name in ("true", "predicted", "pixels")}


REFUSED = r"cannot be (believed|read)|counts other pixels of the true classes"  # the latter where a pair is possible


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize(
    "columns",
    [
        {"status": pl.lit("great")},
        {"pixels": pl.lit(None, SCHEMA["pixels"])},
        {"pixels": pl.col("pixels").list.head(1)},
        {"pixels": pl.lit([0, 100, 50], SCHEMA["pixels"])},
        {"pixels": pl.lit([60, None, 50], SCHEMA["pixels"])},
        {"pixels": pl.lit([60, 40, -50], pl.List(pl.Int64))},
        {"true": pl.lit([1, 1, 65535], SCHEMA["true"])},
        {"true": pl.lit([1, 1, 255], pl.List(pl.UInt8))},  # as former versions wrote classes
        {"true": pl.lit([1, 1, 1], SCHEMA["true"])},  # (1, 2) twice
        {"status": pl.lit("failed")},
        {"seconds": pl.lit(float("nan"))},
        {"seconds": pl.lit(None, pl.Float64)},
        {"image_id": pl.lit(None, pl.String)},
        {"boundary_class": pl.lit([1], SCHEMA["boundary_class"])},  # without its pixels
        bounds([1, 2], [3, 3], [4]),
        bounds([1], [5], [4]),
        bounds([1], [0], [0]),
        bounds([2, 1], [1, 1], [4, 4]),
        bounds([1], [None], [4]),
    ],
)
def test_rows_that_no_store_writes_are_refused_by_table_merge_and_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], proven: bool, columns: dict[str, pl.Expr]
) -> None:
    store = filled(tmp_path / "a", "r1", "r2")
    rewritten(store, proven, **columns)
    with pytest.raises(StoreError, match=REFUSED):
        leaderboard.build_board(store)
    with pytest.raises(StoreError, match=REFUSED):
        merge([store], Store(tmp_path / "c"))
    assert not (tmp_path / "c").exists()
    code, said = listed(store, capsys)
    assert code == 1 and "rows/" in said


def test_lists_cut_to_one_entry_are_found_by_what_other_runs_say_of_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = filled(tmp_path / "a", "r1", "r2", "r3")
    whole = leaderboard.leaderboard_csv(leaderboard.build_board(store))
    rewritten(store, True, **CUT)  # all of class 1 is right and class 2 is gone: 100 % mIoU, alone
    with pytest.raises(
        Contradiction, match=r"run r1, M r1, counts other pixels of the true classes .*: 0, 1, 2;"
    ) as found:
        leaderboard.build_board(store)
    assert found.value.frame.rows() == [("r1", image) for image in IMAGES]
    with pytest.raises(Contradiction, match="run r1"):
        merge([store], Store(tmp_path / "c"))
    code, said = listed(store, capsys)
    assert code == 1 and "run r1, M r1, counts other" in said and said.count("r1\t") == 3
    part(store, -1).unlink()
    with store.writer() as writer:
        writer.append([row("r1", image) for image in IMAGES])
    assert leaderboard.leaderboard_csv(leaderboard.build_board(store)) == whole


def test_merged_folders_whose_runs_met_other_truths_contradict_each_other(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "a", "r1"), filled(tmp_path / "b", "r2")
    rewritten(two, True, **CUT)
    assert leaderboard.build_board(two).entries[0].miou == 1.0  # by itself nobody can tell
    with pytest.raises(Contradiction, match="counts other pixels") as found:
        merge([one, two], Store(tmp_path / "c"))
    assert len(found.value.frame) == 6  # two runs: nobody has a majority
    assert not (tmp_path / "c").exists()


def test_runs_that_score_other_pixels_or_other_images_need_not_agree(tmp_path: Path) -> None:
    store = filled(tmp_path, "r1", "r2")
    other = Row("r3", "0", "ok", 0.5, None, np.array([0, 1]), np.array([0, 1]), np.array([30, 100]))
    with store.writer() as writer:
        writer.append([other, Row("r2", "3", "failed", 0.5, "broke")])
    store.write_recipe("r3", recipe("r3", background="class").as_dict())
    assert len(leaderboard.build_board(store, everything=True).entries) == 3


def test_a_run_of_more_images_than_its_data_set_has_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = filled(tmp_path / "a", "r1", "r2")
    store.write_recipe("r1", {**recipe("r1").as_dict(), "identity": 1})
    with store.writer() as writer:
        writer.append([row("r1", IMAGES[0])])  # equal rows count once
    assert leaderboard.build_board(store).entries
    with store.writer() as writer:
        writer.append([row("r1", "of another data set")])
    told = f"Run r1 has rows of {len(IMAGES) + 1} images, and its data set has {len(IMAGES)};"
    with pytest.raises(StoreError, match=told):
        leaderboard.build_board(store)
    with pytest.raises(StoreError, match=told):
        merge([store], Store(tmp_path / "c"))
    assert not (tmp_path / "c").exists()
    code, said = listed(store, capsys)
    assert code == 1 and told in said


def test_an_image_that_the_data_set_does_not_have_is_found_in_a_complete_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under the digest of a part that was made anew, with another image's id in place of one: the ids do not fit."""
    store = filled(tmp_path / "a", "r1", "r2")
    for run_id in ("r1", "r2"):
        told = {"identity": 2, "benchmark": {"use": "b:B", "images": digest(list(IMAGES))}}
        store.write_recipe(run_id, recipe(run_id).as_dict() | told)
    assert leaderboard.build_board(store).entries and listed(store, capsys)[0] == 0
    rewritten(store, True, image_id=pl.col("image_id").replace("1", "1b"))
    told = "Run r1 has rows of images that its data set does not have;"
    with pytest.raises(StoreError, match=told):
        leaderboard.build_board(store)
    with pytest.raises(StoreError, match=told):
        merge([store], Store(tmp_path / "c"))
    code, said = listed(store, capsys)
    assert code == 1 and told in said


def test_a_whole_folder_says_so_and_folders_of_before_are_read_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = filled(tmp_path, "r1", "r2")
    whole = leaderboard.leaderboard_csv(leaderboard.build_board(store))
    code, said = listed(store, capsys)
    assert code == 0 and said == f"{tmp_path} is whole: 2 recipes, 2 parts, 6 rows, 1 grid\n"
    rewritten(store, False, seconds=pl.col("seconds"))
    path = tmp_path / "recipes" / "r1.json"
    content = json.loads(path.read_text())
    del content["seal"]
    path.write_text(json.dumps(content))
    assert leaderboard.leaderboard_csv(leaderboard.build_board(store)) == whole
    code, said = listed(store, capsys)
    assert code == 0 and said.endswith("; 2 files are of before there were digests\n")
    assert verify.main([str(tmp_path / "none")]) == 2


def of_now(folder: Path) -> Store:
    """A store whose runs are of a time when everything proves itself."""
    store = filled(folder, "r1", "r2")
    for run_id in ("r1", "r2"):
        store.write_recipe(run_id, {**recipe(run_id).as_dict(), "identity": 2})
    return store


def test_a_part_that_lost_its_digest_is_of_before_only_if_its_runs_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = of_now(tmp_path / "a")
    whole = part(store).rename(part(store).with_name("a.parquet"))
    told = r"a\.parquet proves nothing: run r1 is of a time when a part bears the digest .* was renamed"
    for use in (lambda: leaderboard.build_board(store), lambda: merge([store], Store(tmp_path / "c")), store.stored):
        with pytest.raises(StoreError, match=told):
            use()
    code, said = listed(store, capsys, "--set-aside")
    assert code == 1 and "a.parquet proves nothing" in said and not whole.exists()
    assert set(store.stored()) == {"r2"} and listed(store, capsys)[0] == 0


def saved_again(path: Path) -> None:
    with Pillow.open(path) as picture:
        picture.load()
    picture.save(path)


@pytest.mark.parametrize("now", [True, False])
def test_a_picture_that_is_saved_again_is_of_before_only_if_its_runs_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], now: bool
) -> None:
    """An editor leaves every pixel and no digest: whether a pixel changed, nobody could say."""
    store = of_now(tmp_path / "a") if now else filled(tmp_path / "a", "r1", "r2")
    store.write_recipe("old", recipe("old").as_dict() | {"benchmark": {"use": "old:B"}})
    png, photo, gathered = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Pillow.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(png, "PNG")
    Pillow.fromarray(np.zeros((3, 4, 3), np.uint8)).save(photo, "JPEG")
    np.savez(gathered, one=np.eye(3))
    keepsakes.keep_label_maps(store.folder, [Row("r1", "0", "ok", 0.0, label_map=png.getvalue())])
    keepsakes.keep_pictures(store.folder, {"use": "b:B"}, [Picture("0", photo.getvalue(), png.getvalue())])
    artefacts.keep_gathered(store.folder, [Row("feed01", "0", "ok", 0.0, gathered=gathered.getvalue())])
    label_map = keepsakes.label_map_path(store.folder, "r1", "0")
    image, truth = keepsakes.picture_paths(store.folder, {"use": "b:B"}, "0")
    assert listed(store, capsys)[0] == 0
    for path in (label_map, image, truth):
        saved_again(path)
    half = artefacts.gathered_path(store.folder, "feed01", "0")
    half.write_bytes(gathered.getvalue())
    assert keepsakes.looked_at(half), "some run of the folder is of before, and nothing says whose it is"
    (tmp_path / "a" / "recipes" / "old.json").unlink()
    reads = {label_map: keepsakes.read_map, truth: keepsakes.read_map, image: keepsakes.read_image}
    if not now:
        assert all(read(path) is not None for path, read in reads.items()) and keepsakes.looked_at(half)
        there = "2 recipes, 2 parts, 6 rows, 1 grid, 1 unfinished fit, 3 pictures"
        before = "3 files are of before there were digests"
        assert listed(store, capsys) == (0, f"{tmp_path / 'a'} is whole: {there}; {before}\n")
        return
    for path, read in reads.items():
        with pytest.raises(StoreError, match="is damaged: it has lost its digest, as a picture does that is"):
            read(path)
    with pytest.raises(StoreError, match="has lost its digest"):
        merge([store], Store(tmp_path / "c"))
    code, said = listed(store, capsys, "--set-aside")
    assert code == 1 and said.count("has lost its digest") == 4
    assert listed(store, capsys)[0] == 0


@pytest.mark.parametrize(("name", "wrong"), [("recipes/r1.json", "batch"), ("grid.json", "name")])
def test_what_lost_its_seal_is_of_before_only_if_its_runs_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, wrong: str
) -> None:
    store = of_now(tmp_path)
    content = json.loads((tmp_path / name).read_text())
    del content["seal"]
    (tmp_path / name).write_text(json.dumps({**content, wrong: "9"}))
    code, said = listed(store, capsys)
    assert code == 1 and f"{tmp_path / name} is damaged, or was changed by hand: it has lost its seal" in said
    with pytest.raises(StoreError, match="lost its seal"):
        leaderboard.build_board(store)


def test_a_leaderboard_that_is_not_what_the_rows_give_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = filled(tmp_path, "r1", "r2")
    leaderboard.write_board(leaderboard.build_board(store), tmp_path)
    path = tmp_path / "leaderboard.csv"
    whole = path.read_text()
    assert listed(store, capsys)[0] == 0
    with store.writer() as writer:
        writer.append([row("r1", "3", 10)])  # a sweep that was killed before it wrote its table
    assert listed(store, capsys)[0] == 0
    miou = next(line for line in csv.DictReader(whole.splitlines()) if line["run_id"] == "r2")["miou"]
    path.write_text(whole.replace(miou, "99.0000"))
    code, said = listed(store, capsys)
    told = "leaderboard.csv is not what the rows give (of r2); `python -m results.leaderboard DIR` makes it anew"
    assert code == 1 and told in said


def test_what_is_damaged_is_set_aside_and_the_rest_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = filled(tmp_path, "r1", "r2")
    store.event({"event": "one"})
    store.event({"event": "two"})
    events = tmp_path / "events.jsonl"
    events.write_bytes(events.read_bytes().replace(b'"one"', b'"ome"'))
    damaged = part(store)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    code, said = listed(store, capsys, "--set-aside")
    assert code == 1 and said.count("moved to") == 2 and "events.jsonl, line 1 is damaged" in said
    assert (tmp_path / "set-aside" / "rows" / damaged.name).exists()
    assert [event["event"] for event in store.events()] == ["two"]
    assert listed(store, capsys)[0] == 0
    assert set(store.stored()) == {"r2"}


def test_a_recipe_under_another_name_and_a_table_that_lists_none_are_told(tmp_path: Path) -> None:
    store = filled(tmp_path, "r1", "r2")
    (tmp_path / "recipes" / "r1.json").write_bytes((tmp_path / "recipes" / "r2.json").read_bytes())
    with pytest.raises(StoreError, match=r"r1\.json is the recipe of run 'r2', under another run's name"):
        leaderboard.build_board(store)
    (tmp_path / "grid.json").write_text('{"name": "t", "runs": "r1"}')
    with pytest.raises(StoreError, match=r"grid\.json lists no runs"):
        store.table()


def test_an_artefact_and_what_was_kept_are_refused_when_a_byte_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = filled(tmp_path / "a", "r1")
    place = artefacts.artefact_path(store.folder, "feed01")
    place.mkdir(parents=True)
    (place / "weights.bin").write_bytes(b"weights")
    artefacts.finish(store.folder, "feed01", {"learner_tells": {}})
    png = io.BytesIO()
    Pillow.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(png, "PNG")
    keepsakes.keep_label_maps(store.folder, [Row("r1", "0", "ok", 0.0, label_map=png.getvalue())])
    kept = keepsakes.label_map_path(store.folder, "r1", "0")
    assert keepsakes.read_kept(kept) == png.getvalue() and not artefacts.artefact_damage(store.folder, "feed01")
    assert listed(store, capsys)[0] == 0
    for path in (place / "weights.bin", kept):
        whole = path.read_bytes()
        path.write_bytes(whole[:3] + bytes([whole[3] ^ 1]) + whole[4:])
        with pytest.raises(StoreError, match="is damaged"):
            merge([store], Store(tmp_path / "c"))
        code, said = listed(store, capsys)
        assert code == 1 and f"{path} is damaged" in said
        path.write_bytes(whole)
    other = keepsakes.label_map_path(store.folder, "r1", "1")
    other.write_bytes(kept.read_bytes())  # whole, and another image's
    with pytest.raises(StoreError, match=r"may be another run's, or another image's"):
        keepsakes.read_map(other)
    code, said = listed(store, capsys)
    assert code == 1 and f"{other} is damaged" in said
    with pytest.raises(StoreError, match="is damaged"):  # no fit takes it
        keepsakes.looked_at(other)
    body = kept.read_bytes().rpartition(b"\nblake2b-16p ")[0]
    other.write_bytes(body + b"\nblake2b-16 %s\n" % hashlib.blake2b(body, digest_size=16).hexdigest().encode())
    assert keepsakes.read_kept(other) == png.getvalue(), "of before"
    (place / "weights.bin").unlink()
    assert "weights.bin is not there" in artefacts.artefact_damage(store.folder, "feed01")
