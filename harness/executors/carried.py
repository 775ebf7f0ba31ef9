"""Plug-ins in plain files beside a grid flow in on the driver; on a worker whose machine lacks them they flow out.

What a driver has loaded from the grid's folder travels: the files, and whole packages of such files. A worker that has
the folder as it is uses its own; whether that is what was planned is asked where it is opened.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from harness.errors import ClusterError
from harness.recipes import loading

MOST_CARRIED = 16 * 2**20


def plug_ins_of(folder: str | None) -> dict[str, bytes]:
    """The Python files below a folder that this process has loaded modules from, by their path in it."""
    if not folder:
        return {}
    home = Path(folder).resolve()
    files = {path.relative_to(home).as_posix(): path.read_bytes() for path in _loaded(home)}
    size = sum(map(len, files.values()))
    if size > MOST_CARRIED:
        raise ClusterError(
            f"the plug-ins beside the grid are {size / 2**20:.0f} MiB of Python, and at most {MOST_CARRIED // 2**20} "
            "travel to workers: install them there as a package"
        )
    return files


def bring_missing(folder: str | None, files: Mapping[str, bytes]) -> None:
    """Make those of the files importable here that this machine has not in the same folder."""
    missing = {name: content for name, content in files.items() if not Path(folder or ".", name).is_file()}
    if not missing:
        return
    place = Path(tempfile.mkdtemp(prefix="plug-ins-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    _remove_after_us(place)
    for name, content in missing.items():
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith("/"):
            raise ClusterError(f"{name!r} is no file beside a grid")
        path = place.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    loading.add_folder(place)


def _remove_after_us(place: Path) -> None:
    """Have a folder removed when this process is gone, however it ends: a worker is ended by a signal as a rule.

    A shell that is nobody's child waits for the end of a pipe that this process holds open, and, since somebody may
    have closed that here, for the end of this process.
    """
    gone = "cat <&3 >/dev/null; while kill -0 $2; do sleep 1; done"
    waits = f'exec 3<&0; ({gone}; rm -rf -- "$1") >/dev/null 2>&1 & '
    words = ["/bin/sh", "-c", waits, "sh", str(place), str(os.getpid())]
    shell = subprocess.Popen(words, stdin=subprocess.PIPE, cwd="/", start_new_session=True)
    shell.wait()
    _held_open.append(shell)


_held_open: list[subprocess.Popen[bytes]] = []


def _loaded(home: Path) -> Iterator[Path]:
    """Each once: a module's file, and of a package every file."""
    tops: dict[Path, None] = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and Path(file).suffix == ".py" and Path(file).resolve().is_relative_to(home):
            tops[home / Path(file).resolve().relative_to(home).parts[0]] = None
    for top in tops:
        if top.is_file():
            yield top
        elif (top / "__init__.py").is_file():
            yield from sorted(top.rglob("*.py"))
