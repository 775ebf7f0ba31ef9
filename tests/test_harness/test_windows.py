"""The worker under windows, other names and taggers: company, failures and costs, over the toy world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import toy_taggers
import toy_world
from by_hand import averaged
from toy_cells import Cell, reader

from harness.contracts import WIDE_IGNORED, BatchDone, ModelError, NameFile, ProtocolSettings, Recipe, Row
from harness.planning import plan as plans
from harness.planning import report
from harness.protocol import views
from harness.work.worker import ShardWorker

SLIDING = ProtocolSettings(window=8, stride=5)
LABELS = Cell(Recipe.of("toy_taggers:Labels"), "labels")


@pytest.fixture(autouse=True)
def fresh_counts() -> Iterator[None]:
    toy_world.COUNTS.clear()
    toy_taggers.ASKED.clear()
    yield


def under(protocol: ProtocolSettings, *cells: Cell) -> list[Cell]:
    return [replace(cell, protocol=protocol) for cell in cells]


def work(cells: list[Cell], stored: plans.Stored | None = None, size: int = 99) -> list[BatchDone]:
    plan = plans.make("toy", cells, 4, stored)
    worker = ShardWorker()
    done = [one for shard in plan.shards(size) for one in worker.run(shard)]
    assert sum(len(one.rows) for one in done) >= plan.images_missing
    return done


def rows_of(cells: list[Cell], stored: plans.Stored | None = None, size: int = 99) -> dict[tuple[str, str], Row]:
    return {(row.run_id, row.image_id): row for done in work(cells, stored, size) for row in done.rows}


def counts(row: Row) -> list[tuple[int, int, int]]:
    return list(zip(row.true.tolist(), row.predicted.tolist(), row.pixels.tolist(), strict=True))


def test_a_reader_under_windows_equals_averages_formed_by_hand() -> None:
    seen = toy_world.Boxes()
    for (_, image_id), row in rows_of(under(SLIDING, reader(100))).items():
        sample = seen.load(image_id)
        cut = views.tiling(sample.truth.shape, SLIDING)
        assert len(cut.boxes) in (2, 4)
        present = [k for k in (1, 2, 3) if (sample.truth == k).any()]
        pieces = [
            sample.image[b.top : b.top + b.height, b.left : b.left + b.width].transpose(2, 0, 1)[
                [k - 1 for k in present]
            ]
            for b in cut.boxes
        ]
        mean = averaged([piece * 1.1 for piece in pieces], [tuple(box) for box in cut.boxes], sample.truth.shape)
        labels = np.array(present)[mean.argmax(0)]
        wanted: dict[tuple[int, int], int] = {}
        for true, label in zip(sample.truth.ravel().tolist(), labels.ravel().tolist(), strict=True):
            if true not in (0, 255):
                wanted[true, label] = wanted.get((true, label), 0) + 1
        assert row.status == "ok" and counts(row) == [(*pair, number) for pair, number in sorted(wanted.items())]


def test_a_batch_keeps_its_shape_window_by_window_and_counts_what_it_costs() -> None:
    done = work(under(SLIDING, reader(1), reader(100), LABELS))
    windows = [len(views.tiling((8 + n % 3, 12), SLIDING).boxes) for n in range(10)]
    most = [max(windows[start : start + 4]) for start in (0, 4, 8)]
    assert toy_world.COUNTS["shape 4"] == toy_world.COUNTS["calls"] == sum(most)
    assert sum(one.encodings for one in done) == sum(windows)
    assert sum(one.passes for one in done) == 2 * sum(windows)


def test_the_plan_says_that_it_counts_images_and_not_windows() -> None:
    def said(protocol: ProtocolSettings) -> str:
        return " ".join(report.plan_summary(plans.make("toy", under(protocol, reader(100)), 4), {}, 1))

    assert "cut into windows" in said(SLIDING) and "cut into windows" not in said(ProtocolSettings())


def test_the_result_of_an_image_depends_on_no_company() -> None:
    cells = under(SLIDING, reader(100))
    alone = rows_of(cells)
    (run_id,) = {run for run, _ in alone}
    stored = {run_id: {f"{n:03d}": "ok" for n in range(10) if n not in (2, 7)}}
    for found in (rows_of(cells, stored), rows_of(under(SLIDING, LABELS, reader(1), reader(100)), size=1)):
        shared = {key: row for key, row in found.items() if key[0] == run_id}
        assert shared and all(counts(row) == counts(alone[key]) for key, row in shared.items())


@pytest.mark.parametrize(
    ("protocol", "shown"),
    [
        (ProtocolSettings("all"), {"8x12", "9x12", "10x12"}),
        (SLIDING, {"8x8"}),
        (ProtocolSettings("all", resize="short", size=16, window=10, stride=10), {"10x10"}),
        (ProtocolSettings("all", resize="stretch", size=(20, 30)), {"20x30"}),
        (ProtocolSettings("all", window=64, stride=64), {"8x12", "9x12", "10x12"}),
    ],
)
def test_methods_see_views_and_rows_speak_of_the_truths_size(protocol: ProtocolSettings, shown: set[str]) -> None:
    for (_, image_id), row in rows_of(under(protocol, LABELS)).items():
        truth = toy_world.Boxes().load(image_id).truth
        assert row.status == "ok" and row.pixels.sum() == ((truth > 0) & (truth < 255)).sum()
    assert set(toy_taggers.ASKED) == shown


def test_unresized_label_maps_of_windows_are_right_everywhere() -> None:
    for row in rows_of(under(SLIDING, LABELS)).values():
        assert row.status == "ok" and (row.true == row.predicted).all()


@pytest.mark.parametrize("window", ["005@0,4", "005@2,0", "005@2,4"])
def test_a_backbone_that_fails_on_one_window_costs_that_image_only(window: str) -> None:
    whole = rows_of(under(SLIDING, reader(1)))
    found = rows_of(under(SLIDING, reader(1, fails_on=window), reader(2, fails_on=window), LABELS))
    failed = {(run, image) for (run, image), row in found.items() if row.status == "failed"}
    assert {image for _, image in failed} == {"005"} and len(failed) == 2
    (error,) = {found[key].error or "" for key in failed}
    assert error.startswith(f"RuntimeError: cannot see {window} (toy_world.py, line ")
    good = [counts(row) for (_, image), row in whole.items() if image != "005"]
    runs = {run for run, _ in failed}
    assert all([counts(row) for (r, i), row in found.items() if r == run and i != "005"] == good for run in runs)


@pytest.mark.parametrize("mood", ["raise", "shape", "range", "nan"])
def test_a_method_that_misbehaves_on_a_window_leaves_one_failed_row(mood: str) -> None:
    cell = Cell(Recipe.of("toy_world:Moody", mood=mood, on_height=8))
    protocol = ProtocolSettings("all", window=9, stride=4)
    failed = {image for (_, image), row in rows_of(under(protocol, cell)).items() if row.status == "failed"}
    assert failed == {"000", "003", "006", "009"}


def predicted(**settings: object) -> ProtocolSettings:
    return ProtocolSettings("predicted", tagger=Recipe.of("toy_taggers:Colours", **settings))


def test_a_tagger_is_asked_once_an_image_and_decides_what_is_offered() -> None:
    cells = under(predicted(), reader(1), LABELS)
    rows = rows_of(cells)
    assert toy_taggers.ASKED["calls"] == toy_taggers.ASKED["red green blue"] == 10
    present = {image: counts(row) for (_, image), row in rows_of([reader(1)]).items()}
    assert all(counts(row) == present[image] for (_, image), row in rows.items()), "it sees what is present"


def test_a_class_the_tagger_misses_is_wrong_everywhere() -> None:
    for (_, image_id), row in rows_of(under(predicted(share=0.27), reader(1))).items():
        image = toy_world.Boxes().load(image_id).image
        tagged = {k for k in (1, 2, 3) if (image[..., k - 1] > 0).mean() > 0.27}
        assert row.status == "ok" and set(row.predicted.tolist()) <= (tagged or {WIDE_IGNORED})


def test_an_image_without_tags_is_not_shown_to_the_method() -> None:
    rows = rows_of(under(predicted(mood="none"), reader(1)))
    assert toy_world.COUNTS["calls"] == 0
    assert all(row.status == "ok" and set(row.predicted.tolist()) == {WIDE_IGNORED} for row in rows.values())
    scored = replace(predicted(mood="none"), background="constant")
    assert all(set(row.predicted.tolist()) == {0} for row in rows_of(under(scored, reader(1))).values())


@pytest.mark.parametrize(("mood", "words"), [("raise", "tags nothing"), ("range", "position 3"), ("word", "whole")])
def test_a_tagger_that_misbehaves_leaves_failed_rows(mood: str, words: str) -> None:
    rows = rows_of(under(predicted(mood=mood), reader(1), LABELS))
    assert len(rows) == 20 and all(row.status == "failed" and words in str(row.error) for row in rows.values())


def test_a_taggers_facts_are_in_the_id_and_a_missing_model_says_who_wants_it() -> None:
    def run_id(protocol: ProtocolSettings) -> str:
        return plans.make("toy", under(protocol, reader(1)), 4).runs[0].run.run_id

    assert run_id(predicted()) == run_id(predicted(share=0.0)) != run_id(predicted(share=0.5))
    assert run_id(predicted()) != run_id(ProtocolSettings("all"))
    with pytest.raises(ModelError, match=r"^the tagger: there are no weights here"):
        run_id(ProtocolSettings("predicted", tagger=Recipe.of("toy_taggers:Unfound")))


def test_other_names_reach_the_method() -> None:
    words = NameFile("n.yaml", (("crimson",), ("lime",), ("navy",)))
    cells = [Cell(Recipe.of("toy_taggers:Worded"), protocol=ProtocolSettings("all", names=words))]
    seen: set[str] = set()
    original = toy_taggers.Worded.read

    def spy(self: object, features: object, vocabulary: object) -> object:
        seen.update(vocabulary.words)  # type: ignore[attr-defined]
        return original(self, features, vocabulary)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy_taggers.Worded, "read", spy)
        rows = rows_of(cells)
    assert seen == {"crimson", "lime", "navy"}
    assert all(row.status == "ok" and (row.true == row.predicted).all() for row in rows.values())


def test_the_background_as_a_class_is_scored_and_offered_always() -> None:
    protocol = ProtocolSettings(background="class", background_names=("background",))
    cells = [Cell(Recipe.of("toy_taggers:Worded"), protocol=protocol)]
    for (_, image_id), row in rows_of(cells).items():
        truth = toy_world.Boxes().load(image_id).truth
        assert row.status == "ok" and row.pixels.sum() == (truth != 255).sum() and 0 in row.true
