"""A model and settings flow in; the `batch` that a grid for the card of this machine should fix flows out.

Batches of 1, 2, 4 ... go from images to scores until memory runs out, or until a larger one is no faster.

    python -m perf.propose_batch [--model MODEL] [--dtype bfloat16] [--card channels_last] [--refine sar]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from methods.diffusion import DiffusionSettings
from methods.diffusion.network import Network
from perf.gpu import as_prepared
from perf.gpu_bench import BATCHES, Asked, CardBench, proposed, rate_of


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--card", default="")
    parser.add_argument("--refine", default="sar")
    parser.add_argument("--most", type=int, default=BATCHES[-1], help="the largest batch that is tried")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rates: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder, as_prepared():
        bench = CardBench(Path(folder), "real", device, 1.0 if device == "cuda" else 0.0)
        network = Network.open(DiffusionSettings(options.model, dtype=options.dtype, card=options.card))

        def call(batch: int) -> Callable[[], object]:
            return Asked(network, batch, (options.refine,)).whole

        for batch in [batch for batch in BATCHES if batch <= options.most]:
            cell = bench.cell(partial(call, batch), batch)
            print(f"batch {batch}: {cell}", flush=True)
            rates[batch] = rate_of(cell)
            if not rates[batch]:
                break
    if not any(rates.values()):
        raise SystemExit("No batch could be measured: the line above says why, and nothing is proposed.")
    print(f"Write `batch: {proposed(rates)}` into the grid.")


if __name__ == "__main__":
    main()
