"""What a stranger's plug-in answers while a plan is made: nonsense, and what it raises, is a sentence and exit 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from in_process import door

PLUG = """
import sys
from collections import namedtuple
from dataclasses import dataclass
import numpy as np
from harness.contracts import Recipe

P = namedtuple("P", "backbone encoding")
Half = namedtuple("Half", "backbone")

class Open:
    __hash__ = None
    def __eq__(self, other): return True

@dataclass(frozen=True)
class Net:
    version = 1
    def run(self, queries, requests): ...
    def VERB

@dataclass(frozen=True)
class Mine:
    version = 1
    def passes(self):
        return {P(Recipe.of("plug:Net"), 0): frozenset()}
    def read(self, features, vocabulary): ...
    def VERB
"""
GRID = """
name: own
methods: [{name: Mine, use: "plug:Mine"}]
benchmarks: [{name: Shapes, use: "benchmarks.shapes:Shapes", with: {images: 4}}]
"""
CASES = {
    "fingerprint(self): raise KeyError('x')": "its fingerprint() cannot be told: KeyError: 'x'",
    "fingerprint(self): sys.exit(0)": "its fingerprint() cannot be told: it ended with SystemExit: 0",
    "fingerprint(self): return object()": "Object of type object is not JSON serializable",
    "fingerprint(self): return b'abc'": "Object of type bytes is not JSON serializable",
    "fingerprint(self): return float('nan')": "Out of range float values are not JSON compliant",
    "fingerprint(self): return {1: 'a', 'b': 2}": "its fingerprint() cannot be told: TypeError",
    "fingerprint(self): return 'x' * 10_000_000": "it has 10000002 characters, and at most 65536",
    "fingerprint(self, folder): return 'x'": "missing 1 required positional argument: 'folder'",
    "models_to_fetch(self): raise OSError('no')": "its models_to_fetch() cannot be told: OSError: no",
    "models_to_fetch(self): return 7": "its models_to_fetch() cannot be told: TypeError",
    "check_passes(self, passes): raise ZeroDivisionError": "its check_passes() cannot be told: ZeroDivisionError",
    "passes(self): return [1]": "its passes cannot be told: TypeError",
    "passes(self): return {P('plug:Net', 0): frozenset()}": "the `backbone` of a pass must be a Recipe",
    "passes(self): return {Half(1): frozenset()}": "the `backbone` of a pass must be a Recipe",
    "passes(self): return {Half(Recipe.of('plug:Net')): frozenset()}": "no attribute 'encoding'",
    "passes(self): return {P(Recipe.of('plug:Net'), Open()): frozenset()}": "unhashable type: 'Open'",
}
OF_BENCHMARKS = {
    "ids": "Toys: ids() cannot be had: it ended with SystemExit: 0",
    "classes": "Toys: classes cannot be had: it ended with SystemExit: 0",
    "expected_images": "Toys: expected_images cannot be had: it ended with SystemExit: 0",
    "cluster_of": "Toys: cluster_of('0') cannot be had: it ended with SystemExit: 0",
}
TOYS = """
import sys
import numpy as np
from harness.contracts import Sample

ENDS = "VERB"
def said(verb, answer):
    return sys.exit(0) if verb == ENDS else answer

class Toys:
    version = 1
    @property
    def classes(self): return said("classes", ("red", "green"))
    @property
    def expected_images(self): return said("expected_images", 2)
    def ids(self): return said("ids", ["0", "1"])
    def cluster_of(self, image_id): return said("cluster_of", "all")
    def load(self, image_id): return Sample(image_id, np.zeros((4, 5, 3), np.uint8), np.ones((4, 5), np.uint8))
"""


@pytest.mark.parametrize("verb", CASES)
def test_what_a_plug_in_cannot_tell_is_a_sentence(tmp_path: Path, verb: str) -> None:
    (tmp_path / "plug.py").write_text(PLUG.replace("VERB", verb))
    (tmp_path / "grid.yaml").write_text(GRID)
    answer = door("grid.yaml", "--plan", cwd=tmp_path)
    assert answer.returncode == 2 and CASES[verb] in answer.stderr, answer
    assert len(answer.stderr.splitlines()) == 1 and len(answer.stderr) < 1000


@pytest.mark.parametrize("verb", OF_BENCHMARKS)
def test_a_benchmark_that_ends_the_process_is_a_sentence(tmp_path: Path, verb: str) -> None:
    (tmp_path / "plug.py").write_text(TOYS.replace("VERB", verb))
    grid = GRID.replace("plug:Mine", "toy_world:Flat").replace(
        'Shapes, use: "benchmarks.shapes:Shapes", with: {images: 4}', 'Toys, use: "plug:Toys"'
    )
    (tmp_path / "grid.yaml").write_text(grid)
    for more in (["--plan"], []):
        answer = door("grid.yaml", *more, cwd=tmp_path)
        assert answer.returncode == 2 and OF_BENCHMARKS[verb] in answer.stderr, answer
    (tmp_path / "plug.py").write_text(TOYS)
    assert door("grid.yaml", "--plan", "--results", "other", cwd=tmp_path).returncode == 0


def test_a_plug_in_whose_code_cannot_be_stamped_is_named_by_plan_and_sweep(tmp_path: Path) -> None:
    plug = """
import numpy as np
class Mine:
    def segment(self, image, vocabulary):
        return eval("np.zeros(image.shape[:2], np.int16)")
class Declares(Mine):
    version = 1
"""
    (tmp_path / "plug.py").write_text(plug)
    (tmp_path / "grid.yaml").write_text(GRID.replace("methods: [", "methods: [{name: Other, use: 'plug:Declares'}, "))
    told = "Not all code of plug:Mine can be stamped: module plug, line 5, runs code that only shows when it runs; give"
    for arguments in (["--plan"], ["--limit", "1"]):
        answer = door("grid.yaml", *arguments, cwd=tmp_path)
        said = " ".join(answer.stdout.split())
        assert answer.returncode in (0, 3) and told in said and "plug:Declares can" not in said, said
    assert '"not_in_ids": {' in door("grid.yaml", "--plan", "--json", cwd=tmp_path).stdout


def test_files_that_a_setting_names_in_a_way_of_its_own_are_told(tmp_path: Path) -> None:
    plug = """
import numpy as np
class Mine:
    version = 1
    def __init__(self, weights: str):
        self.weights = weights
    def segment(self, image, vocabulary):
        return np.zeros(image.shape[:2], np.int16)
class Answers(Mine):
    version = 1
    def fingerprint(self):
        return "1"
"""
    (tmp_path / "plug.py").write_text(plug)
    np.save(tmp_path / "w.npy", np.zeros(1))
    told = "Not in the id of plug:Mine: what its setting 'weights' names (w.npy). Give every file a setting"
    for use, seen in (("Mine", True), ("Answers", False)):
        text = GRID.replace('use: "plug:Mine"', f'use: "plug:{use}", with: {{weights: "w.npy@best"}}')
        (tmp_path / "grid.yaml").write_text(text)
        answer = door("grid.yaml", "--plan", cwd=tmp_path)
        assert answer.returncode == 0 and (told in " ".join(answer.stdout.split())) is seen, answer
