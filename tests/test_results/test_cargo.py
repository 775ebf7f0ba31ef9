"""What lies beside rows is merged: receipt and report lead to the same files; what differs or leads out stops it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import toy_results

from harness.contracts import Row
from harness.errors import StoreError
from results import report
from results.folder import artefacts, keepsakes
from results.folder.durable import write_whole
from results.folder.keepsakes import read_map
from results.folder.rows import Contradiction
from results.folder.store import Store
from results.merge import Brought, main, merge
from results.tables import explain

LEARNED, WEIGHTS = "feed01", b"weights" * 300_000  # more than is copied at a time


def learner(folder: Path, weights: bytes = WEIGHTS, **told: object) -> Store:
    """A folder with one run on a benchmark, which learned something."""
    store = toy_results.fill(folder, images=4, keep=3)
    run_id, recipe = next(iter(store.raw_recipes().items()))
    taught = {"id": LEARNED, "teacher": "Seg", "labels": "beef"}
    store.write_recipe(run_id, {**recipe, "artefact": taught})
    place = artefacts.artefact_path(folder, LEARNED)
    place.mkdir(parents=True)
    (place / "weights.bin").write_bytes(weights)
    artefacts.finish(folder, LEARNED, {"images": "0123", "learner_tells": {"loss": 0.25, "seconds": 2.0}, **told})
    return store


def empty(folder: Path) -> Store:
    return Store.open(folder)


def test_receipt_and_report_of_the_merged_folder_are_those_of_the_first(tmp_path: Path) -> None:
    store = learner(tmp_path / "a")
    (store.folder / "ledger").mkdir()
    (store.folder / "ledger" / "own.csv").write_bytes(report.ledger.SHIPPED.read_bytes())
    target = Store(tmp_path / "c")
    assert merge([empty(tmp_path / "b"), store], target).files == 2 + 12 * 3 + 2 * 2 * 3 + 1
    run_id = next(iter(store.raw_recipes()))
    sections = [dict(explain.receipt(report.gather(one), run_id)) for one in (store, target)]
    assert sections[0] == sections[1]
    assert 'learner_tells = {"loss": 0.25, "seconds": 2.0}' in sections[1]["Card"]
    assert (artefacts.artefact_path(target.folder, LEARNED) / "weights.bin").read_bytes() == WEIGHTS
    first, second = (report.write_report(one).parent for one in (store, target))
    assert (first / "rooms.js").read_bytes() == (second / "rooms.js").read_bytes()
    pictures = [sorted(p.relative_to(one) for p in (one / "images").rglob("*")) for one in (first, second)]
    assert pictures[0] == pictures[1] and len(pictures[0]) > 30
    assert (first / "tables.html").read_text() == (second / "tables.html").read_text()


def test_time_device_versions_and_names_may_differ_and_one_version_stands(tmp_path: Path) -> None:
    early = {"finished": "2026-01-01", "seconds": 9.0, "versions": {"torch": "2"}, "commit": "x", "variant": "lr=1"}
    late = {"finished": "2026-01-02", "learner_tells": {"loss": 0.25, "seconds": 3.0, "device": "gpu", "workers": 4}}
    one, two = learner(tmp_path / "a", **late), learner(tmp_path / "b", **early)  # type: ignore[arg-type]
    for place, order in enumerate(([one, two], [two, one])):
        target = Store(tmp_path / f"c{place}")
        merge(order, target)
        assert artefacts.card(target.folder, LEARNED) == artefacts.card(two.folder, LEARNED)
    assert merge([two], one) == Brought(0, 1)  # a card is replaced by that of the version that stands


@pytest.mark.parametrize(
    ("weights", "told", "named"),
    [
        (b"others", {}, ["weights.bin"]),
        (WEIGHTS, {"learner_tells": {"loss": 0.5, "seconds": 2.0}}, ["card.json"]),
        (WEIGHTS, {"images": "4567"}, ["card.json"]),
        (b"others", {"images": "4567"}, ["card.json", "weights.bin"]),
    ],
)
def test_an_id_that_stands_for_two_artefacts_is_a_failure_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: bytes, told: dict[str, object], named: list[str]
) -> None:
    learner(tmp_path / "a")
    learner(tmp_path / "b", weights, **told)  # type: ignore[arg-type]
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--into", str(tmp_path / "c")]) == 3
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"artefacts/{LEARNED}\t{name}" for name in named]
    assert "not reproducible" in said.err and "nothing was merged" in said.err
    assert not (tmp_path / "c").exists()


def test_a_file_that_one_artefact_lacks_is_a_failure(tmp_path: Path) -> None:
    one, two = learner(tmp_path / "a"), learner(tmp_path / "b")
    (artefacts.artefact_path(two.folder, LEARNED) / "more.bin").write_bytes(b"")
    with pytest.raises(Contradiction) as caught:
        merge([one, two], Store(tmp_path / "c"))
    assert caught.value.frame.rows() == [(f"artefacts/{LEARNED}", "more.bin")]


def test_a_label_map_with_another_pixel_is_a_failure_that_names_the_image(tmp_path: Path) -> None:
    one, two = learner(tmp_path / "a"), learner(tmp_path / "b")
    run_id, image = sorted(two.stored())[0], toy_results.image_ids(4)[1]
    path = keepsakes.label_map_path(two.folder, run_id, image)
    changed = np.array(read_map(path))
    changed[0, -1] = changed[0, -1] % 4 + 1
    path.write_bytes(toy_results._png(changed))
    with pytest.raises(Contradiction, match="1 artefacts' files or label maps differ") as caught:
        merge([one, two], Store(tmp_path / "c"))
    assert caught.value.frame.rows() == [(f"label_maps/{run_id}", image)]
    path.write_bytes(b"no picture")
    with pytest.raises(StoreError, match="is damaged"):
        merge([one, two], Store(tmp_path / "c"))


def test_ledgers_of_one_name_that_differ_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        (empty(tmp_path / name).folder / "ledger").mkdir()
        (tmp_path / name / "ledger" / "own.csv").write_text(name)
    with pytest.raises(StoreError, match="bear one name and differ"):
        merge([Store(tmp_path / "a"), Store(tmp_path / "b")], Store(tmp_path / "c"))


def test_what_is_unfinished_or_half_written_stays_behind(tmp_path: Path) -> None:
    store = learner(tmp_path / "a")
    keepsakes.keep_label_maps(store.folder, [Row("r", "0", "ok", 1.0, None, label_map=b"map")])
    (keepsakes.label_map_path(store.folder, "r", "0").parent / "x.png.12.tmp").write_bytes(b"ha")
    for artefact_id in (LEARNED, "beef01"):  # the second one has no card
        place = artefacts.gathered_path(store.folder, artefact_id, "0")
        place.parent.mkdir(parents=True)
        place.write_bytes(b"half")
    (artefacts.artefact_path(store.folder, "beef01") / "curve.jsonl").write_text("{}")
    merge([store], Store(tmp_path / "c"))
    names = {path.name for path in (tmp_path / "c").rglob("*")}
    assert {LEARNED, "weights.bin", "r"} <= names
    assert not names & {"unfinished", "beef01", "x.png.12.tmp", "LOCK"}


@pytest.mark.parametrize("place", ["artefacts", "artefacts/feed01", "artefacts/feed01/more.bin", "pictures", "ledger"])
@pytest.mark.parametrize("into", [False, True])
def test_no_link_is_followed_out_of_a_folder(tmp_path: Path, place: str, into: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "card.json").write_text("{}")
    store, linked = learner(tmp_path / "a"), empty(tmp_path / "b")
    (linked.folder / place).parent.mkdir(parents=True, exist_ok=True)
    (linked.folder / place).symlink_to(outside)
    with pytest.raises(StoreError, match="is a link"):
        merge([store] if into else [store, linked], linked if into else Store(tmp_path / "c"))
    assert os.listdir(outside) == ["card.json"]
    assert not (tmp_path / "c").exists() and not linked.stored()


def test_a_card_comes_last_and_a_merge_that_was_cut_short_is_finished_by_the_next(tmp_path: Path) -> None:
    store, target = learner(tmp_path / "a"), Store(tmp_path / "c")
    written: list[str] = []

    def until_the_card(path: Path, write: object) -> None:
        if path.name == "card.json":
            raise StoreError("the disk is full")
        written.append(path.name)
        write_whole(path, write)  # type: ignore[arg-type]

    with patch("results.folder.cargo.write_whole", until_the_card), pytest.raises(StoreError, match="disk is full"):
        merge([store], target)
    assert "weights.bin" in written and not artefacts.has_artefact(target.folder, LEARNED)
    merge([store], target)
    assert json.loads((artefacts.artefact_path(target.folder, LEARNED) / "card.json").read_text())["images"] == "0123"
    assert merge([store], target) == Brought(0, 0)
