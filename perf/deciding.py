"""Random scores flow in; a page flows out: what deciding and counting an image costs beside the plain way of doing it.

The plain way enlarges slices of classes by torch's `interpolate`, asks `max` for the best, and counts pairs on the map
of numbers. Both take the same scores (20 classes at 1/16 and 1/8 of the image, and at its size), by turns in one
process; the least processor time of several rounds counts. Pixels that differ are told: both round in float32. Memory
is the peak over what the process held before, of 847 classes at 1024 x 2048, in a process of its own.

    python -m perf.deciding [--rounds 5] [--threads 1] > perf/deciding.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.contracts import ProtocolSettings, WideTruth
from harness.protocol.offering import Offer, offer

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, int]
SLICE = 2**24  # numbers that the plain way enlarges at once
WIDE = 847
RULES = {
    "background ignored": ProtocolSettings("all"),
    "a threshold on scaled scores": ProtocolSettings("all", "constant"),
    "a threshold after the softmax": ProtocolSettings("all", "constant", scale="softmax", logit_scale=10.0),
}
CASES: Sequence[tuple[str, int, Size, Size]] = (  # classes, rows and columns of the scores, height and width
    ("Cityscapes' size", 20, (64, 128), (1024, 2048)),
    ("Cityscapes' size", 20, (128, 256), (1024, 2048)),
    ("Cityscapes' size", 20, (1024, 2048), (1024, 2048)),
    ("VOC's size", 20, (64, 64), (375, 500)),
    ("VOC's size", 3, (64, 64), (375, 500)),
    ("ADE20K's size", 150, (32, 42), (512, 683)),
)


def plain_positions(scores: Tensor, size: Size, rules: ProtocolSettings) -> Tensor:
    """The position of every pixel, int64, -2 for the background; scores (positions, rows, columns) of any float."""
    import torch
    from torch.nn.functional import interpolate

    from harness.protocol.rules import scale_of

    scale = scale_of(rules)
    if scale == "minmax":
        low, high = scores.amin((1, 2), keepdim=True), scores.amax((1, 2), keepdim=True)
        scores = (scores - low) / (high - low)
    best = torch.full(size, -torch.inf, dtype=scores.dtype)
    where, total = torch.zeros(size, dtype=torch.int64), best.clone()
    step = max(1, SLICE // (size[0] * size[1]))
    for start in range(0, len(scores), step):
        part = interpolate(scores[None, start : start + step], size=size, mode="bilinear", align_corners=False)[0]
        total = torch.logaddexp(total, (rules.logit_scale * part).logsumexp(dim=0)) if scale == "softmax" else total
        top, index = part.max(dim=0)
        better = top > best
        best, where = torch.where(better, top, best), torch.where(better, index + start, where)
    if scale == "softmax":
        best = (rules.logit_scale * best - total).exp()
    return torch.where(best < rules.threshold, -2, where) if rules.background == "constant" else where


def plain_counts(scores: Tensor, truth: WideTruth, offered: Offer, rules: ProtocolSettings) -> Any:
    """The overlaps of an image, the plain way."""
    from harness.protocol.decision import numbered
    from harness.protocol.offering import scored_truth
    from harness.work.scoring import overlaps

    height, width = truth.shape
    predicted = numbered(plain_positions(scores, (height, width), rules).numpy(), offered, rules)
    return overlaps(scored_truth(truth, rules), predicted)


def counts(scores: Tensor, truth: WideTruth, offered: Offer, rules: ProtocolSettings) -> Any:
    """The same, as a worker does it."""
    from harness.protocol.decision import decided_positions
    from harness.protocol.views import Cut, Window
    from harness.work.scoring import TruthThere

    height, width = truth.shape
    cut = Cut((height, width), (Window(0, 0, height, width),))
    there = TruthThere(truth)
    positions = decided_positions([scores], cut, offered, (height, width), rules)
    table = there.table(positions, len(offered.numbers))
    assert table is not None
    return there.overlaps(table.numpy(), offered, rules)


def world(classes: int, shape: Size, size: Size, rules: ProtocolSettings) -> tuple[Tensor, WideTruth, Offer]:
    """Scores and a truth that nothing is known of."""
    import torch

    rng = np.random.default_rng(classes)
    scores = torch.from_numpy(rng.standard_normal((classes, *shape), np.float32))
    truth = rng.integers(0, classes + 1, (-(-size[0] // 16), -(-size[1] // 16))).astype(np.uint16)
    names = tuple((f"c{number}",) for number in range(classes))
    fine = truth.repeat(16, 0).repeat(16, 1)[: size[0], : size[1]]
    return scores, np.ascontiguousarray(fine), offer(range(1, classes + 1), names, rules)


def by_turns(works: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """The least processor time of each, in milliseconds."""
    least = [np.inf] * len(works)
    for _ in range(rounds):
        for number, work in enumerate(works):
            started = time.process_time()
            work()
            least[number] = min(least[number], 1000 * (time.process_time() - started))
    return least


def decided_otherwise(scores: Tensor, size: Size, offered: Offer, rules: ProtocolSettings) -> int:
    """How many pixels are decided otherwise than the plain way."""
    from harness.protocol.decision import decided_positions
    from harness.protocol.views import Cut, Window

    found = decided_positions([scores], Cut(size, (Window(0, 0, *size),)), offered, size, rules)
    return int((found != plain_positions(scores, size, rules)).sum())


def line(case: tuple[str, int, Size, Size], words: str, rounds: int) -> str:
    """One row of the table."""
    name, classes, shape, size = case
    rules = RULES[words]
    scores, truth, offered = world(classes, shape, size, rules)
    given = scores, truth, offered, rules
    before, now = by_turns([lambda: plain_counts(*given), lambda: counts(*given)], rounds)
    other = decided_otherwise(scores, size, offered, rules)
    place = f"{name}: {classes} classes, {shape[0]} x {shape[1]} to {size[0]} x {size[1]}"
    return f"| {place} | {words} | {before:.1f} | {now:.1f} | {before / now:.1f} | {other:,} of {size[0] * size[1]:,} |"


def peak(classes: int) -> float:
    """MiB that deciding and counting takes over what was there, by a child that does nothing else."""
    command = [sys.executable, "-m", "perf.deciding", "--peak", str(classes)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return float(json.loads(answer.stdout))


def measured_peak(classes: int) -> float:
    given = world(classes, (64, 128), (1024, 2048), RULES["background ignored"])
    small = world(3, (8, 8), (40, 50), RULES["background ignored"])
    counts(*small, RULES["background ignored"])
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the mark goes down to what is held now
    before = _memory("VmRSS")
    counts(*given, RULES["background ignored"])
    return _memory("VmHWM") - before


def _memory(name: str) -> float:
    """MiB, as Linux tells of this process."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    from harness.work import arithmetic

    arithmetic.prepare_environment(options.threads)
    arithmetic.prepare_torch(options.threads)
    if options.peak:
        print(json.dumps(measured_peak(options.peak)))
        return
    import torch

    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {options.threads} thread(s)"
    print(f"# Deciding and counting an image\n\n{date.today()}, {machine}, least of {options.rounds} rounds.\n")
    print("| scores | rule | the plain way, ms | now, ms | times | pixels decided otherwise |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        for words in RULES if case is CASES[0] else ("background ignored",):
            print(line(case, words, options.rounds), flush=True)
    print(f"\n{WIDE} classes at 1024 x 2048 take {peak(WIDE):.0f} MiB over what was there, 20 take {peak(20):.0f} MiB.")


if __name__ == "__main__":
    main()
