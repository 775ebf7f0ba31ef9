"""Settings of a student flow in; its network, and what the network says of an image, flow out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.contracts import Image, ModelError
from harness.contracts.sending import sent
from methods.student.crops import in_imagenet_colours, padded
from methods.student.deeplabv2 import DeepLabV2

DEEPLABV3_RATES = (12, 24, 36)  # of segmentation_models_pytorch: the paper's at stride 8; at 16 it takes 6, 12, 18
DEEPLABV2_RATES = (6, 12, 18, 24)  # of the paper (arXiv 1606.00915) and of MaskCLIP+, at stride 8


@dataclass(frozen=True)
class Shape:
    """What decides the form of a network. classes: its outputs. text: width of the frozen text vectors, None for none.

    named: how many of the outputs are text vectors; the others (background) are learned. depth: stages of the encoder,
    stride: how many times smaller than the image its last map is. rates: of the decoder's dilated convolutions; None
    for those that it comes with.
    """

    encoder: str
    decoder: int
    dropout: float
    classes: int
    text: int | None = None
    named: int = 0
    depth: int = 5
    stride: int = 16
    network: str = "deeplabv3+"
    rates: Sequence[int] | None = None


class TextHead(nn.Module):
    """Features meet frozen unit vectors of names as a 1x1 convolution; outputs beyond the names have learned vectors.

    As the head of MaskCLIP+ (arXiv 2112.01071). project: the features are brought to the width of the texts; MaskCLIP+
    gives its branches that width instead.
    """

    def __init__(self, channels: int, width: int, named: int, others: int, project: bool = True) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, 1) if project else nn.Identity()
        self.register_buffer("texts", torch.zeros(named, width, dtype=torch.float32))
        self.others = nn.Parameter(torch.randn(others, width, dtype=torch.float32) * width**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        texts = self.get_buffer("texts")
        return nn.functional.conv2d(self.project(features), torch.cat([texts, self.others])[..., None, None])


def build_network(shape: Shape, encoder_weights: str | None = None) -> nn.Module:
    """DeepLabV3+ (arXiv 1802.02611) of segmentation_models_pytorch, or DeepLabV2; logits at the input's size.

    ModelError when there is no such encoder or its weights cannot be had, or when DeepLabV2's branches do not have the
    width of the texts that they meet.
    """
    plain = shape.network == "deeplabv2"
    if plain and shape.text not in (None, shape.decoder):
        raise ModelError(
            f"In DeepLabV2 the sum of the branches meets the texts as it is, and the CLIP's texts have {shape.text} "
            f"numbers: give decoder: {shape.text}, not {shape.decoder}."
        )
    try:
        network = _deeplab(shape, encoder_weights)
    except Exception as problem:  # of many kinds, by who makes the encoder
        raise ModelError(_refusal(shape, encoder_weights, problem)) from problem
    if shape.text is not None:
        head = TextHead(shape.decoder, shape.text, shape.named, shape.classes - shape.named, project=not plain)
        enlarge = nn.Identity() if plain else nn.UpsamplingBilinear2d(scale_factor=4)
        network.segmentation_head = nn.Sequential(head, enlarge)
    return network


def _deeplab(shape: Shape, encoder_weights: str | None) -> nn.Module:
    import segmentation_models_pytorch as networks

    if shape.network == "deeplabv2":
        encoder = networks.encoders.get_encoder(
            shape.encoder, depth=shape.depth, weights=encoder_weights, output_stride=shape.stride
        )
        rates = DEEPLABV2_RATES if shape.rates is None else shape.rates
        return DeepLabV2(encoder, shape.decoder, rates, shape.dropout, shape.classes)
    rates = DEEPLABV3_RATES if shape.rates is None else shape.rates
    network: nn.Module = networks.DeepLabV3Plus(
        encoder_name=shape.encoder,
        encoder_depth=shape.depth,
        encoder_weights=encoder_weights,
        encoder_output_stride=shape.stride,
        decoder_channels=shape.decoder,
        decoder_atrous_rates=tuple(rates),
        decoder_aspp_dropout=shape.dropout,
        classes=shape.classes,
    )
    return network


def _refusal(shape: Shape, encoder_weights: str | None, problem: Exception) -> str:
    """It is the weights if there is such a network without them, and the encoder if not."""
    if encoder_weights is not None:
        try:
            _deeplab(shape, None)
        except Exception as other:
            problem = other
        else:
            return (
                f"The {encoder_weights!r} weights of the encoder {shape.encoder!r} cannot be had ({_line(problem)}); "
                "fetch them once where there is a network, or give encoder_weights: null."
            )
    return (
        f"segmentation_models_pytorch makes no encoder {shape.encoder!r} of {shape.depth} stages at stride "
        f"{shape.stride}: {_line(problem)}"
    )


def _line(problem: Exception) -> str:
    return f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"


def set_texts(network: nn.Module, texts: Tensor) -> None:
    """Give a text head its frozen vectors (names, width)."""
    network.get_submodule("segmentation_head.0").get_buffer("texts").copy_(texts)


def parameter_groups(network: nn.Module, learning_rate: float, encoder_rate: float) -> list[dict[str, object]]:
    """Parameters for an optimiser, those of the encoder with a rate of their own (a factor)."""
    encoder = [one for name, one in network.named_parameters() if name.startswith("encoder.")]
    rest = [one for name, one in network.named_parameters() if not name.startswith("encoder.")]
    return [
        {"params": encoder, "lr": learning_rate * encoder_rate, "share": encoder_rate},
        {"params": rest, "lr": learning_rate, "share": 1.0},
    ]


def device() -> torch.device:
    """The GPU that this process may use, if there is one."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@torch.no_grad()
def logits(network: nn.Module, image: Image) -> Tensor:
    """(outputs, height, width), float32, of one whole image at its own size."""
    height, width = image.shape[:2]
    where = next(network.parameters()).device
    pixels = sent(torch.from_numpy(padded(in_imagenet_colours(image))), where)
    answer: Tensor = network(pixels[None])[0, :, :height, :width]
    return answer.float()


def text_vectors(model: str, names: Sequence[Sequence[str]], templates: tuple[str, ...]) -> Tensor:
    """(names, width): the unit vector of every class by a CLIP, of several names the mean, at unit length again."""
    from methods.clip import Clip

    bank = Clip(model).network.text
    means = [torch.stack([bank.vector(word, templates) for word in words]).mean(dim=0) for words in names]
    return nn.functional.normalize(torch.stack(means), dim=-1).cpu()
