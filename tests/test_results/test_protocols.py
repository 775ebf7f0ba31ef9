"""The line of a protocol: short, and different for different protocols; and the fields in which two differ."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace
from typing import Any

from harness.contracts import NameFile, ProtocolSettings, Recipe
from harness.protocol import presets
from results.folder import protocols

BASE = ProtocolSettings()
WORDS = (("a",), ("b",))
CHANGES: list[dict[str, Any]] = [
    {}, {"vocabulary": "all"}, {"vocabulary": "predicted", "tagger": Recipe.of("m:T")},
    {"vocabulary": "predicted", "tagger": Recipe.of("m:T", top_k=3)}, {"background": "constant"},
    {"background": "constant", "threshold": 0.4}, {"background": "power", "power": 3.0}, {"templates": ("{}",)},
    {"templates": ("a {}", "the {}")}, {"templates": ("a {}|the {}",)}, {"templates": ("a {}", "the {}", "{}")},
    {"templates": ("a {}", "the {}", "an {}")}, {"names": "sclip"}, {"names": NameFile("own", WORDS)},
    {"names": NameFile("n.yaml", WORDS)}, {"names": NameFile("n.yaml", WORDS[::-1])},
    {"names": NameFile("n.yaml", WORDS, ("a", "b"))}, {"background": "prompts", "context": ("sky",)},
    {"background": "prompts", "context": ("sky threshold=0.4",)}, {"background": "prompts", "context": ("sky", "sea")},
    {"resize": "short", "size": 336}, {"resize": "stretch", "size": (336, 336)}, {"window": 224, "stride": 112},
    {"window": 224, "stride": 12}, {"background": "class", "background_names": ("x", "y")},
    {"background": "class", "background_names": ("x|y",)}, {"background": "constant", "scale": "softmax"},
]  # fmt: skip


def recorded(settings: ProtocolSettings) -> dict[str, Any]:
    """As it comes back from a recipe's file."""
    read: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return read


def test_different_protocols_have_different_texts_and_equal_ones_the_same() -> None:
    all_of_them = [replace(BASE, **change) for change in CHANGES]
    texts = [protocols.protocol_text(recorded(one)) for one in all_of_them]
    assert len(set(texts)) == len(CHANGES)
    assert texts == [protocols.protocol_text(asdict(one)) for one in all_of_them], (
        "lists of JSON and tuples spell alike"
    )
    assert all("\n" not in text for text in texts)


def test_the_text_is_short() -> None:
    assert protocols.protocol_text(recorded(BASE)) == "vocabulary=present background=ignored"
    assert protocols.protocol_text({"vocabulary": "all", "background": "constant", "threshold": 0.4}) == (
        "vocabulary=all background=constant threshold=0.4"
    )
    assert protocols.protocol_text({"templates": ["a {}"], "tagger": {"use": "m:T", "settings": [["k", 3]]}}) == (
        'vocabulary=present background=ignored templates="a {}" tagger=m:T(k=3)'
    )
    assert max(len(protocols.protocol_text(recorded(presets.preset(name).settings))) for name in presets.names()) < 220


def test_differences_name_the_fields_in_order() -> None:
    one = recorded(replace(BASE, vocabulary="all", window=8, stride=4))
    assert protocols.differences(one, one) == ()
    assert protocols.differences(one, recorded(BASE)) == ("vocabulary", "window", "stride")
    assert protocols.differences({}, asdict(BASE)) == (), "what is not recorded is as by default"
    sclip, tcl = (asdict(presets.preset(name).settings) for name in ("sclip", "tcl"))
    assert protocols.differences(sclip, tcl) == ("names", "size", "window", "stride")
    assert protocols.differences({"new": 1}, {}) == ("new",)


def test_texts_differ_exactly_where_fields_differ() -> None:
    for one, other in itertools.combinations(CHANGES, 2):
        left, right = recorded(replace(BASE, **one)), recorded(replace(BASE, **other))
        assert protocols.differences(left, right) and protocols.protocol_text(left) != protocols.protocol_text(right)
