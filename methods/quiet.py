"""While it is open, the bars and remarks of model libraries stay out of a terminal that a progress line is using."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """No bars, no log lines below an error and no Python warnings of the hub's library and of those named.

    libraries: `diffusers`, `transformers`; they are imported here. Afterwards all is as it was. Errors still rise.
    """
    hub: Any = import_module("huggingface_hub.utils")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loggers = [hub.logging, *(import_module(f"{name}.utils.logging") for name in libraries)]
        levels = [logger.get_verbosity() for logger in loggers]
        barred = [logger for logger in loggers[1:] if _shows_bars(logger)]
        hub_bars = not hub.are_progress_bars_disabled()
        try:
            for logger in loggers:
                logger.set_verbosity_error()
            for logger in barred:
                logger.disable_progress_bar()
            if hub_bars:
                hub.disable_progress_bars()
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.set_verbosity(level)
            for logger in barred:
                logger.enable_progress_bar()
            if hub_bars:
                hub.enable_progress_bars()


def _shows_bars(logger: Any) -> bool:
    return bool(logger.is_progress_bar_enabled())
