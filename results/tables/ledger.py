"""Published numbers with their protocol and a folder's runs go in; out comes, number by number, whether they agree."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from results.folder.durable import write_text
from results.folder.recipes import RunRecipe
from results.tables.evidence import Evidence
from results.tables.matrices import Matrix
from results.tables.ranking import Entry

SHIPPED = Path(__file__).with_name("published.csv")
TOLERANCE = 0.5  # points of mIoU within which a number counts as reproduced
COLUMNS = ("source", "table", "method", "variant", "dataset", "miou", "vocabulary", "background", "split", "notes")
OUTPUT = ("source", "table", "method", "variant", "dataset", "published", "ours", "difference", "verdict", "run_id")
UNKNOWN = "unknown"
_DUST = 1e-9  # what binary fractions add to a difference of decimal numbers
_SAYS_NOTHING = ("", "as reported", "as tabulated", "official code")
_TOWER = re.compile(r"(?:(OpenAI|MetaCLIP) )?(ViT-[A-Z]+/\d+|RN\d+(?:x\d+)?)(?: guidance)?")


@dataclass(frozen=True)
class Published:
    """One published number: mIoU in percent, and what is known of how it came about (`unknown` where nothing is)."""

    source: str
    table: str
    method: str
    variant: str
    dataset: str
    miou: float
    vocabulary: str
    background: str
    split: str
    notes: str = ""


@dataclass(frozen=True)
class LedgerVerdict:
    """A published number beside a run of ours. difference: ours - published, in points; None where not comparable."""

    published: Published
    run_id: str
    ours: float | None
    difference: float | None
    text: str


def published_numbers(folder: Path | None = None, files: Iterable[str | Path] = ()) -> list[Published]:
    """The shipped numbers, those in the folder's `ledger/`, and those in the files named. StoreError names the line."""
    own = sorted((folder / "ledger").glob("*.csv")) if folder else []
    return [one for path in (SHIPPED, *own, *map(Path, files)) for one in _read(path)]


def _read(path: Path) -> list[Published]:
    try:
        lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"{path} cannot be read as a ledger ({error}); give a CSV file in UTF-8") from None
    lacking = [name for name in COLUMNS[:-1] if lines and lines[0].get(name) is None]
    if lacking or not lines:
        raise StoreError(f"{path} is no ledger: it lacks {', '.join(lacking) or 'lines'}; give {', '.join(COLUMNS)}")
    return [_published(path, number, line) for number, line in enumerate(lines, start=2)]


def _published(path: Path, number: int, line: dict[str, Any]) -> Published:
    known = {name: (line.get(name) or "").strip() for name in COLUMNS}
    try:
        miou = float(known["miou"])
    except ValueError:
        miou = math.nan
    if not 0 <= miou <= 100:
        raise StoreError(f"{path}, line {number}: miou must be a number from 0 to 100, not {known['miou']!r}")
    protocol = {name: known[name].lower() or UNKNOWN for name in ("vocabulary", "background", "split")}
    words: dict[str, Any] = {**known, **protocol, "miou": miou}
    return Published(**words)


def verdicts(evidence: Evidence, published: Iterable[Published], tolerance: float = TOLERANCE) -> list[LedgerVerdict]:
    """Every published number of a method and data set that we ran under the same names, beside each such run."""
    ours: dict[tuple[str, str], list[Entry]] = {}
    for entry in evidence.board.entries:
        name = evidence.recipes[entry.run_id].benchmark_name
        ours.setdefault((entry.method.casefold(), name.casefold()), []).append(entry)
    return [
        judge(one, entry, evidence.recipes[entry.run_id], tolerance, evidence.board.partial)
        for one in published
        for entry in ours.get((one.method.casefold(), one.dataset.casefold()), [])
    ]


def beside(
    evidence: Evidence, matrix: Matrix, published: Sequence[Published], tolerance: float = TOLERANCE
) -> dict[str, LedgerVerdict]:
    """Run id -> verdict for the cells of a table that names a published one; its labels say which number is meant."""
    found: dict[str, LedgerVerdict] = {}
    for row, line in zip(matrix.rows, matrix.cells, strict=True):
        for column, cell in zip(matrix.columns, line, strict=True):
            fitting = _fitting(matrix.spec.published, row, column, published)
            if cell.run_id and matrix.spec.value == "miou" and fitting:
                recipe, entry = evidence.recipes[cell.run_id], evidence.entry(cell.run_id)
                named = judge(fitting[0], entry, recipe, tolerance, evidence.board.partial, named=True)
                found[cell.run_id] = named
    return found


def as_published(matrix: Matrix, published: Sequence[Published]) -> Matrix:
    """A table that is as published, with the printed number in every cell, the first that fits, and its sources.

    Where every data set of a row has one, so has its average, which is computed from them.
    """
    if not matrix.spec.as_published:
        return matrix
    sources: dict[str, None] = {}
    lines = []
    for row, line in zip(matrix.rows, matrix.cells, strict=True):
        printed: list[float | None] = []
        for column in matrix.columns[: len(line) - matrix.spec.average]:
            found = _fitting(matrix.spec.published, row, column, published)
            printed.append(found[0].miou / 100 if found else None)
            sources |= {f"{one.source}, {one.table}": None for one in found[:1]}
        if matrix.spec.average:
            known = [one for one in printed if one is not None]
            printed.append(sum(known) / len(known) if known and len(known) == len(printed) else None)
        lines.append(tuple(replace(cell, printed=one) for cell, one in zip(line, printed, strict=True)))
    return replace(matrix, cells=tuple(lines), sources=tuple(sources))


def _fitting(names: Sequence[str], row: str, column: str, published: Sequence[Published]) -> list[Published]:
    """The published numbers that a cell's labels mean, those of the first table or source that is named first."""
    found = [one for one in published if one.dataset == column and _called(one, row)]
    if not names:
        return found
    return [one for name in names for one in found if name in (one.table, one.source)]


def _called(one: Published, row: str) -> bool:
    return row in (one.variant, one.method, f"{one.method} {one.variant}")


def judge(
    one: Published, entry: Entry, recipe: RunRecipe, tolerance: float, partial: bool = False, named: bool = False
) -> LedgerVerdict:
    """Compare, if that means anything. `named`: the user declared the two to be the same variant."""
    ours = None if entry.miou is None else 100 * entry.miou
    reasons = [*([] if named else _variant(one, entry, recipe)), *_protocol(one, recipe)]
    if not entry.complete and not partial:
        reasons.append(f"only {entry.images} of {entry.whole} images")
    if entry.part:
        reasons.append(f"only {entry.part}")
    if reasons or ours is None:
        return LedgerVerdict(one, entry.run_id, ours, None, f"not comparable: {'; '.join(reasons) or 'mIoU undefined'}")
    difference = ours - one.miou
    within = abs(difference) <= tolerance + _DUST
    text = f"reproduced within {_up(abs(difference)):.1f}" if within else f"off by {_signed(difference)}"
    return LedgerVerdict(one, entry.run_id, ours, difference, text)


def _signed(difference: float) -> str:
    """With a sign and a decimal, or so many that it is not 0."""
    return next(text for digits in (1, 2, 3, 6) if float(text := f"{difference:+.{digits}f}") or digits == 6)


def _up(difference: float) -> float:
    """Rounded up to a tenth, so that `within` is true as it stands."""
    return math.ceil(10 * (difference - _DUST)) / 10


def _protocol(one: Published, recipe: RunRecipe) -> list[str]:
    """The protocol's fields that are unknown or differ."""
    split = recipe.benchmark.get("settings", {}).get("split") or UNKNOWN
    ours = {
        "vocabulary": str(recipe.protocol.get("vocabulary", UNKNOWN)),
        "background": "scored" if recipe.scores_background else "ignored",
        "split": {"validation": "val", "training": "train"}.get(str(split), str(split)),
    }
    theirs = asdict(one)
    return [
        f"{name} {UNKNOWN}" if UNKNOWN in (theirs[name], value) else f"{name} {theirs[name]}, ours {value}"
        for name, value in ours.items()
        if theirs[name] != value or value == UNKNOWN
    ]


def _variant(one: Published, entry: Entry, recipe: RunRecipe) -> list[str]:
    """Whether the published variant is ours: the same words, or the same image tower and nothing else."""
    if one.variant in _SAYS_NOTHING or one.variant == entry.variant:
        return []
    tower = _TOWER.fullmatch(one.variant)
    if not tower:
        return [f"variant {one.variant!r}"]
    models = [str(backbone.get("settings", {}).get("model", "")) for backbone in recipe.backbones]
    whose, wanted = (tower[1] or "").lower(), tower[2]
    if any(_tower(model) == wanted and whose in model.lower() for model in models):
        return []
    named = " ".join(filter(None, tower.groups()))
    return [f"backbone {named}, ours {', '.join(models if whose else map(_tower, models)) or 'none'}"]


def _tower(model: str) -> str:
    """The image tower in a model's name: `openai/clip-vit-base-patch16` -> `ViT-B/16`; else the name."""
    if found := re.search(r"vit-(base|large|huge)-patch(\d+)", model, re.IGNORECASE):
        return f"ViT-{found[1][0].upper()}/{found[2]}"
    if found := re.search(r"vit-([blh])-?(\d+)", model, re.IGNORECASE):
        return f"ViT-{found[1].upper()}/{found[2]}"
    if found := re.search(r"metaclip-([blh])(\d+)", model, re.IGNORECASE):
        return f"ViT-{found[1].upper()}/{found[2]}"
    found = re.search(r"(?:rn|resnet)(\d+)(x\d+)?", model, re.IGNORECASE)
    return f"RN{found[1]}{found[2] or ''}" if found else model


def ledger_csv(found: Iterable[LedgerVerdict]) -> str:
    """The text of ledger.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(OUTPUT)
    for verdict in found:
        one = verdict.published
        numbers = [f"{one.miou:g}", *("" if n is None else f"{n:.4f}" for n in (verdict.ours, verdict.difference))]
        writer.writerow([one.source, one.table, one.method, one.variant, one.dataset, *numbers, verdict.text,
                         verdict.run_id])  # fmt: skip
    return text.getvalue()


def write_ledger(found: Iterable[LedgerVerdict], folder: Path) -> Path:
    """Write ledger.csv into a results folder; says where."""
    write_text(folder / "ledger.csv", ledger_csv(found))
    return folder / "ledger.csv"
