"""The student: crops, a training that resumes to the same bits and learns, and the scores that it offers."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
from in_process import as_it_was
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from harness.contracts import IGNORED, WIDE_IGNORED, Image, MethodError, ModelError, Truth, Vocabulary, widened
from harness.contracts.checkpoint import read_checkpoint, write_checkpoint
from methods.student import Student
from methods.student.crops import Crops, in_imagenet_colours, padded
from methods.student.network import Shape, build_network

NAMES = (("red",), ("green", "lime"), ("blue",))
SMALL = Student(
    teacher="nobody", encoder="tu-resnet10t", encoder_weights=None, depth=3, stride=8, decoder=16, crop=32,
    scale_low=0.8, scale_high=1.2, steps=4, batch=4, group=2, optimiser="adamw", learning_rate=0.002, validate_every=2,
    held_out=0.25, seed=3,
)  # fmt: skip


@dataclass(frozen=True)
class ColourLessons:
    """Halves of two colours; the mask says which, and 255 in the first column. Fulfils Lessons."""

    count: int = 8
    background: bool = False
    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary(NAMES))

    @property
    def image_ids(self) -> Sequence[str]:
        return tuple(f"i{number:03d}" for number in range(self.count))

    def _kinds(self, image_id: str) -> NDArray[np.int64]:
        return np.random.default_rng(int(image_id[1:])).permutation(3)[:2]

    def image(self, image_id: str) -> Image:
        image = np.full((40, 56, 3), 30, np.uint8)
        left, right = self._kinds(image_id)
        image[:, :28, left] = 220
        image[:, 28:, right] = 220
        return image

    def mask(self, image_id: str) -> Truth:
        left, right = self._kinds(image_id)
        mask = np.full((40, 56), left + 1, np.uint8)
        mask[:, 28:] = right + 1
        mask[:, 0] = IGNORED
        mask[0] = 0
        return mask

    def ask(self, image_id: str, image: Image) -> Truth:
        """The brightest channel of every pixel: only right when it is really given the changed crop."""
        return (image.argmax(axis=2) + 1).astype(np.uint8)

    def gathered(self, image_id: str) -> Mapping[str, NDArray[Any]]:
        raise AssertionError("a student gathers nothing")


def weights_of(folder: Path) -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load_file

    return load_file(folder / "weights.safetensors")


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
        SMALL.fit(Unsure(), _folder(tmp_path / "none"))
    told = replace(SMALL, steps=2).fit(Unsure(spared=5), _folder(tmp_path / "some"))
    assert np.isfinite(told["last"]["loss"]) and told["last"]["loss"] > 0


def test_a_class_that_never_appears_is_never_chosen(tmp_path: Path) -> None:
    lessons = ColourLessons(12, vocabulary=Vocabulary((*NAMES, ("pink",))))
    student = replace(SMALL, steps=30, colours=0.0, learning_rate=0.005, held_out=0.0)
    student.fit(lessons, _folder(tmp_path / "fit"))
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
        lessons, _folder(tmp_path / "fit")
    )
    assert told["last"]["validation_miou"] > 0.8
    trained, (left, right) = SMALL.fitted(tmp_path / "fit"), lessons._kinds("i000")
    names = tuple((f"n{number}",) for number in (255, 256, 300))
    labels = trained.segment(lessons.image("i000"), Vocabulary(names)).argmax(dim=0).numpy()
    assert (labels[:, :24] == left).mean() > 0.9 and (labels[:, 32:] == right).mean() > 0.9


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path, broken_off: Path) -> None:
    SMALL.fit(ColourLessons(), whole := _folder(tmp_path / "whole"))
    shutil.copytree(broken_off, halves := tmp_path / "halves" / "fit")
    assert (halves / "unfinished" / "checkpoint.pt").exists() and not (halves / "weights.safetensors").exists()
    SMALL.fit(ColourLessons(), halves)
    one, other = weights_of(whole), weights_of(halves)
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    curve = (halves / "curve.jsonl").read_text()
    steps_told = [json.loads(line)["step"] for line in curve.splitlines()]
    assert steps_told == sorted(steps_told) and set(steps_told) == {1, 2, 3, 4} and "notice" not in curve


@pytest.mark.parametrize("shared", [{"group": 2}, {"group": None, "part": 2, "dropout": 0.5}], ids=["groups", "parts"])
def test_workers_change_no_bit(tmp_path: Path, shared: dict[str, Any]) -> None:
    """Two workers learn what one learns, from three groups or from three parts with their statistics in common."""
    one, two = (weights_of(shared_by(count, tmp_path, shared)) for count in (1, 2))
    assert one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def test_gpus_that_share_a_batch_learn_what_one_learns(tmp_path: Path) -> None:
    """The way that is taken on GPUs, by two processes on CPUs: each has what it has in one go. Up to rounding."""
    change = {"group": None, "batch": 5, "dropout": 0.5, "optimiser": "sgd"}
    one, two = (weights_of(shared_by(count, tmp_path, change, on_gpu=True)) for count in (1, 2))
    for name in one:
        assert two[name] == pytest.approx(one[name], abs=2e-5), name
    plain = weights_of(shared_by(1, tmp_path / "plain", {**change, "group": 5}))
    assert any(np.abs(one[name] - plain[name]).max() > 1e-3 for name in one)  # other draws are seen


def shared_by(count: int, folder: Path, change: dict[str, Any], on_gpu: bool = False) -> Path:
    """Where so many workers, joined as by Ray Train, leave one fit."""
    folder = _folder(folder / f"by {count}")
    meeting = str(folder / "meeting")
    with as_it_was(folder):
        other = forked.start(folder, _work, 1, 2, meeting, str(folder), change, on_gpu) if count == 2 else None
        try:
            _work(0, count, meeting, str(folder), change, on_gpu)
        finally:
            if other is not None:
                other.join()
    assert other is None or other.exitcode == 0
    return folder


def _work(rank: int, count: int, meeting: str, folder: str, change: dict[str, Any], on_gpu: bool) -> None:
    import torch
    import torch.distributed as workers

    from methods.student import training as student_training

    torch.set_num_threads(count)  # the fit has a number, and convolutions, of its own
    torch.backends.mkldnn.set_flags(count == 2)
    real = student_training._parted
    workers.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(student_training, "_parted", lambda course, gpu, *place: real(course, gpu or on_gpu, *place))
        replace(SMALL, **{"batch": 6, "steps": 3, **change}).fit(ColourLessons(), Path(folder))
    workers.destroy_process_group()


def test_groups_are_added_up_in_their_order() -> None:
    """In single precision, where another order gives another sum."""
    import torch

    from methods.student.workers import summed

    rows = [torch.tensor([value, 1.0], dtype=torch.float32) for value in (1e8, 1.0, -1e8, 1.0)]
    assert summed(rows, 4, 0, 1).tolist() == [1.0, 4.0]  # 1e8 + 1 is 1e8


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of four steps, broken off before the last one."""
    from methods.student import training as student_training

    steps, real = [0], student_training._step

    def dies(*given: Any) -> float:
        steps[0] += 1
        if steps[0] == 4:
            raise KeyboardInterrupt
        return real(*given)

    folder = _folder(tmp_path_factory.mktemp("broken") / "fit")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(student_training, "_step", dies)
        SMALL.fit(ColourLessons(), folder)
    return folder


def _unfit_for_use(checkpoint: Path, how: str) -> str:
    """Make a checkpoint useless in one way; what is said of it."""
    import torch

    content = checkpoint.read_bytes()
    place = len(content) // 2
    flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    damages = {"bit": flipped, "cut": content[:-1], "empty": b"", "of before": content[content.index(b"PK") :]}
    if how in damages:
        checkpoint.write_bytes(damages[how])
        return "is damaged: its bytes are not those that were written"
    if how == "another's":
        (other := checkpoint.parents[2] / "other" / "unfinished").mkdir(parents=True)
        write_checkpoint(other / "checkpoint.pt", read_checkpoint(checkpoint) or b"")
        shutil.copy(other / "checkpoint.pt", checkpoint)
        return "is of another fit, other"
    if how == "a folder":
        checkpoint.unlink()
        (checkpoint / "within").mkdir(parents=True)
        return "cannot be read (Is a directory)"
    held = torch.load(io.BytesIO(read_checkpoint(checkpoint) or b""), weights_only=True)
    torch.save({**held, "step": 5} if how == "too far" else {"weights": 1}, anew := io.BytesIO())
    write_checkpoint(checkpoint, anew.getvalue())
    return "is at step 5 of 4" if how == "too far" else "holds no state of a training (KeyError)"


@pytest.mark.parametrize(
    "damage", ["bit", "cut", "empty", "of before", "another's", "a folder", "too far", "of another learner"]
)
def test_a_broken_checkpoint_means_beginning_anew_and_is_said(tmp_path: Path, broken_off: Path, damage: str) -> None:
    shutil.copytree(broken_off, tmp_path / "fit")
    checkpoint = tmp_path / "fit" / "unfinished" / "checkpoint.pt"
    said = _unfit_for_use(checkpoint, damage)
    SMALL.fit(ColourLessons(), tmp_path / "fit")
    SMALL.fit(ColourLessons(), _folder(tmp_path / "whole"))
    one, other = weights_of(tmp_path / "fit"), weights_of(tmp_path / "whole")
    assert all(np.array_equal(one[name], other[name]) for name in one)
    first, *rest = map(json.loads, (tmp_path / "fit" / "curve.jsonl").read_text().splitlines())
    assert first["notice"] == f"begins anew, because its checkpoint {checkpoint} {said}"
    assert {line["step"] for line in rest} == {1, 2, 3, 4} and not any("notice" in line for line in rest)


@pytest.mark.parametrize("pseudo", ["stored", "same_crop"])
def test_a_student_learns_colours_and_offers_scores_by_name(tmp_path: Path, pseudo: str) -> None:
    student = replace(SMALL, steps=40, pseudo=pseudo, colours=0.0, learning_rate=0.005, validate_every=20)
    lessons = ColourLessons(16)
    told = student.fit(lessons, _folder(tmp_path / "fit"))
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
    SMALL.fit(lessons, _folder(tmp_path / "fit"))
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
    student.fit(ColourLessons(), _folder(tmp_path / "fit"))
    trained, image = student.fitted(tmp_path / "fit").trained, ColourLessons().image("i000")
    maps: list[Any] = []
    trained.network.get_submodule("encoder").register_forward_hook(lambda *given: maps.append(given[2][-1]))
    assert trained.scores(image, Vocabulary(NAMES)).shape == (3, 40, 56)
    assert maps[0].shape == (1, coarsest, 48 // stride, 64 // stride)


def test_the_head_of_texts_is_frozen(tmp_path: Path) -> None:
    student = replace(SMALL, head="text", text_model="shapes")
    lessons = ColourLessons(vocabulary=Vocabulary((("circle",), ("square",), ("star",))))
    student.fit(lessons, _folder(tmp_path / "fit"))
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
    _folder(tmp_path / "none")
    with pytest.raises(ModelError, match="cannot be opened"):
        SMALL.fitted(tmp_path / "none").segment(np.zeros((32, 32, 3), np.uint8), Vocabulary(NAMES))


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def _offline(*_: Any, **__: Any) -> None:
    raise OSError("no network")
