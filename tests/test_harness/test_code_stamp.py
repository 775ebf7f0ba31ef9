"""A plug-in's class goes in; what stands for its code comes out, with all that it brings along and nothing else."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from harness.checks.told_of_code import told_of_code
from harness.contracts import Recipe
from harness.contracts.facts import digest, id_of_run
from harness.errors import AddressError
from harness.recipes import house, identity, loading
from harness.recipes.code_stamp import Code, classes_named, code_of
from harness.recipes.house import Line


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Code]]:
    """Write a stranger's files, and stamp the class Mine of its module `plug`, loaded anew."""
    place = tmp_path / "beside"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    written: set[str] = set()

    def forget() -> None:
        tops = {name.partition("/")[0].partition(".")[0] for name in written}
        for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def write(use: str = "plug:Mine", /, **texts: str) -> Code:
        for name, text in texts.items():
            path = place / f"{name.replace('__slash__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            written.add(path.relative_to(place).as_posix())
        forget()
        return code_of(loading.load_class(use))

    yield write
    forget()


MINE = "class Mine:\n    def segment(self, image, vocabulary):\n        pass\n"


def test_a_helper_that_changed_is_another_code_and_a_comment_is_not(stranger: Callable[..., Code]) -> None:
    plug = f"from my_helper import VALUE\n{MINE}"
    first = stranger(plug=plug, my_helper="VALUE = 1\n")
    assert first.own == ("my_helper", "plug") and first.source.startswith("src-")
    assert stranger(my_helper="VALUE = 1  # one\n").source == first.source
    assert stranger(my_helper='"""Why."""\n\nVALUE = (1)\n').source == first.source
    assert stranger(my_helper="VALUE = 2\n").source != first.source


@pytest.mark.parametrize(
    "plug",
    [
        f"import my_helper\n{MINE}",
        f"import deep\n{MINE}",
        f"{MINE}        import my_helper\n",
        f"{MINE}        from pack import inner\n",
        f"import pack.inner\n{MINE}",
        f"from pack.inner import thing\n{MINE}",
        f"import importlib\n{MINE}        importlib.import_module('my_helper')\n",
        f"from my_helper import *\n{MINE}",
        f"USES = 'my_helper:Thing'\n{MINE}",
        f"from open.sub import thing\n{MINE}",
        f"from deep import Parent\n{MINE.replace('Mine', 'Mine(Parent)')}",
        f"try:\n    import my_helper\nexcept ImportError:\n    pass\n{MINE}",
    ],
)
def test_whatever_is_brought_along_counts(plug: str, stranger: Callable[..., Code]) -> None:
    """Directly or through others, in functions, by literal names, in packages with and without __init__, as parents."""
    texts = {
        "plug": plug, "my_helper": "VALUE = 1\n", "deep": "from my_helper import VALUE\nclass Parent: ...\n",
        "pack__slash____init__": "from . import inner\n", "pack__slash__inner": "from .other import thing\n",
        "pack__slash__other": "from my_helper import VALUE\ndef thing(): ...\n",
        "open__slash__sub": "import my_helper\ndef thing(): ...\n",
    }  # fmt: skip
    first = stranger(**texts)
    assert "my_helper" in first.own
    assert stranger(my_helper="VALUE = 2\n").source != first.source


def test_what_is_not_imported_does_not_count(stranger: Callable[..., Code]) -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import other\n"
    first = stranger(plug=f"{typed}import json, numpy, torch.nn\n{MINE}", other="X = 1\n")
    assert first.own == ("plug",) and first.installed == {} and first.house == {}
    assert stranger(other="X = 2\n").source == first.source


@pytest.mark.parametrize(
    "reads", ["int(__doc__)", "int(Mine.__doc__)", "getattr(Mine, '__doc__')", "inspect.getdoc(Mine)"]
)
def test_docstrings_that_are_read_count_in_all_of_a_plug_ins_modules(stranger: Callable[..., Code], reads: str) -> None:
    """A prompt in a docstring changes pixels, wherever it is read; of one that nobody reads nothing changes."""
    plug = f'"""1"""\nimport inspect, my_helper\n{MINE}\n    def answer(self): return {reads}\n'
    first = stranger(plug=plug, my_helper='"""a"""\nX = 1\n')
    assert stranger(my_helper='"""b"""\nX = 1\n').source != first.source
    plain = stranger(plug=f'"""1"""\nimport my_helper\n{MINE}')
    assert stranger(plug=f'"""2"""\nimport my_helper\n{MINE}', my_helper="X = 1\n").source == plain.source


@pytest.mark.parametrize(
    "head", ["TYPE_CHECKING = True\n", "from other import TYPE_CHECKING\n", "import typing\ntyping = Mock()\n"]
)
def test_a_name_that_is_not_typings_hides_no_code(stranger: Callable[..., Code], head: str) -> None:
    test = "typing.TYPE_CHECKING" if "typing" in head else "TYPE_CHECKING"
    plug = f"{head}if {test}:\n    VALUE = 1\n{MINE}"
    first = stranger(plug=f"class Mock: TYPE_CHECKING = True\n{plug}", other="TYPE_CHECKING = True\n")
    assert stranger(plug=f"class Mock: TYPE_CHECKING = True\n{plug.replace('= 1', '= 2')}").source != first.source


def test_the_stamp_is_the_same_wherever_the_files_lie(stranger: Callable[..., Code], tmp_path: Path) -> None:
    plug = f"import pack.inner\n{MINE}"
    here = stranger(plug=plug, pack__slash____init__="", pack__slash__inner="X = 1\n")
    shutil.copytree(tmp_path / "beside", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "beside")
    (tmp_path / "beside").symlink_to(tmp_path / "elsewhere")
    assert stranger() == here


def test_a_version_stands_for_a_plug_ins_own_modules(stranger: Callable[..., Code]) -> None:
    text = f"import my_helper\nclass Mine:\n    version = 3\nclass Child(Mine): ...\n{MINE.replace('Mine', 'Plain')}"
    text += "class Set:\n    version = 'a'\n    def __init__(self, version='b'): ...\n"
    assert stranger(plug=text, my_helper="X = 1\n").source == "v3"
    assert stranger(my_helper="X = 2\n").source == "v3"
    # An inherited version, and a setting of that name, do not speak for a class.
    assert [stranger(f"plug:{name}").source[:4] for name in ("Child", "Plain", "Set")] == ["src-"] * 3


def test_a_class_without_a_file_must_bear_a_version() -> None:
    with pytest.raises(AddressError, match="give the class an attribute `version`"):
        code_of(type("Made", (), {"__module__": "nowhere_at_all"}))
    assert code_of(type("Made", (), {"__module__": "nowhere_at_all", "version": 2})).source == "v2"


def test_of_an_installed_distribution_the_version_counts(
    stranger: Callable[..., Code], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    (site / "fancy").mkdir(parents=True)
    (site / "fancy" / "__init__.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr("harness.recipes.surroundings._by_module", lambda: {"fancy": ["fancy-dist"]})
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.4" if name == "fancy-dist" else "0")
    found = stranger(plug=f"import fancy\n{MINE}")
    assert found.own == ("plug",) and found.installed == {"fancy-dist": "1.4"}
    assert found.facts() == {"source": found.source, "installed": {"fancy-dist": "1.4"}}


def test_an_editable_install_counts_by_its_sources(
    stranger: Callable[..., Code], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an install may put a finder of its own in place of a path."""
    place = tmp_path / "checkout" / "theirs.py"
    place.parent.mkdir()

    class Finder:
        @staticmethod
        def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
            return spec_from_file_location(name, place) if name == "theirs" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    monkeypatch.setattr("harness.recipes.surroundings._by_module", lambda: {"theirs": ["their-dist"]})
    place.write_text("X = 1\n")
    first = stranger(plug=f"{MINE}        import theirs\n")
    assert first.own == ("plug", "theirs") and first.installed == {}
    place.write_text("X = 2\n")
    assert stranger().source != first.source


def test_a_file_that_lies_beside_and_is_named_counts(stranger: Callable[..., Code], tmp_path: Path) -> None:
    plug = f"from pathlib import Path\nTABLE = Path(__file__).with_name('table.csv').read_text()\n{MINE}"
    (tmp_path / "beside" / "table.csv").write_text("1")
    first = stranger(plug=plug)
    (tmp_path / "beside" / "table.csv").write_text("2")
    assert stranger().source != first.source and first.unstamped == ()


@pytest.mark.parametrize(("line", "said"), [
    ("TABLE = Path(__file__).with_name('table.csv').read_text()", False),
    ("RULES = (Path(__file__).parent / 'conf' / 'b.txt').read_text('utf-8')", False),
    ("RULES = open(os.path.join(os.path.dirname(__file__), 'conf', 'b.txt'), 'r')", False),
    ("HERE = Path(__file__).parent\nTABLE = HERE / 'table.csv'", False),
    ("HERE = Path(__file__).parent\nTABLE = HERE / 'table.csv'\nREST = list(HERE.glob('*'))", True),
    ("BOTH = Path(__file__).with_name('table.csv'), Path(__file__).with_name(max('ab'))", True),
    ("RULES = Path(__file__).with_name('gone.txt')\nTABLE = Path(__file__).with_name('table.csv')", True),
    ("HERE = Path(__file__).parent", True),
])  # fmt: skip
def test_every_place_beside_a_module_is_named_or_told(
    stranger: Callable[..., Code], tmp_path: Path, line: str, said: bool
) -> None:
    (tmp_path / "beside" / "conf").mkdir()
    (tmp_path / "beside" / "conf" / "b.txt").write_text("1")
    (tmp_path / "beside" / "table.csv").write_text("1")
    told = ("module plug asks where it lies (__file__): what it reads there is not known",) if said else ()
    first = stranger(plug=f"import os\nfrom pathlib import Path\n{line}\n{MINE}")
    assert first.unstamped == told
    (tmp_path / "beside" / "conf" / "b.txt").write_text("2")
    assert (stranger().source != first.source) == ("b.txt" in line)


def test_what_cannot_be_stamped_is_said(stranger: Callable[..., Code], tmp_path: Path) -> None:
    hidden = "import importlib\ndef f(name):\n    return importlib.import_module(name)\nHERE = __file__\n"
    assert stranger(plug=hidden + MINE).unstamped == (
        "module plug asks where it lies (__file__): what it reads there is not known",
        "module plug, line 3, runs code that only shows when it runs",
    )
    (tmp_path / "beside" / "quick.cpython-311-x86_64-linux-gnu.so").write_bytes(b"\x7fELF")
    (clause,) = stranger(plug=f"{MINE}        import quick\n").unstamped
    assert clause == "module quick is compiled: its bytes stand for it, so another build is another run"


def test_the_gates_say_what_stands_in_ids_and_what_does_not(stranger: Callable[..., Code], tmp_path: Path) -> None:
    helper = "import importlib\ndef f(name):\n    return importlib.import_module(name)\n"
    head = "import my_helper\nclass Mine:\n    version = 3\n"
    text = f"{head}    def __init__(self, inner='', weights=''): ...\n{helper}"
    stranger(plug=text, my_helper=helper, my_reader=MINE)
    (tmp_path / "w.npy").write_bytes(b"1")
    recipe = Recipe.of("plug:Mine", inner="my_reader:Mine(size=3)", weights=str(tmp_path / "w.npy"))
    assert list(told_of_code([recipe])) == [
        "plug:Mine: its version (3) stands in the id for its own modules (my_helper, plug): "
        "raise it whenever a pixel can change",
        "not in the id of plug:Mine: module my_helper, line 3, runs code that only shows when it runs",
        "not in the id of plug:Mine: module plug, line 7, runs code that only shows when it runs",
        "my_reader:Mine: what its own modules say is in the id (my_reader)",
        f"plug:Mine: the content of {tmp_path / 'w.npy'} is in the id",
    ]
    assert list(told_of_code([Recipe.of("methods.controls:OneClass")])) == []


def test_a_class_that_a_setting_names_is_in_the_id(stranger: Callable[..., Code]) -> None:
    recipe = Recipe.of("plug:Mine", inner="my_reader:Mine(size=3)")
    text = "class Mine:\n    version = 3\n    def __init__(self, inner=''): ...\n"

    def stamped(**texts: str) -> str:
        stranger(plug=text, **texts)
        return digest(identity.facts(recipe, loading.build(recipe)))

    first = stamped(my_reader=f"import my_helper\n{MINE}", my_helper="X = 1\n")
    assert stamped(my_helper="X = 1 # one\n") == first != stamped(my_helper="X = 2\n")


def test_ours_count_by_the_versions_of_what_is_rested_on(
    stranger: Callable[..., Code], monkeypatch: pytest.MonkeyPatch
) -> None:
    plug = f"from methods.diffusion.maps import resized\nfrom harness.contracts import Recipe\n{MINE}"
    table = house.read_table()
    once = {name: Line(line.module, 1, line.digest, line.known_as) for name, line in table.items()}
    monkeypatch.setattr(house, "_table", lambda: once)
    assert stranger(plug=plug).house == {}
    raised = {**once, "methods.diffusion.maps": Line("methods.diffusion.maps", 2, *_rest(table))}
    monkeypatch.setattr(house, "_table", lambda: raised)
    code_of.cache_clear()
    assert stranger().house == {"methods.diffusion.maps": 2}
    assert code_of(loading.load_class("methods.stableseg:StableSeg")).house == {"methods.diffusion.maps": 2}
    assert code_of(loading.load_class("methods.maskclip:MaskCLIP")).house == {}


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    code_of.cache_clear()
    house.deciding.cache_clear()
    yield
    code_of.cache_clear()
    house.deciding.cache_clear()


def _rest(table: dict[str, Line]) -> tuple[str, str]:
    line = table["methods.diffusion.maps"]
    return line.digest, line.known_as


def test_a_raised_version_of_the_harness_changes_every_id(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.of("toy_world:Flat")
    known = identity.facts(recipe, loading.build(recipe))

    def run_id() -> str:
        nothing: dict[str, Any] = dict.fromkeys(("names", "tagger", "rule", "batch"))
        held = {"identity": 2, "harness": house.deciding(), "method": known, "benchmark": known, "backbones": []}
        return id_of_run({**nothing, **held, "protocol": {}})

    before = run_id()
    table = house.read_table()
    line = table["harness.protocol.decision"]
    now = line.version
    for change in (
        Line(line.module, now + 1, line.digest, line.known_as),
        Line(line.module, now, "edited", line.known_as),
    ):
        monkeypatch.setattr(house, "_table", lambda change=change: {**table, line.module: change})
        house.deciding.cache_clear()
        assert run_id() != before


def test_classes_in_settings_are_found() -> None:
    settings = {
        "method": "my.reader:Mine(model=shapes, window=64)", "refine": "none", "sides": "1/8:.3, 1/4:.5",
        "more": (("use", "other:Thing"), ("with", ())), "json": "json:loads",
    }  # fmt: skip
    assert sorted(classes_named(settings)) == ["my.reader:Mine", "other:Thing"]
