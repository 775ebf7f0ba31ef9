"""Rows know the artefact that they were computed with, and fits the label maps that were looked at: no others count."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
import toy_bucket
import toy_chain
from in_process import Answer, call, door
from toy_chain import cards, events, tables

from harness import status
from results import leaderboard, merge, verify
from results.folder.store import Store
from results.mirror import layout

GRID = """
name: moods
methods:
  - {name: Bright, use: toy_learners:Brightest}
  - {name: First, use: toy_learners:Moody, with: {teacher: Bright}}
  - {name: Second, use: toy_learners:Colours, with: {teacher: First}}
benchmarks:
  - {name: Boxes, use: toy_learners:SplitBoxes, with: {images: 6}, train: {split: train, images: 5}}
batch: 3
"""


def swept(folder: Path, *more: str) -> Answer:
    (folder / "grid.yaml").write_text(GRID)
    answer = door("grid.yaml", *more, cwd=folder)
    assert answer.returncode == 0, answer.stderr
    return answer


def rewrite(folder: Path, rows: pl.DataFrame) -> None:
    """These rows in place of all."""
    for part in (folder / "runs" / "rows").iterdir():
        part.unlink()
    with Store(folder / "runs").writer() as writer:
        writer.write(rows)


def lose(folder: Path, *images: str, learners: Sequence[str] = ("First",)) -> pl.DataFrame:
    """Take away what learners have learned, and their rows of some images; the rows that are left."""
    for name in learners:
        shutil.rmtree(folder / "runs" / "artefacts" / cards(folder)[name]["artefact_id"])
    rows = Store(folder / "runs").rows()
    of = [run_id for run_id, recipe in Store(folder / "runs").recipes().items() if recipe.method_name in learners]
    rest = rows.filter(~(pl.col("run_id").is_in(of) & pl.col("image_id").is_in(images)))
    assert rest.height == rows.height - len(images) * len(learners)
    rewrite(folder, rest)
    return rest


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    swept(folder)
    return folder


def test_rows_of_what_was_learned_before_are_computed_anew(whole: Path, tmp_path: Path) -> None:
    """In all of the chain: the second learner was taught by maps of the first one."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (other := tmp_path / "other").mkdir()
    (other / "mood").touch()
    swept(other)
    assert tables(other)[0].split(b"\n")[1:] != tables(whole)[0].split(b"\n")[1:]
    lose(tmp_path, "val-001", "val-004")
    (tmp_path / "mood").touch()
    said = swept(tmp_path).stdout
    assert "9 stored image results are of an artefact of other bytes, and do not count." in said  # 4 of val, 5 of train
    assert tables(tmp_path) == tables(other)
    assert [event["method"] for event in events(tmp_path, "fit")] == ["First", "Second"] * 2
    assert verify.main([str(tmp_path / "runs")]) == 0
    assert Store(tmp_path / "runs").rows().group_by("run_id").agg(pl.col("artefact").n_unique())["artefact"].max() == 1


def test_what_was_taught_by_something_else_is_learned_anew_in_a_grid_that_comes_later(
    whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    lose(tmp_path, "val-001")
    (tmp_path / "mood").touch()
    (tmp_path / "third.yaml").write_text(GRID.replace("Second", "Third").replace("First}", "First, shift: 1.0}"))
    assert door("third.yaml", cwd=tmp_path).returncode == 0
    plan = json.loads(swept(tmp_path, "--plan", "--json").stdout)
    found = {(step["step"], step["method"]): step["missing"] for step in plan["steps"] if step["missing"]}
    assert found == {("fit", "Second"): 1, ("score", "Second"): 6}


@pytest.mark.parametrize("other", [True, False])
def test_a_learner_whose_teacher_learns_anew_waits_for_its_maps(other: bool, whole: Path, tmp_path: Path) -> None:
    """Both were lost, the teacher's maps were not: it is fitted once, and also where the teacher learns the same."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    before = len(events(tmp_path, "fit begun"))
    lose(tmp_path, "val-001", learners=("First", "Second"))
    if other:
        (tmp_path / "mood").touch()
    swept(tmp_path)
    assert [event["method"] for event in events(tmp_path, "fit begun")[before:]] == ["First", "Second"]
    assert (tables(tmp_path) == tables(whole)) is not other and verify.main([str(tmp_path / "runs")]) == 0


def test_a_learner_whose_teacher_cannot_learn_anew_is_left_out_and_tried_by_the_same_command(
    whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    lose(tmp_path, "val-001", learners=("First", "Second"))
    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "torn").touch()
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 3 and answer.stderr.count("cannot be fitted") == 1 and not cards(tmp_path)
    assert "First cannot be fitted, and what needs it is left out: " in answer.stderr
    (tmp_path / "torn").unlink()
    swept(tmp_path)
    assert tables(tmp_path) == tables(whole)


def test_a_bucket_that_stayed_behind_is_told_with_two_ways_out_that_work(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore")
    buckets = toy_bucket.in_place_of_buckets(monkeypatch)
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    swept(tmp_path, "--mirror", toy_bucket.URL)
    lose(tmp_path, "val-001")
    (tmp_path / "mood").touch()
    swept(tmp_path)
    assert (later := tables(tmp_path)) != tables(whole)
    files = layout.files_of(tmp_path / "runs")
    said = door("grid.yaml", "--mirror", toy_bucket.URL, cwd=tmp_path)
    assert said.returncode == 2 and "different counts" in said.stderr and "artefacts' files" in said.stderr
    assert "name another URL with --mirror" in said.stderr and "give --results a new folder" in said.stderr
    assert layout.files_of(tmp_path / "runs") == files and "LOCK" not in buckets.objects()
    swept(tmp_path, "--mirror", "s3://lab/anew")
    assert tables(tmp_path) == later
    assert buckets.objects("s3://lab/anew")["leaderboard.csv"] == later[0]
    (tmp_path / "mood").unlink()
    swept(tmp_path, "--mirror", toy_bucket.URL, "--results", "former")
    assert (tmp_path / "former" / "leaderboard.csv").read_bytes() == tables(whole)[0]


def half_fitted(folder: Path) -> Path:
    """Second has been stopped after three images; where the sums of these lie."""
    (folder / "grid.yaml").write_text("\n".join(line for line in GRID.splitlines() if "Second" not in line))
    assert toy_chain.door(folder) == 0
    (folder / "grid.yaml").write_text(GRID)
    assert toy_chain.door(folder, wish="stop at fit 3") == 130
    (sums,) = (folder / "runs" / "artefacts").glob("*/unfinished/sums.json")
    return sums


def test_what_a_learner_has_but_begun_is_told_by_every_verb_and_stays_where_it_is(tmp_path: Path) -> None:
    sums = half_fitted(tmp_path)
    lies, before = sums.parents[1].relative_to(tmp_path / "runs").as_posix(), sums.read_bytes()
    both = tmp_path / "both"
    for command, words, code, told in (
        (status.main, ["runs"], 0, "fit Second: unfinished; the same command goes on with it"),
        (verify.main, ["runs"], 0, "1 unfinished fit"),
        (leaderboard.main, ["runs"], 0, f"Second has not learned yet: what there is of its fit lies in {lies}/"),
        (merge.main, ["runs", "--into", "both"], 0, f"1 unfinished fit stayed behind in runs ({lies})"),
        (status.main, ["both"], 2, "both tells of no sweep: it was merged, and none has begun in it since"),
        (verify.main, ["both"], 0, "both is whole"),
    ):
        answer = call(command, *words, cwd=tmp_path)
        assert answer.returncode == code and told in " ".join((answer.stdout + answer.stderr).split()), answer
    assert sums.read_bytes() == before and not list(both.glob("artefacts/*/unfinished"))
    assert "unfinished" not in call(verify.main, "both", cwd=tmp_path).stdout


def test_a_fit_does_not_go_on_from_lessons_that_others_have_replaced(whole: Path, tmp_path: Path) -> None:
    """Stopped half-way, then the teacher learns again for a grid that knows nothing of it."""
    half_fitted(tmp_path)
    (other := tmp_path / "other").mkdir()
    (other / "mood").touch()
    swept(other)
    lose(tmp_path, "val-001")
    (tmp_path / "mood").touch()
    (tmp_path / "third.yaml").write_text(GRID.replace("Second", "Third").replace("First}", "First, shift: 1.0}"))
    assert door("third.yaml", cwd=tmp_path).returncode == 0
    plan = json.loads(swept(tmp_path, "--plan", "--json").stdout)
    assert {step["method"] for step in plan["steps"] if step["missing"]} == {"Second"}
    swept(tmp_path)
    assert cards(tmp_path)["Second"]["learner_tells"] == cards(other)["Second"]["learner_tells"]
    assert cards(other)["Second"]["learner_tells"]["started"] == 0 and tables(tmp_path) == tables(other)


@pytest.mark.parametrize("told", [True, False])
def test_a_fit_goes_on_where_it_is_told_which_lessons_it_began_with(told: bool, whole: Path, tmp_path: Path) -> None:
    lessons = half_fitted(tmp_path).with_name("lessons.json")
    if not told:
        lessons.write_text(lessons.read_text().replace('"samples": "', '"samples": "0'))
    swept(tmp_path)
    assert cards(tmp_path)["Second"]["learner_tells"]["started"] == (3 if told else 0)
    assert tables(tmp_path) == tables(whole)


def test_what_is_learned_again_to_the_same_bits_costs_no_row(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    before = len(events(tmp_path, "batch"))
    rest = lose(tmp_path, "val-001")
    swept(tmp_path)
    anew = events(tmp_path, "batch")[before:]
    assert sum(event["rows"] for event in anew) == 1 and tables(tmp_path) == tables(whole)
    rows = Store(tmp_path / "runs").rows()
    assert rest.join(rows, on=rest.columns[:3], how="anti").is_empty()
    own = rows.filter(pl.col("artefact").is_not_null())
    assert own.height == 6 + 5 + 6 and own["artefact"].n_unique() == 2  # of First on val and train, of Second on val


def test_rows_of_before_and_rows_of_another_artefact_are_told(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    rows, store = Store(tmp_path / "runs").rows(), Store(tmp_path / "runs")
    rewrite(tmp_path, rows.with_columns(artefact=pl.lit(None, pl.String)))
    plan = json.loads(swept(tmp_path, "--plan", "--json").stdout)
    assert {step["missing"] for step in plan["steps"]} == {0}, "rows of before say nothing, and stay"
    (run_id,) = [i for i, recipe in store.recipes().items() if recipe.method_name == "First" and recipe.images == 6]
    one = (pl.col("run_id") == run_id) & (pl.col("image_id") == "val-002")
    rewrite(tmp_path, rows.with_columns(artefact=pl.when(one).then(pl.lit("0" * 32)).otherwise("artefact")))
    assert verify.main([str(tmp_path / "runs")]) == 1
    said = capsys.readouterr().out
    assert f"1 rows of run {run_id} are of another artefact {cards(tmp_path)['First']['artefact_id']} than" in said
    board = call(leaderboard.main, "runs", cwd=tmp_path)
    assert f"Run {run_id} has rows of 2 artefacts" in board.stdout + board.stderr
    plan = json.loads(swept(tmp_path, "--plan", "--json").stdout)
    (score,) = [step for step in plan["steps"] if step["id"] == run_id]
    assert score["missing"] == 1 and score["why"] == "1 image is of an artefact of other bytes"
    swept(tmp_path)
    assert tables(tmp_path) == tables(whole) and verify.main([str(tmp_path / "runs")]) == 0


def test_rows_of_two_artefacts_count_as_missing_where_neither_is_there(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    rows = Store(tmp_path / "runs").rows()
    two = rows.filter(pl.col("artefact").is_not_null() & (pl.col("image_id") == "val-002"))
    rewrite(tmp_path, rows.with_columns(artefact=pl.when(pl.col("image_id") == "val-002").then(
        pl.when(pl.col("artefact").is_not_null()).then(pl.lit("0" * 32))).otherwise("artefact")))  # fmt: skip
    shutil.rmtree(tmp_path / "runs" / "artefacts")
    plan = json.loads(swept(tmp_path, "--plan", "--json").stdout)
    missing = {step["method"]: step["missing"] for step in plan["steps"] if step["step"] == "score"}
    assert two.height == 2 and missing == {"Bright": 0, "First": 6, "Second": 6}
    swept(tmp_path)
    assert tables(tmp_path) == tables(whole) and verify.main([str(tmp_path / "runs")]) == 0


def test_label_maps_that_change_while_others_learn_end_the_fits_that_read_them(tmp_path: Path) -> None:
    grid = GRID.replace(":Moody", ":Vandal").replace(":Colours", ":Vandal")
    (tmp_path / "grid.yaml").write_text(grid.replace("teacher: First", "teacher: Bright, shift: 1.0"))
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 3 and len(cards(tmp_path)) == 1, answer  # whichever came first
    (other,) = {"First", "Second"} - set(cards(tmp_path))
    assert f"{other} cannot be fitted, and what needs it is left out: " in answer.stderr
    assert "was changed while a sweep learns from it: its bytes are not those that lay there before" in answer.stderr


@pytest.mark.parametrize("other", [True, False])
def test_of_several_jobs_too_no_learner_rests_on_what_its_teacher_learns_anew(
    other: bool, whole: Path, tmp_path: Path
) -> None:
    """Nothing is left for all jobs but an image that failed, so that the first one could learn both at once."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    rows = Store(tmp_path / "runs").rows()
    rest = lose(tmp_path, "val-001", learners=("First", "Second"))
    failed = rows.join(rest, on=rest.columns[:2], how="anti").with_columns(
        pl.col("true", "predicted", "pixels").list.head(0), status=pl.lit("failed"), error=pl.lit("torn")
    )
    rewrite(tmp_path, pl.concat([rest, failed]))
    if other:
        (tmp_path / "mood").touch()
    assert "Second waits for what First learns anew." in swept(tmp_path, "--plan", "--shard", "1/2").stdout
    place = "runs"
    for turn in range(9):
        for number in (1, 2):
            said = " ".join(swept(tmp_path, "--results", place, "--shard", f"{number}/2").stdout.split())
            assert ("Second waits for what First learns anew." in said) == (turn == 0)
        shards = sorted(map(str, (tmp_path / place / "shards").iterdir()))
        if " --into runs-anew`" in said and place == "runs":
            answer = call(merge.main, *shards, "--into", place, cwd=tmp_path)
            assert answer.returncode == 3 and "what a method had learned was learned anew" in answer.stderr
            answer = door("grid.yaml", "--shard", "1/2", cwd=tmp_path)
            assert answer.returncode == 2 and "and go on with `--results runs-anew`" in answer.stderr, answer.stderr
            place = "runs-anew"
        answer = call(merge.main, *shards, "--into", place, cwd=tmp_path)
        assert answer.returncode == 0, answer
        if "for the tables" in said:
            break
    swept(tmp_path, "--results", place)
    jobs = [Store(one / "shards" / "1-of-2") for one in (tmp_path / "runs", tmp_path / "runs-anew")]
    begun = [event["method"] for job in jobs for event in job.events() if event["event"] == "fit begun"]
    assert begun == ["First", "Second"] and verify.main([str(tmp_path / place)]) == 0
    (alone := tmp_path / "alone").mkdir()
    if other:
        (alone / "mood").touch()
        swept(alone)
    expected = tables(alone if other else whole)
    assert [(tmp_path / place / name).read_bytes() for name in ("leaderboard.csv", "matrix.csv")] == list(expected)
