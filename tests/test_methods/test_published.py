"""Heads, maps and refinement against what the authors' own code gives on the same random weights."""

from __future__ import annotations

import ast
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from published import arrays, clip_network, images, normal, vocabulary
from torch import Tensor

from harness.contracts import Vocabulary
from methods.clearclip import ClearCLIP
from methods.clip import ClipReader
from methods.clip.features import ClipFeatures
from methods.clip.text import TextBank
from methods.daam import DAAM
from methods.diffusion.attention import Wanted, layers_of, reading
from methods.diffusion.keeping import Kept
from methods.diffusion.layers import select
from methods.diffusion.places import places_of
from methods.diffusion.prompts import Prompt
from methods.diffusion.row_calls import UNetCall, UNetRow
from methods.fused_clip import FusedCLIP
from methods.gem import GEM
from methods.maskclip import MaskCLIP
from methods.naclip import NACLIP
from methods.pamr import affinities, spread
from methods.plain_clip import CLIP, query_key
from methods.resclip import ResCLIP, same_word
from methods.scclip import SCCLIP, local_outlier_factor
from methods.sclip import SCLIP
from methods.sfp import SFP

AS_SHOWN: dict[str, Any] = {"resize": "shown", "window": None, "stride": None, "positions": "authors"}
CLOSE = 2e-6  # of a unit embedding, between two programs in single precision


@dataclass(frozen=True)
class Reduced(CLIP):
    """CLIP's own attention without residual and feed-forward."""

    def embeddings(self, features: ClipFeatures) -> Tensor:
        return features.embeddings(query_key, residual=False, feedforward=False)


HEADS: dict[str, ClipReader] = {
    "plain_clip": CLIP(**AS_SHOWN), "sclip": SCLIP(**AS_SHOWN), "clearclip": ClearCLIP(**AS_SHOWN),
    "naclip": NACLIP(**AS_SHOWN), "naclip_std2": NACLIP(std=2.0, **AS_SHOWN), "qk_reduced": Reduced(**AS_SHOWN),
    "maskclip_value": MaskCLIP(form="value", **AS_SHOWN), "maskclip_plain": MaskCLIP(**AS_SHOWN),
    "gem": GEM(depth=7, **AS_SHOWN), "gem_depth4_iter2": GEM(depth=4, iterations=2, **AS_SHOWN),
    "gem_temp": GEM(depth=7, inverse_temperature=0.5, **AS_SHOWN), "scclip": SCCLIP(**AS_SHOWN), "sfp": SFP(**AS_SHOWN),
}  # fmt: skip


def seen(reader: ClipReader, image: np.ndarray, port: str = "clean") -> ClipFeatures:
    """What the tower of the comparisons leaves of an image."""
    (found,) = clip_network(port).features([image], reader.clip_pass, reader.blocks)
    return found


@pytest.mark.parametrize("name", HEADS)
def test_a_head_gives_the_authors_embeddings_at_any_size(name: str) -> None:
    for place, image in enumerate(images(name)):
        (found,) = HEADS[name].embeddings(seen(HEADS[name], image))
        np.testing.assert_allclose(found.numpy(), arrays(name)[f"embedding{place}"], rtol=0, atol=CLOSE)


@pytest.mark.parametrize("reader", [SCCLIP(**AS_SHOWN), SFP(**AS_SHOWN)], ids=["scclip", "sfp"])
def test_the_tokens_that_are_mended_are_the_authors(reader: SCCLIP) -> None:
    name = "sfp" if isinstance(reader, SFP) else "scclip"
    for place, image in enumerate(images(name)):
        features = seen(reader, image)
        (odd,) = reader.outliers(features)
        assert odd.nonzero().flatten().tolist() == sorted(arrays(name)[f"outliers{place}"].tolist())
        if name == "scclip":
            (found,) = local_outlier_factor(features.inputs[0][:, 1:])
            np.testing.assert_allclose(found.numpy(), arrays(name)[f"lof{place}"], rtol=0, atol=CLOSE)


@pytest.mark.parametrize("place", [0, 1])
def test_resclips_two_answers(place: int) -> None:
    """The authors round S to half precision: 2e-5 of a unit embedding."""
    reader, held = ResCLIP(**AS_SHOWN), arrays("resclip")
    features = seen(reader, images("resclip")[place])
    first = features.scores(reader.embeddings(features), vocabulary(), plane_a_word=True)
    words = reader.patch_words(first, features, vocabulary())
    assert words.reshape(features.grid).tolist() == held[f"patch_class{place}"].tolist()
    (found,) = reader.answer(features, reader.residual(features), same_word(words, reader.std))
    np.testing.assert_allclose(found.numpy(), held[f"embedding{place}"], rtol=0, atol=4e-5)
    scores = reader.read({reader.clip_pass: features}, vocabulary())
    np.testing.assert_allclose(scores.numpy(), features.scores(found[None], vocabulary())[0].numpy(), atol=1e-7)


@pytest.mark.parametrize("place", [0, 1])
def test_clipers_fused_attention(place: int) -> None:
    held, network = arrays("cliper_clip"), clip_network()
    text = torch.from_numpy(np.concatenate([held["foreground"], held["background"]]))
    reader = FusedCLIP(background=("3", "4"), **AS_SHOWN)
    features = seen(reader, images("cliper_clip")[place])
    features.network = copy(network)
    features.network.text = TextBank(lambda sentences: text[[int(sentence) for sentence in sentences]])
    *_, (last, mix) = reader.answers(features)
    np.testing.assert_allclose(mix.mean(dim=1)[0, 1:, 1:].numpy(), held[f"attention{place}"], rtol=0, atol=CLOSE)
    unit = torch.nn.functional.normalize(torch.from_numpy(held[f"feature_last{place}"][1:]), dim=-1)
    np.testing.assert_allclose(last[0].flatten(0, 1).numpy(), unit.numpy(), rtol=0, atol=CLOSE)
    names = Vocabulary((("0",), ("1",), ("2",)), templates=("{}",))
    found = reader.read({reader.clip_pass: features}, names)
    np.testing.assert_allclose(found.numpy(), held[f"seg{place}"], rtol=0, atol=1e-5)  # a softmax of 100 times a cosine


@pytest.mark.parametrize("reader", [SCCLIP(**AS_SHOWN), SFP(**AS_SHOWN), ResCLIP(**AS_SHOWN), FusedCLIP(**AS_SHOWN)],
                         ids=lambda reader: type(reader).__name__)  # fmt: skip
def test_heads_of_several_blocks_run_in_half_precision(reader: ClipReader) -> None:
    image, whole = images("resclip")[1], clip_network()
    half = copy(whole)
    half.model = deepcopy(whole.model).to(torch.bfloat16)
    half.tower = half.model.vision_model
    found = []
    for network in (whole, half):
        (features,) = network.features([image], reader.clip_pass, reader.blocks)
        seen_by: dict[Any, Any] = {reader.clip_pass: features}
        found.append(reader.read(seen_by, vocabulary()))
    assert found[1].dtype == torch.float32 and torch.isfinite(found[1]).all()
    assert (found[0] - found[1]).abs().mean() < 0.3


@pytest.mark.parametrize("name", ["sclip", "gem"])
def test_the_librarys_position_table_is_another_one_off_the_native_size(name: str) -> None:
    native, other = images(name)
    library = {**AS_SHOWN, "positions": "library"}
    reader = SCLIP(**library) if name == "sclip" else GEM(depth=7, **library)
    same, moved = (
        np.abs(reader.embeddings(seen(reader, image))[0].numpy() - arrays(name)[f"embedding{place}"]).max()
        for place, image in enumerate((native, other))
    )
    assert same < CLOSE and 5e-3 < moved < 0.2


@pytest.mark.parametrize("smoothing", [0, 1.0, 0.35])
@pytest.mark.parametrize("denoising", [0, 0.3])
def test_maskclips_own_port_with_smoothing_and_denoising(smoothing: float, denoising: float) -> None:
    reader = MaskCLIP(
        port="official", resize="shown", key_smoothing=bool(smoothing), ks_norm="position", ks_threshold=smoothing,
        prompt_denoising=bool(denoising), pd_threshold=denoising,
    )  # fmt: skip
    held = arrays("maskclip_official")
    key = f"_ks{smoothing}_pd{denoising}"
    for place, image in enumerate(images("maskclip_official")):
        if f"scores{place}{key}" not in held:
            continue
        features = {reader.clip_pass: seen(reader, image, "official")}
        found = reader.read(features, vocabulary()).numpy()
        # A softmax of 100 times a cosine: rounding of 5e-7, which differs with the convolution that is chosen, is 5e-5.
        np.testing.assert_allclose(found, held[f"scores{place}{key}"], rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("name", ["daam_sd1", "daam_heads2488"])
def test_daam_averages_pairs_of_layer_and_head(name: str) -> None:
    """This UNet makes much of rounding: alone and in a batch of two its output differs by 2e-2, its maps by 2e-3. The
    mean of layers in place of pairs is 4e-2 away where heads differ."""
    from diffusers import UNet2DConditionModel

    held = arrays(name)
    unet = UNet2DConditionModel(**ast.literal_eval(str(held["config"]))).eval()
    shapes, seed = {key: one.shape for key, one in unet.state_dict().items()}, int(held["seed"])
    unet.load_state_dict({key: unet_weight(key, shape, seed) for key, shape in shapes.items()})
    layers = layers_of(unet, (32, 32))
    wanted = Wanted(frozenset(select(DAAM.layers, layers)), frozenset(), frozenset(), heads=True)
    prompt = Prompt("", tuple((token, (token,)) for token in range(7)))
    call = UNetCall((UNetRow(0, 0, prompt),), 0)
    kept = Kept([places_of([prompt], 8, torch.device("cpu"))], [call], wanted)
    kept.begin(call)
    latent, states = (torch.from_numpy(held[key])[None] for key in ("latent", "states"))
    with torch.no_grad(), reading(unet, wanted, kept.take):
        unet(latent, int(held["timestep"]), encoder_hidden_states=states)
    (features,) = kept.batch(layers, (32, 32), [(32, 32)], [np.zeros((1, 1, 3), np.uint8)])
    method = DAAM(model="anything")
    found = method.read({request: features for request in method.passes()}, Vocabulary((("a",),) * 7))
    np.testing.assert_allclose(found.numpy(), held["heat"], rtol=0, atol=6e-3)


def unet_weight(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """A tensor of the UNet of the comparisons, by its name in diffusers."""
    drawn = normal(name, shape, seed)
    if name.endswith("bias"):
        drawn = 0.05 * drawn
    elif len(shape) == 1:
        drawn = 1 + 0.1 * drawn
    else:
        loud = 3.0 if name.endswith(("to_q.weight", "to_k.weight")) else 1.0
        drawn = loud * float(np.prod(shape[1:])) ** -0.5 * drawn
    return torch.from_numpy(drawn.astype(np.float32))


@pytest.mark.parametrize(("times", "dilations"), [(1, (8, 16)), (10, (8, 16)), (5, (1, 2, 4))])
def test_pamr(times: int, dilations: tuple[int, ...]) -> None:
    held = arrays("pamr")
    weights = affinities(torch.from_numpy(held["pixels"]), dilations)
    found = spread(torch.from_numpy(held["mask"]), weights, dilations, times)
    wanted = held[f"out_{times}_{'_'.join(map(str, dilations))}"]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=5e-6)
