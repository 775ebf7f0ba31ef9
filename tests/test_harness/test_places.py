"""A stranger's exceptions flow in; the line of his own that raised them flows out behind their text."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from harness.errors import LONGEST, MethodError, in_words

PLUGIN = """\
import json
from my_package import core
from my_package.core import Odd

def segment(text):
    return json.loads(text)

def through():
    return core.helper()

def odd():
    raise Odd("x")

def ours():
    from harness.grid.pick import no_such_name

class Names(dict):
    get = None

def elsewhere(name):
    exec(compile("1 / 0", "/a/machines/folder/made.py", "exec"), Names(__name__=name))
"""
CORE = """\
class Odd(Exception):
    __traceback__ = property(lambda self: 1 / 0)

def helper():
    return {0: 1}[3]
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").write_text("")
    (tmp_path / "my_package" / "core.py").write_text(CORE)
    (tmp_path / "my_plugin.py").write_text(PLUGIN)
    (tmp_path / "my_broken.py").write_text("import os\n\nnumber = unknown\n")
    monkeypatch.syspath_prepend(tmp_path)
    return str(tmp_path)


def raised(verb: str, *given: object, module: str = "my_plugin") -> str:
    try:
        getattr(importlib.import_module(module), verb)(*given)
    except Exception as error:
        return in_words(error)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0].startswith("my_")]:
            del sys.modules[name]
    raise AssertionError("it raised nothing")


def test_the_innermost_line_that_is_no_librarys_is_told_without_a_machines_folders(plugin: str) -> None:
    assert raised("segment", "{").endswith(" (my_plugin.py, line 6, in segment)"), "json's own lines are no use"
    assert raised("through") == "KeyError: 3 (my_package/core.py, line 5, in helper)"
    assert raised("x", module="my_broken") == "NameError: name 'unknown' is not defined (my_broken.py, line 3)"
    assert raised("odd") == "Odd: x (my_plugin.py, line 12, in odd)", "whatever it calls its traceback"
    for name in ("folder.made", "made.up.name", None):
        around = "folder/" if name == "folder.made" else ""
        assert raised("elsewhere", name) == f"ZeroDivisionError: division by zero ({around}made.py, line 1)"
    assert all(plugin not in raised(verb) for verb in ("through", "odd", "ours"))


def test_a_sentence_of_ours_stays_as_it_is_and_no_text_is_longer_than_others() -> None:
    def long(error: Exception) -> str:
        try:
            raise error
        except Exception as found:
            return in_words(found)

    assert long(MethodError("It is so.")) == "It is so."
    text = long(ValueError("x" * 10 * LONGEST))
    assert len(text) <= LONGEST and text.endswith(", in long)") and text.startswith("ValueError: xxx")
    assert in_words(ValueError("never raised")) == "ValueError: never raised"
