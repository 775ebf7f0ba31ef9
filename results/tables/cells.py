"""Groups of runs go in; the cells of a table with group, p and mark come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from results.counts.significance import Group


@dataclass(frozen=True)
class TableCell:
    """One number: value 0..1 (None for a hole), what is missing in words, `best` or `second` where that is sure.

    note: what else must be known of it. printed: the number that was published, 0..1, in a table of such. group, p:
    among the runs of its column, p of the comparison with the best. of: the runs that a number is the mean of.
    """

    run_id: str | None = None
    value: float | None = None
    missing: str = ""
    mark: str = ""
    interval: tuple[float, float] | None = None
    note: str = ""
    group: int | None = None
    p: float | None = None
    printed: float | None = None
    of: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """What stands below the number."""
        return "; ".join(words for words in (self.missing, self.note) if words)


def with_groups(groups: Sequence[Group], cells: Mapping[str, TableCell]) -> dict[str, TableCell]:
    """The cells of runs that can be compared, by run id, with group and p, and marks where something is separated."""
    if not groups or not groups[0].enough:
        return {}
    p = {held.worse: held.p for held in groups[0].comparisons}
    marks = dict(enumerate(("best", "second"))) if len(groups) > 1 else {}
    return {
        run_id: replace(cells[run_id], mark=marks.get(place, ""), group=place + 1, p=p.get(run_id))
        for place, group in enumerate(groups)
        for run_id in group.run_ids
    }
