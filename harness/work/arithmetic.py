"""A number of threads flows in; torch is set so that, on CPUs, the bits of its results do not depend on that number.

By default they do: oneDNN cuts convolutions, and MKL matrix products, differently for one thread and for two, and
scores differ by about 1e-6; sooner or later a pixel flips. MKL promises equal bits when told so before its first use
(conditional numerical reproducibility, strict); oneDNN does not, so torch's own convolutions take its place, which cost
the same. What they do depend on is the card, or the CPU: its kind is told too, and stands in every row and in no id.
On cards float32 means float32: by torch's default their convolutions round to 10 bits (TF32), products of matrices do
not; here neither does, unless a plug-in's own setting says so.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from harness.errors import bounded

_LONGEST = 100  # letters of a kind of card


def prepare_environment(threads: int | None) -> None:
    """What has to stand in the environment before torch is imported."""
    os.environ.setdefault("MKL_CBWR", "AVX512,STRICT" if _has_avx512() else "AVX2,STRICT")
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def prepare_torch(threads: int | None) -> None:
    """What has to be said to torch before the first computation."""
    import torch

    torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]
    _float32_means_float32()
    if threads:
        torch.set_num_threads(threads)


def _float32_means_float32() -> None:
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


@contextmanager
def as_in_a_worker() -> Iterator[None]:
    """Meanwhile torch computes as in a worker, in a process that is somebody else's."""
    prepare_environment(None)
    import torch

    on_cards = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    before = torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]
    _float32_means_float32()
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(*before)  # type: ignore[no-untyped-call]
        torch.backends.cudnn.allow_tf32 = on_cards[0]
        torch.set_float32_matmul_precision(on_cards[1])


@cache
def kind_of_card() -> str:
    """As its maker calls it: `NVIDIA H100 80GB HBM3`, or `Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz`.

    Empty where it does not say.
    """
    import torch

    if torch.cuda.is_available():
        try:
            return bounded(torch.cuda.get_device_name(torch.cuda.current_device()), _LONGEST)
        except (RuntimeError, AssertionError):  # a broken one has no name, and is told of by what fails on it
            return ""
    found = re.search(r"^model name\s*:\s*(.+)$", _of_cpus(), re.MULTILINE)
    return bounded(found[1] if found else platform.processor() or platform.machine(), _LONGEST)


def _has_avx512() -> bool:
    return "avx512f" in _of_cpus()


def _of_cpus() -> str:
    """What the system says of them; empty where it says nothing."""
    try:
        return Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ""
