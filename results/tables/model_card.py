"""A folder's evidence goes in; a table for a model card comes out, as Markdown, with what it rests on."""

from __future__ import annotations

from results.tables import significance_words
from results.tables.evidence import Evidence
from results.tables.formats import markdown_safe
from results.tables.ranking import Entry

_HEAD = ("method", "data set", "images", "mIoU", "95 %", "image mIoU", "pixel accuracy")


def model_card(evidence: Evidence, method: str | None = None) -> str:
    """Of all runs, or of those of a method. Numbers are percent; a run with holes says how many images it has."""
    lines = [_line(evidence, entry) for entry in evidence.board.entries if method in (None, entry.method)]
    rows = [f"| {' | '.join(cells)} |" for cells in (_HEAD, ("---",) * 2 + ("--:",) * 5, *lines)]
    told = []
    for column in evidence.columns:
        apart = f" [{column.apart}]" if column.apart else ""
        if words := significance_words.column(column.standings):
            told.append(f"{markdown_safe(column.title + apart)}: {words}")
        protocol = next(entry.protocol for entry in column.entries)
        told.append(f"Protocol of {markdown_safe(column.title + apart)}: {markdown_safe(protocol)}.")
    source = "Measured by stableseg-harness: integer pixel counts of every image, divided once."
    return (
        "\n".join(["## Evaluation", "", *rows, "", *(f"{words}  " for words in (*dict.fromkeys(told), source))]) + "\n"
    )


def _line(evidence: Evidence, entry: Entry) -> tuple[str, ...]:
    ends = evidence.column_of(entry.run_id).interval(entry.run_id)
    interval = f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}" if ends else ""
    images = str(entry.images) if entry.complete else f"{entry.images} of {entry.whole}"
    scores = ("" if one is None else f"{100 * one:.1f}" for one in (entry.image_miou, entry.pixel_accuracy))
    miou = "" if entry.miou is None else f"{100 * entry.miou:.1f}"
    return markdown_safe(entry.name), markdown_safe(entry.title), images, miou, interval, *scores
