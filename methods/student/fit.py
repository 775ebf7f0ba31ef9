"""Lessons and a student's settings flow in; an artefact (weights.safetensors, student.json) flows out and is opened."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.contracts import BACKGROUND, IGNORED, Image, Lessons, MethodError, ModelError, Truth, Vocabulary
from methods.student import network as networks
from methods.student.course import Course
from methods.student.crops import Crops, unsure
from methods.student.network import Shape
from methods.student.progress import resumed_from
from methods.student.settings import StudentSettings
from methods.student.training import train_student
from methods.student.views import ONE_VIEW, Views
from methods.student.workers import THREADS

CACHE_BYTES = 2 * 2**30  # of lessons that are kept decoded


def fit_student(student: StudentSettings, lessons: Lessons, folder: Path) -> Mapping[str, Any]:
    """Train as torch.distributed says, or alone; rank 0 writes the artefact.

    The process may have computed before, or be a fresh one: threads and convolutions are those of every fit.
    """
    threads, onednn = torch.get_num_threads(), torch.backends.mkldnn.enabled
    torch.set_num_threads(THREADS)
    torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]
    try:
        return _fit(student, lessons, folder)
    finally:
        torch.set_num_threads(threads)
        torch.backends.mkldnn.set_flags(onednn)  # type: ignore[no-untyped-call]


def _fit(student: StudentSettings, lessons: Lessons, folder: Path) -> Mapping[str, Any]:
    rank, world = _place()
    shape, since = _shape(student, lessons), resumed_from(folder, student.steps)
    torch.manual_seed(student.seed)
    network = networks.build_network(shape, None if since.state else student.encoder_weights)
    if shape.text is not None and student.text_model is not None:
        names = lessons.vocabulary.names
        networks.set_texts(network, networks.text_vectors(student.text_model, names, lessons.vocabulary.templates))
    where = networks.device()
    curve = train_student(network.to(where), _course(student), _Cache(student, lessons), folder, rank, world, since)
    if rank == 0:
        outputs = {"classes": list(lessons.vocabulary.words), "background": _has_background(lessons)}
        (folder / "student.json").write_text(json.dumps({"shape": asdict(shape), **outputs}), encoding="utf-8")
        save_file({name: one.cpu().contiguous() for name, one in network.state_dict().items()},
                  folder / "weights.safetensors")  # fmt: skip
    told = [line for line in curve if "loss" in line][-1:] + [line for line in curve if "validation_miou" in line][-1:]
    last = {key: value for line in told for key, value in line.items() if key not in ("step", "steps")}
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    return {"device": name, "workers": world, "last": last}


@dataclass(frozen=True, eq=False)
class Trained:
    """A network in evaluation. classes: what its outputs are, in order; after them the background, if it was taught."""

    network: nn.Module
    classes: tuple[str, ...]
    background: bool
    views: Views = ONE_VIEW

    @classmethod
    def open(cls, folder: Path, views: Views = ONE_VIEW) -> Trained:
        """The artefact in a folder; ModelError when it is not one."""
        try:
            held = json.loads((folder / "student.json").read_text(encoding="utf-8"))
            network = networks.build_network(Shape(**held["shape"]))
            network.load_state_dict(load_file(folder / "weights.safetensors"))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as problem:
            raise ModelError(f"The trained student in {folder} cannot be opened: {problem}.") from problem
        network = network.to(networks.device()).eval().requires_grad_(False)
        return cls(network, tuple(held["classes"]), bool(held["background"]), views)

    def scores(self, image: Image, vocabulary: Vocabulary) -> Tensor:
        """Probabilities (positions, height, width), of the background too where it is offered: the mean of all views.

        Where the background was taught: among it and the classes offered. Context words all stand for it; the first
        one has its probability and the others 0. Where it was not: among all classes of the lessons, so that a class
        offered alone has a map as well, by which a threshold can tell where it is.
        """
        behind = [place for place in (vocabulary.background, *vocabulary.context) if place is not None]
        places = [place for place in range(len(vocabulary)) if place not in behind]
        chosen = [self._output(vocabulary.names[place]) for place in places]
        if behind and not self.background:
            raise self._unknown("the background")
        answers = self.views.logits(self.network, image)
        if not self.background:
            return _mean(answer.softmax(dim=0)[chosen] for answer in answers)
        shares = _mean(answer[[*chosen, len(self.classes)]].softmax(dim=0) for answer in answers)
        scores = shares.new_zeros((len(vocabulary), *shares.shape[1:]))
        scores[places] = shares[:-1]
        scores[behind[:1]] = shares[-1]
        return scores

    def _output(self, words: Sequence[str]) -> int:
        if words[0] in self.classes:
            return self.classes.index(words[0])
        raise self._unknown(repr(words[0]))

    def _unknown(self, asked: str) -> MethodError:
        return MethodError(
            f"The student was offered {asked}, which its lessons did not hold; they held {', '.join(self.classes)}"
            f"{' and the background' if self.background else ''}."
        )


def _mean(shares: Iterable[Tensor]) -> Tensor:
    total, *others = shares
    for count, one in enumerate(others, start=2):
        total = total + (one - total) / count
    return total


class _Cache:
    """Lessons as material for a training: decoded once as long as they fit into memory, masks as numbers of outputs."""

    def __init__(self, student: StudentSettings, lessons: Lessons) -> None:
        self._lessons, self._asks = lessons, student.pseudo == "same_crop"
        self._foreground = student.label_foreground
        side = (student.crop, student.crop)
        self._crops = Crops(side, (student.scale_low, student.scale_high), student.flip, student.colours, student.shown)
        order = np.random.default_rng([student.seed, 0]).permutation(len(lessons.image_ids))
        held = round(student.held_out * len(order))
        if held == len(order):
            raise MethodError(f"There are {len(order)} lessons, all held out for validation: give more images.")
        self._train, self.held_out = order[held:].tolist(), tuple(range(-held, 0))
        self._held = order[:held].tolist()
        self._outputs = _outputs(len(lessons.vocabulary), _has_background(lessons))
        if all(self._teaches_nothing(lessons.mask(image_id)) for image_id in lessons.image_ids):
            raise MethodError(
                f"None of the {len(order)} pseudo masks has a pixel that the teacher is sure of: choose another label "
                "rule, or another teacher."
            )
        self._kept: dict[int, tuple[Image, Truth]] = {}
        self._bytes = 0

    def _teaches_nothing(self, mask: Truth) -> bool:
        told = self._outputs[mask]
        return bool((told == unsure(told)).all())

    @cached_property
    def count(self) -> int:
        """How many lessons are trained on."""
        return len(self._train)

    def crop(self, lesson: int, rng: np.random.Generator) -> tuple[Image, Truth]:
        """A changed crop of a lesson, and of its mask, or what the teacher says of the crop itself."""
        place = self._train[lesson]
        image, mask = self._read(place)
        crop, window = self._crops.cut(image, rng)
        if self._asks:
            told = self._outputs[self._lessons.ask(self._lessons.image_ids[place], crop)]
            told[window.of(np.zeros(window.sides, np.uint8), 1).astype(bool)] = unsure(told)  # outside of the image
            if self._foreground:  # what was left out of the stored mask, which has seen the truth
                left_out = window.mask(mask)
                told[left_out == unsure(left_out)] = unsure(told)
            return crop, told
        return crop, window.mask(mask)

    def whole(self, lesson: int) -> tuple[Image, Truth]:
        """A held-out lesson at scale 1 (they are numbered from the end: -1, -2 ...)."""
        image, mask = self._read(self._held[lesson])
        return self._crops.shown.at_scale(image), self._crops.shown.mask(mask)

    def _read(self, place: int) -> tuple[Image, Truth]:
        if place in self._kept:
            return self._kept[place]
        image_id = self._lessons.image_ids[place]
        pair = self._lessons.image(image_id), self._outputs[self._lessons.mask(image_id)]
        if self._bytes < CACHE_BYTES:
            self._kept[place] = pair
            self._bytes += pair[0].nbytes + pair[1].nbytes
        return pair


def _outputs(classes: int, background: bool) -> Truth:
    """Number in a truth -> output of the network: class k is output k - 1, the background comes last or is left out."""
    kind = np.uint8 if classes < IGNORED else np.uint16  # as lessons are given
    table: Truth = np.full(np.iinfo(kind).max + 1, np.iinfo(kind).max, kind)
    table[1 : classes + 1] = np.arange(classes)
    if background:
        table[BACKGROUND] = classes
    return table


def _has_background(lessons: Lessons) -> bool:
    return lessons.background


def _shape(student: StudentSettings, lessons: Lessons) -> Shape:
    named = len(lessons.vocabulary)
    outputs = named + int(_has_background(lessons))
    text = _text_width(student, lessons) if student.text_model is not None else None
    return Shape(
        student.encoder, student.decoder, student.dropout, classes=outputs, text=text, named=named if text else 0,
        depth=student.depth, stride=student.stride, network=student.network, rates=student.rates,
    )  # fmt: skip


def _text_width(student: StudentSettings, lessons: Lessons) -> int:
    assert student.text_model is not None
    first = networks.text_vectors(student.text_model, lessons.vocabulary.names[:1], lessons.vocabulary.templates)
    return int(first.shape[1])


def _course(student: StudentSettings) -> Course:
    said = {one.name: getattr(student, one.name) for one in fields(Course) if one.name != "group"}
    return Course(group=student.grouped, **said)


def _place() -> tuple[int, int]:
    """Rank and number of workers."""
    import torch.distributed as workers

    together = workers.is_available() and workers.is_initialized()
    return (workers.get_rank(), workers.get_world_size()) if together else (0, 1)
