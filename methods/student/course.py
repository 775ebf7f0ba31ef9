"""How a network is trained, and lessons, flow in; examples flow out step by step, read some steps ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from harness.contracts import Image, Truth
from methods.student.crops import in_imagenet_colours
from methods.student.synchronised import BatchShare

POLY_POWER = 0.9
AHEAD = 4  # steps whose examples are read while the network is at work: a slow image or two holds nobody up
WARMUP_START = 1e-6  # share of the rate in the first step, as SegFormer's configurations have it

Example: TypeAlias = "tuple[NDArray[np.float32], Truth]"  # pixels (3, height, width) and mask (height, width)


@dataclass(frozen=True)
class Course:
    """How a network is trained. group: images whose statistics are taken together; a step adds up its batch's groups.

    decay: `poly` ((1 - s/S)^0.9) or `cosine`, from the rate down to `floor` times it. encoder_rate: factor on the rate
    of the encoder. validate_every: steps between looks at the held-out lessons, 0 for never. The last five: see
    methods.student.settings.
    """

    steps: int
    batch: int
    group: int
    optimiser: str
    learning_rate: float
    momentum: float
    weight_decay: float
    encoder_rate: float
    decay: str
    floor: float
    validate_every: int
    precision: str
    seed: int
    clip_norm: float | None = None
    warmup: int = 0
    ema: float = 0.0
    checkpoint_every: int | None = None
    part: int | None = None

    def rate(self, step: int) -> float:
        """Share of the learning rate at a step."""
        left = 1.0 - step / self.steps
        shape = left**POLY_POWER if self.decay == "poly" else 0.5 * (1.0 + float(np.cos(np.pi * (1.0 - left))))
        rate = self.floor + (1.0 - self.floor) * shape
        if step < self.warmup:
            rate *= 1.0 - (1.0 - step / self.warmup) * (1.0 - WARMUP_START)
        return rate


class Material(Protocol):
    """What is taught: `count` lessons, drawn as changed crops, and held-out ones as they are."""

    @property
    def count(self) -> int: ...

    @property
    def held_out(self) -> Sequence[int]: ...

    def crop(self, lesson: int, rng: np.random.Generator) -> tuple[Image, Truth]: ...

    def whole(self, lesson: int) -> tuple[Image, Truth]: ...


def examples_ahead(
    course: Course, material: Material, start: int, shared: BatchShare, where: torch.device
) -> Iterator[list[list[Example]]]:
    """Step by step the examples of this worker's parts, read some steps ahead. where: the network is; a teacher that is
    asked meanwhile is there too, and not on the first card of the machine, which is what a fresh thread would take."""
    begin = partial(torch.cuda.set_device, where) if where.type == "cuda" else None
    threads = max(1, min(8, (os.cpu_count() or 2) // 2))
    with ThreadPoolExecutor(threads, thread_name_prefix="lessons", initializer=begin) as pool:

        def ask(step: int) -> list[list[Future[Example]]]:
            first = step * course.batch
            return [
                [pool.submit(drawn_example, course, material, first + place) for place in part] for part in shared.mine
            ]

        try:
            coming = deque(ask(step) for step in range(start, min(start + AHEAD, course.steps)))
            for step in range(start, course.steps):
                now = coming.popleft()
                if step + AHEAD < course.steps:
                    coming.append(ask(step + AHEAD))
                yield [[future.result() for future in part] for part in now]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def drawn_example(course: Course, material: Material, draw: int) -> Example:
    """The draw-th example since the beginning: lessons come in a fresh order each time all have been seen."""
    round_number, place = divmod(draw, material.count)
    order = np.random.default_rng([course.seed, 1, round_number]).permutation(material.count)
    image, mask = material.crop(int(order[place]), np.random.default_rng([course.seed, 2, draw]))
    return in_imagenet_colours(image), mask
