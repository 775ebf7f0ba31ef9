"""Samples of a benchmark and its classes go in; one sheet comes out, each image above its truth, as PNG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow

from harness.contracts import WIDE_IGNORED, Sample, widened
from results.pictures.colours import colour, hatch, over, paint_labels
from results.pictures.sheet import PANEL, Figure, to_png

_PAPER = (255, 255, 255)
_TALLEST = 2 * PANEL


def sheet_of_samples(samples: Sequence[Sample], classes: Sequence[str]) -> bytes:
    """Images by id, below each its truth laid over it, hatched where nothing is scored, and what the colours mean."""
    columns = [(_panel(sample), _panel(sample, with_truth=True)) for sample in samples]
    height = max(photo.height for photo, _ in columns)
    panels = tuple(tuple(_on_paper(column[row], height) for column in columns) for row in (0, 1))
    seen = sorted({number for sample in samples for number in np.unique(widened(sample.truth)).tolist()})
    names = ("background", *classes)
    legend = tuple((names[number], colour(number)) for number in seen if number != WIDE_IGNORED)
    return to_png(Figure(tuple(sample.image_id for sample in samples), panels, legend))


def _panel(sample: Sample, with_truth: bool = False) -> Pillow.Image:
    """The image, or its truth over it, as wide as a panel or narrower."""
    height, width, _ = sample.image.shape
    scale = min(PANEL / width, _TALLEST / height)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    photo = Pillow.fromarray(sample.image).resize(size, Pillow.Resampling.LANCZOS)
    if not with_truth:
        return photo
    truth = widened(sample.truth)
    return over(over(photo, paint_labels(truth, background=True)), hatch(truth == WIDE_IGNORED))


def _on_paper(panel: Pillow.Image, height: int) -> Pillow.Image:
    paper = Pillow.new("RGB", (PANEL, height), _PAPER)
    paper.paste(panel)
    return paper
