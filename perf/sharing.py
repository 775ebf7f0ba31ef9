"""A grid -> does sharing cost anything? The harness against a bare loop over the same passes, readers and images.

Both sides run in one process, one after the other and alternating, with the networks open before the clock starts. The
bare loop is what a careful person would write: per batch of images the backbone's passes once, every reader on them,
the decision at the truth's size and a confusion matrix; no rows, no protocol checks, no store. Learners are left out.

    python -m perf.sharing [grid.yaml] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from harness.contracts import Query, Reader, Recipe, Vocabulary
from harness.executors.seam import LocalExecutor
from harness.grid import reading as grids
from harness.planning import plan as plans
from harness.planning.plan import Plan
from harness.recipes import loading
from results.folder.store import Store


class BareLoop:
    """The grid without the harness: objects are built from the same recipes, everything else is written out."""

    def __init__(self, plan: Plan) -> None:
        self.batch = plan.batch
        self.benchmark = loading.build(plan.runs[0].run.benchmark)
        self.methods = [loading.build(planned.run.method) for planned in plan.runs]
        recipes = {request.backbone for planned in plan.runs for request in planned.passes}
        self.backbones = {recipe: loading.build(recipe) for recipe in recipes}

    def run(self, image_ids: tuple[str, ...]) -> None:
        matrices = np.zeros((len(self.methods), 11, 11), np.int64)
        for start in range(0, len(image_ids), self.batch):
            self._batch(image_ids[start : start + self.batch], matrices)

    def _batch(self, image_ids: tuple[str, ...], matrices: np.ndarray) -> None:
        samples = [self.benchmark.load(image_id) for image_id in image_ids]
        present = [[k for k in np.unique(sample.truth).tolist() if 0 < k < 255] for sample in samples]
        names = self.benchmark.classes
        vocabularies = [
            Vocabulary(tuple((names[k - 1],) for k in one), tuple((n,) for n in names if names.index(n) + 1 not in one))
            for one in present
        ]
        queries = [Query(s.image_id, s.image, v) for s, v in zip(samples, vocabularies, strict=True)]
        features = {}
        for recipe, backbone in self.backbones.items():
            requests: dict = {}
            for method in self.methods:
                for request, parts in method.passes().items() if isinstance(method, Reader) else ():
                    if request.backbone == recipe:
                        requests[request] = requests.get(request, frozenset()) | parts
            features.update(backbone.run(queries, requests))
        for number, method in enumerate(self.methods):
            for place, query in enumerate(queries):
                if isinstance(method, Reader):
                    mine = {request: features[request][place] for request in method.passes()}
                    answer = method.read(mine, query.vocabulary)
                else:
                    answer = method.segment(query.image, query.vocabulary)
                self._count(matrices[number], answer, samples[place].truth, np.array(present[place]))

    @staticmethod
    def _count(matrix: np.ndarray, answer: object, truth: np.ndarray, numbers: np.ndarray) -> None:
        if getattr(answer, "ndim", 0) == 3:
            scores = torch.as_tensor(answer)[None].float()
            answer = interpolate(scores, size=truth.shape, mode="bilinear", align_corners=False)[0].argmax(0).numpy()
        predicted, scored = numbers[np.asarray(answer)], (truth > 0) & (truth < 255)
        matrix += np.bincount(truth[scored].astype(np.int64) * 11 + predicted[scored], minlength=121).reshape(11, 11)


def sweep_seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", nargs="?", default="grid.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    grid = grids.read_grid(options.grid)
    cells = [cell for cell in grid.cells if cell.teacher is None]
    plan = plans.make(grid.name, cells, grid.batch)
    warm = plans.make(grid.name, cells, grid.batch, limit=grid.batch)
    bare, executor = BareLoop(plan), LocalExecutor(Recipe.of("harness.work.worker:ShardWorker", folder=grid.folder))
    image_ids = plan.runs[0].image_ids

    def harness() -> None:
        with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder)).writer() as writer:
            for done in executor.run(plan.shards()):
                writer.append(done.rows)

    list(executor.run(warm.shards()))
    bare.run(image_ids[: grid.batch])
    ours, theirs = [], []
    for _ in range(options.rounds):
        theirs.append(sweep_seconds(lambda: bare.run(image_ids)))
        ours.append(sweep_seconds(harness))
        print(f"bare loop {theirs[-1]:.2f} s, harness {ours[-1]:.2f} s, ratio {ours[-1] / theirs[-1]:.3f}", flush=True)
    ratio = statistics.median(ours) / statistics.median(theirs)
    about = f"{len(plan.runs)} runs on {len(image_ids)} images, {torch.get_num_threads()} threads"
    print(f"{about}: median ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
