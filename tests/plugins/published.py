"""The name of a stored comparison flows in; what the authors' own code gave flows out, and networks with its weights.

`tests/published/*.npz` holds numbers alone: inputs and outputs of the authors' programs on random weights, which are
drawn here by the name of every tensor, in the same way. See tests/published/README.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from harness.contracts import Vocabulary
from methods.clip.network import ClipNetwork
from methods.clip.pixels import IMAGENET_MEAN, IMAGENET_STD, Normalisation
from methods.clip.text import TextBank

FOLDER = Path(__file__).parents[1] / "published"
CLIP_SEED = 11
VISION = {
    "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 12, "num_attention_heads": 2,
    "image_size": 112, "patch_size": 16, "hidden_act": "quick_gelu",
}  # fmt: skip
TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}


@cache
def arrays(name: str) -> Mapping[str, NDArray[Any]]:
    """The arrays of one comparison by name."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as held:
        return {key: held[key] for key in held.files}


def images(name: str) -> list[NDArray[np.uint8]]:
    """The images that a comparison of heads was made on."""
    held, pool = arrays(name), arrays("images")
    return [pool[str(held[f"image{place}"])] for place in range(8) if f"image{place}" in held]


def normal(name: str, shape: Sequence[int], seed: int) -> NDArray[np.float64]:
    """Standard normal numbers for a tensor of this name."""
    state = np.random.RandomState((zlib.crc32(name.encode()) + 1000003 * seed) % 2**32)
    return state.standard_normal(tuple(shape))


def clip_weight(name: str, shape: Sequence[int]) -> Tensor:
    """A tensor of the vision tower, by its name in transformers."""
    drawn = normal(name, shape, CLIP_SEED)
    if name.endswith("bias"):
        drawn = 0.1 * drawn
    elif "norm" in name or "layrnorm" in name:
        drawn = 1 + 0.2 * drawn
    elif "position_embedding" in name:
        drawn = 0.3 * drawn
    elif "class_embedding" not in name:
        loud = 1.5 if any(part in name for part in ("q_proj", "k_proj")) else 1.0
        drawn = loud * float(np.prod(shape[1:])) ** -0.5 * drawn
    return torch.from_numpy(drawn.astype(np.float32))


@cache
def clip_network(port: str = "clean", text: str = "images") -> ClipNetwork:
    """The CLIP of the comparisons, whose words are the numbers of the stored text vectors (see `vocabulary`)."""
    vision = VISION | ({"hidden_act": "gelu", "layer_norm_eps": 1e-6} if port == "official" else {})
    model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=64))
    own = {
        name: clip_weight(name, value.shape)
        for name, value in model.state_dict().items()
        if name.startswith(("vision_model", "visual_projection"))
    }
    model.load_state_dict(own, strict=False)
    rule = Normalisation(mean=IMAGENET_MEAN, std=IMAGENET_STD) if port == "official" else Normalisation()
    network = ClipNetwork(model, None, rule, torch.device("cpu"))
    vectors = torch.from_numpy(arrays(text)["text"])
    network.text = TextBank(lambda sentences: vectors[[int(sentence) for sentence in sentences]])
    return network


def vocabulary(class_of_word: Sequence[int] | None = None) -> Vocabulary:
    """The stored text vectors as words, one class each, or the classes that they are words of."""
    classes = list(range(5)) if class_of_word is None else list(class_of_word)
    words = [tuple(str(word) for word, its in enumerate(classes) if its == one) for one in sorted(set(classes))]
    return Vocabulary(tuple(words), templates=("{}",))
