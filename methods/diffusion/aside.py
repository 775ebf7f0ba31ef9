"""Queries and keys that nobody reads for a while flow in; they lie in a file meanwhile, and flow out as they were.

An image whose classes take several prompts is refined by the self-attention of all of them, and what is refined is
known only when the last has gone through the network: in memory each would hold 50 MiB (Stable Diffusion 1, float32).
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from typing import Any, TypeAlias

import torch
from torch import Tensor

LARGE = 2**20  # bytes of a tensor that is worth a file


@dataclass(frozen=True, eq=False)
class Laid:
    """A tensor (rows, heads, positions, width) of a format that lies in a file from a byte on, row by row."""

    file: FileIO
    start: int
    shape: tuple[int, int, int, int]
    dtype: torch.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Laid:
        first, stop, _ = rows.indices(len(self))
        count = max(0, stop - first)
        return Laid(self.file, self.start + first * self._row, (count, *self.shape[1:]), self.dtype)

    def tensor(self) -> Tensor:
        """What was laid aside, in memory of its own."""
        rows, heads, positions, width = self.shape
        found = torch.empty(rows, positions, heads, width, dtype=self.dtype, device="cpu")
        left = _bytes(found)
        self.file.seek(self.start)
        while left:
            left = left[self.file.readinto(left) :]
        return found.transpose(1, 2)

    @property
    def _row(self) -> int:
        _, heads, positions, width = self.shape
        return heads * positions * width * self.dtype.itemsize


Piece: TypeAlias = "Tensor | Laid"


class TensorFile:
    """A file without a name, which is gone with the last of what lies in it."""

    def __init__(self) -> None:
        self._file: FileIO | None = None
        self._end = 0

    def put(self, tensor: Tensor) -> Piece:
        """A tensor (rows, heads, positions, width), laid aside; itself where it is small, or the disk does not take
        it: then it is memory that runs out, or does not."""
        if tensor.nbytes < LARGE:
            return tensor
        with suppress(OSError):
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open as long as anything lies in it
            rows, heads, positions, width = tensor.shape
            left = _bytes(tensor.transpose(1, 2).contiguous())
            self._file.seek(self._end)
            while left:
                left = left[self._file.write(left) :]
            found = Laid(self._file, self._end, (rows, heads, positions, width), tensor.dtype)
            self._end += tensor.nbytes
            return found
        return tensor


def in_memory(piece: Piece) -> Tensor:
    """The tensor, wherever it lies."""
    return piece.tensor() if isinstance(piece, Laid) else piece


def _bytes(tensor: Tensor) -> memoryview:
    """Those of a tensor in one piece, where they lie."""
    held: Any = tensor.view(torch.uint8).numpy().reshape(-1)
    return memoryview(held)
