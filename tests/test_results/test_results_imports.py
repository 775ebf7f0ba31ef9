"""The room of results is entered without torch and without Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import importlib, pkgutil, sys
import results
names = [module.name for module in pkgutil.iter_modules(results.__path__, "results.")]
for name in names:
    importlib.import_module(name)
print(len(names), sorted(set(sys.modules) & {"torch", "ray", "methods", "benchmarks"}))
"""


def test_no_module_of_results_brings_torch_ray_methods_or_benchmarks() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    number, found = done.stdout.split(maxsplit=1)
    assert int(number) > 5
    assert found.strip() == "[]"
