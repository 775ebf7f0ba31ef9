"""Every learner under every background rule and vocabulary on a small world; docs/learning.md says what comes out.

A cell is fitted and decided by the harness's own code. Masks that are equal are learned from once.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import door
from numpy.typing import NDArray
from patches import LayerNetwork
from toy_chain import CHAIN

from harness.contracts import (
    WIDE_IGNORED,
    Labelling,
    ProtocolSettings,
    Reader,
    Recipe,
    Run,
    Sample,
    Vocabulary,
    narrowed,
)
from harness.learning.lessons import LessonBook, StoredLessons
from harness.protocol import presets
from harness.protocol.decision import checked_answer, nothing_offered, predict_views
from harness.protocol.given import checked_sample
from harness.protocol.offering import Offer, numbers_of, offer, scored_truth, tagged
from harness.protocol.views import queries, tiling
from harness.recipes import loading
from harness.work.lesson_masks import lesson, positions
from harness.work.passes import features_of
from methods.controls import RandomLabels
from methods.learned_stableseg import LearnedStableSeg
from methods.student import Student

ROOT = Path(__file__).parents[1]
CONTEXT = ("wall", "floor")
RULES = ("ignored", "class", "constant", "power", "hinge_power", "prompts", "prompts_constant")
VOCABULARIES = ("all", "present", "predicted")
PRESETS = ("voc21", "sclip_background")

SMALL: dict[str, Any] = {
    "teacher": "T", "encoder": "tu-resnet10t", "encoder_weights": None, "depth": 3, "stride": 8, "decoder": 16,
    "crop": 32, "scale_low": 0.8, "scale_high": 1.2, "colours": 0.0, "steps": 30, "batch": 4, "group": 2,
    "optimiser": "adamw", "learning_rate": 0.005, "validate_every": 0, "held_out": 0.0, "precision": "float32",
}  # fmt: skip


TAUGHT = Recipe.of("patches:Patches", split="train", images=10)
SCORED = Recipe.of("patches:Patches", images=5)
TEACHER, TAGGER = Recipe.of("patches:Hues"), Recipe.of("patches:Seen")
TAUGHT_BACKGROUND = {"label_low": 0.5, "label_below": "background"}
LEARNERS: dict[str, Any] = {
    "MaskCLIP+": Student(**SMALL, head="text", text_model="shapes", pseudo="same_crop"),
    "StableSeg+, StableSeg++": Student(**SMALL, **TAUGHT_BACKGROUND),
    "Weights": LearnedStableSeg(teacher="T", model="shapes", refine="none", steps=20, **TAUGHT_BACKGROUND),
}
REFUSED = {("Weights", "sclip_background")}


def protocol(rule: str, vocabulary: str) -> ProtocolSettings:
    """A preset, or a background rule with a vocabulary."""
    if rule in PRESETS:
        found = presets.preset(rule).settings
        return replace(found, names="own")  # the small world has no name sets
    context = CONTEXT if rule.startswith("prompts") else ()
    return ProtocolSettings(vocabulary, rule, context=context, tagger=tagger_of(vocabulary))


def tagger_of(vocabulary: str) -> Recipe | None:
    """The one that looks, or a file with what it saw of all images."""
    if vocabulary != "given":
        return TAGGER if vocabulary == "predicted" else None
    seen: dict[str, Any] = {}
    for world in map(opened, (TAUGHT, SCORED)):
        words = Vocabulary(tuple((name,) for name in world.classes))
        for one in world.ids():
            seen[one] = [words.words[place] for place in opened(TAGGER).tags(world.load(one).image, words)]
    (FOLDER[0] / "tags.json").write_text(json.dumps(seen))
    return Recipe.of("methods.tag_file:TagFile", file=str(FOLDER[0] / "tags.json"))


@dataclass
class Trial:
    """One learner under one protocol."""

    name: str
    rules: ProtocolSettings

    @property
    def learner(self) -> Any:
        return LEARNERS[self.name]

    def run_of(self, benchmark: Recipe) -> Run:
        return Run("run", "T", "", TEACHER, "W", benchmark, self.rules, purpose=Labelling(self.learner.rule))

    def offered(self, sample: Sample, names: tuple[tuple[str, ...], ...]) -> Offer:
        if self.rules.tagger is not None:
            found = tagged(opened(self.rules.tagger), sample.image, names, self.rules, sample.image_id)
            return offer(found, names, self.rules)
        return offer(numbers_of(sample.truth, len(names), self.rules), names, self.rules)

    def answers(self, method: Any, sample: Sample, offered: Offer) -> list[Any]:
        size = sample.truth.shape
        cut = tiling((size[0], size[1]), self.rules)
        shown = queries(sample.image_id, sample.image, offered.vocabulary, cut)
        answers = (answer(method, query) for query in shown)
        boxes = zip(answers, cut.boxes, strict=True)
        return [checked_answer(one, len(offered.numbers), (box.height, box.width)) for one, box in boxes]

    def fitted(self) -> Any:
        """The method that the learner becomes by the masks of its teacher."""
        run = self.run_of(TAUGHT)
        book = StoredLessons(LessonBook(run, {}))
        masks, gathered, rule = {}, {}, self.learner.rule
        for image_id in opened(TAUGHT).ids():
            sample = checked_sample(opened(TAUGHT).load(image_id), image_id, len(book.vocabulary))
            found, size = self.offered(sample, book.vocabulary.names), sample.truth.shape
            mask = np.full(size, WIDE_IGNORED, np.uint16)
            if found.tells_apart:
                given = self.answers(opened(TEACHER), sample, found)
                mask = lesson(given, tiling(size, self.rules), found, size, self.rules, rule)
            masks[image_id] = mask
            if hasattr(self.learner, "gather") and found.tells_apart:
                (query,) = queries(image_id, sample.image, found.vocabulary, tiling(size, self.rules))
                features = features_of(self.learner.passes(), [query], opened, lambda _: lambda call: call())[0]
                gathered[image_id] = self.learner.gather(features, found.vocabulary, positions(mask, found))
        return made(self.name, Told(book, masks, gathered))

    def scores(self) -> tuple[float, float, float]:
        """mIoU in percent of the learner, of random labels, and of background everywhere."""
        method, book = self.fitted(), StoredLessons(LessonBook(self.run_of(SCORED), {}))
        others: dict[str, NDArray[np.float64]] = {name: np.zeros((11, 11)) for name in ("learner", "random", "none")}
        for image_id in opened(SCORED).ids():
            sample = checked_sample(opened(SCORED).load(image_id), image_id, len(book.vocabulary))
            found, size = self.offered(sample, book.vocabulary.names), sample.truth.shape
            truth, nothing = scored_truth(sample.truth, self.rules), nothing_offered(size, self.rules)
            answers = dict.fromkeys(others, nothing)
            if found.tells_apart:
                for name, one in (("learner", method), ("random", RandomLabels(side=0))):
                    given = self.answers(one, sample, found)
                    answers[name] = predict_views(given, tiling(size, self.rules), found, size, self.rules)
            for name, one in answers.items():
                sure = truth != WIDE_IGNORED
                np.add.at(others[name], (truth[sure], np.minimum(one[sure], 10)), 1)
        learner, random, none = (miou(one, len(book.vocabulary)) for one in others.values())
        return learner, random, none


def miou(confusion: NDArray[np.float64], classes: int) -> float:
    """Of the classes that a truth or a prediction holds; the background is one where a truth holds it."""
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - confusion.diagonal()
    first = 0 if confusion[0].sum() else 1
    there = [number for number in range(first, min(classes + 1, len(union))) if union[number]]
    return float(100 * np.mean(confusion.diagonal()[there] / union[there]))


@cache
def opened(recipe: Recipe) -> Any:
    """What a recipe names; in place of a diffusion model a network that sees colours."""
    return LayerNetwork() if recipe.use == "methods.diffusion:Diffusion" else loading.build(recipe)


def answer(method: Any, query: Any) -> Any:
    if not isinstance(method, Reader):
        return method.segment(query.image, query.vocabulary)
    (features,) = features_of(method.passes(), [query], opened, lambda _: lambda call: call())
    return method.read(features, query.vocabulary)


@dataclass(frozen=True, eq=False)
class Told:
    """Lessons as the harness gives them, but for masks and what was gathered, which are at hand."""

    book: StoredLessons
    masks: Mapping[str, NDArray[np.uint16]]
    held: Mapping[str, Mapping[str, NDArray[Any]]]

    @property
    def image_ids(self) -> tuple[str, ...]:
        return tuple(sorted(self.masks))

    @property
    def vocabulary(self) -> Vocabulary:
        return self.book.vocabulary

    @property
    def background(self) -> bool:
        return self.book.background

    def image(self, image_id: str) -> Any:
        return self.book.image(image_id)

    def mask(self, image_id: str) -> Any:
        return narrowed(self.masks[image_id])

    def ask(self, image_id: str, image: Any) -> Any:
        return self.book.ask(image_id, image)

    def gathered(self, image_id: str) -> Mapping[str, NDArray[Any]]:
        return self.held.get(image_id, {})


MADE: dict[tuple[str, bool, bytes], Any] = {}


def made(name: str, told: Told) -> Any:
    """The learner fitted on lessons, once for all that hold the same masks."""
    content = b"".join(told.mask(image_id).tobytes() for image_id in told.image_ids)
    content += b"".join(array.tobytes() for one in told.held.values() for array in one.values())
    key = (name, told.background, content)
    if key not in MADE:
        folder = Path(tempfile.mkdtemp(dir=FOLDER[0]))
        (folder / "unfinished").mkdir()
        LEARNERS[name].fit(told, folder)
        MADE[key] = LEARNERS[name].fitted(folder)
    return MADE[key]


FOLDER: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def _places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    FOLDER[:] = [tmp_path_factory.mktemp("made")]
    yield
    MADE.clear()
    opened.cache_clear()


CELLS = [
    (name, rule, vocabulary) for name in LEARNERS for rule in (*RULES, *PRESETS)
    for vocabulary in (VOCABULARIES if rule in RULES else ("all",)) if (name, rule) not in REFUSED
]  # fmt: skip
CELLS += [(name, "constant", "given") for name in LEARNERS]


@pytest.mark.parametrize(("name", "rule", "vocabulary"), CELLS, ids=["-".join(cell) for cell in CELLS])
def test_a_learner_is_above_chance_and_above_background_alone(name: str, rule: str, vocabulary: str) -> None:
    rules = protocol(rule, vocabulary)
    learner, random, none = Trial(name, rules).scores()
    print(f"{name} {rule} {vocabulary}: {learner:.1f}, random {random:.1f}, background alone {none:.1f}")
    assert learner > max(random, none)


def test_the_page_shows_what_was_run() -> None:
    page = (ROOT / "docs" / "learning.md").read_text("utf-8").partition("## What goes with what")[2].partition("## ")[0]
    head, _, *rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    assert head[1:] == list(LEARNERS) and [row[0].strip("`") for row in rows] == [*RULES, *PRESETS]
    refused = {(name, row[0].strip("`")) for row in rows for name, cell in zip(head[1:], row[1:], strict=True)
               if cell.startswith("refused")}  # fmt: skip
    assert refused == REFUSED and all(f"`{one}`" in page for one in VOCABULARIES)


def test_what_learns_from_whole_images_is_refused_under_windows(tmp_path: Path) -> None:
    chain = CHAIN + "protocol: {preset: sclip_background, names: own, templates: ['a {}']}\n"
    (tmp_path / "grid.yaml").write_text(chain)
    answer = door("grid.yaml", "--plan", cwd=tmp_path)
    assert answer.returncode == 2
    assert "Gains on Boxes: it learns from maps of whole images, and the protocol cuts windows of 224" in answer.stderr
