"""What is looked at in one comparison: a change of any kind is seen, and what did not change is taken for the same."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import sys
import threading
import typing
from collections import OrderedDict
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.foreign import company, variables
from harness.foreign.calls import Guard
from harness.foreign.held import SMALL, digests, hanging
from harness.foreign.replaced import Functions
from harness.foreign.still import Still
from harness.recipes.settings import construct


class Slotted:
    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept: Any = [1.5]


class Other(torch.nn.Module):
    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given


class Network:
    """One of everything that others hang on."""

    def __init__(self) -> None:
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
        self.slotted = Slotted()
        self.table: dict[Any, Any] = OrderedDict(first="here", second="here", third=0.5)
        self.nested = ({"deep": [SimpleNamespace(number=2.5)]},)
        self.names = {"one", "two"}
        scale = 2.0

        def scaled(given: float) -> float:
            return scale * given

        def rescale(by: float) -> None:
            nonlocal scale
            scale = by

        self.scaled, self.rescale = scaled, rescale


def rename(table: dict[Any, Any]) -> None:
    """Another key for the same value in the same place."""
    held = {"first" if key == "first" else f"{key}!": value for key, value in table.items()}
    table.clear()
    table.update(held)


CHANGES: dict[str, Callable[[Network], object]] = {
    "attribute": lambda one: setattr(one.layers[1], "eps", 0.25),
    "new attribute": lambda one: setattr(one.layers[0], "forward", one.scaled),
    "parameter": lambda one: setattr(one.layers[0], "weight", torch.nn.Parameter(torch.zeros(2, 3))),
    "hook": lambda one: one.layers[1].register_forward_hook(lambda *given: None),
    "mode": lambda one: one.layers.eval(),
    "layer": lambda one: one.layers.__setitem__(1, Other()),
    "class": lambda one: setattr(one.layers[1], "__class__", Other),
    "slot": lambda one: setattr(one.slotted, "kept", [1.5]),
    "entry": lambda one: one.slotted.kept.__setitem__(0, 1.75),
    "key": lambda one: rename(one.table),
    "order": lambda one: one.table.move_to_end("first"),  # type: ignore[attr-defined]
    "deep": lambda one: setattr(one.nested[0]["deep"][0], "number", 2.75),
    "set": lambda one: one.names.add("three"),
    "closure": lambda one: one.rescale(3.0),
    "taken away": lambda one: delattr(one, "names"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_what_hangs_on_a_network_is_seen(change: str) -> None:
    one = Network()
    found = hanging(one, modules=True)
    still = Still([*found.holders, *found.within])
    one.layers(torch.ones(4, 3))
    assert still.same()
    CHANGES[change](one)
    assert not still.same()


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that counts as one of this house."""
    module = ModuleType("methods.looked_at")
    module.__spec__ = ModuleSpec("methods.looked_at", None)

    def answer(given: int = 1, *, named: int = 1) -> int:
        return given + named

    kind = type("Kind", (), {"verb": lambda self: 1, "__module__": module.__name__})
    answer.__module__, answer.__qualname__ = module.__name__, "answer"
    vars(module).update(LIMITS=[1, 2], answer=answer, Kind=kind)
    monkeypatch.setitem(sys.modules, "methods.looked_at", module)
    return module


LEFT: dict[str, tuple[Callable[[ModuleType], object], str]] = {
    "replaced": (lambda one: setattr(one, "answer", print), "methods.looked_at.answer replaced"),
    "taken away": (lambda one: delattr(one, "answer"), "methods.looked_at.answer replaced"),
    "method": (lambda one: setattr(one.Kind, "verb", print), "methods.looked_at.Kind.verb replaced"),
    "hidden": (lambda one: setattr(one.Kind, "__repr__", print), "methods.looked_at.Kind.__repr__ replaced"),
    "default": (lambda one: setattr(one.answer, "__defaults__", (2,)), "the code or defaults of methods.looked_at"),
    "named": (lambda one: one.answer.__kwdefaults__.update(named=2), "the code or defaults of methods.looked_at"),
    "table": (lambda one: one.LIMITS.append(3), "methods.looked_at.LIMITS changed"),
    "module": (lambda one: sys.modules.pop("methods.looked_at"), "sys.modules['methods.looked_at'] replaced"),
}  # fmt: skip


@pytest.mark.parametrize("change", LEFT)
def test_what_is_replaced_is_told_and_put_back_and_then_nothing_is_told(change: str, ours: ModuleType) -> None:
    functions = Functions()
    functions.settle()
    assert functions.traces() == []
    leave, told = LEFT[change]
    leave(ours)
    traces = functions.traces()
    assert [trace.clause.startswith(told) for trace in traces] == [True], [trace.clause for trace in traces]
    traces[0].put_back()
    assert functions.traces() == []
    leave(ours)
    functions.settle()  # it is taken for right
    assert functions.traces() == []


THEIRS = """
import abc, enum, functools, dataclasses, torch

@dataclasses.dataclass
class Boxes:
    size: int = 3
    loaded = None
    limit = 7
    @property
    def classes(self):
        return ("a",)
    @staticmethod
    def still():
        return 1
    @classmethod
    def made(cls):
        return cls()
    @functools.cached_property
    def lazy(self):
        return [self.size]
    @functools.lru_cache
    def kept(self, given):
        return given
    __hash__ = object.__hash__
    def load(self, given=1):
        return given

class Smaller(Boxes):
    pass

class Kind(abc.ABC):
    @abc.abstractmethod
    def verb(self): ...

class Colour(enum.Flag):
    RED = 1
    BLUE = 2

class Layer(torch.nn.Module):
    def forward(self, given):
        return given

class Steps(torch.optim.SGD):
    def step(self, closure=None):
        return super().step(closure)

VALUE = None
def helps():
    return 1
"""


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stranger's module, and functions as they are compared beside it."""
    module: Any = ModuleType("their_module")
    module.__file__ = "/research/their_module.py"
    monkeypatch.setitem(sys.modules, "their_module", module)
    exec(compile(THEIRS, module.__file__, "exec"), vars(module))
    functions = Functions()
    functions.meet("their_method:One")
    functions.settle()
    assert functions.traces() == []
    return SimpleNamespace(module=module, functions=functions)


def test_what_a_class_fills_in_at_first_use_is_walked_over_once_and_no_more(theirs: Any) -> None:
    theirs.module.Boxes.loaded = [1]
    assert theirs.functions.traces() == []
    assert theirs.functions._glance.same(), "every batch from here on would look at all functions one by one"
    theirs.module.Boxes.load = print
    assert [trace.clause for trace in theirs.functions.traces()] == ["their_module.Boxes.load replaced"]


THEY_LEAVE: dict[str, tuple[Callable[[Any], object], str]] = {
    "method": (lambda one: setattr(one.Boxes, "load", lambda self: 1), "Boxes.load replaced"),
    "taken away": (lambda one: delattr(one.Boxes, "load"), "Boxes.load replaced"),
    "shell": (lambda one: setattr(one.Boxes, "load", functools.wraps(one.Boxes.load)(lambda self: 1)),
              "Boxes.load replaced"),
    "property": (lambda one: setattr(one.Boxes, "classes", property(lambda self: ())), "Boxes.classes replaced"),
    "lazy property": (lambda one: setattr(one.Boxes, "lazy", 3), "Boxes.lazy replaced"),
    "static method": (lambda one: setattr(one.Boxes, "still", staticmethod(print)), "Boxes.still replaced"),
    "class method": (lambda one: setattr(one.Boxes, "made", classmethod(print)), "Boxes.made replaced"),
    "attribute": (lambda one: setattr(one.Boxes, "limit", 8), "Boxes.limit replaced"),
    "default of a field": (lambda one: setattr(one.Boxes, "size", 4), "Boxes.size replaced"),
    "constructor": (lambda one: setattr(one.Boxes, "__init__", lambda self: None), "Boxes.__init__ replaced"),
    "defaults": (lambda one: setattr(one.Boxes.load, "__defaults__", (2,)), "the code or defaults of"),
    "getter": (lambda one: setattr(one.Boxes.classes.fget, "__code__", (lambda self: ()).__code__), "the code or"),
    "new verb": (lambda one: setattr(one.Boxes, "__bool__", lambda self: False), "Boxes.__bool__ replaced"),
    "hidden": (lambda one: setattr(one.Smaller, "limit", 8), "Smaller.limit replaced"),
    "forward": (lambda one: setattr(one.Layer, "forward", print), "Layer.forward replaced"),
    "class": (lambda one: setattr(one, "Boxes", one.Smaller), "Boxes replaced"),
    "function": (lambda one: setattr(one, "helps", print), "helps replaced"),
}  # fmt: skip


@pytest.mark.parametrize("change", THEY_LEAVE)
def test_what_is_replaced_in_a_strangers_module_is_told_and_put_back(change: str, theirs: Any) -> None:
    leave, told = THEY_LEAVE[change]
    leave(theirs.module)
    (trace,) = theirs.functions.traces()
    assert trace.clause.startswith(told if told.startswith("the code") else f"their_module.{told}"), trace.clause
    trace.put_back()
    assert theirs.functions.traces() == []


def test_a_mark_that_all_is_done_goes_with_what_was_done(theirs: Any) -> None:
    """So that who left it does so again where the batch is done again, and is known."""
    theirs.module.Boxes.done, theirs.module.Boxes.loaded, theirs.module.Boxes.load = True, 3, print
    traces = theirs.functions.traces()
    assert [trace.clause.split(".")[-1] for trace in traces] == ["loaded replaced", "load replaced", "done replaced"]
    for trace in traces:
        trace.put_back()
    assert theirs.functions.traces() == [] and not hasattr(theirs.module.Boxes, "done")


THEY_FILL: dict[str, Callable[[Any], object]] = {
    "empty attribute": lambda one: setattr(one.Boxes, "loaded", object()),
    "new attribute": lambda one: setattr(one.Boxes, "model", object()),
    "names of slots": lambda one: copy.deepcopy(one.Boxes()),
    "cached property": lambda one: one.Boxes().lazy,
    "cache": lambda one: one.Boxes().kept(3),
    "dataclass": lambda one: (dataclasses.asdict(one.Boxes()), dataclasses.replace(one.Boxes(), size=4)),
    "abstract class": lambda one: (one.Kind.register(one.Boxes), isinstance(one.Boxes(), one.Kind)),
    "members": lambda one: one.Colour(3).name,
    "annotations": lambda one: (typing.get_type_hints(one.Boxes), inspect.signature(one.Boxes)),
    "settings": lambda one: construct(one.Boxes, {"size": 4}),
    "layer": lambda one: one.Layer()(torch.ones(1)),
    "steps of an optimizer": lambda one: one.Steps([torch.nn.Parameter(torch.zeros(1))], lr=0.1),
    "what a module keeps": lambda one: setattr(one, "VALUE", object()),
    "new name": lambda one: setattr(one, "MODEL", print),
    "new subclass": lambda one: type("Late", (one.Boxes,), {"__module__": one.__name__}),
}


@pytest.mark.parametrize("change", THEY_FILL)
def test_what_classes_make_at_first_use_is_no_trace(change: str, theirs: Any) -> None:
    THEY_FILL[change](theirs.module)
    assert [trace.clause for trace in theirs.functions.traces()] == []


def test_a_step_that_torch_wraps_is_none_and_one_that_somebody_wraps_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch hides Adam's step behind a shell on AdamW when the first AdamW is made."""
    import methods.student.training  # noqa: F401  (whose optimizers are then looked at)

    monkeypatch.setattr(torch.optim.AdamW, "step", torch.optim.Adam.step)
    monkeypatch.delattr(torch.optim.AdamW, "step")  # as in a fresh process; put back in the end
    monkeypatch.setattr(torch.optim.Adam, "step", getattr(torch.optim.Adam.step, "__wrapped__", torch.optim.Adam.step))
    functions = Functions()
    functions.settle()
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    assert "step" in vars(torch.optim.AdamW) and functions.traces() == []
    torch.optim.AdamW.step = lambda self, closure=None: None  # type: ignore[method-assign]
    assert [trace.clause for trace in functions.traces()] == ["torch.optim.adamw.AdamW.step replaced"]


def test_where_ours_are_alone_what_a_call_left_is_found_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless() -> None:
        torch.set_default_dtype(torch.float64)

    for met, with_the_call in ((set(), ()), ({"theirs:One"}, ("torch's default dtype at torch.float64",))):
        monkeypatch.setattr(company, "_met", met)
        guard = Guard()
        guard.settle()
        assert guard.ask("methods.ours:One", (), careless).left == with_the_call
        left = guard.rare_traces()
        assert left == ([] if with_the_call else ["torch's default dtype at torch.float64"])
        assert torch.get_default_dtype() == torch.float32
    monkeypatch.setattr(company, "_met", set())
    guard = Guard(careful=True)  # as where the batch is done again
    guard.settle()
    assert "torch's default dtype at torch.float64" in guard.ask("methods.ours:One", (), careless).left


def test_a_container_that_another_thread_fills_is_looked_at_all_the_same() -> None:
    busy: dict[int, int] = {}
    over = threading.Event()

    def fill() -> None:
        number = 0
        while not over.is_set():
            busy[number % 997] = number
            busy.pop((number * 7) % 997, None)
            number += 1

    filling = threading.Thread(target=fill, daemon=True)
    filling.start()
    try:
        part = variables._Inside.of("busy", busy)
        for _ in range(2000):
            part.same()
            part.filled()
            assert list(variables._hanging({"busy": busy}, {}))
    finally:
        over.set()
        filling.join()


class Shy(np.ndarray[Any, Any]):
    """A class of numbers whose own verbs are not to be asked."""

    def tobytes(self, *_order: Any) -> bytes:  # type: ignore[override]
        raise AssertionError("its code runs where nobody looks after it")


@pytest.mark.parametrize("bytes_", [64, SMALL, SMALL + 8])
def test_any_byte_of_a_small_or_large_array_or_tensor_changes_its_digest(bytes_: int) -> None:
    array = np.arange(bytes_, dtype=np.uint8)
    things = [array, array.view(Shy), array.reshape(2, -1).T, torch.from_numpy(array), torch.from_numpy(array)[::2]]
    assert isinstance(digests([array])[0], bytes) == (bytes_ <= SMALL)
    for place in (0, bytes_ - 2):
        before = digests(things)
        assert None not in before and digests(things) == before
        array[place] += 1
        assert all(now != was for now, was in zip(digests(things), before, strict=True))
        array[place] -= 1
        assert digests(things) == before
