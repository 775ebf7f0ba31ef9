# The two commands of the README: `make demo` runs the root grid, `make test` passes the tests.
PYTHON ?= python3
BIN := .venv/bin
# One process more than cores, five at most: one of them often waits for Ray.
PROCESSES ?= $(shell $(PYTHON) -c "import os; print(min(5, 1 + (os.cpu_count() or 1)))")

.PHONY: venv demo test lint types models damages grids schedules chaos slurm versions pages site chromium clean

venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

demo: venv
	$(BIN)/python -m harness.sweep grid.yaml

test: venv lint types chromium
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

# The report's pages are tried in a real browser; without one (and without the right to install it) those tests skip.
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || true

lint: venv
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

models: venv
	$(BIN)/python -m training.shapes

# A thousand damages of a results folder's files; docs/results_folder.md holds what came out.
damages: venv
	$(BIN)/python -m perf.damages

# A thousand spoilt grids, each of which has to get its sentence; the tests try a few of them.
grids: venv
	$(BIN)/python -m perf.malformed_grids

# Thousands of schedules of dying workers in virtual time; the tests try a few hundred.
schedules: venv
	$(BIN)/python -m perf.schedules

# A sweep over pretended hosts (needs root) that thirty events hit; perf/results/chaos.md holds what each cost.
chaos: venv
	$(BIN)/python -m perf.chaos $(if $(SEED),--seed $(SEED)) $(if $(EVENTS),--events $(EVENTS))

# The recipes of docs/slurm.md on Debian's Slurm over two pretended hosts; installs it where that is allowed.
slurm: venv
	@command -v slurmctld >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null; } || true
	$(BIN)/python -m perf.slurm

# Brings the versions of what lies between an image and its counts in step with the sources (docs/what_is_in_an_id.md).
versions: venv
	$(BIN)/python tests/renew_versions.py $(if $(RAISE),--raise $(RAISE))

# What docs/grid.md says of the keys of a grid, from its form.
pages: venv
	$(BIN)/python -m harness.grid.form_page

# The site, as files below .cache/site; `.venv/bin/python -m mkdocs serve` shows it while you write.
site: venv
	$(BIN)/python -m mkdocs build

clean:
	rm -rf .venv .cache runs
