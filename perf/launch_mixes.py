"""Nothing flows in; a page flows out: how often a card is asked for something in batches that are less plain.

Other readers, rules and images than those of `perf.launches`, which counts. What to look for: launches, copies or waits
that grow with images times classes, and calls of the network of many shapes, each of which is a compiled graph more.

    python -m perf.launch_mixes > perf/launch_mixes.md
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from harness.contracts import ProtocolSettings
from methods.fused_clip import FusedCLIP
from methods.naclip import NACLIP
from methods.resclip import ResCLIP
from methods.sclip import SCLIP
from methods.stableseg import StableSeg
from perf.heads import clip_heads
from perf.launches import HEADS, IMAGES, Launches, OpenNetwork, network_of, pretend_gpu, rows_of


@dataclass(frozen=True)
class Mix:
    """A batch of a kind under some readers, each with rules of its own. held: classes in each image, of so many. apart:
    how many other ones the next image begins with. sizes: of images in turn, if not all different."""

    what: str
    kind: str
    readers: Sequence[Any]
    rules: Sequence[ProtocolSettings]
    classes: int = 20
    held: int = 20
    apart: int = 0
    sizes: Sequence[tuple[int, int]] = ()


def counted_of(mix: Mix, heads: int = 1) -> tuple[Launches, Counter[tuple[int, ...]]]:
    """What a card is asked, and of what shape the calls of the network are; all words and tables known already."""
    found, shapes = Launches(), Counter[tuple[int, ...]]()
    lots = np.random.default_rng(0)
    sized = [lots.integers(0, 256, (*mix.sizes[n % len(mix.sizes)], 3), np.uint8) for n in range(IMAGES) if mix.sizes]
    with pretend_gpu(found), torch.no_grad():
        network = network_of(mix.kind, heads=heads)
        looked_at = network.unet if mix.kind == "diffusion" else network.tower.embeddings.patch_embedding
        looked_at.register_forward_pre_hook(lambda _, given: shapes.update([tuple(given[0].shape)]))
        for _ in range(2):
            found.clear()
            shapes.clear()
            own = [mix.held] * IMAGES
            rows_of(OpenNetwork(network), mix.readers, mix.classes, sized or None, own, IMAGES, mix.rules, mix.apart)
    return found, shapes


def other_mixes() -> list[Mix]:
    """Batches that are less plain than those of the first table, 20 classes offered where nothing is said."""
    every, own = ProtocolSettings(vocabulary="all"), ProtocolSettings(vocabulary="present")
    cut = replace(own, resize="short", size=48, window=48, stride=24)
    two = ((72, 96), (96, 72))
    six, shown = clip_heads(), {"window": None, "stride": None}
    windows = NACLIP("shapes", resize=48, window=32, stride=16)
    pair = [kind("shapes", resize="window", **shown) for kind in (NACLIP, SCLIP)]
    fused = FusedCLIP("shapes", resize="native", depth=4, **shown)
    default = partial(StableSeg, "shapes")
    large = {"classes": 150, "held": 150}
    return [
        Mix("20 of 150, each image its own", "diffusion", [default()], [own], 150, apart=8),
        Mix("the same beside all 150", "diffusion", [default()] * 2, [own, every], 150, apart=8),
        Mix("timesteps 1, 100, 200", "diffusion", [default(timestep=t) for t in (1, 100, 200)], [every] * 3),
        Mix("`noise_draws: 3`", "diffusion", [default(noise_draws=3)], [every]),
        Mix("layers 1/4, layers 1/2", "diffusion", [default(layers=one) for one in ("1/4", "1/2")], [every] * 2),
        Mix("`samap` of layers 1/4", "diffusion", [default(layers="1/4", refine="samap")], [every]),
        Mix("the background a class", "diffusion", [default()], [replace(every, background="class")]),
        Mix("the background below a threshold", "diffusion", [default()], [replace(every, background="constant")]),
        Mix("windows of the protocol, each image its own 20 of 150", "diffusion", [default()], [cut], 150, 20, 8, two),
        Mix("`map_norm: sum`", "diffusion", [default(map_norm="sum")], [every]),
        Mix("`prompt: per_class`, its own 5 of 150", "diffusion", [default(prompt="per_class")], [own], 150, 5, 8),
        Mix("refined by `multiscale`", "diffusion", [default(refine="multiscale")], [every]),
        Mix("refined by `vote`", "diffusion", [default(refine="vote")], [every]),
        Mix("refined by `iterate`", "diffusion", [default(refine="iterate")], [every]),
        Mix("the same, 150 classes", "diffusion", [default(refine="iterate")], [every], **large),
        Mix("refined by `spread`", "diffusion", [default(refine="spread")], [every]),
        Mix("six heads, each image its own 20 of 150", "clip", six, [own] * 6, 150, apart=8),
        Mix("six heads, the background a class", "clip", six, [replace(every, background="class")] * 6),
        Mix("six heads, the background below a threshold", "clip", six, [replace(every, background="constant")] * 6),
        Mix("NACLIP's windows of two shapes of image, own 20 of 150", "clip", [windows], [own], 150, 20, 8, two),
        Mix("windows of the protocol, two heads, the same images", "clip", pair, [cut] * 2, 150, 20, 8, two),
        Mix("images as they are shown, 16 sizes", "clip", [NACLIP("shapes", resize="shown", **shown)], [every]),
        Mix("ResCLIP", "clip", [ResCLIP("shapes", resize="native", rcs_blocks=(2, 3), **shown)], [every]),
        Mix("FusedCLIP", "clip", [fused], [every]),
        Mix("the same, 150 classes", "clip", [fused], [every], **large),
    ]  # fmt: skip


def other_line(mix: Mix) -> str:
    found, shapes = counted_of(mix, HEADS)
    operations, uploads, waits = found.numbers
    calls = ", ".join(
        f"{count} x {rows}"
        for rows, count in Counter(
            {rows: sum(count for shape, count in shapes.items() if shape[0] == rows) for rows, *_ in shapes}
        ).items()
    )
    shown = (mix.what, len(mix.readers), operations, f"{operations / IMAGES:.1f}", calls, len(shapes), uploads, waits)
    return f"| {' | '.join(map(str, shown))} |"


def main() -> None:
    print("# How often a card is asked: other mixes\n")
    print(
        f"Output of `python -m perf.launch_mixes`. Batches of {IMAGES} images; 20 classes, all offered, by default.\n"
    )
    print("| mix | readers | operations a batch | an image | calls x rows | shapes | copies to the card | waits |")
    print("|---|---|---|---|---|---|---|---|")
    for mix in other_mixes():
        print(other_line(mix), flush=True)


if __name__ == "__main__":
    main()
