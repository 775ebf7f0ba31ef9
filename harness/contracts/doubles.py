"""YAML and JSON that a person wrote flow in; plain values flow out, and never one of two that stand under one key."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import Any

import yaml


class _Strict(yaml.SafeLoader):
    """Plain YAML without doubled keys, of which SafeLoader silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        merged = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        _refuse_doubles([self.construct_object(key, deep=True) for key in merged])
        return super().construct_mapping(node, deep)


def yaml_without_doubles(text: str | bytes) -> Any:
    """What YAML says. yaml.YAMLError for what is none; ValueError for a key that is given twice."""
    loader = _Strict(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def json_without_doubles(text: str | bytes) -> Any:
    """What JSON says. ValueError for what is none, and for a key that is given twice."""

    def one_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_doubles([key for key, _ in pairs])
        return dict(pairs)

    return json.loads(text, object_pairs_hook=one_each)


def _refuse_doubles(keys: Sequence[Any]) -> None:
    seen: set[tuple[str, str]] = set()
    for key in keys:
        if (one := (type(key).__name__, str(key))) in seen:
            raise ValueError(f"the key {str(key)!r} is given twice; which of the two is meant?")
        seen.add(one)
