"""What a grid says of a student flows in; its settings flow out, checked."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contracts import MethodError
from methods.taught import Taught

CHOICES = {
    "optimiser": ("sgd", "adamw"),
    "decay": ("poly", "cosine"),
    "head": ("classifier", "text"),
    "pseudo": ("stored", "same_crop"),
    "precision": ("auto", "float32"),
}


@dataclass(frozen=True, kw_only=True)
class StudentSettings(Taught):
    """How a DeepLabV3+ is trained on images and pseudo masks.

    Length and optimiser default to those of MaskCLIP+'s annotation-free recipe (SGD .01, momentum .9, weight decay
    5e-4, poly to 1 %, 2000 steps of 4, scale 0.5 to 2, mirror, colours); the poster tells none.
    encoder: a name of segmentation_models_pytorch; encoder_weights: `imagenet`, fetched once, or null; encoder_rate:
    factor on its learning rate; depth: its stages (3 to 5); stride: how many times smaller than the image its last map
    is (8 or 16). decoder: channels. crop: side in pixels. colours: share by which brightness, contrast
    and saturation change. group: images that go through the network together (2 or more; null: the batch), of which a
    step adds up batch / group: workers share groups. momentum: AdamW's first beta too. held_out: share of the lessons
    that only validates, against their pseudo masks, every `validate_every` steps. precision: `auto` is bfloat16 on a
    GPU.
    head: `text` ends in frozen text vectors of the CLIP `text_model`, as MaskCLIP+ does. pseudo: `same_crop` asks the
    teacher about every changed crop, as MaskCLIP+ does, in place of its stored label maps.
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

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise MethodError(f"The setting {name} is {value!r}; it can be {' or '.join(map(repr, allowed))}.")
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
        if not 0 < self.scale_low <= self.scale_high or not 0 <= self.held_out < 1:
            raise MethodError("The scale should go from above 0 upwards, and held_out be a share from 0 to below 1.")
        if (self.head == "text") != (self.text_model is not None):
            raise MethodError("A head of text needs a text_model (a CLIP), and only it does.")
        _ = self.rule

    @property
    def edition(self) -> int:
        """2 where these settings give other numbers than before.

        Crops are scaled as their whole image is; and what knows no background answers with shares of all its classes.
        """
        return 2 if self.rule.below == "ignored" or (self.pseudo == "same_crop" and self.rule.scales) else 1

    @property
    def grouped(self) -> int:
        """Images that go through the network together."""
        return self.batch if self.group is None else self.group
