"""One grid over jobs that know nothing of each other, each with a folder of its own below the results; of the door.

`--shard 2/6 --results DIR` writes to `DIR/shards/2-of-6`. A job begins with what DIR holds, does its share of one stage
and says what comes next: `python -m results.merge DIR/shards/* --into DIR`. Where rows of DIR do not count any more, as
something was learned or read anew, they go on in a new folder: a merge into DIR would find both.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from harness.contracts import Labelling, Scoring
from harness.contracts.command_line import typed
from harness.errors import HarnessError
from harness.planning.plan import Plan
from harness.planning.shares import NextStage, Share
from results import merge
from results.folder import artefacts
from results.folder.rows import Contradiction
from results.folder.store import Store


def folder_of(results: Path, share: Share) -> Path:
    """Where a job writes."""
    return results / "shards" / str(share)


def url_of(mirror: str, share: Share) -> str:
    """Where the mirror of a job lies."""
    return f"{mirror}/shards/{share}"


def take_over(results: Path, share: Share) -> None:
    """Bring what the results hold by now into the folder of a job."""
    if not (results / "rows").is_dir():
        return
    own = folder_of(results, share)
    try:
        merge.merge([Store.open(results, create=False)], Store.open(own))
    except Contradiction as error:
        into = anew(results)
        raise HarnessError(
            f"{results} and {own} do not go together: {error}. Where the jobs hold what is newer, type "
            f"`{_merging(results, into)}` and go on with `--results {shlex.quote(str(into))}`; where {results} does, "
            f"remove {shlex.quote(str(own.parent))}"
        ) from None


def anew(results: Path) -> Path:
    """Where jobs go on whose rows would not go with those of before."""
    named = results if results.name not in ("", "..") else results.resolve()
    return named.with_name(f"{named.name}-anew")


def _merging(results: Path, into: Path) -> str:
    place, target = (shlex.quote(str(one)) for one in (results, into))
    return f"{typed('merge')} {place}/shards/* --into {target}"


def lacking(plan: Plan, store: Store) -> int:
    """How many image results and fits of a job's share failed, or are missing."""
    statuses = store.stored()
    count = sum(not artefacts.has_artefact(store.folder, fit.artefact_id) for fit in plan.fits_to_do)
    for planned in plan.work:
        if isinstance(planned.run.purpose, Scoring | Labelling):
            stored = statuses.get(planned.run.run_id, {})
            count += sum(stored.get(image) != "ok" for image in planned.missing)
    return count


def what_comes_next(done: NextStage, share: Share, results: Path, grid: object) -> str:
    """What this job did, and what comes when all jobs have ended."""
    into = anew(results) if done.plan.changed else results
    did = "has done its share of this stage" if done.plan.stages else "has nothing to do in this stage"
    place, file = shlex.quote(str(into)), shlex.quote(str(grid))
    again = "all jobs again" if into == results else f"all jobs again with `--results {place}`"
    then = f"`{typed('sweep')} {file} --results {place}` for the tables" if done.last else again
    why = "" if into == results else f" ({results} holds what does not count any more)"
    merging = f"`{_merging(results, into)}`{why}"
    return f"Shard {share.number} of {share.count} {did}: {done.what}. When all have ended: {merging}, then {then}."
