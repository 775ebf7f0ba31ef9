"""The student: crops, what it learns, the scores that it offers, and settings and encoders that are refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_lessons import NAMES, SMALL, ColourLessons, folder_at, weights_of
from scipy.ndimage import maximum_filter, minimum_filter

from harness.contracts import IGNORED, WIDE_IGNORED, MethodError, ModelError, Truth, Vocabulary, widened
from methods.student.crops import Crops, in_imagenet_colours, padded
from methods.student.network import Shape, build_network


def test_crops_change_image_and_mask_alike(rng: np.random.Generator) -> None:
    labels = np.kron(rng.integers(1, 250, (6, 9)).astype(np.uint8), np.ones((16, 16), np.uint8))
    image = np.repeat(labels[..., None], 3, axis=2)
    for _ in range(20):
        crop, window = Crops((32, 48), (0.5, 2.0), True, 0.0).cut(image, rng)
        mask = window.mask(labels)
        inside = mask != IGNORED
        assert crop.shape == (32, 48, 3) and mask.shape == (32, 48) and inside.any()
        plain = minimum_filter(mask, 5, mode="constant") == maximum_filter(mask, 5, mode="constant")
        assert (plain & inside).any()  # bilinear and nearest differ near edges alone
        assert np.array_equal(crop[..., 0][plain & inside], mask[plain & inside])
        assert (crop[~inside] == 127).all()
    shown = padded(in_imagenet_colours(image))
    assert shown.shape == (3, 96, 144)
    assert shown[1, 95, 143] == pytest.approx((labels[95, 143] / 255 - 0.456) / 0.224, abs=1e-6)


def test_masks_of_16_bits_are_cropped_as_those_of_8(rng: np.random.Generator) -> None:
    mask = np.kron(rng.integers(1, 255, (6, 9)).astype(np.uint8), np.ones((16, 16), np.uint8))
    mask[rng.random(mask.shape) < 0.1] = IGNORED
    for seed in range(10):
        _, window = Crops((32, 48), (0.5, 2.0), True, 0.0).cut(np.zeros((*mask.shape, 3), np.uint8), rng)
        wide = window.mask(widened(mask))
        assert wide.dtype == np.uint16 and np.array_equal(wide, widened(window.mask(mask))), seed


@dataclass(frozen=True)
class Unsure(ColourLessons):
    """Masks of 255 alone, for all images or for all but the last."""

    spared: int = 0

    def mask(self, image_id: str) -> Truth:
        mask = super().mask(image_id)
        return mask if int(image_id[1:]) >= self.count - self.spared else np.full_like(mask, IGNORED)


def test_masks_that_say_nothing_are_refused_and_some_of_them_cost_nothing(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="None of the 8 pseudo masks has a pixel that the teacher is sure of"):
        SMALL.fit(Unsure(), folder_at(tmp_path / "none"))
    told = replace(SMALL, steps=2).fit(Unsure(spared=5), folder_at(tmp_path / "some"))
    assert np.isfinite(told["last"]["loss"]) and told["last"]["loss"] > 0


def test_a_class_that_never_appears_is_never_chosen(tmp_path: Path) -> None:
    lessons = ColourLessons(12, vocabulary=Vocabulary((*NAMES, ("pink",))))
    student = replace(SMALL, steps=30, colours=0.0, learning_rate=0.005, held_out=0.0)
    student.fit(lessons, folder_at(tmp_path / "fit"))
    scores = student.fitted(tmp_path / "fit").segment(lessons.image("i000"), lessons.vocabulary)
    assert bool(scores.isfinite().all()) and float((scores.argmax(dim=0) == 3).float().mean()) < 0.01


@dataclass(frozen=True)
class ManyLessons(ColourLessons):
    """Three hundred names; red, green and blue are numbers 255, 256 and 300."""

    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary(tuple((f"n{k}",) for k in range(1, 301))))

    def mask(self, image_id: str) -> Truth:
        return np.array([0, 255, 256, 300, WIDE_IGNORED], np.uint16)[np.minimum(super().mask(image_id), 4)]


def test_a_student_of_three_hundred_classes_learns_those_that_8_bits_cannot_number(tmp_path: Path) -> None:
    lessons = ManyLessons(12)
    told = replace(SMALL, steps=40, colours=0.0, learning_rate=0.005, validate_every=20).fit(
        lessons, folder_at(tmp_path / "fit")
    )
    assert told["last"]["validation_miou"] > 0.8
    trained, (left, right) = SMALL.fitted(tmp_path / "fit"), lessons._kinds("i000")
    names = tuple((f"n{number}",) for number in (255, 256, 300))
    labels = trained.segment(lessons.image("i000"), Vocabulary(names)).argmax(dim=0).numpy()
    assert (labels[:, :24] == left).mean() > 0.9 and (labels[:, 32:] == right).mean() > 0.9


@pytest.mark.parametrize("pseudo", ["stored", "same_crop"])
def test_a_student_learns_colours_and_offers_scores_by_name(tmp_path: Path, pseudo: str) -> None:
    student = replace(SMALL, steps=40, pseudo=pseudo, colours=0.0, learning_rate=0.005, validate_every=20)
    lessons = ColourLessons(16)
    told = student.fit(lessons, folder_at(tmp_path / "fit"))
    assert told["last"]["validation_miou"] > 0.8
    trained = student.fitted(tmp_path / "fit")
    image = lessons.image("i000")
    left, right = lessons._kinds("i000")
    offered = Vocabulary((NAMES[right], NAMES[left]))
    scores = trained.segment(image, offered)
    every = trained.segment(image, Vocabulary(NAMES))  # shares of all, whatever is offered
    assert tuple(scores.shape) == (2, 40, 56) and every.sum(dim=0).numpy() == pytest.approx(1.0, abs=1e-5)
    assert bool((scores == every[[right, left]]).all())
    alone = trained.segment(image, Vocabulary((NAMES[left],)))[0, 4:36].numpy()
    assert alone[:, 4:24].mean() > alone[:, 32:].mean() + 0.5
    labels = scores.argmax(dim=0).numpy()
    assert (labels[:, :24] == 1).mean() > 0.9 and (labels[:, 32:] == 0).mean() > 0.9
    with pytest.raises(MethodError, match="was offered 'pink', which its lessons did not hold; they held red, green"):
        trained.segment(image, Vocabulary((("pink",),)))


def test_a_learned_background_takes_part_in_the_probabilities(tmp_path: Path) -> None:
    lessons = ColourLessons(background=True)
    SMALL.fit(lessons, folder_at(tmp_path / "fit"))
    trained, image = SMALL.fitted(tmp_path / "fit"), lessons.image("i001")
    classes = trained.segment(image, Vocabulary(NAMES))
    both = trained.segment(image, Vocabulary((*NAMES, ("background",)), background=3))
    assert float(classes.sum(dim=0).max()) < 1.0
    assert both[:3].numpy() == pytest.approx(classes.numpy(), abs=1e-6)
    assert both.sum(dim=0).numpy() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("depth", "stride", "coarsest"), [(3, 8, 128), (4, 16, 256), (5, 8, 512)])
def test_depth_and_stride_are_those_of_the_network_that_is_opened(
    tmp_path: Path, depth: int, stride: int, coarsest: int
) -> None:
    """On an image of 40 x 56, filled up to 48 x 64, the encoder's last map has the sides and channels asked for."""
    student = replace(SMALL, encoder="tu-resnet10t", depth=depth, stride=stride, steps=1)
    student.fit(ColourLessons(), folder_at(tmp_path / "fit"))
    trained, image = student.fitted(tmp_path / "fit").trained, ColourLessons().image("i000")
    maps: list[Any] = []
    trained.network.get_submodule("encoder").register_forward_hook(lambda *given: maps.append(given[2][-1]))
    assert trained.scores(image, Vocabulary(NAMES)).shape == (3, 40, 56)
    assert maps[0].shape == (1, coarsest, 48 // stride, 64 // stride)


def test_the_head_of_texts_is_frozen(tmp_path: Path) -> None:
    student = replace(SMALL, head="text", text_model="shapes")
    lessons = ColourLessons(vocabulary=Vocabulary((("circle",), ("square",), ("star",))))
    student.fit(lessons, folder_at(tmp_path / "fit"))
    from methods.student.network import text_vectors

    held = weights_of(tmp_path / "fit")["segmentation_head.0.texts"]
    vectors = text_vectors("shapes", lessons.vocabulary.names, lessons.vocabulary.templates).numpy()
    assert np.array_equal(held, vectors) and np.linalg.norm(held, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert student.fitted(tmp_path / "fit").segment(lessons.image("i000"), lessons.vocabulary).shape[0] == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch": 3, "group": 2}, "multiple of the group"), ({"part": 2}, "leave the group at the whole batch"),
        ({"part": 3, "group": None}, "part is 3, batch 4, group 4: give a part of which the batch is a multiple"),
        ({"group": 1}, "groups of 2 or more"),
        ({"crop": 50}, "multiple of 16"), ({"decay": "linear"}, "'poly' or 'cosine'"),
        ({"head": "text"}, "needs a text_model"), ({"label_below": "dark"}, "'ignored' or 'background'"),
        ({"held_out": 0.99}, r"held_out is 0\.99; give a share from 0 to 0\.5"),
        ({"depth": 6}, "depth can be 3, 4 or 5"),
        ({"stride": 32}, "stride 8 or 16"), ({"learning_rate": -1.0}, r"learning_rate is -1\.0; give above 0"),
        ({"learning_rate": 0.0}, "give above 0"), ({"momentum": 5.0}, r"momentum is 5\.0; give from 0 to below 1"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; give 0"), ({"colours": -1.0}, "give a share from 0 to 1"),
        ({"decoder": 0}, "decoder is 0; give 1 or more"), ({"dropout": 2.0}, "give a share from 0 to below 1"),
        ({"floor": 1.5}, "floor is 1.5; give a share from 0 to 1"), ({"encoder_rate": -1.0}, "give 0 or more"),
        ({"validate_every": -1}, "give 0 for never, or more"), ({"seed": -1}, "seed is -1; give 0 or more"),
        ({"scale_low": 0.0}, "scales go from above 0 upwards"), ({"colours": math.nan}, "colours is nan"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        replace(SMALL, **change)


@pytest.mark.parametrize("weights", [None, "imagenet"])
@pytest.mark.parametrize(
    ("encoder", "reason"), [("resnet19", "Wrong encoder name"), ("tu-resnet19", "Unknown"), ("densenet121", "dilated")]
)
def test_an_encoder_that_cannot_be_made_is_said(
    monkeypatch: pytest.MonkeyPatch, encoder: str, weights: str | None, reason: str
) -> None:
    """Also where its weights would be asked for first, and there is no network."""
    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", _offline)
    with pytest.raises(ModelError, match=f"no encoder '{encoder}' of 5 stages at stride 16: .*{reason}"):
        build_network(Shape(encoder, 16, 0.1, 3), weights)


@pytest.mark.parametrize(("weights", "reason"), [("imagenet", "OSError: no network"), ("moon", "Available options")])
def test_weights_that_cannot_be_had_are_said(monkeypatch: pytest.MonkeyPatch, weights: str, reason: str) -> None:
    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", _offline)
    told = f"'{weights}' weights of the encoder 'resnet18' cannot be had .*{reason}.*encoder_weights: null"
    with pytest.raises(ModelError, match=told):
        build_network(Shape("resnet18", 16, 0.1, 3), weights)


def test_no_artefact_is_said(tmp_path: Path) -> None:
    folder_at(tmp_path / "none")
    with pytest.raises(ModelError, match="cannot be opened"):
        SMALL.fitted(tmp_path / "none").segment(np.zeros((32, 32, 3), np.uint8), Vocabulary(NAMES))


def _offline(*_: Any, **__: Any) -> None:
    raise OSError("no network")
