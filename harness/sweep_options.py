"""The words of `python -m harness.sweep` go in; what they ask for comes out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from harness.contracts import expanded
from harness.contracts.command_line import CommandLine, at_least_one
from harness.grid.form import MOST_WORKERS
from harness.planning import shares
from results.command_line import RESULTS
from results.mirror import bucket


def parser(verb: str = "sweep") -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = CommandLine(
        prog=f"stableseg {verb}",
        description="Run a grid of methods and benchmarks and rank them. What is stored already is not run again.",
        epilog="Exit codes: 0 all done; 2 the input is at fault; 3 failed or missing images; 130 interrupted.",
    )
    parser.add_argument("grid", type=expanded, help="the YAML file that says what to run")
    parser.add_argument(
        "--results", type=expanded, default=RESULTS, metavar="DIR", help=f"results folder (default: {RESULTS})"
    )
    parser.add_argument(
        "--mirror",
        type=bucket.url,
        metavar="URL",
        help="a bucket that has the results too: s3://lab/run, gs:// or az://",
    )
    parser.add_argument("--plan", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--json", action="store_true", help="with --plan: as JSON")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--local", action="store_true", help="in this process, without Ray")
    where.add_argument("--address", metavar="A", help="a running Ray cluster: auto, HOST:PORT or ray://HOST:PORT")
    parser.add_argument(
        "--workers", type=_workers_asked, metavar="N", help="workers (default: one a GPU, else as CPUs allow)"
    )
    parser.add_argument("--shard", metavar="I/N", help="only this job's share of N, in DIR/shards/I-of-N, to be merged")
    parser.add_argument(
        "--grace",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds that a batch has to end after SIGTERM (default: 0)",
    )
    parser.add_argument("--limit", type=at_least_one, metavar="IMAGES", help="only the first images of every benchmark")
    choice = "compute this one alone, by its name in the grid (may be given again); the table stays the whole grid's"
    parser.add_argument("--benchmark", action="append", default=[], metavar="NAME", help=choice)
    parser.add_argument("--method", action="append", default=[], metavar="NAME", help=choice)
    parser.add_argument("--available", action="store_true", help="leave out data sets that are not on this machine")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="in place of what the grid says: batch=4, protocol.threshold=0.4, benchmarks.City.with.root=/data/city",
    )  # fmt: skip
    parser.add_argument("--partial", action="store_true", help="rank runs with failed or missing images too")
    parser.add_argument("--no-report", action="store_true", help="write no tables/, ledger.csv and report/")
    parser.add_argument("--quiet", action="store_true", help="print nothing but what went wrong, on standard error")
    return parser


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for; ends the process with a sentence where the words make no sense."""
    known = parser("plan" if arguments and arguments[0] == "--plan" else "sweep")
    options = known.parse_args(arguments)
    options.shard = shares.Share.of(options.shard) if options.shard else None
    if options.json and not options.plan:
        known.error("--json goes with --plan")
    if options.quiet and options.plan:
        known.error("--plan is there to be read; it goes without --quiet")
    return options


def _workers_asked(text: str) -> int:
    if at_least_one(text) > MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{text} are too many; give at most {MOST_WORKERS}")
    return int(text)
