"""An object's settings flow in; the files and folders that they name flow out, each with a digest of its content.

Text counts as a path where its setting is annotated `Path`, and elsewhere only with a separator or a suffix: `mode:
grid` beside a file named `grid` is a word. It is relative to the grid's folder, else to where the process works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, get_args

from harness.contracts.paths import expanded
from harness.errors import GridError
from harness.recipes.remembered import digest_of_file, digest_of_folder
from harness.recipes.settings import hints_of

_IN_CALL = re.compile(r"=\s*(\"[^\"]*\"|'[^']*'|[^,\"'\[\]()\s]+)")  # a value in `module:Class(name=value)`
_MODELS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.npz", "*.npy", "*.onnx", "config.json",
           "model_index.json")  # fmt: skip
_LONGEST = 4096


def files_named(
    cls: type, settings: Mapping[str, Any], folder: str, folders: bool, models: bool = True
) -> dict[str, str]:
    """Text of a setting -> digest of the file or folder that it names.

    settings: plain, as `settings_of` gives them. folder: the grid's. folders: whether folders count at all; models:
    whether one also counts that no annotation declares, because it holds a model.
    """
    found: dict[str, str] = {}
    hints = hints_of(cls)
    for name, value in settings.items():
        declared = _is_path(hints.get(name))
        for text in _texts(value):
            if text in found or not (declared or _looks_like_path(text)):
                continue
            path = _place(text, folder)
            if path is not None and path.is_file():
                found[text] = digest_of_file(path)
            elif path is not None and folders and path.is_dir() and (declared or (models and _holds_model(path))):
                found[text] = digest_of_folder(path)
    return found


def _texts(value: Any) -> Iterator[str]:
    """All texts in a plain value, and the values in a text such as `module:Class(checkpoint=w.npy)`."""
    if isinstance(value, str):
        yield value
        yield from (one.strip("\"'") for one in _IN_CALL.findall(value) if "(" in value)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _texts(one)


def _looks_like_path(text: str) -> bool:
    return "/" in text or "\\" in text or bool(PurePath(text).suffix)


def _is_path(hint: Any) -> bool:
    """Whether a type is, or may be, a path."""
    if isinstance(hint, type) and issubclass(hint, PurePath):
        return True
    return any(_is_path(one) for one in get_args(hint))


def _place(text: str, folder: str) -> Path | None:
    """Where a text leads, if anything is there."""
    if not text or len(text) > _LONGEST or "\0" in text or "\n" in text:
        return None
    try:
        path = expanded(text)
        return next((place for place in (Path(folder) / path, path) if place.exists()), None)
    except (OSError, GridError):  # a name that no disk holds
        return None


def _holds_model(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in _MODELS)
