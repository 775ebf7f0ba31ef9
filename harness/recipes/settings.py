"""A class and the values meant for it -> settings that fit its constructor, and what an object's settings were."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation

from harness.contracts import freeze
from harness.errors import SettingsError, message, nearest
from harness.recipes.complaints import complaint, show

MAPPING = "a mapping"  # what stands before its pairs, where a list may stand too
_FILE = re.compile(r".*\.\w{1,5}")
GIVEN = "__harness_settings__"  # where `construct` leaves the arguments of an object that is no plain dataclass


def address(cls: type) -> str:
    """The class as `module:Class`."""
    return f"{cls.__module__}:{cls.__qualname__}"


@lru_cache(maxsize=256)
def parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    """The settings a class takes: the parameters of its constructor that can be given by name."""
    try:
        signature = inspect.signature(cls)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{address(cls)}: its constructor cannot be inspected; write a dataclass") from error
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: one for name, one in signature.parameters.items() if one.kind in named}


def check_setting(cls: type, name: str, value: Any) -> Any:
    """The value as the constructor wants it (1 -> 1.0 for a float, lists -> tuples); SettingsError if it does not fit.

    Only what is written counts: "1" is no number, 1.5 no whole number, true no 1.
    """
    if name not in parameters(cls):
        if _takes_any_name(cls):
            return freeze(value)
        why = getattr(cls, "refused", {}).get(name)
        raise SettingsError(f"{address(cls)} has no setting {name!r}{f': {why}' if why else _valid_names(cls, name)}")
    adapter = _adapters(cls).get(name)
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        raise SettingsError(
            f"{address(cls)}: setting {name!r} must be made of numbers, text, true, false, lists and mappings, "
            f"not {show(value)}"
        ) from None
    if adapter is None:
        return freeze(value)
    if twice := _one_key(value):
        raise SettingsError(f"{address(cls)}: setting {name!r} has {twice}, which are one key to it; write one of them")
    try:
        fitting = adapter.validate_json(text, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise SettingsError(f"{address(cls)}: {complaint(f'setting {name!r}', found, value)}") from None
    return freeze(fitting) if isinstance(fitting, tuple | dict) else fitting


def takes(cls: type, name: str, kind: type) -> bool:
    """Whether a setting is annotated, among others, as a list (kind `Collection`) or as a mapping (`Mapping`)."""
    return any(
        issubclass(one, kind) and not issubclass(one, str | bytes) and (kind is Mapping or not issubclass(one, Mapping))
        for one in _kinds(hints_of(cls).get(name, Any))
    )


def is_axis(cls: type, name: str, written: Any) -> bool:
    """Whether what a grid holds for a setting is a list of its values, and not one value.

    A list is one where the class says so (tuple[int, ...]) and its items are no values by themselves; a list of texts
    is one wherever it can be, though each could also be a value: names stand in lists (tuple[str, ...] | str), unless
    all are names of files.
    """
    if not isinstance(written, list):
        return False
    names = all(isinstance(item, str) for item in written) and not all(map(_FILE.fullmatch, written))
    if written and names and takes(cls, name, Collection):
        return not _fits(cls, name, written)
    if not takes(cls, name, Collection) or (written and all(_fits(cls, name, item) for item in written)):
        return True
    return not _fits(cls, name, written) and any(isinstance(item, list | dict) for item in written)


def _one_key(value: Any) -> str:
    """Two keys of a mapping, at any depth, that are the same text as JSON: `the keys 1 and '1'`; "" where none are."""
    if isinstance(value, Mapping):
        seen: dict[str, Any] = {}
        for key in value:
            text = key if isinstance(key, str) else json.dumps(key)
            if text in seen:
                return f"the keys {seen[text]!r} and {key!r}"
            seen[text] = key
        value = tuple(value.values())
    return next(filter(None, map(_one_key, value)), "") if isinstance(value, list | tuple) else ""


def _fits(cls: type, name: str, value: Any) -> bool:
    try:
        check_setting(cls, name, value)
    except SettingsError:
        return False
    return True


def _kinds(hint: Any) -> Iterator[type]:
    """The classes that a type stands for: those of a union, of what is annotated, without what they hold."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        for one in get_args(hint):
            yield from _kinds(one)
    elif origin is Annotated:
        yield from _kinds(get_args(hint)[0])
    elif isinstance(origin or hint, type):
        yield origin or hint


def construct(cls: type, given: Mapping[str, Any]) -> Any:
    """An object of the class with these settings; SettingsError for any that does not fit or is lacking."""
    fitting = {name: check_setting(cls, name, value) for name, value in given.items()}
    empty = inspect.Parameter.empty
    lacking = [name for name, one in parameters(cls).items() if one.default is empty and name not in given]
    if lacking:
        raise SettingsError(f"{address(cls)} needs the setting {' and '.join(map(repr, lacking))}")
    try:
        thing = cls(**fitting)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{address(cls)}: {message(error) or type(error).__name__}") from error
    if not _is_plain_dataclass(cls):
        _remember(thing, cls, fitting)
    return thing


def settings_of(thing: object) -> dict[str, Any]:
    """All settings of an object by name, defaults filled in, as plain values: numbers, text, None and tuples of them.

    Those of a dataclass are its fields; those of another class the arguments that `construct` gave it.
    """
    cls: type = type(thing)
    if _is_plain_dataclass(cls):
        values = {name: getattr(thing, name) for name in parameters(cls)}
    elif (given := getattr(thing, GIVEN, None)) is not None:
        values = dict(given)
    else:
        raise SettingsError(f"the settings of an object of {address(cls)} are not known: build it from a recipe")
    return {name: _plain(cls, name, value, takes(cls, name, Mapping)) for name, value in values.items()}


def _takes_any_name(cls: type) -> bool:
    return any(one.kind is inspect.Parameter.VAR_KEYWORD for one in inspect.signature(cls).parameters.values())


def _valid_names(cls: type, name: str) -> str:
    known = list(parameters(cls))
    return f"{nearest(name, known)} (settings: {', '.join(known)})" if known else ": it takes no settings"


@lru_cache(maxsize=256)
def _adapters(cls: type) -> dict[str, TypeAdapter[Any]]:
    """What can check the value of each setting; settings without a type that can be checked are left out."""
    hints = hints_of(cls)
    found = {}
    for name in parameters(cls):
        hint = hints.get(name, Any)
        if isinstance(hint, dataclasses.InitVar):
            hint = hint.type
        if hint is Any or hint is object:
            continue
        try:
            found[name] = TypeAdapter(hint)
        except (PydanticUserError, PydanticUndefinedAnnotation, TypeError):
            continue
    return found


@lru_cache(maxsize=256)
def hints_of(cls: type) -> Mapping[str, Any]:
    """The types of a class's settings, as far as they can be resolved."""
    return MappingProxyType({**_hints(inspect.getattr_static(cls, "__init__")), **_hints(cls)})


def _hints(annotated: Any) -> dict[str, Any]:
    try:
        return get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError, AttributeError):  # names that only a type checker sees
        return {}


@lru_cache(maxsize=256)
def _is_plain_dataclass(cls: type) -> bool:
    fields = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else None
    return fields is not None and fields >= set(parameters(cls)) and not _takes_any_name(cls)


def _remember(thing: object, cls: type, fitting: Mapping[str, Any]) -> None:
    empty = inspect.Parameter.empty
    defaults = {name: one.default for name, one in parameters(cls).items() if one.default is not empty}
    try:
        object.__setattr__(thing, GIVEN, tuple({**defaults, **fitting}.items()))
    except AttributeError:
        raise SettingsError(f"{address(cls)} has __slots__: make it a dataclass, so its settings are known") from None


def _plain(cls: type, name: str, value: Any, declared: bool = False) -> Any:
    """The value without its class: two processes must spell it alike, or runs would never be found again.

    A mapping is its pairs, by key. declared: the setting takes mappings; else one says so, since a list of the same
    pairs is another value. Keys count with their kinds.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Enum):
        return _plain(cls, name, value.value)
    if isinstance(value, np.generic):
        return _plain(cls, name, value.item())
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple):
        return tuple([_plain(cls, name, item) for item in value])
    if isinstance(value, set | frozenset):
        return tuple(sorted((_plain(cls, name, item) for item in value), key=repr))
    if isinstance(value, Mapping):
        spelled = ((_plain(cls, name, key), _plain(cls, name, item)) for key, item in value.items())
        pairs = tuple(sorted(spelled, key=lambda pair: (str(pair[0]), type(pair[0]).__name__)))
        return pairs if declared else (MAPPING, pairs)
    if dataclasses.is_dataclass(value):
        inner = ((one.name, _plain(cls, name, getattr(value, one.name))) for one in dataclasses.fields(value))
        return (address(type(value)), *inner)
    raise SettingsError(
        f"{address(cls)}: setting {name!r} holds a {type(value).__name__}; numbers, text, lists and mappings can "
        "be settings"
    )
