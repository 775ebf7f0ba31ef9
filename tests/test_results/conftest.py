"""One results folder of random numbers, with tables, ledger and report, and one browser, for all who look at them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_results
from chromium import Chromium
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


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """One Chromium for all that look at pages."""
    with Chromium() as one:
        yield one
