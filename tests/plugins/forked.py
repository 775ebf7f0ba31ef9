"""A function runs in a process of its own, forked from one that has loaded what sweeps need: for signals and kills.

Such a process with a chain of toys costs half a second of processor time, `python -m harness.sweep` three.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from in_process import PLUGINS, ROOT

Main = Callable[..., int | None]
PATHS = os.pathsep.join((str(ROOT), str(PLUGINS)))
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["ready_to_fork"])


def prepare() -> None:
    """Start what processes are forked from, which stays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATHS)  # Python 3.11 tells it no paths
        forkserver.ensure_running()
    resource_tracker.ensure_running()


def start(folder: Path, main: Main, *arguments: object, **environment: str) -> BaseProcess:
    """`main(*arguments)` in a folder, running; its exit code is what main gives. `stdout` and `stderr` are files there.

    Whoever starts it reads `exitcode` after `join`; a signal's is its number below zero.
    """
    prepare()
    process = _FORKING.Process(target=_run, args=(str(folder), main, arguments, environment))
    process.start()
    return process


def _run(folder: str, main: Main, arguments: tuple[object, ...], environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.update({"COLUMNS": "150", "PYTHONPATH": PATHS} | environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.path.insert(0, folder)
    sys.exit(main(*arguments))
