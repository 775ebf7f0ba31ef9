"""One entry of a grid's `tables:` -> its form: what a comparison table shows, as results.tables.matrices makes it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from harness.grid.protocol_form import Form
from harness.recipes import loading


def _table_name(value: str) -> str:
    # The name becomes the name of files.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}", value):
        raise ValueError("Text should be a plain word of letters, digits, - and _")
    return value


TableName = Annotated[str, AfterValidator(_table_name)]
Names = str | Annotated[list[str], Field(min_length=1)]
Score = Literal[
    "miou", "image_miou", "miou_gt_present", "miou_all_zero", "pixel_accuracy", "mean_accuracy",
    "frequency_weighted_iou", "mean_dice", "mean_f_score", "worst_class_iou", "worst_decile_miou",
    "worst_decile_image_miou", "presence_mcc", "oracle_naming", "oracle_grouping", "boundary_iou",
]  # fmt: skip
Value = Annotated[
    Annotated[Score, Tag("name")] | Annotated[str, Tag("address")],
    Discriminator(lambda value: "address" if isinstance(value, str) and ":" in value else "name"),
]


def check_value(value: str, folder: str) -> None:
    """AddressError where a value is the address of an estimator, and leads to no function."""
    if ":" in value:
        loading.check_beside(value, folder)
        loading.load_function(value)


class TableForm(Form):
    """One entry of `tables:`."""

    name: TableName
    """Of its files: letters, digits, - and _."""
    rows: Names
    """`method`, `variant`, `benchmark` or a setting; a list joins several."""
    columns: Names = "benchmark"
    """The same."""
    value: Value = "miou"
    """A score by name (`stableseg list estimators`), or the address `module:function` of an estimator."""
    caption: str = ""
    """The sentence above the table."""
    where: dict[str, Any] = Field(default_factory=dict)
    """Which runs are in it: a value or several of `method`, `variant`, `benchmark` or a setting, in the rows' order."""
    labels: dict[str, str] = Field(default_factory=dict)
    """What is printed in place of a value."""
    published: Names | None = None
    """Tables of the ledger, or their sources: their numbers stand beside ours. Of several the first that fits."""
    seeds: Literal["apart", "together"] = "apart"
    """Whether runs that differ in their seed alone are lines of their own, or one with mean and spread."""
    average: bool = False
    """Whether there is a last column with the mean over the data sets; the columns must be `benchmark`."""
    as_published: bool = False
    """Whether runs of different protocols stand side by side, unranked, each beside its printed number."""
