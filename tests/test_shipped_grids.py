"""Every grid of grids/ runs in the world of Shapes, end to end, its settings and protocol as written but for sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import constants
from in_process import ROOT, door
from published import write_dino
from small_sam2 import write_sam2

from benchmarks.shapes import Shapes
from harness.protocol import presets
from results.folder.store import Store

GRIDS = sorted((ROOT / "grids").glob("*.yaml"))
SEEDS = (2, 21, 25, 49, 50, 70)  # of worlds whose first three images hold none, one, and more objects
SMALL: dict[str, dict[str, Any]] = {
    "methods.stableseg:StableSeg": {"model": "shapes"},
    "methods.maskclip:MaskCLIP": {"model": "shapes"},
    "methods.sclip:SCLIP": {"model": "shapes"},
    "methods.clearclip:ClearCLIP": {"model": "shapes"},
    "methods.scclip:SCCLIP": {"model": "shapes", "middle": 2, "early": 3},
    "methods.sfp:SFP": {"model": "shapes", "middle": 2, "early": 3},
    "methods.proxyclip:ProxyCLIP": {"model": "shapes", "dino": "dino"},
    "methods.plain_clip:CLIP": {"model": "shapes"},
    "methods.naclip:NACLIP": {"model": "shapes"},
    "methods.gem:GEM": {"model": "shapes", "depth": 3},
    "methods.resclip:ResCLIP": {"model": "shapes", "rcs_blocks": [1, 2]},
    "methods.corrclip:CorrCLIP": {
        "model": "shapes", "dino": "dino", "sam": "sam2", "points": 2, "depth": 4, "spatial": [2, 3], "resize": 48,
        "window": 32, "stride": 16,
    },
    "methods.pamr:PAMR": {"method": "methods.naclip:NACLIP(model=shapes)", "iterations": 1},
    "methods.controls:WrongPrompt": {"model": "shapes"},
    "methods.learned_stableseg:LearnedStableSeg": {"model": "shapes", "steps": 3, "positions": 64},
    "methods.student:Student": {
        "encoder": "tu-resnet10t", "encoder_weights": None, "depth": 3, "decoder": 16, "crop": 32, "steps": 2,
        "batch": 2, "held_out": 0.0,
    },
    "methods.student:ShapesStudent": {"depth": 3, "decoder": 16, "crop": 32, "steps": 2, "batch": 2},
}  # fmt: skip


def in_the_small_world(grid: dict[str, Any]) -> Iterator[str]:
    """Change a grid in place to its smallest sizes; what is changed, a line each."""
    for method in grid["methods"]:
        written = method.setdefault("with", {})
        changes = dict(SMALL.get(method["use"], {}))
        changes |= {"text_model": "shapes"} if "text_model" in written else {}
        changes |= {"decoder": 64} if written.get("network") == "deeplabv2" else {}  # as wide as the texts of Shapes
        changes |= {"short_side": 48} if "short_side" in written else {}
        for key, value in changes.items():
            if written.get(key) != value:
                yield f"{method['name']}: {key} {written.get(key, 'by default')!r} -> {value!r}"
        written.update(changes)
        for called, protocol in [("all", method.get("protocol", {})), *method.get("protocols", {}).items()]:
            yield from smaller(f"{method['name']} on {called}", protocol)
    for item in grid.get("include", []):
        if cut := {key: value for key, value in item.get("with", {}).items() if key in ("resize", "window", "stride")}:
            yield f"{item['method']} on {item['benchmark']}: {cut} -> as its others"
            item["with"] = {key: value for key, value in item["with"].items() if key not in cut}
    for number, benchmark in enumerate(grid["benchmarks"]):
        seed = SEEDS[number % len(SEEDS)] + 1000 * (number // len(SEEDS))
        world = {"split": "mixed", "images": 3, "seed": seed}
        yield f"{benchmark['name']}: {benchmark['use']} {benchmark.get('with')} -> Shapes {world}"
        benchmark.update(use="benchmarks.shapes:Shapes", **{"with": world})
        if "train" in benchmark:
            yield f"{benchmark['name']}: train {benchmark['train']} -> 4 images"
            benchmark["train"] = {"split": "train", "images": 4}


def smaller(called: str, protocol: dict[str, Any]) -> Iterator[str]:
    """Sizes for images of Shapes in place of those of a protocol, and their own names: they have no published ones."""
    changes: dict[str, Any] = {"size": 48, "stride": 16} | ({"window": 32} if protocol.get("window") != 0 else {})
    if "preset" in protocol and presets.preset(protocol["preset"]).settings.resize == "none":
        changes = {}  # the method resizes and cuts by itself
    for key, value in changes.items():
        if key in protocol or "preset" in protocol:
            yield f"{called}: {key} {protocol.get(key, 'of its preset')!r} -> {value!r}"
            protocol[key] = value
    if "preset" in protocol:
        protocol["names"] = "own"


@pytest.mark.parametrize("file", GRIDS, ids=[file.stem for file in GRIDS])
def test_a_shipped_grid_runs_to_its_tables(file: Path, tmp_path: Path) -> None:
    grid = yaml.safe_load(file.read_text("utf-8"))
    written = json.dumps(grid["protocol"])
    print(*in_the_small_world(grid), sep="\n")
    assert json.dumps(grid["protocol"]) == written
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    (tmp_path / "imagenet80.txt").write_text("a photo of a {}.\na drawing of the {}.\n")
    write_dino(tmp_path / "dino", 8, 56)
    write_sam2(tmp_path / "sam2")
    few = ("--limit", "1") if len(grid["methods"]) * len(grid["benchmarks"]) > 40 else ()
    answer = door("grid.yaml", *few, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    rows = Store(tmp_path / "runs").rows()
    assert set(rows["status"]) == {"ok"} and (tmp_path / "runs" / "leaderboard.csv").exists()
    if file.stem == "paper-table3":
        sees_objects(tmp_path / "runs", "MaskCLIP+")


@pytest.mark.parametrize("name", ["paper", "paper-table3", "field"])
def test_a_grid_for_real_data_has_one_root_and_leaves_commits_to_its_user(name: str) -> None:
    grid = yaml.safe_load((ROOT / "grids" / f"{name}.yaml").read_text("utf-8"))
    assert {one["with"]["root"].split("/")[0] for one in grid["benchmarks"]} == {"${DATA}"}
    for method in grid["methods"]:
        written = method.get("with", {})
        assert "model" not in written or written.get("revision", "absent") is None, method["name"]


def test_all_that_the_fields_grid_lacks_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "field.yaml").write_text((ROOT / "grids/field.yaml").read_text("utf-8"))
    answer = door("field.yaml", "--plan", cwd=tmp_path)
    told = " ".join((answer.stdout + answer.stderr).split())
    assert answer.returncode == 2
    for missing in ("DATA", "imagenet80.txt", "openai/clip-vit-base-patch16", "facebook/dino-vitb8",
                    "facebook/sam2-hiera-large", "facebook/metaclip-b16-fullcc2.5b"):  # fmt: skip
        assert missing in told, told


def sees_objects(runs: Path, method: str) -> None:
    """On no image with an object a method says background everywhere; its masks may have known none."""
    scored = json.loads((runs / "grid.json").read_text())["runs"]
    names = {run: json.loads((runs / "recipes" / f"{run}.json").read_text())["method_name"] for run in scored}
    rows = [row for row in Store(runs).rows().iter_rows(named=True) if names.get(row["run_id"]) == method]
    seen = [set(row["predicted"]) for row in rows if set(row["true"]) - {0}]
    assert len(seen) == 4 and all(found - {0} for found in seen)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_small_worlds_hold_images_of_no_class_and_of_one(seed: int) -> None:
    world = Shapes("mixed", images=3, seed=seed)
    classes = sorted(len(set(np.unique(world.load(one).truth)) - {0, 255}) for one in world.ids())
    assert classes[:2] == [0, 1] and classes[2] > 1
