"""A CLIP and pixels flow in; the cosine of every patch with every class flows out, by form of the last block."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from benchmarks.shapes_world import CLASSES
from training.settings import TEMPLATE

FORMS = ("value", "value and residual", "published", "ordinary")  # published: value, residual and MLP


@torch.no_grad()
def patch_scores(clip: CLIPModel, tokenizer: CLIPTokenizer, pixels: NDArray[np.uint8], form: str) -> Tensor:
    """(images, 10, 12, 12) cosines of uint8 pixels (images, 96, 96, 3); templates are not averaged."""
    tokens = tokenizer([TEMPLATE.format(name) for name in CLASSES], padding=True, return_tensors="pt").input_ids
    words = F.normalize(clip.text_projection(clip.text_model(input_ids=tokens).pooler_output), dim=-1)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    return torch.cat([_scores(clip, words, part, form) for part in torch.split(images, 100)])


def _scores(clip: CLIPModel, words: Tensor, images: Tensor, form: str) -> Tensor:
    tower = clip.vision_model
    hidden = tower.pre_layrnorm(tower.embeddings(images))
    for layer in tower.encoder.layers[:-1]:
        hidden = layer(hidden, attention_mask=None)
    last = tower.encoder.layers[-1]
    if form == "ordinary":
        patches = last(hidden, attention_mask=None)
    else:
        value = last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(hidden)))
        patches = value if form == "value" else hidden + value
        if form == "published":
            patches = patches + last.mlp(last.layer_norm2(patches))
    vectors = F.normalize(clip.visual_projection(tower.post_layernorm(patches[:, 1:])), dim=-1)
    side = round(vectors.shape[1] ** 0.5)  # the pictures were stretched to a square
    scores: Tensor = vectors @ words.T
    return scores.transpose(1, 2).reshape(len(images), len(CLASSES), side, side)
