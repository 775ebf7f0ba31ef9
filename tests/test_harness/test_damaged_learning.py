"""What a learner left, and what it learns from, is looked at before it is used: a damaged file is told."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import in_process
import numpy as np
import pytest
from PIL import Image
from toy_chain import CHAIN, cards, tables

from harness.contracts import ModelError, Recipe
from harness.errors import StoreError
from harness.recipes import loading
from results import verify
from results.folder import artefacts, keepsakes
from results.folder.proof import read_json, sealed, stamped
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
    label_map = next((runs / "label_maps").rglob("*.png"))
    with Image.open(label_map) as picture:
        picture.load()
    picture.save(label_map)  # as an editor leaves it: every pixel is there, and its digest is gone
    answer = in_process.door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 3
    assert "Plus cannot be fitted" in answer.stderr and "1 results on the train images" in answer.stderr
    assert ".png is damaged: it has lost its digest" in answer.stderr
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


def test_the_masks_that_a_learner_gathers_from_are_read_when_their_batch_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand of them never lie in memory: a shard holds where they are, and what is sent holds them."""
    happened: list[str] = []
    read, keep = keepsakes.read_kept, artefacts.keep_gathered
    monkeypatch.setattr(keepsakes, "read_kept", lambda path: happened.append("read") or read(path))
    monkeypatch.setattr(artefacts, "keep_gathered", lambda *given: happened.append("kept") or keep(*given))
    (tmp_path / "grid.yaml").write_text(CHAIN)
    assert in_process.door("grid.yaml", cwd=tmp_path).returncode == 0
    assert happened.count("read") == 7 and happened.count("kept") == 3  # images and batches
    assert happened[:7].count("kept") > 0
    paths = {"a": tmp_path / "a.png", "b": tmp_path / "b.png"}
    files = keepsakes.KeptFiles(paths)
    for name, path in paths.items():
        path.write_bytes(stamped(name.encode(), path))
    sent = pickle.loads(pickle.dumps(files))
    assert type(sent) is dict and sent == dict(files) == {name: name.encode() for name in paths}
    paths["b"].write_bytes(paths["b"].read_bytes().replace(b"b", b"c", 1))
    with pytest.raises(StoreError, match=r"b\.png is damaged"):
        pickle.dumps(files)
