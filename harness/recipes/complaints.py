"""Values, and pydantic's findings about them -> words: how a value is spelled, and the sentence that refuses it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import nearest

EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping of keys to values",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a mapping of keys to values",
    "none_required": "null",
    "string_type": "text",
    "tuple_type": "a list",
}
BARE_WORD = re.compile(r"[A-Za-z_./][\w./+-]*")
NOT_WORDS = frozenset({"false", "inf", "nan", "null", "true"})
EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
LONGEST = 60


def spell(value: object) -> str:
    """A plain value in one short word, different values differently: `0.5`, `'a b'`, `true`, `[0,1]`, `{a:1}`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(spell(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{spell(key)}:{spell(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        return value if BARE_WORD.fullmatch(value) and value.lower() not in NOT_WORDS else repr(value)
    return repr(value)


def show(value: object) -> str:
    """A refused value as the reader wrote it, text in quotes, cut when it is long."""
    if isinstance(value, Mapping):
        return "a mapping"
    text = repr(value) if isinstance(value, str) else "empty" if value is None else spell(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def complaint(name: str, errors: Sequence[Mapping[str, Any]], value: Any) -> str:
    """`<name> must be a whole number, not 'x'` for pydantic's errors about the value of one key.

    name: how the value is called. errors: those of one value (several where a union was expected).
    """
    place = max((_inside(error, value) for error in errors), key=len)  # of several types, the one that fits furthest
    errors = sorted(errors, key=lambda error: _inside(error, value) != place)
    same_place = [error for error in errors if _inside(error, value) == place]
    is_key = errors[0]["loc"][-1:] == ("[key]",)
    for step in place[:-1] if is_key else place:
        called = f"item {step + 1}" if isinstance(step, int) else spell(step)
        name, value = f"{called} of {name}", _item(value, step)
    if is_key:
        name, value = f"a key of {name}", place[-1]
    if errors[0]["type"] == "missing":
        return f"{name} is missing"
    wanted = list(dict.fromkeys(_expected(error) for error in same_place))
    verbs = " or ".join(wanted).replace(" or be ", " or ")
    return f"{name} must {verbs}, not {show(value)}{_advice(value, same_place)}"


def _inside(error: Mapping[str, Any], value: object) -> tuple[int | str, ...]:
    """The way into a value: positions, and keys of mappings; what else pydantic names are branches of unions."""
    steps: list[int | str] = []
    for step in error["loc"]:
        if isinstance(step, int) or (isinstance(value, Mapping) and step in value):
            steps.append(step)
            value = _item(value, step)
    return tuple(steps)


def _item(value: object, step: int | str) -> object:
    if isinstance(value, Mapping):
        return value.get(step)
    return value[step] if isinstance(value, list | tuple) and isinstance(step, int) and step < len(value) else None


def _expected(error: Mapping[str, Any]) -> str:
    """What pydantic expected: `be text`, `be less than or equal to 1`, `have at least 1 item ...`."""
    if error["type"] in EXPECTED:
        return f"be {EXPECTED[error['type']]}"
    if error["type"] == "too_short":
        return f"have at least {error['ctx']['min_length']} item"
    message = str(error["msg"]).removeprefix("Value error, ")
    found = re.match(r"(?:Input|String|Text|List|Tuple|Value|Dictionary|Number) should (.*)", message, re.DOTALL)
    return found[1] if found else f"fit ({message})"


def _advice(value: Any, errors: Sequence[Mapping[str, Any]]) -> str:
    """What to do, where YAML's own reading of a word is the likely cause, or a valid word is near."""
    kinds = {error["type"] for error in errors}
    offered = " ".join(str((error.get("ctx") or {}).get("expected", "")) for error in errors)
    words = re.findall(r"'([^']*)'", offered)
    if isinstance(value, bool) and ("string_type" in kinds or words):
        return " (YAML reads a bare yes, no, on or off as true or false: put the word in quotes)"
    if isinstance(value, int | float) and ("string_type" in kinds or str(value) in words):
        return " (put it in quotes)"
    if kinds & {"int_type", "float_type", "bool_type"} and isinstance(value, str):
        if EXPONENT.fullmatch(value):
            return " (YAML reads this as text: write the number with a point and a sign, as in 1.0e-3)"
        if re.fullmatch(r"[-+]?\d+(\.\d*)?|true|false", value):
            return " (write it without quotes)"
    return nearest(value, words) if isinstance(value, str) else ""
