"""A folder of models and a device flow in; rates of calls, each as a cell of a table, flow out, whatever happens.

What does not run costs its own cell: memory that runs out, a kernel that is not there, minutes that are over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.contracts import Query, Vocabulary
from harness.work.passes import joined_requests
from harness.work.room import out_of_memory
from methods.cards import computing, words_of
from methods.diffusion import DiffusionSettings
from methods.diffusion.files import Opened
from methods.diffusion.network import Network
from methods.stableseg import StableSeg

NAMES = tuple("abcdefghijklmnopqrst")  # 20 classes; a token each, so that one prompt holds them all
JOINED = {"template": "{}", "joiner": " "}
BATCHES = (1, 2, 4, 8, 16, 32, 64)
USUAL = 8  # the batch of later parts, where none was measured
FEW, MANY = 2, 200  # calls behind one number


@dataclass
class CardBench:
    """What is measured on. seconds: how long one number takes, about. until: no number is begun after that (of
    time.monotonic). best: the batch that later parts use. rates: numbers that a later part divides by."""

    folder: Path
    size: str
    device: str
    seconds: float
    batches: Sequence[int] = BATCHES
    until: float = float("inf")
    best: int = USUAL
    rates: dict[str, float] = field(default_factory=dict)
    opened: dict[tuple[str, str], Network] = field(default_factory=dict)

    def network(self, dtype: str = "bfloat16", card: str = "") -> Network:
        """The diffusion network, opened as a sweep opens it once a format; one of each setting of cards."""
        if (dtype, card) not in self.opened:
            settings = DiffusionSettings(str(self.folder / "diffusion"), dtype=dtype, card=card)
            fresh = of_parts(self.network(dtype), settings) if card else Network.open(settings)
            self.opened[dtype, card] = fresh
        return self.opened[dtype, card]

    @property
    def over(self) -> bool:
        """Whether nothing more is to be begun."""
        return time.monotonic() > self.until

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
        calls = max(FEW, min(MANY, int(self.seconds / max(1e-9, time.perf_counter() - start))))
        start = time.perf_counter()
        for _ in range(calls):
            call()
        self.wait()
        return calls * images / (time.perf_counter() - start)

    def cell(self, make: Callable[[], Callable[[], object]], images: int) -> str:
        """Images a second and the most memory held, or why there is none. make: makes what is called."""
        if self.over:
            return "no time left"
        try:
            call = make()
            self.wait()
            if self.device == "cuda":
                torch.cuda.reset_peak_memory_stats()  # what it took to make the call is none of it
            found = self.images_a_second(call, images)
        except Exception as error:
            return self.told(error)
        peak = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if self.device == "cuda" else ""
        return f"{found:.1f}{peak}"

    def told(self, error: Exception) -> str:
        """What a cell says of what did not run; memory that ran out is given back."""
        if not out_of_memory(error):
            return f"does not run: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:80]}"
        if self.device == "cuda":
            torch.cuda.empty_cache()
        return "out of memory"


def of_parts(plain: Network, settings: DiffusionSettings) -> Network:
    """The same network under other settings of cards, its weights read once; laid out anew, they are a copy."""
    apart = "channels_last" in words_of(settings.card)
    unet, vae = (deepcopy(one) if apart else one for one in (plain.unet, plain.vae))
    parts = Opened(plain.configuration, unet, vae, plain.text.encoder, plain.text.tokenizer, plain.scheduler)
    return Network(parts, settings, plain.device.type)


class Asked:
    """A batch of images, encoded once, and what readers of one pass do with it."""

    def __init__(self, network: Network, images: int, refines: Sequence[str] = ("sar",)) -> None:
        lots = np.random.default_rng(0)
        words = Vocabulary(tuple([(name,) for name in NAMES]), everywhere=True)
        shape = (*network.size, 3)
        self.network, self.images = network, images
        self.queries = [
            Query(f"image {number}", lots.integers(0, 256, shape, np.uint8), words) for number in range(images)
        ]
        self.words = dict.fromkeys(range(images), words)
        self.posterior = network.posterior([query.image for query in self.queries])
        self.by(refines)

    def by(self, refines: Sequence[str]) -> Asked:
        """The same batch, read by these from now on."""
        self.readers = [StableSeg(self.network.settings.model, refine=refine, **JOINED) for refine in refines]
        self.requests: dict[Any, Any] = joined_requests(reader.passes() for reader in self.readers)
        return self

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
        self._read(request, self.network.forward(latents, request, rows, wanted, self.queries, side))

    @torch.no_grad()
    def alone(self) -> None:
        """The UNet, nothing read."""
        network, query = self.network, self.queries[0]
        ((request, _),) = self.requests.items()
        states = network.text.states(network.rows(0, query, request)[0].prompt.text).expand(self.images, -1, -1)
        latents = self.posterior.mean.to(network.dtype)
        with computing(network.settings.card):
            network.unet(latents, network.told(request.timestep), encoder_hidden_states=states)

    @torch.no_grad()
    def encode(self) -> None:
        """The VAE alone."""
        self.network.encode([query.image for query in self.queries])

    @torch.no_grad()
    def _read(self, request: Any, batch: Any) -> None:
        for reader in self.readers:
            reader.read_batch({request: batch}, self.words)


def rate_of(cell: str) -> float:
    """Images a second of a cell; 0 where there is none."""
    rate = cell.partition(",")[0]
    return float(rate) if rate.replace(".", "", 1).isdigit() else 0.0


def proposed(rates: Mapping[int, float]) -> int:
    """Of batches and their images a second the smallest that no larger one is 3 % faster than: what is larger takes
    memory, and leaves fewer batches to share between workers. The usual one where nothing was measured."""
    measured = {batch: rate for batch, rate in sorted(rates.items()) if rate}
    best = min(measured, default=USUAL)
    for batch, rate in measured.items():
        if rate > 1.03 * measured[best]:
            best = batch
    return best
