"""What measures a card runs on a CPU too, with networks of no size: every part of its page is there."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
import torch

from harness.contracts import Row
from harness.recipes.surroundings import house_closure, is_ours
from perf import gpu, gpu_bench, gpu_labels, gpu_page

PERF = Path(gpu.__file__).parent


@pytest.mark.slow
def test_every_part_of_the_page_is_measured(tmp_path: Path) -> None:
    gpu.main(["--small", "--minutes", "60", "--out", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text("utf-8")
    titled, *parts = page.split("\n## ")
    assert titled.startswith("# What a card can do")
    held = {part.partition("\n")[0]: part for part in parts}
    assert list(held) == gpu.titles()
    assert "It ended here" not in page and "minutes were over" not in page and "no time left" not in page
    settings, clip = (held.pop(f"Settings{of} that could be") for of in ("", " of CLIP"))  # no CPU has all attentions
    assert "does not run" not in "".join(held.values()) and settings.count("does not run") < 2 * len(gpu.KERNELS)
    assert clip.count("| float32 | tf32 |") == 1 and clip.count("does not run") < len(gpu.KERNELS)
    labels = [line for line in held["Label maps"].splitlines() if line.startswith(("| StableSeg", "| MaskCLIP"))]
    assert len(labels) == 7 and all(" 0 of " in line for line in labels)


class Clock:
    """A clock in place of `time`'s, in modules that ask for nothing else."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def page_of(tmp_path: Path, clock: Clock, minutes: float, **seconds: float) -> dict[str, list[str]]:
    """Lines by title of parts whose every line, of five, takes so long; their shares are equal."""

    def part(name: str) -> Iterator[str]:
        for number in range(5):
            clock.now += seconds[name]
            yield f"{name} {number}"

    page, told = gpu_page.Page(tmp_path / "page.md", "Title", "About"), list[float]()
    parts = {name: (1.0, partial(part, name)) for name in seconds}
    gpu_page.all_parts(page, parts, clock.now + 60 * minutes, told.append)
    assert len(told) == len(seconds)
    _, *found = (tmp_path / "page.md").read_text("utf-8").split("\n## ")
    return {one.splitlines()[0]: [line for line in one.splitlines()[1:] if line] for one in found}


def test_every_part_has_its_share_of_the_minutes_and_what_the_others_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 seconds for four: the first leaves 20 of its 25, so the second may take 32; it is cut off behind the line in
    which they are over."""
    clock = Clock()
    monkeypatch.setattr(gpu_page, "time", clock)
    found = page_of(tmp_path, clock, 100 / 60, quick=1.0, slow=10.0, late=5.0, last=8.0)
    cut = "Cut off here, if there was more: its share of the minutes was over."
    assert found["quick"] == [*[f"quick {number}" for number in range(5)], "(5 s)"]
    assert found["slow"] == ["slow 0", "slow 1", "slow 2", "slow 3", cut, "(40 s)"]
    assert len(found["late"]) == 6 and cut not in found["late"]
    assert found["last"][-2] == cut and len(found["last"]) == 6
    found = page_of(tmp_path, clock, 1 / 60, slow=10.0, late=5.0)
    assert found["late"] == ["Not reached: the minutes were over."]


def test_a_part_that_raises_or_leaves_costs_a_line_and_no_other_part(tmp_path: Path) -> None:
    def part(error: BaseException | None) -> Iterator[str]:
        yield "a line"
        assert "a line" in (tmp_path / "page.md").read_text("utf-8")  # it is there at once
        if error is not None:
            raise error

    page = gpu_page.Page(tmp_path / "page.md", "Title", "About")
    errors = {"One": ValueError("no such\ncard"), "Other": SystemExit("rows failed"), "Last": None}
    parts = {title: (1.0, partial(part, error)) for title, error in errors.items()}
    gpu_page.all_parts(page, parts, time.monotonic() + 60, lambda _: None)
    written = (tmp_path / "page.md").read_text("utf-8")
    assert "It ended here: ValueError: no such card" in written and "It ended here: SystemExit: rows failed" in written
    assert written.count("a line") == 3 and written.index("## Last") > written.index("SystemExit")


def test_what_does_not_come_back_is_ended_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_page, "GRACE", 0.0)
    left, page = Queue[int](), gpu_page.Page(tmp_path / "page.md", "Title", "About")
    with gpu_page.ended_from_outside(page, time.monotonic(), left.put):
        assert left.get(timeout=60) == 3
    assert "Ended from outside" in (tmp_path / "page.md").read_text("utf-8")
    with gpu_page.ended_from_outside(page, time.monotonic() + 60, left.put):
        pass
    assert left.empty()


def test_a_cell_tells_why_there_is_no_number() -> None:
    bench = gpu_bench.CardBench(Path("nowhere"), "small", "cpu", 0.0)

    def failing(error: Exception) -> Callable[[], Callable[[], object]]:
        def make() -> Callable[[], object]:
            raise error

        return make

    assert bench.cell(failing(torch.OutOfMemoryError("CUDA out of memory")), 1) == "out of memory"
    assert bench.cell(failing(RuntimeError("No available kernel.\nMore")), 1).endswith(
        "RuntimeError: No available kernel."
    )
    assert gpu_bench.rate_of(bench.cell(lambda: lambda: None, 4)) > 0
    bench.until = 0.0
    assert bench.cell(lambda: lambda: None, 4) == "no time left"
    assert gpu_bench.proposed({8: 0.0, 16: 0.0}) == gpu_bench.USUAL


def test_a_run_that_failed_is_told_beside_the_others() -> None:
    plain, other = gpu_labels.WAYS[0], gpu_labels.WAYS[1]
    row = Row("r", "image", "failed", 0.0, "no kernel")
    here = gpu_labels.of_run(plain.name, [row], 3)
    counts = np.array([[0, 0], [1, 2]], np.int64)
    here |= {other.name: np.array([1, 0]), f"{other.name} counts": counts}
    lines = list(gpu_labels.beside_cpu(here, {other.name: np.array([1, 1]), f"{other.name} counts": counts}))
    assert len(lines) == 4 and "no kernel" in lines[2] and lines[3].endswith("| 1 of 2 |")
    assert list(gpu_labels.beside_cpu(here, {}))[3].count("not there") == 1


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
    assert {"gpu", "gpu_bench", "gpu_page", "gpu_labels", "gpu_models", "heads", "pipeline", "machine"} <= seen
    reached = house_closure(ours)
    assert "harness.work.worker" in reached
    assert not [one for one in reached if one.startswith(("results", "harness.executors"))]
