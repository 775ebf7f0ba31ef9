"""Part of a grid: what is missing is told at once, what is not here or not asked for is a hole, and all is recorded."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from in_process import Answer, call, door

from harness.errors import GridError
from harness.grid import reading as grids
from results import leaderboard
from results.folder.store import Store
from results.merge import merge
from results.tables import formats, matrices
from results.tables.evidence import gather

GRID = """\
name: part
methods:
  - {name: Flat, use: 'toy_world:Flat', with: {position: [0, 1]}}
  - {name: Net, use: 'toy_rooted:Modelled', with: {model: here}}
benchmarks:
  - {name: Near, use: 'toy_rooted:Rooted', with: {root: near}}
  - {name: Far.1, use: 'toy_rooted:Rooted', with: {root: '${FAR_DATA}/far', images: 5}}
  - {name: Gone, use: 'toy_rooted:Rooted', with: {root: gone, images: [2, 3]}}
protocol: voc20
tables:
  - {name: all, rows: [method, variant], average: true}
  - {name: some, rows: method, where: {method: Net, benchmark: [Near]}, average: true}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FAR_DATA", raising=False)
    (tmp_path / "near").mkdir()
    (tmp_path / "grid.yaml").write_text(GRID)
    return tmp_path


def sweep(place: Path, *options: str) -> Answer:
    return door("grid.yaml", *options, cwd=place)


def told(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "runs" / "grid.json").read_text())
    return found


def matrix(place: Path, file: str = "matrix.csv") -> list[dict[str, str]]:
    return list(csv.DictReader((place / "runs" / file).open()))


def tables(place: Path) -> dict[str, list[dict[str, str]]]:
    """The declared tables as CSV."""
    evidence = gather(Store(place / "runs"))
    texts = {
        one.name: formats.to_csv(matrices.build_matrix(evidence, one)) for one in matrices.declared(evidence.store)
    }
    return {name: list(csv.DictReader(io.StringIO(text))) for name, text in texts.items()}


def test_all_that_is_missing_is_told_at_once(place: Path) -> None:
    for option in ("--plan", "--limit=1"):
        answer = sweep(place, option, "--set", "methods.Net.with.model=owner/net")
        assert answer.returncode == 2 and "Traceback" not in answer.stderr
        assert answer.stderr.splitlines() == [
            "Net: The model 'owner/net' has no pinned revision.",
            "Far.1: its root names the variable FAR_DATA, which is not set: `export FAR_DATA=FOLDER`",
            f"'{place}/gone' is not a folder of boxes.",
        ]
    assert not (place / "runs" / "grid.json").exists()
    (place / "near").rmdir()
    sets = ["benchmarks.Near.with.root=${FAR_DATA}/near", "benchmarks.Gone.with.root=${FAR_DATA}/gone"]
    told_of = sweep(place, "--plan", *(f"--set={one}" for one in (*sets, "methods.Net.with.model=owner/net")))
    assert told_of.stderr.splitlines() == [
        "Near, Far.1, Gone images=2, Gone images=3: its root names the variable FAR_DATA, which is not set: "
        "`export FAR_DATA=FOLDER`",
        "Net: The model 'owner/net' has no pinned revision.",
    ], "the model too, though no data set is here"


def test_templates_that_are_not_there_are_told_with_all_else(place: Path) -> None:
    (place / "grid.yaml").write_text(
        GRID.replace("protocol: voc20", "protocol: {vocabulary: all, templates: some.txt}").replace(
            "with: {model: here}", "with: {model: here}, protocols: {Near: {preset: sclip, names: own}}"
        )
    )
    how = "write them with `python -m methods.text_templates imagenet80 > imagenet80.txt` and add"
    for option in ("--plan", "--limit=1"):
        answer = sweep(place, option)
        assert answer.returncode == 2 and "Traceback" not in answer.stderr
        first, second, *others = answer.stderr.splitlines()
        assert (
            f"line 9: {place}/some.txt cannot be read: there is no such file; `python -m methods.text_templates"
            in first
        )
        assert f"line 4: preset 'sclip' needs the sentences of imagenet80: {how}" in second
        assert [one.partition(":")[0] for one in others] == ["Far.1", f"'{place}/gone' is not a folder of boxes."]
    with pytest.raises(GridError, match="there is no such file"):  # who does not ask for all of it
        grids.read_grid(place / "grid.yaml")


def test_what_is_not_on_this_machine_is_a_hole(place: Path) -> None:
    answer = sweep(place, "--available")
    assert answer.returncode == 0, answer.stderr
    assert (
        "Left out: Gone images=2: " in answer.stdout and "Far.1 is a hole: its root names the variable" in answer.stdout
    )
    left = told(place)["left_out"]
    assert [(one["benchmark"], one["method"]) for one in left] == [
        ("Far.1", ""),
        ("Gone images=2", ""),
        ("Gone images=3", ""),
    ]
    assert told(place)["asked"] == {"available": True}
    for line in matrix(place):
        assert line["Near"] and not (line["Far.1"] or line["Gone images=2"] or line["Gone images=3"])
    for line in tables(place)["all"]:
        assert line["Near"] and line["average"] == "" and "average: 1 of 4 data sets" in line["missing"]
        assert f"Gone images=2: {place}/gone is not on this machine" in line["missing"]
    (some,) = tables(place)["some"]
    assert "Far.1" not in some and some["average"] == some["Near"], "a table is about what it names"
    assert call(leaderboard.main, place / "runs", cwd=place).returncode == 0
    (place / "gone").mkdir()
    again = sweep(place, "--available")
    assert again.returncode == 0 and [one["benchmark"] for one in told(place)["left_out"]] == ["Far.1"]
    (place / "gone" / "broken").touch()
    broken = sweep(place, "--available")
    assert broken.returncode == 2 and "has no list" in broken.stderr, "what is there must be whole"


def test_a_part_is_computed_and_the_table_stays_the_whole_grids(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_DATA", str(place))
    for name in ("far", "gone"):
        (place / name).mkdir()
    first = sweep(place, "--benchmark", "Gone", "--method", "Flat position=1")
    assert first.returncode == 0 and "10 runs are not asked for" in first.stdout
    board = matrix(place, "leaderboard.csv")
    assert len(board) == 12 and [line["benchmark"] for line in board if line["images"] != "0"] == [
        "Gone images=2",
        "Gone images=3",
    ]
    assert told(place)["asked"] == {"benchmark": ["Gone"], "method": ["Flat position=1"]}
    plan = json.loads(sweep(place, "--plan", "--json", "--method", "Net").stdout)
    assert plan["images_missing"] == 4 + 5 + 2 + 3
    assert sum(one["why"] == "not asked for" for one in plan["runs"]) == 6
    rest = sweep(place)
    assert rest.returncode == 0 and {line["failed"] for line in matrix(place, "leaderboard.csv")} == {"0"}
    assert "asked" not in told(place) and "37 image results" in rest.stdout


def test_what_is_not_asked_for_need_not_be_here(place: Path) -> None:
    answer = sweep(place, "--benchmark", "Near", "--method", "Flat", "--set", "methods.Net.with.model=owner/net")
    assert answer.returncode == 0, answer.stderr
    left = [(one["benchmark"], one["method"]) for one in told(place)["left_out"]]
    assert ("Near", "Net") in left and ("Far.1", "") in left
    wrong = sweep(place, "--benchmark", "Naer")
    assert (
        wrong.returncode == 2
        and "--benchmark Naer: the grid has none of this name; did you mean 'Near'?" in wrong.stderr
    )
    assert "(methods: Flat position=0, Flat position=1, Net)" in sweep(place, "--method", "X").stderr
    nothing = sweep(place, "--benchmark", "Far.1", "--available")
    assert nothing.returncode in (0, 3) and "Far.1 is a hole" in nothing.stdout


def test_folders_of_machines_that_hold_other_sets_merge_into_the_whole_table(place: Path) -> None:
    options = "--available", "--set", "benchmarks.Far.1.with.root=far"
    for machine, mine in (("one", "near"), ("two", "far")):
        for name in ("near", "far"):
            (place / name).mkdir(exist_ok=True) if name == mine else (place / name).is_dir() and (place / name).rmdir()
        assert sweep(place, *options, "--results", machine).returncode == 0
    merge([Store(place / "one"), Store(place / "two")], Store(place / "runs"))
    absent = [one["benchmark"] for one in told(place)["left_out"]]
    assert absent == ["Gone images=2", "Gone images=3"], "what neither has"
    assert call(leaderboard.main, place / "runs", cwd=place).returncode == 0
    for line in matrix(place):
        assert line["Near"] and line["Far.1"] and not line["Gone images=2"]


def changed(place: Path, *changes: str) -> grids.Grid:
    return grids.read_grid(place / "grid.yaml", changes)


def test_values_are_set_in_the_files_place(place: Path) -> None:
    found = changed(
        place, "batch=3", "protocol.background=constant", "protocol.threshold=[0.4, 0.5]", "cluster.workers=2",
        "methods.Flat.with.position=2", "benchmarks.Far.1.with.root=near", "name=other",
    )  # fmt: skip
    assert (found.name, found.batch, found.cluster.workers) == ("other", 3, 2)
    assert {(one.protocol.vocabulary, one.protocol.threshold) for one in found.cells} == {("all", 0.4), ("all", 0.5)}
    assert {one.variant for one in found.cells} == {""}
    roots = {one.benchmark_name: one.benchmark.as_dict()["root"] for one in found.cells}
    assert roots["Far.1"] == str(place / "near")
    assert changed(place).cells != found.cells and changed(place).cells == grids.read_grid(place / "grid.yaml").cells


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("batch", "--set batch: this is no key=value; write such as --set batch=4"),
        ("=4", "this is no key=value"),
        ("batch=x", "--set batch=x: batch must be a whole number, not 'x'"),
        ("protocol.treshold=1", "--set protocol.treshold=1: protocol has no key 'treshold'; did you mean 'threshold'?"),
        (
            "methods.Flt.with.position=1",
            "nothing in methods is called 'Flt'; did you mean 'Flat'? (methods: Flat, Net)",
        ),
        (
            "methods.Flat.with.position=[1, 1]",
            "--set methods.Flat.with.position=[1, 1]: the axis 'position' holds 1 twice",
        ),
        ("name.x=1", "--set name.x=1: name is 'part' in the grid, which holds no keys"),
        ("batch=[1", "--set batch=[1: "),
        ("protocol..x=1", "the key has an empty part"),
        ("methods.Flat.with.positoin=1", "--set methods.Flat.with.positoin=1: "),
        ("batch=!!python/object:os.system 1", "is not allowed"),
    ],
)
def test_what_is_set_wrongly_is_told_as_it_was_set(place: Path, change: str, sentence: str) -> None:
    with pytest.raises(GridError) as caught:
        changed(place, change)
    assert sentence in str(caught.value) and "\n" not in str(caught.value), caught.value
