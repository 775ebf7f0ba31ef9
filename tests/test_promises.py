"""What the whole system promises, tried through the door: same bytes whoever computes, strangers, bounded crashes."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import door

from harness.executors import suspects
from harness.executors.seam import LocalExecutor
from harness.work import arithmetic
from results.folder.store import Store

ROOT = Path(__file__).parent.parent

SHAPES = """
name: shapes
methods:
  - name: StableSeg
    use: methods.stableseg:StableSeg
    with: {model: shapes, timestep: [1, 300], refine: [none, sar]}
  - name: MaskCLIP
    use: methods.maskclip:MaskCLIP
    with: {model: shapes}
  - {name: RandomLabels, use: methods.controls:RandomLabels}
benchmarks:
  - name: Shapes
    use: benchmarks.shapes:Shapes
    with: {images: 6}
batch: 2
"""


def tables(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "leaderboard.csv").read_bytes(), (folder / "matrix.csv").read_bytes()


def board(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "leaderboard.csv").open(newline="") as file:
        return {f"{row['method']} {row['variant']}".strip(): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Shapes grid and its results as computed in one process."""
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "grid.yaml").write_text(SHAPES)
    answer = door("grid.yaml", "--results", "local", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    return folder


def test_the_tables_are_the_same_bytes_from_two_nodes_of_ray_as_from_one_process(
    tmp_path: Path, ray_address: str
) -> None:
    """Those of StableSeg: tests/test_learning_chain.py."""
    before, _, after = SHAPES.partition("  - name: StableSeg")
    (tmp_path / "grid.yaml").write_text(before + "  - name: MaskCLIP" + after.partition("  - name: MaskCLIP")[2])
    assert door("grid.yaml", "--results", "local", cwd=tmp_path).returncode == 0
    (tmp_path / "on_ray.yaml").write_text((tmp_path / "grid.yaml").read_text() + "cluster: {shard_batches: 1}\n")
    more = ("--address", ray_address, "--workers", "2", "--results", "ray")
    answer = door("on_ray.yaml", *more, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert tables(tmp_path / "ray") == tables(tmp_path / "local")
    store = Store.open(tmp_path / "ray", create=False)
    assert store.rows()["card"].unique().to_list() == [arithmetic.kind_of_card()]
    begun = {event["worker"] for event in store.events() if event["event"] == "lease" and event["since"]}
    assert begun == {event["worker"] for event in store.events() if event["event"] == "worker_ready"} != set()


def test_shuffled_shards_of_any_size_give_the_same_bytes(
    shapes: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, order = LocalExecutor.run, random.Random(seed)
    monkeypatch.setattr(LocalExecutor, "run", lambda self, shards: run(self, order.sample(shards, len(shards))))
    (shapes / "shuffled.yaml").write_text(SHAPES + "cluster: {shard_batches: 1}\n")
    assert door("shuffled.yaml", "--results", "shuffled", cwd=shapes).returncode == 0
    assert tables(shapes / "shuffled") == tables(shapes / "local")


def test_a_run_has_the_same_counts_alone_and_when_its_neighbours_are_stored(shapes: Path) -> None:
    alone = SHAPES.replace("timestep: [1, 300], refine: [none, sar]", "timestep: 300, refine: sar")
    (shapes / "alone.yaml").write_text(
        alone.split("  - name: MaskCLIP")[0] + "benchmarks:" + alone.split("benchmarks:")[1]
    )
    assert door("alone.yaml", "--results", "alone", cwd=shapes).returncode == 0
    (lonely,) = board(shapes / "alone").values()
    company = board(shapes / "local")["StableSeg timestep=300 refine=sar"]
    assert lonely["run_id"] == company["run_id"]
    for column in ("miou", "image_miou", "pixel_accuracy"):
        assert lonely[column] == company[column]
    # The one run is stored; its neighbours are computed around it, with it left out.
    assert door("grid.yaml", "--results", "alone", cwd=shapes).returncode == 0
    assert tables(shapes / "alone") == tables(shapes / "local")


def test_a_limited_sweep_that_is_finished_later_ends_in_the_same_bytes(shapes: Path) -> None:
    assert door("grid.yaml", "--limit", "3", "--results", "resumed", cwd=shapes).returncode == 0
    assert door("grid.yaml", "--results", "resumed", cwd=shapes).returncode == 0
    assert tables(shapes / "resumed") == tables(shapes / "local")


STRANGERS = """
name: strangers
methods:
  - name: Flat
    use: {use}
    with: {{class_index: [0, 1]}}
benchmarks:
  - {{name: Boxes, use: toy_world:Boxes}}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stranger's package, built and installed into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(target)]
    source = tmp_path_factory.mktemp("source") / "stranger"
    subprocess.run(["cp", "-r", str(ROOT / "tests" / "stranger"), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, capture_output=True)
    return target


def test_a_method_in_an_installed_package_runs_without_an_edit_here(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(STRANGERS.format(use="stranger_segmentation:FlatGuess"))
    answer = door("grid.yaml", cwd=tmp_path, path=installed)
    assert answer.returncode == 0, answer.stderr
    assert {row["images"] for row in board(tmp_path / "runs").values()} == {"10"}


def beside_the_grid(folder: Path) -> None:
    """The stranger's method as a plain file."""
    source = (ROOT / "tests" / "stranger" / "stranger_segmentation" / "__init__.py").read_text()
    (folder / "my_method.py").write_text(source)


def test_a_method_in_a_plain_file_beside_the_grid_runs(tmp_path: Path) -> None:
    beside_the_grid(tmp_path)
    (tmp_path / "grid.yaml").write_text(STRANGERS.format(use="my_method:FlatGuess"))
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert {row["failed"] for row in board(tmp_path / "runs").values()} == {"0"}


ON_RAY = """
name: strangers
methods:
  - {name: Installed, use: stranger_segmentation:FlatGuess}
  - {name: Beside, use: my_method:FlatGuess}
  - {name: Deadly, use: toy_world:Moody, with: {mood: die}}
  - {name: Own, use: careless:Reckless, process: own, with: {ends_at: 9}}
  - {name: Colours, use: toy_world:ToyReader}
benchmarks:
  - {name: Boxes, use: toy_world:Boxes, with: {images: 2}}
batch: 1
"""


def test_strangers_run_on_ray_and_those_that_kill_their_process_end_as_failed_rows(
    installed: Path, tmp_path: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an installed package and a file beside the grid; one dies with all others, one in a process of its own."""
    monkeypatch.setattr(suspects, "REST", 0.5)  # the scheduler's tests hold rest and tries, in virtual time
    monkeypatch.setattr(suspects, "TRIES", 1)
    beside_the_grid(tmp_path)
    (tmp_path / "grid.yaml").write_text(ON_RAY)
    answer = door("grid.yaml", "--address", ray_address, "--workers", "1", cwd=tmp_path, path=installed)
    assert answer.returncode == 3, answer.stderr
    assert "1 x The worker process died 1 times on this image." in answer.stderr
    assert "1 x Its own process died on this image (exit code 9)." in answer.stderr
    assert "Traceback" not in answer.stderr
    found = {name: (row["rank"] != "", row["images"], row["failed"]) for name, row in board(tmp_path / "runs").items()}
    assert found == {
        **dict.fromkeys(("Installed", "Beside", "Colours"), (True, "2", "0")),
        **dict.fromkeys(("Deadly", "Own"), (False, "1", "1")),
    }


def test_a_plan_of_the_root_grid_counts_what_is_shared(tmp_path: Path) -> None:
    answer = door(str(ROOT / "grid.yaml"), "--plan", "--json", cwd=tmp_path)
    plan = json.loads(answer.stdout)
    diffusion = [run for run in plan["runs"] if run["use"] == "methods.stableseg:StableSeg"]
    assert len(diffusion) >= 9 and plan["passes"] < plan["passes_without_sharing"]
