"""Protocols as recipes record them go in; a line that tells them apart and the fields in which two differ come out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields

from harness.contracts import ProtocolSettings, freeze

_DEFAULTS: Mapping[str, object] = {one.name: one.default for one in fields(ProtocolSettings)}
AXES = ("threshold", "power", "area_thd", "scale", "logit_scale")  # what tells runs of one pass apart
_ALWAYS = ("vocabulary", "background")
_LONGEST = 2  # entries of a list that are written out; of a longer one a digest stands for the rest


def without_effect(protocol: Mapping[str, object]) -> frozenset[str]:
    """Of the fields that a grid may have an axis of, those that change nothing under a protocol's background rule."""
    known = _filled(protocol)
    rule, scaled = known["background"], {"constant", "hinge_power", "prompts_constant", "power"}
    has = {
        "threshold": rule in scaled - {"power"}, "power": rule == "power", "area_thd": rule != "ignored",
        "scale": rule in scaled, "logit_scale": rule in scaled and known["scale"] == "softmax",
    }  # fmt: skip
    return frozenset(name for name, effect in has.items() if not effect)


def protocol_text(protocol: Mapping[str, object]) -> str:
    """Vocabulary, background and every field that is not as by default: different protocols, different texts."""
    return _in_words(protocol, ())


def told_apart(protocols: Sequence[Mapping[str, object]], names: Collection[str] | None = None) -> list[str]:
    """What tells each of some protocols from the others, as `protocol_text` writes it; of these fields, or of all.

    What is as by default is told where a protocol of the same vocabulary and background has it otherwise: elsewhere it
    may have no effect.
    """
    differing = differing_fields(protocols) if names is None else names
    known = [_filled(one) for one in protocols]
    kinds: dict[tuple[object, ...], list[dict[str, object]]] = {}
    for one in known:
        kinds.setdefault(_kind(one), []).append(one)
    return [_fields(one, _telling(one, kinds[_kind(one)], differing)) for one in known]


def _kind(known: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(known[name] for name in _ALWAYS)


def _telling(one: Mapping[str, object], alike: Sequence[Mapping[str, object]], names: Collection[str]) -> list[str]:
    """The fields that are not as by default, or not for all of its kind."""
    return [
        name for name in names
        if name in _ALWAYS or one.get(name) != _DEFAULTS.get(name) or any(o.get(name) != one.get(name) for o in alike)
    ]  # fmt: skip


def _fields(known: Mapping[str, object], names: Collection[str]) -> str:
    return " ".join(f"{name}={_spelled(known[name])}" for name in known if name in names)


def in_common(protocols: Sequence[Mapping[str, object]]) -> str:
    """What `protocol_text` says of all of them alike."""
    return _in_words(protocols[0], differing_fields(protocols))


def differing_fields(protocols: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """The names of the fields in which some protocols differ, in order; a field that is not recorded has its default.

    Fields that have no effect beside the others are at their defaults, in all protocols that were ever recorded.
    """
    return tuple(dict.fromkeys(name for other in protocols[1:] for name in differences(protocols[0], other)))


def _in_words(protocol: Mapping[str, object], without: Collection[str]) -> str:
    known = _filled(protocol)
    shown = [name for name in known if name in _ALWAYS or known[name] != _DEFAULTS.get(name, known)]
    return _fields(known, [name for name in shown if name not in without])


def differences(one: Mapping[str, object], other: Mapping[str, object]) -> tuple[str, ...]:
    """The names of the fields in which two protocols differ, in order; a field that is not recorded has its default."""
    left, right = _filled(one), _filled(other)
    return tuple(name for name in dict.fromkeys([*left, *right]) if left.get(name) != right.get(name))


def scored_pixels(protocol: Mapping[str, object]) -> str:
    """Which pixels of a truth a protocol scores: the same word, the same pixels, whatever is offered or decided."""
    known = _filled(protocol)
    scored = "all but void" if known["background"] != "ignored" else "all but void and background"
    return f"{scored}, void counted" if known["void_counts"] else scored


def _filled(protocol: Mapping[str, object]) -> dict[str, object]:
    return {**_DEFAULTS, **{name: _frozen(value) for name, value in protocol.items()}}


def _frozen(value: object) -> object:
    """JSON's lists as tuples, in mappings too, so that what was read equals what was written."""
    if isinstance(value, Mapping):
        return {key: _frozen(item) for key, item in value.items()}
    return freeze(value)


def _spelled(value: object) -> str:
    """A value in one word: short lists joined by |, long ones and files of names with a digest of their content."""
    if isinstance(value, Mapping) and "use" in value:
        settings = ",".join(f"{name}={_spelled(item)}" for name, item in value.get("settings", ()))
        return f"{value['use']}({settings})"
    if isinstance(value, Mapping):
        return f"{_word(value.get('file', ''))}#{_digest(value)}"
    if isinstance(value, tuple):
        written = len(value) <= _LONGEST and not any(isinstance(item, tuple | Mapping) for item in value)
        return "|".join(_word(item) for item in value) if written else f"{len(value)}#{_digest(value)}"
    return _word(value)


def _word(value: object) -> str:
    word = str(value)
    return json.dumps(word, ensure_ascii=False) if re.search(r'[\s|=#(),"]', word) or not word else word


def _digest(value: object) -> str:
    content = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(content.encode(), digest_size=4).hexdigest()
