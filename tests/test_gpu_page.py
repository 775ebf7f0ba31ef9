"""What measures a card runs on a CPU too, with networks of no size: every part of its page is there."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from harness.recipes.surroundings import house_closure, is_ours
from perf import gpu, gpu_labels

PERF = Path(gpu.__file__).parent


@pytest.mark.slow
def test_every_part_of_the_page_is_measured(tmp_path: Path) -> None:
    gpu.main(["--small", "--minutes", "60", "--out", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text("utf-8")
    titled, *parts = page.split("\n## ")
    assert titled.startswith("# What a card can do")
    held = {part.partition("\n")[0]: part for part in parts}
    assert list(held) == list(gpu.SECTIONS)
    assert "It ended here" not in page and "minutes were over" not in page
    settings, clip = (held.pop(f"Settings{of} that could be") for of in ("", " of CLIP"))  # no CPU has all attentions
    assert "does not run" not in "".join(held.values()) and settings.count("does not run") < 2 * len(gpu.BACKENDS)
    assert clip.count("| float32 | tf32 |") == 1 and clip.count("does not run") < len(gpu.BACKENDS)
    labels = [line for line in held["Label maps"].splitlines() if line.startswith(("| StableSeg", "| MaskCLIP"))]
    assert len(labels) == 7 and all(" 0 of " in line for line in labels)


def test_parts_that_fail_or_are_not_reached_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: gpu.CardBench):
        yield "a line"
        raise ValueError("no such card")

    monkeypatch.setattr(gpu, "SECTIONS", {"One": broken, "Other": gpu.the_card})
    monkeypatch.setattr(gpu, "write_diffusion", lambda *_: None)
    monkeypatch.setattr(gpu, "write_clip", lambda *_: None)
    gpu.main(["--small", "--out", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text("utf-8")
    assert "a line\n\nIt ended here: ValueError: no such card" in page and "TFLOP/s" in page
    gpu.main(["--small", "--minutes", "0", "--out", str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text("utf-8").count("Not reached: the minutes were over.") == 2


def test_the_mean_iou_leaves_the_background_out() -> None:
    counts = np.array([[0, 0, 0, 0], [3, 6, 1, 0], [0, 2, 8, 0], [0, 0, 0, 0]], np.int64)
    assert gpu_labels.mean_iou(counts) == pytest.approx((6 / 12 + 8 / 11) / 2)


def test_it_needs_neither_ray_nor_polars() -> None:
    """A machine with a card may have torch, its models' libraries and little else."""
    wanted, seen, ours = ["gpu"], set[str](), set[str]()
    while wanted:
        name = wanted.pop()
        seen.add(name)
        for node in ast.walk(ast.parse((PERF / f"{name}.py").read_text("utf-8"))):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
            for module in modules:
                assert module.partition(".")[0] not in ("ray", "polars", "pytest")
                ours |= {module} if is_ours(module) else set()
                own = module.removeprefix("perf.")
                wanted += [own] if own not in seen and (PERF / f"{own}.py").is_file() else []
    assert {"gpu", "gpu_labels", "gpu_models", "heads", "pipeline", "machine"} <= seen
    reached = house_closure(ours)
    assert "harness.work.worker" in reached
    assert not [one for one in reached if one.startswith(("results", "harness.executors"))]
