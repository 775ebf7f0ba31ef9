"""This machine in one line, a process's peak memory, and the page of numbers that a measurement leaves behind."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Sequence
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def this_machine() -> str:
    """Cores, memory, system and what else is running, as far as the load tells."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()}, Python "
        f"{platform.python_version()}, load {load:.1f} at the end, {date.today().isoformat()}"
    )


def peak_mebibytes() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write(name: str, title: str, lines: Sequence[str]) -> Path:
    """A page `perf/results/NAME.md`: title, machine, lines."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text("\n".join([f"# {title}", "", f"{this_machine()}.", "", *lines, ""]), encoding="utf-8")
    return path
