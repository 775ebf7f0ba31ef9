"""The form of a student's network flows in; how many bytes its weights take flows out, by arithmetic: no torch here."""

from __future__ import annotations

from dataclasses import dataclass

FLOAT, COUNT = 4, 8  # bytes of a number, and of what batch normalisation counts its batches with
EARLY = 48  # channels to which DeepLabV3+ brings the early map


@dataclass(frozen=True)
class Encoder:
    """One of segmentation_models_pytorch: bytes of its weights by depth (3, 4, 5), and channels of its maps.

    early: of the map that DeepLabV3+ takes besides; last: of the last map by depth.
    """

    weights: tuple[int, int, int]
    early: int
    last: tuple[int, int, int]


def _whole(weights: int, *channels: int) -> Encoder:
    """One that keeps all its stages whatever the depth."""
    early, *last = channels
    return Encoder((weights, weights, weights), early, (last[0], last[1], last[2]))


# As they are made; a test makes them.
ENCODERS = {
    "resnet18": _whole(44744608, 64, 128, 256, 512),
    "resnet34": _whole(85207072, 64, 128, 256, 512),
    "resnet50": _whole(94245032, 256, 512, 1024, 2048),
    "resnet101": _whole(170422848, 256, 512, 1024, 2048),
    "mobilenet_v2": _whole(9032352, 24, 32, 96, 1280),
    "efficientnet-b0": _whole(16198648, 24, 40, 112, 320),
    "tu-resnet10t": Encoder((1326560, 5008888, 19713552), 64, (128, 256, 512)),
    "tu-resnet50d": Encoder((5897808, 34373352, 94322488), 256, (512, 1024, 2048)),
}


def weights_bytes(
    encoder: str, depth: int, network: str, decoder: int, rates: int, outputs: int, text: bool
) -> int | None:
    """Bytes of a network with so many rates and outputs; None where the encoder is not in the table.

    text: the outputs are vectors; their width is known in DeepLabV2 alone, where the decoder has it.
    """
    if (found := ENCODERS.get(encoder)) is None or (text and network != "deeplabv2"):
        return None
    last = found.last[depth - 3]
    if network == "deeplabv2":
        body = rates * (_convolution(last, decoder, 9) + _norm(decoder))
    else:
        body = _deeplabv3_plus(last, found.early, decoder, rates)
    head = _convolution(decoder, outputs, 1) + (0 if text else outputs * FLOAT)
    return found.weights[depth - 3] + body + head


def _deeplabv3_plus(last: int, early: int, channels: int, rates: int) -> int:
    plain = 2 * (_convolution(last, channels, 1) + _norm(channels))  # of the map itself, and of its mean
    dilated = rates * (_separable(last, channels) + _norm(channels))
    project = _convolution((rates + 2) * channels, channels, 1) + _norm(channels)
    after = _separable(channels, channels) + _norm(channels)
    joined = _convolution(early, EARLY, 1) + _norm(EARLY) + _separable(EARLY + channels, channels) + _norm(channels)
    return plain + dilated + project + after + joined


def _convolution(before: int, after: int, taps: int) -> int:
    return before * after * taps * FLOAT


def _separable(before: int, after: int) -> int:
    return _convolution(1, before, 9) + _convolution(before, after, 1)


def _norm(channels: int) -> int:
    return 4 * channels * FLOAT + COUNT
