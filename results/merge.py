"""Results folders of several machines go in; one folder comes out with their rows, recipes, artefacts and pictures.

`python -m results.merge A B --into C` may be given folders in any order, any number of times. Rows of the same run
and image that differ in a count are a reproducibility failure, and so are artefacts of one id and label maps that
differ: what differs is printed, nothing is written, exit 3.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from harness.contracts import expanded
from harness.contracts.command_line import CommandLine
from harness.contracts.facts import essence
from harness.contracts.paths import folder_or_url
from harness.errors import HarnessError, StoreError, several
from results.door import door
from results.folder import artefacts, cargo, origins, same_data
from results.folder.agreement import agreeing
from results.folder.called import told_of_names
from results.folder.recipes import RunRecipe, file_name_of, joined_sweeps, recipe_text
from results.folder.rows import KEY, SCHEMA, Contradiction, OtherData, defeated
from results.folder.store import AskedTable, Store
from results.mirror.bringing import at_hand
from results.tables.leaderboard import benchmark_labels

# What a run's id stands for; the rest of a recipe may differ between machines.
_IDENTITY = ("identity", "harness", "tagger", "method", "backbones", "benchmark", "protocol", "classes")
NOT_REPRODUCED = 3
_HELD = 500_000  # rows that are compared at a time
_NOT_ALIKE = "the runs are not reproducible, or something that changes pixels is missing in their ids"
_LEARNED_ANEW = "what a method had learned was learned anew in one of them, and rows of before do not count any more"


@dataclass(frozen=True)
class Brought:
    """What a merge has brought: the number of rows, and of files beside them."""

    rows: int
    files: int


def merge(sources: Sequence[Store], target: Store) -> Brought:
    """Bring everything that `sources` hold into `target`, which keeps what it has.

    The target's folder is made when it is not there. Contradiction when ok rows differ in a count or in the data that
    they rest on, artefacts or label maps differ, or runs disagree about a truth; StoreError when recipes of one id
    differ, or anything is damaged: then nothing is written.
    """
    stores = [target, *sources]
    recipes = _joined_recipes(stores)
    table = _joined_table([t for t in (store.table() for store in stores) if t], recipes)
    groups = _groups(stores)
    beside = cargo.find_cargo([store.folder for store in stores])
    _refuse_contradictions(stores, groups, beside.wrong)
    _refuse_disagreements(stores, recipes)
    rows = 0
    with Store.open(target.folder).writer() as writer:
        cargo.bring_files(beside, target.folder)
        origins.bring_origins([store.folder for store in sources], target.folder)
        for run_id, content in recipes.items():  # before rows: where this is interrupted, none is without its recipe
            target.write_recipe(run_id, content)
        for run_ids in groups:
            new = _new_rows(stores, run_ids)
            if new.height:
                writer.write(new)
            rows += new.height
        if table:
            target.set_table(table.name, table.run_ids, table.tables, left_out=table.left_out)
        folders, files = [str(s.folder) for s in sources], len(beside.copies)
        target.event({"event": "merged", "sources": folders, "rows": rows, "files": files})
    return Brought(rows, files)


def _groups(stores: Sequence[Store]) -> list[list[str]]:
    """All runs, in groups that are small enough to be held in memory."""
    rows: Counter[str] = Counter()
    for store in stores:
        rows.update({run_id: len(images) for run_id, images in store.stored().items()})
    groups: list[list[str]] = [[]]
    held = 0
    for run_id in sorted(rows):
        if groups[-1] and held + rows[run_id] > _HELD:
            groups.append([])
            held = 0
        groups[-1].append(run_id)
        held += rows[run_id]
    return groups


def _refuse_contradictions(
    stores: Sequence[Store], groups: Sequence[Sequence[str]], files: Sequence[tuple[Path, str]]
) -> None:
    """Look at everything before anything is written, and tell of all that contradicts at once."""
    wrong, changed = [], []
    for run_ids in groups:
        try:
            _new_rows(stores, run_ids)
        except OtherData as error:
            changed.append(error.frame)
        except Contradiction as error:
            wrong.append(error.frame)
    said = []
    if wrong:
        said.append(f"{_count(wrong)} have different counts")
    counted = tuple(wrong)
    if changed:
        why = same_data.why_differing(_forms(stores, pl.concat(changed)), [store.folder for store in stores])
        said.append(f"{_count(changed)} rest on different data ({why})")
        wrong += changed
    if files:
        wrong.append(_named(stores, files))
        said.append(f"{len(files)} artefacts' files or label maps differ")
    if said:
        why = _LEARNED_ANEW if counted and _of_several_artefacts(stores, pl.concat(counted)) else _NOT_ALIKE
        raise Contradiction(f"{' and '.join(said)} in these folders: {why}; nothing was merged", pl.concat(wrong))


def _refuse_disagreements(stores: Sequence[Store], recipes: Mapping[str, dict[str, object]]) -> None:
    """Contradiction when runs, wherever they come from, disagree about the truth of an image."""
    known = {run_id: RunRecipe.from_dict(content, f"the recipe of run {run_id}") for run_id, content in recipes.items()}
    for _ in agreeing(chain.from_iterable(store.chunks() for store in stores), known):
        pass


def _count(frames: Sequence[pl.DataFrame]) -> str:
    images = pl.concat(frames)
    return f"{images.height} images of {images['run_id'].n_unique()} runs"


def _of_several_artefacts(stores: Sequence[Store], images: pl.DataFrame) -> bool:
    """Whether all of some rows were computed with several versions of what was learned."""
    rows = pl.concat(store.rows(images["run_id"].unique().to_list()).select(*KEY, "artefact") for store in stores)
    found = rows.join(images, on=KEY, how="semi").group_by(KEY).agg(pl.col("artefact").drop_nulls().n_unique())
    return bool((found["artefact"] > 1).all())


def _forms(stores: Sequence[Store], images: pl.DataFrame) -> set[tuple[str, str]]:
    """In which forms some images were seen: image id and digest."""
    columns = [*KEY, "sample"]
    rows = pl.concat(store.rows(images["run_id"].unique().to_list()).select(columns) for store in stores)
    found = rows.join(images, on=KEY, how="semi").filter(pl.col("sample").is_not_null())
    return set(found.select("image_id", "sample").iter_rows())


def disputes(store: Store) -> tuple[str, ...]:
    """What a folder's table will say of images that were not the same for all runs."""
    rows = [chunk.select(*KEY, "status", "sample", "artefact") for chunk in store.chunks()]
    labels = benchmark_labels(store.recipes().values())
    known = pl.concat(rows).filter(pl.col("run_id").is_in(list(labels))) if rows else None
    return () if known is None else same_data.check_same_data(known, labels, [store.folder]).sentences


def stays_behind(sources: Sequence[Path], target: Path) -> list[str]:
    """A sentence for every folder with fits that are unfinished there and not done in the target."""
    told = []
    for folder in dict.fromkeys(one for one in sources if one.absolute() != target.absolute()):
        left = [one for one in artefacts.begun(folder) if not artefacts.has_artefact(target, one)]
        if left:
            places = ", ".join(f"artefacts/{one}" for one in left)
            told.append(
                f"{several(len(left), 'unfinished fit')} stayed behind in {folder} ({places}): a sweep there goes on "
                f"from what it holds, one into {target} begins anew"
            )
    return told


def _named(stores: Sequence[Store], files: Sequence[tuple[Path, str]]) -> pl.DataFrame:
    """Files that differ in the form of a Contradiction: their folder, and the image whose map it is or the name."""
    images = {file_name_of(image): image for store in stores for own in store.stored().values() for image in own}
    lines = [(unit.as_posix(), images.get(Path(name).stem, name)) for unit, name in files]
    return pl.DataFrame(lines, schema={name: SCHEMA[name] for name in KEY}, orient="row")


def _new_rows(stores: Sequence[Store], run_ids: Sequence[str]) -> pl.DataFrame:
    """Of some runs, the rows that the first store lacks or holds in a worse version."""
    frames = [store.rows(run_ids).with_columns(store=pl.lit(n, pl.UInt32)) for n, store in enumerate(stores)]
    rows = pl.concat(frames).with_row_index("index")
    lost = defeated(rows, "the folders together")
    return rows.filter((pl.col("store") > 0) & ~pl.col("index").is_in(lost["index"].to_list())).select(*SCHEMA)


def _joined_recipes(stores: Sequence[Store]) -> dict[str, dict[str, object]]:
    """Every run's recipe; of several that mean the same run the one for most images stands, then the later text."""
    joined: dict[str, dict[str, object]] = {}
    for store in stores:
        for run_id, recipe in store.raw_recipes().items():
            other = joined.setdefault(run_id, recipe)
            differing = [name for name in _IDENTITY if _meant(other.get(name)) != _meant(recipe.get(name))]
            if differing:
                raise StoreError(
                    f"the recipes of run {run_id} differ in {', '.join(differing)}, so its id does not stand for one "
                    f"run; merge without {store.folder}, or run its sweep again"
                )
            stands, sweeps = max(other, recipe, key=_seniority), joined_sweeps(other, recipe)
            joined[run_id] = {**stands, "sweeps": sweeps} if sweeps else stands
    return joined


def _meant(part: object) -> object:
    """What of a part of a recipe is in the id: not where a file lies, and of the tagger its facts alone."""
    if isinstance(part, list):
        return [_meant(one) for one in part]
    if not isinstance(part, Mapping):
        return part
    return essence(part) if "files" in part else {key: value for key, value in part.items() if key != "tagger"}


def _seniority(recipe: Mapping[str, Any]) -> tuple[int, str]:
    return (int(recipe.get("images", 0)), recipe_text(recipe))


def _joined_table(tables: Sequence[AskedTable], recipes: Mapping[str, dict[str, object]]) -> AskedTable | None:
    """The table of all folders: theirs if they agree, else all their runs ordered by benchmark, method and variant."""
    if not tables:
        return None
    if all(table == tables[0] for table in tables):
        return tables[0]
    order = {run_id: _place(RunRecipe.from_dict(recipe)) for run_id, recipe in recipes.items()}
    run_ids = {run_id for table in tables for run_id in table.run_ids}
    runs = tuple(sorted(run_ids, key=lambda i: (order.get(i, ()), i)))
    return AskedTable(
        min(table.name for table in tables), runs, _joined_declarations(tables), _still_absent(tables, recipes)
    )


def _still_absent(
    tables: Sequence[AskedTable], recipes: Mapping[str, dict[str, object]]
) -> tuple[Mapping[str, str], ...]:
    """What was on no machine: of what was left out somewhere, the benchmarks of which no folder has a run."""
    there = {recipe.get("benchmark_name") for recipe in recipes.values()}
    absent = {recipe_text(one): one for table in tables for one in table.left_out if one["benchmark"] not in there}
    return tuple(absent[text] for text in sorted(absent))


def _joined_declarations(tables: Sequence[AskedTable]) -> tuple[Mapping[str, object], ...]:
    """All declared tables in order of their names; of two of one name the one whose text comes first."""
    declared = sorted((recipe_text(one) for table in tables for one in table.tables), reverse=True)
    by_name = {one["name"]: one for one in map(json.loads, declared)}
    return tuple(by_name[name] for name in sorted(by_name))


def _place(recipe: RunRecipe) -> tuple[str, ...]:
    return (recipe.benchmark_name, recipe.protocol_text, recipe.method_name, recipe.variant)


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = CommandLine(prog="stableseg merge", description=main.__doc__)
    parser.add_argument("folders", type=folder_or_url, metavar="DIR", nargs="+", help="results folders, or URLs")
    parser.add_argument("--into", type=expanded, metavar="DIR", required=True, help="the folder that receives all")
    return parser


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Join results folders; 0 done, 2 with one sentence when that cannot be, 3 when rows contradict each other."""
    options = parser().parse_args(arguments)
    try:
        sources = [Store.open(at_hand(folder), create=False) for folder in options.folders]
        brought = merge(sources, Store(options.into))
    except Contradiction as error:
        print(f"error: {error}", file=sys.stderr)
        for run_id, image_id in error.frame.select(KEY).iter_rows():
            print(f"{run_id}\t{image_id}")
        return NOT_REPRODUCED
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    whole = Store.open(options.into, create=False)
    names = told_of_names({str(one.folder): one.recipes() for one in sources}, whole.recipes())
    for sentence in (*names, *disputes(whole), *stays_behind([one.folder for one in sources], whole.folder)):
        print(sentence, file=sys.stderr)
    what = f"{several(brought.rows, 'row')} and {several(brought.files, 'file')} beside them"
    print(f"{what} from {several(len(sources), 'folder')} brought into {options.into}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
