"""The walls of the house, read from the source text; and for every wall a proof that its check can fail."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("harness", "methods", "benchmarks", "results", "training")
TORCH = {"torch", "torchvision", "diffusers", "transformers", "open_clip", "segmentation_models_pytorch"}
SPEAKS_TORCH = {  # where tensors become counts or masks, and where processes are joined to train together
    "harness/protocol/decision.py", "harness/protocol/planes.py", "harness/work/arithmetic.py",
    "harness/work/boundaries.py", "harness/work/judge.py", "harness/work/lesson_masks.py", "harness/work/scoring.py",
    "harness/executors/cluster_fit.py",
}  # fmt: skip
SPEAKS_RAY = {
    "harness/executors/cluster.py", "harness/executors/cluster_reach.py", "harness/executors/cluster_fit.py",
    "harness/executors/cluster_metrics.py", "harness/executors/ray_errors.py", "harness/executors/seat.py",
}  # fmt: skip
# sweep_options, stages, sharding, mirroring and fits are the door's back rooms, catalogue that of `list`;
# segmenting, running and starting are doors for Python, tags is one of its own
DOORS = {
    "harness/sweep.py", "harness/sweep_options.py", "harness/sharding.py", "harness/mirroring.py",
    "harness/stages.py", "harness/fits.py", "harness/status.py", "harness/checks/__main__.py", "harness/catalogue.py",
    "harness/__main__.py", "harness/segmenting.py", "harness/running.py", "harness/starting.py", "harness/tags.py",
}  # fmt: skip
RIVER = (  # the rooms of the harness in the order in which values flow; none knows a later one
    "errors", "contracts", "yaml_lines", "foreign", "recipes", "protocol", "grid", "planning", "work", "learning",
    "executors", "progress", "pulse", "checks", "tags", "fits", "stages", "sharding", "mirroring", "installation",
    "sweep_options", "sweep", "status", "running", "segmenting", "starting", "catalogue", "completion", "__main__",
)  # fmt: skip
RESULTS = ("folder", "mirror", "counts", "tables", "pictures", "report")  # likewise; the commands beside them come last
VAGUE = {"utils", "common", "helpers", "base", "misc", "tools", "stuff"}

Source = tuple[str, str]  # path relative to the root, text
parsed = cache(ast.parse)  # every wall reads every file


@cache
def sources() -> list[Source]:
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    return [(file.relative_to(ROOT).as_posix(), file.read_text("utf-8")) for file in files]


@cache
def nodes(text: str) -> list[ast.AST]:
    """All nodes of a file."""
    return list(ast.walk(parsed(text)))


def imports(text: str) -> Iterator[str]:
    """Every module a file imports, lazily or not."""
    for node in nodes(text):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def tops(text: str) -> set[str]:
    return {name.split(".")[0] for name in imports(text)}


def ray_only_in_cluster(path: str, text: str) -> bool:
    return "ray" not in tops(text) or path in SPEAKS_RAY


def polars_only_in_results(path: str, text: str) -> bool:
    return "polars" not in tops(text) or path.startswith("results/")


def buckets_only_in_their_room(path: str, text: str) -> bool:
    return "obstore" not in tops(text) or path == "results/mirror/bucket.py"


def torch_only_where_tensors_are(path: str, text: str) -> bool:
    return not tops(text) & TORCH or path.startswith(("methods/", "training/")) or path in SPEAKS_TORCH


def plug_ins_are_reached_by_address(path: str, text: str) -> bool:
    return not path.startswith(("harness/", "results/")) or not tops(text) & {"methods", "benchmarks", "training"}


def plug_ins_know_only_the_contracts(path: str, text: str) -> bool:
    room = path.split("/")[0]
    if room not in ("methods", "benchmarks"):
        return True
    ours = {name for name in imports(text) if name.split(".")[0] in ROOMS and not name.startswith(room)}
    return all(name.startswith("harness.contracts") for name in ours)


def results_know_only_contracts_and_errors(path: str, text: str) -> bool:
    if not path.startswith("results/"):
        return True
    ours = {name for name in imports(text) if name.startswith("harness")}
    return all(name.startswith(("harness.contracts", "harness.errors")) for name in ours)


def the_river_flows_one_way(path: str, text: str) -> bool:
    top, _, rest = path.removesuffix(".py").partition("/")
    if top != "harness" or rest == "__init__":
        return True
    own = RIVER.index(rest.split("/")[0])
    rooms = {name.split(".")[1] for name in imports(text) if name.startswith("harness.")}
    return all(RIVER.index(room) <= own for room in rooms)


def rooms_of_results_flow_one_way(path: str, text: str) -> bool:
    """From what lies in a folder to what people read. Commands and the report's own `__main__` may know all."""
    top, _, rest = path.partition("/")
    room = rest.split("/")[0]
    if top != "results" or room not in RESULTS or rest == "report/__main__.py":
        return True
    known = {name.split(".")[1] for name in imports(text) if name.startswith("results.")}
    return known <= {*RESULTS[: RESULTS.index(room) + 1]}


COUNTED = {"intersection", "union", "labelled", "pixels", "overlaps", "confusions"}


def pixel_counts_are_divided_in_one_room(path: str, text: str) -> bool:
    """Elsewhere no function that speaks of counts of pixels divides."""
    if not path.startswith("results/") or path.startswith("results/counts/"):
        return True
    functions = [set(map(spoken, ast.walk(node))) for node in nodes(text) if isinstance(node, ast.FunctionDef)]
    return not any(words & COUNTED and words & {"/", "divide", "true_divide"} for words in functions)


def spoken(node: ast.AST) -> str:
    """The name, attribute, text or operator that a node is; empty for others, and for what joins a path and a text."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        texts = ast.JoinedStr, ast.Constant
        joins = isinstance(node.right, texts) and not isinstance(getattr(node.right, "value", ""), int | float)
        return "" if joins else "/"
    if isinstance(node, ast.Name | ast.Attribute):
        return node.id if isinstance(node, ast.Name) else node.attr
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def no_command_of_results_knows_another(path: str, text: str) -> bool:
    """What a command knows to do that others need stands in a room."""
    own = {name for name in imports(text) if name.startswith("results.")}
    commands = {f"results.{Path(other).stem}" for other, _ in sources() if Path(other).parent == Path("results")}
    return Path(path).parent != Path("results") or not own & (commands - {"results.door", "results.command_line"})


def only_doors_know_the_results(path: str, text: str) -> bool:
    return not path.startswith("harness/") or path in DOORS or "results" not in tops(text)


def the_door_defines_no_class(path: str, text: str) -> bool:
    return path != "harness/sweep.py" or not any(isinstance(node, ast.ClassDef) for node in nodes(text))


def opens_with_a_sentence(_path: str, text: str) -> bool:
    return not text.strip() or ast.get_docstring(parsed(text)) is not None


def has_a_telling_name(path: str, _text: str) -> bool:
    stem = Path(path).stem
    return stem not in VAGUE and (stem == "__init__" or stem not in sys.stdlib_module_names)


OWN_PICKLE = {"harness/executors/seat.py"}  # what our own workers answer, over Ray, whose transport is pickle anyway


def nothing_dangerous(path: str, text: str) -> bool:
    """No eval or exec, no pickle from outside, no yaml.load, no remote code; torch.load only with weights_only."""
    for node in nodes(text):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            words = {keyword.arg for keyword in node.keywords}
            if name in {"eval", "exec", "yaml.load"} or "trust_remote_code" in words:
                return False
            if name in {"pickle.load", "pickle.loads"} and path not in OWN_PICKLE:
                return False
            if name == "torch.load" and "weights_only=True" not in ast.unparse(node):
                return False
    return True


MOST_IN_A_ROW = 8  # arguments of a call without a name


def long_calls_name_their_arguments(_path: str, text: str) -> bool:
    calls = (node for node in nodes(text) if isinstance(node, ast.Call))
    return all(len(call.args) <= MOST_IN_A_ROW for call in calls)


Wall = Callable[[str, str], bool]
WALLS: dict[Wall, Source] = {  # each wall with a file that breaks it
    ray_only_in_cluster: ("harness/planning/plan.py", "def f():\n    import ray.util"),
    polars_only_in_results: ("methods/x.py", "from polars import col"),
    buckets_only_in_their_room: ("results/mirror/x.py", "from obstore.store import from_url"),
    torch_only_where_tensors_are: ("harness/planning/plan.py", "from torch.nn import functional"),
    plug_ins_are_reached_by_address: ("results/x.py", "import methods.stableseg"),
    plug_ins_know_only_the_contracts: ("methods/x.py", "from harness import grid"),
    results_know_only_contracts_and_errors: ("results/x.py", "from harness.planning.plan import Plan"),
    the_river_flows_one_way: ("harness/protocol/x.py", "from harness.work.slots import Slot"),
    rooms_of_results_flow_one_way: ("results/counts/x.py", "from results.tables import ranking"),
    pixel_counts_are_divided_in_one_room: ("results/report/x.py", "def f(c):\n    return c.intersection / c.union"),
    no_command_of_results_knows_another: ("results/x.py", "from results.merge import merge"),
    only_doors_know_the_results: ("harness/work/worker.py", "from results.folder.store import Store"),
    the_door_defines_no_class: ("harness/sweep.py", "class Sweep: ..."),
    opens_with_a_sentence: ("harness/x.py", "x = 1"),
    has_a_telling_name: ("harness/utils.py", ""),
    nothing_dangerous: ("methods/x.py", "torch.load(path)"),
    long_calls_name_their_arguments: ("methods/x.py", "f(1, 2, 3, 4, 5, 6, 7, 8, 9)"),
}


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: wall.__name__)
def test_the_wall_stands(wall: Wall) -> None:
    assert [path for path, text in sources() if not wall(path, text)] == []


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: wall.__name__)
def test_the_check_can_fail(wall: Wall) -> None:
    assert not wall(*WALLS[wall])


SAME_ON_PURPOSE = {  # what a command is started by, a gate is asked for, and reads a folder of truths or of predictions
    "main", "parser", "add_arguments", "run", "Folder",
}  # fmt: skip


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def names_of_several(files: Sequence[Source]) -> dict[str, list[str]]:
    """Public classes and functions of one name in different modules: in reading, one name should be one thing."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path, text in files:
        for node in parsed(text).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                homes[node.name].append(path)
    return {name: found for name, found in homes.items() if len(set(found)) > 1 and name not in SAME_ON_PURPOSE}


def circle_of_imports(files: Sequence[Source]) -> list[str]:
    """Modules that import each other in a circle, within functions or for a checker alone too; none is empty."""
    texts = {module_of(path): text for path, text in files}
    graph = {module: {name for name in reached(text, texts.keys()) if name != module} for module, text in texts.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def reached(text: str, known: Iterable[str]) -> Iterator[str]:
    """Of the modules known, those that a file imports; of `from a import b` that is a.b where there is such a one."""
    for node in nodes(text):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{name.name}" for name in node.names}
            yield from (name if name in known else node.module for name in inner if {name, node.module} & set(known))


def test_one_public_name_is_one_thing() -> None:
    perf = [(file.relative_to(ROOT).as_posix(), file.read_text("utf-8")) for file in (ROOT / "perf").glob("*.py")]
    assert names_of_several([*sources(), *perf]) == {}


def test_the_check_of_names_can_fail() -> None:
    twice = [("harness/a.py", "class Cell: ..."), ("results/b.py", "def main(): ...\ndef Cell(): ...\ndef _x(): ...")]
    assert names_of_several([*twice, ("perf/c.py", "def main(): ...\ndef _x(): ...")]) == {
        "Cell": ["harness/a.py", "results/b.py"]
    }


def test_no_circle_of_imports() -> None:
    assert circle_of_imports(sources()) == []


@pytest.mark.parametrize("line", ["import m.b", "from m import b", "from m.b import thing", "def f():\n    import m.b"])
def test_the_check_of_circles_can_fail(line: str) -> None:
    circle = circle_of_imports([("m/__init__.py", ""), ("m/a.py", line), ("m/b.py", "from m.a import f")])
    assert {"m.a", "m.b"} <= set(circle)
    assert circle_of_imports([("m/__init__.py", ""), ("m/a.py", line), ("m/b.py", "from m import other")]) == []


def loaded_after(statement: str) -> set[str]:
    """Which top-level modules are loaded in a fresh process after a statement."""
    code = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        (
            "import harness.grid.reading, harness.planning.plan, harness.planning.report, harness.contracts",
            TORCH | {"ray", "polars"},
        ),
        ("import harness.sweep", TORCH | {"ray"}),
        ("import results.folder.store, results.leaderboard, results.counts.estimators", TORCH | {"ray"}),
        ("import methods.stableseg, methods.maskclip, methods.controls", TORCH | {"ray", "polars"}),
        ("import benchmarks.shapes", TORCH | {"ray", "polars"}),
    ],
)
def test_heavy_modules_stay_out(statement: str, absent: set[str]) -> None:
    assert loaded_after(statement) & absent == set()


def test_the_absence_check_can_fail() -> None:
    assert "polars" in loaded_after("import polars")
