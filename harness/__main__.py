"""`stableseg VERB ...`, or `python -m harness VERB ...`, flows in; the exit code of that verb's own door flows out."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness import catalogue, completion
from harness.errors import nearest
from harness.foreign.company import leave
from results.tables.terminal import console_for_output


@dataclass(frozen=True)
class Verb:
    """A module with `main(arguments) -> exit code` and the `parser()` of what it takes.

    first: arguments that come before those that are given.
    """

    module: str
    words: str
    first: tuple[str, ...] = ()


VERBS: Mapping[str, Verb] = {
    "sweep": Verb("harness.sweep", "run a grid of methods and data sets, and rank them"),
    "plan": Verb(
        "harness.sweep", "what a sweep would do, what is shared, what is stored, how long it takes", ("--plan",)
    ),
    "list": Verb("harness.__main__", "methods, benchmarks, presets or estimators that there are"),
    "new": Verb("harness.starting", "a method, reader or data set that runs as it stands, its test and its grid"),
    "check": Verb("harness.checks.__main__", "whether a method or a data set keeps its promises"),
    "fetch": Verb("benchmarks.fetch", "bring a data set to this machine, check it, and say its grid lines"),
    "tags": Verb("harness.tags", "what a tagger sees in every image of a data set, frozen in a file"),
    "status": Verb("harness.status", "how a sweep stands: how far, how fast, time left, workers, failures"),
    "leaderboard": Verb("results.leaderboard", "the tables again, from stored rows"),
    "report": Verb("results.report.__main__", "the report again: intervals, groups, curves, confusions, images"),
    "explain": Verb("results.explain", "what stands behind one number"),
    "figures": Verb("results.figures", "images beside truths and predictions, as one picture"),
    "merge": Verb("results.merge", "results folders into one"),
    "verify": Verb("results.verify", "whether stored rows are what was written"),
    "ledger": Verb("results.ledger", "published numbers beside those of a results folder"),
    "export": Verb("results.export", "its numbers where people keep them: Every Eval Ever, a model card, trackio, W&B"),
    "completion": Verb("harness.__main__", "what makes a shell complete verbs and options: bash, zsh or tcsh"),
}
OWN = {"list", "completion"}  # verbs that are done here
LEAST_WORDS = 50  # columns that words need to stand beside their names


def main(arguments: Sequence[str] | None = None) -> int:
    """Hand over to the verb; 2 when there is no such one."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        _help()
        return 0 if given else 2
    name, rest = given[0], given[1:]
    if name not in VERBS:
        print(f"there is no verb {name!r}{nearest(name, VERBS)} (verbs: {', '.join(VERBS)})", file=sys.stderr)
        return 2
    if name in OWN:
        return {"list": _list, "completion": _completion}[name](rest)
    verb = VERBS[name]
    code: int = importlib.import_module(verb.module).main([*verb.first, *rest])
    return code


def _help() -> None:
    _print("stableseg VERB ...", {name: verb.words for name, verb in VERBS.items()})
    console_for_output().print(
        "\n`stableseg VERB --help` tells what a verb takes; `stableseg new method NAME` writes a first grid. In the "
        "checkout docs/tour.md is a tour of ten minutes, and docs/grid.md explains every key of a grid.",
        markup=False,
    )


def _list(given: Sequence[str]) -> int:
    """`list KIND [--json]`: what can be written into a grid."""
    kinds = [one for one in given if one != "--json"]
    if not kinds or kinds[0] in ("-h", "--help"):
        _print("stableseg list KIND [--json]", {kind: one.__doc__ or "" for kind, one in catalogue.KINDS.items()})
        return 0 if kinds else 2
    if len(kinds) > 1 or kinds[0] not in catalogue.KINDS:
        asked, known = " ".join(kinds), ", ".join(catalogue.KINDS)
        print(
            f"there is nothing to list as {asked!r}{nearest(asked, catalogue.KINDS)} (kinds: {known})", file=sys.stderr
        )
        return 2
    entries = catalogue.KINDS[kinds[0]]()
    if "--json" in given:
        print(json.dumps([asdict(one) for one in entries], indent=1, ensure_ascii=False))
    else:
        _print("", {one.name: one.words for one in entries})
    return 0


def _completion(given: Sequence[str]) -> int:
    """`completion SHELL`: the script that a shell reads at its start."""
    shells = ", ".join(completion.SHELLS)
    if list(given) not in [[one] for one in completion.SHELLS]:
        told = f"stableseg completion SHELL ({shells}); then, for bash: {completion.HOW}"
        asks = not given or given[0] in ("-h", "--help")
        print(told if asks else f"there is no completion for {' '.join(given)!r} (shells: {shells})",
              file=sys.stdout if asks else sys.stderr)  # fmt: skip
        return 0 if given and asks else 2
    parsers = {name: (verb.words, _parser(name, verb)) for name, verb in VERBS.items()}
    print(completion.script("stableseg", parsers, given[0]))
    return 0


def _parser(name: str, verb: Verb) -> argparse.ArgumentParser:
    """What a verb takes."""
    if name not in OWN:
        known: argparse.ArgumentParser = importlib.import_module(verb.module).parser()
        return known
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=list(catalogue.KINDS) if name == "list" else completion.SHELLS)
    return parser


def _print(head: str, lines: Mapping[str, str]) -> None:
    """Two columns, or words below their names where these leave them too little; a name is never cut."""
    console = console_for_output()
    if head:
        console.print(f"{head}\n", markup=False)
    if max(map(len, lines), default=0) + LEAST_WORDS > console.width:
        for name, words in lines.items():
            console.print(Text(name), Padding(Text(words), (0, 0, 0, 4)), soft_wrap=False)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, overflow="ignore")
    table.add_column()
    for name, words in lines.items():
        table.add_row(Text(name), Text(words))
    console.print(table, markup=False)


def run_and_leave() -> None:
    """The console script."""
    leave(main())


if __name__ == "__main__":
    run_and_leave()
