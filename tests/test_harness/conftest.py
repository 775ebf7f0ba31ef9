"""A folder with plug-ins in plain files, as a user would have beside a grid, and a way to read a grid there."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from grid_texts import PLUGINS

from harness.grid import reading as grids
from harness.grid.reading import Grid


@pytest.fixture(scope="session")
def grid_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with plug-ins in plain files, as a user would have beside a grid."""
    place = tmp_path_factory.mktemp("grids")
    (place / "grid_plugins.py").write_text(PLUGINS)
    (place / "grid_broken.py").write_text("raise RuntimeError('no such device')\n")
    (place / "grid_needy.py").write_text("import a_package_nobody_has\n")
    (place / "colorsys.py").write_text("class Mine:\n    segment = print\n")
    before = list(sys.path)
    yield place
    sys.path[:] = before
    for name in ("grid_plugins", "grid_broken", "grid_needy"):
        sys.modules.pop(name, None)


@pytest.fixture
def read_grid(grid_folder: Path) -> Callable[[str], Grid]:
    def read_text(text: str) -> Grid:
        (grid_folder / "grid.yaml").write_text(textwrap.dedent(text).lstrip("\n"))
        return grids.read_grid(grid_folder / "grid.yaml")

    return read_text
