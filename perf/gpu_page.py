"""Parts of a measurement flow in; a page flows out that is whole after every line, whatever a part does or lacks.

A part that raises costs a line and no other part. Each has a share of the minutes; what it leaves, later ones have.
What hangs where nobody looks at the clock is ended from outside once all minutes are over.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

Part = Callable[[], Iterator[str]]
GRACE = 15.0  # seconds that a part has, once the minutes are over, to come back


class Page:
    """Lines that are in their file as soon as they are there, and told as they come."""

    def __init__(self, path: Path, title: str, about: str) -> None:
        self._path, self._lock, self.lines = path, threading.Lock(), [f"# {title}", "", about]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.add()

    def add(self, *lines: str) -> None:
        """These lines, at once in the file: written aside first, so that it is whole whenever somebody looks."""
        with self._lock:
            self.lines += lines
            aside = self._path.with_suffix(".new")
            aside.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
            os.replace(aside, self._path)
        for line in lines:
            print(line, flush=True)


def all_parts(page: Page, parts: Mapping[str, tuple[float, Part]], ends: float, until: Callable[[float], None]) -> None:
    """Every part on the page. parts: by title its share (any unit) and its lines. ends: of all, by time.monotonic.
    until: is told of every part when it has to be done."""
    left = sum(share for share, _ in parts.values())
    for title, (share, part) in parts.items():
        began = time.monotonic()
        own = began + max(0.0, ends - began) * share / max(left, share)
        left -= share
        until(own)
        page.add("", f"## {title}", "")
        if began >= ends:
            page.add("Not reached: the minutes were over.")
            continue
        told_of(page, part, own)
        page.add("", f"({time.monotonic() - began:.0f} s)")


def told_of(page: Page, part: Part, until: float) -> None:
    """Its lines as far as it comes by then."""
    try:
        for line in part():
            page.add(line)
            if time.monotonic() > until:
                page.add("", "Cut off here, if there was more: its share of the minutes was over.")
                return
    except (Exception, SystemExit) as error:
        page.add("", f"It ended here: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


@contextmanager
def ended_from_outside(page: Page, ends: float, leave: Callable[[int], object] = os._exit) -> Iterator[None]:
    """Meanwhile, a while after the end, the page says so and the process is left as it is."""
    done = threading.Event()

    def watch() -> None:
        if not done.wait(max(0.0, ends + GRACE - time.monotonic())):
            page.add("", "Ended from outside: this part did not come back when the minutes were over.")
            leave(3)

    threading.Thread(target=watch, name="minutes", daemon=True).start()
    try:
        yield
    finally:
        done.set()
