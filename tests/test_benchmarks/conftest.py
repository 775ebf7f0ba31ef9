"""Puts this folder on the path, so that the tests can import the drawn trees beside them; seeds are printed."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh random numbers; pytest shows the seed of a test that fails."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return np.random.default_rng(seed)
