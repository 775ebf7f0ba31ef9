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
SHAPES_CLIP = Path(__file__).parents[2] / "methods/pretrained/shapes/clip"
CLIP_SEED, DINO_SEED = 11, 12
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


def vision_weight(name: str, shape: Sequence[int], seed: int = CLIP_SEED) -> Tensor:
    """A tensor of CLIP's vision tower, by its name in transformers, or of a DINO, by its name in the hub's files."""
    drawn = normal(name, shape, seed)
    if name.endswith("bias"):
        drawn = 0.1 * drawn
    elif "norm" in name or "layrnorm" in name:
        drawn = 1 + 0.2 * drawn
    elif "position_embedding" in name:
        drawn = 0.3 * drawn
    elif "class_embedding" not in name and "cls_token" not in name:
        loud = 1.5 if any(part in name for part in ("q_proj", "k_proj", ".query.", ".key.")) else 1.0
        drawn = loud * float(np.prod(shape[1:])) ** -0.5 * drawn
    return torch.from_numpy(drawn.astype(np.float32))


def clip_model(text: Mapping[str, Any], vision: Mapping[str, Any]) -> CLIPModel:
    """A CLIPModel with the vision tower of the comparisons."""
    model = CLIPModel(CLIPConfig(text_config=dict(text), vision_config=dict(vision), projection_dim=64)).eval()
    own = {
        name: vision_weight(name, value.shape)
        for name, value in model.state_dict().items()
        if name.startswith(("vision_model", "visual_projection"))
    }
    model.load_state_dict(own, strict=False)
    return model


@cache
def clip_network(port: str = "clean", text: str = "images") -> ClipNetwork:
    """The CLIP of the comparisons, whose words are the numbers of the stored text vectors (see `vocabulary`)."""
    vision = VISION | ({"hidden_act": "gelu", "layer_norm_eps": 1e-6} if port == "official" else {})
    model = clip_model(TEXT, vision)
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


def write_dino(folder: Path, patch: int, side: int) -> Path:
    """The DINO of the comparisons in a folder, in the form of the hub's files."""
    from safetensors.torch import save_file
    from transformers import ViTConfig

    width, inner, blocks = 96, 384, 4
    shapes = {
        "embeddings.cls_token": (1, 1, width), "embeddings.patch_embeddings.projection.bias": (width,),
        "embeddings.patch_embeddings.projection.weight": (width, 3, patch, patch),
        "embeddings.position_embeddings": (1, 1 + (side // patch) ** 2, width),
        "layernorm.weight": (width,), "layernorm.bias": (width,),
    }  # fmt: skip
    for number in range(blocks):
        parts = {f"attention.attention.{one}": (width, width) for one in ("query", "key", "value")}
        parts |= {"attention.output.dense": (width, width), "intermediate.dense": (inner, width)}
        parts |= {"output.dense": (width, inner), "layernorm_before": (width,), "layernorm_after": (width,)}
        for part, shape in parts.items():
            shapes[f"encoder.layer.{number}.{part}.weight"] = shape
            shapes[f"encoder.layer.{number}.{part}.bias"] = shape[:1]
    ViTConfig(
        hidden_size=width, num_hidden_layers=blocks, num_attention_heads=3, intermediate_size=inner, image_size=side,
        patch_size=patch,
    ).save_pretrained(folder)  # fmt: skip
    weights = {name: vision_weight(name, shape, DINO_SEED) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors")
    return folder


def write_sam(folder: Path, side: int = 64, seed: int = 5) -> Path:
    """A small random SAM in a folder, in the form of the hub's files."""
    from transformers import SamConfig, SamModel

    torch.manual_seed(seed)
    vision = {
        "hidden_size": 24, "output_channels": 16, "num_hidden_layers": 3, "num_attention_heads": 3, "image_size": side,
        "patch_size": 8, "window_size": 3, "global_attn_indexes": [2], "mlp_dim": 32, "num_pos_feats": 8,
    }  # fmt: skip
    prompts = {"hidden_size": 16, "image_size": side, "patch_size": 8, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 24, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    model = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder))
    for name, value in model.named_parameters():
        loud = 1.0 if "rel_pos" in name or "pos_embed" in name else 0.0 if "norm" in name else 0.2
        value.data.add_(loud * torch.randn_like(value))
    model.save_pretrained(folder)
    return folder


def write_clip(folder: Path, name: str) -> Path:
    """The CLIP of the comparisons in a folder, in the form of the hub's files, with a text tower that gives the words
    "0", "1" .. the text vectors that `name` holds; a sentence is a word and nothing else."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(SHAPES_CLIP)
    vectors = torch.from_numpy(arrays(name)["text"])
    text = TEXT | {
        "vocab_size": len(tokenizer), "max_position_embeddings": 8, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    model = clip_model(text, VISION)
    for one, value in model.text_model.named_parameters():
        loud = 0.0 if "q_proj" in one else 1.0  # its last token looks at all of the sentence alike
        value.data = loud * torch.from_numpy(normal(one, value.shape, CLIP_SEED)).float()
    tokens = tokenizer([str(word) for word in range(len(vectors))], padding=True, return_tensors="pt")
    with torch.no_grad():
        pooled = model.text_model(**tokens).pooler_output.double()  # fewer words than they are wide: solved exactly
        model.text_projection.weight.copy_(torch.linalg.lstsq(pooled, vectors.double()).solution.T)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
