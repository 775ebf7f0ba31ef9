"""A matrix goes in; its text as CSV, Markdown, LaTeX (booktabs) and HTML comes out, holes with what is missing.

Numbers are percent: four decimals in CSV, one elsewhere. Best in bold, second underlined, only where separated.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from results.folder.durable import write_text
from results.tables.matrices import Matrix, TableCell
from results.tables.ranking import percent

FOLDER = "tables"
DASH = "–"
LEGEND = (
    "Bold: the best of the column and every run that is not separated from it; underlined: the same among the rest. "
    "Each run is compared with the best over the same images (paired bootstrap); separated means p ≤ 0.05, adjusted "
    "for all runs of the column at once."
)
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "–": "--", "≤": r"$\leq$",
}  # fmt: skip
_WORDS = {"miou": "mIoU", "image_miou": "mIoU of single images, averaged,", "pixel_accuracy": "Pixel accuracy"}
_HEAD = """
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>
body { font: 16px/1.4 system-ui, sans-serif; margin: 1.5rem; } div { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .6rem; max-width: 60rem; min-width: min(36rem, 85vw); }
th, td { padding: .3rem .8rem; text-align: right; vertical-align: top; font-weight: 400; }
th:first-child { text-align: left; }
thead { border-block: 2px solid; border-bottom-width: 1px; } tbody { border-bottom: 2px solid; }
tfoot td { text-align: left; font-size: .85rem; }
small { display: block; opacity: .75; } .interval { display: inline-block; margin-left: .5rem; white-space: nowrap; }
</style>
"""
Mark = Callable[[str], str]


def write_tables(matrices: Sequence[Matrix], folder: Path) -> list[Path]:
    """Write every table in four formats to `tables/` of a results folder; says where."""
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    texts = {"csv": to_csv, "md": to_markdown, "tex": to_latex, "html": to_page}
    paths = []
    for matrix in matrices:
        for ending, text in texts.items():
            paths.append(place / f"{file_name(matrix.spec.name)}.{ending}")
            write_text(paths[-1], text(matrix))
    return paths


def file_name(name: str) -> str:
    """A table's name as a plain word for files and anchors."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name) or "table"


def shown(value: float | None) -> str:
    """A score 0..1 as percent with one decimal; a dash where there is none."""
    return DASH if value is None else f"{100 * value:.1f}"


def to_csv(matrix: Matrix) -> str:
    """A line a row, four decimals, empty where there is no number; `missing` says what is missing where.

    After it stand, of every column, the ends of the interval, the group and p of the comparison with the best (where
    the table is as published, the printed number in their place), and `notes`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    kinds = ("published",) if matrix.spec.as_published else ("low", "high", "group", "p")
    further = [f"{column} {what}" for column in matrix.columns for what in kinds]
    writer.writerow([_heading(matrix), *matrix.columns, "missing", *further, "notes"])
    for row, line in zip(matrix.rows, matrix.cells, strict=True):
        holes, notes = (
            "; ".join(f"{column}: {words}" for column, words in zip(matrix.columns, texts, strict=True) if words)
            for texts in ([cell.missing for cell in line], [cell.note for cell in line])
        )
        printed = matrix.spec.as_published
        beside = [words for cell in line for words in ((percent(cell.printed),) if printed else _beside(cell))]
        writer.writerow([row, *(percent(cell.value) for cell in line), holes, *beside, notes])
    return text.getvalue()


def _beside(cell: TableCell) -> tuple[str, ...]:
    low, high = cell.interval or (None, None)
    return percent(low), percent(high), str(cell.group or ""), "" if cell.p is None else f"{cell.p:.4f}"


def to_markdown(matrix: Matrix) -> str:
    """A table of GitHub's Markdown; notes below it name the holes."""
    marks: dict[str, Mark] = {"best": lambda text: f"**{text}**", "second": lambda text: f"<u>{text}</u>", "": str}
    notes = _notes(matrix)
    lines = [[_heading(matrix), *matrix.columns]]
    body = [[row, *(_cell(cell, marks, notes, "<sup>{}</sup>") for cell in line)] for row, line in _lines(matrix)]
    head = [f"| {' | '.join(map(markdown_safe, lines[0]))} |", f"|:--|{'--:|' * len(matrix.columns)}"]
    rows = [f"| {markdown_safe(row[0])} | {' | '.join(row[1:])} |" for row in body]
    below = [f"<sup>{letter}</sup> {markdown_safe(text)}  " for text, letter in notes.items()]
    told = [line for words in matrix.told for line in ("", markdown_safe(words))]
    return (
        "\n".join([markdown_safe(_caption(matrix)), "", *head, *rows, *([""] if below else []), *below, *told]) + "\n"
    )


def to_latex(matrix: Matrix) -> str:
    """A table environment for the package booktabs."""
    marks: dict[str, Mark] = {
        "best": lambda text: rf"\textbf{{{text}}}",
        "second": lambda text: rf"\underline{{{text}}}",
        "": str,
    }
    notes = _notes(matrix)
    head = " & ".join(_latex(text) for text in (_heading(matrix), *matrix.columns))
    rows = []
    for row, line in _lines(matrix):
        cells = [_cell(cell, marks, notes, r"\textsuperscript{{{}}}").replace(DASH, "--") for cell in line]
        rows.append(f"    {' & '.join([_latex(row), *cells])} \\\\")
    below = [rf"  \par\footnotesize\textsuperscript{{{letter}}} {_latex(text)}" for text, letter in notes.items()]
    below += [rf"  \par\footnotesize {_latex(words)}" for words in matrix.told]
    opening = [
        "% needs \\usepackage{booktabs}", r"\begin{table}", r"  \centering",
        rf"  \caption{{{_latex(_caption(matrix))}}}", rf"  \begin{{tabular}}{{l{'r' * len(matrix.columns)}}}",
        r"    \toprule", f"    {head} \\\\", r"    \midrule",
    ]  # fmt: skip
    return "\n".join([*opening, *rows, r"    \bottomrule", r"  \end{tabular}", *below, r"\end{table}"]) + "\n"


def to_page(matrix: Matrix) -> str:
    """A whole HTML page around the table, for paper, light and dark screens, and phones."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(matrix.spec.name)}</title>{_HEAD}'
    return f"{head}<div>{to_html(matrix)}</div></html>\n"


def to_html(
    matrix: Matrix, link: str = "", extra: Mapping[str, str] | None = None, legend: bool = True, first: float = math.inf
) -> str:
    """A table element. link: what stands before a run's id in links; extra: words under a number, by run id.

    legend: whether the caption says what bold and underlined mean. first: rows behind so many bear the class `later`.
    """
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in (_heading(matrix), *matrix.columns))
    body = []
    for number, (row, line) in enumerate(_lines(matrix)):
        cells = "".join(f"<td{_sort_value(cell)}>{_html(cell, link, extra or {})}</td>" for cell in line)
        later = ' class="later"' if number >= first else ""
        body.append(f'<tr{later}><th scope="row">{escape(row)}</th>{cells}</tr>')
    caption = f"<caption>{escape(_caption(matrix, legend))}</caption>"
    told = "<br>".join(map(escape, matrix.told))
    foot = f'<tfoot><tr><td colspan="{len(matrix.columns) + 1}"><div>{told}</div></td></tr></tfoot>' if told else ""
    return f'<table class="matrix">{caption}<thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody>{foot}</table>'


def _html(cell: TableCell, link: str, extra: Mapping[str, str]) -> str:
    tag = {"best": "strong", "second": "u"}.get(cell.mark)
    text = shown(cell.value)
    number = f"<{tag}>{text}</{tag}>" if tag else text
    if cell.run_id and link:
        number = f'<a href="{escape(link + cell.run_id)}">{number}</a>'
    if cell.printed is not None:
        number += f' <span title="as published">({shown(cell.printed)})</span>'
    if cell.interval:
        low, high = (f"{100 * end:.1f}" for end in cell.interval)
        number += f'<small class="interval" title="about 95 %">{low}–{high}</small>'
    below = (cell.remark, "hole"), (extra.get(cell.run_id or "", ""), "published")
    return number + "".join(f'<small class="{kind}">{escape(text)}</small>' for text, kind in below if text)


def _sort_value(cell: TableCell) -> str:
    return f' data-sort="{-1 if cell.value is None else cell.value:.6f}"'


def _lines(matrix: Matrix) -> list[tuple[str, tuple[TableCell, ...]]]:
    return list(zip(matrix.rows, matrix.cells, strict=True))


def _heading(matrix: Matrix) -> str:
    return " ".join(matrix.spec.rows)


def _caption(matrix: Matrix, legend: bool = True) -> str:
    words = [matrix.spec.caption or f"{_WORDS.get(matrix.spec.value, matrix.spec.value)} in percent."]
    if matrix.spec.as_published:
        apart = f"protocols differ in {', '.join(matrix.differing)}" if matrix.differing else "protocols are the same"
        words.append(f"As published: {apart}; nothing is ranked. In brackets what was printed")
        words[-1] += f" ({'; '.join(matrix.sources)})." if matrix.sources else ": nothing was found in the ledger."
    return " ".join([*words, *([LEGEND] if matrix.marked and legend else [])])


def _notes(matrix: Matrix) -> dict[str, str]:
    """What is missing -> the letter of its note."""
    texts = dict.fromkeys(cell.remark for line in matrix.cells for cell in line if cell.remark)
    return {text: chr(ord("a") + n) if n < 26 else str(n) for n, text in enumerate(texts)}


def _cell(cell: TableCell, marks: Mapping[str, Mark], notes: Mapping[str, str], note: str) -> str:
    printed = "" if cell.printed is None else f" ({shown(cell.printed)})"
    return marks[cell.mark](shown(cell.value)) + printed + (note.format(notes[cell.remark]) if cell.remark else "")


def markdown_safe(text: str) -> str:
    """Text that Markdown shows as it is."""
    for sign in "\\`*_|[]#":
        text = text.replace(sign, f"\\{sign}")
    return escape(text, quote=False)


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
