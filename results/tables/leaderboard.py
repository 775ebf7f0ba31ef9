"""A results folder goes in; a ranked leaderboard of its runs comes out, with how each stands to the best."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import polars as pl

from harness.contracts import WIDE_IGNORED, FrozenDict
from harness.errors import StoreError
from results.counts import estimators, seeds
from results.counts.standings import Place, Rivals, Standings, stand
from results.counts.tally import Tally, tally
from results.folder import artefacts, protocols, same_data
from results.folder.agreement import agreeing
from results.folder.durable import write_text
from results.folder.recipes import RunRecipe
from results.folder.store import Store
from results.tables import cards
from results.tables.board_csv import leaderboard_csv, matrix_csv, pairs_csv
from results.tables.ranking import Entry, Leaderboard, order_of, percent, place_of, ranked
from results.tables.spec import setting_in_words

__all__ = ["Entry", "Leaderboard", "build_board", "leaderboard_csv", "matrix_csv", "percent", "write_board"]


def build_board(store: Store, partial: bool = False, everything: bool = False) -> Leaderboard:
    """The leaderboard of the last grid's runs, or of every stored run. StoreError when there is nothing to show."""
    table = store.table()
    recipes = _recipes(store, everything)
    labels = benchmark_labels(recipes.values())
    background = [run_id for run_id, recipe in recipes.items() if recipe.scores_background]
    sums = tally(agreeing(store.chunks(recipes), recipes), background)
    images = sums.images.partition_by("run_id", as_dict=True)
    confusions = sums.confusions.partition_by("run_id", as_dict=True)
    none_i, none_c = sums.images.clear(), sums.confusions.clear()
    entries = [
        _entry(recipe, labels[run_id], images.get((run_id,), none_i), confusions.get((run_id,), none_c))
        for run_id, recipe in recipes.items()
    ]
    entries = _with_missing(entries, recipes, sums.images)
    data = same_data.check_same_data(sums.images, labels, [store.folder])
    entries = [
        replace(e, unverified=data.unverified.get(e.run_id, 0), disputed=data.disputed.get(e.run_id, 0))
        for e in entries
    ]
    order = {label: place for place, label in enumerate(dict.fromkeys(labels.values()))}
    standings = _standings(store, recipes, entries, sums, partial)
    entries = _with_standings(entries, recipes, standings)
    rules = [recipe.rules for recipe in recipes.values()]
    differing, common = protocols.differing_fields(rules), protocols.in_common(rules)
    apart, here = dict(zip(recipes, protocols.told_apart(rules), strict=True)), _apart_here(recipes, labels)
    entries = [replace(e, apart=apart[e.run_id], apart_here=here[e.run_id]) for e in ranked(entries, partial)]
    ordered = tuple(sorted(entries, key=lambda e: order_of(e, order)))
    name, left_out = (table.name, table.left_out) if table else ("", ())
    return Leaderboard(
        name, ordered, tuple(recipes), partial, differing=differing, common=common, standings=standings,
        disputes=data.sentences, left_out=left_out, cards=cards.several_kinds(sums.images),
        unlearned=_unlearned(store, recipes.values()),
    )  # fmt: skip


def _unlearned(store: Store, recipes: Iterable[RunRecipe]) -> tuple[str, ...]:
    """A sentence for every learner whose fit is unfinished."""
    begun, learners = set(artefacts.begun(store.folder)), dict[str, str]()
    for recipe in recipes:
        learners.setdefault(str((recipe.artefact or {}).get("id")), f"{recipe.method_name} {recipe.variant}".strip())
    return tuple(
        f"{name} has not learned yet: what there is of its fit lies in artefacts/{artefact_id}/{artefacts.UNFINISHED}, "
        "and the same sweep goes on from there."
        for artefact_id, name in learners.items() if artefact_id in begun
    )  # fmt: skip


def _apart_here(recipes: Mapping[str, RunRecipe], labels: Mapping[str, str]) -> dict[str, str]:
    """Run id -> what tells its protocol from those of the other runs of its benchmark."""
    found: dict[str, str] = {}
    for label in dict.fromkeys(labels.values()):
        runs = [run_id for run_id in recipes if labels[run_id] == label]
        found |= zip(runs, protocols.told_apart([recipes[run_id].rules for run_id in runs]), strict=True)
    return found


def _recipes(store: Store, everything: bool) -> dict[str, RunRecipe]:
    """The recipes to show, the last grid's first and in its order."""
    stored = store.recipes()
    table = store.table()
    wanted = list(table.run_ids) if table else []
    if everything or table is None:
        rest = [recipe for run_id, recipe in stored.items() if run_id not in wanted]
        rest.sort(key=lambda r: (r.benchmark_name, r.method_name, r.variant, r.run_id))
        wanted += [recipe.run_id for recipe in rest]
    if not wanted:
        raise StoreError(f"{store.folder} holds no run yet; run a sweep with --results {store.folder}")
    for run_id in wanted:
        if run_id not in stored:
            raise StoreError(f"{store.folder}/recipes lacks run {run_id} of the last grid; run the sweep again")
    return {run_id: stored[run_id] for run_id in wanted}


def benchmark_labels(recipes: Iterable[RunRecipe]) -> dict[str, str]:
    """Run id -> the benchmark's name, with the settings that differ where one name stands for several benchmarks."""
    recipes = list(recipes)
    kinds: dict[str, dict[str, dict[str, object]]] = defaultdict(dict)
    for recipe in recipes:
        kinds[recipe.benchmark_name].setdefault(_identity(recipe), _settings(recipe))
    labels = {}
    for recipe in recipes:
        same_name = kinds[recipe.benchmark_name]
        label = recipe.benchmark_name
        if len(same_name) > 1:
            mine = same_name[_identity(recipe)]
            differing = [k for k in mine if any(other.get(k) != mine[k] for other in same_name.values())]
            number = list(same_name).index(_identity(recipe)) + 1
            label += "".join(f" {k}={mine[k]}" for k in differing) or f" #{number}"
        labels[recipe.run_id] = label
    return labels


def _identity(recipe: RunRecipe) -> str:
    return json.dumps([recipe.benchmark, recipe.classes], sort_keys=True)


def _settings(recipe: RunRecipe) -> dict[str, object]:
    return dict(sorted(dict(recipe.benchmark.get("settings", {})).items()))


def _entry(recipe: RunRecipe, benchmark: str, images: pl.DataFrame, confusion: pl.DataFrame) -> Entry:
    """One run's scores and counts; what is missing and the rank are known only among its neighbours."""
    void = WIDE_IGNORED if recipe.protocol.get("void_counts") else None
    highest = max((true for true in confusion["true"].unique().to_list() if true != void), default=0)
    if highest > len(recipe.classes):
        raise StoreError(
            f"run {recipe.run_id} has pixels of class {highest}, but its recipe lists {len(recipe.classes)} classes; "
            "run the sweep again to write the recipe anew"
        )
    counts = estimators.counts_of(confusion, len(recipe.classes), recipe.scores_background)
    failed = int((images["status"] == "failed").sum())
    return Entry(
        rank=None,
        method=recipe.method_name,
        variant=recipe.variant,
        benchmark=benchmark,
        protocol=recipe.protocol_text,
        images=images.height - failed,
        failed=failed,
        missing=0,
        miou=estimators.miou(counts),
        image_miou=estimators.image_miou(images["image_miou"]),
        pixel_accuracy=estimators.pixel_accuracy(counts),
        run_id=recipe.run_id,
        official=recipe.official_images,
        supervision=recipe.supervision,
        settings=FrozenDict((name, setting_in_words(one)) for name, one in recipe.method.get("settings", {}).items()),
    )


def _with_missing(entries: list[Entry], recipes: Mapping[str, RunRecipe], images: pl.DataFrame) -> list[Entry]:
    """Entries with the number of images they lack: of those promised, and of those any run of the benchmark has."""
    label = {entry.run_id: entry.benchmark for entry in entries}
    seen = images.select(pl.col("run_id").replace_strict(label, return_dtype=pl.String), "image_id").unique()
    expected: Counter[str] = Counter(seen["run_id"].to_list())
    for entry in entries:
        expected[entry.benchmark] = max(expected[entry.benchmark], recipes[entry.run_id].images)
    return [replace(e, missing=expected[e.benchmark] - e.images - e.failed) for e in entries]


def _standings(
    store: Store, recipes: Mapping[str, RunRecipe], entries: Sequence[Entry], sums: Tally, partial: bool
) -> dict[Place, Standings]:
    """What may be compared, compared: the complete runs of each place and, with `partial`, each other run by itself."""
    found: dict[Place, Standings] = {}
    rivals: dict[Place, Rivals] = {}
    for place, group in groupby(sorted(entries, key=place_of), key=place_of):
        scored = [entry for entry in group if entry.miou is not None]
        whole = [entry.run_id for entry in scored if entry.complete]
        if partial and not whole:
            whole = _longest(scored, sums.images)
        if not whole:
            found[place] = Standings(why="no run has every image")
            continue
        recipe = recipes[whole[0]]
        taking_part = [entry.run_id for entry in scored if partial or entry.complete]
        confusions = sums.confusions.filter(pl.col("run_id").is_in(taking_part)).partition_by("run_id", as_dict=True)
        size, background = len(recipe.classes), recipe.scores_background
        counts = {i: estimators.counts_of(confusions[i,], size, background) for i in taking_part}
        seed = int.from_bytes(hashlib.blake2b(_identity(recipe).encode(), digest_size=8).digest())
        images = max(entry.images for entry in scored)
        rivals[place] = Rivals(counts, tuple(whole), background, size, images, recipe.cluster_of_image, seed)
    return {**found, **stand(store, rivals)}


def _longest(entries: Sequence[Entry], images: pl.DataFrame) -> list[str]:
    """Where no run is complete: the run with the most images, and those that have the very same ones."""
    good = images.filter(pl.col("status") == "ok").partition_by("run_id", as_dict=True)
    sets = {e.run_id: frozenset(good[e.run_id,]["image_id"]) for e in entries if (e.run_id,) in good}
    most = max(sets.values(), key=lambda one: (len(one), sorted(one)), default=frozenset())
    return [run_id for run_id, own in sets.items() if own == most]


def _with_standings(
    entries: Sequence[Entry], recipes: Mapping[str, RunRecipe], standings: Mapping[Place, Standings]
) -> list[Entry]:
    """Entries with how they stand to the best, and with the spread over seeds of those that have every image."""
    scores = {e.run_id: e.miou for e in entries if e.complete and e.miou is not None}
    spread = {run_id: one for one in seeds.spreads(recipes, scores) for run_id in one.run_ids}
    return [
        replace(e, standing=standings[place_of(e)].by_run.get(e.run_id), spread=spread.get(e.run_id)) for e in entries
    ]


def write_board(board: Leaderboard, folder: Path, pairs: bool = False) -> tuple[Path, ...]:
    """Write leaderboard.csv and matrix.csv into the folder, and pairs.csv if wanted; say where they are."""
    texts = {"leaderboard.csv": leaderboard_csv(board), "matrix.csv": matrix_csv(board)}
    if pairs:
        texts["pairs.csv"] = pairs_csv(board)
    for name, text in texts.items():
        write_text(folder / name, text)
    return tuple(folder / name for name in texts)
