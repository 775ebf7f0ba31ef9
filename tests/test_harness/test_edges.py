"""What lies at the edges of a grid and of a command line: odd paths and addresses, numbers without measure."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest
from in_process import door
from toy_world import Boxes

from harness.contracts import Sample
from harness.errors import ClusterError
from harness.executors import placement
from harness.executors.ray_surroundings import check_reachable
from results.leaderboard import main

TOY = """
name: toy
methods: [{name: Flat, use: 'toy_world:Flat', with: {position: %s}}]
benchmarks: [{name: Boxes, use: 'toy_world:Boxes', with: {images: 3}}]
"""


def test_results_and_grid_are_filled_in_and_their_letters_are_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", str(tmp_path / "a [b] *?"))
    (tmp_path / "a [b] *?").mkdir()
    (tmp_path / "a [b] *?" / "grid.yaml").write_text(TOY % "[0, 1]")
    for todo in (6, 0):
        answer = door("$PLACE/grid.yaml", "--results", "$PLACE/r[u]n*", cwd=tmp_path)
        assert answer.returncode == 0 and f"{todo} image results to do" in answer.stdout
    assert (tmp_path / "a [b] *?" / "r[u]n*" / "leaderboard.csv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a [b] *?"]


def test_a_name_that_no_file_can_have_is_said(tmp_path: Path) -> None:
    long = "x" * 300
    for grid, results in ((f"{long}.yaml", "runs"), ("grid.yaml", long)):
        answer = door(grid, "--plan", "--results", results, cwd=tmp_path)
        assert answer.returncode == 2 and answer.stderr.startswith(f"no file can be called '{long[:50]}")
    assert main([long]) == 2
    (tmp_path / "grid.yaml").write_text(TOY.replace("toy_world:Flat", f"{long}:Flat") % 0)
    assert "grid.yaml, line 3: " in door("grid.yaml", "--plan", cwd=tmp_path).stderr


@pytest.mark.parametrize("address", ["x" * 400 + ":6379", "ray://" + "x." * 200 + "y:1", "a\0b:1", "x" * 400])
def test_an_address_that_nothing_can_have_is_an_unknown_address(address: str) -> None:
    with pytest.raises(ClusterError, match=r"No Ray cluster answers at|write auto, HOST:PORT") as raised:
        check_reachable(address)
    assert len(str(raised.value)) < 400


def test_numbers_without_measure_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(TOY % 0)
    for key, most in (("workers", "'auto' or less than or equal to 10000"), ("threads", "less than or equal to 1024")):
        (tmp_path / "grid.yaml").write_text(TOY % 0 + f"cluster: {{{key}: 1000000000}}\n")
        answer = door("grid.yaml", "--plan", cwd=tmp_path)
        said = f"grid.yaml, line 5: {key} must be {most}"
        assert answer.returncode == 2 and answer.stderr.startswith(said)
    (tmp_path / "grid.yaml").write_text(TOY % 0 + "batch: 1000000000\n")
    assert "batch must be less than or equal to 4096" in door("grid.yaml", "--plan", cwd=tmp_path).stderr
    refused = door("toy.yaml", "--plan", "--workers", "1000000000", cwd=tmp_path)
    assert refused.returncode == 2 and "1000000000 are too many; give at most 10000" in refused.stderr


def test_the_most_workers_share_a_large_cluster() -> None:
    nodes = [{"CPU": 64.0}] * 100 + [{"CPU": 96.0}] * 100
    assert placement.choose_place(nodes, 10_000, None, 0.0).cpus == 1.0
    assert placement.choose_place([{"CPU": 2.0}], 10_000, None, 0.0).cpus == 2e-4


def test_too_many_combinations_are_refused_before_any_is_made(tmp_path: Path) -> None:
    words = "[a, b, c, d, e, f, g, h, i, j]"
    axes = f"{{timestep: {list(range(100))}, part: {words}, refine: {words}}}"
    text = TOY.replace("Flat'", "ToyReader'").replace("{position: %s}", axes)
    text = text.replace("images: 3", f"images: {list(range(10))}")
    (tmp_path / "grid.yaml").write_text(text)
    answer = door("grid.yaml", "--plan", cwd=tmp_path)
    assert answer.returncode == 2 and answer.stderr.startswith("grid.yaml, line 3: ")
    assert "make 100000 combinations before any exclude; 10000 is the most: split the grid" in answer.stderr


def test_a_long_plan_shows_its_first_runs_and_counts_the_rest(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(TOY % f"[{', '.join(map(str, range(230)))}]")
    shown = door("grid.yaml", "--plan", cwd=tmp_path).stdout
    assert "position=199" in shown and "position=200" not in shown
    assert "... and 30 more; --plan --json lists all." in shown and "230 runs, 0 of them stored; 690 image" in shown
    assert len(json.loads(door("grid.yaml", "--plan", "--json", cwd=tmp_path).stdout)["runs"]) == 230


def test_a_word_of_a_class_that_stands_for_the_background_too_is_told(tmp_path: Path) -> None:
    """Of equals the background wins: the one word of a class finds nothing; one of several leaves the others."""
    (tmp_path / "names.yaml").write_text("[red, [green, Lime], blue]")
    for rule, told in (
        ("background: prompts, context: [Red, sky, lime]", ["'red' stands", "'Lime' stands"]),
        ("background: class, background_names: [green, sky]", ["'green' stands"]),
        ("background: ignored", []),
    ):
        (tmp_path / "grid.yaml").write_text(TOY % 0 + f"protocol: {{names: names.yaml, {rule}}}\n")
        answer = door("grid.yaml", "--plan", cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        lines = [line for line in answer.stdout.splitlines() if "stands for a class of" in line]
        assert [" ".join(line.split()[:2]) for line in lines] == told
        assert all(line.endswith("find the class nowhere.") is line.startswith("'red'") for line in lines), lines


@pytest.mark.parametrize("inherited", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_hangup_ends_a_sweep_as_sigterm_does_unless_it_was_inherited_as_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherited: signal.Handlers
) -> None:
    (tmp_path / "grid.yaml").write_text(TOY % 0)

    def hung_up(_self: Boxes, image_id: str) -> Sample:
        if not once:  # a second one could come when the sweep has ended, and end this process
            once.append(image_id)
            signal.raise_signal(signal.SIGHUP)
        return real(_self, image_id)

    real, once = Boxes.load, list[str]()
    monkeypatch.setattr(Boxes, "load", hung_up)
    before = signal.signal(signal.SIGHUP, inherited)
    try:
        answer = door("grid.yaml", cwd=tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
        for thread in threading.enumerate():  # who was just being started when the signal came is waited for by nobody
            if thread.name.startswith("decode"):
                thread.join()
    assert answer.returncode == (130 if inherited == signal.SIG_DFL else 0)
    assert once and ("Interrupted; what is done is kept" in answer.stderr) is (inherited == signal.SIG_DFL)
