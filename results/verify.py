"""A results folder goes in; what in it is damaged, or contradicts itself, comes out, and can be set aside.

`python -m results.verify DIR` reads every file: digests and seals, the rules of rows, two rows of one image, whether
all runs agree about the truth that they met, whether rows are of the artefacts that are there, whether what recipes
and cards say gives their ids, whether leaderboard.csv is what the rows give. 0 whole, 1 with the list of what is not,
2 when there is no folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.contracts.command_line import CommandLine
from harness.contracts.facts import id_of_fit, id_of_run
from harness.errors import HarnessError, StoreError, several
from results.command_line import results_folder
from results.counts.tally import Tally, tally
from results.door import door
from results.folder import artefacts, events, keepsakes, lock, parts, proof
from results.folder.agreement import agreeing
from results.folder.durable import write_text
from results.folder.held import Held
from results.folder.recipes import RunRecipe, is_of_now
from results.folder.rows import KEY, Contradiction
from results.folder.store import Store, read_recipe
from results.tables import board_check

ASIDE = "set-aside"  # the folder below the results folder that takes what is damaged


@dataclass(frozen=True)
class Finding:
    """What is wrong, in a sentence. path: what can be set aside for it. images: (run id, image id) that contradict."""

    text: str
    path: Path | None = None
    images: tuple[tuple[str, str], ...] = ()


@dataclass
class Look:
    """All that a look at a folder found: what is wrong, how many things there are, how many files carry no digest."""

    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    unproven: int = 0

    def counted(self, what: str, number: int, proven: int) -> None:
        """Take in how many of something there are, and how many of them carry a digest."""
        self.counts[what] = number
        self.unproven += number - proven


def look_over(store: Store) -> Look:
    """Read everything that numbers, tables and pictures rest on. Nothing is changed."""
    found = Look()
    recipes = _recipes(store, found)
    whole = _parts(store, found)
    sums = _rows(store, whole, recipes, found)
    board = store.folder / "leaderboard.csv"
    if sums is not None and (text := board_check.fault(board, sums, recipes)):
        found.findings.append(Finding(text, board))
    _learned(store, whole, recipes, found)
    _table(store, recipes, found)
    _events(store, found)
    _artefacts(store.folder, found)
    _pictures(store.folder, found)
    return found


def _sound(paths: Iterable[Path], read: Callable[[Path], object], found: Look) -> Iterator[Path]:
    """The paths that can be read; the others become findings."""
    for path in paths:
        try:
            read(path)
        except StoreError as error:
            found.findings.append(Finding(str(error), path))
        else:
            yield path


def _recipes(store: Store, found: Look) -> dict[str, RunRecipe]:
    recipes: dict[str, RunRecipe] = {}

    def read(path: Path) -> None:
        content = read_recipe(path)
        recipes[path.stem] = RunRecipe.from_dict(content, str(path))
        if is_of_now(content) and "rule" in content:
            _refuse_other_id(path, path.stem, id_of_run, content)

    sound = list(_sound(sorted((store.folder / "recipes").glob("*.json")), read, found))
    found.counted("recipe", len(sound), sum(_is_sealed(path) for path in sound))
    return recipes


def _parts(store: Store, found: Look) -> list[Path]:
    whole = list(_sound(parts.listed(store.folder / "rows"), parts.read_part, found))
    found.counted("part", len(whole), sum(map(parts.is_proven, whole)))
    return whole


def _rows(store: Store, whole: Sequence[Path], recipes: dict[str, RunRecipe], found: Look) -> Tally | None:
    """Two rows of one image, rows without a recipe, and what runs say of the truth that they met; their sums."""
    rows: dict[str, int] = {}
    sums = None
    try:
        background = [run_id for run_id, recipe in recipes.items() if recipe.scores_background]
        sums = tally(agreeing(store.chunks(paths=whole), recipes), background)
        rows = dict(sums.images["run_id"].value_counts().iter_rows())
    except Contradiction as error:
        found.findings.append(Finding(str(error), images=tuple(error.frame.select(KEY).iter_rows())))
    except StoreError as error:
        found.findings.append(Finding(str(error)))
    for run_id in sorted(set(rows) - set(recipes)):
        missing = f"{store.folder}/recipes lacks run {run_id}, of which there are {rows[run_id]} rows"
        found.findings.append(Finding(f"{missing}; run its sweep again to write the recipe anew"))
    found.counts["row"] = sum(rows.values())
    return sums


def _learned(store: Store, whole: Sequence[Path], recipes: dict[str, RunRecipe], found: Look) -> None:
    """Rows that were computed with another artefact than the one that is there, or with several where none is."""
    held = Held(whole)
    for run_id, recipe in recipes.items():
        rows = {digest: len(images) for digest, images in held.artefacts(run_id).items()}
        artefact_id = str((recipe.artefact or {}).get("id"))
        with suppress(StoreError):  # a card that is damaged is told as such
            now = artefacts.artefact_digest(store.folder, artefact_id)
            now = now or max(rows, key=lambda one: rows[one], default="")
            if others := sum(count for digest, count in rows.items() if digest != now):
                text = f"{others} rows of run {run_id} are of another artefact {artefact_id} than the one that is there"
                found.findings.append(Finding(f"{text}; run its sweep again, which computes them anew"))


def _table(store: Store, recipes: dict[str, RunRecipe], found: Look) -> None:
    path = store.folder / "grid.json"
    try:
        table = store.table()
    except StoreError as error:
        found.findings.append(Finding(str(error), path))
        return
    lacking = [run_id for run_id in table.run_ids if run_id not in recipes] if table else []
    if lacking:
        text = f"{store.folder}/recipes lacks {', '.join(lacking[:5])} of the last grid; run the sweep again"
        found.findings.append(Finding(text))
    found.counted("grid", int(table is not None), int(table is not None and _is_sealed(path)))


def _events(store: Store, found: Look) -> None:
    path = store.folder / "events.jsonl"
    try:
        told = store.told()
    except StoreError as error:
        found.findings.append(Finding(str(error), path))
        return
    for number in told.damaged:
        found.findings.append(Finding(f"{path}, line {number} is damaged, or was cut short, and is left out", path))


def _artefacts(folder: Path, found: Look) -> None:
    places = [path.parent for path in sorted((folder / "artefacts").glob("*/card.json"))]

    def read(place: Path) -> None:
        artefacts.refuse_damaged(place)
        content = artefacts.card(folder, place.name)
        if artefacts.artefact_is_of_now(content):
            _refuse_other_id(place / "card.json", place.name, id_of_fit, content)

    whole = list(_sound(places, read, found))
    sealed = sum(artefacts.DIGESTS in proof.read_json(place / "card.json") for place in whole)
    found.counted("artefact", len(whole), sealed)
    found.counts["unfinished fit"] = len(artefacts.begun(folder))  # the same sweep goes on from it
    gathered = sorted((folder / "artefacts").glob(f"*/{artefacts.UNFINISHED}/gathered/*.npz"))
    for _ in _sound(gathered, keepsakes.read_kept, found):
        pass


def _pictures(folder: Path, found: Look) -> None:
    maps = [*sorted((folder / "label_maps").rglob("*.png")), *sorted((folder / "pictures").rglob("*.png"))]
    photos = sorted((folder / "pictures").rglob("*.jpg"))
    whole = [*_sound(maps, keepsakes.read_map, found), *_sound(photos, keepsakes.read_image, found)]
    found.counted("picture", len(whole), sum(proof.is_stamped(path.read_bytes()) for path in whole))


def _refuse_other_id(
    path: Path, said: str, make: Callable[[dict[str, object]], str], content: dict[str, object]
) -> None:
    """StoreError when what a file says of a run or a fit gives another id than the one that it bears."""
    try:
        made = make(content)
    except (KeyError, TypeError, AttributeError, ValueError):
        made = "none"
    if made != said:
        raise StoreError(
            f"{path} was changed by hand: what it says gives the id {made}, not {said}, so it does not tell how its "
            f"rows were made; {proof.CURE}"
        )


def _is_sealed(path: Path) -> bool:
    return proof.SEAL in json.loads(path.read_bytes())


def set_aside(store: Store, found: Look) -> list[Path]:
    """Move what is damaged into a folder of its own, under the same paths; where it lies now.

    StoreError when somebody writes to the folder, or the disk refuses.
    """
    moved: list[Path] = []
    held = lock.acquire(store.folder)
    try:
        for path in dict.fromkeys(finding.path for finding in found.findings if finding.path):
            target = _free(store.folder / ASIDE / path.relative_to(store.folder))
            target.parent.mkdir(parents=True, exist_ok=True)
            kept = store.told().events if path.name == "events.jsonl" and path.is_file() else ()
            os.replace(path, target)
            if kept:
                write_text(path, events.lines_of(kept))
            moved.append(target)
    except OSError as error:
        raise StoreError(f"what is damaged cannot be moved to {store.folder / ASIDE} ({error.strerror})") from None
    finally:
        held.release()
    return moved


def _free(path: Path) -> Path:
    """The path, or with a number behind it where something was set aside before."""
    taken = (path.with_name(f"{path.name}.{number}") for number in range(1, 1_000_000))
    return path if not path.exists() else next(one for one in taken if not one.exists())


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = CommandLine(prog="stableseg verify", description=main.__doc__)
    results_folder(parser)
    parser.add_argument("--set-aside", action="store_true", help=f"move what is damaged into DIR/{ASIDE}/")
    return parser


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Verify a results folder; 0 whole, 1 with the list of what is not, 2 with one sentence when there is none."""
    options = parser().parse_args(arguments)
    try:
        store = Store.open(options.folder, create=False)
        found = look_over(store)
        for finding in found.findings:
            print(finding.text)
            for run_id, image_id in finding.images:
                print(f"{run_id}\t{image_id}")
        for path in set_aside(store, found) if options.set_aside else ():
            print(f"moved to {path}")
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if found.findings:
        print(f"{options.folder}: {several(len(found.findings), 'thing')} not as written", file=sys.stderr)
        return 1
    what = ", ".join(several(number, name) for name, number in found.counts.items() if number)
    before = f"; {found.unproven} files are of before there were digests" if found.unproven else ""
    print(f"{options.folder} is whole: {what or 'nothing in it'}{before}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
