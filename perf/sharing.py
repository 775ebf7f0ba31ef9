"""A grid -> does sharing cost anything? The harness against a bare loop over the same passes, readers and images.

Both sides run in one process, one after the other and alternating, with the networks open before the clock starts. The
bare loop is what a careful person would write: per batch of images the backbone's passes once, every reader on them,
the decision at the truth's size and a confusion matrix; no rows, no protocol checks, no store. Learners are left out.
A third side is the harness on a private Ray with one actor that has as many threads, once that is open and warm: what
scheduling, and rows that travel, cost.

    python -m perf.sharing [grid.yaml] [--rounds 3] [--write]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from harness.contracts import Query, Reader, Recipe, Vocabulary
from harness.executors.cluster import RayExecutor
from harness.executors.seam import Executor, LocalExecutor
from harness.grid import reading as grids
from harness.planning import plan as plans
from harness.planning.plan import Plan
from harness.recipes import loading
from perf import machine
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
    parser.add_argument("--write", action="store_true", help="leave perf/results/sharing.md")
    options = parser.parse_args()
    grid = grids.read_grid(options.grid)
    cells = [cell for cell in grid.cells if cell.teacher is None]
    plan = plans.make(grid.name, cells, grid.batch)
    warm = plans.make(grid.name, cells, grid.batch, limit=grid.batch)
    bare, worker = BareLoop(plan), Recipe.of("harness.work.worker:ShardWorker", folder=grid.folder)
    threads = torch.get_num_threads()
    on_ray = RayExecutor(worker, workers=1, threads=threads, gpus_per_worker=0)
    executors: dict[str, Executor] = {"harness": LocalExecutor(worker), "on Ray": on_ray}
    image_ids = plan.runs[0].image_ids
    with closing(on_ray):
        for executor in executors.values():
            list(executor.run(warm.shards()))
        bare.run(image_ids[: grid.batch])
        rounds = []
        for _ in range(options.rounds):
            taken = {"bare loop": sweep_seconds(lambda: bare.run(image_ids))}
            taken |= {name: sweep_seconds(partial(all_rows, one, plan)) for name, one in executors.items()}
            print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in taken.items()), flush=True)
            rounds.append(taken)
    lines = table_of(rounds)
    print("\n".join(lines))
    about = f"{len(plan.runs)} runs on {len(image_ids)} images, {threads} threads, batches of {grid.batch}"
    if options.write:
        machine.write("sharing", "Does sharing cost anything?", [f"`python -m perf.sharing`: {about}.", "", *lines])


def all_rows(executor: Executor, plan: Plan) -> None:
    """All rows of the plan, computed and stored."""
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder)).writer() as writer:
        for done in executor.run(plan.shards()):
            writer.append(done.rows)


def table_of(rounds: Sequence[Mapping[str, float]]) -> list[str]:
    """A table of all rounds, with the median ratio to the bare loop."""
    base, *others = rounds[0]
    lines = [f"| round | {' | '.join(rounds[0])} | {' | '.join(f'{one} / {base}' for one in others)} |"]
    lines.append("|---" * (1 + len(rounds[0]) + len(others)) + "|")
    for number, taken in enumerate(rounds, 1):
        ratios = [f"{taken[one] / taken[base]:.3f}" for one in others]
        seconds = [f"{one:.2f} s" for one in taken.values()]
        lines.append(f"| {' | '.join([str(number), *seconds, *ratios])} |")
    medians = {one: statistics.median(taken[one] / taken[base] for taken in rounds) for one in others}
    return [*lines, "", *(f"{one}: {ratio:.3f} of the bare loop (median)." for one, ratio in medians.items())]


if __name__ == "__main__":
    main()
