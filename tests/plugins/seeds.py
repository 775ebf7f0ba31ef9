"""One number behind all random choices of a run of the tests flows in; a seed for each test flows out."""

from __future__ import annotations

import hashlib
import os
import secrets

VARIABLE = "STABLESEG_SEED"  # in the environment, so that every process of one run has the same


def of_run(given: int | None = None) -> int:
    """The number behind this run: the one given (`pytest --seed N`), else that of the environment, else a fresh one."""
    if given is not None:
        os.environ[VARIABLE] = str(given)
    return int(os.environ.setdefault(VARIABLE, str(secrets.randbits(32))))


def seed_of(name: str) -> int:
    """32 bits for whatever bears this name: a test, a module, a fixture."""
    digest = hashlib.blake2b(f"{of_run()} {name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")
