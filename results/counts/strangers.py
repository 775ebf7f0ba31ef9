"""The address of a stranger's estimator goes in; the function comes out, and its answers as shares 0..1 or a sentence.

An estimator is a function in any module that can be imported: it takes ClassCounts and gives a number 0..1, or None
where nothing is defined. It is looked up when a table is made, and changes no run and no stored row.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from numbers import Real
from typing import Any

from harness.errors import StoreError, bounded, in_words, nearest
from results.counts.estimators import ClassCounts

Estimator = Callable[[ClassCounts], Any]
_DUST = 1e-9  # by which rounding may leave 0..1


def is_address(value: str) -> bool:
    """Whether a table's value is written `module:function`."""
    module, _, name = value.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), name))


def found(address: str) -> Estimator:
    """The function at an address. StoreError when it cannot be had from here."""
    name, _, function = address.partition(":")
    try:
        module = importlib.import_module(name)
        there = getattr(module, function, None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            cure = "start where its file lies, or put that folder into PYTHONPATH"
            raise StoreError(f"{address!r}: there is no module {name!r} on the path; {cure}") from None
        raise StoreError(f"{address!r}: importing {name!r} failed: {in_words(error)}") from error
    if not callable(there):
        known = nearest(function, vars(module))
        raise StoreError(f"{address!r}: module {name!r} has no function {function!r}{known}")
    estimator: Estimator = there
    return estimator


def estimated(address: str, counts: ClassCounts) -> float | None:
    """What the estimator at an address says of counts. StoreError for what it raises, and for what is no share 0..1."""
    estimator = found(address)
    try:
        answer = estimator(counts)
        if answer is None:
            return None
        if not isinstance(answer, Real) or isinstance(answer, bool):
            said = f"something of type {bounded(type(answer).__name__)}"
        elif -_DUST <= (share := float(answer)) <= 1 + _DUST:
            return min(max(share, 0.0), 1.0)
        else:
            said = f"{share:g}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise StoreError(f"{address!r} failed: {in_words(error)}") from error
    raise StoreError(f"{address!r} gives {said}; it should give a number from 0 to 1, or None")
