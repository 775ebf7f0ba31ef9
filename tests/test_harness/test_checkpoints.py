"""Checkpoints of learners: written whole or not at all, known when they are broken, and what is said of them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from harness.contracts.checkpoint import read_checkpoint, write_checkpoint
from harness.learning.fit_progress import FitProgress


def test_a_checkpoint_is_what_was_written(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "one") is None
    write_checkpoint(tmp_path / "one", b"")
    write_checkpoint(tmp_path / "two", b"checkpoint" * 9)
    assert read_checkpoint(tmp_path / "one") == b"" and read_checkpoint(tmp_path / "two") == b"checkpoint" * 9


def test_every_flipped_bit_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    path = tmp_path / "one"
    write_checkpoint(path, b"abc")
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="one is damaged"):
            read_checkpoint(path)
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        read_checkpoint(tmp_path)


def test_a_checkpoint_says_whose_it_is(tmp_path: Path) -> None:
    paths = [tmp_path / name / "unfinished" / "one" for name in ("a fit", "other")]
    for path in paths:
        path.parent.mkdir(parents=True)
    write_checkpoint(paths[0], b"abc")
    paths[1].write_bytes(paths[0].read_bytes())
    assert read_checkpoint(paths[0]) == b"abc"
    with pytest.raises(ValueError, match=r"one is of another fit, a%20fit"):
        read_checkpoint(paths[1])
    paths[1].write_bytes(paths[0].read_bytes().replace(b"a%20fit", b"other"))
    with pytest.raises(ValueError, match="one is damaged"):
        read_checkpoint(paths[1])


def test_a_checkpoint_is_on_the_disk_before_it_takes_the_place_of_the_former(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, done = tmp_path / "one", []
    write_checkpoint(path, b"former")
    sync, move = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def moved(source: Any, target: Any) -> None:
        done.append("moved")
        assert read_checkpoint(path) == b"former" and read_checkpoint(Path(source)) == b"next"
        move(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    write_checkpoint(path, b"next")
    assert done == ["one.new", "moved", tmp_path.name] and read_checkpoint(path) == b"next"


def test_what_a_learner_notes_in_its_curve_is_shown_once(tmp_path: Path) -> None:
    fit: Any = SimpleNamespace(method_name="Plus", variant="", teacher="T", image_ids=("a",), folder=str(tmp_path))
    text = io.StringIO()
    progress = FitProgress(cast("Any", fit), Console(file=text, width=200))
    progress.begin()
    (tmp_path / "curve.jsonl").write_text('{"step": 0, "steps": 9, "notice": "begins anew [x]"}\n')
    progress._notice()
    progress.end(done=True)
    assert text.getvalue().count("fit Plus begins anew [x]\n") == 1
