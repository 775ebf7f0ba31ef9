"""Small runs of everything that is ours flow through Python's door; their counts, and the modules entered, flow out.

They are what says that a changed module still counts as before: methods of every family on two drawn images, every
reader on a drawn tree of files, every background rule. What is learned is learned in a few steps.
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
from in_process import as_it_was
from our_methods import OURS
from published import write_dino, write_sam
from small_sam2 import write_sam2
from tiny_resnet import write_resnet

import harness
from harness.checks.with_words import settings_of_words

ROOT = Path(__file__).parents[2]
COUNTS = ROOT / "tests" / "golden_counts.json"
FEW = 1e-3  # the share of a run's pixels that may differ where other arithmetic rounds otherwise

Counts = dict[str, dict[str, int]]  # run -> "true predicted" -> pixels, summed over its images

REFINERS = ["none", "sar", "power", "box", "iterate", "two_level", "vote", "multiscale", "spread"]
SHAPES = {
    "name": "Shapes",
    "use": "benchmarks.shapes:Shapes",
    "with": {"split": "val", "images": 2},
    "train": {"split": "train"},
}
STUDENT = {
    "teacher": "Teacher", "encoder": "resnet18", "encoder_weights": None, "decoder": 16, "crop": 32, "steps": 2,
    "batch": 2, "validate_every": 2, "held_out": 0.5, "precision": "float32",
}  # fmt: skip
MASKCLIP = {"name": "MaskCLIP", "use": "methods.maskclip:MaskCLIP", "with": {"model": "shapes"}}
CHANCE = {"name": "RandomLabels", "use": "methods.controls:RandomLabels", "with": {"side": 5}}
TAGGED = {"vocabulary": "predicted", "tagger": {"use": "methods.clip_tagger:ClipTagger", "with": {"model": "shapes"}}}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "tagged": {**TAGGED, "background": "constant", "threshold": 0.6},
    "class": {"vocabulary": "all", "background": "class", "scale": "softmax"},
    "power": {"background": "power", "power": 3.0, "resize": "short", "size": 80},
    "hinge": {"background": "hinge_power", "threshold": 0.4, "resize": "stretch", "size": [64, 96], "window": 64,
              "stride": 32},
    "prompts": {"background": "prompts_constant", "context": ["wall", "floor"], "threshold": 0.3},
}  # fmt: skip


def golden_counts(folder: Path) -> Counts:
    """The counts of all golden runs, made in a folder."""
    counts: Counts = {}
    for part in PARTS:
        counts |= part(folder)
    return counts


def machine() -> str:
    """What the last bit of a float depends on: where it is the same, golden counts are exactly the same."""
    import torch

    return f"torch {torch.__version__} {torch.backends.cpu.get_cpu_capability()} {platform.machine()}"


def stored() -> tuple[str, Counts]:
    """The committed counts and the machine they were made on."""
    content = json.loads(COUNTS.read_text("utf-8"))
    return content["machine"], content["counts"]


def keep(counts: Counts) -> None:
    """Commit counts: a line a run."""
    lines = ",\n".join(f"{json.dumps(run)}: {json.dumps(held)}" for run, held in sorted(counts.items()))
    COUNTS.write_text(f'{{"machine": {json.dumps(machine())}, "counts": {{\n{lines}\n}}}}\n', "utf-8")


def differences(counts: Counts) -> list[str]:
    """The runs whose counts are not the committed ones, a clause each; on another machine a few pixels are let pass.

    Runs that only one of the two knows are not compared.
    """
    made_on, before = stored()
    allowed = 0.0 if made_on == machine() else FEW
    said = []
    for run, now in ((run, now) for run, now in counts.items() if run in before):
        moved, whole = _moved(before[run], now), max(1, sum(now.values()))
        if moved > allowed * whole:
            said.append(f"{run}: {moved:.0f} of {whole} pixels are counted otherwise")
    return said


def news(counts: Counts) -> list[str]:
    """The runs of which no counts are committed, and those whose counts are but which are not made any more."""
    return sorted(counts.keys() ^ stored()[1].keys())


def _moved(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    return sum(abs(one.get(key, 0) - other.get(key, 0)) for key in one.keys() | other.keys()) / 2


def _methods(folder: Path) -> Counts:
    methods = [
        {"name": use.partition(":")[2], "use": f"methods.{use}", "with": _values(settings_of_words(words))}
        for use, words in OURS.items()
    ]
    refined = {"model": "shapes", "refine": REFINERS}
    resnet = {"model": str(write_resnet(folder / "resnet", 0)), "key_smoothing": True, "prompt_denoising": True}
    methods.append({"name": "ResNet", "use": "methods.openclip_resnet:MaskCLIPResNet", "with": resnet})
    methods.append({"name": "Refiners", "use": "methods.stableseg:StableSeg", "with": refined})
    return _counted(folder, "methods", methods + _with_towers(folder), [SHAPES], {})


def _with_towers(folder: Path) -> list[dict[str, Any]]:
    """Methods that look at a DINO and a SAM beside their CLIP, on small random ones."""
    cut = {"model": "shapes", "resize": 64, "window": 48, "stride": 16, "dino": str(write_dino(folder / "dino", 8, 56))}
    sam, second = {"sam": str(write_sam(folder / "sam"))}, {"sam": str(write_sam2(folder / "sam2")), "sam_version": 2}
    regions = {"points": 2, "depth": 3, "spatial": [[1, 2]], "vote": False}
    settings = {
        "ProxyCLIP": cut, "Trident": cut | sam, "CorrCLIP": cut | sam | regions, "CorrCLIP 2": cut | second | regions
    }  # fmt: skip
    return [
        {"name": name, "use": f"methods.{kind.lower()}:{kind}", "with": own}
        for name, own in settings.items() for kind in [name.split()[0]]
    ]  # fmt: skip


def _values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a grid writes them: a list that is a value stands in a list."""
    return {name: [value] if isinstance(value, list) else value for name, value in settings.items()}


def _strangers(folder: Path) -> Counts:
    """Methods and a benchmark whose sources are read for their ids, since they are nobody's of ours. One of them fails
    where it is asked about several images at once."""
    toys = [
        {"name": "Toy", "use": "toy_world:ToyReader", "with": {"timestep": [1, 300]}},
        {"name": "Together", "use": "toy_batches:Together", "with": {"mood": "all"}},
    ]
    return _counted(folder, "strangers", toys, [{"name": "Boxes", "use": "toy_world:Boxes", "with": {"images": 3}}], {})


def _learners(folder: Path) -> Counts:
    weights = {"teacher": "Teacher", "model": "shapes", "refine": "sar"}
    methods = [
        {"name": "Teacher", "use": "methods.maskclip:MaskCLIP", "with": {"model": "shapes"}},
        {"name": "Student", "use": "methods.student:Student", "with": STUDENT},
        {"name": "Weights", "use": "methods.learned_stableseg:LearnedStableSeg", "with": weights},
    ]
    return _counted(folder, "learners", methods, [SHAPES], {})


def _protocols(folder: Path) -> Counts:
    found: Counts = {}
    for name, protocol in PROTOCOLS.items():
        found |= _counted(folder, name, [MASKCLIP, CHANCE], [SHAPES], protocol)
    return found


def _readers(folder: Path) -> Counts:
    sys.path.append(str(ROOT / "tests" / "test_benchmarks"))
    import lab_trees
    import trees

    def drawn(name: str, use: str, write: Callable[..., Any], *more: Any, **settings: Any) -> dict[str, Any]:
        write(folder / name, np.random.default_rng(0), *more)
        return {"name": name, "use": f"benchmarks.{use}", "with": {"root": str(folder / name), **settings}}

    benchmarks = [
        drawn("voc", "pascal_voc:PascalVOC", trees.write_voc),
        drawn("mat", "pascal_context:PascalContext", trees.write_context_mat, (2, 9, 18, 420), layout="mat"),
        drawn("json", "pascal_context:PascalContext", trees.write_context_json, (0, 1, 2, 9), layout="json"),
        drawn("ade", "ade20k:ADE20K", trees.write_ade),
        drawn("city", "cityscapes:Cityscapes", trees.write_cityscapes, "labelIds", (7, 8, 11, 33)),
        drawn("pix", "foodpix:FoodPix", trees.write_foodpix),
        drawn("seg", "foodseg:FoodSeg", trees.write_foodseg),
        drawn("parquet", "foodseg:FoodSeg", trees.write_foodseg_parquet, layout="parquet"),
        drawn("stuff", "coco_stuff:COCOStuff", trees.write_coco, {"": (0, 5, 91, 181, 255)}),
        drawn("object", "coco_object:COCOObject", trees.write_coco, {"": (0, 5, 91, 181, 255)}),
        drawn("full", "ade20k_full:ADE20KFull", trees.write_ade_full, range(1, 41), layout="converted"),
        drawn("mat459", "pascal_context_full:PascalContextFull", trees.write_context_mat, (2, 9, 420), layout="mat"),
        drawn("table", "table:Table", trees.write_foodseg_parquet, files="data/*.parquet", id="id", mask="label",
              classes=["rice"], labels={1: "rice"}, others="background"),
    ]  # fmt: skip
    benchmarks += [
        {
            "name": name,
            "use": "benchmarks.folder:Folder",
            "with": {"root": str(folder / name), **lab_trees.written(lab)},
        }
        for name, lab in {
            name: lab_trees.LABS[name](folder / name, np.random.default_rng(0)).settings for name in ("colours", "coco")
        }.items()
    ]
    light = ("voc", "json", "city")  # MaskCLIP takes time
    many = [{"method": "MaskCLIP", "benchmark": one["name"]} for one in benchmarks if one["name"] not in light]
    return _counted(folder, "readers", [MASKCLIP, CHANCE], benchmarks, {"background": "class"}, many)


def _counted(
    folder: Path, name: str, methods: list[Any], benchmarks: list[Any], protocol: dict[str, Any],
    exclude: list[dict[str, str]] | None = None,
) -> Counts:  # fmt: skip
    """The counts of one grid, by `grid: method variant benchmark`."""
    grid = {"name": name, "methods": methods, "benchmarks": benchmarks, "protocol": protocol, "batch": 2,
            "exclude": exclude or []}  # fmt: skip
    with as_it_was(folder):
        board = harness.run_grid(grid, folder / f"{name}-runs", local=True, report=False, quiet=True)
    assert set(board.rows["status"]) == {"ok"}, set(board.rows["error"])
    store = board.evidence.store
    asked = store.table()
    assert asked is not None
    found: Counts = {}
    for run_id, recipe in store.recipes().items():
        if run_id not in asked.run_ids:
            continue
        counts: Counter[str] = Counter()
        for row in store.rows([run_id]).iter_rows(named=True):
            for true, predicted, pixels in zip(row["true"], row["predicted"], row["pixels"], strict=True):
                counts[f"{true} {predicted}"] += pixels
        run = f"{name}: {recipe.method_name} {recipe.variant} {recipe.benchmark_name}".replace("  ", " ")
        found[run] = dict(sorted(counts.items()))
    return found


PARTS: tuple[Callable[[Path], Counts], ...] = (  # the quick ones first
    _strangers, _protocols, _readers, _learners, _methods,
)  # fmt: skip


@contextlib.contextmanager
def entered() -> Iterator[set[Path]]:
    """The files of our packages of which a function is entered meanwhile, in any thread."""
    code: set[CodeType] = set()

    def note(frame: FrameType, _event: str, _argument: object) -> None:
        code.add(frame.f_code)

    files: set[Path] = set()
    threading.settrace(note)
    sys.settrace(note)
    try:
        yield files
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        files |= {Path(one.co_filename).resolve() for one in code if one.co_name != "<module>"}
