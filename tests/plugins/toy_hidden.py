"""Benchmarks whose files are opened where nobody sees it: once a process, by another library, by another process."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from toy_folder import CLASSES, picture, truth_of

from harness.contracts import Sample

SHAPE = (8, 12)
IDS = [f"{number:03d}" for number in range(4)]


def write(root: Path, seed: int) -> None:
    """Truths of a seed, in every form."""
    root.mkdir(exist_ok=True)
    truths = {name: truth_of(int(name), seed) for name in IDS}
    (root / "t.json").write_text(json.dumps({name: truth.tolist() for name, truth in truths.items()}))
    (root / "t.sqlite").unlink(missing_ok=True)
    with sqlite3.connect(root / "t.sqlite") as base:
        base.execute("create table truths(id text, truth blob)")
        base.executemany("insert into truths values(?, ?)", [(name, one.tobytes()) for name, one in truths.items()])
    base.close()
    pl.DataFrame({"id": IDS, "truth": [one.tobytes() for one in truths.values()]}).write_parquet(root / "t.parquet")
    for name, truth in truths.items():
        (root / f"{name}.raw").write_bytes(truth.tobytes())


@cache
def table(path: str) -> Any:
    """A list of truths, read once a process."""
    return json.loads(Path(path).read_text())


@dataclass(frozen=True)
class Hiding:
    """The images are made, the truths read."""

    root: str
    version: ClassVar[int] = 1
    places: ClassVar[tuple[str, ...]] = ("root",)

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def ids(self) -> Sequence[str]:
        return IDS

    def load(self, image_id: str) -> Sample:
        return Sample(image_id, picture(truth_of(int(image_id))), self.truth(image_id))

    def truth(self, image_id: str) -> NDArray[np.uint8]:
        raise NotImplementedError


@dataclass(frozen=True)
class Listing(Hiding):
    def ids(self) -> Sequence[str]:
        return sorted(table(str(Path(self.root, "t.json"))))

    def truth(self, image_id: str) -> NDArray[np.uint8]:
        return np.array(table(str(Path(self.root, "t.json")))[image_id], np.uint8)


@dataclass(frozen=True)
class Database(Hiding):
    def truth(self, image_id: str) -> NDArray[np.uint8]:
        base = sqlite3.connect(f"file:{self.root}/t.sqlite?mode=ro", uri=True)
        (held,) = base.execute("select truth from truths where id = ?", (image_id,)).fetchone()
        base.close()
        return np.frombuffer(held, np.uint8).reshape(SHAPE)


@dataclass(frozen=True)
class InOneFile(Hiding):
    """`root` is a file that a library in another language opens."""

    def truth(self, image_id: str) -> NDArray[np.uint8]:
        held = pl.read_parquet(self.root).filter(pl.col("id") == image_id)["truth"][0]
        return np.frombuffer(held, np.uint8).reshape(SHAPE)


@dataclass(frozen=True)
class Child(Hiding):
    """Another process opens the files."""

    def truth(self, image_id: str) -> NDArray[np.uint8]:
        code = f"import sys; sys.stdout.buffer.write(open({str(Path(self.root, image_id))!r} + '.raw', 'rb').read())"
        held = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, check=True).stdout
        return np.frombuffer(held, np.uint8).reshape(SHAPE)


@dataclass(frozen=True)
class Printed(Child):
    """As Child, and it says what stands for its files."""

    def fingerprint(self) -> str:
        return Path(self.root, "t.json").read_text()


@dataclass(frozen=True)
class OneText(Hiding):
    """Forgets the brackets."""

    def files(self, image_id: str) -> str:
        return str(Path(self.root, f"{image_id}.raw"))

    def truth(self, image_id: str) -> NDArray[np.uint8]:
        return np.fromfile(Path(self.root, f"{image_id}.raw"), np.uint8).reshape(SHAPE)
