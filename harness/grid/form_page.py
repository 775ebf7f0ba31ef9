"""The form of a grid flows in; the page that explains a grid file key by key flows out: `docs/grid.md`."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.grid import form as grids
from harness.grid.protocol_form import ChosenForm, Form, PositiveChosenForm, ProtocolForm, TaggerForm, TagsForm
from harness.grid.table_form import TableForm

PAGE = Path(__file__).parents[2] / "docs" / "grid.md"
SECTIONS: Mapping[str, tuple[type[Form], ...]] = {  # heading -> forms in it
    "The whole file": (grids.GridForm,),
    "methods": (grids.MethodForm,),
    "benchmarks": (grids.BenchmarkForm,),
    "exclude and include": (grids.ExcludeForm, grids.IncludeForm),
    "protocol": (ProtocolForm, TagsForm, TaggerForm, ChosenForm),
    "cluster": (grids.ClusterForm,),
    "keep": (grids.KeepForm,),
    "tables": (TableForm,),
}
_SAME = {PositiveChosenForm: ChosenForm}  # forms that the page tells once
_KINDS = {"string": "text", "boolean": "`true` or `false`", "object": "a mapping", "null": ""}
MARK = "<!-- Below this line everything is made from the form: `make pages`. -->"


def grid_page(head: str) -> str:
    """The page: its head, as people wrote it, and the tables."""
    schema = grids.GridForm.model_json_schema(by_alias=True)
    forms = {form.__name__: form for several in SECTIONS.values() for form in several}
    forms |= {other.__name__: forms[one.__name__] for other, one in _SAME.items()}
    places = {name: heading for heading, several in SECTIONS.items() for form in several for name in forms
              if forms[name] is form}  # fmt: skip
    missing = sorted(set(schema["$defs"]) - set(forms))
    if missing:
        raise LookupError(f"forms that no section of the page has: {', '.join(missing)}")
    parts = [head.partition(MARK)[0].rstrip(), MARK]
    for heading, several in SECTIONS.items():
        parts.append(f"## {heading if ' ' in heading else f'`{heading}:`'}")
        for form in several:
            own = schema if form is grids.GridForm else schema["$defs"][form.__name__]
            parts += [inspect.getdoc(form) or "", "\n".join(_table(form, own, places))]
    return "\n\n".join(parts) + "\n"


def _table(form: type[Form], schema: Mapping[str, Any], places: Mapping[str, str]) -> Iterable[str]:
    words = words_of_keys(form)
    yield "| key | value | default | |"
    yield "|---|---|---|---|"
    for name, field in form.model_fields.items():
        key = field.alias or name
        value = _values(schema["properties"][key], places)
        default = "**needed**" if field.is_required() else _default(field.get_default(call_default_factory=True))
        yield f"| `{key}` | {value} | {default} | {words[name]} |"


def words_of_keys(form: type[Form]) -> dict[str, str]:
    """What stands below each field of a form, or of those that it is made from. LookupError where nothing does."""
    found: dict[str, str] = {}
    for cls in reversed(form.__mro__[: form.__mro__.index(Form)]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(tree, ast.ClassDef)
        for before, after in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr):
                found[ast.unparse(before.target)] = " ".join(str(ast.literal_eval(after.value)).split())
    silent = [name for name in form.model_fields if name not in found]
    if silent:
        raise LookupError(f"{form.__name__} says nothing below {', '.join(silent)}")
    return found


def _values(schema: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """What may stand there, in words."""
    if several := schema.get("anyOf") or schema.get("oneOf"):
        known = list(dict.fromkeys(filter(None, (_values(one, places) for one in several))))
        lists = {f"a list of {_plural(one)}": "a list of them" for one in known}
        return " or ".join(lists.get(one, one) for one in known)
    if "$ref" in schema:
        heading = places[schema["$ref"].rpartition("/")[2]]
        return f"[a mapping](#{_anchor(heading)})"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    kind = schema["type"]
    if kind in ("integer", "number"):
        return _number(schema)
    if kind == "array":
        return f"a list of {_plural(_values(schema['items'], places))}"
    return _KINDS[kind]


def _plural(words: str) -> str:
    return re.sub(r"^(\[?)a ((?:whole )?\w+)", r"\1\2s", words).replace("text", "texts")


def _number(schema: Mapping[str, Any]) -> str:
    word = "a whole number" if schema["type"] == "integer" else "a number"
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    ends = [f"from {low}" if low is not None else f"above {above}" if above is not None else "",
            f"to {high}" if high is not None else f"below {below}" if below is not None else ""]  # fmt: skip
    return " ".join(filter(None, [word, *ends]))


def _default(value: object) -> str:
    empty = value is None or value in ([], {}, "") or isinstance(value, Form)
    return "" if empty else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z -]", "", heading.lower()).replace(" ", "-")


def main() -> int:
    """Write the page anew."""
    PAGE.write_text(grid_page(PAGE.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
