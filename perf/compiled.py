"""Nothing flows in; a few lines flow out: what a tower of CLIP gives once it is compiled, beside the plain one.

The shipped model on images of Shapes, five heads on one pass: how many label pixels are others, and what the first
batch took, which waits for the compiler (gcc on a CPU). What it gains on a card is `perf.gpu`'s to say.

    python -m perf.compiled [--images 32]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.shapes import Shapes
from harness.contracts import Query, Vocabulary
from harness.work.passes import joined_requests
from methods.diffusion.maps import resized
from perf.gpu import tower_of
from perf.heads import clip_heads
from perf.machine import this_machine

BATCH, DEPTH = 8, 4  # the shipped tower has four blocks: heads that look further back are left out


def labels_of_heads(card: str, images: int) -> tuple[np.ndarray[Any, Any], float, float]:
    """Of every head and image; seconds of the first batch, and of all others."""
    world = Shapes("val", images=images)
    words = Vocabulary(tuple([(name,) for name in world.classes[1:]]))
    heads = [head for head in clip_heads() if all(len(parts) <= DEPTH for parts in head.passes().values())]
    heads = [replace(head, card=card) for head in heads]
    tower, found, times = tower_of(heads), [], []
    ids, requests = list(world.ids()), joined_requests(head.passes() for head in heads)
    for start in range(0, len(ids), BATCH):
        began = time.perf_counter()
        queries = [Query(name, world.load(name).image, words) for name in ids[start : start + BATCH]]
        with torch.no_grad():
            held = dict(tower.run(queries, requests))
            for head in heads:
                own = {one: held[one] for one in head.passes()}
                scores = head.read_batch(own, dict.fromkeys(range(len(queries)), words))
                shapes = [query.image.shape[:2] for query in queries]
                found += [resized(scores[at], shape).argmax(dim=0).flatten().numpy() for at, shape in enumerate(shapes)]
        times.append(time.perf_counter() - began)
    return np.concatenate(found), times[0], sum(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    images = parser.parse_args().images
    (plain, *_, before), (compiled, first, after) = (labels_of_heads(card, images) for card in ("", "compile"))
    print(f"{this_machine()}.\n")
    print(f"{int((plain != compiled).sum()):,} of {plain.size:,} label pixels are others.")
    print(f"The first batch took {first:.0f} s; all further ones {after:.1f} s, plain {before:.1f} s.")


if __name__ == "__main__":
    main()
