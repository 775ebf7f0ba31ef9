"""Recipes go in; objects come out, with all their settings known, or a sentence that says what fits."""

from __future__ import annotations

import enum
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
from pydantic import Field

from harness.contracts import Recipe
from harness.errors import AddressError, DataError, SettingsError
from harness.recipes import loading
from harness.recipes.settings import check_setting, construct


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Typed:
    count: int = 1
    share: float = 0.5
    on: bool = True
    word: str = "a"
    layers: tuple[int, ...] = (1, 2)
    pair: tuple[float, str] = (1.0, "x")
    form: Literal["plain", "full"] = "plain"
    limit: int | None = None
    either: int | str = 1
    listed: list[int] = field(default_factory=list)
    words: frozenset[str] = frozenset({"b", "a"})
    folder: Path = Path("data")
    colour: Colour = Colour.RED
    bounded: Annotated[int, Field(ge=2, le=4)] = 3
    free: Any = None
    array: np.ndarray = None  # type: ignore[type-arg, assignment]
    fixed: int = field(default=7, init=False)


@dataclass(frozen=True)
class Keyed:
    shares: Mapping[int, float] = field(default_factory=dict)


class Plain:
    def __init__(self, size: int, name: str = "x", *, deep: bool = False) -> None:
        self.total = size * 2


class Open:
    def __init__(self, **settings: Any) -> None:
        self.settings = settings


class Slotted:
    __slots__ = ("size",)

    def __init__(self, size: int = 1) -> None:
        self.size = size


@dataclass(frozen=True)
class WithInit:
    size: int = 1
    scale: InitVar[int] = 2

    def __post_init__(self, scale: int) -> None:
        object.__setattr__(self, "size", self.size * scale)


@dataclass
class Refusing:
    why: str = "value"

    def __post_init__(self) -> None:
        errors = {"value": ValueError("why is wrong"), "key": KeyError("k"), "data": DataError("no such folder")}
        raise errors.get(self.why, TypeError())


HERE = __name__


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Writes a module beside a grid, for one test only, and gives its name back."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def write(name: str, text: str) -> str:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


FITTING = [
    ("count", 3, 3), ("share", 1, 1.0), ("share", 0.25, 0.25), ("on", False, False), ("layers", (), ()),
    ("layers", (3, 4), (3, 4)), ("layers", [3, 4], (3, 4)), ("pair", (2, "y"), (2.0, "y")), ("form", "full", "full"),
    ("limit", None, None), ("limit", 5, 5), ("either", "s", "s"), ("listed", (1, 2), [1, 2]),
    ("words", ("p",), frozenset({"p"})), ("folder", "a/b", Path("a/b")), ("colour", "blue", Colour.BLUE),
    ("bounded", 4, 4), ("free", (1, (2,)), (1, (2,))), ("free", "x", "x"), ("array", 3, 3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "expected"), FITTING)
def test_a_value_that_fits_comes_as_its_setting_wants_it(name: str, given: Any, expected: Any) -> None:
    fitting = check_setting(Typed, name, given)
    assert fitting == expected and type(fitting) is type(expected)
    assert getattr(construct(Typed, {name: given}), name) == expected


UNFITTING = [
    ("count", "1", "must be a whole number, not '1' (write it without quotes)"),
    ("count", 1.5, "must be a whole number, not 1.5"),
    ("count", 1.0, "must be a whole number, not 1.0"),
    ("count", True, "must be a whole number, not true"),
    ("share", "0.5", "must be a number, not '0.5'"),
    ("share", "2e-5", "a point and a sign, as in 1.0e-3"),
    ("share", True, "must be a number, not true"),
    ("on", 1, "must be true or false, not 1"),
    ("word", 3, "must be text, not 3 (put it in quotes)"),
    ("word", False, "put the word in quotes"),
    ("word", None, "must be text, not empty"),
    ("layers", 3, "must be a list, not 3"),
    ("layers", (1, "b"), "item 2 of setting 'layers' must be a whole number, not 'b'"),
    ("pair", (1.0,), "item 2 of setting 'pair' is missing"),
    ("form", "ful", "must be 'plain' or 'full', not 'ful'; did you mean 'full'?"),
    ("limit", "none", "must be a whole number, not 'none'"),
    ("either", 1.5, "must be a whole number or text, not 1.5"),
    ("colour", "rad", "must be 'red' or 'blue', not 'rad'; did you mean 'red'?"),
    ("bounded", 5, "must be less than or equal to 4, not 5"),
    ("free", object(), "must be made of numbers, text"),
    ("fixed", 1, "has no setting 'fixed'"),
    ("cuont", 1, "has no setting 'cuont'; did you mean 'count'? (settings: count, share, on"),
]


class Firm(Plain):
    refused: ClassVar[dict[str, str]] = {"deeper": "deep is as deep as it gets"}


def test_a_setting_that_is_looked_for_in_vain_is_refused_with_its_reason() -> None:
    with pytest.raises(SettingsError, match=rf"^{HERE}:Firm has no setting 'deeper': deep is as deep as it gets$"):
        construct(Firm, {"size": 1, "deeper": 2})
    with pytest.raises(SettingsError, match=r"no setting 'depe'; did you mean 'deep'\?"):
        construct(Firm, {"size": 1, "depe": 2})


@pytest.mark.parametrize(("name", "given", "words"), UNFITTING)
def test_a_value_that_does_not_fit_is_refused_in_words(name: str, given: Any, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        construct(Typed, {name: given})
    assert words in str(caught.value)
    assert f"{HERE}:Typed" in str(caught.value)


def test_all_settings_are_known_with_defaults_as_plain_values() -> None:
    known = loading.settings_of(loading.build(Recipe.of(f"{HERE}:Typed", count=9, colour="blue", listed=[4, 5])))
    assert known == {
        "count": 9, "share": 0.5, "on": True, "word": "a", "layers": (1, 2), "pair": (1.0, "x"), "form": "plain",
        "limit": None, "either": 1, "listed": (4, 5), "words": ("a", "b"), "folder": "data", "colour": "blue",
        "bounded": 3, "free": None, "array": None,
    }  # fmt: skip
    assert hash(tuple(known.items()))


def test_settings_of_other_classes_are_the_arguments_they_were_given() -> None:
    plain = loading.build(Recipe.of(f"{HERE}:Plain", size=3))
    assert loading.settings_of(plain) == {"size": 3, "name": "x", "deep": False}
    assert loading.settings_of(loading.build(Recipe.of(f"{HERE}:Open", any=(1, 2)))) == {"any": (1, 2)}
    built = loading.build(Recipe.of(f"{HERE}:WithInit", size=3, scale=5))
    assert built.size == 15 and loading.settings_of(built) == {"size": 3, "scale": 5}


def test_settings_that_no_other_process_could_spell_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"the settings of an object of .*:Plain are not known"):
        loading.settings_of(Plain(1))
    with pytest.raises(SettingsError, match="make it a dataclass"):
        loading.build(Recipe.of(f"{HERE}:Slotted"))
    with pytest.raises(SettingsError, match="setting 'free' holds a object"):
        loading.settings_of(Typed(free=object()))
    nested = Typed(free={"b": np.float32(0.5), "a": PurePosixPath("x/y"), "c": Recipe.of("m:C", n=1)})
    inner = ("harness.contracts.nouns:Recipe", ("use", "m:C"), ("settings", (("n", 1),)))
    assert loading.settings_of(nested)["free"] == ("a mapping", (("a", "x/y"), ("b", 0.5), ("c", inner)))


def test_mappings_and_lists_are_other_settings_and_keys_count_with_their_kinds() -> None:
    given = ({1: 3}, {"1": 3}, {True: 3}, {"True": 3}, {1.0: 3}, {None: 3}, ((1, 3),), (("1", 3),), {"a": {1: 3}})
    known = [loading.settings_of(loading.build(Recipe.of(f"{HERE}:Typed", free=one)))["free"] for one in given]
    assert len({json.dumps(one) for one in known}) == len(given)
    orders = ({1: "a", "1": "b"}, {"1": "b", 1: "a"})
    assert len({repr(loading.build(Recipe.of(f"{HERE}:Typed", free=one)).free) for one in orders}) == 1


def test_two_keys_that_are_one_to_a_setting_are_refused() -> None:
    for one in ({1: 0.5, "1": 0.25}, {"1": 0.25, 1: 0.5}):
        with pytest.raises(SettingsError, match=r"setting 'shares' has the keys .*1.*1.*, which are one key to it"):
            loading.build(Recipe.of(f"{HERE}:Keyed", shares=one))


@pytest.mark.parametrize(
    ("use", "settings", "error", "words"),
    [
        ("Plain", {}, SettingsError, "needs the setting 'size'"),
        ("Plain", {"size": 1, "nam": "y"}, SettingsError, "did you mean 'name'?"),
        ("Refusing", {}, SettingsError, "why is wrong"),
        ("Refusing", {"why": "type"}, SettingsError, "TypeError"),
        ("Refusing", {"why": "key"}, SettingsError, "cannot be built: KeyError: 'k'"),
        ("Refusing", {"why": "data"}, DataError, "no such folder"),
    ],
)
def test_an_object_that_cannot_be_built_says_why(use: str, settings: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        loading.build(Recipe.of(f"{HERE}:{use}", **settings))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("harness.contracts.Recipe", "is not an address; write module:Class; did you mean 'harness.contracts:Recipe'?"),
        ("", "'' is not an address"),
        ("../evil:X", "is not an address"),
        ("a:b:c", "is not an address"),
        ("harness.contract:Recipe", "no module 'harness.contract'; did you mean 'harness.contracts'?"),
        ("harnes.contrats:Recipe", "did you mean 'harness.contracts'?"),
        ("contracts.py:Recipe", "there is no module 'contracts.py'; did you mean 'contracts:Recipe'?"),
        ("qqqqzzzz:X", "there is no module 'qqqqzzzz'"),
        ("harness.contracts:Recipee", "has no class 'Recipee'; did you mean 'Recipe'?"),
        ("harness.contracts:BACKGROUND", "not a class but of type int"),
        ("harness.contracts:freeze", "not a class but of type function"),
        ("os.path.nothing:X", "there is no module 'os.path.nothing'"),
    ],
)
def test_an_address_that_leads_nowhere_names_the_nearest_one(use: str, words: str) -> None:
    with pytest.raises(AddressError) as caught:
        loading.load_class(use)
    assert words in str(caught.value)


def test_a_module_that_fails_on_import_says_how(module: Callable[[str, str], str]) -> None:
    for name, text, words in [
        ("fails_a", "raise SystemExit('bye')", "SystemExit: bye"),
        ("fails_b", "def broken(:\n", "SyntaxError"),
        ("fails_c", "import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
    ]:
        with pytest.raises(AddressError, match=f"importing '{name}' failed") as caught:
            loading.load_class(f"{module(name, text)}:X")
        assert words in str(caught.value)
    lazy = module("fails_d", "def __getattr__(name):\n    raise OSError('gone')\n")
    with pytest.raises(AddressError, match="looking up 'X' failed: OSError: gone"):
        loading.load_class(f"{lazy}:X")


def test_what_a_thing_is_shows_in_its_verbs(module: Callable[[str, str], str]) -> None:
    name = module(
        "roles",
        "class M:\n    def segment(self): ...\n"
        "class R(M):\n    def passes(self): ...\n    def read(self): ...\n"
        "class B:\n    def ids(self): ...\n    def load(self): ...\n"
        "    @property\n    def classes(self): raise OSError('evaluated')\n"
        "class H:\n    def passes(self): ...\n    ids = 1\n",
    )
    classes = {letter: loading.load_class(f"{name}:{letter}") for letter in "MRBH"}
    assert [loading.kind_of(classes[letter]()) for letter in "MRB"] == ["method", "reader", "benchmark"]
    for letter, role in (("M", "method"), ("R", "method"), ("B", "benchmark")):
        loading.check_role(classes[letter], role, letter)  # type: ignore[arg-type]
    with pytest.raises(AddressError, match="neither a reader, a method nor a benchmark; besides"):
        loading.kind_of(classes["H"]())
    with pytest.raises(AddressError, match=r"^'roles:H' cannot be used as a method: it has neither `segment` nor both"):
        loading.check_role(classes["H"], "method", "roles:H")
    with pytest.raises(AddressError, match=r"cannot be used as a benchmark: it has no `load`$"):
        loading.check_role(classes["H"], "benchmark", "roles:H")


def test_the_backbones_of_a_reader_are_told_once_each(module: Callable[[str, str], str]) -> None:
    name = module(
        "readers",
        "from collections import namedtuple\nfrom harness.contracts import Recipe\n"
        "P = namedtuple('P', 'backbone encoding')\n"
        "class Reads:\n    def passes(self):\n"
        "        return {P(Recipe.of('m:N', size=n % 2), n): frozenset() for n in (1, 2, 3)}\n"
        "class Fails:\n    def passes(self):\n        raise KeyError('p')\n"
        "class Other:\n    def passes(self):\n        return {P('m:N', 1): frozenset()}\n",
    )
    found = loading.backbones(loading.build(Recipe.of(f"{name}:Reads")))
    assert found == (Recipe.of("m:N", size=1), Recipe.of("m:N", size=0))
    with pytest.raises(SettingsError, match="cannot be told: TypeError: the `backbone` of a pass must be"):
        loading.backbones(loading.build(Recipe.of(f"{name}:Other")))
    with pytest.raises(SettingsError, match="readers:Fails: its passes cannot be told: KeyError: 'p'"):
        loading.backbones(loading.build(Recipe.of(f"{name}:Fails")))


def test_our_packages_are_ours() -> None:
    loading.refuse_foreign_packages()


@pytest.mark.parametrize("kind", ["package", "file"])
def test_a_foreign_package_of_our_name_is_refused_with_its_place(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "results" if kind == "package" else tmp_path / "results.py"
    if kind == "package":
        foreign.mkdir()
        (foreign / "__init__.py").touch()
    else:
        foreign.touch()
    for loaded in [name for name in sys.modules if name.partition(".")[0] == "results"]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AddressError, match=r"a foreign package 'results' at .* hides ours at") as caught:
        loading.refuse_foreign_packages()
    assert str(foreign) in str(caught.value)


def test_a_foreign_package_behind_ours_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    loading.refuse_foreign_packages()


def test_a_plug_in_beside_a_grid_is_not_mistaken_for_another(
    module: Callable[[str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module("beside_me", "class Mine:\n    pass\n")
    loading.check_beside(f"{name}:Mine", tmp_path)
    loading.load_class(f"{name}:Mine")
    loading.check_beside(f"{name}:Mine", tmp_path)
    second = tmp_path / "second"
    second.mkdir()
    loading.check_beside(f"{name}:Mine", second)
    (second / "beside_me.py").touch()
    with pytest.raises(AddressError, match=r"leads to .*beside_me\.py, not to .*second/beside_me\.py"):
        loading.check_beside(f"{name}:Mine", second)
