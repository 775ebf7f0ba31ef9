"""A tensor of the CPU and a device flow in; the tensor there flows out, and nobody waits for what the device has to do.

A plain `to` waits on CUDA until all that was asked before is done, since memory that may be swapped out cannot be
copied later. From pinned memory it can: torch keeps that until the copy is over, and takes it again for the next.
"""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def sent(tensor: T, device: Any) -> T:
    """The tensor on a device (a torch.device, or its name); itself if it is there. Nobody may write to it after."""
    own: Any = tensor
    if own.device.type == "cpu" and str(device).partition(":")[0] == "cuda":
        own = own.pin_memory().to(device, non_blocking=True)
    else:
        own = own.to(device)
    there: T = own
    return there
