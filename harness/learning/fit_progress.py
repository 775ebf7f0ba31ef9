"""The curve that a fit writes flows in as it grows; now and then a line for people flows out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

from rich.console import Console

from harness.planning.planned import PlannedFit
from harness.planning.report import clock

EVERY = 10.0  # seconds between lines


class FitProgress:
    """Prints how far a fit has come, from its begin to its end. Learners that write no `curve.jsonl` are quiet.

    A line of it that holds a `notice` is shown as it is.
    """

    def __init__(self, fit: PlannedFit, console: Console) -> None:
        self._name = f"{fit.method_name} {fit.variant}".strip()
        self._noticed = 0
        self._fit, self._console, self._over = fit, console, Event()
        self._thread = Thread(target=self._watch, name="fit progress", daemon=True)

    def begin(self) -> None:
        """Say what is learned from, and watch."""
        taught = f"{len(self._fit.image_ids)} label maps of {self._fit.teacher}"
        self._console.print(f"fit {self._name} from {taught}", highlight=False, markup=False, soft_wrap=True)
        self._began = time.monotonic()
        self._thread.start()

    def end(self, done: bool) -> None:
        """Watch no longer; whether it got done, or why not is said by others."""
        self._over.set()
        self._thread.join()
        self._notice()
        if done:
            spent = clock(time.monotonic() - self._began)
            said = f"fit {self._name}: done in {spent}{curve_end(self._fit.folder)}"
            self._console.print(said, highlight=False, markup=False, soft_wrap=True)

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self._notice()
            if said := curve_end(self._fit.folder):
                self._console.print(f"fit {self._name}{said}", highlight=False, markup=False, soft_wrap=True)

    def _notice(self) -> None:
        """What the learner has to say, each once."""
        notices = [str(line["notice"]) for line in curve(self._fit.folder) if "notice" in line]
        for notice in notices[self._noticed :]:
            self._console.print(f"fit {self._name} {notice}", highlight=False, markup=False, soft_wrap=True)
        self._noticed = len(notices)


def curve(folder: str | Path) -> list[dict[str, Any]]:
    """The lines that a training has written so far, below the folder of its artefact; what is no line is left out."""
    try:
        lines = (Path(folder) / "curve.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in map(_read, lines) if isinstance(line, dict)]


def curve_end(folder: str | Path) -> str:
    """The end of the curve in words; an empty text before there is one."""
    found = [line for line in curve(folder) if "notice" not in line]
    words = []
    for key in ("loss", "validation_miou"):
        if known := [line[key] for line in found if _is_number(line.get(key))]:
            words.append(f"{key.replace('_', ' ')} {known[-1]:.3f}")
    placed = [line for line in found if _is_number(line.get("step")) and _is_number(line.get("steps"))]
    where = f"step {placed[-1]['step']} of {placed[-1]['steps']}, " if placed else ""
    return f": {where}{', '.join(words)}" if words else ""


def _read(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
