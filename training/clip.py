"""Pixels and captions flow in; a CLIP flows out, trained by pairwise sigmoid on which captions fit which images."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer

from benchmarks.shapes_world import CLASSES
from training.captions import caption, some
from training.pictures import Pixels
from training.settings import POSITIONS, SIDE, TEMPLATE, WIDTH, Settings

SINGLE = 0.5  # share of captions that name only a part of the objects
DROPPED = 0.5  # share of patches left out, as in FLIP (arXiv 2212.00794)
WHOLE = 0.12  # share of the steps, at the end, that see all patches
WORDS = 0.25  # share of the steps that train the text tower; then it is frozen, and the UNet's training may begin


def new_clip(tokenizer: CLIPTokenizer, seed: int) -> CLIPModel:
    """A CLIP of about .7 M parameters; the text tower starts loud, so that a class token's state says its class."""
    torch.manual_seed(seed)
    tower = {"num_attention_heads": 4, "hidden_act": "quick_gelu"}
    vision = tower | {
        "hidden_size": 96,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "image_size": SIDE,
        "patch_size": 8,
    }
    text = tower | {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": POSITIONS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    for config in (vision, text):
        config["projection_dim"] = WIDTH
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH))
    # With the library's start (std .02) the context outweighs the word, and a small UNet cannot bind word to place.
    nn.init.normal_(model.text_model.embeddings.token_embedding.weight, std=1.0)
    nn.init.normal_(model.text_model.embeddings.position_embedding.weight, std=0.1)
    return model


class ClipTraining(nn.Module):
    """The model with the two numbers of the sigmoid loss (arXiv 2303.15343); the bias is dropped afterwards."""

    def __init__(
        self, model: CLIPModel, tokenizer: CLIPTokenizer, pixels: Pixels, classes: list[list[int]], settings: Settings
    ):
        super().__init__()
        self.model = model
        self.bias = nn.Parameter(torch.tensor(-10.0))
        nn.init.constant_(model.logit_scale, 2.302585)  # ln 10
        self.tokenizer, self.pixels, self.classes, self.settings = tokenizer, pixels, classes, settings

    def loss(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Ten times the mean binary cross-entropy over all image-caption pairs of the batch."""
        stage = self.settings.clip
        chosen = torch.randint(len(self.classes), (stage.batch,), generator=generator).tolist()
        named = [some(self.classes[index], SINGLE, generator) for index in chosen]
        texts = [caption([CLASSES[place] for place in part], generator) for part in named]
        images = augment(torch.from_numpy(self.pixels[chosen]), generator)
        dropped = DROPPED if step < (1.0 - WHOLE) * stage.steps else 0.0
        with torch.set_grad_enabled(not self.text_is_frozen(step)):
            words = self.text_vectors(texts)
        cosine = self.image_vectors(images, dropped, generator) @ words.T
        logits = self.model.logit_scale.exp() * cosine + self.bias
        fits = captions_fit([self.classes[index] for index in chosen], named)
        return {"loss": 10.0 * F.binary_cross_entropy_with_logits(logits, fits), "scale": self.model.logit_scale.exp()}

    def image_vectors(self, images: Tensor, dropped: float, generator: torch.Generator) -> Tensor:
        """Unit vectors (images, 64) of pixels (images, 3, 96, 96) in [-1, 1], some patches left out."""
        tower = self.model.vision_model
        hidden = tower.embeddings(images)
        if dropped:
            order = torch.rand(hidden.shape[0], hidden.shape[1] - 1, generator=generator).argsort(dim=1)
            keep = 1 + order[:, : round(order.shape[1] * (1.0 - dropped))]
            patches = hidden.gather(1, keep[..., None].expand(-1, -1, hidden.shape[2]))
            hidden = torch.cat([hidden[:, :1], patches], dim=1)
        hidden = tower.encoder(inputs_embeds=tower.pre_layrnorm(hidden)).last_hidden_state
        return F.normalize(self.model.visual_projection(tower.post_layernorm(hidden[:, 0])), dim=-1)

    def text_vectors(self, texts: list[str]) -> Tensor:
        """Unit vectors (captions, 64); captions are padded to the longest only, which a causal tower cannot tell."""
        tokens = self.tokenizer(texts, padding="longest", return_tensors="pt").input_ids
        pooled = self.model.text_model(input_ids=tokens).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)

    def text_is_frozen(self, step: int) -> bool:
        return step >= round(WORDS * self.settings.clip.steps)


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 (images, 96, 96, 3) to [-1, 1] channels first, at random flipped, of other contrast and brightness."""
    images = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    count = images.shape[0]
    flipped = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    images = torch.where(flipped, images.flip(3), images)
    contrast = 1.0 + 0.1 * torch.randn(count, 1, 1, 1, generator=generator)
    return contrast * images + 0.1 * torch.randn(count, 1, 1, 1, generator=generator)


def captions_fit(shown: list[list[int]], named: list[list[int]]) -> Tensor:
    """(images, captions), 1 where every class the caption names is in the image: no false negatives."""
    image, text = _many_hot(shown), _many_hot(named)
    return ((1.0 - image) @ text.T == 0).float()


def _many_hot(classes: list[list[int]]) -> Tensor:
    rows = torch.zeros(len(classes), len(CLASSES))
    for row, present in enumerate(classes):
        rows[row, present] = 1.0
    return rows


def save_text(model: CLIPModel, folder: Path) -> None:
    """Writes the text tower alone, in the form of a pipeline's text encoder."""
    text = CLIPTextModel(model.config.text_config)
    own = text.state_dict()
    towers = {name.removeprefix("text_model."): value for name, value in model.text_model.state_dict().items()}
    text.load_state_dict({name: towers[name.removeprefix("text_model.")] for name in own})
    text.save_pretrained(folder)


@torch.no_grad()
def clip_quality(training: ClipTraining, pixels: Pixels, classes: list[list[int]]) -> dict[str, float]:
    """Top-1 (the best class is in the image), recall@n, and the variance ratio of the states at class tokens."""
    generator = torch.Generator().manual_seed(0)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    vectors = torch.cat([training.image_vectors(part, 0.0, generator) for part in torch.split(images, 100)])
    scores = vectors @ training.text_vectors([TEMPLATE.format(name) for name in CLASSES]).T
    best = scores.argsort(dim=1, descending=True).tolist()
    top = sum(order[0] in present for order, present in zip(best, classes, strict=True)) / len(classes)
    found = [
        len(set(order[: len(present)]) & set(present)) / len(present)
        for order, present in zip(best, classes, strict=True)
    ]
    return {
        "top1": top,
        "recall": sum(found) / len(found),
        "variance_ratio": variance_ratio(training.model, training.tokenizer),
    }


@torch.no_grad()
def variance_ratio(model: CLIPModel, tokenizer: CLIPTokenizer, captions: int = 300) -> float:
    """Variance between the class means over the variance within a class, of final states at class tokens."""
    generator = torch.Generator().manual_seed(1)
    states: list[list[Tensor]] = [[] for _ in CLASSES]
    for _ in range(captions):
        count = 1 + int(torch.randint(3, (), generator=generator))
        kinds = torch.randperm(len(CLASSES), generator=generator)[:count].tolist()
        tokens = tokenizer(caption([CLASSES[kind] for kind in kinds], generator), return_tensors="pt").input_ids
        hidden = model.text_model(input_ids=tokens).last_hidden_state[0]
        for kind in kinds:
            place = tokens[0].tolist().index(tokenizer.convert_tokens_to_ids(f"{CLASSES[kind]}</w>"))
            states[kind].append(hidden[place])
    groups = [torch.stack(group) for group in states]
    between = torch.stack([group.mean(dim=0) for group in groups]).var(dim=0, unbiased=False).sum()
    within = torch.stack([group.var(dim=0, unbiased=False).sum() for group in groups]).mean()
    return float(between / within)
