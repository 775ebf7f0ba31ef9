"""A UNet and images of the train split that no network saw flow in; what its attention finds flows out, in numbers.

Masks are read here and only here, to choose settings and to warn early; nothing that is trained sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks.shapes_world import CLASSES, draw_scene, mark_border
from harness.contracts.scales import stretched
from training.noise import new_scheduler
from training.pictures import stretch
from training.settings import LATENT_SIDE, POSITIONS, TEMPLATE, Settings

BLOCKS = (
    *(f"down_blocks.{level}.attentions.0" for level in range(3)),
    "mid_block.attentions.0",
    *(f"up_blocks.{level}.attentions.{place}" for level in range(3) for place in range(2)),
)
SIDES = (24, 12, 6, 6, 6, 6, 12, 12, 24, 24)


class Recorder:
    """An attention processor that computes as usual but explicitly, and keeps the head mean of the probabilities."""

    def __init__(self) -> None:
        self.kept = torch.empty(0)

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **ignored: object,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            layer(inner).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer, inner in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        probabilities = (query @ key.transpose(-1, -2) * attn.scale).softmax(dim=-1)
        self.kept = probabilities.mean(dim=1)
        mixed = (probabilities @ value).transpose(1, 2).flatten(2)
        return torch.as_tensor(attn.to_out[1](attn.to_out[0](mixed)))


@dataclass
class Maps:
    """Of one image: class maps per layer, each (classes, side, side); self-attention per layer, (side**2, side**2)."""

    cross: list[Tensor]
    own: list[Tensor]


@dataclass
class ProbedPicture:
    """One probed image: stretched latents' source, truth (height, width) and class indices in order."""

    pixels: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    present: list[int]


def pictures_of(split: str, indices: range, seed: int) -> list[ProbedPicture]:
    """The images of a split that hold at least two objects."""
    found = []
    for index in indices:
        image, labels = draw_scene(split, index, seed)
        present = (np.unique(labels[labels > 0]) - 1).tolist()
        if len(present) > 1:
            found.append(ProbedPicture(stretch(image), mark_border(labels), present))
    return found


@dataclass
class Probe:
    """Fixed images with their latents, the frozen text tower, and what to ask of a UNet."""

    pictures: list[ProbedPicture]
    latents: Tensor  # (images, 4, 24, 24), scaled posterior means
    text: CLIPTextModel
    tokenizer: CLIPTokenizer

    @classmethod
    def open(cls, settings: Settings, cache: Path, images: int, split: str = "train") -> Probe:
        """Held-out images of the train split, or the first ones of val."""
        first = settings.images if split == "train" else 0
        pictures = pictures_of(split, range(first, first + 2 * images), settings.seed)[:images]
        vae = AutoencoderKL.from_pretrained(cache / "vae").eval()
        text = CLIPTextModel.from_pretrained(cache / "text").float().eval()
        tokenizer = CLIPTokenizer.from_pretrained(cache / "tokenizer", model_max_length=POSITIONS)
        return cls.of(pictures, vae, text, tokenizer)

    @classmethod
    @torch.no_grad()
    def of(
        cls, pictures: list[ProbedPicture], vae: AutoencoderKL, text: CLIPTextModel, tokenizer: CLIPTokenizer
    ) -> Probe:
        """The pictures with their latents."""
        pixels = torch.from_numpy(np.stack([picture.pixels for picture in pictures])).permute(0, 3, 1, 2)
        means = [vae.encode(part).latent_dist.mean for part in torch.split(pixels / 127.5 - 1.0, 50)]
        return cls(pictures, torch.cat(means) * vae.config.scaling_factor, text, tokenizer)

    def maps(self, unet: UNet2DConditionModel, time: int, named: list[list[int]] | None = None) -> list[Maps]:
        """Attention of every image under one joint prompt; `named`: other classes than the present ones."""
        return self._record(
            unet, time, list(range(len(self.pictures))), named or [one.present for one in self.pictures]
        )

    def maps_per_class(self, unet: UNet2DConditionModel, time: int) -> list[Maps]:
        """The same with one prompt per present class; self-attention is averaged over the prompts."""
        rows = [row for row, one in enumerate(self.pictures) for _ in one.present]
        single = self._record(unet, time, rows, [[kind] for one in self.pictures for kind in one.present])
        groups = [
            [one for one, row in zip(single, rows, strict=True) if row == wanted]
            for wanted in range(len(self.pictures))
        ]
        return [
            Maps(
                [torch.cat(layers) for layers in zip(*(one.cross for one in group), strict=True)],
                [torch.stack(layers).mean(dim=0) for layers in zip(*(one.own for one in group), strict=True)],
            )
            for group in groups
        ]

    @torch.no_grad()
    def _record(self, unet: UNet2DConditionModel, time: int, rows: list[int], named: list[list[int]]) -> list[Maps]:
        """One pass per entry: image `rows[i]`, whose noise is its own, under the names `named[i]`."""
        shape = self.latents.shape[1:]
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(1000 + row)) for row in rows])
        alpha = float(new_scheduler().alphas_cumprod[time])
        noisy = alpha**0.5 * self.latents[rows] + (1.0 - alpha) ** 0.5 * noise
        processors = unet.attn_processors
        recorders = {name: Recorder() for name in processors}
        unet.set_attn_processor(dict(recorders))
        found: list[Maps] = []
        for start in range(0, len(named), 25):
            states, places = self._prompts(named[start : start + 25])
            unet(noisy[start : start + 25], time, encoder_hidden_states=states)
            found += _collect(recorders, places)
        unet.set_attn_processor(processors)
        return found

    def _prompts(self, named: list[list[int]]) -> tuple[Tensor, list[list[int]]]:
        """States (images, 40, 64) of joint prompts, and the positions of the class tokens."""
        prompts = [TEMPLATE.format(" and a ".join(CLASSES[kind] for kind in kinds)) for kinds in named]
        tokens = self.tokenizer(prompts, padding="max_length", max_length=POSITIONS, return_tensors="pt").input_ids
        wanted = [[self.tokenizer.convert_tokens_to_ids(f"{CLASSES[kind]}</w>") for kind in kinds] for kinds in named]
        places = [[row.tolist().index(token) for token in kinds] for row, kinds in zip(tokens, wanted, strict=True)]
        return self.text(input_ids=tokens).last_hidden_state, places

    def quick(self, unet: UNet2DConditionModel) -> dict[str, float]:
        """mIoU in percent at t = 300 of the raw mean over all layers and over the 12 x 12 layers, and of chance."""
        maps = self.maps(unet, 300)
        scores = {
            "all10": [class_scores(one, range(10)) for one in maps],
            "mid3": [class_scores(one, (1, 6, 7)) for one in maps],
            "mid3_sar12": [refine(class_scores(one, (1, 6, 7)), one, (1, 6, 7)) for one in maps],
            "mid3_sar24": [refine(class_scores(one, (1, 6, 7)), one, (0, 8, 9)) for one in maps],
        }
        return {name: percent_miou(confusions(found, self.pictures).sum(axis=0)) for name, found in scores.items()}


def _collect(recorders: dict[str, Recorder], places: list[list[int]]) -> list[Maps]:
    cross = [recorders[f"{block}.transformer_blocks.0.attn2.processor"].kept for block in BLOCKS]
    own = [recorders[f"{block}.transformer_blocks.0.attn1.processor"].kept for block in BLOCKS]
    return [
        Maps(
            [
                layer[row][:, columns].T.reshape(len(columns), side, side).clone()
                for layer, side in zip(cross, SIDES, strict=True)
            ],
            [layer[row].clone() for layer in own],
        )
        for row, columns in enumerate(places)
    ]


def planes_at(maps: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(maps[None], size=(height, width), mode="bilinear", align_corners=False)[0]


def class_scores(maps: Maps, layers: range | tuple[int, ...], scaled: bool = False) -> Tensor:
    """Mean over layers at 24 x 24, (classes, 24, 24); `scaled`: min-max per layer and class first."""
    planes = [planes_at(maps.cross[layer], LATENT_SIDE, LATENT_SIDE) for layer in layers]
    return torch.stack([stretched(plane) if scaled else plane for plane in planes]).mean(dim=0)


def refine(scores: Tensor, maps: Maps, layers: tuple[int, ...], power: int = 1) -> Tensor:
    """Self-attention (mean of the layers, one side) to a power, applied to the scores at that side."""
    side = SIDES[layers[0]]
    own = torch.stack([maps.own[layer] for layer in layers]).mean(dim=0)
    flat = planes_at(scores, side, side).flatten(1).T
    for _ in range(power):
        flat = own @ flat
    return planes_at(flat.T.reshape(len(scores), side, side), LATENT_SIDE, LATENT_SIDE)


def confusions(scores: list[Tensor], pictures: list[ProbedPicture], level: float | None = None) -> NDArray[np.int64]:
    """(images, 11, 11) counts, true class by predicted.

    level: background is predicted where no class scores more; without it, true background is left out.
    """
    found = np.zeros((len(scores), 11, 11), dtype=np.int64)
    for row, (one, picture) in enumerate(zip(scores, pictures, strict=True)):
        planes = planes_at(stretched(one), *picture.truth.shape)
        best, guess = planes.max(dim=0)
        names = np.array(picture.present) + 1
        labels = names[guess.numpy()]
        if level is not None:
            labels = np.where(best.numpy() < level, 0, labels)
        counted = picture.truth != 255 if level is not None else (picture.truth != 255) & (picture.truth > 0)
        pairs = picture.truth[counted].astype(np.int64) * 11 + labels[counted]
        found[row] = np.bincount(pairs, minlength=121).reshape(11, 11)
    return found


def percent_miou(confusion: NDArray[np.int64]) -> float:
    """Mean intersection over union in percent, over the classes that occur in truth or prediction."""
    both = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    return float(100.0 * (both[union > 0] / union[union > 0]).mean())


def redrawn(*counts: NDArray[np.int64], draws: int = 2000) -> NDArray[np.float64]:
    """mIoU (draws, methods) of the same redrawn images for every method's (images, 11, 11) counts."""
    images = len(counts[0])
    weights = np.random.default_rng(0).multinomial(images, np.full(images, 1.0 / images), size=draws)
    return np.array([[percent_miou(np.tensordot(weight, count, 1)) for count in counts] for weight in weights])


def miou_interval(counts: NDArray[np.int64]) -> tuple[float, float]:
    """95 % of the mIoU when images are redrawn."""
    low, high = np.percentile(redrawn(counts)[:, 0], [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)


def gain(first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[float, float, float]:
    """Difference of mIoU, second less first, with a 95 % interval from redrawing the images in pairs."""
    found = redrawn(first, second)
    low, high = np.percentile(found[:, 1] - found[:, 0], [2.5, 97.5])
    difference = percent_miou(second.sum(axis=0)) - percent_miou(first.sum(axis=0))
    return round(difference, 2), round(float(low), 2), round(float(high), 2)
