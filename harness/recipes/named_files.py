"""Settings flow in; the files and folders that they name flow out: as absolute paths, and by digests of their content.

Text counts as a path where its setting is annotated `Path`, and elsewhere only with a separator or a suffix, or where
it names a folder that holds a model: `mode: grid` beside a file named `grid` is a word. It starts at the grid's folder.
A text may name several files together (see several_files).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path, PurePath
from typing import get_args

from harness.contracts import freeze
from harness.contracts.paths import expanded
from harness.errors import GridError, SettingsError
from harness.recipes.remembered import digest_of_file, digest_of_folder
from harness.recipes.settings import hints_of
from harness.recipes.several_files import FilesNamed, belonging, by_pattern, digest_of_files, named_together, words_in

_IN_CALL = re.compile(r"(=\s*)(\"[^\"]*\"|'[^']*'|[^,\"'\[\]()\s]+)")  # a value in `module:Class(name=value)`
MODEL_NAMES = frozenset({"config.json", "model_index.json"})
MODEL_SUFFIXES = frozenset({
    ".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".npy", ".npz", ".onnx", ".pt", ".pth", ".safetensors",
})  # fmt: skip
_LONGEST = 4096


def placed(cls: type, name: str, value: object, folder: str, declared: bool = False) -> object:
    """The value of a setting with every path in it absolute; words pass. It is what the plug-in is given.

    folder: the grid's. declared: it is a path whatever its annotation. SettingsError for what lies where the process
    works and not in that folder: paths start at one place. What a class calls `inside` is left to it.
    """
    if name in getattr(cls, "inside", ()):
        return value
    hint = hints_of(cls).get(name)
    surely = declared or name in getattr(cls, "places", ()) or (_is_path(hint) and str not in get_args(hint))

    def absolute(text: str) -> str:
        if surely:
            return str(Path(folder).absolute() / expanded(text)) if text else text
        if (path := _place(text, folder, expanded, _is_path(hint))) is not None:
            return str(path)
        if (several := _together(text, folder, expanded, _is_path(hint))) is None:
            _refuse_elsewhere(name, text, folder)
        return text if several is None else several.given

    return _changed(value, absolute)


def spelled(settings: Mapping[str, object], folder: str) -> dict[str, object]:
    """The settings with what lies below the grid's folder as a grid there would write it: ids know no machine."""
    start = f"{Path(folder).absolute()}{os.sep}"
    return {name: _changed(value, lambda text: text.removeprefix(start)) for name, value in settings.items()}


def files_named(
    cls: type, settings: Mapping[str, object], folder: str, folders: bool, models: bool = True
) -> dict[str, str]:
    """Text of a setting -> digest of the file or folder that it names.

    settings: plain, as `settings_of` gives them, `~` and `$VAR` filled in. folder: the grid's. folders: whether folders
    count at all; models: whether one also counts that no annotation declares, because it holds a model.
    """
    found: dict[str, str] = {}
    hints = hints_of(cls)
    for name, value in settings.items():
        declared = _is_path(hints.get(name))
        for text in texts_of(value):
            path = None if text in found else _place(text, folder, Path, declared)
            if path is not None and path.is_file():
                parts = belonging(path) if folders else []
                found[text] = digest_of_files([path, *parts]) if parts else digest_of_file(path)
            elif path is not None and folders and path.is_dir() and (declared or (models and holds_model(path))):
                found[text] = digest_of_folder(path)
            elif path is None and text not in found and (several := _together(text, folder, Path, declared)):
                one_by_one = several.listed and all(one.is_file() for one in several.paths)
                if one_by_one or (folders and (declared or models)):
                    found[text] = several.digest()
    return found


def files_not_counted(
    cls: type, settings: Mapping[str, object], folder: str, counted: Collection[str]
) -> dict[str, list[str]]:
    """Setting -> the files and folders that a text in it may well name, and that stand in no id.

    counted: texts whose content does. A folder counts as named where the whole text does it, a file also among words.
    """
    found: dict[str, list[str]] = {}
    for name, value in settings.items():
        for text in dict.fromkeys(texts_of(value)):
            if text in counted:
                continue
            whole = [text] if (path := _place(text, folder, Path)) is not None and path.is_dir() else []
            matched = [text] if not whole and by_pattern(text, Path(folder).absolute(), declared=True) else []
            words = (word for word in words_in(text) if word not in counted)
            files = [word for word in words if (path := _place(word, folder, Path)) is not None and path.is_file()]
            if told := [*whole, *matched, *files]:
                found.setdefault(name, []).extend(one for one in told if one not in found.get(name, ()))
    return found


def holds_model(folder: Path) -> bool:
    """Whether a folder has, directly in it, a file that is named as models' files are."""
    with os.scandir(folder) as entries:
        return any(one.name in MODEL_NAMES or PurePath(one.name).suffix.lower() in MODEL_SUFFIXES for one in entries)


def texts_of(value: object) -> Iterator[str]:
    """All texts in a plain value, and the values in a text such as `module:Class(checkpoint=w.npy)`."""
    if isinstance(value, str):
        yield value
        yield from (found.strip("\"'") for _, found in _IN_CALL.findall(value) if "(" in value)
    elif isinstance(value, tuple | list | Mapping):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from texts_of(one)


def _looks_like_path(text: str) -> bool:
    return "/" in text or "\\" in text or bool(PurePath(text).suffix)


def _is_path(hint: object) -> bool:
    """Whether a type is, or may be, a path."""
    if isinstance(hint, type) and issubclass(hint, PurePath):
        return True
    return any(_is_path(one) for one in get_args(hint))


def _place(text: str, folder: str, path_of: Callable[[str], Path], declared: bool = False) -> Path | None:
    """The file or folder that a text stands for, absolute; None for a word, and where there is none."""
    if not text or len(text) > _LONGEST or "\0" in text or "\n" in text:
        return None
    try:
        path = Path(folder).absolute() / path_of(text)
        if declared or _looks_like_path(text):
            return path if path.exists() else None
        return path if path.is_dir() and holds_model(path) else None
    except (OSError, GridError):  # a name that no disk holds, a folder that nobody may read
        return None


def _together(text: str, folder: str, path_of: Callable[[str], Path], declared: bool) -> FilesNamed | None:
    """The files that a text names together; None for a word."""
    if not text or len(text) > _LONGEST or "\0" in text:
        return None

    def find(part: str) -> Path | None:
        path = _place(part, folder, path_of)
        return path if path is not None and (path.is_file() or holds_model(path)) else None

    clear = declared or "/" in text or PurePath(text).suffix.lower() in MODEL_SUFFIXES
    try:
        return named_together(text, Path(folder).absolute(), path_of, declared, clear, find)
    except (OSError, GridError):
        return None


def _refuse_elsewhere(name: str, text: str, folder: str) -> None:
    """SettingsError for a path that only exists from where the process works."""
    here = os.getcwd()
    if not os.path.samefile(here, folder) and (found := _place(text, here, expanded)) is not None:
        raise SettingsError(
            f"setting {name!r}: {text!r} lies in {here}, and paths start at the grid's folder, {folder}: write "
            f"{os.path.relpath(found, folder)!r}"
        )


def _changed(value: object, change: Callable[[str], str]) -> object:
    """A plain value with its texts changed, and the values in a text such as `module:Class(checkpoint=w.npy)`."""
    if isinstance(value, tuple | list):
        return tuple([_changed(one, change) for one in value])
    if isinstance(value, Mapping):
        return freeze({key: _changed(one, change) for key, one in value.items()})
    if isinstance(value, PurePath):
        return type(value)(change(str(value)))
    if not isinstance(value, str):
        return value
    changed = change(value)
    return changed if changed != value or "(" not in value else _IN_CALL.sub(lambda one: _in_call(one, change), value)


def _in_call(found: re.Match[str], change: Callable[[str], str]) -> str:
    """One value in a text, in quotes where it needs them."""
    sign, written = found.groups()
    bare = written.strip("\"'")
    changed = change(bare)
    if changed == bare:
        return f"{sign}{written}"
    return f'{sign}"{changed}"' if written != bare or re.search(r"[,\"'\[\]()\s]", changed) else f"{sign}{changed}"
