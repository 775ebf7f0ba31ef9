"""Loaded modules flow in; all that is watched of the process flows out, made anew only where it may be another thing.

What is watched hangs on a few modules; where nobody touched those, nor loaded any, it is what it was a batch ago.
"""

from __future__ import annotations

import sys

from harness.foreign.foundations import half_loaded
from harness.foreign.registries import registries
from harness.foreign.torch_watch import torch_things
from harness.foreign.untouched import Untouched
from harness.foreign.watch import Watched, things

_HOMES = (
    "torch", "torch._C", "torch.autograd", "torch.backends", "torch.backends.cuda", "torch.backends.mha",
    "torch.backends.quantized", "torch.nn.modules.module", "numpy", "decimal", "copyreg", "socket", "tempfile",
    "PIL.Image", "PIL.ImageFile", "warnings", "logging", "locale", "signal", "gc", "threading", "os", "sys",
)  # fmt: skip
_last: list[tuple[Untouched, tuple[Watched, ...]]] = []


def all_watched() -> tuple[Watched, ...]:
    """Of Python, of what others keep in its modules, and of torch where it is loaded."""
    for homes, found in _last:
        if not homes.touched()[0]:
            return found
    modules = [sys.modules[name] for name in _HOMES if name in sys.modules]
    homes = Untouched([sys.modules, *map(vars, modules)])
    homes.take(homes.touched()[1])  # before anything is made: who touches one meanwhile is told the next time
    wholly = not any(map(half_loaded, modules))  # nothing tells when another thread is done with importing one
    found = (*things(), *registries(), *torch_things())
    _last[:] = [(homes, found)] if wholly else []
    return found
