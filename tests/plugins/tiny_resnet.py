"""A folder and a seed flow in; a CLIP ResNet of open_clip, small and random, lies there after."""

from __future__ import annotations

import json
from pathlib import Path


def write_resnet(place: Path, seed: int) -> Path:
    """Configuration and weights under open_clip's names."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    torch.manual_seed(seed)
    model = open_clip.CLIP(embed_dim=24, vision_cfg=vision, text_cfg=text, quick_gelu=True)
    for name, weight in model.named_parameters():  # the library's start zeroes the last norm of every residual branch
        if name.endswith("bn3.weight"):
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    colours = {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.1], "interpolation": "bicubic"}
    place.mkdir(parents=True, exist_ok=True)
    (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": colours}))
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, place / "open_clip_model.safetensors")
    return place
