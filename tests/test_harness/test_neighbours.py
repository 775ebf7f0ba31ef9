"""Careless methods beside a delicate one: they get failed rows that say why, it gets the counts that it has alone."""

from __future__ import annotations

import functools
import io
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType

import careless_helper
import numpy as np
import pytest
import torch
from careless import HABITS
from in_process import door
from PIL import Image as Pillow
from torch.nn import functional
from toy_cells import DELICATE, Cell, counts, rows_of
from toy_world import Boxes

from harness.checks.method_answers import Off
from harness.checks.method_trials import Trial, leaves_no_trace
from harness.checks.method_world import scene
from harness.contracts import Recipe, Row
from harness.errors import LONGEST, SettingsError, bounded
from harness.foreign import calls, complaints, heavy, interrupts, replaced
from harness.foreign.calls import keeping_functions
from harness.planning import plan as plans
from harness.recipes import loading
from harness.work.worker import ShardWorker

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
PLUGINS = Path(__file__).parents[1] / "plugins"
SAYS = {  # habit -> what its rows say; docs/neighbours.md has the same table
    "write": "ValueError: assignment destination is read-only",
    "unlock": "ValueError: cannot set WRITEABLE flag to True of this array",
    "forced": "other pixels in the image that it was lent",
    "through torch": "other pixels in the image that it was lent",
    "dtype": "torch's default dtype at torch.float64",
    "device": "torch's default device at meta",
    "grad": "torch's gradients off",
    "inference": "torch's inference mode on",
    "cast": "torch's automatic casts (autocast) changed",
    "deterministic": "torch's rule of deterministic algorithms at 2",
    "threads": "torch's number of threads at",
    "precision": "torch's precision of float32 products at medium",
    "cudnn": "torch.backends.cudnn.benchmark at True",
    "onednn": "torch.backends.mkldnn.enabled at True",
    "attention": "torch's flash attention off",
    "denormals": "floats' rounding changed",
    "rounding": "floats' rounding changed",
    "forward hook": "hooks of all torch modules (forward hooks)",
    "pre hook": "hooks of all torch modules (forward pre hooks)",
    "hook table": "hooks of all torch modules (forward hooks)",
    "name of a dtype": "torch.float32 replaced",
    "interpolate": "torch.nn.functional.interpolate replaced",
    "attention replaced": "torch.nn.functional.scaled_dot_product_attention replaced",
    "tensor method": "torch.Tensor.softmax replaced",
    "layer": "torch.nn.modules.linear.Linear.forward replaced",
    "argmax": "numpy.argmax replaced",
    "print": "builtins.print replaced",
    "numpy errors": "numpy's error state at",
    "folder": "the working directory at /",
    "environment": "the environment changed (CARELESS)",
    "handler": "signal handlers replaced",
    "alarm": "signals blocked or a timer set",
    "blocked": "signals blocked or a timer set",
    "stdout": "sys.stdout replaced",
    "closed stdout": "sys.stdout closed",
    "descriptors": "descriptor 1 closed and descriptor 2 closed",
    "led elsewhere": "descriptor 1 led elsewhere",
    "truncated": "PIL.ImageFile.LOAD_TRUNCATED_IMAGES at True",
    "collection": "garbage collection at False",
    "recursion": "the recursion limit at 3000",
    "log": "the root logger changed",
    "warnings": "the filters of all warnings changed",
    "len": "builtins.len replaced",
    "exception": "builtins.Exception replaced",
    "getcwd": "os.getcwd replaced",
    "get dtype": "torch.get_default_dtype replaced",
    "thread": "a thread at work (later)",
    "trace": "a trace or profile function",
    "profile": "a trace or profile function",
    "buffer": "numpy's buffer size at 65536",
    "path": "sys.path changed",
    "excepthook": "sys.excepthook at",
    "module": "sys.modules['torch.nn.functional'] replaced",
    "random": "random.random replaced",
    "numpy's random": "numpy.random.rand replaced",
    "manual seed": "torch.manual_seed replaced",
    "fast path": "torch's fast path of transformers off",
    "constant": "harness.protocol.planes._SLICE_ELEMENTS replaced",
    "table": "methods.stableseg.CHOICES changed",
    "code": "the code or defaults of harness.protocol.decision.nothing_offered replaced",
    "their method": "toy_world.Boxes.load replaced",
    "their property": "toy_world.Boxes.classes replaced",
    "their attribute": "toy_world.Boxes.broken replaced",
    "their new verb": "toy_world.Boxes.files replaced",
    "their code": "the code or defaults of toy_world.Boxes.ids replaced",
    "their function": "toy_world.Flat replaced",
    "our new verb": "harness.contracts.nouns.Vocabulary.__bool__ replaced",
    "decimals": "the arithmetic of decimal numbers changed",
    "umask": "the permissions of new files (umask) at 077",
    "argv": "sys.argv changed",
    "digits": "the longest number that Python reads at 1000",
    "finder": "the finders of modules (sys.meta_path) changed",
    "copying": "how objects are copied (copyreg) changed",
    "timeout": "sockets' default timeout at 3.0",
    "temporary": "the folder of temporary files at /nowhere",
    "openers": "PIL.Image.OPEN changed",
    "level": "torch's level of forward derivatives at 0",
    "saved": "hooks of what autograd saves",
    "sparse": "torch's checks of sparse tensors on",
}


@pytest.fixture(scope="module")
def alone() -> list[Row]:
    return rows_of(DELICATE)["delicate"]


@contextmanager
def own_streams() -> Iterator[None]:
    """A stdout that may be closed, and descriptors that come back."""
    kept, stdout = [os.dup(number) for number in (1, 2)], sys.stdout
    sys.stdout = io.StringIO()
    try:
        yield
    finally:
        sys.stdout = stdout
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def test_no_habit_is_left_out_and_the_page_has_them_all() -> None:
    assert set(SAYS) | {"nothing", "seeds", "child", "end"} == set(HABITS) and len(SAYS) >= 20
    page = (Path(__file__).parents[2] / "docs" / "neighbours.md").read_text(encoding="utf-8")
    said = (*SAYS.values(), *MEDDLES.values())
    assert [words for words in said if words.removesuffix(" changed") not in page] == []


def test_what_opening_changes_in_surroundings_is_put_back_with_one_line(
    alone: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    complaints._said.clear()
    careless = Cell(Recipe.of("careless:Careless", habit="environment", opening=True), "careless")
    rows = rows_of(careless, DELICATE)
    assert {row.status for row in rows["careless"]} == {"ok"} and "CARELESS" not in os.environ
    line = "careless:Careless: when it was opened, the environment changed (CARELESS); this was put back"
    assert capsys.readouterr().err.count(line) == 1
    assert counts(rows["delicate"]) == counts(alone)


def test_what_opening_changes_in_numbers_fails_its_rows(alone: list[Row]) -> None:
    careless = Cell(Recipe.of("careless:Careless", habit="dtype", opening=True), "careless")
    rows = rows_of(careless, DELICATE)
    assert all("it left torch's default dtype at torch.float64" in (row.error or "") for row in rows["careless"])
    assert counts(rows["delicate"]) == counts(alone)


@pytest.mark.parametrize("habit", ["dtype", "forward hook", "interpolate", "folder", "nothing"])
def test_the_gate_finds_the_same(habit: str) -> None:
    benchmark = Boxes(3)
    samples = [(image_id, benchmark.load(image_id).image) for image_id in benchmark.ids()]
    trial = Trial(Recipe.of("careless:Careless", habit=habit), *scene(samples, benchmark.classes))
    if habit == "nothing":
        leaves_no_trace(trial)
    else:
        with pytest.raises(Off, match=re.escape(f"it left {SAYS[habit]}")):
            leaves_no_trace(trial)


def test_a_benchmark_that_leaves_a_trace_fails_its_images_and_changes_nobody() -> None:
    cells = [Cell(DELICATE.method, "delicate", benchmark=Recipe.of("careless:CarelessBoxes", images=6))]
    plan = plans.make("toy", cells, 2)
    rows = [row for shard in plan.shards(99) for done in ShardWorker(threads=1).run(shard) for row in done.rows]
    assert len(rows) == 6
    assert all("it left torch's default dtype at torch.float64" in (row.error or "") for row in rows)


def test_a_constructor_that_parses_our_command_line_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    says = r"careless:Parses: it cannot be built: .*SystemExit: 2.*it said: foreign: error: unrecognized arguments"
    with pytest.raises(SettingsError, match=says):
        loading.build(Recipe.of("careless:Parses"))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("habit", SAYS)
def test_a_careless_neighbour_fails_and_changes_nobody(
    habit: str, alone: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    signal.setitimer(signal.ITIMER_REAL, 0)  # pytest-timeout's own
    with own_streams():
        rows = rows_of(Cell(Recipe.of("careless:Careless", habit=habit), "careless"), DELICATE)
        sys.stdout.write("")  # which raises on a closed stream
    assert {row.status for row in rows["careless"]} == {"failed"}
    for row in rows["careless"]:
        assert SAYS[habit] in (row.error or ""), row.error
    assert counts(rows["delicate"]) == counts(alone), [row.error for row in rows["delicate"]]


MEDDLES = {  # what is done to a module on which another method rests -> what the rows say
    **dict.fromkeys(("variable", "gone"), "careless_helper.VALUE changed"),
    **dict.fromkeys(("entry", "deep entry"), "what careless_helper.TABLE holds changed"),
    "list": "what careless_helper.SHARES holds changed",
    "array": "what careless_helper.WEIGHTS holds changed",
    **dict.fromkeys(("bank", "bank entry"), "what careless_helper.BANK holds changed"),
    **dict.fromkeys(("long", "long entry"), "what careless_helper.LONG holds changed"),
    **dict.fromkeys(("tensor", "tensor data"), "what careless_helper.TENSOR holds changed"),
    **dict.fromkeys(("network", "network training", "network entry"), "what careless_helper.NETWORK holds changed"),
    "configuration": "what careless_helper.CONFIGURATION holds changed",
    "nested class": "careless_helper.Outer.Inner.share replaced",
}


def test_what_is_found_when_another_imports_makes_the_batch_be_done_again(
    alone: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)  # what it imports
    careless, late = Recipe.of("careless:Careless", habit="interpolate"), Recipe.of("careless:Importer")
    rows = rows_of(Cell(careless, "careless"), DELICATE, Cell(late, "late"))
    assert all(SAYS["interpolate"] in (row.error or "") for row in rows["careless"])
    assert {row.status for row in rows["late"]} == {"ok"}
    assert counts(rows["delicate"]) == counts(alone)


@pytest.mark.parametrize("habit", [*MEDDLES, "context", "keeps"])
def test_who_meddles_with_anothers_module_fails_and_changes_nobody(habit: str) -> None:
    """What a module does to its own variables, whoever calls it, and what is filled in there, is no meddling."""
    tabled = Cell(Recipe.of("careless_helper:Tabled"), "tabled")
    alone = counts(rows_of(tabled)["tabled"])
    rows = rows_of(Cell(Recipe.of("careless:Careless", habit=habit), "careless"), tabled)
    assert counts(rows["tabled"]) == alone and {row[1] for row in alone} == {"ok"}
    errors = {row.error or "" for row in rows["careless"]}
    assert all(MEDDLES[habit] in error for error in errors) if habit in MEDDLES else errors == {""}, errors
    held = careless_helper
    assert (held.VALUE, held.TABLE["share"], held.SHARES, held.MODE.get()) == (0.5, 0.25, [0.5, 0.25], 0.0)


def test_what_is_too_large_to_be_put_back_is_told_by_all_who_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row of the method that rests on it is counted with the changed numbers."""
    held, tabled = careless_helper, Cell(Recipe.of("careless_helper:Tabled"), "tabled")
    monkeypatch.setattr(held, "BANK", np.zeros(20_000))
    monkeypatch.setattr(heavy, "WHOLE", 100_000)
    with keeping_functions():  # what whoever calls us changed before is theirs
        alone = counts(rows_of(tabled)["tabled"])
    assert {row[1] for row in alone} == {"ok"}
    rows = rows_of(Cell(Recipe.of("careless:Careless", habit="bank"), "careless"), tabled)
    told = "what careless_helper.BANK holds changed, which is too large to be put back"
    assert all(told in (row.error or "") for row in rows["careless"])
    good = [row for row in rows["tabled"] if row.status == "ok"]
    assert counts(good) == [row for row in alone if row[0] in {one.image_id for one in good}]
    assert all(told in (row.error or "") for row in rows["tabled"] if row.status == "failed") and len(good) < len(alone)
    monkeypatch.undo()
    with keeping_functions():
        assert counts(rows_of(tabled)["tabled"]) == alone


def test_a_plug_in_finds_again_what_it_set_in_its_context() -> None:
    from contextvars import ContextVar

    mode: ContextVar[int] = ContextVar("mode", default=0)
    guard, seen = calls.Guard(), list[int]()
    guard.settle()
    for who in ("one:One", "two:Two", "one:One"):
        guard.ask(who, (), lambda: seen.append(mode.get()) or mode.set(mode.get() + 1))
    assert (seen, mode.get()) == ([0, 0, 1], 0)


@pytest.mark.parametrize("habit", ["seeds", "nothing"])
def test_seeding_leaves_no_trace(habit: str, alone: list[Row]) -> None:
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    rows = rows_of(Cell(Recipe.of("careless:Careless", habit=habit), "careless"), DELICATE)
    assert {row.status for row in rows["careless"]} == {"ok"}
    assert counts(rows["delicate"]) == counts(alone)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("exit", "it ended with SystemExit: 0"), ("generator", "it ended with GeneratorExit"),
        ("interrupt", "it ended with KeyboardInterrupt"), ("base", "it ended with Odd: odd"),
        ("unspeakable", "Unspeakable: (its text cannot be had: RuntimeError)"),
        ("long", "(10000006 characters)"),
    ],
)  # fmt: skip
def test_whatever_a_method_raises_is_a_failed_row(what: str, says: str, alone: list[Row]) -> None:
    with interrupts.listening():
        rows = rows_of(Cell(Recipe.of("careless:Raises", what=what), "raises"), DELICATE)
    assert {row.status for row in rows["raises"]} == {"failed"}
    for row in rows["raises"]:
        assert row.error is not None and says in row.error and row.error.isprintable()
        assert len(row.error) <= LONGEST and bounded(row.error) == row.error, "one length, wherever it is told"
    assert counts(rows["delicate"]) == counts(alone)


def test_a_sweep_whose_methods_exit_and_close_everything_ends_with_its_table_and_code_3(tmp_path: Path) -> None:
    methods = [f"  - {{name: {what}, use: 'careless:Raises', with: {{what: {what}}}}}" for what in ("exit", "long")]
    shut = "  - {name: shut, use: 'careless:Careless', with: {habit: descriptors}}"
    sound = "  - {name: sound, use: 'toy_world:Flat'}"
    boxes = "benchmarks: [{name: Boxes, use: 'toy_world:Boxes', with: {images: 4}}]"
    (tmp_path / "grid.yaml").write_text("\n".join(["name: toy", "methods:", *methods, shut, sound, boxes]) + "\n")
    with own_streams():
        answer = door("grid.yaml", cwd=tmp_path, path=PLUGINS)
    assert answer.returncode == 3 and "sound" in answer.stdout
    said = answer.stderr
    assert "12 image results failed or are missing" in said and "4 x it ended with SystemExit: 0" in said
    assert len(said) < 3000 and "\x1b" not in said and "Traceback" not in said


def test_what_is_registered_for_the_end_does_not_change_the_exit_code(tmp_path: Path) -> None:
    methods = (
        "methods: [{name: end, use: 'careless:Careless', with: {habit: end}}, {name: exit, use: 'careless:Raises'}]"
    )
    boxes = "benchmarks: [{name: Boxes, use: 'toy_world:Boxes', with: {images: 2}}]"
    (tmp_path / "grid.yaml").write_text("\n".join(["name: toy", methods, boxes]) + "\n")
    command = [sys.executable, "-m", "harness.sweep", "grid.yaml", "--local", "--no-report"]
    path = os.pathsep.join([str(PLUGINS), str(PLUGINS.parents[1])])
    around = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=around, check=False)
    assert done.returncode == 3 and "2 x it ended with SystemExit" in done.stderr


def test_a_library_may_wrap_its_own_functions_and_nobody_else_may(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = replaced.Functions()
    watched.settle()
    step = functional.interpolate
    ours = functools.wraps(step)(lambda *given, **how: step(*given, **how) * 1.0)
    theirs = FunctionType(ours.__code__, {**vars(functional)}, closure=ours.__closure__)
    theirs.__wrapped__ = step  # type: ignore[attr-defined]
    monkeypatch.setattr(functional, "interpolate", ours)
    assert [trace.clause for trace in watched.traces()] == ["torch.nn.functional.interpolate replaced"]
    monkeypatch.setattr(functional, "interpolate", theirs)
    assert watched.traces() == []


def test_layers_that_networks_are_made_from_and_pillow_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers.models.resnet import ResnetBlock2D

    watched = replaced.Functions()
    watched.settle()
    monkeypatch.setattr(ResnetBlock2D, "forward", lambda self, given, *_: given)
    monkeypatch.setattr(Pillow.Image, "resize", lambda self, *_: self)
    clauses = {"PIL.Image.Image.resize replaced", "diffusers.models.resnet.ResnetBlock2D.forward replaced"}
    assert {trace.clause for trace in watched.traces()} == clauses


def test_stableseg_keeps_its_counts_beside_all_of_them() -> None:
    """The cases in which its mIoU on Shapes once went from 78.80 to 83.70, and another method's from 28.01 to 40.02."""
    shapes = Recipe.of("benchmarks.shapes:Shapes", images=4)
    ours = Cell(Recipe.of("methods.stableseg:StableSeg", model="shapes", refine="sar"), "ours", benchmark=shapes)
    habits = ("write", "dtype", "forward hook", "interpolate", "attention replaced")
    cells = [Cell(Recipe.of("careless:Careless", habit=habit), habit, benchmark=shapes) for habit in habits]

    def counted(*cells: Cell) -> dict[str, list[Row]]:
        plan = plans.make("toy", cells, 2)
        names = {one.run.run_id: one.run.method_name for one in plan.runs}
        rows = [row for shard in plan.shards(99) for done in ShardWorker(threads=1).run(shard) for row in done.rows]
        return {name: [row for row in rows if names[row.run_id] == name] for name in names.values()}

    rows = counted(*cells, ours)
    assert counts(rows["ours"]) == counts(counted(ours)["ours"])
    assert {row.status for name in habits for row in rows[name]} == {"failed"} and len(rows["ours"]) == 4


def test_what_a_program_replaces_and_puts_back_between_two_plans_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = functional.interpolate
    with monkeypatch.context() as patch:
        patch.setattr(functional, "interpolate", functional.relu)
        with keeping_functions():
            assert functional.interpolate is functional.relu
    with keeping_functions():
        functional.interpolate = functional.relu
    assert functional.interpolate is own
