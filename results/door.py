"""A command's `main` flows in; one whose work no encoding, closed pipe or full disk of its output can end flows out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Protocol, TextIO, cast

from harness.errors import HarnessError

INTERRUPTED = 130


class Main(Protocol):
    """The command itself, which a test can call as well."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int: ...


def door(main: Main) -> Main:
    """The same command, on steady streams; an error that is foreseen, and Ctrl-C, are one line."""

    @wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        with steady_streams():
            try:
                return main(arguments)
            except HarnessError as error:
                print(f"error: {error}", file=sys.stderr)
                return error.exit_code
            except KeyboardInterrupt:
                print("Interrupted.", file=sys.stderr)
                return INTERRUPTED

    return run


@contextmanager
def steady_streams() -> Iterator[None]:
    """Meanwhile whatever is printed goes out as far as somebody takes it, and nothing that is printed raises."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, one and Steady(one)) for one in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


class Steady:
    """A text stream: letters that its encoding lacks are spelled out; once nobody takes it, what comes is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lost = stream, False

    def write(self, text: str) -> int:
        """All of it is taken, come what may."""
        self._try(self._written, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def _written(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def _try(self, act: Callable[..., object], *values: str) -> None:
        if self._lost:
            return
        try:
            act(*values)
        except (OSError, ValueError) as error:
            self._lost = True
            self._lead_nowhere()
            meant = isinstance(error, BrokenPipeError | ValueError)  # its reader went away, or somebody closed it
            if not meant and self is not sys.stderr:
                print(f"The output cannot be written ({error}); the work goes on without it.", file=sys.stderr)

    def _lead_nowhere(self) -> None:
        """What the stream still holds would raise again when the process ends."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
