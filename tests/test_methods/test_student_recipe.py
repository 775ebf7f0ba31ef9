"""What published recipes set of a student: each against a computation of its own, in higher precision."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import door
from numpy.typing import NDArray
from PIL import Image as Pictures
from torch import Tensor, nn

from benchmarks.shapes import Shapes
from harness.contracts import IGNORED, Image, MethodError, Recipe, Truth, Vocabulary
from harness.recipes import identity
from methods.student import ShapesStudent, Student, crops
from methods.student import training as student_training
from methods.student.course import AHEAD, Course, drawn_example, examples_ahead
from methods.student.crops import Crops, Sides
from methods.student.fit import _Cache as Lectures
from methods.student.progress import resumed_from
from methods.student.training import train_student
from results.folder.keepsakes import label_map_path

COURSE = Course(
    steps=3, batch=4, group=2, optimiser="sgd", learning_rate=0.5, momentum=0.9, weight_decay=0.0, encoder_rate=1.0,
    decay="poly", floor=0.01, validate_every=0, precision="float32", seed=5,
)  # fmt: skip


def test_the_rate_rises_in_the_warm_up() -> None:
    course = replace(COURSE, steps=10, warmup=4)
    poly = [0.01 + 0.99 * (1 - step / 10) ** 0.9 for step in range(10)]
    rising = [1e-6, 0.25 + 0.75e-6, 0.5 + 0.5e-6, 0.75 + 0.25e-6, 1, 1, 1, 1, 1, 1]
    assert [course.rate(step) for step in range(10)] == pytest.approx(np.multiply(poly, rising), rel=1e-12)


class Pixelwise(nn.Module):
    """Three outputs of the colours of a pixel, behind batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.norm = nn.BatchNorm2d(3)
        self.outputs = nn.Conv2d(3, 3, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.outputs(self.norm(pixels))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Noise:
    """Crops of 16 x 32 pixels, each of its own colours. Fulfils Material."""

    count: int = 8
    held_out: Sequence[int] = ()

    def crop(self, lesson: int, rng: np.random.Generator) -> tuple[Image, Truth]:
        colours = np.random.default_rng(lesson).integers(0, 256, (16, 32, 3), np.uint8)
        return colours, (colours.argmax(axis=2)).astype(np.uint8)

    def whole(self, lesson: int) -> tuple[Image, Truth]:
        return self.crop(lesson, np.random.default_rng())


@dataclass(frozen=True)
class Remembering(Noise):
    """Remembers the examples that were asked for."""

    asked: list[int] = field(default_factory=list)

    def crop(self, lesson: int, rng: np.random.Generator) -> tuple[Image, Truth]:
        self.asked.append(lesson)
        return super().crop(lesson, rng)


def test_examples_are_read_some_steps_ahead_and_no_further() -> None:
    """While the network is at work on a step, those of so many further steps are made, and then no more."""
    material, ahead = Remembering(), AHEAD
    course = replace(COURSE, steps=ahead + 3)
    shared, _ = student_training._parted(course, False, 0, 1)
    steps = examples_ahead(course, material, 0, shared, torch.device("cpu"))
    for done in range(1, 4):
        next(steps)
        wanted, patience = (done + ahead) * COURSE.batch, time.monotonic() + 300
        while len(material.asked) < wanted and time.monotonic() < patience:
            time.sleep(0.005)
        assert len(material.asked) == wanted
    assert len(list(steps)) == ahead and len(material.asked) == (ahead + 3) * COURSE.batch


def test_a_teacher_that_is_asked_for_a_crop_is_on_the_card_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which card a thread computes on is its own: a fresh one takes the first."""
    cards, asked, here = dict[int, torch.device](), list[torch.device | None](), torch.device("cuda", 3)

    class Asking(Noise):
        def crop(self, lesson: int, rng: np.random.Generator) -> tuple[Image, Truth]:
            asked.append(cards.get(threading.get_ident()))
            return super().crop(lesson, rng)

    def set_device(device: torch.device) -> None:
        cards[threading.get_ident()] = device

    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    shared, _ = student_training._parted(COURSE, True, 0, 1)
    next(examples_ahead(replace(COURSE, steps=1), Asking(), 0, shared, here))
    assert asked == [here] * COURSE.batch and threading.get_ident() not in cards


def test_colours_are_changed_as_by_the_plain_formula(rng: np.random.Generator) -> None:
    for _ in range(10):
        image = rng.integers(0, 256, (int(rng.integers(5, 90)), 41, 3)).astype(np.uint8)
        seed = int(rng.integers(1 << 30))
        bright, contrast, saturation = np.random.default_rng(seed).uniform(0.7, 1.3, 3)
        values = image * bright
        values = (values - values.mean()) * contrast + values.mean()
        grey = (values @ np.array([0.299, 0.587, 0.114]))[..., None]
        expected = np.clip(grey + (values - grey) * saturation, 0, 255)
        changed = crops._coloured(image, 0.3, np.random.default_rng(seed))
        assert np.abs(changed - expected).max() < 0.51  # but for rounding to whole numbers
        shown = crops.in_imagenet_colours(image)
        assert shown.dtype == np.float32 and shown.flags.c_contiguous
        wanted = (image / 255 - np.array(crops.MEAN)) / np.array(crops.STD)
        assert np.abs(shown - wanted.transpose(2, 0, 1)).max() < 1e-6


def trained(course: Course, folder: Path, **more: Any) -> dict[str, NDArray[np.float64]]:
    network = Pixelwise()
    train_student(network, course, Noise(), folder, **more)
    return {name: one.double().numpy() for name, one in network.state_dict().items()}


def after_every_step(course: Course, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The weights that a training begins with and those after every step."""
    seen, real = [], student_training._step

    def looked_at(network: nn.Module, *given: Any) -> float:
        seen.append({name: one.double().numpy().copy() for name, one in network.state_dict().items()})
        return real(network, *given)

    monkeypatch.setattr(student_training, "_step", looked_at)
    last = trained(course, folder)
    monkeypatch.undo()
    return [*seen, last]


@pytest.mark.parametrize("most", [0.01, 100.0])
def test_gradients_are_clipped_to_a_norm(most: float, tmp_path: Path) -> None:
    course = replace(COURSE, steps=1, momentum=0.0)
    start = {name: one.double().numpy() for name, one in Pixelwise().state_dict().items()}
    names = [name for name in start if name.endswith(("weight", "bias"))]
    free, clipped = trained(course, tmp_path / "free"), trained(replace(course, clip_norm=most), tmp_path / "clipped")
    moved = {name: free[name] - start[name] for name in names}
    norm = np.sqrt(sum((one**2).sum() for one in moved.values())) / course.learning_rate  # of all gradients together
    share = min(1.0, most / norm)
    for name in names:
        assert clipped[name] - start[name] == pytest.approx(share * moved[name], abs=1e-6)
    assert (share < 0.5) == (most == 0.01)


def test_the_running_average_is_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = after_every_step(COURSE, tmp_path / "own", monkeypatch)
    kept = trained(replace(COURSE, ema=0.3), tmp_path / "kept")
    for name in own[0]:
        average = own[0][name]
        for step, weights in enumerate(own[1:], start=1):
            decay = min(0.3, (1 + step) / (10 + step))  # 2/11, 3/12, then 0.3
            average = decay * average + (1 - decay) * weights[name]
        assert kept[name] == pytest.approx(average if "batches" not in name else own[-1][name], abs=1e-5), name
    assert np.abs(kept["outputs.weight"] - own[-1]["outputs.weight"]).max() > 1e-3


def test_an_average_goes_on_from_the_checkpoint_that_an_interval_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course, saved, real = replace(COURSE, steps=5, ema=0.9, checkpoint_every=2), [], student_training.save_checkpoint

    def save(*given: Any) -> None:
        saved.append(given[-1])
        if given[-1] < 5:
            real(*given)

    monkeypatch.setattr(student_training, "save_checkpoint", save)
    whole = trained(course, tmp_path)
    assert saved == [2, 4, 5]
    again = trained(course, tmp_path, since=resumed_from(tmp_path, 5))
    assert saved == [2, 4, 5, 5] and all(np.array_equal(again[name], whole[name]) for name in whole)


@pytest.mark.parametrize("group", [2, 4])
def test_statistics_are_taken_over_a_group_and_by_default_over_the_whole_batch(group: int, tmp_path: Path) -> None:
    """Over the whole batch: what synchronised batch normalisation has of one image on each of four GPUs."""
    found = trained(replace(COURSE, steps=1, group=group, learning_rate=0.0), tmp_path)
    pixels = np.stack([drawn_example(COURSE, Noise(), draw)[0] for draw in range(4)]).astype(np.float64)
    groups = pixels.reshape(-1, group, *pixels.shape[1:])
    variance = groups.var(axis=(1, 3, 4), ddof=1).mean(axis=0)
    assert found["norm.running_var"] == pytest.approx(0.9 + 0.1 * variance, abs=1e-6)


def test_an_image_is_brought_to_its_sides_before_it_is_scaled_and_cropped(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (30, 50, 3), np.uint8)
    for shown, sides in [
        (Sides(), (30, 50)), (Sides(60), (60, 100)), (Sides(60, 75), (45, 75)), (Sides(None, 100), (60, 100)),
    ]:  # fmt: skip
        assert shown.at_scale(image).shape[:2] == sides
        assert Crops((32, 32), (1.0, 1.0), False, 0.0, shown).cut(image, rng)[1].sides == sides
        assert Crops((32, 32), (0.5, 0.5), False, 0.0, shown).cut(image, rng)[1].sides == tuple(
            round(side / 2) for side in sides
        )


class HalfKnown:
    """Images of 40 x 56 whose stored masks are left out on the right; a teacher says 1 of whatever it is asked."""

    image_ids = ("a", "b")
    vocabulary = Vocabulary((("x",), ("y",)))
    background = False

    def image(self, image_id: str) -> Image:
        return np.full((40, 56, 3), 90, np.uint8)

    def mask(self, image_id: str) -> Truth:
        return np.repeat(np.array([[2, 255]], np.uint8), [20, 36], axis=1).repeat(40, axis=0)

    def ask(self, image_id: str, image: Image) -> Truth:
        return np.ones(image.shape[:2], np.uint8)


@pytest.mark.parametrize("foreground", [False, True])
def test_what_a_stored_mask_leaves_out_is_left_out_of_a_crop_that_the_teacher_is_asked_about(foreground: bool) -> None:
    settings = Student(
        teacher="T", crop=32, scale_low=1.0, scale_high=1.0, held_out=0.0, colours=0.0, pseudo="same_crop",
        label_foreground=foreground,
    )  # fmt: skip
    lessons: Any = HalfKnown()
    material, shares = Lectures(settings, lessons), []
    for seed in range(9):
        _, told = material.crop(0, np.random.default_rng(seed))
        _, window = Crops((32, 32), (1.0, 1.0), True, 0.0).cut(lessons.image("a"), np.random.default_rng(seed))
        known = window.mask(lessons.mask("a")) == 2
        assert (told == np.where(known | (not foreground), 0, 255)).all()
        shares.append(known.mean())
    assert min(shares) < 0.3 < max(shares)


def test_true_background_is_left_out_of_lessons_where_a_learner_asks_for_it_and_its_numbers_say_so(
    tmp_path: Path,
) -> None:
    world = {"images": 2, "split": "val"}
    small = {"label_low": 0.0, "label_below": "ignored", "steps": 2, "batch": 2, "depth": 3, "decoder": 16, "crop": 32}
    asks = {"teacher": "M", "label_foreground": [False, True], "optimiser": "sgd", **small}
    methods = [
        {"name": "M", "use": "methods.maskclip:MaskCLIP", "with": {"model": "shapes"}},
        {"name": "Plus", "use": "methods.student:ShapesStudent", "with": asks},
    ]
    benchmark = {
        "name": "S",
        "use": "benchmarks.shapes:Shapes",
        "with": world,
        "train": {"split": "train", "images": 3},
    }
    grid = {"name": "g", "methods": methods, "benchmarks": [benchmark], "protocol": {"vocabulary": "all"}}
    (tmp_path / "grid.yaml").write_text(json.dumps(grid))
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    with (tmp_path / "runs" / "leaderboard.csv").open() as file:
        said = {line["variant"]: line["supervision"] for line in csv.DictReader(file) if line["method"] == "Plus"}
    assert said == {"label_foreground=false": "", "label_foreground=true": "true foreground"}
    maps: dict[bool, str] = {}
    for card in (tmp_path / "runs" / "artefacts").glob("*/card.json"):
        told = json.loads(card.read_text())
        knows = told["label_rule"].get("foreground", False)
        assert told["supervision"] == ("true foreground" if knows else "none")
        maps[knows] = told["teacher_run"]
    train = Shapes("train", images=3)
    for image_id in train.ids():
        plain, known = (
            np.asarray(Pictures.open(label_map_path(tmp_path / "runs", maps[knows], image_id)))
            for knows in (False, True)
        )
        truth = train.load(image_id).truth
        assert (plain != IGNORED).all() and np.array_equal(
            known, np.where(np.isin(truth, (0, IGNORED)), IGNORED, plain)
        )


def test_a_learned_background_and_a_left_out_one_do_not_go_together() -> None:
    with pytest.raises(MethodError, match="has none to teach: leave below at 'ignored'"):
        Student(teacher="T", label_foreground=True, label_below="background", label_low=0.5)


FORMER = {
    "label_low", "label_high", "label_scale", "label_below", "label_unsure", "encoder", "encoder_weights",
    "encoder_rate", "depth", "stride", "decoder", "dropout", "crop", "scale_low", "scale_high", "flip", "colours",
    "steps", "batch", "group", "optimiser", "learning_rate", "momentum", "weight_decay", "decay", "floor", "held_out",
    "validate_every", "precision", "head", "text_model", "pseudo", "seed",
}  # fmt: skip


@pytest.mark.parametrize("kind", [Student, ShapesStudent])
def test_students_of_before_keep_their_ids(kind: type[Student]) -> None:
    def settings(student: Student) -> dict[str, Any]:
        return dict(identity.facts(Recipe.of(f"methods.student:{kind.__name__}"), student)["settings"])

    assert settings(kind(teacher="T")).keys() == settings(kind(teacher="T", checkpoint_every=7)).keys() == FORMER
    other = settings(kind(teacher="T", rates=(6, 12, 18), test_flip=True))
    assert other.keys() - FORMER == {"rates", "test_flip"} and other["rates"] == (6, 12, 18)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rates": (6, 12)}, "to DeepLabV3. three"), ({"rates": (0,), "network": "deeplabv2"}, "from 1 on"),
        ({"warmup": 2000}, "fewer than the 2000 steps"), ({"ema": 1.0}, "from 0 to below 1"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0; give more than 0.0, or null"), ({"short_side": 8}, "more than 31"),
        ({"checkpoint_every": 0}, "more than 0"), ({"test_scales": ()}, "one or more above 0"),
        ({"network": "unet"}, "'deeplabv3.' or 'deeplabv2'"),
    ],
)  # fmt: skip
def test_recipes_that_make_no_sense_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        Student(teacher="T", **change)


def test_one_fit_serves_all_ways_to_look_at_a_scored_image(tmp_path: Path) -> None:
    drawn = {"use": "benchmarks.shapes:Shapes", "with": {"images": 2}, "train": {"split": "train", "images": 3}}
    shapes = {"teacher": "M", "test_flip": [False, True], "short_side": [None, 80]}
    methods = [
        {"name": "M", "use": "methods.maskclip:MaskCLIP", "with": {"model": "shapes"}},
        {"name": "Plus", "use": "methods.student:ShapesStudent", "with": shapes},
    ]
    (tmp_path / "grid.yaml").write_text(
        json.dumps({"name": "views", "methods": methods, "benchmarks": [{**drawn, "name": "S"}]})
    )
    answer = door("grid.yaml", "--plan", "--json", cwd=tmp_path)
    steps = json.loads(answer.stdout)["steps"]
    fits = {step["id"] for step in steps if step["step"] == "fit"}
    scores = [step for step in steps if step["step"] == "score" and step["method"] == "Plus"]
    assert len(fits) == 2 and len({step["id"] for step in scores}) == 4
    assert sorted(needed for step in scores for needed in step["needs"]) == sorted([*fits, *fits])
