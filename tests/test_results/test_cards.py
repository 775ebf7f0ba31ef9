"""Every row says which kind of card, or of CPU, computed it: in the folder, through merges, and where people look."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import toy_chain
import toy_results

from harness.contracts import Row, Rows
from harness.work import arithmetic
from results import explain, merge
from results.folder import parts
from results.folder.store import Store
from results.report import pages
from results.tables import leaderboard
from results.tables.evidence import gather
from results.tables.terminal import console_for_output, print_leaderboard

HUNDRED, OTHER = "NVIDIA H100", "NVIDIA A100 <80 GB>"


def test_a_sweep_says_where_it_computed_and_nothing_else_depends_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grid.yaml").write_text(toy_chain.CHAIN)
    assert toy_chain.door(tmp_path) == 0
    store = Store.open(tmp_path / "runs", create=False)
    assert store.rows()["card"].unique().to_list() == [arithmetic.kind_of_card()] != [""]
    before = toy_chain.tables(tmp_path), store.stored()
    monkeypatch.setattr("harness.work.arithmetic.kind_of_card", lambda: OTHER)
    assert toy_chain.door(tmp_path) == 0  # nothing is computed again
    assert (toy_chain.tables(tmp_path), store.stored()) == before and OTHER not in store.rows()["card"].to_list()


def mixed(folder: Path) -> tuple[Store, str, str]:
    """Results without a word on cards, but for two runs: one of two kinds, and one of one."""
    store = toy_results.fill(folder, images=6)
    one, other = store.table().run_ids[:2]  # type: ignore[union-attr]
    rows = store.rows([one, other])
    with store.writer() as writer:
        for place, (run_id, image_id, status) in enumerate(rows.select("run_id", "image_id", "status").iter_rows()):
            if status == "ok":
                row = rows.row(place, named=True)
                counts = {name: np.array(row[name], np.int64) for name in ("true", "predicted", "pixels")}
                card = OTHER if run_id == one and image_id.endswith("1") else HUNDRED
                writer.append([Row(run_id, image_id, "ok", 0.0, sample="0" * 32, card=card, **counts)])
    return store, one, other


def test_a_run_of_several_kinds_is_told_wherever_one_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, one, other = mixed(tmp_path / "runs")
    evidence = gather(store, partial=True)
    (sentence,) = evidence.board.cards
    assert sentence.startswith(f"Cards of several kinds ({OTHER}; {HUNDRED}) computed run {one}: ")
    print_leaderboard(evidence.board, console_for_output())
    assert "Cards of several kinds" in " ".join(capsys.readouterr().out.split())
    assert sentence in pages.summary(evidence)["disputes"]
    told = {kind: rows for kind, rows, _ in pages.cost(evidence, {})["cards"]}
    assert list(told) == [HUNDRED, OTHER, "not said"] and told[OTHER] == 1
    for run_id, lines in ((one, f"{OTHER}: 1 images"), (other, f"{HUNDRED}: ")):
        assert explain.main([run_id, "--results", str(store.folder)]) == 0
        said = capsys.readouterr().out
        assert "Computed on" in said and lines in said
        assert ("they may round differently" in said) == (run_id == one)


def test_rows_that_say_nothing_are_no_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = toy_results.fill(tmp_path / "runs", images=6)
    board = leaderboard.build_board(store, partial=True)
    assert board.cards == ()
    assert explain.main([board.run_ids[0], "--results", str(store.folder)]) == 0
    assert "not said: 6 images" in capsys.readouterr().out


def test_a_merge_keeps_what_rows_say(tmp_path: Path) -> None:
    store, one, _ = mixed(tmp_path / "runs")
    assert merge.main([str(store.folder), "--into", str(tmp_path / "whole")]) in (0, 3)
    whole = Store.open(tmp_path / "whole", create=False)
    assert whole.rows([one])["card"].to_list() == store.rows([one])["card"].to_list()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_merge_with_rows_that_say_nothing_keeps_those_that_do(order: tuple[int, int], tmp_path: Path) -> None:
    store, one, _ = mixed(tmp_path / "runs")
    said = store.rows([one])["card"].to_list()
    bare = Path(shutil.copytree(store.folder, tmp_path / "bare"))
    for path in (bare / "rows").iterdir():
        frame = pl.read_parquet(path)
        path.unlink()
        parts.write_part(bare / "rows", frame.drop("card"))
    folders = [str(store.folder), str(bare)]
    assert merge.main([*(folders[n] for n in order), "--into", str(tmp_path / "whole")]) in (0, 3)
    assert Store.open(tmp_path / "whole", create=False).rows([one])["card"].to_list() == said


def test_rows_of_several_cards_stay_what_they_are_when_they_are_joined_and_sent() -> None:
    rows = Rows.of([Row("r", str(number), "ok", 0.0) for number in range(3)])
    joined = Rows.joined([rows.computed_on(HUNDRED), rows.computed_on(""), rows.only(np.array([1])).computed_on(OTHER)])
    said = [HUNDRED] * 3 + [None] * 3 + [OTHER]
    for one in (joined, Rows.of(list(joined)), replace(joined).__reduce__()[0](*joined.__reduce__()[1])):
        assert [row.card for row in one] == said
    assert [row.card for row in joined.only(np.array([6, 0]))] == [OTHER, HUNDRED]
