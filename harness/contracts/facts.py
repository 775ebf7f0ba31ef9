"""Facts of a recipe flow in, as runs record them; what of them an id is made from flows out.

Facts are plain values: `use`, `settings` as they were written, `code`, `files` (text of a setting -> digest of the file
that it names), and what else decides pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def essence(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with every file's content in place of its path: a file that moves is the same file."""
    held = {name: value for name, value in facts.items() if name != "files"}
    return {**held, "settings": _by_content(facts.get("settings", {}), facts.get("files", {}))}


def _by_content(settings: Any, files: Mapping[str, str]) -> Any:
    if isinstance(settings, Mapping):
        return {name: _by_content(value, files) for name, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [_by_content(value, files) for value in settings]
    if not isinstance(settings, str) or not files:
        return settings
    if settings in files:
        return f"file:{files[settings]}"
    for text in sorted(files, key=len, reverse=True) if "(" in settings else ():
        settings = settings.replace(text, f"file:{files[text]}")
    return settings
