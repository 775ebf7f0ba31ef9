"""A results folder flows in; how its last sweep stands flows out: while it runs, after its end, or when it has died.

`python -m harness.status DIR` (or the URL of a mirror) reads events alone, so that it costs the sweep nothing and can
be asked from any machine that sees the folder. Exit code 0; 2 where no sweep ever began.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.contracts.command_line import CommandLine, typed
from harness.errors import StoreError, bounded
from harness.foreign.company import leave
from harness.learning.fit_progress import curve_end
from harness.planning.report import clock
from results.command_line import results_folder
from results.door import door
from results.folder import artefacts, lock
from results.folder.course import FITS, SweepCourse, course_of, is_sound
from results.folder.events import Told
from results.folder.store import Store
from results.mirror.bringing import at_hand
from results.tables.terminal import console_for_output

LONGEST_LINE = 2000  # letters
SHOWN = 10  # errors, and workers that were lost
ENDS = {0: "done", 2: "ended: the input was at fault", 3: "ended with failed or missing images", 130: "interrupted"}


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    if not options.follow:
        _show(options.folder, options.json, console_for_output())
        return 0
    console = console_for_output()
    with Live(console=console, auto_refresh=False) as live:
        while not (told := _told(options.folder))["over"]:
            live.update(Text("\n".join(_lines(told))), refresh=True)
            time.sleep(options.every)
        live.update(Text("\n".join(_lines(told))), refresh=True)
    return 0


def _show(folder: Path | str, as_json: bool, console: Console) -> None:
    told = _told(folder)
    if as_json:
        print(json.dumps(told, indent=2))
    else:
        console.print("\n".join(_lines(told)), highlight=False, markup=False, soft_wrap=True)


def _told(where: Path | str) -> dict[str, Any]:
    """All that is known now, as JSON values. StoreError where no sweep ever began."""
    folder = at_hand(where, heard=True)
    shares = sorted((folder / "shards").glob("*-of-*"))
    alone = not shares or (folder / "rows").is_dir()
    heard = Store.open(folder, create=False).told() if alone else Told((), ())
    course = course_of(heard.events)
    damaged = len(heard.damaged) + sum(not is_sound(event) for event in heard.events)
    if course is None and shares:
        raise StoreError(
            f"{where} is that of jobs that share a grid; name the folder of one, such as {shares[0]}, or ask for all: "
            f"`for one in {shlex.quote(str(folder))}/shards/*; do {typed('status')} \"$one\"; done`."
        )
    if course is None and heard.events and not damaged:
        raise StoreError(
            f"{where} tells of no sweep: it was merged, and none has begun in it since; "
            f"`python -m results.leaderboard {where}` shows what it holds."
        )
    if course is None and heard.events:
        raise StoreError(
            f"{where}/events.jsonl tells of no sweep's beginning, and {_lines_of(damaged)} damaged; the results do "
            f"not rest on it: `python -m results.leaderboard {where}` shows them."
        )
    if course is None:
        raise StoreError(f"No sweep has begun in {where} yet: `python -m harness.sweep GRID --results DIR` does.")
    now = datetime.now(UTC)
    state = _state(course, now)
    return {
        "name": course.name, "state": state, "over": state not in ("running", "silent"), "exit": course.exit,
        "by": dict(course.by), "started": course.started.isoformat(), "heard": course.heard.isoformat(),
        "seconds": ((course.heard if course.ended else now) - course.started).total_seconds(),
        "wanted": course.wanted, "done": course.done, "failed": course.failed, "rate": course.rate(now),
        "seconds_left": course.left(now), "damaged": damaged, "errors": dict(course.errors.most_common()),
        "failures": dict(course.failures.most_common()),
        "workers": [
            {**one.about, **one.did, "worker": one.number, "lost": one.lost, "doing": dict(one.doing)}
            for one in course.workers.values()
        ],
        "fits": {
            artefact: {**fit, "curve": curve_end(artefacts.artefact_path(folder, artefact)).removeprefix(": ")}
            for artefact, fit in course.fits.items()
        },
    }  # fmt: skip


def _state(course: SweepCourse, now: datetime) -> str:
    """`running`, `ended`, `died` (its process is known to be gone), or `silent`: nothing was heard for minutes."""
    if course.ended or not course.by:  # a sweep of before said neither who it was nor that it ended
        return "ended"
    lives = lock.lives(course.by)
    if lives is None:
        return "silent" if course.is_silent(now) else "running"
    return "running" if lives else "died"


def _lines(told: dict[str, Any]) -> list[str]:
    """For people; the time that is left comes first."""
    failed = [f"{count} failed on {host}" for host, count in told["failures"].items() if len(told["failures"]) > 1]
    workers = _of_workers(told["workers"], told["over"])
    lines = [*_head(told), *_of_fits(told["fits"], told["over"]), *workers, *failed, *_of_errors(told["errors"])]
    if told["damaged"]:
        lines.append(f"{_lines_of(told['damaged'])} damaged and left out: what they told is not counted")
    return [bounded(line, LONGEST_LINE) for line in lines]  # names and errors are anybody's


def _lines_of(damaged: int) -> str:
    return f"{damaged} line{'s' * (damaged != 1)} of events.jsonl {'is' if damaged == 1 else 'are'}"


def _head(told: dict[str, Any]) -> Iterator[str]:
    left, rate = told["seconds_left"], told["rate"]
    spent = f"{clock(told['seconds'])} since it began"
    if told["state"] in ("running", "silent"):
        yield f"{clock(left) if left is not None else 'unknown time'} left for images; {spent}"
    else:
        died = told["state"] != "ended"
        again = "; what is done is kept, the same command goes on from there" if died or told["exit"] == 130 else ""
        yield f"{'died without a word' if died else ENDS.get(told['exit'], 'ended')}; {spent}{again}"
    share = 100 * told["done"] / told["wanted"] if told["wanted"] else 100.0
    at = f", {rate:.1f} a second" if rate is not None else ""
    done = f"{told['done']} of {told['wanted']} image results ({share:.0f} %)"
    yield f"{told['name']}: {done}{at}, {told['failed']} failed"
    heard = clock((datetime.now(UTC) - datetime.fromisoformat(told["heard"])).total_seconds())
    by = told["by"]
    where = f"process {by.get('pid')} on {by.get('host')}" if by else "its process is not known"
    silent = "; it said nothing for minutes: it has died, or cannot write" if told["state"] == "silent" else ""
    yield f"{where}; last heard of {heard} ago{silent}"


def _of_fits(fits: Mapping[str, Mapping[str, str]], over: bool) -> Iterator[str]:
    for fit in fits.values():
        said = fit["error"] if fit["state"] == "failed" else fit["curve"]
        stopped = over and fit["state"] == FITS["fit begun"]
        state = "unfinished; the same command goes on with it" if stopped else fit["state"]
        yield f"fit {fit['method']}: {state}{said and f', {said}'}"


def _of_workers(workers: Sequence[dict[str, Any]], over: bool) -> Iterator[str]:
    living = [one for one in workers if not one["lost"]]
    for one in living:
        card = f" ({one['card']})" if one.get("card") else ""
        gpu = f", GPU {one['gpu']}{card}" if one.get("gpu") else card
        at = f"; last did batch {one['batch']} of {one['shard']}" if "batch" in one else ""
        if doing := one["doing"]:
            at = f"; {'was ' * over}at batch {doing['batch']} of {doing['shard']}{'' if over else _since(doing)}"
        memory = f", {one['memory'] / 2**30:.1f} GiB at most" if one.get("memory") else ""
        yield f"worker {one['worker']}: process {one.get('pid')} on {one.get('host')}{gpu}{at}{memory}"
    lost = [one for one in workers if one["lost"]]
    for one in lost[-SHOWN:]:
        yield f"worker {one['worker']} on {one.get('host')} was lost: {one['lost']}"
    if len(lost) > SHOWN:
        yield f"... and {len(lost) - SHOWN} lost before"


def _since(doing: Mapping[str, Any]) -> str:
    """For how long it is at it; nothing where that is not said."""
    try:
        begun = datetime.fromisoformat(str(doing.get("since")))
        return f" for {clock(max(0.0, (datetime.now(UTC) - begun).total_seconds()))}"
    except (TypeError, ValueError):
        return ""


def _of_errors(errors: dict[str, int]) -> Iterator[str]:
    for error, batches in list(errors.items())[:SHOWN]:
        yield f"in {batches} batch{'es' * (batches != 1)}: {error}"
    if len(errors) > SHOWN:
        yield f"... and {len(errors) - SHOWN} other errors; --json has all"


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = CommandLine(
        prog="stableseg status",
        description="How the last sweep of a results folder stands: how far, how fast, time left, workers, failures.",
    )
    results_folder(parser, url=True)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="as JSON")
    how.add_argument("--follow", action="store_true", help="until it ends")
    parser.add_argument("--every", type=_seconds, default=2.0, metavar="S", help="seconds between looks (default: 2)")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} are no seconds from 0.1 to 3600")
    return seconds


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
