"""A text such as `methods.naclip:NACLIP(model=shapes)` or `sar(power=2)` flows in; what it names flows out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import yaml

from harness.contracts import MethodError, ProtocolSettings

_CALL = re.compile(r"\s*([\w.]+(?::\w+)?)\s*(?:\((.*)\))?\s*", re.DOTALL)
_SETTING = re.compile(r"\s*(\w+)\s*=\s*((?:\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[^,\"'\[\]])+)\s*(?:,|$)")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)  # YAML 1.1 takes 1e-3 for text


class Call(NamedTuple):
    """What a text calls, a key or an address `module:Class`, and with which settings."""

    name: str
    settings: dict[str, Any]


def call_of(text: str) -> Call | None:
    """A name and, in brackets, settings as in a grid: numbers, text, [lists]; text with commas in quotes.

    None when the text starts with no name; MethodError when what is in brackets is no list of settings.
    """
    found = _CALL.fullmatch(text)
    return None if found is None else Call(found[1], _settings(found[2] or "", text))


def as_call(name: str, settings: Mapping[str, Any]) -> str:
    """The text of a call, as `call_of` reads it."""
    return f"{name}({', '.join(f'{key}={_text(value)}' for key, value in settings.items())})"


def class_at(address: str) -> Any:
    """The class at an address `module:Class`; ImportError or AttributeError when there is none."""
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)


def built(text: str) -> Any:
    """The object of a class by address, with its settings.

    MethodError when there is no such class, or when the settings do not fit it.
    """
    call = call_of(text)
    if call is None or ":" not in call.name:
        raise MethodError(f"{text!r} names no method: write module:Class, or module:Class(setting=value, ...).")
    try:
        return class_at(call.name)(**call.settings)
    except (ImportError, AttributeError, TypeError, ValueError) as problem:
        raise MethodError(f"The method {text!r} cannot be built: {str(problem).rstrip('.')}.") from problem


def fingerprint_of(method: object) -> str:
    """What stands for the files of a method that is named within another one; the harness stamps the code of both."""
    fingerprint = getattr(method, "fingerprint", None)
    return str(fingerprint()) if callable(fingerprint) else ""


def resolved_call(text: str, method: object, protocol: ProtocolSettings) -> str | None:
    """The text of a call with its method's settings as they are under a protocol; None where nothing changes."""
    call, ask = call_of(text), getattr(method, "resolved", None)
    found = dict(ask(protocol)) if callable(ask) else {}
    return as_call(call.name, {**call.settings, **found}) if call and found else None


def _text(value: Any) -> str:
    """A value as it is written in a call."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_text, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str) and (not re.fullmatch(r"[\w./:+-]+", value) or _value(value, value) != value):
        return f"'{value}'" if '"' in value else f'"{value}"'
    return str(value)


def _settings(text: str, whole: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    place = 0
    while place < len(text.rstrip()):
        piece = _SETTING.match(text, place)
        if piece is None:
            raise MethodError(f"In {whole!r}, {text[place:].strip()!r} is no list of settings of the form name=value.")
        found[piece[1]] = _value(piece[2].strip(), whole)
        place = piece.end()
    return found


def _value(text: str, whole: str) -> Any:
    if _NUMBER.fullmatch(text):
        return float(text) if set(text) & set(".eE") else int(text)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise MethodError(f"In {whole!r}, {text!r} is no value: a number, text, or a [list] of them.") from problem
    return tuple(value) if isinstance(value, list) else value
