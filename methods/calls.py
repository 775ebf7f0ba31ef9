"""A text such as `methods.naclip:NACLIP(model=shapes, window=64)` flows in; the method that it names flows out."""

from __future__ import annotations

import re
from importlib import import_module
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


def fingerprint_of(method: object) -> str:
    """What stands for the files of a method that is named within another one; the harness stamps the code of both."""
    fingerprint = getattr(method, "fingerprint", None)
    return str(fingerprint()) if callable(fingerprint) else ""


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
