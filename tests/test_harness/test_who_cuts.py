"""Either the protocol or the method cuts images: what `auto` becomes in plans, ids and recipes, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from in_process import door
from toy_cells import Cell

from harness.contracts import ProtocolSettings, Recipe
from harness.errors import GridError
from harness.planning import plan as plans
from harness.planning.plan import PlannedRun
from harness.planning.report import plan_summary
from methods.calls import as_call, call_of
from methods.clip.view import view_of
from methods.naclip import NACLIP
from methods.sclip import SCLIP

SHAPES = Recipe.of("benchmarks.shapes:Shapes", images=2)
CUT = ProtocolSettings("all", resize="short", size=336, window=224, stride=112)
WHOLE = ProtocolSettings("all", resize="short", size=336)
PLAIN = ProtocolSettings("all")


@dataclass(frozen=True)
class Named(Cell):
    """A cell of a method of ours on two images of Shapes."""

    benchmark: Recipe = SHAPES
    benchmark_name: str = "Shapes"


def cell(use: str, protocol: ProtocolSettings, **settings: Any) -> Cell:
    return Named(Recipe.of(use, **settings), protocol=protocol)


def planned(use: str, protocol: ProtocolSettings, **settings: Any) -> PlannedRun:
    (found,) = plans.make("who cuts", [cell(use, protocol, **settings)], 2).runs
    return found


@pytest.mark.parametrize("protocol", [CUT, WHOLE, ProtocolSettings("all", window=64, stride=32)])
def test_a_method_leaves_it_to_a_protocol_that_resizes_or_cuts(protocol: ProtocolSettings) -> None:
    one = planned("methods.sclip:SCLIP", protocol, model="shapes")
    shown = {"resize": "window" if protocol.window else "shown", "window": None, "stride": None}
    assert one.run.method.as_dict() == {"model": "shapes", **shown}
    settings = one.record["method"]["settings"]
    assert {name: settings[name] for name in shown} == shown and one.resolved == shown
    (request,) = one.passes
    assert (request.resize, request.window) == (shown["resize"], None)  # type: ignore[attr-defined]


def test_by_itself_it_cuts_as_published_and_the_id_holds_the_values() -> None:
    alone = planned("methods.sclip:SCLIP", PLAIN, model="shapes")
    assert alone.run.method.as_dict() == {"model": "shapes", "resize": 336, "window": 224, "stride": 112}
    written = planned("methods.sclip:SCLIP", PLAIN, model="shapes", resize=336, window=224, stride=112)
    assert alone.run.run_id == written.run.run_id and not alone.resolved
    assert alone.run.run_id != planned("methods.sclip:SCLIP", PLAIN, model="shapes", stride=64).run.run_id
    other = planned("methods.naclip:NACLIP", PLAIN, model="shapes")
    assert other.passes == alone.passes and other.run.run_id != alone.run.run_id
    assert alone.record["method"]["use"] == "methods.sclip:SCLIP"


@pytest.mark.parametrize("settings", [{"window": 64}, {"window": None}, {"resize": "native"}, {"stride": 32}])
def test_what_is_written_is_refused_where_the_protocol_cuts(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(
        GridError, match=rf"SCLIP's {name} is .* the protocol resizes \(short\) and cuts windows of 224"
    ):
        planned("methods.sclip:SCLIP", CUT, model="shapes", **settings)


def test_a_method_around_a_method_resolves_the_inner_one() -> None:
    inner = "methods.naclip:NACLIP(model=shapes, std=2)"
    one = planned("methods.pamr:PAMR", CUT, method=inner, iterations=1)
    text = one.run.method.as_dict()["method"]
    assert text == "methods.naclip:NACLIP(model=shapes, std=2, resize=window, window=null, stride=null)"
    with pytest.raises(GridError, match="NACLIP's window is 64"):
        planned("methods.pamr:PAMR", CUT, method="methods.naclip:NACLIP(model=shapes, window=64)")


def test_the_plan_says_who_yields() -> None:
    cells = [cell("methods.sclip:SCLIP", CUT, model="shapes"), cell("methods.controls:OneClass", CUT)]
    (line,) = [one for one in plan_summary(plans.make("x", cells, 2), {}, 1) if "left to it" in one]
    assert "(resize=window, stride=None, window=None)" in line and "OneClass" not in line


def test_it_is_exit_2_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(
        "name: cut\nmethods:\n- {name: SCLIP, use: 'methods.sclip:SCLIP', with: {model: shapes, window: 64}}\n"
        "benchmarks:\n- {name: Shapes, use: 'benchmarks.shapes:Shapes', with: {images: 2}}\n"
        "protocol: {resize: short, size: 96, window: 64, stride: 32}\n"
    )
    answer = door("grid.yaml", "--plan", cwd=tmp_path)
    assert answer.returncode == 2 and "Traceback" not in answer.stderr
    assert "SCLIP on Shapes: SCLIP's window is 64, and the protocol resizes" in " ".join(answer.stderr.split())


def test_a_window_that_is_written_brings_its_own_stride() -> None:
    assert view_of(SCLIP(window=64), SCLIP.published_view) == (336, 64, None)
    assert view_of(NACLIP(resize=96, window=None), NACLIP.published_view) == (96, None, None)
    with pytest.raises(ValueError, match="window is 'whole'; give a number of pixels, null or 'auto'"):
        NACLIP(window="whole")


def test_a_call_is_spelled_as_it_is_read() -> None:
    settings = {
        "a": 1,
        "b": 0.5,
        "c": "x y, z",
        "d": None,
        "e": True,
        "f": (1, 2),
        "g": "null",
        "h": "m:C(k=1)",
        "i": 1e-9,
    }
    found = call_of(as_call("module:Class", settings))
    assert found is not None and found == ("module:Class", settings)
