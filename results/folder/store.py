"""Rows, recipes and events go into a results folder and come back; what is in it survives any crash, and proves itself.

The folder: `rows/` (parquet parts), `outdated/` (rows whose data changed since, which nobody reads), `recipes/<run
id>.json`, `events.jsonl`, `grid.json` (the last grid's runs in order) and, while somebody writes, `LOCK`.
docs/results_folder.md says what proves what.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from harness.errors import StoreError
from results.folder import parts
from results.folder.durable import write_text
from results.folder.events import Told, tell, told_events
from results.folder.held import Held
from results.folder.proof import CURE, read_json, sealed
from results.folder.recipes import RunRecipe, is_of_now, joined_sweeps, recipe_path, recipe_text
from results.folder.rows import KEY, SCHEMA, defeated
from results.folder.writer import Writer

CHUNK = 4096  # rows handed out at a time: an estimator that spreads them over 256 columns takes 8 MB an array


@dataclass(frozen=True)
class AskedTable:
    """The runs that a grid asked for, in its order, and the comparison tables it declares, as in its file.

    left_out: what has no run because it is not on the machine of the last sweep: `benchmark`, `method` (empty where it
    is the whole benchmark) and `why`.
    """

    name: str
    run_ids: tuple[str, ...]
    tables: tuple[Mapping[str, Any], ...] = ()
    left_out: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Store:
    """A results folder. Reading needs no lock; `writer()` does. may_write: see Writer."""

    folder: Path
    may_write: Callable[[], None] = lambda: None

    @classmethod
    def open(cls, folder: str | Path, create: bool = True, may_write: Callable[[], None] = lambda: None) -> Store:
        """The store in `folder`, made if wanted. StoreError when it is not there or cannot be made."""
        store = cls(Path(folder), may_write)
        if create:
            try:
                for path in (store._rows, store._recipes):
                    path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"{folder} cannot be made a results folder ({error.strerror}); name another") from None
        elif not store._rows.is_dir():
            there = "is a file" if store.folder.exists() else "does not exist"
            what = "holds no rows/" if store.folder.is_dir() else there
            raise StoreError(f"{folder} {what}; name the folder that a sweep wrote its results to")
        return store

    def withdraw(self) -> None:
        """Take away a folder that `open` made, if nothing was written to it: folders go only while they are empty."""
        with suppress(OSError):
            for path in (self._rows, self._recipes, self.folder):
                path.rmdir()

    @property
    def _rows(self) -> Path:
        return self.folder / "rows"

    @property
    def _recipes(self) -> Path:
        return self.folder / "recipes"

    def writer(self, max_rows: int = 50_000, max_seconds: float = 10.0) -> Writer:
        """A context in which rows are appended; they reach the disk after that many rows or seconds, and on leaving."""
        return Writer(self.folder, max_rows, max_seconds, self.may_write)

    def chunks(
        self, run_ids: Collection[str] | None = None, paths: Sequence[Path] | None = None
    ) -> Iterator[pl.DataFrame]:
        """The rows in frames of bounded size, each (run, image) once: ok beats failed, equal doubles collapse.

        run_ids, paths: of these runs and parts alone.
        StoreError when ok rows of one run and image differ in a count, or a part cannot be read.
        """
        paths = parts.listed(self._rows) if paths is None else paths
        losers = self._losers(paths)
        for path in paths:
            frame = parts.read_part(path)
            if run_ids is not None:
                frame = frame.filter(pl.col("run_id").is_in(list(run_ids)))
            if path in losers:
                frame = frame.filter(~pl.col("index").is_in(losers[path]))
            yield from frame.drop("index").iter_slices(CHUNK)

    def rows(self, run_ids: Collection[str] | None = None) -> pl.DataFrame:
        """All `chunks` in one frame, ordered by run and image."""
        frames = [frame for frame in self.chunks(run_ids) if frame.height]
        return pl.concat(frames).sort(KEY) if frames else pl.DataFrame(schema=SCHEMA)

    def held(self) -> Held:
        """Which images of which runs are stored, and what else a plan asks, from key columns alone."""
        return Held(parts.listed(self._rows))

    def stored(self) -> Mapping[str, Mapping[str, str]]:
        """Run id -> image id -> status."""
        return self.held()

    def write_recipe(self, run_id: str, content: Mapping[str, object]) -> None:
        """Store a run's recipe; the last one written stands, and no sweep of an earlier one is forgotten."""
        path = recipe_path(self._recipes, run_id)
        earlier: Mapping[str, object] = {}
        with suppress(StoreError):  # none yet, or one that is renewed because it is damaged
            earlier = read_json(path)
        sweeps = joined_sweeps(earlier, content)
        write_text(path, recipe_text(sealed({**content, "sweeps": sweeps} if sweeps else content)))

    def sign(self, run_id: str, sweep: Mapping[str, object]) -> None:
        """Write versions and commit of a sweep into the recipe of a run to which it is about to add rows."""
        with suppress(StoreError):  # a recipe that is not there tells nothing, whoever signs it
            self.write_recipe(run_id, {**read_json(recipe_path(self._recipes, run_id)), "sweeps": [sweep]})

    def raw_recipes(self) -> dict[str, dict[str, object]]:
        """Run id -> recipe as it was written, in order of the ids. StoreError for one that is damaged."""
        return {path.stem: read_recipe(path) for path in sorted(self._recipes.glob("*.json"))}

    def recipes(self) -> dict[str, RunRecipe]:
        """Run id -> recipe, in order of the ids. StoreError when one cannot be read."""
        return {i: RunRecipe.from_dict(c, f"{self._recipes / i}.json") for i, c in self.raw_recipes().items()}

    def chosen(self, run_id: str) -> Mapping[str, Any] | None:
        """What of a run's protocol was chosen on a train split when its rows were made; None where nothing was."""
        path = recipe_path(self._recipes, run_id)
        found: Any = read_json(path).get("chosen") if path.exists() else None
        return found.get("values") if isinstance(found, Mapping) else None

    def set_table(
        self,
        name: str,
        run_ids: Sequence[str],
        tables: Sequence[Mapping[str, object]] = (),
        asked: Mapping[str, object] | None = None,
        left_out: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Remember the runs of the last grid, in order, and the tables it declares; what of it was asked for, and what
        is not on this machine."""
        declared: dict[str, object] = {"tables": [dict(table) for table in tables]} if tables else {}
        declared |= {"asked": dict(asked)} if asked else {}
        declared |= {"left_out": [dict(one) for one in left_out]} if left_out else {}
        write_text(self.folder / "grid.json", recipe_text(sealed({"name": name, "runs": list(run_ids), **declared})))

    def table(self) -> AskedTable | None:
        """The runs of the last grid; None before there was one."""
        path = self.folder / "grid.json"
        if not path.exists():
            return None
        content = read_json(path, lambda held: any(map(self._is_of_now, held.get("runs", ()))))
        runs, tables = content.get("runs", []), content.get("tables", [])
        if not (isinstance(runs, list) and isinstance(tables, list) and all(isinstance(run, str) for run in runs)):
            raise StoreError(f"{path} lists no runs; {CURE}")
        left_out = tuple({key: str(text) for key, text in one.items()} for one in content.get("left_out", ()))
        return AskedTable(str(content.get("name", "")), tuple(runs), tuple(tables), left_out)

    def event(self, content: Mapping[str, object]) -> None:
        """Append what happened to `events.jsonl`, with the time (UTC); what tells of rows goes to the writer."""
        tell(self.folder / "events.jsonl", [content])

    def told(self) -> Told:
        """All events, in order, and which lines of `events.jsonl` are damaged and left out."""
        return told_events(self.folder / "events.jsonl")

    def events(self) -> list[dict[str, object]]:
        """All events that can be read, in order."""
        return list(self.told().events)

    def _is_of_now(self, run_id: object) -> bool:
        """Whether a run that a table lists is of a time when tables have seals."""
        with suppress(StoreError):
            return is_of_now(read_json(recipe_path(self._recipes, str(run_id))))
        return False

    def _losers(self, paths: Sequence[Path]) -> dict[Path, list[int]]:
        """Part -> positions of the rows that another row of the same run and image makes superfluous."""
        if not paths:
            return {}
        keys = pl.concat(parts.read_part(p, KEY).with_columns(part=pl.lit(n, pl.UInt32)) for n, p in enumerate(paths))
        doubles = keys.filter(pl.struct(KEY).is_duplicated())
        if doubles.is_empty():
            return {}
        places = doubles.partition_by("part", as_dict=True, include_key=True)
        full = pl.concat(
            parts.read_part(paths[n]).join(places[n,].select("index", "part"), on="index") for (n,) in places
        )
        lost = defeated(full, f"{self.folder}").select("part", "index").group_by("part").agg("index")
        return {paths[n]: index for n, index in lost.iter_rows()}


def read_recipe(path: Path) -> dict[str, object]:
    """A run's recipe as it was written. StoreError when it is damaged, or bears the name of another run."""
    content = read_json(path, is_of_now)
    if content.get("run_id", path.stem) != path.stem:
        raise StoreError(f"{path} is the recipe of run {content['run_id']!r}, under another run's name; {CURE}")
    return content
