"""The README's snippets, run as a reader would run them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from in_process import call, door

from harness.grid import reading as grids

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_grid_in_the_readme_is_a_grid(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(snippets("yaml")[0])
    assert len(grids.read_grid(tmp_path / "grid.yaml").cells) == 10


def test_a_method_is_added_in_fourteen_lines_as_the_readme_says(tmp_path: Path) -> None:
    (method,) = snippets("python")
    assert len(method.splitlines()) <= 14
    (tmp_path / "my_method.py").write_text(method)
    (tmp_path / "mine.yaml").write_text(snippets("yaml")[1])
    answer = door("mine.yaml", "--results", "r", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "class_index=1" in (tmp_path / "r" / "leaderboard.csv").read_text()


@pytest.mark.parametrize(
    "command", [line.split("#")[0].strip() for text in snippets("bash") for line in text.splitlines()]
)
def test_every_command_of_the_readme_exists(command: str) -> None:
    if command.startswith("make"):
        assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    else:
        name = command.split()[2]
        package = importlib.util.find_spec(name).submodule_search_locations
        module = importlib.import_module(f"{name}.__main__" if package else name)
        assert "__main__" in Path(module.__file__).read_text()
        answer = call(module.main, "--help")
        assert answer.returncode == 0 and answer.stdout.startswith("usage: stableseg ")


def test_every_yaml_file_of_grids_is_yaml() -> None:
    for path in [ROOT / "grid.yaml", *(ROOT / "grids").glob("*.yaml")]:
        assert yaml.safe_load(path.read_text("utf-8"))["methods"]
