"""A key such as `sar` or `iterate(gamma=0.002, steps=5)` flows in; the refiner that it names flows out.

A refiner changes class maps with the help of self-attention. It is a frozen dataclass with two verbs, and each lies in
a file of its own; formulas and sources stand there. None imports torch when it is imported.
"""

from __future__ import annotations

import re
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from harness.contracts import MethodError, Parts

if TYPE_CHECKING:
    from torch import Tensor

    from methods.diffusion.features import DiffusionFeatures


class Refiner(Protocol):
    """Class maps (classes, height, width) in, float32 of the same shape out; `parts` is what it reads of a pass."""

    def parts(self) -> Parts: ...

    def refine(self, maps: Tensor, features: DiffusionFeatures) -> Tensor: ...


# key -> (module:Class, settings that the key stands for); numbers as in docs: R1 apply ... R8 spread
REFINERS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("methods.refine.nothing:Nothing", {}),
    "sar": ("methods.refine.apply:Apply", {"resolution": "largest", "power": 1}),
    "samap": ("methods.refine.apply:Apply", {"resolution": "second", "power": 4}),
    "apply": ("methods.refine.apply:Apply", {"resolution": "largest", "power": 1}),
    "power": ("methods.refine.apply:Apply", {"resolution": "second", "power": 4}),
    "box": ("methods.refine.box:Box", {}),
    "iterate": ("methods.refine.iterate:Iterate", {}),
    "two_level": ("methods.refine.two_level:TwoLevel", {}),
    "vote": ("methods.refine.vote:Vote", {}),
    "multiscale": ("methods.refine.multiscale:MultiScale", {}),
    "spread": ("methods.refine.spread:Spread", {}),
}
_CALL = re.compile(r"\s*([\w.:]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


def refiner(text: str, **wishes: Any) -> Refiner:
    """The refiner of a key, or of an address `module:Class`, with settings in brackets; wishes that are not None win.

    MethodError for an unknown key or setting, with those there are.
    """
    call = _CALL.fullmatch(text)
    key = call[1] if call else text
    if call is None or (key not in REFINERS and ":" not in key):
        raise MethodError(f"There is no refiner {text!r}; there are {', '.join(REFINERS)}, or an address module:Class.")
    address, settings = REFINERS.get(key, (key, {}))
    module, _, name = address.partition(":")
    try:
        kind = getattr(import_module(module), name)
        known = [field.name for field in fields(kind)]
    except (ImportError, AttributeError, TypeError) as problem:
        raise MethodError(f"The refiner {address!r} cannot be imported as a dataclass: {problem}.") from problem
    given = {**settings, **_settings(call[2] or "", text)}
    given |= {name: value for name, value in wishes.items() if value is not None and name in known}
    if unknown := sorted(set(given) - set(known)):
        raise MethodError(f"The refiner {key!r} has no setting {unknown[0]!r}; it has {', '.join(known) or 'none'}.")
    built: Refiner = kind(**given)
    return built


def _settings(text: str, whole: str) -> dict[str, Any]:
    """`a=1, b=.5, c=1/2` as a dictionary; what is no number stays text."""
    found = {}
    for piece in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = piece.partition("=")
        if not equals or not value.strip():
            raise MethodError(f"In the refiner {whole!r}, {piece!r} is no setting of the form name=value.")
        found[name.strip()] = _value(value.strip())
    return found


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
