"""A card flows in; a page flows out: all of this project's speed and memory that only a card can tell, in one run.

Networks have the real shapes of Stable Diffusion 1.x and CLIP ViT-B/16 and random weights; what is about right answers
uses the shipped model. Every part is written as soon as it is there, so that a run that is cut off leaves what it had;
when the minutes are over, the parts that were not reached are named.

    python -m perf.gpu [--minutes 8] [--out perf/results/gpu.md]
    python -m perf.gpu --small --out PAGE       the same with networks of no size, anywhere: to see that it runs

It needs torch, transformers, diffusers (its wheel can travel), safetensors, numpy, pillow, pydantic, pyyaml and psutil;
neither ray nor polars. Next, and not measured yet: several cards, fits, other UNets than that of 1.x, a VAE that is
compiled, the setting `card` of CLIP's ResNets, DINO and SAM beside a tower of CLIP, protocols that cut windows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.contracts import Query, Vocabulary
from harness.recipes import loading
from harness.work import arithmetic
from harness.work.passes import joined_requests
from methods.diffusion import DiffusionSettings
from methods.diffusion.network import Network
from methods.naclip import NACLIP
from methods.quiet import quiet
from methods.stableseg import StableSeg
from perf import gpu_labels, pipeline
from perf.gpu_models import write_clip, write_diffusion
from perf.heads import clip_heads
from perf.machine import this_machine

BATCHES = (1, 2, 4, 8, 16, 32, 64)
NAMES = tuple("abcdefghijklmnopqrst")  # 20 classes; a token each, so that one prompt holds them all
JOINED = {"template": "{}", "joiner": " "}
READERS = {"class maps": ("none",), "sar": ("sar",), "samap": ("samap",), "all three": ("none", "sar", "samap")}
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH,
}  # fmt: skip


@dataclass
class CardBench:
    """What is measured on. seconds: how long one number takes, about; best: the batch that later parts use."""

    folder: Path
    size: str
    device: str
    seconds: float
    batches: Sequence[int]
    ends: float
    best: int = 0
    rates: dict[str, float] = field(default_factory=dict)
    opened: dict[str, Network] = field(default_factory=dict)

    def network(self, dtype: str = "bfloat16", anew: bool = False) -> Network:
        """The diffusion network, opened as a sweep opens it, once a format. anew: one to be changed."""
        if anew or dtype not in self.opened:
            fresh = Network.open(DiffusionSettings(str(self.folder / "diffusion"), dtype=dtype))
            return fresh if anew else self.opened.setdefault(dtype, fresh)
        return self.opened[dtype]

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def images_a_second(self, call: Callable[[], object], images: int) -> float:
        """Two calls are not counted; then as many as fill the seconds, with one wait at their end."""
        call()
        self.wait()
        start = time.perf_counter()
        call()
        self.wait()
        calls = max(2, min(200, int(self.seconds / (time.perf_counter() - start))))
        start = time.perf_counter()
        for _ in range(calls):
            call()
        self.wait()
        return calls * images / (time.perf_counter() - start)

    def cell(self, call: Callable[[], object], images: int) -> str:
        """Images a second and the most memory held, or why there is none."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            found = self.images_a_second(call, images)
        except torch.OutOfMemoryError:
            return "out of memory"
        except Exception as error:
            return f"does not run: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
        peak = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if self.device == "cuda" else ""
        return f"{found:.1f}{peak}"


@dataclass
class Asked:
    """A batch of images, and what a reader's pass does with it."""

    network: Network
    images: int
    refines: Sequence[str]

    def __post_init__(self) -> None:
        lots = np.random.default_rng(0)
        words = Vocabulary(tuple([(name,) for name in NAMES]))
        shape = (*self.network.size, 3)
        self.queries = [
            Query(f"image {number}", lots.integers(0, 256, shape, np.uint8), words) for number in range(self.images)
        ]
        self.readers = [StableSeg(self.network.settings.model, refine=refine, **JOINED) for refine in self.refines]
        self.requests: dict[Any, Any] = joined_requests(reader.passes() for reader in self.readers)
        self.posterior = self.network.posterior([query.image for query in self.queries])
        self.words = {place: query.vocabulary for place, query in enumerate(self.queries)}

    def whole(self) -> None:
        """From images: with the VAE."""
        for request, batch in self.network.serve(self.queries, self.requests):
            self._read(request, batch)

    @torch.no_grad()
    def from_latents(self) -> None:
        """From kept latents."""
        ((request, parts),) = self.requests.items()
        latents = self.network.noisy(self.posterior, self.queries, request)
        rows = [self.network.rows(place, query, request) for place, query in enumerate(self.queries)]
        side = [self.network.latent] * self.images
        wanted = self.network.wanted(parts)
        self._read(request, self.network.forward(latents, request.timestep, rows, wanted, self.queries, side))

    @torch.no_grad()
    def alone(self) -> None:
        """The UNet, nothing read."""
        network, query = self.network, self.queries[0]
        ((request, _),) = self.requests.items()
        states = network.text.states(network.rows(0, query, request)[0].prompt.text).expand(self.images, -1, -1)
        latents = self.posterior.mean.to(network.dtype)
        network.unet(latents, network.told(request.timestep), encoder_hidden_states=states)

    @torch.no_grad()
    def encode(self) -> None:
        """The VAE alone."""
        self.network.encode([query.image for query in self.queries])

    @torch.no_grad()
    def _read(self, request: Any, batch: Any) -> None:
        for reader in self.readers:
            reader.read_batch({request: batch}, self.words)


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
    network = bench.network()
    ways = ("UNet alone", *READERS, "VAE alone", "sar, with the VAE")
    yield f"bfloat16, one timestep, {len(NAMES)} classes in one prompt; images a second, and the most memory held.\n"
    yield f"| batch | {' | '.join(ways)} |"
    yield "|---" * (len(ways) + 1) + "|"
    rates: dict[int, float] = {}
    for batch in bench.batches:
        asked = {name: Asked(network, batch, refines) for name, refines in READERS.items()}
        sar = asked["sar"]
        calls = [sar.alone, *(one.from_latents for one in asked.values()), sar.encode, sar.whole]
        cells = [bench.cell(call, batch) for call in calls]
        rates[batch] = rate_of(cells[2])
        yield f"| {batch} | {' | '.join(cells)} |"
    bench.best = proposed(rates)
    bench.rates["sar"] = rates[bench.best]
    yield f"\nFor sar write `batch: {bench.best}` into a grid for this card; the parts below take it too."


def rate_of(cell: str) -> float:
    """Images a second of a cell; 0 where there is none."""
    rate = cell.partition(",")[0]
    return float(rate) if rate.replace(".", "", 1).isdigit() else 0.0


def proposed(rates: Mapping[int, float]) -> int:
    """Of batches and their images a second the smallest that no larger one is 3 % faster than: what is larger takes
    memory, and leaves fewer batches to share between workers."""
    best = min(rates)
    for batch in sorted(rates):
        if rates[batch] > 1.03 * rates[best]:
            best = batch
    return best


def share(bench: CardBench) -> Iterator[str]:
    """Of the card's rate: operations of the UNet, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    asked = Asked(bench.network(), bench.best, ("sar",))
    for name, call in (("UNet alone", asked.alone), ("sar from latents", asked.from_latents)):
        with FlopCounterMode(display=False) as counted:
            call()
        flops = counted.get_total_flops() / bench.best
        rate = bench.images_a_second(call, bench.best)
        part = flops * rate / 1e12 / bench.rates["bfloat16"]
        told = f"{flops / 1e9:.4g} GFLOP an image, {rate:.1f} images a second, {100 * part:.1f} % of the matrix rate"
        yield f"- {name}: {told}."


def settings(bench: CardBench) -> Iterator[str]:
    """What could be a setting, each beside the plain way: none is a default before it is measured here."""
    yield from ("| way | UNet alone | sar from latents |", "|---|---|---|")

    def line(name: str, network: Network, around: Any = nullcontext) -> str:
        asked = Asked(network, bench.best, ("sar",))
        with around():
            return f"| {name} | {bench.cell(asked.alone, bench.best)} | {bench.cell(asked.from_latents, bench.best)} |"

    for dtype in ("bfloat16", "float16", "float32"):
        yield line(dtype, bench.network(dtype))
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    yield line("float32 with TF32", bench.network("float32"))
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    network = bench.network(anew=True)
    network.unet.to(memory_format=torch.channels_last)
    yield line("bfloat16, channels_last", network)
    for name, backend in BACKENDS.items():
        yield line(f"bfloat16, {name} attention", bench.network(), partial(sdpa_kernel, backend))
    if bench.device == "cuda":  # compiling for a CPU takes minutes and tells nothing
        network = bench.network(anew=True)
        network.unet = torch.compile(network.unet)
        yield line("bfloat16, torch.compile", network)


def heads_of_clip(bench: CardBench) -> Iterator[str]:
    """Six heads on one pass, at the tower's own size."""
    heads: list[Any] = clip_heads(str(bench.folder / "clip"))
    tower = tower_of(heads)
    yield from ("| batch | float32, images a second |", "|---|---|")
    for batch in bench.batches:
        yield f"| {batch} | {bench.cell(of_clip(tower, heads, batch), batch)} |"


def settings_of_clip(bench: CardBench) -> Iterator[str]:
    """One head, and what could be set for its tower, each beside the plain way; none is a default."""
    ways = [(dtype, "") for dtype in ("bfloat16", "float16", "float32")]
    ways += [("float32", "tf32"), *[("bfloat16", kernel) for kernel in BACKENDS]]
    ways += [("bfloat16", "compile"), ("float32", "tf32+compile")] if bench.device == "cuda" else []
    yield from ("| dtype | card | images a second |", "|---|---|---|")
    for dtype, card in ways:
        heads = [NACLIP(str(bench.folder / "clip"), dtype=dtype, card=card, resize="native", window=None, stride=None)]
        call = of_clip(tower_of(heads), heads, bench.best or 1)
        yield f"| {dtype} | {card or 'plain'} | {bench.cell(call, bench.best or 1)} |"


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

    asked = Asked(bench.network(), bench.best, ("sar",))
    asked.whole()
    on_card = bench.device == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]) as found:
        start = time.perf_counter()
        asked.whole()
        bench.wait()
        wall = time.perf_counter() - start
    held = found.key_averages()
    taken = {one.key: (one.self_device_time_total if on_card else one.self_cpu_time_total, one.count) for one in held}
    total = sum(time for time, _ in taken.values())
    yield f"Under the profiler {bench.best} images took {1000 * wall:.1f} ms; operations {total / 1000:.1f} ms.\n"
    yield from ("| operation | ms | share | times |", "|---|---|---|---|")
    for name, (spent, count) in sorted(taken.items(), key=lambda item: -item[1][0])[:12]:
        yield f"| `{name[:60]}` | {spent / 1000:.2f} | {100 * spent / max(total, 1e-9):.1f} % | {count} |"


def whole(bench: CardBench) -> Iterator[str]:
    """A worker: 500 x 375 JPEGs and PNGs in, rows out; the goal is 150 images a second on an H100."""
    yield f"sar, {len(NAMES)} classes, batches of {bench.best}.\n"
    batches, threads = (32, 8) if bench.size == "real" else (pipeline.WARM + 3, 1)
    for latents in ("float32", "float16"):
        kept = {"latent_cache": str(bench.folder / "latents")} if latents == "float16" else {}
        model = {"model": str(bench.folder / "diffusion"), "dtype": "bfloat16", "latents": latents, **kept}
        for turn in ("", ", kept latents")[: 1 + bool(kept)]:
            found, _, taken = pipeline.rate(
                batches * bench.best,
                bench.best,
                "methods.stableseg:StableSeg",
                NAMES,
                threads,
                refine="sar",
                **model,
                **JOINED,
            )
            yield f"- latents in {latents}{turn}: {found:.1f} images a second, {taken:.2f} ms of processors an image."


def label_maps(bench: CardBench) -> Iterator[str]:
    """The shipped model on Shapes: pixels against a CPU in float32, and mIoU by number format."""
    images = 64 if bench.size == "real" else 1
    here = gpu_labels.made(images)
    if bench.device == "cpu":
        yield from gpu_labels.beside_cpu(here, here)
        return
    file = bench.folder / "cpu.npz"
    command = [sys.executable, "-m", "perf.gpu_labels", str(file), str(images)]
    subprocess.run(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=True)
    with np.load(file) as cpu:
        yield from gpu_labels.beside_cpu(here, dict(cpu))


SECTIONS: dict[str, Callable[[CardBench], Iterator[str]]] = {
    "The card": the_card, "Images a second by batch": forwards, "From files to rows": whole,
    "Share of the matrix rate": share, "Where the time goes": where_time_goes, "Heads of CLIP": heads_of_clip,
    "Label maps": label_maps, "Settings that could be": settings, "Settings of CLIP that could be": settings_of_clip,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure; the page is whole after every part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gpu.md")
    options = parser.parse_args(arguments)
    ends = time.monotonic() + 60 * options.minutes
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.small:
        parser.error("there is no GPU here; --small tries the same on a CPU")
    size = "small" if options.small else "real"
    page = ["# What a card can do", "", f"Output of `python -m perf.gpu{' --small' * options.small}`."]
    with tempfile.TemporaryDirectory() as folder, as_prepared():
        bench = CardBench(
            Path(folder), size, device, 0.02 if options.small else 1.0, BATCHES[:1] if options.small else BATCHES, ends
        )
        write_diffusion(bench.folder / "diffusion", size, device)
        write_clip(bench.folder / "clip", size, device)
        for title, section in SECTIONS.items():
            page += ["", f"## {title}", ""]
            if time.monotonic() > bench.ends:
                page.append("Not reached: the minutes were over.")
            else:
                page += told_of(bench, section)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text("\n".join(page) + "\n", encoding="utf-8")
            print(f"{title}: {max(0.0, bench.ends - time.monotonic()):.0f} s left", flush=True)


def told_of(bench: CardBench, section: Callable[[CardBench], Iterator[str]]) -> list[str]:
    """Its lines as far as it came: one part that fails takes no other with it."""
    lines = []
    try:
        for line in section(bench):
            lines.append(line)
            if time.monotonic() > bench.ends:
                return [*lines, "", "Cut off: the minutes were over."]
    except Exception as error:
        lines += ["", f"It ended here: {type(error).__name__}: {error}"]
    return lines


@contextmanager
def as_prepared() -> Iterator[None]:
    """As in a worker, without noise of libraries."""
    with arithmetic.as_in_a_worker(), quiet("diffusers", "transformers"):
        yield


if __name__ == "__main__":
    main()
