"""Words of a command line such as `root=/data split=val` flow in; settings, as a grid would give them, flow out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import yaml

from harness.errors import SettingsError


def add_settings(parser: argparse.ArgumentParser, option: str, dest: str, meaning: str) -> None:
    """An option, such as `--with`, that takes `key=value` words, several at a time and again and again."""
    parser.add_argument(
        option, dest=dest, nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=f"settings of {meaning}"
    )


def settings_of_words(words: Sequence[str], option: str = "--with") -> dict[str, Any]:
    """`key=value` words as settings; values as in a grid (numbers, true, false, null, text, [lists])."""
    settings: dict[str, Any] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key.isidentifier():
            raise SettingsError(f"{option} {word!r} is not a setting; write key=value, for example root=/data/voc")
        if key in settings:
            raise SettingsError(f"{option} gives {key!r} twice; give it once")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise SettingsError(f"{option} {word!r}: the value is not YAML; put it in quotes") from None
    return settings
