"""A tensor of the CPU and a device flow in; the tensor there flows out, and nobody waits for what the device has to do.

A plain `to` waits on CUDA until all that was asked before is done, since memory that may be swapped out cannot be
copied later. From pinned memory it can: torch keeps that until the copy is over, and takes it again for the next.
"""

from __future__ import annotations

from typing import Any


def sent(tensor: Any, device: Any) -> Any:
    """The tensor on a device (a torch.device, or its name); itself if it is there. Nobody may write to it after."""
    if tensor.device.type != "cpu" or str(device).partition(":")[0] != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
