"""Nothing flows in; a page flows out: how often a card would be asked for something while a batch of images is done.

Operations (what torch dispatches, without views), copies to the card and waits of the host for it, on the tests'
pretended GPU, so that anybody can count them, and exactly. From the images of a batch to its rows: passes, readers,
decisions and counts. The networks have all layers of Stable Diffusion 1.x and of CLIP ViT-B/16 and heads as wide, but
fewer of them, and see small images: how many operations are asked for depends on neither.

    python -m perf.launches > perf/launches.md
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))

import thin_models
from launches import Launches, without_memory
from pretend_gpu import pretend_gpu

from harness.contracts import Batch, Image, Origin, ProtocolSettings, Query, Recipe, Run, Sample
from harness.foreign.calls import Guard
from harness.work.batch_work import BatchWork
from harness.work.slots import filler, read_places
from methods.stableseg import StableSeg
from perf.heads import clip_heads

IMAGES = 16
HEADS = 2  # of the pages' UNets: with one, attention is read in two steps fewer a layer
RULES = ProtocolSettings(vocabulary="all")
PROMPTS = {20: 1, 60: 3, 140: 7, 150: 7}  # by classes, named as the tests' models name them


@dataclass(frozen=True)
class OpenNetwork:
    """A backbone around a network that is open. deepest: block inputs that are asked of a CLIP."""

    network: Any
    deepest: int = 6

    def run(self, queries: Any, requests: Any) -> Any:
        """As the backbone of the network's kind does."""
        if hasattr(self.network, "serve"):
            yield from self.network.serve(queries, requests)
        else:
            for request in requests:
                yield request, self.network.features([query.image for query in queries], request, self.deepest)


def diffusion_readers(count: int) -> list[Any]:
    """`none`, `sar` and `samap` of one pass, so many of them."""
    return [StableSeg("shapes", refine=refine) for refine in ("none", "sar", "samap")][:count]


def launches_of(
    kind: str,
    readers: Sequence[Any],
    classes: int,
    rows: int | None = None,
    own: Sequence[int] = (),
    calls: list[int] | None = None,
    images: int = IMAGES,
    heads: int = 1,
) -> Launches:
    """What a card is asked while a batch of 16 images is done, all classes offered, or so many that are each image's
    own, their words known already. kind: `diffusion` or `clip`. rows: of a UNet call. calls: takes the rows of every
    UNet call. images: how many there are, fillers in all other places. heads: of the UNet's attention."""
    found = Launches()
    with pretend_gpu(found), torch.no_grad():
        network: Any = network_of(kind, rows, heads)
        for offered in sorted(set(own) or {classes}):
            encode_words(network, readers[0], thin_models.queries(1, [offered])[0])
        if calls is not None:
            network.unet.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
        found.clear()
        rows_of(OpenNetwork(network), readers, classes, own=own, count=images)
    return found


def network_of(kind: str, rows: int | None = None, heads: int = 1) -> Any:
    """On the pretended GPU."""
    return thin_models.stable_diffusion("cuda", rows, heads) if kind == "diffusion" else thin_models.clip("cuda")


def launches_on_a_cpu(readers: Sequence[Any], classes: int) -> Launches:
    """The same of a diffusion model on a CPU, where a call has as many rows as there are images."""
    with torch.no_grad():
        network = thin_models.stable_diffusion("cpu")
        encode_words(network, readers[0], thin_models.queries(1, [classes])[0])
        with without_memory() as found:
            rows_of(OpenNetwork(network), readers, classes)
    return found


def encode_words(network: Any, reader: Any, query: Query) -> None:
    """What is encoded once a vocabulary, not once a batch."""
    if not hasattr(network, "serve"):
        network.text.vectors(query.vocabulary)
        return
    (request,) = reader.passes()
    prompts = network.text.prompts(query, request)
    network.text.places(prompts)
    for prompt in prompts:
        network.text.states(prompt.text)
    network.told(request.timestep)


def rows_of(
    opened: OpenNetwork,
    readers: Sequence[Any],
    classes: int,
    images: Sequence[Image] | None = None,
    own: Sequence[int] = (),
    count: int = IMAGES,
    rules: Sequence[ProtocolSettings] = (),
    apart: int = 0,
) -> None:
    """One batch done, from images to rows. own: how many classes are in each image, if those alone are offered. count:
    of images, where none are given. rules: of every reader, if they have some of their own. apart: how many other
    classes the next image begins with."""
    names = thin_models.names(classes)
    given = [query.image for query in thin_models.queries(count, [classes] * count)] if images is None else images
    samples = {f"image {number}": image for number, image in enumerate(given)}
    held = dict(zip(samples, own or [classes] * len(given), strict=True))
    first = {image_id: number * apart for number, image_id in enumerate(samples)}

    def load(image_id: str, check: Any) -> tuple[Sample, Origin]:
        image = samples[image_id]
        truth = np.random.default_rng(0).integers(0, held[image_id] + 1, image.shape[:2])
        truth[truth > 0] += first[image_id]
        return check(Sample(image_id, image, truth.astype(np.uint8))), Origin(image_id, image_id, ())

    recipe = Recipe.of("methods.stableseg:StableSeg")
    each = list(rules) or [ProtocolSettings(vocabulary="present") if own else RULES] * len(readers)
    runs = [Run(f"run {number}", "m", "", recipe, "b", recipe, one, names) for number, one in enumerate(each)]
    kinds = list(dict.fromkeys(each))
    there = (*samples, *[None] * (IMAGES - len(samples)))
    places = read_places([(names, one) for one in kinds], load, Batch(0, there))
    guard = Guard()
    guard.settle()
    by_kind = {one: [place[number] for place in places] for number, one in enumerate(kinds)}
    slots = {run.run_id: by_kind[run.protocol] for run in runs}
    done = BatchWork(guard, list(zip(runs, readers, strict=True)), slots, filler(names), lambda _recipe: opened)
    told: Any = done.rows
    rows = told() if callable(told) else told
    failed = [row.error for row in rows if row.status != "ok"]
    if failed or len(rows) != len(samples) * len(runs):
        raise SystemExit(f"{len(failed)} rows failed: {failed[:1]}")


def mixes() -> dict[str, list[int]]:
    """How many classes the images of a batch hold."""
    few = [20] * IMAGES
    return {
        "20 in each": few,
        "60 in one, 20 in the others": [*few[1:9], 60, *few[9:]],
        "60 in four, 20 in the others": [60, 20, 20, 20] * 4,
        "60 in each": [60] * IMAGES,
        "140 in one, 20 in the others": [*few[1:9], 140, *few[9:]],
        "all 150 in one, 20 in the others": [*few[1:9], 150, *few[9:]],
    }


def launches_line(what: str, classes: int, found: Launches) -> str:
    operations, uploads, waits = found.numbers
    return f"| {what} | {classes} | {operations} | {operations / IMAGES:.1f} | {uploads} | {waits} |"


def mix_line(what: str, own: Sequence[int], readers: Sequence[Any]) -> str:
    calls = list[int]()
    operations, _, waits = launches_of("diffusion", readers, 150, own=own, calls=calls, heads=HEADS).numbers
    asked = sum(PROMPTS[classes] for classes in own)
    a_row = f"{operations / asked:.1f}"
    shown = (what, asked, len(calls), sum(calls) - asked, operations, f"{operations / IMAGES:.1f}", a_row, waits)
    return f"| {' | '.join(map(str, shown))} |"


def main() -> None:
    of = partial(launches_of, "diffusion", heads=HEADS)
    print("# How often a card is asked\n")
    print("Output of `python -m perf.launches`; what is counted is described there. Batches of 16 images.\n")
    print("| what | classes | operations a batch | an image | copies to the card a batch | waits a batch |")
    print("|---|---|---|---|---|---|")
    for readers in (1, 2, 3):
        names = ", ".join(reader.refine for reader in diffusion_readers(readers))
        print(launches_line(f"Stable Diffusion: {names}", 20, of(diffusion_readers(readers), 20)))
    print(launches_line("the same three, 7 prompts an image", 150, of(diffusion_readers(3), 150)))
    in_calls = of(diffusion_readers(3), 150, IMAGES)
    print(launches_line("the same with `rows: 16`, an image's prompts in 7 calls", 150, in_calls))
    default = [StableSeg("shapes")]
    for classes in (20, 150):
        print(launches_line("StableSeg as it is by default", classes, of(default, classes)))
    for classes in (20, 150):
        print(launches_line("the same on a CPU", classes, launches_on_a_cpu(default, classes)))
    for classes in (20, 150):
        print(launches_line("six heads of CLIP", classes, launches_of("clip", clip_heads(), classes)))
    print("\n| StableSeg by default, each image offered those of 150 classes that it holds ", end="")
    print("| rows asked | UNet calls | rows of copies | operations a batch | an image | a row asked | waits a batch |")
    print("|---|---|---|---|---|---|---|---|")
    for what, own in mixes().items():
        print(mix_line(what, own, default))


if __name__ == "__main__":
    main()
