# The two commands of the README: `make demo` runs the root grid, `make test` passes the tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: venv demo test lint types models clean

venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

demo: venv
	$(BIN)/python -m harness.sweep grid.yaml

test: venv lint types
	$(BIN)/python -m pytest

lint: venv
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

models: venv
	$(BIN)/python -m training.shapes

clean:
	rm -rf .venv .cache runs
