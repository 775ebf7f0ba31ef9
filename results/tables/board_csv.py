"""A leaderboard goes in; the texts of leaderboard.csv, matrix.csv and pairs.csv come out. Scores are percent."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from results.counts import significance
from results.tables.ranking import Entry, Leaderboard, percent

COLUMNS = (
    "rank", "method", "variant", "benchmark", "protocol", "images", "failed", "miou", "image_miou", "pixel_accuracy",
    "run_id",
    # How it stands to the best of its benchmark, on the images that both have.
    "low", "high", "group", "against_best", "behind", "behind_low", "behind_high", "p", "detectable", "images_compared",
    "best_there", "official_images", "seeds", "seed_mean", "seed_sd",
    "unverified", "supervision",
    "needed",  # images that would find a difference of one point
)  # fmt: skip
SAME_NAME = "with."  # before a setting that is called like another column
PAIRS = ("benchmark", "protocol", "better", "worse", "difference", "low", "high", "p")


def leaderboard_csv(board: Leaderboard) -> str:
    """The text of leaderboard.csv. Behind its own columns stands every setting of every method, empty for others."""
    place = {run_id: n for n, run_id in enumerate(board.run_ids)}
    ordered = sorted(board.entries, key=lambda entry: place[entry.run_id])
    settings = list(dict.fromkeys(name for entry in ordered for name in entry.settings))
    head = [f"{SAME_NAME}{name}" if name in COLUMNS else name for name in settings]
    lines = [[*_line(board, entry), *map(entry.settings.get, settings)] for entry in board.entries]
    return _csv([[*COLUMNS, *head], *lines])


def _line(board: Leaderboard, e: Entry) -> list[object]:
    scores = map(percent, (e.miou, e.image_miou, e.pixel_accuracy))
    own = [e.rank, e.method, e.variant, e.benchmark, e.protocol, e.images, e.failed, *scores, e.run_id]
    standing, spread = e.standing, e.spread
    seeds = [spread.seeds, percent(spread.mean), percent(spread.deviation)] if spread else [None] * 3
    if standing is None:
        return [*own, *[None] * 11, e.official, *seeds, e.unverified, e.supervision, None]
    low, high = standing.interval or (None, None)
    held = standing.comparison
    compared = [percent(held.low), percent(held.high), f"{held.p:.4f}"] if held else [None] * 3
    return [
        *own, percent(low), percent(high), standing.group, standing.words, percent(standing.behind), *compared,
        percent(board.detectable(e)), standing.images, percent(standing.best_there), e.official, *seeds,
        e.unverified, e.supervision, board.needed(e),
    ]  # fmt: skip


def matrix_csv(board: Leaderboard) -> str:
    """The text of matrix.csv: a line a method and variant, a column a benchmark, mIoU; holes empty.

    Lines and columns come in the order of the grid. A benchmark under several protocols has a column each, whose head
    says the fields in which they differ.
    """
    cells: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    columns: dict[str, None] = {}
    doubled = Counter((e.method, e.variant, e.benchmark, e.protocol) for e in board.entries)
    place = {run_id: n for n, run_id in enumerate(board.run_ids)}
    for e in sorted(board.entries, key=lambda e: place[e.run_id]):
        column = f"{e.title} [{e.apart_here}]" if e.apart_here else e.title
        columns[column] = None
        # Two runs of one name (another version of the method, say) stand apart, each under its id.
        apart = e.run_id if doubled[e.method, e.variant, e.benchmark, e.protocol] > 1 else ""
        cells[e.method, e.variant, apart][column] = percent(e.miou) if board.partial or e.complete else ""
    columns |= dict.fromkeys(board.absent)
    lines = [
        [method, f"{variant} [{apart}]".strip() if apart else variant, *(row.get(column, "") for column in columns)]
        for (method, variant, apart), row in cells.items()
    ]
    return _csv([["method", "variant", *columns], *lines])


def pairs_csv(board: Leaderboard) -> str:
    """The text of pairs.csv: every pair of runs that have the same images, by run ids; the better one first."""
    lines: list[Sequence[object]] = [PAIRS]
    for (benchmark, protocol), standings in board.standings.items():
        held = significance.all_pairs(standings.effects, standings.seed) if standings.effects else []
        for one in held:
            numbers = map(percent, (one.difference, one.low, one.high))
            lines.append([benchmark, protocol, one.better, one.worse, *numbers, f"{one.p:.4f}"])
    return _csv(lines)


def _csv(lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["" if cell is None else cell for cell in line] for line in lines])
    return text.getvalue()
