"""What the process has loaded from which tests fork others, and what each of these would find out first."""

from __future__ import annotations

import torch  # noqa: F401
import toy_learners  # noqa: F401

import harness.learning.fitting
import harness.sweep
import harness.work.worker  # noqa: F401
from harness.recipes import house

house.deciding()
