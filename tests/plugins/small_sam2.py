"""A folder flows in; a small random SAM 2 in it flows out, in the form of the hub's files."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig

SIDE = 64


def write_sam2(folder: Path, seed: int = 5) -> Path:
    """Its images are squares of SIDE pixels, its masks of SIDE / 4."""
    torch.manual_seed(seed)
    hiera = Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[SIDE, SIDE], patch_kernel_size=[7, 7], patch_stride=[4, 4],
        patch_padding=[3, 3], query_stride=[2, 2], window_positional_embedding_background_size=[4, 4],
        num_query_pool_stages=3, blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 2, 4, 8], window_size_per_stage=[4, 4, 4, 2], global_attention_blocks=[3],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=hiera, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=16,
        backbone_feature_sizes=[[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
    )  # fmt: skip
    prompts = {"hidden_size": 16, "image_size": SIDE, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 24, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    model = Sam2Model(Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder))
    for name, value in model.named_parameters():
        loud = 1.0 if "output_hypernetworks" in name else 0.0 if "norm" in name else 0.2
        value.data.add_(loud * torch.randn_like(value))
    model.save_pretrained(folder)
    return folder
