"""Groups and standings go in; the sentences that terminal, tables, receipts and report say of them come out."""

from __future__ import annotations

from collections.abc import Sequence

from results.counts.significance import ALPHA, FEWEST, Group
from results.counts.standings import BEST, TIED, TOO_FEW, Standings
from results.tables.ranking import Entry

METHOD = (
    f"each run compared with the best over the same images, paired bootstrap, p ≤ {ALPHA:g} for all comparisons at once"
)


SHORT = (
    "A run with holes is compared with the best over the images that both have, ranked by how far it is from the best "
    "there, and is in no group."
)


def points(difference: float) -> str:
    """A difference 0..1 in points: with one decimal, or so many that it is not 0."""
    text = next(text for digits in (1, 2, 3, 4) if float(text := f"{100 * difference:.{digits}f}") or digits == 4)
    return text


def detectable(group: Group, images: int) -> str:
    """What so many images can tell apart; empty where nothing was compared."""
    if group.detectable is None or group.needed is None:
        return ""
    return (
        f"{images:,} images find a difference of {points(group.detectable)} points with a chance of 80 %; "
        f"one point needs about {_round(group.needed):,}"
    )


def _round(number: int) -> int:
    """Two digits that mean something."""
    return int(float(f"{number:.1e}"))


def column(standings: Standings) -> str:
    """What the comparisons of a benchmark say of its best runs; empty where there were none."""
    return what_was_compared(standings.groups, standings.effects.images) if standings.effects else ""


def what_was_compared(groups: Sequence[Group], images: int) -> str:
    """What was compared with what, on how many images, what came of it and what could have been seen; empty where
    there is one run alone."""
    runs = sum(len(group.run_ids) for group in groups)
    if runs < 2:
        return ""
    first = groups[0]
    if not first.enough:
        return f"Too few images ({images}) to separate any of {runs} runs; {FEWEST} are the least."
    others = len(first.run_ids) - 1
    found = f"{others} of the others {'is' if others == 1 else 'are'} not separated from it"
    what = found if others else "it is separated from all others"
    told = f"{runs} runs, each compared with the best over the same {images:,} images: {what}"
    return f"{told}. {detectable(first, images)}."


def run_in_words(entry: Entry, standings: Standings) -> list[str]:
    """How a run stands to the best, and what its interval rests on."""
    held, effects = entry.standing, standings.effects
    if held is None or effects is None:
        return []
    words = []
    if held.words == TOO_FEW:
        words.append(f"{TOO_FEW} ({held.images}) to compare it with others")
    elif held.group:
        group = standings.groups[held.group - 1]
        words.append(f"group {held.group} of {len(standings.groups)}, compared over {held.images} images")
        words += [detectable(group, held.images)] if group.detectable is not None else []
    if held.words not in (BEST, TOO_FEW) and held.comparison:
        one = held.comparison
        behind = f"{100 * one.difference:.2f} ({100 * one.low:.2f} to {100 * one.high:.2f}) points behind the best"
        kind = TIED if held.words == TIED else "separated from it"
        words.append(f"{behind} on the same {held.images} images, p = {one.p:.4f}: {kind}")
    return [*words, *rare(standings)]


def rare(standings: Standings) -> list[str]:
    """That intervals rest on classes of few images, where they do."""
    effects = standings.effects
    if effects is None or not effects.rare:
        return []
    return [f"{effects.rare} of {effects.classes} classes rest on fewer than five images, so intervals are too narrow"]
