"""An entry of a grid's `tables:` goes in; the declared table, with its words for rows and columns, comes out.

A declared table: `name`, `caption`, `rows` and `columns` (each `method`, `variant`, `benchmark` or a setting, or a list
of these), `value` (a score, or the address of a stranger's estimator), `where` (`{method: [...], setting: value}`; a
setting that a run does not have leaves it in), `labels` (`{value: text}`), `published` (a table of the ledger, or its
source; several in a list) and `seeds` (`together`: a variant's words leave the seed out). Values listed in `where` or
`labels` for the rows or columns give their order, and those without a run stand as holes. Runs of one cell that differ
in their seed alone are one number: their mean, with the spread. `average: true` adds a column with the mean over the
data sets, where `columns` is `benchmark`. `as_published: true` sets runs of different protocols side by side, unranked,
each beside its printed number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import StoreError, nearest
from results.counts import estimators, strangers

OF_RUNS = (  # see results.tables.scores
    "image_miou", "worst_decile_image_miou", "presence_mcc", "oracle_naming", "oracle_grouping", "boundary_iou",
)  # fmt: skip
VALUES = (*OF_RUNS, *estimators.SCORES)
Key = tuple[str, ...]


@dataclass(frozen=True)
class TableSpec:
    """A table as the grid declares it."""

    name: str
    rows: tuple[str, ...] = ("method", "variant")
    columns: tuple[str, ...] = ("benchmark",)
    value: str = "miou"
    caption: str = ""
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    published: tuple[str, ...] = ()
    seeds: str = "apart"
    average: bool = False
    as_published: bool = False

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TableSpec:
        """From the grid's own form. StoreError when a value is unknown."""
        value = str(content.get("value") or "miou")
        if value not in VALUES and not strangers.is_address(value):
            known = f"{nearest(value, VALUES)} (values: {', '.join(VALUES)})"
            raise StoreError(
                f"table {content.get('name')!r} asks for the value {value!r}, which nobody computes{known}"
            )
        where = {str(key): _several(chosen) for key, chosen in (content.get("where") or {}).items()}
        labels = {setting_in_words(key): str(text) for key, text in (content.get("labels") or {}).items()}
        rows, columns = (
            tuple(map(str, _several(content.get(key) or default)))
            for key, default in (("rows", "method"), ("columns", "benchmark"))
        )
        caption = str(content.get("caption") or "")
        published = tuple(map(str, _several(content.get("published") or ())))
        apart = str(content.get("seeds") or "apart")
        average = bool(content.get("average"))
        if average and columns != ("benchmark",):
            raise StoreError(
                f"table {content.get('name')!r} averages over {', '.join(columns)}; an average is one over data sets: "
                "let its columns be `benchmark`, or leave `average` out"
            )
        return cls(
            str(content["name"]), rows, columns, value, caption, where=where, labels=labels, published=published,
            seeds=apart, average=average, as_published=bool(content.get("as_published")),
        )  # fmt: skip

    def label(self, key: Key) -> str:
        """The words of a row or column."""
        whole = " ".join(part for part in key if part)
        return self.labels.get(whole) or " ".join(self.labels.get(part, part) for part in key if part)


def setting_in_words(value: Any) -> str:
    """A setting's value in words."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(setting_in_words(item) for item in value)}]"
    return str(value)


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)
