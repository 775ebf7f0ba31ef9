"""A number of threads flows in; torch is set so that, on CPUs, the bits of its results do not depend on that number.

By default they do: oneDNN cuts convolutions, and MKL matrix products, differently for one thread and for two, and
scores differ by about 1e-6; sooner or later a pixel flips. MKL promises equal bits when told so before its first use
(conditional numerical reproducibility, strict); oneDNN does not, so torch's own convolutions take its place, which cost
the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def prepare_environment(threads: int | None) -> None:
    """What has to stand in the environment before torch is imported."""
    os.environ.setdefault("MKL_CBWR", "AVX512,STRICT" if _has_avx512() else "AVX2,STRICT")
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def prepare_torch(threads: int | None) -> None:
    """What has to be said to torch before the first computation."""
    import torch

    torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]
    if threads:
        torch.set_num_threads(threads)


@contextmanager
def as_in_a_worker() -> Iterator[None]:
    """Meanwhile torch computes as in a worker, in a process that is somebody else's."""
    prepare_environment(None)
    import torch

    before = torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(*before)  # type: ignore[no-untyped-call]


def _has_avx512() -> bool:
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False
