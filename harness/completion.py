"""What every verb takes flows in; the script flows out with which a shell completes them, made by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import shtab

from harness.contracts import expanded
from harness.contracts.paths import folder_or_url

SHELLS = ("bash", "zsh", "tcsh")
HOW = "stableseg completion bash > ~/.local/share/bash-completion/completions/stableseg"
_PLACES = (expanded, folder_or_url, Path)  # types of arguments that are files or folders


def script(command: str, verbs: Mapping[str, tuple[str, argparse.ArgumentParser]], shell: str) -> str:
    """The script of one of SHELLS. verbs: by name, what it does in words, and what it takes."""
    whole = argparse.ArgumentParser(prog=command)
    kinds = whole.add_subparsers()
    for name, (words, takes) in verbs.items():
        own = kinds.add_parser(name, help=words, parents=[takes], add_help=False, conflict_handler="resolve")
        for action in own._actions:  # argparse tells them to nobody else
            if action.type in _PLACES:
                setattr(action, "complete", shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE)  # noqa: B010
    text: str = shtab.complete(whole, shell=shell)
    return text
