"""Words of a command line such as `root=/data split=val` flow in; settings, as a grid would give them, flow out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import yaml

from harness.contracts import Recipe, yaml_without_doubles
from harness.errors import SettingsError
from harness.recipes import loading
from harness.recipes.named_files import placed


def add_settings(parser: argparse.ArgumentParser, option: str, dest: str, meaning: str) -> None:
    """An option, such as `--with`, that takes `key=value` words, several at a time and again and again."""
    parser.add_argument(
        option, dest=dest, nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=f"settings of {meaning}"
    )


def recipe_of_words(use: str, words: Sequence[str], option: str = "--with") -> Recipe:
    """The recipe of an address with `key=value` words; paths are relative to the current folder."""
    cls, given = loading.load_class(use), settings_of_words(words, option)
    return Recipe.of(use, **{key: placed(cls, key, value, ".", declared=key == "root") for key, value in given.items()})


def settings_of_words(words: Sequence[str], option: str = "--with") -> dict[str, Any]:
    """`key=value` words as settings; values as in a grid (numbers, true, false, null, text, [lists])."""
    found: dict[str, Any] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key.isidentifier():
            raise SettingsError(f"{option} {word!r} is not a setting; write key=value, for example root=/data/voc")
        if key in found:
            raise SettingsError(f"{option} gives {key!r} twice; give it once")
        try:
            found[key] = value if value.startswith("*") else yaml_without_doubles(value)  # a pattern, not an alias
        except yaml.YAMLError:
            raise SettingsError(f"{option} {word!r}: the value is not YAML; put it in quotes") from None
        except ValueError as error:
            raise SettingsError(f"{option} {word!r}: {error}") from None
    return found
