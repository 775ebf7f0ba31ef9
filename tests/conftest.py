"""What has to be set before torch is loaded, and the printed number that all random choices of the tests come from.

`pytest --seed N` gives the same choices again. The sweep without a process of its own is `in_process.door`.
"""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
from seeds import of_run, seed_of

from harness.work import arithmetic

arithmetic.prepare_environment(threads=1)  # tests share the cores; and what is computed here has a worker's bits


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, metavar="N", help="the number behind all random choices, as a run printed it")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    number = of_run(config.getoption("--seed"))
    if getattr(config.option, "hypothesis_seed", "") is None:  # hypothesis is there, and was given none of its own
        config.option.hypothesis_seed = str(number)


def pytest_report_header() -> str:
    return f"random choices: --seed {of_run()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A quiet run shows no header."""
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.write_line(f"the random choices of this run come again with --seed {of_run()}")


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
