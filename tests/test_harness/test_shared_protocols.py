"""Runs of several protocols in one shard: they share what shows an image alike, and leave what they leave alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import toy_taggers
import toy_words
from toy_cells import FLAT, Cell

from harness.contracts import ProtocolSettings, Recipe, Row
from harness.planning import plan as plans
from harness.work.worker import ShardWorker

PRESENT, ALL = ProtocolSettings(), ProtocolSettings("all")
CUT = {"resize": "short", "size": 16, "window": 8, "stride": 8}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    toy_words.SHOWN.clear()
    yield


def careful(protocol: ProtocolSettings, **settings: Any) -> Cell:
    return Cell(
        Recipe.of("toy_words:Careful", **settings), benchmark=Recipe.of("toy_words:Few", images=10), protocol=protocol
    )


def swept(*cells: Cell) -> tuple[dict[tuple[str, str], Row], Counter[str], int]:
    """Rows, images shown by kind of pass, and the passes that the plan foresaw."""
    toy_words.SHOWN.clear()
    plan, worker = plans.make("toy", cells, 4), ShardWorker()
    done = [one for shard in plan.shards() for one in worker.run(shard)]
    rows = {(row.run_id, row.image_id): row for one in done for row in one.rows}
    assert len(rows) == plan.images_missing
    shown = Counter(kind for kind, _, _ in toy_words.SHOWN)
    assert sum(one.passes for one in done) == shown.total()
    return rows, shown, plan.cost.passes


def counted(row: Row) -> tuple[object, ...]:
    return row.status, row.error, row.true.tolist(), row.predicted.tolist(), row.pixels.tolist()


def test_decisions_on_one_pass_cost_no_pass() -> None:
    cells = [careful(ProtocolSettings("all", "constant", level, scale="none")) for level in (0.1, 0.5, 0.9, 1.1)]
    power = careful(ProtocolSettings("all", "power", scale="none"))
    rows, shown, foreseen = swept(*cells, power)
    assert shown == {"WordPass": 10} and foreseen == 10
    assert len({run_id for run_id, _ in rows}) == 5 and {row.status for row in rows.values()} == {"ok"}
    assert len({tuple(map(str, map(counted, (rows[key] for key in rows if key[0] == run)))) for run, _ in rows}) > 1


def test_what_is_offered_is_compared_image_by_image() -> None:
    cells = [careful(PRESENT), careful(ALL)]
    rows, shown, foreseen = swept(*cells)
    assert shown == {"WordPass": 20} and foreseen == 20, "one that holds every class is shown twice too: decision 4"
    for cell in cells:
        alone, _, _ = swept(cell)
        assert {key: counted(row) for key, row in alone.items()}.items() <= {
            key: counted(row) for key, row in rows.items()
        }.items()
    _, shown, foreseen = swept(*(careful(one, words=False, image=True) for one in (PRESENT, ALL)))
    assert shown == {"ImagePass": 10} and foreseen == 10, "an image alone is shown once, whatever is offered"
    _, shown, _ = swept(*(careful(one, image=True) for one in (PRESENT, ALL)), careful(ALL, words=False, image=True))
    assert shown == {"WordPass": 20, "ImagePass": 10}


@pytest.mark.parametrize(
    ("other", "passes"),
    [
        (replace(ALL, background="power"), 10),
        (replace(ALL, templates=("a drawing of a {}",)), 20),
        (replace(ALL, background="class"), 20),
        (replace(ALL, resize="short", size=16), 20),
        (replace(ALL, **CUT), None),
    ],
)
def test_words_order_templates_and_pixels_decide(other: ProtocolSettings, passes: int | None) -> None:
    _, shown, foreseen = swept(careful(ALL), careful(other))
    windows = 10 + sum(one[1].count("@") for one in toy_words.SHOWN)
    assert shown["WordPass"] == (windows if passes is None else passes) and foreseen == (passes or 20)


def test_windows_are_shared_too() -> None:
    cells = [careful(replace(one, **CUT)) for one in (PRESENT, ALL, replace(ALL, background="constant"))]
    rows, _, _ = swept(*cells)
    assert {row.status for row in rows.values()} == {"ok"}
    assert max(Counter(toy_words.SHOWN).values()) == 1, "nothing is shown twice with the same words"
    for cell in cells:
        alone, _, _ = swept(cell)
        assert all(counted(row) == counted(rows[key]) for key, row in alone.items())


def test_an_image_on_which_the_network_fails_costs_that_image_alone_under_every_protocol() -> None:
    rows, _, _ = swept(careful(PRESENT, fails_on="005"), careful(ALL, fails_on="005"), FLAT)
    failed = [(image, str(row.error)) for (_, image), row in rows.items() if row.status == "failed"]
    assert [image for image, _ in failed] == ["005"] * 2
    assert all(error.startswith("RuntimeError: cannot see 005 (toy_w") for _, error in failed)


def test_half_of_it_stored_leaves_the_same_rows() -> None:
    cells = [careful(PRESENT), careful(ALL)]
    rows, _, _ = swept(*cells)
    first, second = (planned.run.run_id for planned in plans.make("toy", cells, 4).runs)
    stored = {first: dict.fromkeys(("000", "001", "006"), "ok"), second: dict.fromkeys(("001", "002"), "ok")}
    plan, worker = plans.make("toy", cells, 4, stored), ShardWorker()
    again = [row for shard in plan.shards() for done in worker.run(shard) for row in done.rows]
    assert {(row.run_id, row.image_id) for row in again} >= {
        (one.run.run_id, image) for one in plan.runs for image in one.missing
    }
    assert all(counted(row) == counted(rows[row.run_id, row.image_id]) for row in again)


def test_a_tagger_is_asked_once_for_several_decisions() -> None:
    toy_taggers.ASKED.clear()
    tagger = Recipe.of("toy_taggers:Colours")
    rules = [ProtocolSettings("predicted", "constant", level, tagger=tagger, scale="none") for level in (0.2, 0.6)]
    rows, shown, _ = swept(*map(careful, rules))
    assert toy_taggers.ASKED["calls"] == 10 and shown == {"WordPass": 10}
    assert {row.status for row in rows.values()} == {"ok"} and len(rows) == 20
