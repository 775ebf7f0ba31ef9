"""The name of a data set and a folder flow in; its files lie there, checked, and its grid lines flow out.

`python -m benchmarks.fetch pascal_voc --root /data`, or `stableseg fetch`. What can be fetched (its address and its
checksum are known) is; of the rest it says how it is had, and takes it from ROOT/archives when the same command is
called again. Then the gate reads the data set (`python -m harness.checks benchmark`).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from benchmarks.archives import KNOWN, Archive, Obtainable
from benchmarks.download import Told, check_md5, download
from benchmarks.faults import DataError
from benchmarks.unpack import unpack
from harness.contracts.command_line import CommandLine, at_least_one

ARCHIVES = "archives"  # the folder in the root where they lie
Gate = Callable[[str, Mapping[str, Any], int | None], int]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = CommandLine(prog="stableseg fetch", description=main.__doc__)
    found.add_argument("name", metavar="NAME", help=", ".join(KNOWN))
    found.add_argument("--root", type=Path, required=True, metavar="DIR", help="where data sets lie")
    found.add_argument("--train", action="store_true", help="also images that only training reads (COCO: 18 GB)")
    found.add_argument("--limit", type=at_least_one, metavar="N", help="the gate reads only this many images")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring a data set to this machine as far as that may be had, check it, and say its grid lines.

    Exit code: 0 all is there and sound, 1 something is still to be brought or is off, 2 it cannot be had.
    """
    options = parser().parse_args(arguments)
    if options.name not in KNOWN:
        close = get_close_matches(options.name, KNOWN, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        print(f"there is no data set {options.name!r}{hint} (there are: {', '.join(KNOWN)})", file=sys.stderr)
        return 2
    root = options.root.expanduser().absolute()
    if blocked := next((place for place in (root, *root.parents) if place.exists() and not place.is_dir()), None):
        print(f"{blocked} is a file; --root is the folder below which data sets lie.", file=sys.stderr)
        return 2
    try:
        return obtain(KNOWN[options.name], root, train=options.train, limit=options.limit)
    except (DataError, OSError) as error:
        told = error if isinstance(error, DataError) or not error.filename else f"{error.filename}: {error.strerror}"
        print(told, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on where it was.", file=sys.stderr)
        return 130


def obtain(
    known: Obtainable, root: Path, *, train: bool = False, limit: int | None = None, loopback: bool = False,
    pause: float = 1.0, gate: Gate | None = None,
) -> int:  # fmt: skip
    """Bring a data set below a root, then run the gate; see `main` for the answer.

    loopback, pause: see benchmarks.download. gate: is given the address of the reader, its settings and the limit.
    """
    wanted = [one for one in known.archives if train or not one.train]
    lacking = [told for one in wanted if (told := bring(one, root, loopback=loopback, pause=pause))]
    if known.by_hand and not (root / known.root).exists():
        lacking.append(f"{known.by_hand} in {root}")
    for sentence in lacking:
        print(f"To do by hand: {sentence}.")
    if lacking:
        print("Then call the same command again: it checks what was brought.")
        return 1
    settings = {"root": str(root / known.root), **known.settings}
    code = (gate or run_gate)(known.use, settings, limit)
    print(f"\nFor the grid:\n\n{grid_lines(known, settings)}", end="")
    return code


def bring(archive: Archive, root: Path, *, loopback: bool = False, pause: float = 1.0) -> str:
    """Fetch and unpack one archive, as far as that is still to be done; else how it is had, in words."""
    place, done = root / ARCHIVES / archive.name, root / ARCHIVES / f"{archive.name}.unpacked"
    begun = place.exists() or place.with_name(f"{place.name}.part").exists()
    if (root / archive.makes).exists() and (done.exists() or not begun):  # the latter are the user's own
        return ""
    if archive.address:
        with _bar(archive.name) as told:
            download(archive.address, place, archive.md5, told=told, loopback=loopback, pause=pause)
    elif not place.is_file():
        return f"bring {archive.name} to {root / ARCHIVES}, from {archive.by_hand}"
    elif archive.md5:
        check_md5(place, archive.md5, f"{place} is not the file that was promised")
    if archive.single:
        (root / archive.into).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place, root / archive.makes)
    else:
        print(f"{place.name}: {unpack(place, root / archive.into)} files are unpacked in {root / archive.into}.")
    if not (root / archive.makes).exists():
        raise DataError(f"{place} was unpacked and holds no {Path(archive.makes).name}: it is another archive.")
    done.touch()
    return ""


def run_gate(use: str, settings: Mapping[str, Any], limit: int | None) -> int:
    """`python -m harness.checks benchmark` in a process of its own, which says what it finds."""
    words = [f"{name}={value}" for name, value in settings.items()]
    more = [] if limit is None else ["--limit", str(limit)]
    sys.stdout.flush()
    command = [sys.executable, "-m", "harness.checks", "benchmark", use, "--with", *words, *more]
    return subprocess.run(command, check=False).returncode


def grid_lines(known: Obtainable, settings: Mapping[str, Any]) -> str:
    """The entry of `benchmarks:`."""
    entry = {"name": known.called, "use": known.use, "with": dict(settings)}
    return yaml.safe_dump({"benchmarks": [entry]}, sort_keys=False, width=1000)


@contextmanager
def _bar(name: str) -> Iterator[Told]:
    """A bar on standard error while an archive comes; silent where nobody looks."""
    console = Console(stderr=True, emoji=False)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("{task.description}", *columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield lambda have, total: progress.update(task, completed=have, total=total)


if __name__ == "__main__":
    sys.exit(main())
