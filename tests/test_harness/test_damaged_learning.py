"""What a learner left, and what it learns from, is looked at before it is used: a damaged file is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import in_process
import numpy as np
import pytest
from toy_chain import CHAIN, cards, tables

from harness.contracts import ModelError, Recipe
from harness.recipes import loading
from results import verify
from results.folder import artefacts
from results.folder.proof import read_json, sealed
from results.folder.store import Store


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-60] + bytes([content[-60] ^ 1]) + content[-59:])


def forget_scores(folder: Path) -> None:
    """Take away the rows of what the grid asked for; those of the teacher on the train images stay."""
    store = Store(folder)
    rows = store.rows()
    scored = json.loads((folder / "grid.json").read_text())["runs"]
    for part in (folder / "rows").iterdir():
        part.unlink()
    with store.writer() as writer:
        writer.write(rows.filter(~rows["run_id"].is_in(scored)))


def test_a_damaged_artefact_or_label_map_is_left_out_and_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = CHAIN.split("  - {name: Gains")[0] + "benchmarks:" + CHAIN.split("benchmarks:")[1]
    (tmp_path / "grid.yaml").write_text(chain)
    assert in_process.door("grid.yaml", cwd=tmp_path).returncode == 0
    whole, runs = tables(tmp_path), tmp_path / "runs"
    place = runs / "artefacts" / cards(tmp_path)["Plus"]["artefact_id"]
    weights = max((path for path in place.iterdir() if path.name != "card.json"), key=lambda path: path.stat().st_size)
    flip(weights)
    forget_scores(runs)
    answer = in_process.door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 3
    assert f"Plus cannot be used, and what needs it is left out: {weights} is damaged" in answer.stderr
    shutil.rmtree(place)
    flip(next((runs / "label_maps").rglob("*.png")))
    answer = in_process.door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 3
    assert "Plus cannot be fitted" in answer.stderr and "1 results on the train images" in answer.stderr
    assert ".png is damaged" in answer.stderr
    assert verify.main([str(runs), "--set-aside"]) == 1
    assert in_process.door("grid.yaml", cwd=tmp_path).returncode == 0
    assert tables(tmp_path) == whole
    capsys.readouterr()
    assert verify.main([str(runs)]) == 0
    card = sorted((runs / "artefacts").glob("*/card.json"))[0]
    card.write_text(json.dumps(sealed({**read_json(card), "labels": "another"})))
    assert verify.main([str(runs)]) == 1
    assert f"{card} was changed by hand: what it says gives the id " in capsys.readouterr().out


def test_a_damaged_artefact_is_told_wherever_it_is_opened(tmp_path: Path) -> None:
    """As a worker on another machine meets it, after the driver looked."""
    place = artefacts.artefact_path(tmp_path, "feed01")
    place.mkdir(parents=True)
    (place / "sums.json").write_text(json.dumps(np.eye(3, 4).tolist()))
    learner = Recipe.of("toy_learners:Colours", teacher="T")
    loading.open_method(learner, str(place))  # without a card, as the gate may be given a folder
    artefacts.finish(tmp_path, "feed01", {})
    assert loading.open_method(learner, str(place)).low == 0.5
    flip(place / "sums.json")
    with pytest.raises(ModelError, match=r"sums\.json is damaged: its bytes are not those that were learned; move"):
        loading.open_method(learner, str(place))
    (place / "sums.json").unlink()
    with pytest.raises(ModelError, match=r"sums\.json is not there; move"):
        loading.open_method(learner, str(place))
