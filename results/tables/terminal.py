"""A leaderboard goes in and a ranked table for eyes comes out, in a terminal of any width or a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.errors import several
from results.tables import significance_words
from results.tables.ranking import Entry, Leaderboard, place_of

_WIDE = 100  # columns from which there is room for bars
_BAR = 16
_PIPED = 120  # columns when nobody says how many there are


def console_for_output(quiet: bool = False) -> Console:
    """A console on standard output; a pipe gets a fixed width, so that a log reads like a terminal.

    quiet: whatever is printed on it is dropped. NO_COLOR and COLUMNS are heeded, as by all that rich draws.
    """
    # The file is named, so that its encoding is seen. In `my_data:Leaves: ...` no leaves are meant.
    console = Console(file=sys.stdout, highlight=False, emoji=False, quiet=quiet)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED
    return console


def print_leaderboard(board: Leaderboard, console: Console | None = None) -> None:
    """Print one table a benchmark, ranked within each protocol; runs with holes stand below, with what they lack."""
    console = console or console_for_output()
    console.print(Text.assemble((board.name, "bold"), "  " if board.name else "", (board.common, "dim")))
    for benchmark, group in groupby(board.entries, key=lambda e: e.benchmark):
        entries = list(group)
        part = next((f" ({entry.part})" for entry in entries if entry.part), "")
        console.print()
        console.print(Text.assemble((benchmark, "bold cyan"), (part, "yellow"), "  "))
        console.print(_table(entries, console.width, console.options.ascii_only))
        for _, own in groupby(entries, key=place_of):
            for line in _below(board, list(own)):
                console.print(Text(line, style="dim"))
    if board.differing:
        console.print(
            Text(
                f"Protocols differ in {', '.join(board.differing)}: they share no column. Each is ranked by itself.",
                style="yellow",
            )
        )
    for name, why in board.absent.items():
        console.print(Text(f"{name} is a hole: {why}.", style="yellow"))
    for sentence in (*board.disputes, *board.cards, *board.unlearned):
        console.print(Text(sentence, style="yellow"))
    holes = [entry for entry in board.entries if entry.failed or entry.missing]
    if holes:
        console.print(Text(_about_holes(holes, board.partial), style="yellow"))


def _table(entries: Sequence[Entry], width: int, ascii_only: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("method", overflow="fold", min_width=8)
    table.add_column("variant", overflow="fold", style="dim")
    several = any(entry.apart for entry in entries)
    if several:
        table.add_column("protocol", overflow="fold", style="dim")
    for name in ("images", "mIoU", "image\nmIoU", "pixel\nacc."):
        table.add_column(name, justify="right", no_wrap=True)
    if width >= _WIDE:
        table.add_column("", no_wrap=True, style="green")
    short = any(entry.standing and not entry.standing.whole for entry in entries)
    if short:
        table.add_column("best\nthere", justify="right", no_wrap=True)
    for before, entry in zip([entries[0], *entries], entries, strict=False):
        if before.protocol != entry.protocol:
            table.add_section()
        cells = [_shown(entry.miou), _shown(entry.image_miou), _shown(entry.pixel_accuracy)]
        names = [escape(entry.method), escape(entry.variant), *([escape(entry.apart)] if several else [])]
        line = [str(entry.rank or ""), *names, _images(entry), *cells]
        if width >= _WIDE:
            line.append(("=" if ascii_only else "━") * round(_BAR * (entry.miou or 0.0)))
        if short:
            line.append(_shown(entry.standing.best_there) if entry.standing and not entry.standing.whole else "")
        table.add_row(*line, style="bold" if _leads(entry) else "" if entry.rank else "dim")
    return table


def _leads(entry: Entry) -> bool:
    """Whether a run is the best or not separated from it; the best alone where that cannot be said."""
    group = entry.standing.group if entry.standing else None
    return entry.rank == 1 if group is None else group == 1


def _below(board: Leaderboard, entries: Sequence[Entry]) -> list[str]:
    """What the numbers of one table bear: what is separated, what could be, and the spread over seeds."""
    standings = board.standings.get(place_of(entries[0]))
    spreads = {entry.spread.run_ids: entry.spread for entry in entries if entry.spread}.values()
    lines = [
        f"{one.name} over {one.seeds} seeds: {_shown(one.mean)}, standard deviation {_shown(one.deviation)}."
        for one in spreads
    ]
    lines += _supervision(entries)
    if standings is None:
        return lines
    short = [significance_words.SHORT] if any(not one.whole for one in standings.by_run.values()) else []
    told = [words for words in (significance_words.column(standings), *short, *lines) if words]
    return [f"[{entries[0].apart}] {words}" for words in told] if entries[0].apart else told


def _supervision(entries: Sequence[Entry]) -> list[str]:
    """Who learned from what besides images, a line for all of whom the same is true."""
    told: dict[str, list[str]] = {}
    for entry in entries:
        told.setdefault(entry.supervision, []).append(f"{entry.method} {entry.variant}".strip())
    return [f"{', '.join(names)}: {words}." for words, names in told.items() if words]


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.2f}"


def _images(entry: Entry) -> str:
    """The number of images scored, out of how many where some are not."""
    return str(entry.whole) if entry.complete else f"{entry.images}/{entry.whole}"


def _about_holes(holes: Sequence[Entry], partial: bool) -> str:
    failed, missing = sum(e.failed for e in holes), sum(e.missing for e in holes)
    runs = "1 run has" if len(holes) == 1 else f"{len(holes)} runs have"
    ranked = "ranked all the same (partial)" if partial else "not ranked; --partial ranks them"
    are = "is" if len(holes) == 1 else "are"
    return f"{runs} holes ({several(failed, 'image')} failed, {missing} missing) and {are} {ranked}"
