"""A key such as `sar` or `iterate(gamma=0.002, steps=5)` flows in; the refiner that it names flows out.

A refiner changes class maps with the help of self-attention. It is a frozen dataclass with two verbs, and each lies in
a file of its own; formulas and sources stand there. None imports torch when it is imported.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol

from harness.contracts import MethodError, Parts
from methods.calls import call_of, class_at

if TYPE_CHECKING:
    from torch import Tensor

    from methods.diffusion.together import Together


class Refiner(Protocol):
    """Class maps (classes, height, width) in, float32 of the same shape out; `parts` is what it reads of a pass.

    A class that says `batched = True` in its own body also takes (images, classes, height, width) and what their pass
    left of them together. It works on every plane by itself: those that only other images have are zeros.
    """

    def parts(self) -> Parts: ...

    def refine(self, maps: Tensor, features: Any) -> Tensor: ...


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


def refiner(text: str, **wishes: Any) -> Refiner:
    """The refiner of a key, or of an address `module:Class`, with settings in brackets; wishes that are not None win.

    MethodError for an unknown key or setting, with those there are.
    """
    call = call_of(text)
    if call is None or (call.name not in REFINERS and ":" not in call.name):
        raise MethodError(f"There is no refiner {text!r}; there are {', '.join(REFINERS)}, or an address module:Class.")
    address, settings = REFINERS.get(call.name, (call.name, {}))
    try:
        kind = class_at(address)
        known = [field.name for field in fields(kind)]
    except (ImportError, AttributeError, TypeError) as problem:
        raise MethodError(f"The refiner {address!r} cannot be imported as a dataclass: {problem}.") from problem
    given = {**settings, **call.settings}
    given |= {name: value for name, value in wishes.items() if value is not None and name in known}
    if unknown := sorted(set(given) - set(known)):
        called, there = call.name, ", ".join(known) or "none"
        raise MethodError(f"The refiner {called!r} has no setting {unknown[0]!r}; it has {there}.")
    built: Refiner = kind(**given)
    return built


def refined_together(chosen: Refiner, maps: Tensor, group: Together, wanted: Collection[int]) -> Tensor:
    """Maps (images, classes, height, width) of a group, refined; of images that are not wanted, anything."""
    if vars(type(chosen)).get("batched") and maps.shape[1]:
        return chosen.refine(maps, group)
    from methods.diffusion.features import DiffusionFeatures

    found = maps.clone()
    for number in wanted:
        own = slice(0, group.classes[number])
        if own.stop:
            found[number, own] = chosen.refine(maps[number, own], DiffusionFeatures(group.only(number)))
    return found
