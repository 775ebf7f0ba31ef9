"""A results folder goes in; its numbers come out where people keep them: Every Eval Ever, a model card, a tracker.

`python -m results.export DIR --to every-eval-ever | model-card | trackio | wandb`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.contracts import expanded
from harness.contracts.command_line import CommandLine
from harness.errors import HarnessError, StoreError, several
from results.command_line import results_folder
from results.door import door
from results.folder.durable import write_text
from results.folder.store import Store
from results.tables import every_eval, tracked
from results.tables.evidence import Evidence, gather
from results.tables.model_card import model_card

FORMS = ("every-eval-ever", "model-card", *tracked.TRACKERS)
RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = CommandLine(prog="stableseg export", description=main.__doc__)
    results_folder(parser)
    parser.add_argument("--to", required=True, choices=FORMS, help="the form")
    parser.add_argument("--out", type=expanded, metavar="DIR", help="for files (default: DIR/export)")
    parser.add_argument("--organization", default="unknown", metavar="NAME", help="Every Eval Ever: who evaluated")
    parser.add_argument(
        "--relationship", choices=RELATIONSHIPS, default="third_party", help="Every Eval Ever: to those who made it"
    )
    parser.add_argument("--samples", action="store_true", help="Every Eval Ever: a line an image beside every run")
    parser.add_argument("--method", metavar="NAME", help="model card: of this method alone")
    parser.add_argument("--project", default="stableseg", metavar="NAME", help="trackers: the project")
    parser.add_argument("--partial", action="store_true", help="runs with missing or failed images too")
    parser.add_argument("--all", action="store_true", help="every stored run, not only those of the last grid")
    return parser


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the numbers of a results folder in another's form; 0 done, 2 with one sentence when that cannot be."""
    options = parser().parse_args(arguments)
    try:
        library = tracked.tracker(options.to) if options.to in tracked.TRACKERS else None
        evidence = gather(Store.open(options.folder, create=False), options.partial, options.all)
        if library is not None:
            number = tracked.track(evidence, library, options.project)
            print(
                f"{several(number, 'run')} {'is' if number == 1 else 'are'} in {options.to}'s project {options.project}"
            )
            return 0
        for path in write_form(evidence, options):
            print(path)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def write_form(evidence: Evidence, options: argparse.Namespace) -> list[Path]:
    """The files of a form, written; where they are. StoreError where they cannot be, or a method is not there."""
    out = options.out or evidence.store.folder / "export"
    if options.to == "model-card":
        known = {entry.method for entry in evidence.board.entries}
        if options.method is not None and options.method not in known:
            raise StoreError(f"no run is of the method {options.method!r} (methods: {', '.join(sorted(known))})")
        return _written({out / "model_card.md": model_card(evidence, options.method)})
    texts = {}
    now = int(time.time())
    for path, run_id, content in every_eval.documents(evidence, options.organization, options.relationship, now):
        texts[out / path] = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        if options.samples:
            lines = every_eval.samples(evidence, run_id, content)
            texts[(out / path).with_name(f"{Path(path).stem}_samples.jsonl")] = "".join(f"{one}\n" for one in lines)
    return _written(texts)


def _written(texts: dict[Path, str]) -> list[Path]:
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
    except OSError as error:
        raise StoreError(f"{error.filename or 'the export'} cannot be written: {error.strerror or error}") from None
    return list(texts)


if __name__ == "__main__":
    sys.exit(main())
