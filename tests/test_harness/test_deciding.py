"""Decisions that are made a few rows and a few classes at a time, against the plain way in one piece and in float64.

Every stripe and slice must give the same label map, and counts must come home the same from a CPU and from a GPU that
is pretended, where nobody waits before a batch is done and a truth is brought once.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from pretend_gpu import pretend_gpu
from torch.utils._python_dispatch import TorchDispatchMode
from toy_world import Boxes, ToyBackbone, ToyPass

from harness.contracts import (
    BACKGROUND,
    WIDE_IGNORED,
    Batch,
    Labelling,
    LabelRule,
    MethodError,
    Origin,
    ProtocolSettings,
    Recipe,
    Row,
    Run,
    Vocabulary,
)
from harness.foreign.calls import Guard
from harness.protocol import planes
from harness.protocol.decision import BELOW, checked_answer, decided_positions, numbered, predict, predict_views
from harness.protocol.offering import Offer, offer
from harness.protocol.views import Cut, Window, tiling
from harness.work import scoring
from harness.work.batch_work import BatchWork
from harness.work.scoring import TruthThere, brought_home, overlaps, overlaps_with_void
from harness.work.slots import filler, read_places
from perf.deciding import plain_positions

SIZE = (37, 53)
ALL = ProtocolSettings("all")
MINMAX = ProtocolSettings("all", "constant", threshold=0.7)
SOFTMAX = ProtocolSettings("all", "constant", threshold=0.3, scale="softmax", logit_scale=2.0)
AREA = replace(SOFTMAX, background="prompts_constant", context=("sky", "road"), area_thd=0.2)
RULES = {"plain": ALL, "minmax": MINMAX, "softmax": SOFTMAX, "power": replace(MINMAX, background="power"), "area": AREA}


def offered(classes: int, rules: ProtocolSettings, words: int = 1) -> Offer:
    names = tuple(tuple(f"c{number} {word}" for word in range(1 + number % words)) for number in range(classes))
    return offer(range(1, classes + 1), names, rules)


def adversarial(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Scores (count, 9, 14) that are hard to tell apart."""
    scores = rng.standard_normal((count, 9, 14)).astype(np.float32)
    if kind == "ties":
        return np.round(scores).astype(np.float32)
    if kind == "twins":
        return scores[rng.integers(0, 2, count)]
    if kind == "constant":
        return np.broadcast_to(scores[:, :1, :1], scores.shape).copy()
    if kind == "huge":
        return (scores / np.abs(scores).max() * np.finfo(np.float32).max).astype(np.float32)
    return scores


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["any", "ties", "twins", "constant"])
def test_stripes_and_slices_decide_as_one_piece(
    kind: str, rule: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = RULES[rule]
    words = offered(7, rules, words=3)
    count = sum(words.planes(True))
    scores = adversarial(kind, count, rng)
    whole = predict(scores, words, SIZE, rules, plane_a_word=True)
    for rows, slices in ((1, 2**24), (3 * 53 * count, 2**24), (2**18, 1), (5 * 53 * 4, 4 * 9 * 53)):
        monkeypatch.setattr(planes, "_STRIPE_ELEMENTS", rows)
        monkeypatch.setattr(planes, "_SLICE_ELEMENTS", slices)
        found = predict(scores, words, SIZE, rules, plane_a_word=True)
        if rule in ("softmax", "area") and slices != 2**24:  # the denominator is summed in another order
            assert (found == whole).mean() > 0.98
        else:
            assert np.array_equal(found, whole), (rows, slices)


@pytest.mark.parametrize("rule", ["plain", "minmax", "softmax"])
@pytest.mark.parametrize("shape", [(5, 7), (37, 53), (80, 20), (1, 1), (36, 52), (37, 9), (4, 53)])
def test_label_maps_are_those_of_the_plain_way_in_float64(
    shape: tuple[int, int], rule: str, rng: np.random.Generator
) -> None:
    scores = torch.from_numpy(rng.standard_normal((6, *shape)).astype(np.float32))
    rules = RULES[rule] if shape != (1, 1) else replace(RULES[rule], scale="none")
    found = decided_positions([scores], _whole(SIZE), offered(6, rules), SIZE, rules)
    wanted, margin = plain_positions(scores.double(), SIZE, rules), _margin(scores.double(), rules)
    assert torch.equal(found[margin > 1e-5].long(), wanted[margin > 1e-5])
    # Two classes that are largest at one corner are alike around it; one place may be close by itself.
    assert shape == (1, 1) or (margin > 1e-5).float().mean() > 0.9


def _margin(scores: torch.Tensor, rules: ProtocolSettings) -> torch.Tensor:
    """How far every pixel is from another decision, in float64."""
    if rules.background == "constant" and rules.scale == "minmax":
        low, high = scores.amin((1, 2), keepdim=True), scores.amax((1, 2), keepdim=True)
        scores = (scores - low) / (high - low)
    large = torch.nn.functional.interpolate(scores[None], size=SIZE, mode="bilinear", align_corners=False)[0]
    if rules.background == "constant" and rules.scale == "softmax":
        large = (rules.logit_scale * large).softmax(dim=0)
    top = large.topk(2, dim=0).values
    edge = (top[0] - rules.threshold).abs() if rules.background == "constant" else top[0] - top[1]
    return torch.minimum(top[0] - top[1], edge)


def _whole(size: tuple[int, int]) -> Cut:
    return Cut(size, (Window(0, 0, *size),))


def test_of_equal_scores_the_first_is_chosen_and_the_background_before_all(rng: np.random.Generator) -> None:
    scores = rng.integers(0, 3, (9, *SIZE)).astype(np.float32)
    assert np.array_equal(predict(scores, offered(9, ALL), SIZE, ALL), scores.argmax(axis=0) + 1)
    rules = ProtocolSettings("all", "class")
    with_background = offered(8, rules)
    first = scores[:8].argmax(axis=0) + 1
    expected = np.where(scores[8] == scores.max(axis=0), 0, first)
    assert np.array_equal(predict(scores, with_background, SIZE, rules), expected)


@pytest.mark.parametrize("rules", [ALL, MINMAX, replace(MINMAX, background="power", power=1.5)])
def test_scores_that_overflow_are_no_evidence(rules: ProtocolSettings, rng: np.random.Generator) -> None:
    scores = adversarial("huge", 5, rng)
    found = predict(scores, offered(5, rules), SIZE, rules)
    assert set(np.unique(found)) <= {0, 1, 2, 3, 4, 5}
    if rules is ALL:
        wanted = plain_positions(torch.from_numpy(scores).double(), SIZE, rules) + 1
        assert (found == wanted.numpy()).mean() > 0.999
    poisoned = torch.full((2, 3, 4), 3e38)
    poisoned[:, :, ::2] = -3e38  # scaled, the least is 0 and all else is not a number
    below = predict(poisoned, offered(2, MINMAX), (3, 4), MINMAX)
    assert set(np.unique(below)) <= {0, 1, 2}


@pytest.mark.parametrize("void_counts", [False, True])
@pytest.mark.parametrize("rule", ["ignored", "constant", "prompts"])
def test_a_table_of_positions_stands_for_the_overlaps_of_the_map(
    rule: str, void_counts: bool, rng: np.random.Generator
) -> None:
    rules = ProtocolSettings("all", rule, context=("sky", "road"), void_counts=void_counts)
    chosen = Offer(Vocabulary((("a",),) * 4), (2, 255, 256, 300) if rule != "prompts" else (2, 255, 0, 0))
    truth = rng.choice([0, 2, 3, 255, 256, 300, 40_000, WIDE_IGNORED], SIZE).astype(np.uint16)
    positions = torch.from_numpy(rng.integers(-2, 4, SIZE))
    there = TruthThere(truth)
    table = there.table(positions, 4)
    assert table is not None and table.shape == (len(there.values) * 6,)
    known = np.where(truth == BACKGROUND, WIDE_IGNORED, truth).astype(np.uint16) if rule == "ignored" else truth
    count = overlaps_with_void if void_counts else overlaps
    expected = count(known, numbered(positions.numpy(), chosen, rules))
    for one, other in zip(there.overlaps(table.numpy(), chosen, rules), expected, strict=True):
        assert one.dtype == other.dtype and one.tolist() == other.tolist()


def test_where_a_table_would_not_fit_a_map_comes_home(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    there = TruthThere(rng.permutation(np.arange(37 * 53, dtype=np.uint16) % 4).reshape(SIZE))
    monkeypatch.setattr(scoring, "_MOST", 40)
    assert there.table(torch.zeros(SIZE, dtype=torch.int64), 6) is not None
    assert there.table(torch.zeros(SIZE, dtype=torch.int64), 7) is None


class Peak(TorchDispatchMode):
    """The most bytes that tensors made meanwhile hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        ours = {one.untyped_storage().data_ptr() for one in args if isinstance(one, torch.Tensor)}
        for one in answer if isinstance(answer, list | tuple) else (answer,):
            if isinstance(one, torch.Tensor) and not func.is_view and one.untyped_storage().data_ptr() not in ours:
                size = one.untyped_storage().nbytes()
                self.held += size
                self.most = max(self.most, self.held)
                weakref.finalize(one, self._freed, size)
        return answer

    def _freed(self, size: int) -> None:
        self.held -= size


def test_memory_does_not_grow_with_the_classes(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    size, most = (128, 256), {}
    monkeypatch.setattr(planes, "_SLICE_ELEMENTS", 2**18)
    for classes in (20, 847):
        scores = torch.from_numpy(rng.standard_normal((classes, 16, 32)).astype(np.float32))
        there, words = TruthThere(np.ones(size, np.uint16)), offered(classes, MINMAX)
        with Peak() as peak:
            there.table(decided_positions([scores], _whole(size), words, size, MINMAX), classes)
        most[classes] = peak.most
    assert most[847] < 1.5 * most[20] + 2**22


_ONE = torch.Tensor
WAITS = {_ONE.cpu, _ONE.item, _ONE.tolist, _ONE.__bool__, _ONE.__float__, _ONE.nonzero, torch.bincount, _ONE.bincount}


class Counted(torch.overrides.TorchFunctionMode):
    """What goes up to the pretended GPU and what is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.home = list[tuple[int, ...]](), list[tuple[int, ...]]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        if isinstance(answer, torch.Tensor) and func is torch.Tensor.to and answer.device != args[0].device:
            self.up.append(tuple(answer.shape))
        if func in WAITS and args[0].device.type == "cuda":
            self.home.append(tuple(args[0].shape))
        return answer


@pytest.mark.parametrize("rule", RULES)
def test_on_a_gpu_all_is_decided_and_counted_there_and_comes_home_at_once(rule: str, rng: np.random.Generator) -> None:
    rules = RULES[rule]
    words = offered(5, rules, words=2)
    count = sum(words.planes(True))
    scores = [torch.from_numpy(rng.standard_normal((count, 9, 14)).astype(np.float32)) for _ in range(3)]
    truth = rng.integers(0, 6, SIZE).astype(np.uint16)
    cut = tiling(SIZE, ProtocolSettings("all", window=30, stride=20))
    with pretend_gpu():
        there, tables, edges = TruthThere(truth), list[torch.Tensor](), list[torch.Tensor]()
        lent = [one.to("cuda") for one in scores]
        with Counted() as counted:
            for one in lent:  # runs that score one image
                answers = [checked_answer(one, len(words.numbers), SIZE, count, edges) for _ in cut.boxes]
                positions = decided_positions(answers, cut, words, SIZE, rules, words.planes(True))
                assert positions.device.type == "cuda"
                table = there.table(positions, len(words.numbers))
                assert table is not None
                tables.append(table)
            assert counted.up == [SIZE] and counted.home == []
            home = brought_home([*tables, *edges])
            assert len(counted.home) == 1
    for one, numbers in zip(scores, home, strict=False):
        again = [checked_answer(one, len(words.numbers), SIZE, count) for _ in cut.boxes]
        here = predict_views(again, cut, words, SIZE, rules, words.planes(True))
        expected = TruthThere(truth).overlaps_of(here, rules)
        found = TruthThere(truth).overlaps(numbers, words, rules)
        assert abs(_dense(found) - _dense(expected)).sum() <= 4  # a pixel may round otherwise
    assert [float(one[0]) for one in home[3:5]] == [float(scores[0].min()), float(scores[0].max())]


@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize("nobody", [(-np.inf, 0), (0.0, -1)])
def test_what_has_overflowed_is_not_the_best_on_a_gpu(
    nobody: tuple[float, int], step: int, rng: np.random.Generator
) -> None:
    scores = rng.standard_normal((5, 4, 6)).astype(np.float32)
    scores[1, 0], scores[:, 1], scores[:, 2, :3], scores[4, 3] = np.nan, np.nan, -np.inf, np.inf
    least, where = np.full((4, 6), nobody[0], np.float32), np.full((4, 6), nobody[1])
    with pretend_gpu():
        found = planes.Best((4, 6), 5, torch.device("cuda"), *nobody)
        for start in range(0, 5, step):
            found.take(slice(0, 4), torch.from_numpy(scores[start : start + step]).to("cuda"), start)
            top = scores[start : start + step].max(axis=0)  # which is not a number where one of them is not
            where = np.where(top > least, start + scores[start : start + step].argmax(axis=0), where)
            least = np.fmax(least, top)
        assert np.array_equal(found.where.cpu().numpy(), where)
        assert np.array_equal(found.scores.cpu().numpy(), least)


def _dense(counts: scoring.Overlaps) -> np.ndarray:
    found = np.zeros((8, 8), np.int64)
    found[counts.true, np.minimum(counts.predicted, 7)] = counts.pixels
    return found


def test_what_travels_home_together_keeps_its_numbers(rng: np.random.Generator) -> None:
    parts = [
        torch.arange(5), torch.tensor(0.5), torch.tensor([[True, False]]), torch.full((2, 3), -7), torch.tensor(np.inf)
    ]  # fmt: skip
    found = brought_home(parts)
    assert [one.tolist() for one in found] == [[0, 1, 2, 3, 4], [0.5], [True, False], [-7] * 6, [np.inf]]
    assert brought_home([]) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_told_at_once_on_a_cpu(bad: float) -> None:
    scores = np.zeros((2, 3, 4), np.float32)
    scores[1, 2, 3] = bad
    with pytest.raises(MethodError, match="not finite"):
        checked_answer(scores, 2, (3, 4), later=[])


def test_a_pixel_below_the_threshold_has_the_place_before_all_classes() -> None:
    scores = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]], [[0.2, 0.1]]])
    rules = replace(MINMAX, scale="none", threshold=2.0)
    assert decided_positions([scores], _whole((1, 2)), offered(3, rules), (1, 2), rules).tolist() == [[BELOW, BELOW]]


@dataclass(frozen=True)
class Channels:
    """The channels of an image as scores, on a device; not finite where it is nine pixels high."""

    device: str

    def passes(self) -> dict[Any, frozenset[str]]:
        return {ToyPass(Recipe.of("methods.stableseg:StableSeg"), 1): frozenset()}

    def read(self, features: Any, vocabulary: Vocabulary) -> torch.Tensor:
        (held,) = features.values()
        scores = torch.from_numpy(held.transpose(2, 0, 1).copy()).to(self.device)
        return scores / 0 if held.shape[0] == 9 else scores


def rows_on(device: str, runs: Sequence[Run], keep: frozenset[str] = frozenset()) -> Sequence[Row]:
    """Of four images, one of them with scores that are not finite."""
    world, batch = Boxes(images=4), Batch(0, ("000", "001", "002", "003"))
    rules = [(tuple((name,) for name in world.classes), run.protocol) for run in runs]
    places = read_places(rules, lambda one, check: (check(world.load(one)), Origin(one, "", ())), batch)
    seen = {run.run_id: [place[number] for place in places] for number, run in enumerate(runs)}
    guard = Guard()
    guard.settle()
    methods = [(run, Channels(device)) for run in runs]
    return BatchWork(guard, methods, seen, filler(rules[0][0]), lambda _: ToyBackbone(), keep).rows()


def run_of(number: int, rules: ProtocolSettings, **more: Any) -> Run:
    return Run(f"r{number}", "m", "", Recipe.of("methods.one:One"), "b", Recipe.of("b:B"), rules, **more)


def test_a_batch_on_a_gpu_leaves_the_rows_of_a_cpu_by_one_wait() -> None:
    """Three runs, four images, one of them with scores that are not finite; every truth is brought once."""
    runs = [run_of(number, rules) for number, rules in enumerate((ALL, replace(MINMAX, threshold=0.4), MINMAX))]
    with pretend_gpu(), Counted() as counted:
        there = rows_on("cuda", runs, frozenset({"000"}))
    assert len(counted.home) == 1
    assert [shape for shape in counted.up if len(shape) == 2] == [(8, 12), (9, 12), (10, 12), (8, 12)]
    here = rows_on("cpu", runs, frozenset({"000"}))
    assert [row.image_id for row in there if row.status == "failed"] == ["001"] * 3
    for one, other in zip(there, here, strict=True):
        facts = [(row.run_id, row.image_id, row.status, row.error, row.label_map) for row in (one, other)]
        assert facts[0] == facts[1] and (one.label_map is not None) == (one.image_id == "000")
        counts = [list(zip(row.true, row.predicted, row.pixels, strict=True)) for row in (one, other)]
        assert counts[0] == counts[1] and (one.status == "failed" or counts[0])


def test_scores_that_are_no_numbers_are_told_of_lessons_and_large_tables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, where such a label map comes home by itself."""
    monkeypatch.setattr(scoring, "_MOST", 0)
    runs = [run_of(0, ALL), run_of(1, ALL, purpose=Labelling(LabelRule()))]
    with pretend_gpu():
        there = rows_on("cuda", runs)
    here = rows_on("cpu", runs)
    assert [(row.run_id, row.image_id) for row in there if row.status == "failed"] == [("r0", "001"), ("r1", "001")]
    assert [(row.status, row.error) for row in there] == [(row.status, row.error) for row in here]
