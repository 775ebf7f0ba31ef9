"""CLIPer reads two passes: what it does with them, and that without attention CLIP's own scores are left."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from harness.contracts import MethodError, ProtocolSettings, Query
from harness.recipes.loading import build
from methods.clearclip import ClearCLIP
from methods.cliper import CLIPer
from methods.fused_clip import FusedCLIP
from methods.stableseg import StableSeg

SETTINGS: dict[str, Any] = {"model": "shapes", "resize": 64, "window": None, "stride": None}
TIMESTEP = 200


@pytest.fixture
def seen(small_model: str, ask: Callable[..., Query]) -> SimpleNamespace:
    """One image under both passes, and CLIP's scores of it."""
    query = ask("one", "cat", "dog", size=(64, 96))
    method = CLIPer(**SETTINGS, diffusion=small_model, size=(32, 48), timestep=TIMESTEP)
    features = {}
    for request, parts in method.passes().items():
        ((_, (held,)),) = build(request.backbone).run([query], {request: parts})
        features[request] = held
    scores = ClearCLIP(**SETTINGS).read(features, query.vocabulary)
    return SimpleNamespace(query=query, method=method, features=features, scores=scores)


def test_it_reads_both_passes(seen: SimpleNamespace) -> None:
    clip, diffusion = seen.method.passes()
    assert clip == seen.method.clip_pass
    assert seen.method.passes()[diffusion] == {"self:up:largest"}
    found = seen.method.read(seen.features, seen.query.vocabulary)
    large = F.interpolate(seen.scores[None], size=(16, 24), mode="bilinear", align_corners=False)[0]
    attention = seen.features[diffusion].self_attention("up:largest")
    expected = (attention.double() @ large.double().flatten(1).T).T.reshape(2, 16, 24)
    assert float((found.double() - expected).abs().max() / expected.abs().max()) < 1e-5
    assert not torch.allclose(found, large, atol=1e-4)


def test_it_shares_the_pass_of_stableseg_at_its_timestep(small_model: str, seen: SimpleNamespace) -> None:
    (theirs,) = StableSeg(small_model, size=(32, 48), timestep=TIMESTEP).passes()
    assert theirs in seen.method.passes()


def test_attention_that_is_the_identity_leaves_the_scores(seen: SimpleNamespace) -> None:
    clip, diffusion = seen.method.passes()
    left = seen.features[diffusion]
    still = SimpleNamespace(latent=left.latent, side=left.side, propagate=lambda maps, *_: maps)
    found = seen.method.read({clip: seen.features[clip], diffusion: still}, seen.query.vocabulary)
    expected = F.interpolate(seen.scores[None], size=(16, 24), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_without_refinement_only_clip_is_asked(small_model: str, seen: SimpleNamespace) -> None:
    plain = CLIPer(**SETTINGS, diffusion=small_model, refine="none")
    assert list(plain.passes()) == [seen.method.clip_pass]
    assert torch.equal(plain.read(seen.features, seen.query.vocabulary), seen.scores)


def test_any_refiner_can_stand_in(small_model: str, seen: SimpleNamespace) -> None:
    for refine in ("samap", "multiscale(power=2)", "vote(anchors=4)"):
        method = CLIPer(**SETTINGS, diffusion=small_model, size=(32, 48), timestep=TIMESTEP, refine=refine)
        features = {}
        for request, parts in method.passes().items():
            ((_, (held,)),) = build(request.backbone).run([seen.query], {request: parts})
            features[request] = held
        found = method.read(features, seen.query.vocabulary)
        assert found.shape == (2, 16, 24)
        assert torch.isfinite(found).all()


def test_the_scores_of_another_reader_are_spread(small_model: str, seen: SimpleNamespace) -> None:
    fused = "methods.fused_clip:FusedCLIP(model=shapes, resize=64, depth=4, background=[sky])"
    inner = FusedCLIP("shapes", resize=64, depth=4, background=("sky",))
    method = CLIPer(**SETTINGS, diffusion=small_model, size=(32, 48), timestep=TIMESTEP, scores=fused)
    assert set(method.passes()) == {inner.clip_pass, method.diffusion_pass} and method.idle == ("positions", "card")
    ((_, (held,)),) = build(inner.clip_pass.backbone).run([seen.query], inner.passes())
    features = {inner.clip_pass: held, method.diffusion_pass: seen.features[method.diffusion_pass]}
    scores = inner.read({inner.clip_pass: held}, seen.query.vocabulary)
    large = F.interpolate(scores[None], size=(16, 24), mode="bilinear", align_corners=False)[0]
    wanted = method.refiner.refine(large, seen.features[method.diffusion_pass])
    torch.testing.assert_close(method.read(features, seen.query.vocabulary), wanted)
    asked = CLIPer("shapes", diffusion=small_model, scores="methods.fused_clip:FusedCLIP(model=shapes)")
    cut = asked.resolved(ProtocolSettings("all", resize="short", size=48))["scores"]
    assert cut == "methods.fused_clip:FusedCLIP(model=shapes, resize=shown, window=null, stride=null)"


def test_what_gives_no_scores_is_refused(small_model: str) -> None:
    with pytest.raises(MethodError, match="CLIPer spreads the scores of a reader"):
        CLIPer(diffusion=small_model, scores="methods.controls:OneClass").passes()
