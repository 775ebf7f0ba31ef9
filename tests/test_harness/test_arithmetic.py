"""Equal bits for any number of threads, on the shipped models."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

CODE = """
import sys
from harness.planning import plan as plans
from harness.grid import reading as grids
from harness.contracts import Recipe
from harness.work.worker import Worker
import torch
grid = grids.read("grid.yaml")
cells = [cell for cell in grid.cells if cell.method_name in ("StableSeg", "MaskCLIP")]
worker = Worker(threads=int(sys.argv[1]))
worker._prepare()
backbones, digests = {}, []
for cell in cells:
    from harness.recipes import loading
    from harness.contracts import Query, Vocabulary
    import numpy as np, hashlib
    method, world = loading.build(cell.method), loading.build(cell.benchmark)
    queries = [Query(i, world.load(i).image, Vocabulary((("circle",), ("star",), ("heart",)))) for i in world.ids()[:8]]
    for request, parts in method.passes().items():
        backbone = backbones.setdefault(request.backbone, loading.build(request.backbone))
        for found, features in backbone.run(queries, {request: parts}):
            scores = torch.stack([method.read({found: one}, query.vocabulary) for one, query in zip(features, queries)])
            digests.append(hashlib.sha256(scores.contiguous().numpy().tobytes()).hexdigest())
print(torch.get_num_threads(), *digests)
"""


def scores(threads: int) -> tuple[int, list[str]]:
    answer = subprocess.run(
        [sys.executable, "-c", CODE, str(threads)], cwd=ROOT, capture_output=True, text=True, timeout=250, check=False
    )
    assert answer.returncode == 0, answer.stderr
    count, *digests = answer.stdout.split()
    return int(count), digests


def test_scores_have_the_same_bits_on_one_thread_and_on_two() -> None:
    (one, alone), (two, shared) = scores(1), scores(2)
    assert (one, two) == (1, 2) and len(alone) == 11
    assert alone == shared
