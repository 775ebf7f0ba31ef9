"""The door: `python -m harness.sweep grid.yaml` -> rows, leaderboard.csv, matrix.csv and a report in a folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console

from harness import mirroring, sharding, stages
from harness.contracts import Recipe
from harness.errors import HarnessError, several
from harness.executors import placement, ray_surroundings
from harness.executors.seam import Executor, LocalExecutor
from harness.fits import Fits
from harness.foreign import interrupts
from harness.foreign.calls import keeping_functions
from harness.foreign.company import leave
from harness.grid import reading as grids
from harness.installation import around
from harness.planning import plan as plans
from harness.planning import report as plan_report
from harness.planning import shares
from harness.planning.plan import Plan, PlannedRun
from harness.progress import Progress
from harness.pulse import Pulse
from harness.recipes import identity, loading
from harness.sweep_options import options_of
from harness.sweep_options import parser as parser  # the one command asks each door for its own
from results.counts.estimators import RunningScores
from results.door import door
from results.folder import events, lock
from results.folder.held import Held
from results.folder.store import Store
from results.folder.writer import Writer
from results.tables import changes, leaderboard, overview
from results.tables.terminal import console_for_output, print_leaderboard

DONE, INCOMPLETE, INTERRUPTED = 0, 3, 130  # and 2, the user's input: HarnessError.exit_code
ERRORS_SHOWN = 20


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        with interrupts.listening():
            loading.refuse_foreign_packages()
            options = options_of(arguments)
            with interrupts.grace(options.grace):
                return sweep(options, console_for_output(options.quiet))
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        ended = "Ended with the batch at work, as asked" if isinstance(error, interrupts.Closed) else "Interrupted"
        print(f"{ended}; what is done is kept, the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED


def sweep(options: argparse.Namespace, console: Console) -> int:
    """Plan, run what is missing, write the tables; the exit code."""
    grid = grids.read_grid(options.grid, options.set, later=True)
    if options.plan:
        return _show_plan(options, grid, console)
    ray_surroundings.check_place(options.results)
    if options.shard:
        sharding.take_over(options.results, options.shard)
    folder = _folder(options)
    if options.mirror is None:
        return _kept(options, grid, Store.open, folder, console)
    where = sharding.url_of(options.mirror, options.shard) if options.shard else options.mirror
    with mirroring.mirrored(where, folder) as mirror:
        code = _kept(options, grid, partial(Store.open, may_write=mirror.check), folder, console)
    return code if mirroring.verdict(mirror, where) else code or INCOMPLETE


def _kept(
    options: argparse.Namespace, grid: grids.Grid, opened: Callable[[Path], Store], folder: Path, console: Console
) -> int:
    """A folder is opened, what is missing in it is done and told of; the exit code."""
    fresh = not folder.exists()
    store = opened(folder)
    try:
        with Pulse(store.event) as pulse:
            code = pulse.code = _swept(options, grid, store, pulse, console)
    except HarnessError:
        if fresh:
            store.withdraw()
        raise
    return code


def _folder(options: argparse.Namespace) -> Path:
    """Where results are written."""
    results: Path = options.results
    return sharding.folder_of(results, options.shard) if options.shard else results


def _swept(options: argparse.Namespace, grid: grids.Grid, store: Store, pulse: Pulse, console: Console) -> int:
    """What is missing is done and ranked; the exit code."""
    before = _table_of_before(store, grid)
    with store.writer() as writer:
        with console.status(f"planning {grid.name}: methods, data sets, what is stored"):
            held = store.held()
            plan = _plan(options, grid, store, held)
        _tell_of_before(store, held, console)
        if options.shard:
            return _share_done(plan, store, writer, held, options, grid, pulse, console)
        _do(plan, store, writer, held, options, grid, pulse, console)
        while _may_change(plan):
            held = store.held()
            if (again := _plan_again(plan, options, grid, store, held)) is plan:
                break
            plan = again
            _do(plan, store, writer, held, options, grid, pulse, console)
    if len(plan.waiting) == len(plan.runs):  # no run is known yet: there is no table
        return _verdict(plan, store, ())
    board = leaderboard.build_board(store, partial=options.partial)
    files = leaderboard.write_board(board, store.folder)
    print_leaderboard(board, console)
    _say(changes.changes(before, board), console)
    report = [] if options.no_report else [_report(store, options.partial)]
    console.print(*(f"\n{path}" for path in (*files, *report)), sep="", highlight=False, soft_wrap=True)
    return _verdict(plan, store, board.disputes)


def _share_done(
    plan: Plan, store: Store, writer: Writer, held: Held, options: argparse.Namespace, grid: grids.Grid, pulse: Pulse,
    console: Console,
) -> int:  # fmt: skip
    """One job's share of the next stage is done; the exit code. Tables are made of what all jobs did."""
    share = shares.next_stage(plan, options.shard)
    _say(plan_report.learns_later(share.later), console)
    _do(share.plan, store, writer, held, options, grid, pulse, console)
    writer.flush()
    console.print(
        sharding.what_comes_next(share, options.shard, options.results, options.grid),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if not (lacking := sharding.lacking(share.plan, store)):
        return DONE
    print(_to_try_again(lacking, "result of this share"), file=sys.stderr)
    return INCOMPLETE


def _table_of_before(store: Store, grid: grids.Grid) -> changes.Before:
    """The leaderboard of an earlier sweep of this grid, if the folder holds one."""
    table = store.table()
    return changes.read_before(store.folder / "leaderboard.csv") if table and table.name == grid.name else {}


def _do(
    plan: Plan,
    store: Store,
    writer: Writer,
    held: Held,
    options: argparse.Namespace,
    grid: grids.Grid,
    pulse: Pulse,
    console: Console,
) -> None:
    """Set aside what changed, say what is to be done, and do it. held: what was stored when it was planned."""
    stages.set_changed_aside(store, writer, plan)
    _record(store, plan, grid, options)
    timings = overview.seconds_per_image(store, held)
    _say(plan_report.plan_summary(plan, timings, _workers(options, grid)), console)
    if plan.stages:
        cost = asdict(plan.cost)
        what = {"name": plan.name, "runs": len(plan.runs), "images": plan.images_missing, **cost}
        beside = os.path.relpath(grid.folder, store.folder.absolute())  # so that receipts find plug-ins of plain files
        pulse.start({**what, "beside": beside, "by": lock.myself()})
        _run(plan, store, writer, options, grid, console)


def _say(lines: Iterable[str], console: Console) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _may_change(plan: Plan) -> bool:
    """Whether a plan may be another one now that it was done."""
    return bool(plan.waiting) or _relearns(plan) or any(fit.may_fail for fit in plan.fits)


def _relearns(plan: Plan) -> bool:
    """Whether rows were stored of what a plan learned anew: it may have learned something else."""
    anew = {fit.artefact_id for fit in plan.fits_to_do}
    stored = [one for one in (*plan.runs, *plan.labels, *plan.trials) if one.stored]
    return any(one.fit is not None and one.fit.artefact_id in anew for one in stored)


def _plan_again(plan: Plan, options: argparse.Namespace, grid: grids.Grid, store: Store, held: Held) -> Plan:
    """The plan, or the next one: where a teacher failed or succeeded on images that its learner may do without, where
    a protocol can be chosen now, where rows are of what had been learned before, or a learner waited for other ones."""
    tried = plan.tried | {labels.run.run_id for labels in plan.labels}
    again = _plan(options, grid, store, held, tried)
    fits = [{fit.artefact_id for fit in one.fits} for one in (plan, again)]
    ready = [one.artefact_id for one in again.fits_to_do if not again.comes_too_early(one)]
    waited = any(one.artefact_id in ready for one in plan.too_early)
    stands = fits[0] == fits[1] and len(again.waiting) == len(plan.waiting) and not waited
    return plan if stands and not (_relearns(plan) and again.changed) else again


def _show_plan(options: argparse.Namespace, grid: grids.Grid, console: Console) -> int:
    """What would be done; nothing is made or changed."""
    place = next((one for one in (_folder(options), options.results) if one.exists()), None)
    store = Store.open(place, create=False) if place else None
    held = store.held() if store else None
    plan, timings = _plan(options, grid, store, held), overview.seconds_per_image(store, held) if store and held else {}
    share = shares.next_stage(plan, options.shard) if options.shard else None
    plan = share.plan if share else plan
    if options.json:
        told = plan_report.as_dict(plan, timings, _workers(options, grid))
        print(json.dumps({**told, "stored_under_an_earlier_identity": _of_before(store, held)}, indent=2))
    else:
        plan_report.show_plan(plan, timings, _workers(options, grid), console)
        if options.local or not (options.address or grid.cluster.address):
            _say(plan_report.said_of_this_machine(plan), console)
        _say(plan_report.learns_later(share.later if share else ()), console)
        _tell_of_before(store, held, console)
    return DONE


def _of_before(store: Store | None, held: Held | None) -> int:
    return overview.runs_of_another_identity(store, held, identity.SCHEME) if store and held else 0


def _tell_of_before(store: Store | None, held: Held | None, console: Console) -> None:
    """How many stored runs cannot be resumed, and why."""
    if count := _of_before(store, held):
        console.print(
            f"{count} stored run{'s are' if count > 1 else ' is'} of an earlier identity and not resumed: not all that "
            "can change a pixel (the harness, helpers, files) was in their ids. They can be read as before.",
            highlight=False,
        )  # fmt: skip


def _plan(
    options: argparse.Namespace, grid: grids.Grid, store: Store | None, held: Held | None,
    tried: frozenset[str] = frozenset(),
) -> Plan:  # fmt: skip
    shelf = stages.shelf(store, held) if store is not None and held is not None else None
    with keeping_functions(), _told_with(grid.missing):
        return plans.make(
            grid.name, grid.cells, grid.batch, held, options.limit, grid.keep, shelf, folder=grid.folder, tried=tried,
            asked=plans.Selection(tuple(options.benchmark), tuple(options.method), options.available),
            boundaries=grid.boundaries,
        )  # fmt: skip


@contextmanager
def _told_with(missing: Sequence[str]) -> Iterator[None]:
    """What is missing, a sentence each, is told with what else goes wrong; HarnessError where there is any."""
    try:
        yield
    except HarnessError as error:
        if not missing:
            raise
        raise HarnessError("\n".join([*missing, str(error)])) from error
    if missing:
        raise HarnessError("\n".join(missing))


def _run(
    plan: Plan, store: Store, writer: Writer, options: argparse.Namespace, grid: grids.Grid, console: Console
) -> None:
    """Do what is missing; what counts for the tables is shown as it comes."""
    scores = RunningScores()  # of what comes from now on: what is stored would have to be read for it
    progress = Progress(plan, scores.miou, console)

    def tell(event: dict[str, object]) -> None:
        if event["event"] == "lease":  # many, and told in order with what is done: they wait for the next part
            writer.append((), {**event, "since": events.now()})
        else:
            store.event(event)
        progress.note(event)

    with closing(_executor(options, grid, tell)) as executor, progress:
        fits = Fits(store, executor, console, grid.folder, around())
        elsewhere = not options.local and bool(options.address or grid.cluster.address)
        desk = stages.Desk(store, writer, executor, console, fits, plan.data, elsewhere)
        for done, rows in desk.work(plan, grid.cluster.shard_batches):
            scores.add(rows)
            progress.update(done)


def _executor(options: argparse.Namespace, grid: grids.Grid, tell: Callable[[dict[str, object]], None]) -> Executor:
    worker = Recipe.of("harness.work.worker:ShardWorker", folder=grid.folder)
    if options.local:
        return LocalExecutor(worker)
    from harness.executors.cluster import RayExecutor  # Ray is imported only where it is used

    cluster = grid.cluster
    return RayExecutor(
        worker,
        workers=options.workers or cluster.workers,
        address=options.address or cluster.address,
        threads=cluster.threads,
        gpus_per_worker=cluster.gpus_per_worker,
        gpu=cluster.gpu,
        stall_seconds=cluster.stall_seconds,
        on_event=tell,
    )


def _workers(options: argparse.Namespace, grid: grids.Grid) -> int:
    """How many workers an estimate may count on: what is asked for, else what this machine gives by itself."""
    if options.local:
        return 1
    asked = options.workers or grid.cluster.workers
    return asked if isinstance(asked, int) else placement.workers_here(grid.cluster.threads)


def _report(store: Store, partial: bool) -> Path:
    """Write the declared tables, the ledger and the report; its first page."""
    from results import report  # the charts' library takes a second to load, and a plan draws nothing

    return report.write_report(store, partial)


def _record(store: Store, plan: Plan, grid: grids.Grid, options: argparse.Namespace) -> None:
    """A recipe file for every run of the grid, and the list of its runs: the table that the leaderboard shows.

    What was asked for on the command line stands beside it.
    """
    known = [planned for planned in plan.runs if not planned.waits]
    for planned in (*known, *plan.labels, *plan.trials):
        run = planned.run
        names = {"run_id": run.run_id, "method_name": run.method_name, "variant": run.variant}
        rules = {"benchmark_name": run.benchmark_name, "protocol": asdict(run.protocol)}
        store.write_recipe(run.run_id, {**names, **rules, **planned.record})
    asked = {name: value for name in ("set", "benchmark", "method", "available") if (value := getattr(options, name))}
    left_out = [asdict(one) for one in plan.left_out]
    for run in [planned.run for planned in plan.runs if planned.waits]:
        name = f"{run.method_name} {run.variant}".strip()
        left_out.append({"benchmark": run.benchmark_name, "method": name, "why": "its protocol is not chosen yet"})
    store.set_table(plan.name, [planned.run.run_id for planned in known], grid.tables, asked, left_out)


def _verdict(plan: Plan, store: Store, disputes: Sequence[str]) -> int:
    """The exit code; what failed is said on stderr, and data that were not the same for all."""
    if disputes:
        print(*disputes, sep="\n", file=sys.stderr)
    statuses = store.stored()
    asked = [planned for planned in plan.runs if planned.asked]
    lacking = sum(_lacking(planned, statuses.get(planned.run.run_id, {})) for planned in asked)
    outdated = stages.outdated(plan, store)
    print(*outdated, sep="\n", end="\n" * bool(outdated), file=sys.stderr)
    if not lacking:
        return INCOMPLETE if disputes or outdated else DONE
    print(_to_try_again(lacking, "image result"), file=sys.stderr)
    for planned in plan.waiting:
        holes, name = sum(bool(one.missing) for one in planned.trials), planned.run.method_name
        runs = f"{several(holes, 'run')} on the train split {'has' if holes == 1 else 'have'} holes"
        why = f"its protocol cannot be chosen, since {runs}"
        print(f"  {name} on {planned.run.benchmark_name}: {why}", file=sys.stderr)
    tried = {one.run.run_id for planned in plan.waiting for one in planned.trials}
    errors = overview.errors(store, [*(planned.run.run_id for planned in asked), *tried])
    for error, count in errors[:ERRORS_SHOWN]:
        print(f"  {count} x {error}", file=sys.stderr)
    if more := errors[ERRORS_SHOWN:]:
        rows = sum(count for _, count in more)
        told = f"{several(len(more), 'more reason')}, of {several(rows, 'image result')}"
        print(f"  and {told}; the report lists all.", file=sys.stderr)
    return INCOMPLETE


def _to_try_again(number: int, what: str) -> str:
    are, them = ("is", "it") if number == 1 else ("are", "them")
    noun, _, of = what.partition(" of ")
    return f"{several(number, noun)}{of and f' of {of}'} failed or {are} missing; the same command tries {them} again."


def _lacking(planned: PlannedRun, stored: Mapping[str, str]) -> int:
    return sum(stored.get(image) != "ok" for image in planned.image_ids)


if __name__ == "__main__":
    leave(main())
