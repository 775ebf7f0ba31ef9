"""A text such as `methods.naclip:NACLIP(model=shapes, window=64)` flows in; the method that it names flows out."""

from __future__ import annotations

import re
from hashlib import blake2b
from importlib import import_module
from inspect import getsource
from sys import modules
from typing import Any

import yaml

from harness.contracts import MethodError

_CALL = re.compile(r"\s*([\w.]+):(\w+)\s*(?:\((.*)\))?\s*", re.DOTALL)
_SETTING = re.compile(r"\s*(\w+)\s*=\s*((?:\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[^,\"'\[\]])+)\s*(?:,|$)")


def built(text: str) -> Any:
    """The object of a class by address, with settings as in a grid: numbers, text, [lists]; text with commas in quotes.

    MethodError when there is no such class, or when the settings do not fit it.
    """
    call = _CALL.fullmatch(text)
    if call is None:
        raise MethodError(f"{text!r} names no method: write module:Class, or module:Class(setting=value, ...).")
    try:
        kind = getattr(import_module(call[1]), call[2])
        return kind(**_settings(call[3] or "", text))
    except (ImportError, AttributeError, TypeError, ValueError) as problem:
        raise MethodError(f"The method {text!r} cannot be built: {str(problem).rstrip('.')}.") from problem


def stamp_of(method: object) -> str:
    """What stands for a method within another one's fingerprint: its version or source, and its own fingerprint."""
    kind = type(method)
    version = vars(kind).get("version")
    sources = {one.__module__ for one in kind.__mro__ if one.__module__ != "builtins"}
    code = f"v{version}" if version is not None else "".join(getsource(modules[name]) for name in sorted(sources))
    fingerprint = getattr(method, "fingerprint", None)
    files = fingerprint() if callable(fingerprint) else ""
    return blake2b(f"{kind.__module__}:{kind.__qualname__}\0{code}\0{files}".encode(), digest_size=8).hexdigest()


def _settings(text: str, whole: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    place = 0
    while place < len(text.rstrip()):
        piece = _SETTING.match(text, place)
        if piece is None:
            raise MethodError(f"In {whole!r}, {text[place:].strip()!r} is no list of settings of the form name=value.")
        value = yaml.safe_load(piece[2])
        found[piece[1]] = tuple(value) if isinstance(value, list) else value
        place = piece.end()
    return found
