"""Files that a plug-in opened flow in; those for which nothing in an id stands flow out, and the sentence for them."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.recipes import loading
from harness.recipes.code_stamp import code_of
from harness.recipes.several_files import belonging, words_in
from harness.recipes.surroundings import is_ours, source_file

_CODE = (".py", ".pyc", ".pyd", ".so", ".pth", ".dist-info", ".egg-link")
_MACHINE = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/share/", "/usr/lib/")
_LIBRARIES = tuple({*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix})
CURE = "name it by a setting annotated Path, or in `fingerprint()`"


def is_content(path: str) -> bool:
    """Whether a file is neither code nor of the machine or an installed library, for which versions stand."""
    return not (path.endswith(_CODE) or path.startswith(_MACHINE) or path.startswith(_LIBRARIES))


def in_no_id(use: str, opened: Iterable[str], known: Iterable[str], folder: str = ".") -> list[Path]:
    """Of the files that a stranger's plug-in opened, those that no id holds.

    known: texts of settings whose files are in it, and folders; they start at the folder, the grid's. None where the
    plug-in has a `fingerprint()`: then it answers for its files itself.
    """
    cls = loading.load_class(use)
    if is_ours(use) or callable(getattr(cls, "fingerprint", None)):
        return []
    named = (one.partition("/") for one in code_of(cls).beside)
    beside = [file.parent / name for module, _, name in named if (file := source_file(module)) is not None]
    stand = (*(start for text in known for start in _starts(text, Path(folder).absolute())), *map(str, beside))
    return [Path(path) for path in opened if is_content(path) and not path.startswith(stand)]


def _starts(text: str, folder: Path) -> Iterator[str]:
    """With what the paths of the files begin for which a setting stands; of a pattern what comes before its letters."""
    for word in (text, *words_in(text)):
        path = folder / re.split(r"[*?\[]", word)[0]
        yield from map(str, (path, *(belonging(path) if path.is_file() else ())))


def told_of_unnamed(use: str, paths: Iterable[Path]) -> str:
    """What to say of files that a plug-in opened while it answered, wherever it is met: a file, or a folder of them."""
    every = sorted(set(paths))
    what = str(every[0]) if len(every) == 1 else f"files below {os.path.commonpath(one.parent for one in every)}"
    return (
        f"{use} opens {what}, and no id holds what is in there: rows that are stored stay although it changes. "
        f"{CURE[0].upper()}{CURE[1:]}."
    )
