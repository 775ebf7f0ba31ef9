"""The arguments of a sweep go in and what it says comes out, in this process, which is afterwards as it was before."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import sweep

PLUGINS = Path(__file__).parent
ROOT = PLUGINS.parents[1]

Main = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class Answer:
    """What a finished process would have left, by the same names."""

    returncode: int
    stdout: str
    stderr: str


def door(*arguments: str, cwd: Path, report: bool = False, path: Path | None = None) -> Answer:
    """`python -m harness.sweep ARGUMENTS` in a folder; `path` is another place for packages.

    `--local` is added unless an address is given, and `--no-report` unless the report is promised.
    """
    where = [] if {"--local", "--address"} & set(arguments) else ["--local"]
    quiet = [] if report or "--no-report" in arguments else ["--no-report"]
    return call(sweep.main, *arguments, *where, *quiet, cwd=cwd, path=path)


def call(main: Main, *arguments: object, cwd: Path = ROOT, path: Path | None = None) -> Answer:
    """What a command's `main` answers to arguments; an error that would end in a traceback is raised."""
    told, errors = io.StringIO(), io.StringIO()
    with as_it_was(cwd, path or cwd), redirect_stdout(told), redirect_stderr(errors):
        packages = [str(place) for place in (path, PLUGINS) if place is not None]
        os.environ.update(COLUMNS="150", PYTHONPATH=os.pathsep.join(packages))  # the latter for workers on Ray
        sys.path[:0] = packages[:-1]
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse refuses
            code = ended.code if isinstance(ended.code, int) else 1
    return Answer(code, told.getvalue(), errors.getvalue())


@contextmanager
def as_it_was(folder: Path, *others: Path) -> Iterator[None]:
    """Work in a folder; afterwards paths, signals, random states, torch's switches and the loaded modules come back.

    Modules of this folder and of others are forgotten: the next call reads their files anew, as a new process would.
    Those of the checkout stay.
    """
    import torch

    here, paths, environment, bytecode = Path.cwd(), list(sys.path), dict(os.environ), sys.dont_write_bytecode
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    threads, grads, kind = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    onednn, strict = torch.backends.mkldnn.enabled, torch.are_deterministic_algorithms_enabled()
    loaded, places = set(sys.modules), {folder, *others} - {ROOT}
    os.chdir(folder)
    sys.dont_write_bytecode = True  # two edits within a second look alike to compiled files
    try:
        yield
    finally:
        os.chdir(here)
        sys.path[:], sys.dont_write_bytecode = paths, bytecode
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.set_num_threads(threads)
        torch.set_grad_enabled(grads)
        torch.set_default_dtype(kind)
        torch.backends.mkldnn.set_flags(onednn)
        torch.use_deterministic_algorithms(strict)
        for name in set(sys.modules) - loaded:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and any(Path(file).is_relative_to(one) for one in places):
                del sys.modules[name]
