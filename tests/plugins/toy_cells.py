"""Cells of grids over the toy world flow in; the rows of their methods, asked in this process, flow out."""

from dataclasses import dataclass, field

from harness.contracts import ProtocolSettings, Recipe, Row
from harness.planning import plan as plans
from harness.work.worker import ShardWorker

BOXES = Recipe.of("toy_world:Boxes", images=10)


@dataclass(frozen=True)
class Cell:
    method: Recipe
    method_name: str = "m"
    variant: str = ""
    benchmark_name: str = "Boxes"
    benchmark: Recipe = BOXES
    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)


@dataclass(frozen=True)
class Taught(Cell):
    """The cell of a learner. teacher: the teacher's cell on the train split."""

    teacher: Cell | None = None
    own: bool = False


def reader(timestep: int, refine: str = "none", **more: object) -> Cell:
    recipe = Recipe.of("toy_world:ToyReader", timestep=timestep, refine=refine, **more)
    return Cell(recipe, variant=f"{timestep} {refine}")


NINE = [reader(t, refine) for t in (1, 100, 300) for refine in ("none", "sar", "samap")]
FLAT = Cell(Recipe.of("toy_world:Flat"), "flat")
DELICATE = Cell(Recipe.of("careless:Delicate"), "delicate")
FEW = Recipe.of("toy_world:Boxes", images=6)


def rows_of(*cells: Cell) -> dict[str, list[Row]]:
    """The rows of every method by its name, in the order of images."""
    plan = plans.make("toy", [Cell(cell.method, cell.method_name, benchmark=FEW) for cell in cells], 4)
    names = {one.run.run_id: one.run.method_name for one in plan.runs}
    found: dict[str, list[Row]] = {name: [] for name in names.values()}
    worker = ShardWorker(threads=1)
    for shard in plan.shards(99):
        for done in worker.run(shard):
            for row in done.rows:
                found[names[row.run_id]].append(row)
    return {name: sorted(rows, key=lambda row: row.image_id) for name, rows in found.items()}


def counts(rows: list[Row]) -> list[tuple[str, str, list[int], list[int], list[int]]]:
    """What rows hold besides seconds and errors, to be compared."""
    parts = [(row.true.tolist(), row.predicted.tolist(), row.pixels.tolist()) for row in rows]
    return [(row.image_id, row.status, *part) for row, part in zip(rows, parts, strict=True)]
