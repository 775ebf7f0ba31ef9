"""What is asked of a latent diffusion model, for one image and as a whole, as frozen values; no torch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from harness.contracts import ModelError, Recipe
from methods import checkpoints
from methods.cards import check_card

STABLE_DIFFUSION = "CompVis/stable-diffusion-v1-4"
CHOICES = {
    "prompt": ("joint", "per_class"),
    "latent": ("mean", "sample"),
    "whose_names": ("own", "others"),
    "dtype": ("float32", "bfloat16", "float16"),
    "latents": ("float32", "float16"),
    "resize": ("stretch", "pad"),
}
REFUSED = {
    "compile": "Stable Diffusion does not compile here, since attention is read by hooks, which break a compiled graph",
}


def check_choices(settings: object, choices: Mapping[str, Sequence[str]]) -> None:
    """ModelError for the first field of `settings` whose value is none of its choices; other fields pass."""
    for name, allowed in choices.items():
        value = getattr(settings, name, allowed[0])
        if value not in allowed:
            raise ModelError(f"The setting {name} is {value!r}; it can be {' or '.join(map(repr, allowed))}.")


@dataclass(frozen=True)
class DiffusionPass:
    """One conditional forward of the UNet for one image (one row a prompt); fulfils harness.contracts.Pass.

    timestep: 0 .. 999, what the UNet is told, and how much noise is added if `add_noise`.
    prompt: `joint` names all classes in one prompt, split over as few prompts as fit into the text encoder;
    `per_class` takes one prompt, hence one UNet row, a class.
    template: with one `{}`; None takes the vocabulary's first. joiner: between the names of a joint prompt; None
    repeats the template's article (`a photo of a cat and a dog`).
    seed, draw: with the image id they decide the noise (and the seed which wrong names are taken).
    latent: the posterior's `mean` or a `sample`.
    whose_names: `own` or, as a control, `others`: classes that are not offered.

    There is no guidance: it doubles the cost and leaves the conditional half, which is what is read, as it is
    (docs/methods/stableseg.md).
    """

    backbone: Recipe
    timestep: int = 1
    prompt: str = "joint"
    template: str | None = None
    joiner: str | None = None
    add_noise: bool = True
    seed: int = 0
    draw: int = 0
    latent: str = "mean"
    whose_names: str = "own"

    def __post_init__(self) -> None:
        check_choices(self, CHOICES)

    @property
    def encoding(self) -> Hashable:
        """All passes of one backbone share an encoding: mean and sample come from the same posterior."""
        return "posterior"


@dataclass(frozen=True)
class DiffusionSettings:
    """How a network is opened and fed.

    model: `shapes`, a folder in diffusers' format, or a hub id (with a pinned revision). size: pixels of the square,
    or (height, width), that images are brought to; None is the model's own. resize: `stretch`, or `pad` (the longer
    side fits, the rest is grey and is cut off again). rows: UNet rows a call; None is one an image of the batch.
    latents: `float16` rounds the encoded images; then latent_cache may name a folder in which they are kept, for all
    sweeps to come (methods.diffusion.latent_cache). card: how a GPU computes, see methods.cards.
    """

    model: str = STABLE_DIFFUSION
    revision: str | None = None
    dtype: str = "float32"
    size: int | tuple[int, int] | None = None
    resize: str = "stretch"
    rows: int | None = None
    latents: str = "float32"
    latent_cache: str | None = None
    card: str = ""

    def __post_init__(self) -> None:
        check_choices(self, CHOICES)
        check_card(self.card, REFUSED)
        if self.latent_cache is not None and self.latents != "float16":
            raise ModelError("A latent_cache keeps latents in half precision: set latents to 'float16' as well.")

    @property
    def idle(self) -> tuple[str, ...]:
        """The setting of cards where it is as it was before there was a choice."""
        return () if self.card else ("card",)

    def fingerprint(self) -> str:
        """Stands for the weights, see methods.checkpoints.model_fingerprint."""
        return checkpoints.model_fingerprint(self.model, "diffusion", self.revision)
