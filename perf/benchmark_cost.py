"""Nothing flows in; a table flows out: processor time per image for reading and for scoring it, by size and classes.

Scoring is measured side by side with torchmetrics and scikit-learn on the same label maps, one thread each, in turns,
and the confusion matrices are compared before a time is printed. Processor time, not time on the clock, so that other
work on the machine hardly counts. Run: `python -m perf.benchmark_cost [--repeats 7]`.
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
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix
from torchmetrics.classification import MulticlassConfusionMatrix

from benchmarks.ade20k import ADE20K
from benchmarks.cityscapes import Cityscapes
from benchmarks.dataset import DataSet
from benchmarks.pascal_context import PascalContext
from harness.contracts import IGNORED, WideTruth, widened
from harness.work.scoring import overlaps

SIZES = ((512, 683), (1024, 2048))  # (height, width)
CLASSES = (19, 59, 150)
BLOCK = 24  # labels come in blocks of this side, as in real masks
IGNORED_SHARE = 0.05
Matrix = NDArray[np.int64]


def draw_labels(rng: np.random.Generator, shape: tuple[int, int], values: range) -> NDArray[np.uint8]:
    """Blocks of random labels (height, width)."""
    rows, columns = (-(-side // BLOCK) for side in shape)
    blocks = rng.integers(values.start, values.stop, (rows, columns), dtype=np.uint8)
    return np.ascontiguousarray(np.repeat(np.repeat(blocks, BLOCK, 0), BLOCK, 1)[: shape[0], : shape[1]])


def draw_picture(rng: np.random.Generator, shape: tuple[int, int]) -> Image.Image:
    """Soft shapes with some grain, so that JPEG and PNG have about the work of a photograph."""
    coarse = Image.fromarray(rng.integers(0, 256, (shape[0] // 32, shape[1] // 32, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray(np.clip(soft + rng.integers(-6, 7, soft.shape), 0, 255).astype(np.uint8))


def write_sample(root: Path, rng: np.random.Generator, shape: tuple[int, int], classes: int) -> DataSet:
    """One image with its mask, in the layout of the data set that has so many classes."""
    if classes == 19:
        key = "aachen/aachen_000000_000000"
        image, mask = root / f"leftImg8bit/val/{key}_leftImg8bit.png", root / f"gtFine/val/{key}_gtFine_labelIds.png"
        benchmark: DataSet = Cityscapes(root=str(root))
    elif classes == 59:
        image, mask = root / "JPEGImages/a.jpg", root / "SegmentationClassContext/a.png"
        (root / "pascalcontext_val.txt").write_text("a\n")
        benchmark = PascalContext(root=str(root), layout="png", label_order="alphabetical", label_offset=1)
    else:
        image, mask = root / "images/validation/a.jpg", root / "annotations/validation/a.png"
        benchmark = ADE20K(root=str(root))
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    draw_picture(rng, shape).save(image, **({"quality": 92} if image.suffix == ".jpg" else {}))
    Image.fromarray(draw_labels(rng, shape, range(34 if classes == 19 else classes + 1))).save(mask)
    return benchmark


def ours(truth: WideTruth, predicted: WideTruth, classes: int) -> Matrix:
    """The harness's counts, as it stores them, spread out into a matrix (outside the measured part)."""
    true, given, pixels = overlaps(truth, predicted)
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    matrix[true, given] = pixels
    return matrix[1:, 1:]


def pairs_of(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int
) -> dict[str, tuple[Callable[[], object], Callable[[], Matrix]]]:
    """Per package: the call that is measured, and its matrix (classes, classes), rows = truth, for the comparison."""
    # all get the types they take without a copy: conversion is not measured
    tensor_truth, tensor_predicted = (torch.from_numpy(labels.astype(np.int64)) for labels in (truth, predicted))
    tensor_truth = torch.where(tensor_truth == IGNORED, -1, tensor_truth - 1)
    tensor_predicted = tensor_predicted - 1
    checked, unchecked = (
        MulticlassConfusionMatrix(classes, ignore_index=-1, validate_args=checks) for checks in (True, False)
    )
    wide = widened(truth), widened(predicted)
    array_truth, array_predicted = tensor_truth.numpy(), tensor_predicted.numpy()

    def by_sklearn() -> Matrix:
        scored = array_truth >= 0  # it has no ignored label; counted from 0, it takes its fast path
        return confusion_matrix(array_truth[scored], array_predicted[scored], labels=np.arange(classes))

    def by_torchmetrics(metric: MulticlassConfusionMatrix) -> Callable[[], Matrix]:
        def count() -> Matrix:
            metric.reset()
            metric.update(tensor_predicted, tensor_truth)
            return metric.compute().numpy()

        return count

    return {
        "ours": (lambda: overlaps(*wide), lambda: ours(*wide, classes)),
        "torchmetrics": (lambda: checked.update(tensor_predicted, tensor_truth), by_torchmetrics(checked)),
        "torchmetrics, unchecked": (
            lambda: unchecked.update(tensor_predicted, tensor_truth),
            by_torchmetrics(unchecked),
        ),
        "scikit-learn": (by_sklearn, by_sklearn),
    }


def measure(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median milliseconds of processor time per call; the calls take turns, so that a disturbance hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.process_time()
            call()
            seconds[name].append(time.process_time() - started)
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def reader_row(rng: np.random.Generator, shape: tuple[int, int], classes: int, repeats: int) -> str:
    """One line of the table, after the matrices were found equal."""
    truth, predicted = (draw_labels(rng, shape, range(1, classes + 1)) for _ in range(2))
    truth[rng.random(shape) < IGNORED_SHARE] = IGNORED
    packages = pairs_of(truth, predicted, classes)
    matrices = [matrix() for _, matrix in packages.values()]
    if not all(np.array_equal(matrices[0], other) for other in matrices):
        raise AssertionError(f"the packages count differently at {shape} and {classes} classes")
    with tempfile.TemporaryDirectory() as folder:
        benchmark = write_sample(Path(folder), rng, shape, classes)
        image_id = benchmark.ids()[0]
        reading = measure({"reading": lambda: benchmark.load(image_id)}, repeats)
    times = reading | measure({name: call for name, (call, _) in packages.items()}, repeats)
    cells = [f"{shape[0]} x {shape[1]}", str(classes), *(f"{value:.1f}" for value in times.values())]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    print("| height x width | classes | reading | ours | torchmetrics | torchmetrics, unchecked | scikit-learn |")
    print("|---|---|---|---|---|---|---|")
    for shape in SIZES:
        for classes in CLASSES:
            print(reader_row(rng, shape, classes, repeats), flush=True)


if __name__ == "__main__":
    main()
