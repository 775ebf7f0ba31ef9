"""A seed and a number of events flow in; a sweep over pretended hosts is hit by them, and perf/results/chaos.md says
what each event cost: exit 1 where the sweep does not end in the bytes of `--local`.

python -m perf.chaos [--events 30] [--seed N]        (or: make chaos; root)
"""

from __future__ import annotations

import argparse
import functools
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))

import pretend_hosts
from chaos import KINDS, Chaos, Happened
from chaos_lab import BATCH, METHODS, PACE, lab_of
from chaos_record import Cost, Left, by_one_process, costs

from perf import machine

HOSTS = ("north", "east", "west", "south")
IMAGES_AN_EVENT = 100
ABOUT = (
    "Four pretended hosts (namespaces; each with its own address, host name, process numbers and /dev/shm; file system "
    "shared): north is the head and computes nothing, east and west have one worker each, south joins and leaves. "
    "Head, hosts and sweep are started by the commands of docs/cluster.md. A batch takes a worker {seconds:.0f} s. The "
    "driver begins on north; whenever it ends before all is done, the same command is given again. An event comes when "
    "four to ten batches were computed since the last one, whether that is over or not: what was lost with a host that "
    "is silent is done a minute later, and counted then."
)
HEAD = (
    "at, s", "event", "where, how long", "the driver ended with", "computed again, batches",
    "nobody computed, batches of time", "a new process computed after, batches of time",
)  # fmt: skip


def record_of(about: str, costs: Sequence[tuple[Happened, Cost]], start: float, ended: str) -> list[str]:
    """The record."""
    seconds = PACE / 100 * BATCH * METHODS
    lines = [f"| {' | '.join(HEAD)} |", "|---:|---|---|---|---:|---:|---:|"]
    for event, cost in costs:
        ends = "; ".join(event.ended) or "-"
        back = "-" if cost.back is None else f"{cost.back / seconds:.1f}"
        numbers = f"{cost.again / (BATCH * METHODS):.1f} | {cost.still / seconds:.1f} | {back}"
        lines.append(f"| {event.at - start:.0f} | {event.kind} | {event.detail} | {ends} | {numbers} |")
    return [about, "", ABOUT.format(seconds=seconds), "", ended, "", *lines]


def how_it_ended(found: Left, expected: Left, tracebacks: int, again: int, took: float) -> tuple[bool, str]:
    """Whether all is as it should be, and how that is told."""
    words = {True: "equal", False: "NOT EQUAL"}
    table, rows = found.leaderboard == expected.leaderboard, found.rows.equals(expected.rows)
    batch = BATCH * METHODS
    return table and rows and not tracebacks, (
        f"leaderboard.csv is {words[table]} to that of `--local`, the {found.rows.height} rows in order are "
        f"{words[rows]} to its. Tracebacks of the driver: {tracebacks}. {took:.0f} s in all; of "
        f"{found.rows.height // batch} batches {again / batch:.1f} were computed again."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 2 where hosts cannot be pretended."""
    parser = argparse.ArgumentParser(prog="python -m perf.chaos", description=__doc__)
    parser.add_argument("--events", type=int, default=30)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args(arguments)
    if reason := pretend_hosts.forbidden():
        print(f"Hosts cannot be pretended: {reason}.", file=sys.stderr)
        return 2
    place, start = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp")), time.time()
    about = f"`python -m perf.chaos --events {options.events} --seed {options.seed}`"
    print(f"{about}, folder {place}", flush=True)
    with lab_of(place, HOSTS, options.events * IMAGES_AN_EVENT) as lab:
        expected = by_one_process(lab)
        tell = functools.partial(print, flush=True)
        happened = Chaos(lab, options.seed, tell)
        kinds = [KINDS[number % len(KINDS)] for number in range(options.events)]
        happened.run(happened.rng.sample(kinds, len(kinds)))
        paid, tracebacks = costs(happened), lab.said("driver").count("Traceback")
        again, took = sum(cost.again for _, cost in paid), time.time() - start
        good, told = how_it_ended(Left.of(lab.runs), expected, tracebacks, again, took)
    machine.write("chaos", "A sweep over several hosts, and what happened to it", record_of(about, paid, start, told))
    print(told)
    if good:
        shutil.rmtree(place)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
