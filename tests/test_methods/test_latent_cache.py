"""Latents kept on disk: the same features with and without them, and no encoding the second time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.contracts import ModelError, Query, Recipe
from harness.recipes import identity
from methods.diffusion import Diffusion, DiffusionPass
from methods.diffusion.latent_cache import LatentCache

ADDRESS = "methods.diffusion:Diffusion"


def maps(backbone: Diffusion, queries: list[Query]) -> tuple[list[Any], int]:
    """The class maps of all queries, and how often the VAE was asked."""
    calls = []
    network = backbone.network
    hook = network.vae.encoder.register_forward_hook(lambda *_: calls.append(1))
    request = DiffusionPass(Recipe.of(ADDRESS, model=backbone.model), timestep=100)
    ((_, features),) = backbone.run(queries, {request: frozenset({"cross:all"})})
    hook.remove()
    return [maps for one in features for _, maps in one.class_maps("all", "mean", "mean")], len(calls)


def test_a_second_sweep_encodes_nothing_and_sees_the_same(
    small_model: str, ask: Callable[..., Query], tmp_path: Path
) -> None:
    queries = [ask("a", "cat", "dog", size=(40, 56)), ask("b", "car", size=(64, 48))]
    kept = {"model": small_model, "latents": "float16", "latent_cache": str(tmp_path / "cache")}
    plain, asked = maps(Diffusion(model=small_model, latents="float16"), queries)
    first, asked_first = maps(Diffusion(**kept), queries)
    second, asked_second = maps(Diffusion(**kept), queries)
    assert (asked, asked_first, asked_second) == (1, 1, 0)
    for one, two, three in zip(plain, first, second, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_latents_are_kept_however_a_card_lays_them_out(tmp_path: Path, rng: np.random.Generator) -> None:
    images = [rng.integers(0, 256, (16, 24, 3)).astype(np.uint8) for _ in range(2)]
    there = [torch.randn(2, 4, 2, 3).to(memory_format=torch.channels_last) for _ in range(2)]
    cache = LatentCache(str(tmp_path), "maker")
    cache.keep(images, *there)
    found = cache.load(images)
    assert found is not None
    assert all(torch.equal(one.half().float(), other) for one, other in zip(there, found, strict=True))
    assert {path.stat().st_size < 300 for path in tmp_path.iterdir()} == {True}  # no image's file holds another's


def test_another_size_another_image_and_a_damaged_file_are_encoded_anew(
    small_model: str, ask: Callable[..., Query], tmp_path: Path
) -> None:
    kept = {"model": small_model, "latents": "float16", "latent_cache": str(tmp_path)}
    query = ask("a", "cat", size=(40, 56))
    assert maps(Diffusion(**kept), [query])[1] == 1
    assert maps(Diffusion(**kept, resize="pad"), [query])[1] == 1
    assert maps(Diffusion(**kept), [ask("a", "cat", size=(40, 56))])[1] == 1, "other pixels under the same name"
    assert maps(Diffusion(**kept), [query])[1] == 0
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    assert maps(Diffusion(**kept), [query])[1] == 1
    assert maps(Diffusion(**kept), [query])[1] == 0


def test_the_folder_is_in_no_id_and_half_precision_is(small_model: str) -> None:
    def facts(**settings: object) -> dict[str, Any]:
        recipe = Recipe.of(ADDRESS, model=small_model, **settings)
        return identity.facts(recipe, Diffusion(**recipe.as_dict()))

    assert facts(latents="float16", latent_cache="here") == facts(latents="float16", latent_cache="there")
    assert facts(latents="float16") != facts()


def test_a_cache_of_full_precision_is_refused() -> None:
    with pytest.raises(ModelError, match="set latents to 'float16'"):
        Diffusion(latent_cache="somewhere")
