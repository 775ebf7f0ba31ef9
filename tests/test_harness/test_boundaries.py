"""Boundaries that workers count: as published, class by class, on a CPU and on a GPU that is pretended, and into rows.

The published steps are those of LPOSS's program: every class's mask is eroded by a square of 3 x 3 so often as 2 % of
the diagonal has pixels, and what is taken away is its boundary.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import door
from numpy.typing import NDArray
from pretend_gpu import pretend_gpu
from scipy import ndimage

from harness.contracts import BACKGROUND, NO_CLASS, WIDE_IGNORED, ProtocolSettings, Row, boundary_width
from harness.errors import StoreError
from harness.protocol.decision import BELOW, numbered
from harness.protocol.offering import offer
from harness.work.boundaries import BoundariesThere, by_class
from harness.work.scoring import TruthThere, brought_home
from results import verify
from results.counts import boundaries
from results.folder import keepsakes
from results.folder.rows import Contradiction
from results.folder.store import Store
from results.merge import merge
from results.tables import scores
from results.tables.evidence import gather

NONE = np.zeros(0, np.int64)
SHAPES = {(9, 14): 1, (60, 90): 2, (121, 200): 5, (200, 3): 4, (1, 1): 1}
NOT_SCORED = ProtocolSettings("all")
SCORED = ProtocolSettings("all", "constant", threshold=0.5)


def blocks(rng: np.random.Generator, shape: tuple[int, int], values: list[int]) -> NDArray[np.int64]:
    """Squares of 7 pixels that have one value each."""
    small = rng.choice(np.array(values), (shape[0] // 7 + 1, shape[1] // 7 + 1))
    return small.repeat(7, axis=0).repeat(7, axis=1)[: shape[0], : shape[1]]


def as_published(truth: NDArray[np.uint16], given: NDArray[np.uint16], first: int) -> dict[int, tuple[int, int]]:
    """Class -> pixels of its boundary in both, and in either; truth: as it is scored."""
    times = max(1, round(0.02 * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2)))
    given, found = np.where(truth == WIDE_IGNORED, truth, given), {}
    for number in range(first, 7):
        edges = [
            mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=times, border_value=0)
            for mask in (truth == number, given == number)
        ]
        if (either := int((edges[0] | edges[1]).sum())) > 0:
            found[number] = int((edges[0] & edges[1]).sum()), either
    return found


@pytest.mark.parametrize("rules", [NOT_SCORED, SCORED], ids=["background ignored", "background scored"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_counted_where_positions_are_is_what_the_published_steps_count(
    shape: tuple[int, int], rules: ProtocolSettings, rng: np.random.Generator
) -> None:
    assert boundary_width(shape) == SHAPES[shape]
    scored = rules.background != "ignored"
    given = offer((1, 2, 4, 6), tuple((f"c{n}",) for n in range(6)), rules)  # of six classes four are offered
    for _ in range(3):
        truth = blocks(rng, shape, [0, 1, 2, 3, 6, WIDE_IGNORED]).astype(np.uint16)
        places = torch.from_numpy(blocks(rng, shape, [0, 1, 2, 3, BELOW if scored else 0, NO_CLASS]).astype(np.int32))
        predicted = numbered(places.numpy(), given, rules)
        seen = truth if scored else np.where(truth == BACKGROUND, WIDE_IGNORED, truth).astype(np.uint16)
        expected = as_published(seen, predicted, 0 if scored else 1)

        def told(table: NDArray[np.int64]) -> dict[int, tuple[int, int]]:
            return {int(number): (int(both), int(either)) for number, both, either in table}

        there = BoundariesThere(TruthThere(truth))
        assert told(by_class(there.table(places, given, rules).numpy())) == expected
        assert told(there.of_map(predicted, rules)) == expected
        with pretend_gpu():
            (home,) = brought_home([there.table(places.to("cuda"), given, rules)])
        assert told(by_class(home)) == expected
        kept = boundaries.of_maps([(seen, predicted)], 6, scored)
        pairs = zip(kept.intersection.tolist(), kept.union.tolist(), strict=True)
        assert {n: pair for n, pair in enumerate(pairs, 0 if scored else 1) if pair[1]} == expected


GRID = """
name: edges
methods:
  - {name: Colours, use: toy_world:ToyReader, with: {timestep: [1, 100]}}
  - {name: Flat, use: toy_world:Flat}
benchmarks: [{name: Boxes, use: toy_world:Boxes, with: {images: 7}}]
batch: 4
"""
ASKED = "keep: {label_maps: 2, boundaries: true}\n"


def test_a_grid_that_asks_has_boundaries_of_all_images_and_counts_them_where_rows_lack_them(tmp_path: Path) -> None:
    """They change no id and no other number; kept maps of two images alone are told so, and give the same counts."""
    grid, runs = tmp_path / "grid.yaml", tmp_path / "runs"
    grid.write_text(GRID + ASKED.replace(", boundaries: true", ""))
    assert door("grid.yaml", cwd=tmp_path).returncode == 0
    before, board = set(Store(runs).recipes()), (runs / "leaderboard.csv").read_bytes()
    found = scores.score(gather(Store(runs)), next(iter(before)), "boundary_iou")
    assert found.value is not None and found.note == "over 2 of 7 images"

    grid.write_text(GRID + ASKED)
    plan = json.loads(door("grid.yaml", "--plan", "--json", cwd=tmp_path).stdout)
    assert [run["why"] for run in plan["runs"]] == ["stored, but label maps or boundaries of 7 images are wanted"] * 3
    assert door("grid.yaml", cwd=tmp_path).returncode == 0
    assert "0 image results to do" in door("grid.yaml", cwd=tmp_path).stdout
    assert set(Store(runs).recipes()) == before and (runs / "leaderboard.csv").read_bytes() == board

    evidence, values = gather(Store(runs)), {}
    for run_id in before:
        counted, maps = evidence.boundaries[run_id], keepsakes.kept_label_maps(runs, {run_id: ["000", "003", "005"]})
        assert len(counted.images) == 7
        found = scores.score(evidence, run_id, "boundary_iou")
        values[evidence.recipes[run_id].method_name] = found.value
        assert found.note == ""
        rows = {row["image_id"]: row for row in Store(runs).rows([run_id]).iter_rows(named=True)}
        for image_id, path in maps[run_id].items():
            (pair,) = scores._kept(evidence, evidence.recipes[run_id], set(rows) - {image_id})
            of_map = boundaries.of_maps([pair], 3, background=False)
            both = zip(rows[image_id]["boundary_intersection"], rows[image_id]["boundary_union"], strict=True)
            here = dict(zip(rows[image_id]["boundary_class"], both, strict=True))
            pairs = zip(of_map.intersection.tolist(), of_map.union.tolist(), strict=True)
            assert here == {n: pair for n, pair in enumerate(pairs, 1) if pair[1]} and path.exists()
    assert values["Colours"] == 1 and values["Flat"] is not None and values["Flat"] < 0.5
    assert verify.main([str(runs)]) == 0


def row(image: str, bounds: list[list[int]] | None, seconds: float = 1.0) -> Row:
    table = None if bounds is None else np.array(bounds, np.int64).reshape(-1, 3)
    return Row("r", image, "ok", seconds, None, *np.array([[1, 2], [1, 2], [3, 4]]), boundaries=table)


def filled(folder: Path, *rows: Row) -> Store:
    store = Store.open(folder)
    with store.writer() as writer:
        writer.append(rows)
    return store


def test_the_fuller_row_stands_in_a_folder_and_in_a_merge(tmp_path: Path) -> None:
    """Whichever is cheaper or came first; an image with no class at all has counted boundaries too."""
    full = filled(tmp_path / "full", row("0", [[1, 2, 3], [2, 0, 5]], seconds=9.0), row("1", []))
    bare = filled(tmp_path / "bare", row("0", None), row("1", None), row("2", None))
    for number, order in enumerate(([full, bare], [bare, full])):
        target = Store(tmp_path / f"into {number}")
        merge(order, target)
        found = target.rows(["r"])
        assert found["boundary_class"].to_list() == [[1, 2], [], None]
        assert found["boundary_union"].to_list() == [[3, 5], [], None]
        assert target.held().bounded("r") == {"0", "1"} and target.held().bounded("s") == frozenset()
    with bare.writer() as writer:
        writer.append([row("2", [[1, 1, 1]])])
    assert bare.rows(["r"])["boundary_intersection"].to_list() == [None, None, [1]]


def test_boundaries_that_differ_are_a_contradiction(tmp_path: Path) -> None:
    one, other = (filled(tmp_path / name, row("0", [[1, 2, either]])) for name, either in (("a", 3), ("b", 4)))
    with pytest.raises(Contradiction, match="1 images of 1 runs have different counts"):
        merge([one, other], Store(tmp_path / "c"))


IMPOSSIBLE = {
    "more in both": [[1, 4, 3]], "none in either": [[1, 0, 0]], "twice": [[1, 1, 2], [1, 1, 2]],
    "out of order": [[2, 1, 2], [1, 1, 2]], "no class": [[WIDE_IGNORED, 1, 2]], "below nothing": [[1, -1, 2]],
    "too many": [[1, 1, 2**32]],
}  # fmt: skip


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_boundaries_that_cannot_be_are_not_stored(tmp_path: Path, what: str) -> None:
    with pytest.raises(StoreError, match="the row of run r, image 1 cannot be stored"):
        filled(tmp_path, row("0", [[1, 1, 2]]), row("1", IMPOSSIBLE[what]))
    failed = replace(row("1", [[1, 1, 2]]), status="failed", true=NONE, predicted=NONE, pixels=NONE)
    with pytest.raises(StoreError, match="the row of run r, image 1 cannot be stored"):
        filled(tmp_path, failed)
