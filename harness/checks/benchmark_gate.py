"""A benchmark's address flows in; a report on its files flows out: `python -m harness.checks benchmark ADDRESS`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from harness.checks import benchmark_files
from harness.checks.benchmark_twice import unsteady
from harness.checks.benchmark_walk import KINDS, Findings, evenly_chosen, list_ids, walk
from harness.checks.own_reads import reads_of
from harness.checks.told_of_code import told_of_code, told_of_reads
from harness.checks.with_words import add_settings, recipe_of_words
from harness.contracts import IGNORED, WIDE_IGNORED, Benchmark, Sample
from harness.contracts.command_line import at_least_one
from harness.errors import SettingsError
from harness.protocol.given import checked_sample
from harness.recipes import loading

NAME = "benchmark"
HELP = "walk a data set and say what is off"
DRAWN = 6  # images
SOUND, OFF = 0, 1  # and 2, the command itself: HarnessError.exit_code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this check."""
    parser.add_argument("address", help="module:Class, for example benchmarks.pascal_voc:PascalVOC")
    add_settings(parser, "--with", "settings", "the benchmark, for example root=/data/VOCdevkit split=val")
    parser.add_argument("--draw", type=Path, metavar="FILE.png", help="draw the first images with their truths into it")
    parser.add_argument("--limit", type=at_least_one, help="read only this many images, spread over the set")


def run(options: argparse.Namespace, console: Console) -> int:
    """Walk and report; 0 when nothing is off, 1 otherwise. AddressError and SettingsError pass."""
    with reads_of(options.address) as reads:
        loading.check_role(loading.load_class(options.address), "benchmark", options.address)
        recipe = recipe_of_words(options.address, options.settings)
        benchmark: Benchmark = loading.build(recipe)
        findings = Findings()
        list_ids(benchmark, findings)
        chosen = evenly_chosen(findings.ids, options.limit)
        with _bar() as bar:
            task = bar.add_task("reading", total=len(chosen))
            for _ in walk(benchmark, chosen, findings) if chosen else ():
                bar.advance(task)
    reads.files.clear()  # a sweep watches them itself
    findings.problems += unsteady(recipe, chosen)
    findings.remarks += benchmark_files.remarks(recipe, dict.fromkeys([*chosen[:1], *chosen[-2:]]))
    report(benchmark, findings, console, options.address)
    if options.draw is not None:
        console.print(escape(_draw(benchmark, chosen, options)), soft_wrap=True)
    told = told_of_code([recipe], benchmark=True) if findings.ids else ()  # else its files cannot be told
    for line in (*told, *told_of_reads(options.address, reads, ())):
        style, text = ("[yellow]note[/] ", line) if line.startswith("not in") else ("", line)
        console.print(f"{style}{escape(text)}", soft_wrap=True)
    return OFF if findings.problems else SOUND


def _draw(benchmark: Benchmark, image_ids: Iterable[str], options: argparse.Namespace) -> str:
    """Writes the sheet of the first images that can be loaded; says what was drawn. SettingsError where it cannot."""
    samples: list[Sample] = []
    for image_id in image_ids:
        with suppress(Exception):  # the walk has told it
            samples.append(checked_sample(benchmark.load(image_id), image_id, len(benchmark.classes)))
        if len(samples) == DRAWN:
            break
    if not samples:
        return "No image could be drawn."
    try:
        options.draw.write_bytes(options.sheet(samples, benchmark.classes))
    except OSError as error:
        raise SettingsError(f"--draw {options.draw} cannot be written: {error.strerror or error}") from None
    return (
        f"Drawn in {options.draw}: {', '.join(sample.image_id for sample in samples)}; look whether it was read right."
    )


def _bar() -> Progress:
    """A bar on standard error, so that the report can go into a file; none where nobody looks."""
    console = Console(stderr=True, emoji=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def report(benchmark: Benchmark, findings: Findings, console: Console, address: str) -> None:
    """Counts, sizes, labels, remarks and everything that is off."""
    expected = getattr(benchmark, "expected_images", None)
    official = f" (official: {expected})" if expected is not None else ""
    console.print(f"[bold]{escape(address)}[/]  {len(findings.ids)} images{official}, {findings.walked} read")
    if findings.sizes:
        console.print(_about_sizes(findings.sizes))
        console.print(_label_table(tuple(benchmark.classes), findings))
    for remark in findings.remarks:
        console.print(f"[yellow]note[/] {escape(remark)}", soft_wrap=True)
    for problem in findings.problems:
        image = f" {escape(problem.image_id)}:" if problem.image_id is not None else ""
        console.print(f"[red]{escape(problem.kind)}[/]{image} {escape(problem.sentence)}", soft_wrap=True)
    console.print(_verdict(findings))


def _about_sizes(sizes: Counter[tuple[int, int]]) -> str:
    heights, widths = zip(*sizes, strict=True)
    (height, width), images = sizes.most_common(1)[0]
    if len(sizes) == 1:
        return f"One size (height x width): {height} x {width}"
    return (
        f"{len(sizes)} sizes (height x width): heights {min(heights)} to {max(heights)}, widths {min(widths)} to "
        f"{max(widths)}; most often {height} x {width} ({images} images)"
    )


def _label_table(classes: tuple[str, ...], findings: Findings) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("truth", justify="right")
    table.add_column("class", overflow="fold")
    for name in ("images", "pixels", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    total = max(int(findings.pixels.sum()), 1)
    mark = IGNORED if len(classes) < IGNORED else WIDE_IGNORED  # as files hold it
    for value in (0, *range(1, len(classes) + 1), WIDE_IGNORED):
        name = {0: "(background)", WIDE_IGNORED: "(ignored)"}.get(value) or escape(classes[value - 1])
        pixels, images = int(findings.pixels[value]), int(findings.images[value])
        style = "dim" if not pixels else None
        table.add_row(str(min(value, mark)), name, str(images), str(pixels), f"{pixels / total:.3%}", style=style)
    return table


def _verdict(findings: Findings) -> str:
    if not findings.problems:
        present = np.count_nonzero(findings.images[1:WIDE_IGNORED])
        return f"[green]Nothing is off[/]; {present} classes occur in the {findings.walked} images that were read."
    counts = Counter(problem.kind for problem in findings.problems)
    order = {kind: place for place, kind in enumerate(KINDS)}
    kinds = sorted(counts, key=lambda kind: (order.get(kind, len(order)), kind))
    number = "1 thing is" if len(findings.problems) == 1 else f"{len(findings.problems)} things are"
    return f"[red]{number} off[/]: " + ", ".join(f"{kind} {counts[kind]}" for kind in kinds)
