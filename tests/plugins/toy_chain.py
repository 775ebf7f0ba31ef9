"""A chain of toy learners and the door for it: a folder with a grid goes in, an exit code and result files come out."""

from __future__ import annotations

import json
import os
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import forked
import in_process

from harness import sweep

CHAIN = """
name: chain
methods:
  - {name: Bright, use: toy_learners:Brightest}
  - {name: Plus, use: toy_learners:Colours, with: {teacher: Bright}}
  - {name: Gains, use: toy_learners:Gains, with: {teacher: Plus}}
  - {name: PlusPlus, use: toy_learners:Colours, with: {teacher: Gains, low: 0.1}}
benchmarks:
  - {name: Boxes, use: toy_learners:SplitBoxes, with: {images: 6}, train: {split: train, images: 7}}
batch: 3
"""


def start(folder: Path, *more: str, wish: str, temporary: Path | None = None) -> BaseProcess:
    """The sweep of a folder's grid, running; its output goes to files there.

    wish: where it is to stop, see toy_learners.interrupt. temporary: where a Ray has its sockets and logs.
    """
    _make(wish)
    environment = {"RAY_worker_niceness": "0"} | ({} if temporary is None else {"TMPDIR": str(temporary)})
    return forked.start(folder, sweep.main, ["grid.yaml", "--no-report", *more], **environment)


def door(folder: Path, *more: str, wish: str | None = None) -> int:
    """Run the grid of a folder in this process; the exit code. Its output goes to files there."""
    _make(wish)
    answer = in_process.door("grid.yaml", *more, cwd=folder)
    (folder / "stdout").write_text(answer.stdout)
    (folder / "stderr").write_text(answer.stderr)
    assert wish is None or met(), f"never came to {wish}: {answer}"
    return answer.returncode


def until_met(folder: Path, driver: BaseProcess) -> None:
    """Wait until the sweep has come to where its wish said."""
    while not met():
        assert driver.is_alive(), (folder / "stderr").read_text()
        time.sleep(0.05)


def met() -> bool:
    """Whether somebody has come to where the last wish said."""
    return _wish().with_suffix(".met").exists()


def _make(wish: str | None) -> None:
    for path in (_wish(), _wish().with_suffix(".met")):
        path.unlink(missing_ok=True)
    if wish is not None:
        _wish().write_text(wish)


def _wish() -> Path:
    return Path(os.environ["TOY_INTERRUPT"])


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "runs" / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def tables(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "runs" / "leaderboard.csv").read_bytes(), (folder / "runs" / "matrix.csv").read_bytes()


def cards(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (folder / "runs" / "artefacts").glob("*/card.json")]
    return {card["method_name"]: card for card in found}
