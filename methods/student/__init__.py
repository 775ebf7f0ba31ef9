"""A teacher's pseudo masks flow in; a DeepLab that was trained on them flows out: StableSeg+, MaskCLIP+.

The network and its training (methods.student.fit) are imported when a fit begins or an image comes: no torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import Image, Lessons, Scores, Vocabulary
from methods import checkpoints, library_weights
from methods.student.crops import AS_IT_IS, Sides
from methods.student.settings import StudentSettings
from methods.student.size import weights_bytes

if TYPE_CHECKING:
    from methods.student.fit import Trained


@dataclass(frozen=True, kw_only=True)
class Student(StudentSettings):
    """A DeepLab trained on image and pseudo mask, never on truth; it tells all classes of its benchmark apart."""

    @property
    def workers(self) -> int:
        """How many workers on CPUs can share one fit."""
        return self.batch // (self.part or self.grouped)

    @property
    def gpus(self) -> int:
        """How many GPUs can share one fit: as many as a batch has images, where its statistics are those of all."""
        return self.batch if self.grouped == self.batch and self.part is None else self.workers

    @property
    def crops(self) -> int:
        """How many a fit trains on."""
        return self.steps * self.batch

    @property
    def asks(self) -> int:
        """How many of them the teacher is asked about."""
        return self.crops if self.pseudo == "same_crop" else 0

    def artefact_bytes(self, names: int) -> int | None:
        """Of a student that tells so many classes, and the background, apart; None where it is not known."""
        rates = len(self.rates or ((0,) * (4 if self.network == "deeplabv2" else 3)))
        form = self.encoder, self.depth, self.network, self.decoder, rates
        return weights_bytes(*form, outputs=names + 1, text=self.text_model is not None)

    def models_to_fetch(self) -> Sequence[str]:
        """The encoder's weights and the CLIP of a head of text, if they are not on this machine."""
        texts = () if self.text_model is None else checkpoints.model_to_fetch(self.text_model, "clip")
        if self.encoder_weights is None:
            return texts
        name = self.encoder.removeprefix("tu-")
        of_timm, of_library = f"timm/{name}*", f"smp-hub/{name}.{self.encoder_weights}"
        weights = f"{self.encoder_weights} weights of the encoder {self.encoder}"
        return (*library_weights.weights_to_fetch(weights, of_timm if name != self.encoder else of_library), *texts)

    def fit(self, lessons: Lessons, folder: Path) -> Mapping[str, Any]:
        """Train, alone or as one worker of several; what is told of it."""
        from methods.student.fit import fit_student

        return fit_student(self, lessons, folder)

    def fitted(self, folder: Path) -> TrainedStudent:
        """The method that the artefact in a folder is."""
        return TrainedStudent(folder, self.shown, self.test_scales, self.test_flip)


@dataclass(frozen=True, kw_only=True)
class ShapesStudent(Student):
    """Defaults for the shipped world of Shapes: from nothing, small, minutes on two cores.

    The label rule makes what the teacher's scaled scores leave below a half background, which the network learns too.
    """

    label_low: float = 0.5
    label_below: str = "background"
    encoder: str = "tu-resnet10t"  # of timm, its smallest ResNet, without the last stage
    encoder_weights: str | None = None
    depth: int = 4
    stride: int = 8
    decoder: int = 64
    dropout: float = 0.1
    crop: int = 64
    scale_low: float = 0.55
    scale_high: float = 0.9
    colours: float = 0.1
    steps: int = 800
    batch: int = 8
    optimiser: str = "adamw"
    learning_rate: float = 0.002
    weight_decay: float = 1e-4
    decay: str = "cosine"
    held_out: float = 0.03


@dataclass(frozen=True)
class TrainedStudent:
    """Scores are probabilities of the offered classes (and the learned background), at the image's own size.

    shown, scales, flip: how it looks at an image, see methods.student.views.
    """

    folder: Path
    shown: Sides = AS_IT_IS
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def segment(self, image: Image, vocabulary: Vocabulary) -> Scores:
        """(positions, height, width) float32. MethodError for a class that was not among the lessons."""
        return self.trained.scores(image, vocabulary)

    def open_models(self) -> Sequence[str]:
        """Open the network; there is nothing to be said of it."""
        _ = self.trained
        return ()

    @cached_property
    def trained(self) -> Trained:
        """The opened network, on the GPU when there is one."""
        from methods.student.fit import Trained
        from methods.student.views import Views

        return Trained.open(self.folder, Views(self.shown, self.scales, self.flip))
