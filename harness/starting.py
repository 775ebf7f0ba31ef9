"""A kind of plug-in and a name flow in; its first file, a test of it and a grid that runs it flow out: `new`.

What is written keeps every promise as it stands, so that whatever breaks later was broken by an edit.
"""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from harness.contracts import expanded
from harness.contracts.command_line import CommandLine, typed
from harness.errors import AddressError, SettingsError
from results.door import door

STARTERS = Path(__file__).with_name("starters")
KINDS: Mapping[str, str] = {
    "method": "looks at an image alone",
    "reader": "a method that reads what a network's pass left, and shares it with others",
    "benchmark": "a data set: a folder of images and masks",
}
_FILES = {"{name}.py": "py", "test_{name}.py": "test", "{name}.yaml": "yaml"}
_LONGEST = 60
_IMAGES = 3  # of the example of a data set


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    kinds = "; ".join(f"{kind}: {words}" for kind, words in KINDS.items())
    parser = CommandLine(
        prog="stableseg new",
        description="Write a plug-in that runs as it stands, its test, and a grid that runs it.",
        epilog=kinds,
    )
    parser.add_argument("kind", choices=list(KINDS), metavar="|".join(KINDS), help="what it is")
    parser.add_argument("name", metavar="NAME", help="of the file and of the class: my_method, or MyMethod")
    parser.add_argument("--into", type=expanded, default=Path(), metavar="DIR", help="the folder (default: this one)")
    return parser


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files and say what to type next; 0 done, 2 with one sentence when that cannot be."""
    options = parser().parse_args(arguments)
    for line in begin(options.kind, options.name, options.into):
        print(line)
    return 0


def begin(kind: str, name: str, folder: Path) -> list[str]:
    """Write a plug-in's first files into a folder; what is there and what to type next, a line each.

    AddressError for a name that cannot be one; SettingsError where a file is there already, or cannot be written.
    """
    module, cls = named(name, folder)
    texts = {
        folder / file.format(name=module): (STARTERS / f"{kind}.{part}.txt").read_text("utf-8")
        for file, part in _FILES.items()
    }
    example = folder / f"{module}_example"
    for path in (*texts, *([example] if kind == "benchmark" else [])):
        if path.exists():
            raise SettingsError(f"{path} is there already, and nothing is written over it; give another name or --into")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text.format(name=module, Name=cls), "utf-8")
        if kind == "benchmark":
            _draw(example)
    except OSError as error:
        raise SettingsError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None
    settings = f" --with root={example.name}" if kind == "benchmark" else ""
    role = "benchmark" if kind == "benchmark" else "method"
    there = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    return [
        *(f"{path}" for path in texts),
        *([f"{example}/"] if kind == "benchmark" else []),
        "",
        *there,
        f"{typed('check')} {role} {module}:{cls}{settings}",
        f"python -m pytest test_{module}.py",
        f"{typed('sweep')} {module}.yaml --local",
    ]


def named(name: str, folder: Path) -> tuple[str, str]:
    """The name of the file and of the class in it. AddressError for what Python cannot import as either."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)
    module, cls = "_".join(words).lower(), "".join(word[:1].upper() + word[1:] for word in words)
    written = re.fullmatch(rf"[A-Za-z][A-Za-z0-9_-]{{0,{_LONGEST - 1}}}", name)
    if not written or keyword.iskeyword(module):
        raise AddressError(
            f"{name!r} cannot be the name of a plug-in; give a word of letters, digits and _, such as my_method"
        )
    taken = module in sys.builtin_module_names or importlib.util.find_spec(module) is not None
    if taken and not (folder / f"{module}.py").exists():  # which is told by itself
        raise AddressError(f"{module!r} is a module that is there already; give another name, such as my_{module}")
    return module, cls


def _draw(folder: Path) -> None:
    """Images that are not square, with a disc and a bar each, their truths, and a rim that is not scored."""
    for place in ("images", "masks"):
        (folder / place).mkdir(parents=True)
    rows, columns = np.mgrid[:48, :72]
    for number in range(_IMAGES):
        away = np.hypot(rows - 20 - 3 * number, columns - 20)
        truth = np.where(away < 12, 1, 0).astype(np.uint8)
        truth[6:42, 46 + 4 * number : 56 + 4 * number] = 2
        truth[np.abs(away - 12) < 1] = 255
        image = np.array([[90, 90, 90], [200, 60, 60], [60, 90, 200]], np.uint8)[np.where(truth == 255, 0, truth)]
        Pillow.fromarray(image).save(folder / "images" / f"{number}.png")
        Pillow.fromarray(truth).save(folder / "masks" / f"{number}.png")


if __name__ == "__main__":
    sys.exit(main())
