"""Every class of methods/ that a grid can name says its own version: an edit that changes no pixel moves no id."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import methods

VERBS = (("segment",), ("read",), ("run",), ("tags",), ("fit",))


def plug_ins() -> Iterator[type]:
    """Concrete classes with the verbs of a method, a reader, a backbone, a tagger or a learner."""
    for module in pkgutil.walk_packages(methods.__path__, "methods."):
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            mine = cls.__module__ == module.name and not cls.__name__.startswith("_")
            plug_in = any(all(callable(getattr(cls, verb, None)) for verb in verbs) for verbs in VERBS)
            if mine and plug_in and not inspect.isabstract(cls) and not getattr(cls, "_is_protocol", False):
                yield cls


def test_every_plug_in_has_a_version_of_its_own() -> None:
    found = list(plug_ins())
    assert {"StableSeg", "MaskCLIP", "Clip", "ClipTagger", "Diffusion", "WrongPrompt"} <= {c.__name__ for c in found}
    assert [cls.__qualname__ for cls in found if "version" not in vars(cls)] == []
