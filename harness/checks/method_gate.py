"""A method's address flows in; which promises it keeps flows out: `python -m harness.checks method ADDRESS`."""

from __future__ import annotations

import argparse
import time

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.checks.method_trials import Trial, Verdict
from harness.checks.method_world import scene
from harness.checks.own_reads import reads_of
from harness.checks.told_of_code import told_of_code, told_of_reads
from harness.checks.with_words import add_settings, recipe_of_words
from harness.contracts import Benchmark, Image, Recipe, expanded
from harness.errors import DataError, SettingsError
from harness.planning import learners
from harness.protocol.given import checked_sample, classes_of, ids_of
from harness.recipes import identity, loading

NAME = "method"
HELP = "try a method on a few images and say which promises it keeps"
IMAGES = 3
SOUND, OFF = 0, 1  # and 2, the command itself: HarnessError.exit_code
MARKS = {True: "[green]kept[/]", False: "[red]broken[/]", None: "[dim]-[/]"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this check."""
    parser.add_argument("address", help="module:Class, for example methods.stableseg:StableSeg")
    add_settings(parser, "--with", "settings", "the method, for example model=shapes refine=samap")
    parser.add_argument(
        "--benchmark", default="benchmarks.shapes:Shapes", metavar="ADDRESS", help="whose first images are used"
    )
    add_settings(parser, "--benchmark-with", "benchmark_settings", "that benchmark, for example root=/data/VOCdevkit")
    artefact = "of a learner: where a grid left what it has learned"
    parser.add_argument("--artefact", type=expanded, metavar="FOLDER", help=artefact)


def run(options: argparse.Namespace, console: Console) -> int:
    """Try everything and report; 0 when all promises are kept, 1 otherwise. What the command got wrong passes."""
    started = time.perf_counter()
    loading.add_folder(".")
    wanted = recipe_of_words(options.benchmark, options.benchmark_settings, "--benchmark-with")
    with reads_of(options.address) as reads:
        loading.check_role(loading.load_class(options.address), "method", options.address)
        recipe = recipe_of_words(options.address, options.settings)
        built = loading.build(recipe)
    if loading.kind_of(built) == "learner":
        learners.check_learner(built, options.address)
        if options.artefact is None:
            raise SettingsError(f"{options.address} answers once a grid has fitted it: give the folder with --artefact")
    queries, whole = scene(*_pictures(wanted))
    console.print(f"[bold]{escape(options.address)}[/]  {escape(' '.join(options.settings))}", soft_wrap=True)
    with reads_of(options.address, reads):
        verdicts = list(Trial(recipe, queries, whole, options.artefact).verdicts())
    console.print(_table(verdicts))
    known = [*identity.facts(recipe, built)["files"], *([options.artefact] if options.artefact else ())]
    for line in (*told_of_code([recipe, *_networks(recipe)]), *told_of_reads(options.address, reads, known)):
        style, text = ("[yellow]note[/] ", line) if line.startswith("not in") else ("", line)
        console.print(f"{style}{escape(text)}", soft_wrap=True)
    broken = sum(verdict.kept is False for verdict in verdicts)
    kept = sum(verdict.kept is True for verdict in verdicts)
    total = f"in {time.perf_counter() - started:.0f} s on {IMAGES} images of {escape(options.benchmark)}"
    console.print(
        f"[red]{broken} of {len(verdicts)} promises are broken[/], {kept} kept, {total}." if broken
        else f"[green]All {kept} promises are kept[/], {total}."
    )  # fmt: skip
    return OFF if broken else SOUND


def _networks(recipe: Recipe) -> tuple[Recipe, ...]:
    built = loading.build(recipe)
    return loading.backbones(built) if callable(getattr(built, "passes", None)) else ()


def _pictures(recipe: Recipe) -> tuple[list[tuple[str, Image]], tuple[str, ...]]:
    """The first images of a benchmark with their ids, and its classes. DataError when it has too few images."""
    loading.check_role(loading.load_class(recipe.use), "benchmark", recipe.use)
    benchmark: Benchmark = loading.build(recipe)
    image_ids, classes = ids_of(benchmark, recipe.use)[:IMAGES], classes_of(benchmark, recipe.use)
    if len(image_ids) < IMAGES:
        raise DataError(f"{recipe.use} has {len(image_ids)} images; the gate for methods needs {IMAGES}.")
    samples = [checked_sample(benchmark.load(image_id), image_id, len(classes)) for image_id in image_ids]
    return [(sample.image_id, sample.image) for sample in samples], classes


def _table(verdicts: list[Verdict]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("promise", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("what was seen", overflow="fold")
    for verdict in verdicts:
        table.add_row(verdict.promise, MARKS[verdict.kept], escape(verdict.sentence))
    return table
