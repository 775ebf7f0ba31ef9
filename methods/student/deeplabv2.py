"""An encoder's last map flows in; DeepLabV2's logits at the image's size flow out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class DeepLabV2(nn.Module):
    """Parallel dilated 3x3 convolutions of one map, summed (ASPP, arXiv 1606.00915), and a 1x1 convolution.

    In the form of MaskCLIP+ (chongzhou96/MaskCLIP, its ASPPHeadV2 and configurations): every branch ends in batch
    normalisation and a ReLU, the outputs are learned from the sum. In the paper a branch ends in the outputs. Logits
    are enlarged bilinearly, corners not aligned.

    encoder: of segmentation_models_pytorch. channels: of every branch.
    """

    def __init__(self, encoder: nn.Module, channels: int, rates: Sequence[int], dropout: float, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.out_channels[-1]  # type: ignore[index]
        self.branches = nn.ModuleList([_branch(int(width), channels, rate) for rate in rates])
        self.dropout = nn.Dropout2d(dropout)
        self.segmentation_head: nn.Module = nn.Conv2d(channels, classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(images, 3, height, width) -> logits (images, classes, height, width)."""
        last = self.encoder(pixels)[-1]
        summed = torch.stack([branch(last) for branch in self.branches]).sum(dim=0)
        logits = self.segmentation_head(self.dropout(summed))
        return interpolate(logits, size=pixels.shape[2:], mode="bilinear", align_corners=False)


def _branch(width: int, channels: int, rate: int) -> nn.Module:
    dilated = nn.Conv2d(width, channels, 3, padding=rate, dilation=rate, bias=False)
    nn.init.kaiming_normal_(dilated.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(dilated, nn.BatchNorm2d(channels), nn.ReLU())
