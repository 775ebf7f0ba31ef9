"""Plans over the toy world: what is shared, what is stored, and that no batch depends on company."""

import random
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from toy_cells import FLAT, NINE, Cell, Taught, reader
from toy_world import Flat, ToyBackbone, ToyPass

from harness.contracts import (
    Gathering,
    Labelling,
    LabelRule,
    ModelError,
    ProtocolSettings,
    Recipe,
    Run,
    Scoring,
    Timing,
)
from harness.planning import plan as plans
from harness.planning import steps_report
from harness.planning.plan import Plan, Shelf
from harness.planning.report import as_dict, plan_summary
from harness.planning.windows import fewest_windows, most_windows
from harness.protocol.views import tiling
from methods.clip import Clip
from methods.controls import OneClass, RandomLabels
from methods.diffusion import Diffusion
from methods.student.size import weights_bytes


def plan_of(cells: list[Cell], stored: plans.Stored | None = None, limit: int | None = None, batch: int = 4) -> Plan:
    return plans.make("toy", cells, batch, stored, limit)


def test_three_refinements_at_three_timesteps_share_passes_and_encodings() -> None:
    cost = plan_of(NINE).cost
    assert (cost.encodings, cost.passes) == (10, 30)
    assert (cost.encodings_unshared, cost.passes_unshared) == (90, 90)


def test_batches_are_fixed_slices_of_the_sorted_ids_and_the_last_is_filled_up() -> None:
    (shard,) = plan_of(NINE).shards(99)
    slots = [batch.slots for batch in shard.batches]
    assert slots == [("000", "001", "002", "003"), ("004", "005", "006", "007"), ("008", "009", None, None)]
    assert len(shard.runs) == 9


def test_a_run_without_a_backbone_joins_the_group_of_its_benchmark() -> None:
    assert len(plan_of([FLAT, *NINE]).groups) == 1
    other = Cell(Recipe.of("toy_world:Flat"), benchmark=Recipe.of("toy_world:Boxes", images=6))
    assert len(plan_of([FLAT, other, *NINE]).groups) == 2


def test_groups_hold_runs_that_share_a_backbone_and_no_others() -> None:
    groups = plan_of([reader(1), reader(1, fails_on="x"), reader(2), FLAT]).groups
    assert sorted(len(group) for group in groups) == [1, 3]


def test_stored_images_become_fillers_and_stored_runs_are_left_out() -> None:
    first = plan_of(NINE[:2])
    one, two = (planned.run.run_id for planned in first.runs)
    everything = {f"{index:03d}": "ok" for index in range(10)}
    half = {image: ("ok" if int(image) < 5 else "failed") for image in everything if int(image) != 9}
    plan = plan_of(NINE[:2], {one: everything, two: half})
    assert [planned.reason for planned in plan.runs] == ["stored", "5 of 10 images missing, 4 of them failed before"]
    (shard,) = plan.shards(99)
    assert [run.run_id for run in shard.runs] == [two]
    assert [batch.slots for batch in shard.batches] == [(None, "005", "006", "007"), ("008", "009", None, None)]
    assert plan_of(NINE[:2], {one: everything, two: everything}).shards() == ()


def test_limit_keeps_the_first_images_in_the_same_batches() -> None:
    plan = plan_of(NINE, limit=6)
    assert [batch.slots for shard in plan.shards() for batch in shard.batches] == [
        ("000", "001", "002", "003"), ("004", "005", None, None)
    ]  # fmt: skip
    assert plan.images_missing == 9 * 6
    assert plan.runs[0].run.run_id == plan_of(NINE).runs[0].run.run_id


def test_shard_size_cuts_between_batches_only() -> None:
    plan = plan_of(NINE)
    for size in (1, 2, 3):
        batches = [batch for shard in plan.shards(size) for batch in shard.batches]
        assert batches == list(plan.shards(99)[0].batches)


def ids(cells: list[Cell], batch: int = 4) -> list[str]:
    return [planned.run.run_id for planned in plan_of(cells, batch=batch).runs]


def test_what_can_change_a_pixel_changes_the_id_and_nothing_else_does() -> None:
    base = reader(1)
    (known,) = ids([base])
    assert ids([Cell(base.method, method_name="other", variant="x", benchmark_name="B")]) == [known]
    assert ids([Cell(Recipe.of("toy_world:ToyReader"))]) == [known], "a default written out is the same setting"
    shuffled = [base, *NINE]
    random.shuffle(shuffled)
    assert known in ids(shuffled)
    changed = [
        ids([reader(2)]), ids([base], batch=8),
        ids([Cell(base.method, benchmark=Recipe.of("toy_world:Boxes", images=9))]),
        ids([Cell(base.method, protocol=ProtocolSettings(background="constant"))]),
        ids([Cell(base.method, protocol=ProtocolSettings(templates=("a drawing of a {}",)))]),
        ids([reader(1, fails_on="x")]),
    ]  # fmt: skip
    assert len({known, *(one for (one,) in changed)}) == 7
    assert ids([FLAT], batch=4) == ids([FLAT], batch=8), "no network, no batch"


def test_fields_of_a_protocol_without_effect_are_in_no_id() -> None:
    def one(**rules: object) -> str:
        return ids([Cell(FLAT.method, protocol=ProtocolSettings(**rules))])[0]  # type: ignore[arg-type]

    assert one() == one(threshold=0.9, power=7.0, context=("sky",), scale="none", size=9, stride=3)
    window = {"window": 8, "stride": 8}
    different = [
        one(), one(**window), one(window=8, stride=4), one(resize="short", size=8), one(resize="stretch", size=8),
        one(background="constant"), one(background="constant", threshold=0.4), one(background="power"),
        one(background="constant", scale="softmax"), one(background="constant", scale="softmax", logit_scale=2.0),
        one(background="prompts", context=("sky",)), one(background="prompts", context=("sky", "sea")),
        one(background="class"), one(background="class", background_names=("nothing",)), one(vocabulary="all"),
    ]  # fmt: skip
    assert len(set(different)) == len(different)
    assert one(resize="stretch", size=8) == one(resize="stretch", size=(8, 8))


def test_a_model_that_is_missing_is_named_with_the_method_that_wants_it() -> None:
    method = Recipe.of("toy_taggers:Unready")
    with pytest.raises(ModelError, match=r"^my method: there are no weights here$"):
        plan_of([Cell(method, method_name="my method")])


def test_a_run_says_which_id_it_has() -> None:
    run: Run = plan_of([FLAT]).runs[0].run
    assert len(run.run_id) == 16 and int(run.run_id, 16) >= 0


def test_a_run_says_what_it_is_for() -> None:
    train, val = (Recipe.of("toy_learners:SplitBoxes", split=split, images=4) for split in ("train", "val"))
    teacher = Cell(Recipe.of("toy_learners:Brightest"), "t", benchmark=train)
    students = [
        Taught(Recipe.of("toy_learners:Gains", timestep=step), "s", benchmark=val, teacher=teacher, own=own)
        for step, own in ((1, False), (2, False), (3, True))
    ]
    plan = plan_of([FLAT, *students])
    labels, (fit, *_) = plan.labels[0].run, plan.fits
    assert plan.runs[0].run.purpose == Scoring()
    assert plan.runs[1].run.purpose == Scoring(learned=fit.folder)
    assert labels.purpose == Labelling(LabelRule())
    gathering = [fit.gathers.run for fit in plan.fits if fit.gathers]
    assert [run.purpose for run in gathering] == [Gathering(labels.run_id)] * 3
    assert [run.own for run in gathering] == [False, False, True], "the learner's, not its teacher's"
    kinds = [sorted({one.run.purpose.kind for group in stage.groups for one in group}) for stage in plan.stages]
    assert kinds == [["label", "score"], ["gather"], ["score"]]
    together = [shard.runs for shard in plan.shards(99) if shard.runs[0].purpose == Gathering(labels.run_id)]
    assert sorted(map(len, together)) == [1, 2], "learners of one teacher gather together, from passes that they share"


def test_the_plan_tells_passes_crops_and_what_gathering_leaves() -> None:
    """Ten layers, three classes, 1024 positions in 16 bits, and labels; of least squares a matrix and a vector."""
    train, val = (Recipe.of("toy_learners:SplitBoxes", split=split, images=8) for split in ("train", "val"))
    model = {"teacher": "t", "model": "shapes"}
    teacher = Cell(Recipe.of("methods.stableseg:StableSeg", model="shapes"), "t", benchmark=train)
    learners = [
        Taught(Recipe.of(use, **settings), name, benchmark=val, teacher=teacher)
        for name, use, settings in (
            ("student", "methods.student:Student", {"teacher": "t", "steps": 7, "batch": 4}),
            ("weights", "methods.learned_stableseg:LearnedStableSeg", model),
            ("exact", "methods.learned_stableseg:LearnedStableSeg", {**model, "loss": "least_squares"}),
            ("heads", "methods.learned_stableseg:LearnedStableSeg", {**model, "per": "head"}),
        )
    ]
    plan = plan_of(list(learners))
    steps = steps_report.steps(plan)
    assert [step["passes"] for step in steps if step["step"] == "label"] == [8]
    assert {step["method"]: step["crops"] for step in steps if step["step"] == "fit"} == {
        "student": 28, "weights": None, "exact": None, "heads": None,
    }  # fmt: skip
    classes = len(plan.runs[0].record["classes"])
    gathers = {step["method"]: (step["passes"], step.get("bytes")) for step in steps if step["step"] == "gather"}
    assert gathers == {
        "weights": (8, 8 * 1024 * (2 * 10 * classes + 2)), "exact": (8, 8 * 8 * (100 + 10 + 2)), "heads": (8, None),
    }  # fmt: skip
    said = " ".join(plan_summary(plan, {}, 1))
    held = {step["method"]: step["bytes"] for step in steps if step["step"] == "fit"}
    assert held == {"student": weights_bytes("resnet50", 5, "deeplabv3+", 256, 3, classes + 1, False),
                    "weights": 10 * 28 + 100, "exact": 10 * 28 + 100, "heads": None}  # fmt: skip
    assert "106.9 MB are for 3 artefacts of the 4" in said
    assert "28 images or crops of them go through networks that are trained" in said and "of the disk at most" in said
    assert "label maps are kept as PNGs" in said
    stored = plans.make("toy", learners, 4, shelf=Shelf(has_artefact=lambda _: True))
    assert all(not step.get(kind) for step in steps_report.steps(stored) if step["step"] in ("fit", "gather")
               for kind in ("passes", "crops", "bytes"))  # fmt: skip


def test_before_anything_is_stored_time_is_estimated_from_measured_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine runs of ten images share thirty passes: 30 x 2 s and 90 x 0.5 s of a core, and 30 x 240 s of a card."""
    measured = (Timing("CPU", 2.0, 0.5), Timing("H100", 240.0, 0.0))
    monkeypatch.setattr(ToyBackbone, "timings", measured[:1], raising=False)
    plan, uses = plan_of(NINE), ("toy_world:ToyReader", "toy_world:Flat")
    told = as_dict(plan, {}, 3)
    assert told["estimated_seconds"] == pytest.approx(105 / 3) and told["gpu_hours"] is None
    assert plan_summary(plan, {}, 3)[-2:] == [
        "Estimated time: 0:00:35 with 3 workers, from measured passes, a core a worker.", "GPU hours: not measured.",
    ]  # fmt: skip
    monkeypatch.setattr(ToyBackbone, "timings", measured, raising=False)
    assert plan_summary(plan, {}, 3)[-1] == "GPU hours: 2.0 on H100."
    assert as_dict(plan, {uses[0]: 0.1}, 1)["estimated_seconds"] == pytest.approx(9.0)
    assert as_dict(plan, {uses[0]: 0.1}, 1)["estimated_from"] == "stored timings"
    both = as_dict(plan_of([FLAT, *NINE]), {uses[1]: 0.1}, 1)
    assert both["estimated_seconds"] == pytest.approx(106.0), both
    assert both["estimated_from"] == "stored timings and measured passes, a core a worker"


def test_what_is_known_is_a_lower_bound_that_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine runs of ten images on 30 passes, beside a method that was timed nowhere: its time is in no number."""
    unknown = "Estimated time: unknown; nothing stored or measured tells of {}."
    assert unknown.format("m") in plan_summary(plan_of(NINE), {}, 1)
    nothing = as_dict(plan_of(NINE), {}, 1)
    assert nothing["estimated_seconds_at_least"] is None and nothing["estimated_from"] is None
    timings = (Timing("CPU", 2.0, 0.5), Timing("H100", 240.0, 0.0))
    monkeypatch.setattr(ToyBackbone, "timings", timings, raising=False)
    plan = plan_of([FLAT, *NINE])
    said, told = plan_summary(plan, {}, 3), as_dict(plan, {}, 3)
    source = "3 workers, from measured passes, a core a worker"
    assert said[-2:] == [
        f"Estimated time: at least 0:00:35 with {source}; not measured: flat.", "GPU hours: not measured.",
    ]  # fmt: skip
    assert told["estimated_seconds"] is None and told["estimated_seconds_at_least"] == pytest.approx(35)
    assert told["estimate_lacks"] == {"unknown": ("flat",), "cut": (), "fits": 0, "waiting": 0}
    monkeypatch.setattr(Flat, "timings", (Timing("CPU", 0.0, 0.3),), raising=False)
    assert plan_summary(plan, {}, 3)[-2:] == [f"Estimated time: 0:00:36 with {source}.", "GPU hours: 2.0 on H100."]
    assert as_dict(plan, {}, 3)["estimated_seconds"] == pytest.approx(36), "a control needs no network, and no card"


def test_windows_count_as_few_as_can_be_and_then_the_time_is_at_least_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten images through one pass: 4 windows where a square is cut, whatever the size, and 6 where all have one."""
    monkeypatch.setattr(ToyBackbone, "timings", (Timing("CPU", 30.0, 0.0), Timing("H100", 360.0, 0.0)), raising=False)

    def said(**rules: Any) -> list[str]:
        return plan_summary(plan_of([replace(reader(1), protocol=ProtocolSettings(**rules))]), {}, 1)[-2:]

    source = "with 1 worker, from measured passes, a core a worker"
    few = "with the fewest windows that an image can have: m"
    assert said(resize="short", size=336, window=224, stride=112) == [
        f"Estimated time: at least 0:20:00 {source}; {few}.", f"GPU hours: at least 4.0 on H100; {few}.",
    ]  # fmt: skip
    assert said(resize="stretch", size=(336, 448), window=224, stride=112) == [
        f"Estimated time: 0:30:00 {source}.", "GPU hours: 6.0 on H100.",
    ]  # fmt: skip
    assert said(window=224, stride=112)[0] == f"Estimated time: at least 0:05:00 {source}; {few}."
    tagger = Recipe.of("methods.clip_tagger:ClipTagger", model="shapes")
    predicted = said(vocabulary="predicted", tagger=tagger)[0]
    assert predicted == f"Estimated time: at least 0:05:00 {source}; not measured: ClipTagger."
    monkeypatch.setattr(ToyPass, "window", 224, raising=False)
    assert said()[0] == f"Estimated time: at least 0:05:00 {source}; {few}.", "a method that cuts by itself"


@pytest.mark.parametrize("rules", [
    {"resize": "short", "size": 20}, {"resize": "short", "size": 20, "longest": 25}, {"resize": "none"},
    {"resize": "short", "size": 20, "longest": 13}, {"resize": "long", "size": 20}, {"resize": "stretch", "size": 20},
    {"resize": "box", "size": (12, 30)}, {"resize": "box", "size": (19, 20)}, {"window": 0, "stride": 0},
])  # fmt: skip
def test_the_fewest_and_the_most_windows_are_those_of_some_image(rules: dict[str, Any]) -> None:
    settings = ProtocolSettings(**{"window": 8, "stride": 5, **rules})
    found = {len(tiling(size, settings).boxes) for size in product((*range(1, 41), 400), repeat=2)}
    assert min(found) == fewest_windows(settings) and most_windows(settings) in (None, max(found))


def test_networks_of_ours_know_what_they_took() -> None:
    own, half = Diffusion(size=(512, 512)).timings, Diffusion(size=(256, 512)).timings
    assert [one.device for one in own] == ["CPU"] and own[0].a_pass > 5 > own[0].a_row > 0
    assert half[0].a_pass == pytest.approx(own[0].a_pass / 2)
    assert Diffusion().timings == own
    assert not Diffusion(dtype="bfloat16").timings and not Diffusion("some/model").timings
    assert 0 < Diffusion("shapes").timings[0].a_pass < 0.5
    assert 0 < Clip("shapes").timings[0].a_pass < Clip().timings[0].a_pass and not Clip("openai/another").timings


def test_controls_know_what_they_took() -> None:
    for control in (OneClass(), RandomLabels(), RandomLabels(side=0)):
        ((device, a_pass, a_row),) = control.timings
        assert device == "CPU" and a_pass == 0 and 0 < a_row < 0.1, control
    assert not RandomLabels(side=7).timings
