"""Texts of grids go in; the cells they mean come out, in order and frozen."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grid_texts import GUESS, HEAD, QUICKSTART, WORLD, method, tail

from harness.contracts import ProtocolSettings, Recipe
from harness.errors import GridError
from harness.grid import reading as grids
from harness.grid.reading import ClusterSettings, Grid
from harness.recipes import loading
from harness.recipes.settings import settings_of


def variants(grid: Grid, benchmark: str | None = None) -> list[str]:
    """Method name and variant of the cells, in order."""
    chosen = [cell for cell in grid.cells if benchmark in (None, cell.benchmark_name)]
    return [f"{cell.method_name} {cell.variant}".strip() for cell in chosen]


def test_every_list_is_an_axis_and_the_last_one_changes_fastest(
    read_grid: Callable[[str], Grid], grid_folder: Path
) -> None:
    grid = read_grid(QUICKSTART)
    expected = [f"Guess timestep={t} refine={r}" for t in (1, 100, 300) for r in ("none", "sar", "samap")]
    assert variants(grid) == [*expected, "Reads"]
    assert grid.cells[4].method == Recipe.of("grid_plugins:Guess", model="shapes", timestep=100, refine="sar")
    assert grid.cells[4].benchmark == Recipe.of("grid_plugins:World", split="val", images=200)
    assert (grid.name, grid.folder, grid.batch, grid.cluster) == ("quickstart", str(grid_folder), 8, ClusterSettings())
    assert {cell.protocol for cell in grid.cells} == {ProtocolSettings()}


def test_a_grid_is_frozen_hashable_and_the_same_twice(read_grid: Callable[[str], Grid]) -> None:
    grid = read_grid(QUICKSTART)
    assert hash(grid) == hash(read_grid(QUICKSTART)) and grid == read_grid(QUICKSTART)
    assert len(set(grid.cells)) == 10
    with pytest.raises(AttributeError):
        grid.cells[0].variant = "x"  # type: ignore[misc]


def test_the_folder_of_a_grid_comes_last_on_the_path(read_grid: Callable[[str], Grid], grid_folder: Path) -> None:
    read_grid(QUICKSTART)
    installed = Path(pytest.__file__).parents[1]
    assert sys.path.index(str(grid_folder)) > sys.path.index(str(installed))
    assert sys.path.count(str(grid_folder)) == 1


def test_benchmarks_come_first_and_bear_their_axes(read_grid: Callable[[str], Grid]) -> None:
    text = QUICKSTART.replace("split: val", "split: [val, train]")
    text += "exclude:\n  - {method: Guess, with: {timestep: 1}}\n"
    grid = read_grid(text)
    names = [cell.benchmark_name for cell in grid.cells]
    assert names == ["World split=val"] * 7 + ["World split=train"] * 7
    assert variants(grid)[:7] == variants(grid)[7:]


def test_values_in_variants_can_be_told_apart(read_grid: Callable[[str], Grid]) -> None:
    axes = ("layers: [[0, 1, 2], []]", "power: [1, 0.1, 1.0e-7]", "model: [a, 'a b', '1', 'null']")
    grid = read_grid(method("with:", *(f"  {axis}" for axis in axes)))
    assert len(set(variants(grid))) == len(grid.cells) == 2 * 3 * 4
    assert grid.cells[0].variant == "layers=[0,1,2] power=1.0 model=a"
    assert grid.cells[11].variant == "layers=[0,1,2] power=1e-07 model='null'"
    assert grid.cells[0].method.as_dict() == {"layers": (0, 1, 2), "power": 1.0, "model": "a"}
    assert isinstance(grid.cells[0].method.as_dict()["power"], float)


WHOLE = [  # a setting as it is written, and its values: one, or those of an axis
    ("layers: [0, 1, 2]", [(0, 1, 2)]),
    ("layers: [[0, 1, 2]]", [(0, 1, 2)]),
    ("layers: [[0, 1], [], [2]]", [(0, 1), (), (2,)]),
    ("layers: []", [()]),
    ("pairs: [[1, 2], [3, 4]]", [((1, 2), (3, 4))]),
    ("pairs: [[[1, 2]], [[3, 4], [5, 6]]]", [((1, 2),), ((3, 4), (5, 6))]),
    ("size: [336, 448]", [336, 448]),  # each is a value by itself
    ("size: [[336, 448]]", [(336, 448)]),
    ("size: [null, 336, [2, 3]]", [None, 336, (2, 3)]),
    ("shares: {1: 0.5, 12: 1}", [{1: 0.5, 12: 1.0}]),
    ("shares: [{1: 0.5}, {'1': 1}]", [{1: 0.5}, {1: 1.0}]),
    ("words: {a b: [x, y], c: []}", [{"a b": ("x", "y"), "c": ()}]),
    ("words: [null, {a: [x]}]", [None, {"a": ("x",)}]),
]


@pytest.mark.parametrize(("written", "values"), WHOLE, ids=[written for written, _ in WHOLE])
def test_a_list_or_mapping_is_one_value_where_the_setting_takes_it_as_one(
    read_grid: Callable[[str], Grid], written: str, values: list[Any]
) -> None:
    grid = read_grid(method("with:", f"  {written}").replace("grid_plugins:Guess", "grid_plugins:Whole"))
    name = written.partition(":")[0]
    assert [getattr(loading.build(cell.method), name) for cell in grid.cells] == values
    assert [getattr(loading.build(pickle.loads(pickle.dumps(cell.method))), name) for cell in grid.cells] == values
    assert len({cell.method for cell in grid.cells}) == len({cell.variant for cell in grid.cells}) == len(values)


def test_an_axis_of_mappings_bears_them_in_its_name_whatever_the_order_they_were_written_in(
    read_grid: Callable[[str], Grid],
) -> None:
    text = method("with:", "  shares: [{2: 0.5, 1: 1}, {3: 1}]").replace("grid_plugins:Guess", "grid_plugins:Whole")
    grid, other = read_grid(text), read_grid(text.replace("2: 0.5, 1: 1", "1: 1.0, 2: 0.5"))
    assert variants(grid) == variants(other) == ["Guess shares={1:1.0,2:0.5}", "Guess shares={3:1.0}"]
    assert [cell.method for cell in grid.cells] == [cell.method for cell in other.cells]
    built = loading.build(grid.cells[0].method)
    assert settings_of(built)["shares"] == ((1, 1.0), (2, 0.5)) and list(built.shares) == [1, 2]
    with pytest.raises(TypeError, match="change a copy"):
        built.shares[1] = 2.0


def test_an_item_excludes_combinations_of_its_own(read_grid: Callable[[str], Grid]) -> None:
    axes = "with: {timestep: [1, 2, 3], refine: [none, sar]}"
    grid = read_grid(method(axes, "exclude:", "- {timestep: [1, 3], refine: sar}", "- {timestep: 2, refine: none}"))
    left = ("timestep=1 refine=none", "timestep=2 refine=sar", "timestep=3 refine=none")
    assert variants(grid) == [f"Guess {variant}" for variant in left]


def test_an_exclude_of_the_grid_names_method_benchmark_and_settings(read_grid: Callable[[str], Grid]) -> None:
    second = "  - {name: Train, use: 'grid_plugins:World', with: {split: train}}"
    first_rule = "  - {benchmark: Train, method: Guess, with: {timestep: 1}}"
    grid = read_grid(tail(second, "exclude:", first_rule, "  - {with: {seed: 1}}"))
    assert variants(grid, "World") == ["Guess timestep=1", "Guess timestep=100"]
    assert variants(grid, "Train") == ["Guess timestep=100"]


def test_an_exclude_knows_defaults_and_settings_that_are_no_axis(read_grid: Callable[[str], Grid]) -> None:
    grid = read_grid(tail("exclude:", "  - with: {refine: none, power: 2}"))
    assert variants(grid) == ["Other"]


def test_an_exclude_without_a_method_means_those_whose_settings_take_it(read_grid: Callable[[str], Grid]) -> None:
    other = "  - {name: Settles, use: 'grid_plugins:Settles', with: {refine: sar, power: [1, 2]}}\n"
    grid = read_grid(HEAD + GUESS + other + WORLD + "exclude: [{with: {power: 1}}]\n")
    assert variants(grid) == ["Settles power=2"]
    guess = GUESS.replace("}", ", with: {power: [0.5, 1]}}")
    grid = read_grid(HEAD + guess + other + WORLD + "exclude: [{with: {power: 0.5}}]")
    assert variants(grid) == ["Guess power=1.0", "Settles power=1", "Settles power=2"]


def test_an_exclude_names_values_of_the_protocols_axes(read_grid: Callable[[str], Grid]) -> None:
    axes = "protocol: {background: constant, threshold: [0.2, 0.4, 0.6], scale: none}"
    first, second = "  - {method: Other, protocol: {threshold: [0.2, 0.6]}}", "  - {protocol: {threshold: 0.4}}"
    grid = read_grid(tail("exclude:", first, axes))
    found = [(cell.method_name, cell.protocol.threshold) for cell in grid.cells if not cell.variant.endswith("=100")]
    assert found == [("Guess", 0.2), ("Guess", 0.4), ("Guess", 0.6), ("Other", 0.4)]
    kept = read_grid(
        tail("include:", "  - {method: Other, benchmark: World, with: {seed: 9}}", "exclude:", second, axes)
    )
    thresholds = {cell.variant: cell.protocol.threshold for cell in kept.cells}
    assert 0.4 in {cell.protocol.threshold for cell in kept.cells if cell.variant == "seed=9"} and len(thresholds) > 1
    assert {cell.protocol.threshold for cell in kept.cells if cell.variant != "seed=9"} == {0.2, 0.6}


def test_a_truth_is_not_the_number_one(read_grid: Callable[[str], Grid]) -> None:
    axes = "with: {seed: [0, 1], flag: [false, true]}, exclude: [{flag: true, seed: 1}]"
    item = f"  - {{name: Other, use: 'grid_plugins:Other', {axes}}}\n"
    assert len(read_grid(HEAD + item + WORLD).cells) == 3


def test_an_include_adds_one_combination_after_the_excludes(read_grid: Callable[[str], Grid]) -> None:
    grid = read_grid(
        tail(
            "exclude:",
            "  - {method: Guess}",
            "include:",
            "  - {method: Guess, benchmark: World, with: {timestep: 300, layers: [[4]]}}",
            "  - {method: Guess, benchmark: World}",
            "  - {method: Guess, benchmark: World, with: {timestep: 7, power: 3}}",
        )
    )
    assert variants(grid) == [
        "Other",
        "Guess timestep=300 layers=[4]",
        "Guess timestep=100",  # the default of the class, because the axis was left out
        "Guess timestep=7 power=3.0",
    ]
    assert grid.cells[1].method == Recipe.of("grid_plugins:Guess", timestep=300, layers=(4,), power=2.0)


def test_an_include_says_which_of_a_benchmarks_axes_it_means(read_grid: Callable[[str], Grid]) -> None:
    text = QUICKSTART.replace("split: val", "split: [val, train]")
    with pytest.raises(GridError, match=r"line 15: 'World' is more than one benchmark.*'?World split=val"):
        read_grid(text + "include:\n  - {method: Reads, benchmark: World, with: {model: small}}\n")
    with_full_name = text.replace("    use: grid_plugins:Reads", "    use: grid_plugins:Guess") + (
        "include:\n  - {method: Reads, benchmark: World split=train, with: {power: 9}}\n"
    )
    last = read_grid(with_full_name).cells[-1]
    assert (last.benchmark_name, last.variant) == ("World split=train", "power=9.0")


def test_protocol_cluster_and_batch_are_read(read_grid: Callable[[str], Grid]) -> None:
    grid = read_grid(
        tail(
            "protocol: {vocabulary: all, background: constant, threshold: 1, templates: ['a {}', 'the {}']}",
            "cluster: {workers: 3, address: auto, threads: 1, gpus_per_worker: 0.5, shard_batches: 2,",
            "          stall_seconds: 9, gpu: H100}",
            "batch: 4",
        )
    )
    assert grid.cells[0].protocol == ProtocolSettings("all", "constant", 1.0, ("a {}", "the {}"))
    assert grid.cluster == ClusterSettings(3, "auto", 1, 0.5, 2, 9.0, "H100")
    assert grid.batch == 4


def test_a_name_made_of_axes_may_meet_another_name(read_grid: Callable[[str], Grid]) -> None:
    benchmarks = WORLD.replace("World'", "World', with: {split: [a]}")
    text = HEAD + GUESS + benchmarks + "  - {name: World split=a, use: 'grid_plugins:World'}\n"
    with pytest.raises(GridError, match=r"^grid.yaml, line 6: another benchmark is called 'World split=a' already$"):
        read_grid(text)


def test_reading_a_grid_loads_nothing_heavy(grid_folder: Path) -> None:
    (grid_folder / "grid.yaml").write_text(QUICKSTART)
    program = (
        "import sys; from harness.grid import reading as grid; assert len(grid.read_grid(sys.argv[1]).cells) == 10; "
        "print(sorted({'torch', 'ray', 'polars', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(grid_folder / "grid.yaml")]
    answer = subprocess.run(command, cwd=Path(grids.__file__).parents[1], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
