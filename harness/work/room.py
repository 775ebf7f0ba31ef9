"""An error and a batch's size flow in; where memory ran out, a sentence with the batch to write flows out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from harness.contracts import MethodError

T = TypeVar("T")

# by torch, on GPUs and on CPUs, and by the libraries of a GPU that want memory of their own
_SAID = ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, a GPU's or the machine's."""
    on_gpu = getattr(sys.modules.get("torch"), "OutOfMemoryError", MemoryError)
    said = str(error).lower()
    told = isinstance(error, RuntimeError) and any(words in said for words in _SAID)
    return told or isinstance(error, MemoryError | on_gpu)


def asked_with_room(places: int, ask: Callable[[], T]) -> T:
    """What is asked about an image of a batch. Where memory ran out, an error of `too_large`."""
    try:
        return ask()
    except Exception as error:
        if out_of_memory(error):
            raise too_large(error, places) from error
        raise


def too_large(error: Exception, places: int) -> Exception:
    """What the rows of a batch say: a smaller one would be another shape, so it has to be written into the grid."""
    cure = f"write `batch: {places // 2}` into the grid" if places > 1 else "it cannot be smaller: take smaller images"
    return MethodError(f"memory ran out on a batch of {places} ({type(error).__name__}); {cure}")
