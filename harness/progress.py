"""Batches done -> what a person sees while a sweep runs: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.contracts import BatchDone, Run
from harness.planning.plan import Plan
from harness.planning.report import clock

LINE_EVERY = 10.0  # seconds between lines where the output is no terminal
RUNS_SHOWN = 12


class Progress:
    """Counts image results; asks `miou(run_id)` (a fraction, or None) for the runs' current values."""

    def __init__(
        self,
        plan: Plan,
        miou: Callable[[str], float | None],
        console: Console,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._runs = plan.images_missing, [planned.run for planned in plan.runs]
        self._miou, self._console, self._now = miou, console, now
        self._started = self._said = now()
        self._done = self._failed = 0
        self._loaded: tuple[float, int] | None = None  # when the first batch came, after networks were opened; its rows
        self._start = ""  # what the start is at
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=2, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def note(self, event: Mapping[str, Any]) -> None:
        """What happens before the first batch comes, which may take minutes; later the batches speak."""
        said = _starting(event) if self._loaded is None else ""
        if said and not self._console.is_terminal:
            self._console.print(said, highlight=False, soft_wrap=True)
        self._start = said or self._start

    def update(self, done: BatchDone) -> None:
        """Take in one batch."""
        self._done += len(done.rows)
        self._failed += len(done.rows) - int(np.count_nonzero(done.rows.ok))
        self._loaded = self._loaded or (self._now(), self._done)
        if not self._live.is_started and self._now() - self._said >= LINE_EVERY:
            self._said = self._now()
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def _line(self) -> str:
        rate = self._rate()
        left = f"{clock((self._total - self._done) / rate)} left; " if rate else ""
        pace = f", {rate:.1f} a second" if rate else ""
        share = 100 * self._done / self._total if self._total else 100.0
        alike = len({run.protocol for run in self._runs}) == 1  # runs of two protocols have no best
        best = max(((value, run) for run, value in self._values() if alike), key=lambda pair: pair[0], default=None)
        leader = f"; best so far {label(best[1])} {100 * best[0]:.1f}" if best else ""
        done = f"{self._done} of {self._total} image results ({share:.0f} %){pace}, {self._failed} failed{leader}"
        return f"{left}{done}"

    def _rate(self) -> float:
        """Image results a second, what came before the first batch apart: opening networks says nothing of images."""
        since, before = self._loaded or (self._started, 0)
        return (self._done - before) / max(self._now() - since, 1e-9)

    def _values(self) -> list[tuple[Run, float]]:
        valued = [(run, self._miou(run.run_id)) for run in self._runs]
        return [(run, value) for run, value in valued if value is not None]

    def _picture(self) -> RenderableType:
        grid: Any = Table.grid(padding=(0, 2))
        for run, value in sorted(self._values(), key=lambda pair: -pair[1])[:RUNS_SHOWN]:
            grid.add_row(Text(label(run)), Text(run.benchmark_name), Text(f"{100 * value:.1f} mIoU"))
        bar = ProgressBar(total=max(self._total, 1), completed=self._done, width=60)
        start = Text(self._start) if self._start and self._loaded is None else Text("")
        return Group(bar, Text(self._line()), start, grid)


def _starting(event: Mapping[str, Any]) -> str:
    kind, most, threads = event.get("event"), event.get("at_most"), event.get("threads")
    if kind == "workers":
        on_cpus = f"with {threads} thread{'s' * (threads != 1)} each"
        kinds = "on a GPU each, or a share of one" if event.get("gpus") else on_cpus
        return f"starting up to {most} worker{'s' * (most != 1)} {kinds}"
    if kind == "worker_ready":
        where = f" on {event['host']}" if event.get("host") else ""
        return f"worker {event.get('worker')}{where} is there and opens its networks"
    return ""


def label(run: Run) -> str:
    """A run's name as people say it."""
    return f"{run.method_name} {run.variant}".strip()
