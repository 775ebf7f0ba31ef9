"""Lines of images flow in; which cards, or CPUs, computed them, and whether one run is of several kinds, flow out."""

from __future__ import annotations

import polars as pl

from harness.errors import bounded

UNKNOWN = "not said"
_SHOWN = 5  # kinds, and runs, named in a sentence


def by_kind(images: pl.DataFrame) -> list[tuple[str, int, float]]:
    """Kind of card, good rows and their seconds, the most rows first; what no row says stands last."""
    good = images.filter(pl.col("status") == "ok")
    held = good.group_by("card").agg(pl.len(), pl.sum("seconds"))
    found = [(card or UNKNOWN, rows, seconds) for card, rows, seconds in held.iter_rows()]
    return sorted(found, key=lambda one: (one[0] == UNKNOWN, -one[1], one[0]))


def several_kinds(images: pl.DataFrame) -> tuple[str, ...]:
    """A sentence where the good rows of one run are of several kinds that say what they are."""
    said = images.filter((pl.col("status") == "ok") & pl.col("card").is_not_null())
    kinds = said.group_by("run_id").agg(pl.col("card").unique().sort()).filter(pl.col("card").list.len() > 1)
    if kinds.is_empty():
        return ()
    runs = kinds["run_id"].sort().to_list()
    names = [bounded(name) for name in kinds["card"].explode().unique().sort()]
    one = len(runs) == 1
    told = ", ".join(runs[:_SHOWN]) + (f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else "")
    cards = "; ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return (
        f"Cards of several kinds ({cards}) computed run{'' if one else 's'} {told}: they may round differently; "
        "`python -m results.explain RUN` tells how many images each did.",
    )
