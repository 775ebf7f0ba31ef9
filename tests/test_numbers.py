"""What the shipped models are worth on Shapes: methods of the shipped grids on first images, intervals from rows.

What is counted on so few images is the same on every machine, so no bound rests on chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml
from in_process import door

from results.counts.significance import Comparison, all_pairs
from results.folder.recipes import RunRecipe
from results.folder.store import Store
from results.tables import leaderboard

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


class Finished:
    """The results folder of a finished sweep."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder, create=False)
        self.recipes = self.store.recipes()

    @cached_property
    def board(self) -> leaderboard.Leaderboard:
        return leaderboard.build_board(self.store)

    @cached_property
    def pairs(self) -> dict[tuple[str, str], Comparison]:
        (standings,) = self.board.standings.values()
        assert standings.effects is not None, standings.why
        return {(one.better, one.worse): one for one in all_pairs(standings.effects)}

    def runs(self, method: str, **settings: object) -> list[RunRecipe]:
        every = [recipe for recipe in self.recipes.values() if recipe.method_name == method]
        return [r for r in every if all(r.method["settings"][name] == value for name, value in settings.items())]

    def miou(self, method: str, **settings: object) -> float:
        """Percent, the mean over the runs that fit."""
        fitting = self.runs(method, **settings)
        scores = {entry.run_id: entry.miou for entry in self.board.entries}
        return 100 * mean(scores[run.run_id] or 0.0 for run in fitting)

    def gain(self, better: RunRecipe, worse: RunRecipe) -> Comparison:
        """The comparison of two runs; an order that does not come out is an assertion."""
        assert (better.run_id, worse.run_id) in self.pairs, f"{better.variant} is not above {worse.variant}"
        return self.pairs[better.run_id, worse.run_id]


def finished(name: str, folder: Path, methods: Mapping[str, dict[str, Any]], images: int) -> Finished:
    """Some methods of a shipped grid, with changes of their entries, on its first images."""
    grid = yaml.safe_load((ROOT / name).read_text("utf-8"))
    grid["methods"] = [{**entry, **methods[entry["name"]]} for entry in grid["methods"] if entry["name"] in methods]
    grid["benchmarks"][0]["with"]["images"] = images
    (folder / "grid.yaml").write_text(yaml.safe_dump({**grid, "tables": [], "keep": {"label_maps": 0}}))
    answer = door("grid.yaml", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    return Finished(folder / "runs")


@pytest.fixture(scope="module")
def ignored(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The root grid without refinement, and without its learners, whose training takes longer than all the rest."""
    plain = {"with": {"model": "shapes", "timestep": [1, 100], "refine": "none"}}
    others: dict[str, Any] = {name: {} for name in ("MaskCLIP", "WrongPrompt", "RandomLabels", "OneClass")}
    return finished("grid.yaml", tmp_path_factory.mktemp("ignored"), {"StableSeg": plain, **others}, images=24)


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """On all images of the root grid: on half of them an interval is too wide."""
    settings = {"model": "shapes", "timestep": 300, "refine": ["none", "sar", "samap"]}
    return finished("grid.yaml", tmp_path_factory.mktemp("refined"), {"StableSeg": {"with": settings}}, images=200)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    settings = {"model": "shapes", "timestep": 300, "refine": ["none", "sar"]}
    methods: dict[str, Any] = {"StableSeg": {"with": settings}, "RandomLabels": {}, "OneClass": {}}
    return finished("grids/shapes-background.yaml", tmp_path_factory.mktemp("scored"), methods, images=24)


@pytest.mark.parametrize(("sweep", "timestep"), [("ignored", 1), ("ignored", 100), ("refined", 300)])
def test_stableseg_finds_the_shapes_without_refinement(
    request: pytest.FixtureRequest, sweep: str, timestep: int
) -> None:
    found: Finished = request.getfixturevalue(sweep)
    assert found.miou("StableSeg", timestep=timestep, refine="none") >= 60


@pytest.mark.parametrize("refine", ["sar", "samap"])
def test_refinement_gains_two_points_and_its_interval_is_above_zero(refined: Finished, refine: str) -> None:
    (better,), (worse,) = (refined.runs("StableSeg", timestep=300, refine=kind) for kind in (refine, "none"))
    gain = refined.gain(better, worse)
    assert gain.difference >= 0.02 and gain.low > 0


def test_maskclip_reaches_fifty_in_the_better_of_its_forms(ignored: Finished) -> None:
    assert max(ignored.miou("MaskCLIP", form=form) for form in ("published", "value")) >= 50


def test_the_controls_are_where_chance_is(ignored: Finished) -> None:
    chance = ignored.miou("RandomLabels")
    assert chance < 30 and ignored.miou("OneClass") < 30
    # Wrong names still fall on whole objects, so one drawing of names spreads by some points; their mean does not.
    assert abs(ignored.miou("WrongPrompt") - chance) < 5
    assert max(ignored.miou("WrongPrompt", seed=seed) for seed in (0, 1, 2)) < 36


def test_with_the_background_scored_the_order_holds(scored: Finished) -> None:
    assert scored.miou("StableSeg", timestep=300, refine="sar") > scored.miou("StableSeg", timestep=300, refine="none")
    assert scored.miou("StableSeg", timestep=300, refine="sar") > scored.miou("RandomLabels") + 20
    assert scored.miou("OneClass") < 20
