"""Nothing flows in; a page flows out: what reading attention costs beside the library's plain forward of the same UNet.

The UNet has the real shapes of Stable Diffusion 1.x and random weights. Four ways to spend one forward per image, with
at most 20 classes in a prompt of 77 tokens, and where there are more, as many prompts and rows an image as they take:

    plain       the library's forward, nothing read
    class maps  this project's reading: cross-attention of all 16 layers, joined to scores (refine: none)
    sar         the same, and the scores under the self-attention of the largest side (refine: sar)
    published   explicit probabilities of every head of all 32 attentions, kept until the forward ends, then joined and
                multiplied: how tools that store attention do it

Only with one prompt, the last way: seven would take 23 GiB. Times of all ways are taken in one process, in turns: on a
CPU the processor's time (other work on the machine hardly counts), on a GPU the clock's. Memory is that of one first
forward, each way in a process of its own, in which freed memory goes back at once, so that the mark shows what is held
and not how the heap was cut up. On a GPU all batch sizes are measured, in bfloat16. `--once` takes the time of that one
forward too, and no other: a tenth of the work, for many classes.

    python -m perf.attention_cost [--rounds 3] [--threads 1] [--batches 1 2 4 8 16 32] [--classes 20] > PAGE
    python -m perf.attention_cost --once --threads 1 --classes 20 59 150 > PAGE
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor

from harness.contracts import Query, Vocabulary
from harness.contracts.scales import stretched
from methods.diffusion import Diffusion
from methods.diffusion.files import Opened
from methods.diffusion.network import Network
from methods.diffusion.prompts import Prompt
from methods.diffusion.row_calls import UNetRow
from methods.stableseg import StableSeg

SHAPES = {
    "sample_size": 64,
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
IN_A_PROMPT, TOKENS, WIDTH, TIMESTEP = 20, 77, 768, 1  # classes of two tokens and a word between them
WAYS = ("plain", "class maps", "sar", "published")
MIB = 2**20


class Bench:
    """The network with random weights, a batch of latents, and the four ways."""

    def __init__(self, batch: int, classes: int, device: str, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.device, self.dtype = device, dtype
        self.prompts = prompts_of(classes)
        self.unet = random_unet(device, dtype)
        self.latents = torch.randn(batch, 4, 64, 64).to(device, dtype)
        self.states = torch.randn(1, TOKENS, WIDTH).to(device, dtype)
        self.network = self._network(str(dtype).removeprefix("torch."))
        self.vocabulary = Vocabulary(tuple((f"class {place}",) for place in range(classes)), everywhere=True)

    def run(self, way: str) -> None:
        """One forward of the batch with everything that the way wants of it."""
        with torch.no_grad():
            if way == "plain":
                for _ in self.prompts:
                    self.unet(self.latents, TIMESTEP, encoder_hidden_states=self._all_states())
            elif way == "published":
                self._published()
            else:
                self._ours(StableSeg("shapes", refine="sar" if way == "sar" else "none"))
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _ours(self, method: StableSeg) -> None:
        ((request, parts),) = method.passes().items()
        batch = len(self.latents)
        rows = [
            [UNetRow(image, number, prompt) for number, prompt in enumerate(self.prompts)] for image in range(batch)
        ]
        queries = [Query(str(image), torch.zeros(1, 1, 3).byte().numpy(), self.vocabulary) for image in range(batch)]
        contents = [self.network.latent] * batch
        wanted, asked = self.network.wanted(parts), replace(request, timestep=TIMESTEP)
        for features in self.network.forward(self.latents, asked, rows, wanted, queries, contents):
            method.read({request: features}, self.vocabulary)

    def _published(self) -> None:
        kept: dict[str, Tensor] = {}
        before = dict(self.unet.attn_processors)
        self.unet.set_attn_processor({name: Storing(kept, name) for name in before})
        try:
            self.unet(self.latents, TIMESTEP, encoder_hidden_states=self._all_states())
        finally:
            self.unet.set_attn_processor(before)
        batch = len(self.latents)
        cross = [one.unflatten(0, (batch, -1)) for name, one in kept.items() if "attn2" in name]
        own = [one.unflatten(0, (batch, -1)) for name, one in kept.items() if "attn1" in name and one.shape[1] == 4096]
        for image in range(batch):
            attention = torch.stack([layer[image].float().mean(dim=0) for layer in own]).mean(dim=0)
            scores = torch.stack([self._scores(layer[image]) for layer in cross]).mean(dim=0)
            spread = (attention @ scores.flatten(1).T).T.reshape(scores.shape)
            stretched(spread)

    def _scores(self, probabilities: Tensor) -> Tensor:
        side = int(probabilities.shape[1] ** 0.5)
        mean = probabilities.float().mean(dim=0)
        planes = torch.stack([mean[:, list(tokens)].mean(dim=1) for _, tokens in self.prompts[0].places])
        planes = planes.reshape(1, len(planes), side, side)
        return stretched(F.interpolate(planes, size=(64, 64), mode="bilinear", align_corners=False)[0])

    def _all_states(self) -> Tensor:
        return self.states.expand(len(self.latents), -1, -1)

    def _network(self, dtype: str) -> Network:
        """The project's own network around the UNet; of the other parts only sizes are asked."""
        configuration: Any = SimpleNamespace(
            factor=8, pixels=lambda _size: (512, 512), check_timestep=lambda _timestep: None
        )
        text = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=TOKENS))
        tokenizer = SimpleNamespace(model_max_length=TOKENS)
        opened = Opened(configuration, self.unet, None, text, tokenizer, None)
        network = Network(opened, Diffusion("shapes", dtype=dtype), self.device)
        network.text.states = lambda text: self.states  # type: ignore[method-assign]
        return network


class Storing:
    """A processor that forms the probabilities and keeps all of them."""

    def __init__(self, kept: dict[str, Tensor], name: str) -> None:
        self.kept, self.name = kept, name

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Any = None, **_: Any) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        query, key, value = (attn.head_to_batch_dim(one) for one in (query, key, value))
        self.kept[self.name] = attn.get_attention_scores(query, key)
        mixed = attn.batch_to_head_dim(self.kept[self.name] @ value)
        return attn.to_out[1](attn.to_out[0](mixed))


def prompts_of(classes: int) -> tuple[Prompt, ...]:
    """Each filled in order; the words themselves are nobody's to read."""
    shared = [range(start, min(start + IN_A_PROMPT, classes)) for start in range(0, classes, IN_A_PROMPT)]
    return tuple(
        Prompt(str(number), tuple((place, (5 + 3 * at, 6 + 3 * at)) for at, place in enumerate(held)))
        for number, held in enumerate(shared)
    )


def ways_of(classes: int) -> tuple[str, ...]:
    return WAYS if classes <= IN_A_PROMPT else WAYS[:-1]


def random_unet(device: str, dtype: torch.dtype) -> Any:
    """Weights of about the right size; one block of numbers again and again, since it takes a second, not a minute."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SHAPES)
    unet = unet.to_empty(device="cpu").eval().requires_grad_(False)
    noise = torch.rand(1 << 20).mul_(2.0).sub_(1.0)
    for name, weight in unet.named_parameters():
        flat = weight.view(-1)
        if weight.ndim == 1:
            flat.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        for start in range(0, len(flat), len(noise)):
            part = flat[start : start + len(noise)]
            part.copy_(noise[: len(part)])
        weight.mul_((3.0 / weight[0].numel()) ** 0.5)
    return unet.to(device, dtype)


def seconds_of(work: Callable[[], object], device: str) -> float:
    clock = time.perf_counter if device == "cuda" else time.process_time
    started = clock()
    work()
    return clock() - started


def times(batch: int, classes: int, device: str, dtype: torch.dtype, rounds: int) -> dict[str, list[float]]:
    """Seconds of every way, in turns after one warm round. A way that runs out of GPU memory has none."""
    bench, found = Bench(batch, classes, device, dtype), {way: list[float]() for way in ways_of(classes)}
    for number in range(rounds + 1):
        for way in found:
            try:
                taken = seconds_of(lambda way=way: bench.run(way), device)
            except torch.cuda.OutOfMemoryError:
                continue
            if number:
                found[way].append(taken)
    return found


def first_forward(way: str, batch: int, classes: int, device: str, dtype: torch.dtype) -> tuple[float, float]:
    """MiB that the first forward takes at its peak, above what the process held before it, and its seconds."""
    bench = Bench(batch, classes, device, dtype)
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        seconds = seconds_of(lambda: bench.run(way), device)
        return (torch.cuda.max_memory_allocated() - before) / MIB, seconds
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark starts anew at what is held now
    before = _status("VmRSS")
    seconds = seconds_of(lambda: bench.run(way), device)
    return (_status("VmHWM") - before) / 1024, seconds


def _status(key: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))


def apart(way: str, batch: int, classes: int, dtype: str) -> tuple[float, float] | None:
    """`first_forward` in a process of its own; None when memory ran out."""
    command = [sys.executable, "-m", "perf.attention_cost", "--way", way, "--batches", str(batch), "--dtype", dtype]
    command += ["--classes", str(classes), "--threads", str(torch.get_num_threads())]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**17)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return tuple(json.loads(done.stdout)) if done.returncode == 0 else None


def page(batches: Sequence[int], classes: Sequence[int], device: str, dtype: str, rounds: int) -> str:
    """rounds: 0 takes the times of the forwards of which memory is measured."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, threads: {torch.get_num_threads()}"
    times_of = f"median of {rounds} rounds" if rounds else "one first forward each, each way in a process of its own"
    lines = [
        "# What reading attention costs", "",
        "Output of `python -m perf.attention_cost`; the ways, and what is measured, are described there.", "",
        f"Device: {name}, {platform.machine()}; {dtype}, 64 x 64 latents, {times_of}; torch {torch.__version__}, "
        f"diffusers {diffusers.__version__}; {date.today():%d %B %Y}.", "",
        "| classes | images | way | seconds | images a second | time, plain = 1 | peak memory, MiB | over plain, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for many in classes:
        for batch in batches:
            found = times(batch, many, device, getattr(torch, dtype), rounds) if rounds else {}
            if device == "cuda":
                torch.cuda.empty_cache()
            first = {way: apart(way, batch, many, dtype) for way in ways_of(many)}
            peaks = {way: one[0] if one else None for way, one in first.items()}
            taken = found or {way: [one[1]] if one else [] for way, one in first.items()}
            lines += [f"| {many} {cost_row(way, batch, taken, peaks)}" for way in taken]
    return "\n".join(lines)


def cost_row(way: str, batch: int, taken: dict[str, list[float]], peaks: dict[str, float | None]) -> str:
    if not taken[way]:
        return f"| {batch} | {way} | out of memory | | | | |"
    middle = statistics.median(taken[way])
    # Ratios within a round, so that a slow minute of the machine hits both sides.
    ratio = statistics.median(mine / plain for mine, plain in zip(taken[way], taken["plain"], strict=True))
    peak, plain = peaks[way], peaks["plain"]
    over = "" if peak is None or plain is None else f"{peak - plain:.0f}"
    shown = "" if peak is None else f"{peak:.0f}"
    return f"| {batch} | {way} | {middle:.2f} | {batch / middle:.2f} | {ratio:.3f} | {shown} | {over} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32] if device == "cuda" else [1])
    parser.add_argument("--classes", type=int, nargs="+", default=[IN_A_PROMPT])
    parser.add_argument("--once", action="store_true", help="no rounds: the first forwards, whose memory is taken")
    parser.add_argument("--dtype", default="bfloat16" if device == "cuda" else "float32")
    parser.add_argument("--threads", type=int, help="of the CPU; default: as torch decides")
    parser.add_argument("--way", choices=WAYS, help="only print the peak memory of one way, in MiB, and its seconds")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.way:
        dtype = getattr(torch, options.dtype)
        print(json.dumps(first_forward(options.way, options.batches[0], options.classes[0], device, dtype)))
        return
    rounds = 0 if options.once else options.rounds
    print(page(options.batches, options.classes, device, options.dtype, rounds))


if __name__ == "__main__":
    main()
