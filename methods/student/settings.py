"""What a grid says of a student flows in; its settings flow out, checked."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from harness.contracts import MethodError
from methods.student.crops import Sides
from methods.taught import Taught

ABOVE_0, BELOW_1, LARGEST = math.nextafter(0.0, 1.0), math.nextafter(1.0, 0.0), 2.0**63
CHOICES = {
    "network": ("deeplabv3+", "deeplabv2"),
    "optimiser": ("sgd", "adamw"),
    "decay": ("poly", "cosine"),
    "head": ("classifier", "text"),
    "pseudo": ("stored", "same_crop"),
    "precision": ("auto", "float32"),
}
BOUNDS: Mapping[str, tuple[float, float, str]] = {  # the least and the largest value, and the two in words
    "learning_rate": (ABOVE_0, LARGEST, "above 0"), "encoder_rate": (0.0, LARGEST, "0 or more"),
    "momentum": (0.0, BELOW_1, "from 0 to below 1"), "weight_decay": (0.0, LARGEST, "0 or more"),
    "floor": (0.0, 1.0, "a share from 0 to 1"), "dropout": (0.0, BELOW_1, "a share from 0 to below 1"),
    "colours": (0.0, 1.0, "a share from 0 to 1"), "decoder": (1, LARGEST, "1 or more"),
    "held_out": (0.0, 0.5, "a share from 0 to 0.5, since what is held out teaches nothing"),
    "validate_every": (0, LARGEST, "0 for never, or more"), "seed": (0, LARGEST, "0 or more"),
}  # fmt: skip
AS_BEFORE: Mapping[str, object] = {  # settings that came when students were trained already, as those were trained
    "network": "deeplabv3+", "rates": None, "short_side": None, "long_side": None, "clip_norm": None, "warmup": 0,
    "ema": 0.0, "test_scales": (1.0,), "test_flip": False, "part": None,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StudentSettings(Taught):
    """How a DeepLab is trained on images and pseudo masks.

    Length and optimiser default to those of MaskCLIP+'s annotation-free recipe (SGD .01, momentum .9, weight decay
    5e-4, poly to 1 %, 2000 steps of 4, scale 0.5 to 2, mirror, colours); the poster tells none.
    encoder: a name of segmentation_models_pytorch; encoder_weights: `imagenet`, fetched once, or null; encoder_rate:
    factor on its learning rate; depth: its stages (3 to 5); stride: how many times smaller than the image its last map
    is (8 or 16). decoder: channels. crop: side in pixels. colours: share by which brightness, contrast
    and saturation change. group: images whose statistics are taken together (2 or more; null: the batch); a step adds
    up its batch / group of them. Several groups are shared out to CPUs or GPUs, one that is the whole batch to GPUs.
    momentum: AdamW's first beta too. held_out: share of the lessons that only validates, against their pseudo masks,
    every `validate_every` steps. precision: `auto` is bfloat16 on a GPU.
    head: `text` ends in frozen text vectors of the CLIP `text_model`, as MaskCLIP+ does. pseudo: `same_crop` asks the
    teacher about every changed crop, as MaskCLIP+ does, in place of its stored label maps.

    What follows came later, and is in no id as it is by default:
    network: `deeplabv2` sums parallel dilated convolutions (methods.student.deeplabv2), MaskCLIP+'s. rates: of the
    dilated convolutions; null is 12, 24, 36 (three of DeepLabV3+, made for stride 8; its paper takes 6, 12, 18 at
    stride 16) or 6, 12, 18, 24 (DeepLabV2). A rate as large as the map reaches nothing but its own pixel.
    short_side, long_side: what an image has at scale 1, in training and when it is scored, at most both and one of
    them (mmsegmentation's img_scale; MaskCLIP+ on VOC 512 and 2048, on Context 520 and 520); null is its own size.
    clip_norm: the most that the norm of all gradients may be (Dataset Diffusion .01). warmup: steps in which the rate
    rises, by 1e-6 of it at first (SegFormer: 1500). ema: decay of a running average of the weights, which is what is
    kept, min(ema, (1 + n) / (10 + n)) after step n (TensorFlow's ExponentialMovingAverage). checkpoint_every: steps;
    null is a tenth of them; in no id. part: images of a batch that is one group which go through the network together,
    while statistics are those of all (synchronised batch normalisation): CPUs can share such a batch too, to the same
    bits however many they are. null: on CPUs the whole group, on GPUs what each has of it.
    test_scales, test_flip: sizes, and the mirror image, over which the probabilities of a scored image are averaged
    (mmsegmentation's MultiScaleFlipAug: 0.5 to 1.75 by 0.25, and mirrored). One fit serves them all.
    """

    encoder: str = "resnet50"
    encoder_weights: str | None = "imagenet"
    encoder_rate: float = 1.0
    depth: int = 5
    stride: int = 16
    decoder: int = 256
    dropout: float = 0.5
    crop: int = 512
    scale_low: float = 0.5
    scale_high: float = 2.0
    flip: bool = True
    colours: float = 0.2
    steps: int = 2000
    batch: int = 4
    group: int | None = None
    optimiser: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay: str = "poly"
    floor: float = 0.01
    held_out: float = 0.05
    validate_every: int = 200
    precision: str = "auto"
    head: str = "classifier"
    text_model: str | None = None
    pseudo: str = "stored"
    seed: int = 0
    network: str = "deeplabv3+"
    rates: tuple[int, ...] | None = None
    short_side: int | None = None
    long_side: int | None = None
    clip_norm: float | None = None
    warmup: int = 0
    ema: float = 0.0
    checkpoint_every: int | None = None
    test_scales: tuple[float, ...] = (1.0,)
    test_flip: bool = False
    part: int | None = None

    at_test: ClassVar[Collection[str]] = ("test_scales", "test_flip")

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise MethodError(f"The setting {name} is {value!r}; it can be {' or '.join(map(repr, allowed))}.")
        for name, (least, largest, in_words) in BOUNDS.items():
            if not least <= (number := getattr(self, name)) <= largest:
                raise MethodError(f"The setting {name} is {number}; give {in_words}.")
        if self.crop < 32 or self.crop % 16:
            raise MethodError(f"The crop is {self.crop}; give a multiple of 16 from 32 on.")
        if self.depth not in (3, 4, 5) or self.stride not in (8, 16):
            raise MethodError(
                f"depth is {self.depth} and stride {self.stride}; depth can be 3, 4 or 5, and stride 8 or 16."
            )
        if self.steps < 1 or self.grouped < 2 or self.batch % self.grouped:
            raise MethodError(
                f"steps is {self.steps}, batch {self.batch}, group {self.grouped}: train 1 step or more with a batch "
                "that is a multiple of the group, and groups of 2 or more (batch normalisation needs them)."
            )
        if self.part is not None and (self.part < 1 or self.grouped < self.batch or self.batch % self.part):
            raise MethodError(
                f"part is {self.part}, batch {self.batch}, group {self.grouped}: give a part of which the batch is a "
                "multiple, leave the group at the whole batch (null)."
            )
        if not 0 < self.scale_low <= self.scale_high < float("inf"):
            raise MethodError(
                f"scale_low is {self.scale_low} and scale_high {self.scale_high}; scales go from above 0 upwards."
            )
        if (self.head == "text") != (self.text_model is not None):
            raise MethodError("A head of text needs a text_model (a CLIP), and only it does.")
        self._check_recipe()
        _ = self.rule

    def _check_recipe(self) -> None:
        rates = self.rates
        if rates is not None and (not rates or min(rates) < 1 or (self.network == "deeplabv3+" and len(rates) != 3)):
            raise MethodError(f"The rates are {list(rates)}; give whole numbers from 1 on, and to DeepLabV3+ three.")
        if not 0 <= self.warmup < self.steps or not 0.0 <= self.ema < 1.0:
            raise MethodError(
                f"warmup is {self.warmup} and ema {self.ema}: warm up in fewer than the {self.steps} steps, and give "
                "a decay from 0 to below 1."
            )
        for name, least in (("clip_norm", 0.0), ("checkpoint_every", 0), ("short_side", 31), ("long_side", 31)):
            value = getattr(self, name)
            if value is not None and not least < value < float("inf"):
                raise MethodError(f"{name} is {value}; give more than {least}, or null.")
        if not self.test_scales or not all(0.0 < scale < float("inf") for scale in self.test_scales):
            raise MethodError(f"The test_scales are {list(self.test_scales)}; give one or more above 0.")

    @property
    def idle(self) -> Collection[str]:
        """The settings that change no pixel as they stand."""
        there = {name for name, value in AS_BEFORE.items() if getattr(self, name) == value}
        return {*super().idle, *there, "checkpoint_every"}

    @property
    def shown(self) -> Sides:
        """How large an image is at scale 1."""
        return Sides(self.short_side, self.long_side)

    @property
    def edition(self) -> int:
        """2 or more where these settings give other numbers than before.

        Crops are scaled as their whole image is (2), and are as unsure (3); and what knows no background answers with
        shares of all its classes (2).
        """
        if self.pseudo == "same_crop" and self.rule.unsure:
            return 3
        return 2 if self.rule.below == "ignored" or (self.pseudo == "same_crop" and self.rule.scales) else 1

    @property
    def grouped(self) -> int:
        """Images that go through the network together."""
        return self.batch if self.group is None else self.group
