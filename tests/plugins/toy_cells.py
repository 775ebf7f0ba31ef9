"""Cells of grids over the toy world."""

from dataclasses import dataclass, field

from harness.contracts import ProtocolSettings, Recipe

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
