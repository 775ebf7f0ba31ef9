"""A gate tries a plug-in; what its code reads that stands in no id flows out: files opened by name, the environment.

Python tells of every file that it opens (an audit event), and variables are read through one mapping, which is
exchanged meanwhile. Who reads is told by the stack: a stranger's module, directly or through a library. What a library
in another language reads by itself is not seen.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from harness.recipes.surroundings import is_ours, is_settled
from harness.recipes.unnamed import is_content

_SITES = ("site-packages", "dist-packages")
_DEEPEST = 200  # frames
_now: list[Reads] = []
_hooked: list[bool] = []


@dataclass
class Reads:
    """What a stranger's code read. use: the plug-in's address; its package is its own also where it is installed."""

    use: str
    files: set[str] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)

    def is_own(self, frame: FrameType | None) -> bool:
        """Whether a stranger's code is on the stack, between here and the gate."""
        for _ in range(_DEEPEST):
            if frame is None or (name := str(frame.f_globals.get("__name__", ""))).startswith("harness.checks"):
                return False
            settled = is_settled(name) or is_ours(name) or set(_SITES) & set(Path(frame.f_code.co_filename).parts)
            if name.partition(".")[0] == self.use.partition(":")[0].partition(".")[0] or not settled:
                return True
            frame = frame.f_back
        return False


@contextmanager
def reads_of(use: str, reads: Reads | None = None) -> Iterator[Reads]:
    """What code of a plug-in reads meanwhile, besides what was read before."""
    if not _hooked:  # once a process: a hook cannot be taken off again
        sys.addaudithook(_hear)
        _hooked.append(True)
    reads, held = reads or Reads(use), getattr(os.environ, "_data", None)
    _now.append(reads)
    if held is not None:
        os.environ._data = _Variables(held)  # type: ignore[attr-defined]
    try:
        yield reads
    finally:
        _now.remove(reads)
        if held is not None:
            held.clear()
            held.update(os.environ._data)  # type: ignore[attr-defined]
            os.environ._data = held  # type: ignore[attr-defined]
        if set(os.environ) <= reads.variables:  # all of them were copied, as for another process
            reads.variables -= set(os.environ)


class _Variables(dict[Any, Any]):
    """What `os.environ` holds, with an ear for who asks."""

    def __getitem__(self, key: Any) -> Any:
        if _now and _now[-1].is_own(sys._getframe(1)):
            _now[-1].variables.add(os.fsdecode(key))
        return super().__getitem__(key)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _now:
        return
    try:
        name, _, flags = arguments
        if isinstance(name, str | bytes | os.PathLike) and flags & os.O_ACCMODE == os.O_RDONLY:
            path = os.path.abspath(os.fsdecode(name))
            if is_content(path) and _now[-1].is_own(sys._getframe(1)):
                _now[-1].files.add(path)
    except Exception:  # whoever opens a file must never see an error of ours
        return
