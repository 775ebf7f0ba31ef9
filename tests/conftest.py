"""What is set before torch is loaded, the printed number behind all random choices, and one Ray for all.

`pytest --seed N` gives the same choices again. The sweep without a process of its own is `in_process.door`.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import two_raylets
from seeds import of_run, seed_of

from harness.foreign import foundations
from harness.work import arithmetic

# Collecting loads torch and all that is built on it, which is there to stay: nothing is garbage until it is done. And
# what is compiled of the checkout is kept, as Python does unless told otherwise: our processes need not do it again.
gc.disable()
_WRITES_NO_BYTECODE, sys.dont_write_bytecode = sys.dont_write_bytecode, False

arithmetic.prepare_environment(threads=1)  # tests share the cores; and what is computed here has a worker's bits

# Hundreds of files of tests are no plug-ins, whose variables would be looked at after every call of one.
foundations.NOBODYS.add("tests")

# Where a toy learner is to stop, see toy_learners.interrupt: known to all processes that this one starts.
os.environ["TOY_INTERRUPT"] = str(Path(tempfile.gettempdir()) / f"wish-{os.getpid()}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, metavar="N", help="the number behind all random choices, as a run printed it")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    number = of_run(config.getoption("--seed"))
    if getattr(config.option, "hypothesis_seed", "") is None:  # hypothesis is there, and was given none of its own
        config.option.hypothesis_seed = str(number)


def pytest_unconfigure() -> None:
    wish = Path(os.environ["TOY_INTERRUPT"])
    for path in (wish, wish.with_suffix(".met")):
        path.unlink(missing_ok=True)


def pytest_report_header() -> str:
    return f"random choices: --seed {of_run()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A quiet run shows no header."""
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.write_line(f"the random choices of this run come again with --seed {of_run()}")


@cache
def _shares_ray(file: Path) -> bool:
    return any(name in file.read_text("utf-8") for name in ("ray_address", "ray_nodes"))


# What takes longest comes first, after the shared Ray, so that no process is left alone with it at the end.
DEAREST = (
    "test_chaos", "test_cluster", "test_method_gate", "test_numbers", "test_devices", "test_neighbours", "test_data",
    "test_method_docs", "test_real_shapes", "test_student_fits", "test_student", "test_house_versions", "test_door",
    "test_wide", "test_diffusion", "test_sweep",
)  # fmt: skip


def _place(file: Path) -> int:
    if _shares_ray(file):
        return -1
    return DEAREST.index(file.stem) if file.stem in DEAREST else len(DEAREST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The dearest files first, all others as they were found."""
    places = {path: _place(path) for path in {item.path for item in items}}
    items.sort(key=lambda item: places[item.path])


def pytest_collection_finish() -> None:
    """Only what tests make is looked through for garbage; what they write as plug-ins is compiled as they were told."""
    gc.freeze()
    gc.enable()
    sys.dont_write_bytecode = _WRITES_NO_BYTECODE


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where processes share the tests, one has all of a file, and all files that share a Ray."""
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "ray" if _shares_ray(config.rootpath / file) else file

    return Together(config, log)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The shared Ray ends with the last of its files, which come first: idle it takes a thirtieth of a core."""
    if nextitem is None or (_shares_ray(item.path) and not _shares_ray(nextitem.path)):
        _SHARED.close()


@pytest.fixture(autouse=True)
def _begin_anew(request: pytest.FixtureRequest) -> None:
    """The generators that a test may use without saying so begin at its own seed, whatever ran before."""
    number = seed_of(request.node.nodeid)
    random.seed(number)
    np.random.seed(number)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(number)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """32 bits of this test's own."""
    return seed_of(request.node.nodeid)


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """Random numbers of this test's own."""
    return np.random.default_rng(seed)


_SHARED = ExitStack()  # the Ray that tests share, once one has asked for it


@pytest.fixture(scope="session")
def ray_nodes() -> two_raylets.Nodes:
    """The Ray of two nodes that all tests share who name this, or its address."""
    return _SHARED.enter_context(two_raylets.nodes())


@pytest.fixture(scope="session")
def ray_address(ray_nodes: two_raylets.Nodes) -> str:
    """Its address."""
    return ray_nodes.address
