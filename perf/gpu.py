"""A card flows in; a page flows out: all of this project's speed and memory that only a card can tell, in one run.

Networks have the real shapes of Stable Diffusion 1.x and CLIP ViT-B/16 and random weights; what is about right answers
uses the shipped model. Every line is written as soon as it is there, so that a run that is cut off leaves what it had;
every part has a share of the minutes, the one that tells most comes first, and what was not reached is named.

    python -m perf.gpu [--minutes 8] [--out perf/results/gpu.md] [--only PART ...] [--batch N]
    python -m perf.gpu --small --out PAGE       the same with networks of no size, anywhere: to see that it runs

It needs torch, transformers, diffusers, safetensors, numpy, pillow, pydantic, pyyaml and psutil; neither ray nor
polars. The first run on a card whose machine has torch and transformers alone, and no network: where there is one,

    pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \\
      --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 -d wheels \\
      diffusers importlib_metadata pydantic pydantic_core annotated_types typing_inspection

(pydantic_core of the version that pydantic wants); there, in the repository, with `wheels` in it,

    pip install --no-index --no-deps --target /tmp/site wheels/*.whl && export PYTHONPATH=/tmp/site
    python -m perf.gpu --small --minutes 1 --out /tmp/small.md && python -m perf.gpu --minutes 8 --out page.md

and after it `--only` with the parts that were cut off, and `--batch` with the batch that the page proposes.
Next, and not measured yet: several cards, fits, other UNets than that of 1.x, a VAE that is compiled, the setting
`card` of CLIP's ResNets, DINO and SAM beside a tower of CLIP, protocols that cut windows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.contracts import Query, Vocabulary
from harness.recipes import loading
from harness.work import arithmetic
from harness.work.passes import joined_requests
from methods.naclip import NACLIP
from methods.quiet import quiet
from perf import gpu_labels, pipeline
from perf.gpu_bench import BATCHES, JOINED, NAMES, Asked, CardBench, of_parts, proposed, rate_of
from perf.gpu_models import write_clip, write_diffusion
from perf.gpu_page import Page, all_parts, ended_from_outside
from perf.heads import clip_heads
from perf.machine import this_machine

READERS = {"class maps": ("none",), "sar": ("sar",), "samap": ("samap",), "all three": ("none", "sar", "samap")}
KERNELS = ("flash", "efficient", "cudnn", "math")
PHOTOGRAPHS = 512
WAITED = "called a synchronizing CUDA operation"  # what torch says of a wait, where it is asked to


def the_card(bench: CardBench) -> Iterator[str]:
    """What it is, and its rate of matrix products."""
    yield this_machine() + "."
    if bench.device == "cuda":
        held = torch.cuda.get_device_properties(0)
        yield f"{held.name}, {held.total_memory / 2**30:.0f} GiB; torch {torch.__version__}, CUDA {torch.version.cuda}."
    side = 8192 if bench.size == "real" else 64
    yield from ("", "| products of matrices | TFLOP/s |", "|---|---|")
    for name in ("bfloat16", "float16", "float32"):
        one = torch.randn(side, side, device=bench.device).to(getattr(torch, name))
        rate = bench.images_a_second(lambda one=one: one @ one, 1) * 2 * side**3 / 1e12  # type: ignore[misc]
        bench.rates[name] = rate
        yield f"| {name} | {rate:.3g} |"


def forwards(bench: CardBench) -> Iterator[str]:
    """Images a second by batch, in bfloat16."""
    ways = ("UNet alone", *READERS, "VAE alone", "sar, with the VAE")
    yield f"bfloat16, one timestep, {len(NAMES)} classes in one prompt; images a second, and the most memory held.\n"
    yield f"| batch | {' | '.join(ways)} |"
    yield "|---" * (len(ways) + 1) + "|"
    rates: dict[int, float] = {}
    for batch in by_likeliness(bench.batches):
        try:
            cells = row_of_batch(bench, Asked(bench.network(), batch), batch)
        except Exception as error:  # the batch itself did not fit, say
            cells = [bench.told(error)] * len(ways)
        rates[batch] = rate_of(cells[2])
        bench.best = proposed(rates)
        bench.rates["sar"] = rates.get(bench.best, 0.0)
        yield f"| {batch} | {' | '.join(cells)} |"
    yield f"\nFor sar write `batch: {bench.best}` into a grid for this card; the parts below take it too."


def by_likeliness(batches: Sequence[int]) -> list[int]:
    """From the middle on: should the minutes not do for all, those are lacking that are least likely the best."""
    return sorted(batches, key=lambda batch: (abs(batch.bit_length() - 5), -batch))


def row_of_batch(bench: CardBench, asked: Asked, batch: int) -> list[str]:
    """UNet alone, every reader, the VAE, all with sar."""
    read = [bench.cell(partial(lambda one: asked.by(one).from_latents, refines), batch) for refines in READERS.values()]
    asked.by(("sar",))
    alone, encode, whole = (bench.cell(lambda call=call: call, batch)  # type: ignore[misc]
                            for call in (asked.alone, asked.encode, asked.whole))  # fmt: skip
    return [alone, *read, encode, whole]


def share(bench: CardBench) -> Iterator[str]:
    """Of the card's rate: operations of the UNet, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    asked = Asked(bench.network(), bench.best)
    for name, call in (("UNet alone", asked.alone), ("sar from latents", asked.from_latents)):
        with FlopCounterMode(display=False) as counted:
            call()
        flops = counted.get_total_flops() / bench.best
        rate = bench.images_a_second(call, bench.best)
        told = f"{flops / 1e9:.4g} GFLOP an image, {rate:.1f} images a second"
        whole = bench.rates.get("bfloat16")
        yield f"- {name}: {told}" + (
            f", {100 * flops * rate / 1e12 / whole:.1f} % of the matrix rate." if whole else "."
        )


def settings(bench: CardBench) -> Iterator[str]:
    """What could be a setting, each beside the plain way, set as a grid sets it: none is a default before that."""
    ways = [(dtype, "") for dtype in ("bfloat16", "float16", "float32")]
    ways += [("float32", "tf32"), ("bfloat16", "channels_last"), *[("bfloat16", kernel) for kernel in KERNELS]]
    yield from ("| dtype | card | UNet alone | sar from latents |", "|---|---|---|---|")
    for dtype, card in ways:

        def call(verb: str, dtype: str = dtype, card: str = card) -> Callable[[], object]:
            found: Callable[[], object] = getattr(Asked(bench.network(dtype, card), bench.best), verb)
            return found

        cells = [bench.cell(partial(call, verb), bench.best) for verb in ("alone", "from_latents")]
        yield f"| {dtype} | {card or 'plain'} | {' | '.join(cells)} |"


def compiled(bench: CardBench) -> Iterator[str]:
    """CLIP's tower, and the UNet alone, whose attention nobody reads; the call that compiles is not counted."""
    if bench.device != "cuda":
        yield "Compiling for a CPU takes minutes and tells nothing."
        return
    yield from ("| what | images a second |", "|---|---|")
    for card in ("compile", "tf32+compile"):
        dtype = "float32" if "tf32" in card else "bfloat16"
        yield f"| NACLIP, {dtype}, {card} | {one_head(bench, dtype, card)} |"

    def unet() -> Callable[[], object]:
        network = of_parts(bench.network(), bench.network().settings)
        network.unet = torch.compile(network.unet, dynamic=False)
        return Asked(network, bench.best).alone

    yield f"| UNet alone, bfloat16 | {bench.cell(unet, bench.best)} |"


def heads_of_clip(bench: CardBench) -> Iterator[str]:
    """Six heads on one pass, at the tower's own size."""
    heads: list[Any] = clip_heads(str(bench.folder / "clip"))
    tower = tower_of(heads)
    yield from ("| batch | float32, images a second |", "|---|---|")
    for batch in bench.batches:
        yield f"| {batch} | {bench.cell(partial(of_clip, tower, heads, batch), batch)} |"


def settings_of_clip(bench: CardBench) -> Iterator[str]:
    """One head, and what could be set for its tower, each beside the plain way; none is a default."""
    ways = [(dtype, "") for dtype in ("bfloat16", "float16", "float32")]
    ways += [("float32", "tf32"), *[("bfloat16", kernel) for kernel in KERNELS]]
    yield from ("| dtype | card | images a second |", "|---|---|---|")
    for dtype, card in ways:
        yield f"| {dtype} | {card or 'plain'} | {one_head(bench, dtype, card)} |"


def one_head(bench: CardBench, dtype: str, card: str) -> str:
    """A cell of one head's images a second."""

    def make() -> Callable[[], object]:
        heads = [NACLIP(str(bench.folder / "clip"), dtype=dtype, card=card, resize="native", window=None, stride=None)]
        return of_clip(tower_of(heads), heads, bench.best)

    return bench.cell(make, bench.best)


def tower_of(heads: Sequence[Any]) -> Any:
    """The backbone that all of them read."""
    (recipe,) = {request.backbone for head in heads for request in head.passes()}
    return loading.build(recipe)


def of_clip(tower: Any, heads: Sequence[Any], batch: int) -> Callable[[], None]:
    """A batch of images of the tower's own size through it, and each head's scores of them."""
    side, lots = tower.network.native, np.random.default_rng(0)
    words = Vocabulary(tuple([(name,) for name in NAMES]))
    queries = [Query(str(number), lots.integers(0, 256, (side, side, 3), np.uint8), words) for number in range(batch)]
    asked, requests = dict.fromkeys(range(batch), words), joined_requests(head.passes() for head in heads)

    def call() -> None:
        with torch.no_grad():
            held = dict(tower.run(queries, requests))
            for head in heads:
                head.read_batch({one: held[one] for one in head.passes()}, asked)

    return call


def where_time_goes(bench: CardBench) -> Iterator[str]:
    """Of one batch with sar, by operation."""
    from torch.profiler import ProfilerActivity, profile

    asked = Asked(bench.network(), bench.best)
    asked.whole()
    bench.wait()
    on_card = bench.device == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]) as found:
        start = time.perf_counter()
        asked.whole()
        bench.wait()
        wall = time.perf_counter() - start
    held = found.key_averages()
    taken = {one.key: (one.self_device_time_total if on_card else one.self_cpu_time_total, one.count) for one in held}
    total = sum(spent for spent, _ in taken.values())
    yield f"Under the profiler {bench.best} images took {1000 * wall:.1f} ms; operations {total / 1000:.1f} ms.\n"
    yield from ("| operation | ms | share | times |", "|---|---|---|---|")
    for name, (spent, count) in sorted(taken.items(), key=lambda item: -item[1][0])[:12]:
        yield f"| `{name[:60]}` | {spent / 1000:.2f} | {100 * spent / max(total, 1e-9):.1f} % | {count} |"


def whole(bench: CardBench) -> Iterator[str]:
    """A worker: 500 x 375 JPEGs and PNGs in, rows out; the goal is 150 images a second on an H100."""
    yield f"sar, {len(NAMES)} classes, batches of {bench.best}.\n"
    real = bench.size == "real"
    batches, threads = (max(pipeline.WARM + 5, PHOTOGRAPHS // bench.best), 8) if real else (pipeline.WARM + 3, 1)
    (bench.folder / "photographs").mkdir(exist_ok=True)
    images = pipeline.photographs(bench.folder / "photographs", batches * bench.best, NAMES)
    for latents, turn in (("float32", ""), ("float16", ", which are kept"), ("float16", ", from what was kept")):
        kept = {"latent_cache": str(bench.folder / "latents")} if turn else {}
        found, _, taken = pipeline.rate(
            batches * bench.best, bench.best, "methods.stableseg:StableSeg", NAMES, threads, images, refine="sar",
            model=str(bench.folder / "diffusion"), dtype="bfloat16", latents=latents, **kept, **JOINED,
        )  # fmt: skip
        yield f"- latents in {latents}{turn}: {found:.1f} images a second, {taken:.2f} ms of processors an image."


def where_the_host_waits(bench: CardBench) -> Iterator[str]:
    """By line of code, as torch tells it: in one batch from images to scores, and in a worker from files to rows."""
    if bench.device != "cuda":
        yield "On a CPU nobody waits."
        return
    asked = Asked(bench.network(), bench.best)
    asked.whole()
    yield from ("| in | times | line |", "|---|---|---|")
    for line, times in waits_of(asked.whole).most_common(8):
        yield f"| a batch, to scores | {times} | `{line}` |"
    few = bench.best * (pipeline.WARM + 3)
    run = partial(pipeline.rate, few, bench.best, "methods.stableseg:StableSeg", NAMES, 8, model="shapes", **JOINED)
    for line, times in waits_of(run).most_common(12):
        yield f"| a worker, {pipeline.WARM + 3} batches, the shipped model | {times} | `{line}` |"


def waits_of(call: Callable[[], object]) -> Counter[str]:
    """How often each line of code waited for the card, in all threads."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return Counter(
        f"{'/'.join(Path(one.filename).parts[-3:])}:{one.lineno}" for one in told if WAITED in str(one.message)
    )


class LabelMaps:
    """The shipped model on Shapes: pixels against a CPU in float32, and mIoU by number format and kernel.

    The CPU's are made meanwhile, by a process of their own, from the beginning on.
    """

    def __init__(self, folder: Path, images: int, device: str) -> None:
        self._file, self._images, self._process = folder / "cpu.npz", images, None
        if device == "cuda":
            command = [sys.executable, "-m", "perf.gpu_labels", str(self._file), str(images)]
            threads = str(max(1, (os.cpu_count() or 2) // 4))
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": threads}
            self._process = subprocess.Popen(command, env=environment)

    def lines(self, bench: CardBench) -> Iterator[str]:
        here = gpu_labels.made(self._images)
        if self._process is None:
            yield from gpu_labels.beside_cpu(here, here)
            return
        try:
            self._process.wait(max(1.0, bench.until - time.monotonic()))
            with np.load(self._file) as cpu:
                yield from gpu_labels.beside_cpu(here, dict(cpu))
        except (subprocess.TimeoutExpired, OSError, ValueError) as error:
            yield f"The CPU's label maps are not there ({type(error).__name__}).\n"
            yield from gpu_labels.beside_cpu(here, {})

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


# By title: the share of eight minutes, in seconds, and what is measured; what tells most is first.
SECTIONS: dict[str, tuple[float, Callable[[CardBench], Iterator[str]]]] = {
    "The card": (15, the_card), "Images a second by batch": (120, forwards), "From files to rows": (90, whole),
    "Share of the matrix rate": (15, share), "Where the time goes": (15, where_time_goes),
    "Where the host waits": (20, where_the_host_waits), "Heads of CLIP": (25, heads_of_clip),
    "Settings that could be": (50, settings), "Settings of CLIP that could be": (25, settings_of_clip),
    "Compiled": (60, compiled),
}  # fmt: skip
LABELS, BEFORE = "Label maps", "Heads of CLIP"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure; the page is whole after every line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gpu.md")
    parser.add_argument("--only", nargs="+", metavar="PART", help="the beginnings of titles: these parts alone")
    parser.add_argument("--batch", type=int, help="what later parts take, where the part that finds it is left out")
    options = parser.parse_args(arguments)
    ends = time.monotonic() + 60 * options.minutes
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.small:
        parser.error("there is no GPU here; --small tries the same on a CPU")
    chosen = [title for title in titles() if not options.only or title.startswith(tuple(options.only))]
    if not chosen:
        parser.error(f"--only names no part; there are {'; '.join(titles())}")
    page = Page(options.out, "What a card can do", f"Output of `python -m perf.gpu{' --small' * options.small}`.")
    with tempfile.TemporaryDirectory() as folder, as_prepared(), ended_from_outside(page, ends):
        bench = CardBench(Path(folder), "small" if options.small else "real", device, 0.02 if options.small else 0.5)
        bench.best = options.batch or bench.best
        bench.batches = BATCHES[:1] if options.small else BATCHES
        measure_parts(page, bench, chosen, ends)


def titles() -> list[str]:
    """Of all parts, in order."""
    found = list(SECTIONS)
    place = found.index(BEFORE) if BEFORE in found else len(found)
    return [*found[:place], LABELS, *found[place:]]


def measure_parts(page: Page, bench: CardBench, chosen: Sequence[str], ends: float) -> None:
    """The chosen parts, in order, on models that are made first."""
    labels = LabelMaps(bench.folder, 64 if bench.size == "real" else 1, bench.device if LABELS in chosen else "cpu")
    sections = {**SECTIONS, LABELS: (45.0, labels.lines)}
    try:
        write_diffusion(bench.folder / "diffusion", bench.size, bench.device)
        write_clip(bench.folder / "clip", bench.size, bench.device)
        parts = {title: (sections[title][0], partial(sections[title][1], bench)) for title in chosen}
        all_parts(page, parts, ends, partial(setattr, bench, "until"))
    finally:
        labels.close()


@contextmanager
def as_prepared() -> Iterator[None]:
    """As in a worker, without noise of libraries."""
    with arithmetic.as_in_a_worker(), quiet("diffusers", "transformers"):
        yield


if __name__ == "__main__":
    main()
