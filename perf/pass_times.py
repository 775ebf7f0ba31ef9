"""Nothing flows in; lines of methods/measured.csv flow out: what a pass and a row take on one core of this machine.

A batch of 16 images of 375 x 500 pixels and three classes goes from images to rows, for one reader and for three that
read the same pass: what the second and third add is the cost of a row, the rest that of a pass. A control looks at no
network: what sixteen more of it add is the cost of a row. Processor time, one thread; no image is decoded. CLIP has
random weights where the real ones are not needed to be timed; Stable Diffusion 1 takes minutes and has a script of its
own, perf.attention_cost.

    python -m perf.pass_times
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel

from methods.clip import Clip
from methods.clip.network import ClipNetwork
from methods.clip.pixels import Normalisation
from methods.controls import OneClass, RandomLabels
from methods.diffusion import Diffusion
from perf.heads import clip_heads
from perf.launches import IMAGES, OpenNetwork, diffusion_readers, rows_of, thin_models

CLASSES, SIZE = 3, (375, 500)


def pass_and_row(network: Any, readers: Sequence[Any], images: int) -> tuple[float, float]:
    """Seconds of one pass and of one row: all readers beside the first of them."""
    lots = np.random.default_rng(0)
    shown = [lots.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(images)]

    def work(count: int) -> None:
        rows_of(OpenNetwork(network, deepest=1), readers[:count], CLASSES, shown)

    work(1)  # words are encoded once
    one, several = (processor_seconds(lambda count=count: work(count)) for count in (1, len(readers)))
    row = (several - one) / (len(readers) - 1)
    return (one - row) / images, row / images


def row_alone(control: Any) -> float:
    """Seconds of one row of a method that looks at no network, the median of five measurements: so little is noise."""
    return median(pass_and_row(None, [control] * 17, IMAGES)[1] for _ in range(5))


def processor_seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def base_clip() -> ClipNetwork:
    """ViT-B/16 with random weights."""
    config = CLIPConfig(vision_config={"patch_size": 16}, text_config={"eos_token_id": 1})
    return ClipNetwork(CLIPModel(config), thin_models.Words(), Normalisation(), torch.device("cpu"))


def main() -> None:
    torch.set_num_threads(1)
    with torch.no_grad():
        for name, network, readers, images in (
            ("Shapes", Diffusion("shapes").network, diffusion_readers(3), IMAGES),
            ("CLIP of Shapes", Clip("shapes").network, clip_heads()[:3], IMAGES),
            ("CLIP ViT-B/16 at 224 x 224", base_clip(), clip_heads()[:3], 4),
        ):
            seconds = ",".join(f"{one:.4f}" for one in pass_and_row(network, readers, images))
            print_line_of(name, "float32", seconds)
        for name, dtype, control in (
            ("OneClass", "int32", OneClass()),
            ("RandomLabels", "float32", RandomLabels()),
            ("RandomLabels of pixels", "int16", RandomLabels(side=0)),
        ):
            print_line_of(name, dtype, f"0,{row_alone(control):.4f}")


def print_line_of(name: str, dtype: str, seconds: str) -> None:
    print(f'{name},{dtype},CPU,{seconds},"perf.pass_times, {date.today():%-d %B %Y}"', flush=True)


if __name__ == "__main__":
    main()
