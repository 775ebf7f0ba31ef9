"""DeepLabV2 and V3+ as students have them: against formulas by hand, by their size, and at all sides of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pictures
from torch import Tensor, nn

from harness.contracts import ModelError, Vocabulary
from methods.student import Student
from methods.student.crops import Sides
from methods.student.fit import Trained
from methods.student.network import Shape, build_network, logits
from methods.student.size import ENCODERS
from methods.student.views import Views

TINY = Shape("tu-resnet10t", 12, 0.0, classes=3, depth=3, stride=8)


def of_random_statistics(network: nn.Module) -> nn.Module:
    """In evaluation, with statistics of batch normalisation that differ from 0 and 1."""
    torch.manual_seed(3)
    for name, one in network.named_buffers():
        if name.endswith("running_mean"):
            one.uniform_(-0.5, 0.1)
        elif name.endswith("running_var"):
            one.uniform_(0.01, 0.1)
    return network.eval()


def dilated(maps: NDArray[np.float64], weights: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """A 3x3 convolution of maps (channels, height, width), by shifting them; zeros around."""
    _, height, width = maps.shape
    wide = np.pad(maps, [(0, 0), (rate, rate), (rate, rate)])
    found = np.zeros((len(weights), height, width))
    for down in range(3):
        for right in range(3):
            part = wide[:, down * rate : down * rate + height, right * rate : right * rate + width]
            found += np.einsum("oi,ihw->ohw", weights[:, :, down, right], part)
    return found


def enlarging(few: int, many: int) -> NDArray[np.float64]:
    """(many, few): bilinear, corners not aligned, the border repeated."""
    places = np.clip((np.arange(many) + 0.5) * few / many - 0.5, 0, few - 1)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(few)))


def deeplabv2_by_hand(network: nn.Module, pixels: Tensor, rates: Sequence[int]) -> NDArray[np.float64]:
    held = {name: one.double().numpy() for name, one in network.state_dict().items()}
    maps = network.get_submodule("encoder")(pixels)[-1][0].double().numpy()
    total = np.zeros((12, *maps.shape[1:]))
    for place, rate in enumerate(rates):
        scale, shift, mean, var = (
            held[f"branches.{place}.1.{name}"][:, None, None]
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        found = dilated(maps, held[f"branches.{place}.0.weight"], rate)
        total += np.maximum(0.0, (found - mean) / np.sqrt(var + 1e-5) * scale + shift)
    head = held["segmentation_head.weight"][:, :, 0, 0], held["segmentation_head.bias"][:, None, None]
    small = np.einsum("oi,ihw->ohw", head[0], total) + head[1]
    down, right = (enlarging(few, many) for few, many in zip(small.shape[1:], pixels.shape[2:], strict=True))
    return np.einsum("Hh,chw,Ww->cHW", down, small, right)


@pytest.mark.parametrize("rates", [None, (1, 3)])
@torch.no_grad()
def test_deeplabv2_sums_parallel_dilated_convolutions(rates: tuple[int, ...] | None) -> None:
    network = of_random_statistics(build_network(replace(TINY, network="deeplabv2", rates=rates)))
    pixels = torch.rand(1, 3, 64, 240)  # of 8 x 30 positions, so that the wide rates reach something
    expected = deeplabv2_by_hand(network, pixels, rates or (6, 12, 18, 24))
    assert np.abs(network(pixels)[0].numpy() - expected).max() < 1e-4 * expected.std()


@torch.no_grad()
def test_texts_meet_the_sum_of_deeplabv2s_branches_as_it_is() -> None:
    shape = replace(TINY, network="deeplabv2", classes=4, text=12, named=3)
    network = of_random_statistics(build_network(shape))
    texts = torch.randn(3, 12)
    network.get_submodule("segmentation_head.0").get_buffer("texts").copy_(texts)
    sums: list[Tensor] = []
    network.get_submodule("dropout").register_forward_hook(lambda *given: sums.append(given[2][0]))
    found = network(torch.rand(1, 3, 32, 48))[0]
    small = np.einsum("oi,ihw->ohw", texts.double().numpy(), sums[0].double().numpy())
    by_hand = np.einsum("Hh,chw,Ww->cHW", enlarging(4, 32), small, enlarging(6, 48))
    assert found.shape == (4, 32, 48) and np.abs(found[:3].numpy() - by_hand).max() < 1e-4 * by_hand.std()
    with pytest.raises(ModelError, match="texts have 10 numbers: give decoder: 10, not 12"):
        build_network(replace(shape, text=10))


def off_centre(network: nn.Module) -> bool:
    """Whether a pixel far away changes what dilated convolutions say of the first position of an 8 x 10 map."""
    aspp: Any = network.get_submodule("decoder.aspp.0.convs")
    maps = torch.zeros(1, aspp[0][0].in_channels, 8, 10)
    changed = maps.clone()
    changed[0, :, 6:, 6:] = 1.0
    return any(bool((branch(maps) != branch(changed))[..., 0, 0].any()) for branch in list(aspp)[1:4])


@torch.no_grad()
def test_the_rates_of_deeplabv3_plus_are_a_setting_and_wide_ones_reach_nothing_on_small_maps() -> None:
    assert not off_centre(of_random_statistics(build_network(TINY)))  # 12, 24, 36
    assert off_centre(of_random_statistics(build_network(replace(TINY, rates=(6, 12, 18)))))
    rates = [one.dilation[0] for one in build_network(TINY).modules() if isinstance(one, nn.Conv2d)]
    assert [rate for rate in rates if rate > 4] == [12, 24, 36]


@pytest.mark.parametrize(
    "change",
    [{"encoder": name} for name in ENCODERS]
    + [{"encoder": "tu-resnet10t", "depth": depth, "stride": 8} for depth in (3, 4)]
    + [{"network": "deeplabv2", "decoder": 24}, {"network": "deeplabv2", "rates": (1, 2), "depth": 4, "stride": 8}],
    ids=str,
)
def test_the_size_of_an_artefact_is_known_without_its_network(change: dict[str, Any]) -> None:
    student = Student(teacher="T", encoder_weights=None, **{"encoder": "resnet18", **change})
    shape = Shape(
        student.encoder, student.decoder, 0.0, 22, depth=student.depth, stride=student.stride, network=student.network,
        rates=student.rates,
    )  # fmt: skip
    with torch.device("meta"):
        held = build_network(shape).state_dict().values()
    assert student.artefact_bytes(21) == sum(one.numel() * one.element_size() for one in held)
    text = replace(student, network="deeplabv2", head="text", text_model="shapes", decoder=32)
    with torch.device("meta"):
        held = build_network(replace(shape, decoder=32, text=32, named=21, network="deeplabv2")).state_dict().values()
    assert text.artefact_bytes(21) == sum(one.numel() * one.element_size() for one in held)
    assert replace(student, encoder="timm-regnetx_002").artefact_bytes(21) is None


@torch.no_grad()
def test_a_scored_image_is_seen_at_its_sides_at_all_scales_and_mirrored() -> None:
    torch.manual_seed(4)
    network = build_network(replace(TINY, classes=4)).eval()
    image = np.random.default_rng(2).integers(0, 256, (40, 56, 3), np.uint8)
    views = Views(Sides(80), (0.5, 1.5), flip=True)
    parts = []
    for height, width in [(40, 56), (120, 168)]:
        large = np.asarray(Pictures.fromarray(image).resize((width, height), Pictures.Resampling.BILINEAR))
        for mirrored in (False, True):
            answer = logits(network, large[:, ::-1].copy() if mirrored else large).double().numpy()
            answer = answer[..., ::-1] if mirrored else answer
            down, right = enlarging(height, 40), enlarging(width, 56)
            parts.append(np.exp(np.einsum("Hh,chw,Ww->cHW", down, answer, right))[[2, 0, 3]])
    expected = np.mean([part / part.sum(axis=0) for part in parts], axis=0)
    offered = Vocabulary((("c",), ("a",), ("background",)), background=2)
    found = Trained(network, ("a", "b", "c"), True, views).scores(image, offered).numpy()
    assert np.abs(found - expected).max() < 1e-5
    plain = Trained(network, ("a", "b", "c"), True).scores(image, offered).numpy()
    assert np.abs(found - plain).max() > 1e-3
