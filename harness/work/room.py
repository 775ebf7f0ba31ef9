"""An error and a batch's size flow in; where memory ran out, a sentence with the batch to write flows out."""

from __future__ import annotations

import sys

from harness.contracts import MethodError

_SAID = ("out of memory", "can't allocate memory", "not enough memory")  # by torch, on GPUs and on CPUs


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, a GPU's or the machine's."""
    on_gpu = getattr(sys.modules.get("torch"), "OutOfMemoryError", MemoryError)
    said = str(error).lower()
    told = isinstance(error, RuntimeError) and any(words in said for words in _SAID)
    return told or isinstance(error, MemoryError | on_gpu)


def too_large(error: Exception, places: int) -> Exception:
    """What the rows of a batch say: a smaller one would be another shape, so it has to be written into the grid."""
    cure = f"write `batch: {places // 2}` into the grid" if places > 1 else "it cannot be smaller: take smaller images"
    return MethodError(f"memory ran out on a batch of {places} ({type(error).__name__}); {cure}")
