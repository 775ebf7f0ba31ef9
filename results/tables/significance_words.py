"""Groups and standings go in; the sentences that terminal, tables, receipts and report say of them come out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from results.counts.image_effects import ImageEffects
from results.counts.significance import ALPHA, FEWEST, Group
from results.counts.standings import BEST, BETTER, TIED, TOO_FEW, Standings
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
    shown = (f"{100 * difference:.{digits}f}" for digits in (1, 2, 3, 4))
    return next(filter(float, shown), "less than 0.0001" if difference else "0.0")


def detectable(group: Group, effects: ImageEffects) -> str:
    """What so many images can tell apart; empty where nothing was compared, or all answer alike."""
    if group.detectable is None or group.needed is None:
        return ""
    units, images = sum(effects.blocks), effects.images
    needed = f"{_round(group.needed):,}"
    if units != images:
        needed = f"{_round(math.ceil(group.needed * units / images)):,} clusters (some {needed} images)"
    return (
        f"{_units(effects)} find a difference of {points(group.detectable)} points with a chance of 80 %; "
        f"one point needs about {needed}"
    )


def _units(effects: ImageEffects) -> str:
    """What is drawn: `60 images`, or `12 clusters (60 images)`."""
    units, images = sum(effects.blocks), effects.images
    return f"{images:,} images" if units == images else f"{units:,} clusters ({images:,} images)"


def _round(number: int) -> int:
    """Two digits that mean something."""
    return int(float(f"{number:.1e}"))


def column(standings: Standings) -> str:
    """What the comparisons of a benchmark say of its best runs; empty where there were none."""
    return what_was_compared(standings.groups, standings.effects) if standings.effects else ""


def what_was_compared(groups: Sequence[Group], effects: ImageEffects) -> str:
    """What was compared with what, on how many images, what came of it and what could have been seen; empty where
    there is one run alone."""
    runs = sum(len(group.run_ids) for group in groups)
    if runs < 2:
        return ""
    first = groups[0]
    if not first.enough:
        kind, number = _kind(effects)
        return f"Too few {kind} ({number}) to separate any of {runs} runs; {FEWEST} are the least."
    others = len(first.run_ids) - 1
    found = f"{others} of the others {'is' if others == 1 else 'are'} not separated from it"
    what = found if others else "it is separated from all others"
    told = [f"{runs} runs, each compared with the best over the same {_units(effects)}: {what}"]
    return " ".join(f"{one}." for one in (*told, detectable(first, effects)) if one)


def _kind(effects: ImageEffects) -> tuple[str, int]:
    units = min(effects.blocks)
    return ("images", effects.images) if sum(effects.blocks) == effects.images else ("clusters", units)


def run_in_words(entry: Entry, standings: Standings) -> list[str]:
    """How a run stands to the best, and what its interval rests on."""
    held, effects = entry.standing, standings.effects
    if held is None or effects is None:
        return []
    words = []
    if held.words == TOO_FEW:
        kind, number = _kind(effects) if held.whole else ("images", held.images)
        words.append(f"too few {kind} ({number}) to compare it with others")
    elif held.group:
        group = standings.groups[held.group - 1]
        words.append(f"group {held.group} of {len(standings.groups)}, compared over {held.images} images")
        words += [detectable(group, effects)] if group.detectable is not None else []
    if held.words not in (BEST, TOO_FEW) and held.comparison:
        one, ahead = held.comparison, held.words == BETTER
        shown = one.turned() if ahead else one
        apart = f"{100 * shown.difference:.2f} ({100 * shown.low:.2f} to {100 * shown.high:.2f}) points"
        kind = TIED if held.words == TIED else "better there" if ahead else "separated from it"
        beside = f"{'ahead of' if ahead else 'behind'} the best on the same {held.images} images"
        words.append(f"{apart} {beside}, p = {one.p:.4f}: {kind}")
    return [*words, *rare(standings)]


def rare(standings: Standings) -> list[str]:
    """That intervals rest on classes of few images, where they do."""
    effects = standings.effects
    if effects is None or not effects.rare:
        return []
    return [f"{effects.rare} of {effects.classes} classes rest on fewer than five images, so intervals are too narrow"]
