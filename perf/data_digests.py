"""What knowing the data costs: a digest an image beside its decoding, and a plan's look at the files of 50,000 images.

`python perf/data_digests.py [IMAGES]`: processor time of this process, nothing is kept.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.shapes import Shapes
from harness.contracts import Origin, Recipe, Sample
from harness.foreign.opened import mark_of
from harness.planning.data_now import DataNow
from harness.recipes.origins import DataSource, sample_digest
from results.folder import origins


class Many:
    """Two empty files an image."""

    classes = ("one",)

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def ids(self) -> list[str]:
        return sorted(path.name for path in (self.root / "images").iterdir())

    def files(self, image_id: str) -> tuple[Path, Path]:
        return self.root / "images" / image_id, self.root / "masks" / image_id

    def load(self, image_id: str) -> Sample:
        raise NotImplementedError(image_id)


def seconds(work: Callable[[], object], times: int = 1) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def decoding() -> None:
    rng = np.random.default_rng(0)
    for height, width in ((375, 500), (512, 683), (1024, 2048)):
        small = Image.fromarray(rng.integers(0, 255, (height // 8, width // 8, 3)).astype(np.uint8))
        file = io.BytesIO()
        small.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
        sample = Sample("a", np.asarray(Image.open(file).convert("RGB")), np.zeros((height, width), np.uint8))
        spent = seconds(lambda file=file: np.asarray(Image.open(file).convert("RGB")), 20)  # type: ignore[misc]
        told = seconds(lambda sample=sample: sample_digest(sample), 20)  # type: ignore[misc]
        print(f"{height} x {width}: JPEG {1e3 * spent:.2f} ms, digest {1e3 * told:.2f} ms")
    world = Shapes(images=50)
    samples = [world.load(image_id) for image_id in world.ids()]
    drawn = seconds(lambda: [world.load(image_id) for image_id in world.ids()]) / 50
    told = seconds(lambda: [sample_digest(sample) for sample in samples]) / 50
    print(f"Shapes: drawing {1e3 * drawn:.2f} ms, digest {1e3 * told:.2f} ms")


def looking(images: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        ids = [f"{number:06d}" for number in range(images)]
        for folder in ("images", "masks"):
            Path(root, folder).mkdir()
            for image_id in ids:
                Path(root, folder, image_id).touch()
        source = DataSource(Recipe.of("data_digests:Many", root=root))
        named = {image_id: source.named(image_id) or () for image_id in ids}
        known = [Origin(i, "0" * 32, tuple(map(mark_of, paths)), "pillow 11.0.0") for i, paths in named.items()]
        origins.remember(Path(root), "many", known)
        recalled = origins.recall(Path(root), "many")
        data, stored = DataNow(source, 1, "many", recalled, print), dict.fromkeys(ids, "0" * 32)
        print(
            f"{images} images: reading what is remembered {seconds(lambda: origins.recall(Path(root), 'many')):.2f} s"
        )
        print(f"{images} images: looking at two files each {seconds(lambda: data.changed(stored)):.2f} s")  # type: ignore[arg-type]


if __name__ == "__main__":
    decoding()
    looking(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
