"""What can go wrong, as a tree of exceptions whose messages say what was asked, what exists and what to do."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import PurePath
from types import FrameType

_MEMORY = re.compile(r"(?<= at )0x[0-9a-fA-F]+\b")


class HarnessError(Exception):
    """Any failure the harness foresees; the door prints its message, without a traceback."""

    exit_code = 2


class GridError(HarnessError):
    """The grid cannot be read or makes no sense; the message names file and line."""


class AddressError(HarnessError):
    """An address `module:Class` leads nowhere."""


class SettingsError(HarnessError):
    """A recipe's settings do not fit its class."""


class DataError(HarnessError):
    """A benchmark's files are missing, unreadable or not what the layout promises."""


class ModelError(HarnessError):
    """A model cannot be loaded, or cannot serve what was asked of it."""


class MethodError(HarnessError):
    """A method broke its contract: wrong shape, wrong type, a position outside the vocabulary."""


class StoreError(HarnessError):
    """The results folder cannot be used, or its rows contradict each other."""


class ClusterError(HarnessError):
    """Workers cannot be had: no Ray, no such address, or they die before they are ready."""


_LACKING = (ImportError, OSError, MemoryError, DataError, ModelError)
_OF_CARDS = (
    "cuda error", "cuda out of memory", "cudnn", "cublas", "nccl", "hip error", "out of memory", "memory ran out",
    "can't allocate memory", "not enough memory",
)  # fmt: skip
_DEEP = 8  # causes of causes that are looked at


def of_host(error: BaseException) -> bool:
    """Whether another machine might do what failed here: what is to be imported or read is not there, memory ran out,
    a card broke. What a benchmark gives against the contract is not of that kind."""
    one: BaseException | None = error
    for _ in range(_DEEP):
        if one is None:
            break
        lacks = isinstance(one, _LACKING) and not getattr(one, "anywhere", False)
        if lacks or (isinstance(one, RuntimeError | MethodError) and of_card(message(one))):
            return True
        one = one.__cause__
    return False


def of_card(text: str) -> bool:
    """Whether a message tells of a card, or of memory that ran out."""
    said = text.lower()
    return any(words in said for words in _OF_CARDS)


def nearest(word: str, known: Iterable[str]) -> str:
    """The clause `; did you mean 'x'?` for the closest known word, or an empty string."""
    if len(str(word)) > LONGEST:
        return ""
    words = {str(one).casefold(): str(one) for one in known}  # small letters or large ones are the least of all slips
    close = get_close_matches(str(word).casefold(), words, n=1, cutoff=0.6)
    return f"; did you mean {words[close[0]]!r}?" if close else ""


def several(number: int, noun: str, many: str = "") -> str:
    """`1 run`, `2 runs`: what is counted, as it is said. many: of them, if that is not the noun with an s."""
    return f"{number} {noun if number == 1 else many or f'{noun}s'}"


LONGEST = 500  # characters of a foreign message that are kept
_LONGEST_NAME = 200  # of the name of an exception's class
_LONGEST_PLACE = 100  # of where it was raised
_TRACE = vars(BaseException)["__traceback__"]  # whatever a class of exceptions calls so
_HOUSE = ("harness", "methods", "benchmarks", "results", "training")
_SITES = ("site-packages", "dist-packages")
_PYTHON = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})


def in_words(error: BaseException) -> str:
    """An exception in one printable line of bounded length: a sentence of ours as it is, a foreign one with its type
    and, where a stranger's code was at work, its place: `KeyError: 3 (my_method.py, line 7, in helper)`.

    Nothing that the exception does when it is asked for its text passes through.
    """
    text = _text_of(error)
    if isinstance(error, HarnessError) and text:
        return bounded(text)
    name, place = bounded(type(error).__name__, _LONGEST_NAME), _place_of(error)
    said = f"{name}: {bounded(text, LONGEST - len(name) - 2 - len(place))}".rstrip(": ")
    return f"{said}{place}"


def _place_of(error: BaseException) -> str:
    """The last line that is neither ours nor a library's, in brackets; empty where there is none. Files are named as
    modules are, without the folders of a machine: one failure is one text everywhere."""
    if isinstance(error, SyntaxError):  # its text names a place
        return ""
    places = [(frame, line) for frame, line in _frames(error) if _is_strangers(frame)]
    if not places:
        return ""
    frame, line = places[-1]
    code = frame.f_code
    inside = "" if code.co_name == "<module>" else f", in {code.co_name}"
    return f" {bounded(f'({_file_of(frame)}, line {line}{inside})', _LONGEST_PLACE)}"


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """What was at work when it was raised, the innermost last, and at which lines."""
    step = _TRACE.__get__(error)
    while step is not None:
        yield step.tb_frame, step.tb_lineno
        step = step.tb_next


def _is_strangers(frame: FrameType) -> bool:
    file, top = frame.f_code.co_filename, str(_module_of(frame)).partition(".")[0]
    in_library = file.startswith(("<frozen", *_PYTHON)) or any(site in PurePath(file).parts for site in _SITES)
    return not in_library and top not in _HOUSE


def _module_of(frame: FrameType) -> str:
    name = dict.get(frame.f_globals, "__name__")  # whatever a stranger's kind of dictionary says
    return name if type(name) is str else ""


def _file_of(frame: FrameType) -> str:
    """With the packages around it, where it lies in folders of their names: `my_package/core.py`."""
    *folders, file = PurePath(frame.f_code.co_filename).parts or ("",)
    packages = _module_of(frame).split(".")[: None if file == "__init__.py" else -1]
    around = packages if packages and folders[-len(packages) :] == packages else []
    return "/".join([*around, file])


def message(error: BaseException) -> str:
    """What an exception says, bounded; a clause in brackets where its own `__str__` raises."""
    return bounded(_text_of(error))


def bounded(text: str, longest: int = LONGEST) -> str:
    """Foreign text on one line: control characters spelled out, and its middle left out where it is too long.

    What was bounded stays as it is, so that a message has one length wherever it is told. An address in memory, as in
    `<function f at 0x7f12>`, is another one every time; without it equal failures are told as one.
    """
    text = _MEMORY.sub("0x...", text)
    whole, head = len(text) <= longest, longest - 100 if longest > 160 else longest // 2
    begin = _printable(text if whole else text[:head])
    if whole and len(begin) <= longest:
        return begin
    return f"{begin[:head].rstrip()} ... ({len(text)} characters) ... {_printable(text[-60:])[-60:].lstrip()}"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as other:
        return f"(its text cannot be had: {bounded(type(other).__name__, _LONGEST_NAME)})"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in " ".join(text.split()))
