"""One results folder of random numbers, with its tables, ledger and report, for all tests that look at them."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_results
from seeds import seed_of

from results import report
from results.folder.store import Store
from results.tables.evidence import Evidence, gather


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The filled folder with its report."""
    store = toy_results.fill(tmp_path_factory.mktemp("toys"), seed=seed_of("toys"))
    report.write_report(store)
    return store


@pytest.fixture(scope="session")
def evidence(toys: Store) -> Evidence:
    return gather(toys)


@pytest.fixture(scope="session")
def pages(toys: Store) -> Path:
    """The folder of the report."""
    return toys.folder / report.FOLDER
