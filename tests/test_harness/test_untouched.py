"""Dictionaries, and what else tells that nothing changed, are changed in every way; each is told, and nothing else."""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import pytest
import torch
from PIL import ImageFile

from harness.foreign import made, registries, strays, untouched
from harness.foreign.untouched import Untouched
from harness.foreign.watched import all_watched

HOT = 100  # times after which Python writes a place in other ways than at first
CHANGES: dict[str, Callable[[ModuleType, type], object]] = {
    "a module's name is set": lambda module, kind: setattr(module, "here", 2),
    "by the same line many times": lambda module, kind: _many_times(module),
    "a global is set by a function": lambda module, kind: [module.turn(number) for number in range(HOT)],
    "a name is new": lambda module, kind: setattr(module, "new", 1),
    "a name is taken away": lambda module, kind: delattr(module, "here"),
    "two names are exchanged, in one order": lambda module, kind: _exchange(module),
    "by its dictionary": lambda module, kind: vars(module).update(here=2),
    "a class's attribute is set": lambda module, kind: setattr(kind, "verb", 2),
    "a class's attribute is taken away": lambda module, kind: delattr(kind, "verb"),
}


def _many_times(module: ModuleType) -> None:
    for number in range(HOT):
        module.here = number


def _exchange(module: ModuleType) -> None:
    one, other = module.here, module.there
    del module.here, module.there
    module.there, module.here = one, other


def looked_at() -> tuple[ModuleType, type, Untouched]:
    module, kind = ModuleType("looked_at"), type("Kind", (), {"verb": 1})
    exec("here, there = 0, 1\ndef turn(number):\n    global here\n    here = number", vars(module))
    return module, kind, Untouched((vars(module), vars(kind)))


@pytest.mark.skipif(not untouched.KEPT, reason="this Python keeps no versions: everything is looked at entry by entry")
@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_a_module_or_class_is_told(change: str) -> None:
    module, kind, both = looked_at()
    first, now = both.touched()
    assert [*first] == [0, 1], "nobody has said yet that they are in order"
    both.take(now)
    for _ in range(HOT):
        _ = module.here, dict(vars(module)), kind().verb, vars(module).get("none"), [*vars(kind)]
    assert not both.touched()[0], "a look is no change"
    CHANGES[change](module, kind)
    assert [*both.touched()[0]] == [int("class" in change)]


@pytest.mark.skipif(not untouched.KEPT, reason="without versions everything is looked at every time")
def test_a_change_while_it_is_looked_at_is_told_by_the_next_look() -> None:
    module, _, both = looked_at()
    _, now = both.touched()
    module.here = 2
    both.take(now)
    assert [*both.touched()[0]] == [0]


def test_where_python_keeps_no_versions_all_counts_as_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untouched, "KEPT", False)
    _, _, both = looked_at()
    both.take(both.touched()[1])
    assert [*both.touched()[0]] == [0, 1]


REMADE: dict[str, Callable[[FunctionType, FunctionType], object]] = {
    "code": lambda function, other: setattr(function, "__code__", other.__code__),
    "defaults": lambda function, other: setattr(function, "__defaults__", other.__defaults__),
    "none": lambda function, other: setattr(function, "__defaults__", None),
    "named defaults": lambda function, other: setattr(function, "__kwdefaults__", other.__kwdefaults__),
    "a named default": lambda function, other: function.__kwdefaults__.update(named=1),
}


def functions_of(number: int) -> list[FunctionType]:
    space: dict[str, FunctionType] = {}
    for name in range(number):
        exec(f"def one{name}(held=({name}, 'x'), *, named=({name}, 'y')):\n    return {name}", space)
    return [space[f"one{name}"] for name in range(number)]


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("number", [2, 7])
@pytest.mark.parametrize("change", REMADE)
def test_other_code_or_defaults_of_a_function_are_told(
    change: str, number: int, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shown:  # as where this Python does not say where they lie
        monkeypatch.setattr(made, "PLACES", ())
    functions = functions_of(number)
    parts = [functions[:1], functions[1:]]
    known = made.Made()
    for part in parts:
        known = known.and_also(part, [*map(made.made_of, part)])
    functions[0].__doc__, functions[0].anything = "another text", 1  # type: ignore[attr-defined]
    assert known.same()
    functions[-1].__defaults__ = tuple([(number - 1, "x")])
    assert known.same(), "an equal one does the same"
    was = made.made_of(functions[-1])
    REMADE[change](functions[-1], functions[0])
    assert not known.same() and not known.same()
    made.remake(functions[-1], was)
    assert known.same()
    assert not made.Made(functions[:1], [made.made_of(functions[1])]).same(), "it was another from the first"


def test_defaults_that_lie_where_equal_ones_lay_are_told() -> None:
    (function,) = functions_of(1)
    known = made.Made([function], [made.made_of(function)])
    function.__defaults__ = tuple([(0, "x")])
    assert known.same()
    function.__defaults__ = None  # nobody but who looks holds them: what comes next would lie in their place
    function.__defaults__ = tuple([(1, "x")])
    assert not known.same()


def test_permissions_of_new_files_are_read_whoever_closes_descriptors(tmp_path: Path) -> None:
    was = os.umask(0o027)
    try:
        assert registries._umask() == 0o027
        ((status, _),) = registries._open.values()
        os.close(status)
        assert registries._umask() == 0o027
        ((status, _),) = registries._open.values()
        (tmp_path / "status").write_bytes(b"\nUmask:\t0027\n")
        with open(tmp_path / "status") as other:
            os.dup2(other.fileno(), status)
        os.umask(0o077)
        assert registries._umask() == 0o077 and registries._umask() == 0o077
        os.close(status)
    finally:
        os.umask(was)


def test_all_that_is_watched_is_made_anew_where_its_modules_are_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    found = all_watched()
    assert all_watched() is found, "nobody touched anything"
    monkeypatch.setattr(torch.nn.modules.module, "_global_forward_hooks", OrderedDict(new=print))
    hooks = {one.words: one for one in all_watched()}["hooks of all modules"]
    assert any("new" in held for _, held in hooks.look()), "a new table is looked at"


def test_numpys_errors_and_filters_of_warnings_are_told_as_they_are_now() -> None:
    looks = {one.words: one.look for one in all_watched()}
    errors, size, filters = looks["numpy's error state"], looks["numpy's buffer size"], looks["warnings"]
    before = errors(), size(), filters()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        assert errors()[0] == dict.fromkeys(("divide", "over", "under", "invalid"), "ignore")
        np.setbufsize(1 << 16)
        warnings.simplefilter("error")
        assert size() == 1 << 16 and filters() != before[2]
    np.setbufsize(before[1])
    assert (errors(), size(), filters()) == before


def test_a_module_that_another_thread_is_importing_is_watched_once_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "PIL.ImageFile.LOAD_TRUNCATED_IMAGES"
    with monkeypatch.context() as half:
        half.setattr(ImageFile.__spec__, "_initializing", True, raising=False)
        half.delattr(ImageFile, "LOAD_TRUNCATED_IMAGES")
        assert words not in {one.words for one in all_watched()}
        half.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False, raising=False)
        assert words not in {one.words for one in all_watched()}, "it is not wholly there"
        half.setattr(ImageFile.__spec__, "_initializing", False)
        assert words in {one.words for one in all_watched()}, "nobody touched it since"


def test_a_thread_that_is_told_of_by_another_table_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    strays.settle_strays()
    assert strays.look_for_strays() == ()
    monkeypatch.setattr(threading, "_active", dict(vars(threading)["_active"]))
    assert strays.look_for_strays() == ()
    over = threading.Event()
    late = threading.Thread(target=over.wait)
    late.start()
    try:
        assert strays.look_for_strays() == (late,)
    finally:
        over.set()
        late.join()
