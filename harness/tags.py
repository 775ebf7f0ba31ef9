"""A grid, one of its benchmarks and a tagger flow in; a file of tags flows out, for `vocabulary: {file: tags.json}`.

`python -m harness.tags grid.yaml Shapes --out tags.json --tagger methods.clip_tagger:ClipTagger --with model=shapes`.
The tagger is asked in this process, once an image, as a sweep asks it (the same draws, images lent, the process looked
at afterwards); so it costs a sweep nothing any more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from harness.checks.with_words import add_settings, recipe_of_words
from harness.contracts import MethodError, ProtocolSettings, Recipe, Sample
from harness.contracts.command_line import CommandLine
from harness.errors import GridError, HarnessError, in_words, nearest
from harness.foreign import interrupts
from harness.foreign.calls import Guard
from harness.foreign.company import leave
from harness.foreign.lending import Lent, LentImage
from harness.grid import reading
from harness.grid.reading import Cell
from harness.protocol import naming
from harness.protocol.given import checked_sample, classes_of, ids_of
from harness.protocol.offering import tagged
from harness.protocol.rules import DEFAULT_TAGGER
from harness.recipes import loading
from harness.recipes.code_stamp import strange
from harness.work import arithmetic

T = TypeVar("T")


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = CommandLine(prog="stableseg tags", description=main.__doc__)
    parser.add_argument("grid", type=Path)
    parser.add_argument("benchmark", help="a benchmark of the grid, by its name")
    parser.add_argument("--out", type=Path, required=True, metavar="TAGS.json", help="the file to write")
    parser.add_argument("--tagger", metavar="MODULE:CLASS", help="default: the protocol's, or the built-in one")
    add_settings(parser, "--with", "settings", "the tagger")
    parser.add_argument("--limit", type=int, help="only the first images")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Freeze in a file what a tagger sees in all images of a data set; 0 written, 2 with one sentence if it cannot."""
    options = parser().parse_args(arguments)
    try:
        loading.refuse_foreign_packages()
        with interrupts.listening():
            return _write(options)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def _write(options: argparse.Namespace) -> int:
    arithmetic.prepare_environment(threads=None)
    cell = _cell(reading.read_grid(options.grid).cells, options.benchmark)
    recipe = recipe_of_words(options.tagger, options.settings) if options.tagger else cell.protocol.tagger
    found = tags_of(cell, recipe or DEFAULT_TAGGER, str(options.grid.absolute().parent), options.limit)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    waiting = options.out.with_name(f"{options.out.name}.new")
    waiting.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(waiting, options.out)
    print(f"Tags of {len(found['images'])} images are in {options.out}: vocabulary: {{file: {options.out.name}}}")
    return 0


def tags_of(cell: Cell, recipe: Recipe, folder: str, limit: int | None = None) -> dict[str, Any]:
    """What a file of tags holds for the benchmark of a cell. A HarnessError where a tagger or an image fails."""
    benchmark, called = loading.build(cell.benchmark), cell.benchmark_name
    classes, ids = classes_of(benchmark, called), ids_of(benchmark, called)
    names = naming.words(cell.protocol.names, benchmark, classes, called, folder)
    rules = ProtocolSettings(templates=cell.protocol.templates)
    arithmetic.prepare_torch(None)
    tagger = loading.build(recipe)
    if not callable(getattr(tagger, "tags", None)):
        raise GridError(f"{recipe.use!r} cannot be used as a tagger: it has no `tags`")
    guard = Guard()
    guard.settle()

    def answer(
        of: Recipe, about: str, function: Callable[[], T], lent: Sequence[Lent] = (), opening: bool = False
    ) -> T:
        try:
            return guard.call(of.use, (of.use, about), function, lent, opening, strange(of))
        except HarnessError:
            raise
        except Exception as error:
            raise MethodError(f"{of.use} failed{about and f' on image {about}'}: {in_words(error)}") from error

    try:
        for line in answer(recipe, "", lambda: getattr(tagger, "open_models", tuple)() or (), opening=True):
            print(line, file=sys.stderr)
        images = {}
        for image_id in ids[:limit]:
            load = partial(_loaded, benchmark, image_id, len(classes))
            lent = LentImage(answer(cell.benchmark, image_id, load).image)
            ask = partial(tagged, tagger, lent.image, names, rules, image_id)
            images[image_id] = [classes[number - 1] for number in answer(recipe, image_id, ask, (lent,))]
    finally:
        guard.leave()
    return {"classes": list(classes), "images": images}


def _loaded(benchmark: Any, image_id: str, classes: int) -> Sample:
    return checked_sample(benchmark.load(image_id), image_id=image_id, classes=classes)


def _cell(cells: Sequence[Cell], wanted: str) -> Cell:
    for cell in cells:
        if cell.benchmark_name == wanted:
            return cell
    known = list(dict.fromkeys(cell.benchmark_name for cell in cells))
    raise GridError(f"the grid has no benchmark {wanted!r}{nearest(wanted, known)} (benchmarks: {', '.join(known)})")


if __name__ == "__main__":
    leave(main())
