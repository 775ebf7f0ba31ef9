"""The diffusion backbone against a plain reading with explicit probabilities, and what a pass may and may not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.contracts import ModelError, Query, Recipe, Vocabulary
from methods.diffusion import Diffusion, DiffusionPass
from methods.diffusion.attention import Wanted, attend, probabilities, reading
from methods.diffusion.images import fit_image
from methods.diffusion.network import normal

EVERYTHING = frozenset({"cross:all", "self:all"})
Ask = Callable[..., Query]


@pytest.fixture(scope="module")
def backbone(small_model: str) -> Diffusion:
    return Diffusion(small_model, size=(32, 48))


@pytest.fixture(scope="module")
def recipe(small_model: str) -> Recipe:
    return Recipe.of("methods.diffusion:Diffusion", model=small_model, size=(32, 48))


def one(backbone: Diffusion, query: Query, request: DiffusionPass, parts: frozenset[str] = EVERYTHING) -> Any:
    ((_, features),) = backbone.run([query], {request: parts})
    return features[0]


def states_of(network: Any, prompt: str) -> torch.Tensor:
    ids = network.text.tokenizer(prompt, padding="max_length", max_length=24, return_tensors="pt").input_ids
    with torch.no_grad():
        return network.text.encoder(input_ids=ids).last_hidden_state


def formats_of(network: Any) -> set[torch.dtype]:
    networks = (network.unet, network.vae, network.text.encoder)
    return {weights.dtype for network in networks for weights in network.parameters()}


def hooks_in(module: torch.nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, as a share of the largest expected value."""
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


PROMPTS = {
    "joint": ("joint", ("dog", "traffic light", "cat"), ["a photo of a dog and a traffic light and a cat"] * 3),
    "per_class": ("per_class", ("dog", "traffic light"), ["a photo of a dog", "a photo of a traffic light"]),
    "split": (
        "joint",
        ("traffic light", "dog", "wall clock", "cat"),
        ["a photo of a traffic light and a dog"] * 2 + ["a photo of a wall clock and a cat"] * 2,
    ),
}


@pytest.mark.parametrize("case", PROMPTS)
@pytest.mark.parametrize("timestep", [1, 300])
def test_maps_equal_a_plain_reading(
    case: str, timestep: int, backbone: Diffusion, recipe: Recipe, ask: Ask, plain: SimpleNamespace
) -> None:
    mode, names, prompts = PROMPTS[case]
    query = ask("one", *names)
    features = one(backbone, query, DiffusionPass(recipe, timestep, mode))
    network = backbone.network
    latents = plain.latents(network, [query], timestep)
    attention = {text: plain.read(network.unet, latents, timestep, states_of(network, text)) for text in prompts}
    sides = [(16, 24)] * 2 + [(8, 12)] * 2 + [(4, 6)] * 2 + [(2, 3)] + [(4, 6)] * 3 + [(8, 12)] * 3 + [(16, 24)] * 3
    found = features.class_maps("all")
    assert [layer.resolution for layer, _ in found] == sides
    for layer, maps in found:
        for position, (name, prompt) in enumerate(zip(names, prompts, strict=True)):
            cross = attention[prompt][layer.index][1][0]
            places = plain.tokens_of(network.text.tokenizer, prompt, name)
            assert len(places) == (1 if " " not in name else len(name) - 1)
            expected = cross.mean(dim=0)[:, places].mean(dim=-1).reshape(layer.resolution)
            assert off(maps[position], expected) < 1e-4
    rows = list(dict.fromkeys(prompts))
    for side in ("1/1", "1/2"):
        indices = [index for index in range(16) if sides[index] == features.side(side)]
        own = torch.stack([attention[row][index][0][0].mean(dim=0) for row in rows for index in indices]).mean(dim=0)
        assert torch.allclose(features.self_attention(side).sum(dim=1), torch.ones(len(own)), atol=1e-5)
        assert off(features.self_attention(side), own) < 1e-4
        given = torch.rand(45, *features.side(side))
        expected = (torch.linalg.matrix_power(own.double(), 4) @ given.double().flatten(1).T).T.reshape(given.shape)
        assert off(features.propagate(given, side, 4), expected) < 1e-4


def test_guidance_would_change_nothing_that_is_read(ask: Ask, plain: SimpleNamespace) -> None:
    """Both halves in one call, as tools with guidance run them: the conditional half is what a pass reads anyway."""
    query = ask("one", "circle", "star")
    network = Diffusion("shapes").network
    recipe = Recipe.of("methods.diffusion:Diffusion", model="shapes")
    features = one(Diffusion("shapes"), query, DiffusionPass(recipe, 100))
    tokenizer, prompt = network.text.tokenizer, "a photo of a circle and a star"
    ids = tokenizer(["", prompt], padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        states = network.text.encoder(input_ids=ids).last_hidden_state
    latents = plain.latents(network, [query], 100)
    attention = plain.read(network.unet, latents.expand(2, -1, -1, -1), 100, states)
    tokens = [plain.tokens_of(tokenizer, prompt, name) for name in ("circle", "star")]
    moved = 0.0
    for layer, maps in features.class_maps("all"):
        own, cross = attention[layer.index]
        expected = torch.stack([cross[1].mean(dim=0)[:, places].mean(dim=-1) for places in tokens])
        assert off(maps.flatten(1), expected) < 1e-4
        assert off(features.self_attention(str(layer.index)), own[1].mean(dim=0)) < 1e-4
        moved = max(moved, off(own[0], own[1]), off(cross[0], cross[1]))
    assert moved > 0.1  # the halves themselves are far from alike


def test_the_first_prompt_alone_can_refine(backbone: Diffusion, recipe: Recipe, ask: Ask) -> None:
    query = ask("one", "dog", "cat", "car")
    request = DiffusionPass(recipe, 1, "per_class")
    every = one(backbone, query, request)
    first = one(backbone, query, request, frozenset({"self-first:1/2"}))
    assert torch.equal(first.self_attention("1/2", "first"), every.self_attention("1/2", "first"))
    assert not torch.equal(every.self_attention("1/2"), every.self_attention("1/2", "first"))
    with pytest.raises(Exception, match="declare self:2"):
        first.self_attention("1/2")


def test_heads_and_tokens_can_be_joined_otherwise(backbone: Diffusion, recipe: Recipe, ask: Ask) -> None:
    query, request = ask("one", "dog", "traffic light"), DiffusionPass(recipe)
    joined = one(backbone, query, request, frozenset({"cross:1/2"}))
    apart = one(backbone, query, request, frozenset({"cross:1/2", "heads"}))
    for (_, mean), (_, same), (_, each) in zip(
        joined.class_maps("1/2"), apart.class_maps("1/2"), apart.class_maps("1/2", heads="each"), strict=True
    ):
        assert torch.equal(mean, same)  # to the last bit, whoever else reads the pass
        torch.testing.assert_close(each.mean(dim=0), mean)
        assert each.shape == (2, 2, 8, 12)
    summed = joined.class_maps("2", tokens="sum")
    torch.testing.assert_close(summed[0][1][1], joined.class_maps("2")[0][1][1] * 12, rtol=1e-5, atol=0)


def test_a_stopped_forward_gives_the_same_maps(backbone: Diffusion, recipe: Recipe, ask: Ask) -> None:
    query, request = ask("one", "dog", "cat"), DiffusionPass(recipe, 100)
    reached: list[str] = []
    unet = backbone.network.unet
    handles = [
        unet.get_submodule(name).register_forward_hook(lambda *_, name=name: reached.append(name))
        for name in ("down_blocks.2", "mid_block", "up_blocks.1", "up_blocks.2", "conv_out")
    ]
    try:
        short = one(backbone, query, request, frozenset({"cross:4-8", "self:4"}))
        assert reached == ["down_blocks.2", "mid_block"]
        whole = one(backbone, query, request)
    finally:
        for handle in handles:
            handle.remove()
    for (_, stopped), (_, full) in zip(short.class_maps("4-8"), whole.class_maps("4-8"), strict=True):
        assert torch.equal(stopped, full)
    assert torch.equal(short.self_attention("4"), whole.self_attention("4"))


def test_reading_changes_nothing_and_leaves_nothing(backbone: Diffusion) -> None:
    unet = backbone.network.unet
    latents, states = torch.randn(1, 4, 16, 24), torch.randn(1, 24, 24)
    before = dict(unet.attn_processors)
    seen: list[torch.Tensor] = []
    last = unet.up_blocks[3].attentions[2].transformer_blocks[0].attn2
    handle = last.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    with torch.no_grad():
        plain = unet(latents, 1, encoder_hidden_states=states).sample
        with reading(unet, Wanted(frozenset(range(16)), frozenset(range(16)), frozenset()), lambda *_: None):
            unet(latents, 1, encoder_hidden_states=states)
        again = unet(latents, 1, encoder_hidden_states=states).sample
    handle.remove()
    assert torch.equal(seen[0], seen[1])  # what reaches the last layer, with all others read on the way
    assert torch.equal(plain, again)
    assert hooks_in(unet) == 0
    assert all(unet.attn_processors[name] is processor for name, processor in before.items())


def test_hooks_go_when_the_forward_fails(backbone: Diffusion, recipe: Recipe, ask: Ask) -> None:
    unet = backbone.network.unet

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    handle = unet.mid_block.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            one(backbone, ask("one", "dog"), DiffusionPass(recipe))
    finally:
        handle.remove()
    assert hooks_in(unet) == 0


def test_the_fused_kernel_runs() -> None:
    queries, keys = torch.randn(2, 8, 4096, 40)
    values = torch.rand(4096, 80)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        some = attend(queries[None], keys[None], values[None, :, :50])[0]
        found = attend(queries[None], keys[None], values.T.contiguous().T[None])[0]  # columns apart, as maps lie
    events = {event.key for event in profile.key_averages()}
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in events
    assert not any("_scaled_dot_product_attention_math" in event for event in events)
    assert torch.equal(some, found[:, :50])  # no class depends on how many others there are
    expected = torch.zeros(64, 80, dtype=torch.float64)
    for query, key in zip(queries.double(), keys.double(), strict=True):
        expected += (query[:64] @ key.T / 40**0.5).softmax(dim=-1) @ values.double() / 8
    torch.testing.assert_close(found[:64].double(), expected, rtol=1e-5, atol=0)
    assert torch.allclose(probabilities(queries[:, :64], keys).sum(dim=-1), torch.ones(8, 64), atol=1e-5)


class Counter:
    """Counts images that enter the VAE's encoder and rows that enter the UNet."""

    def __init__(self, network: Any) -> None:
        self.encoded: list[int] = []
        self.rows: list[int] = []
        self.handles = [
            network.vae.encoder.register_forward_pre_hook(lambda module, given: self.encoded.append(len(given[0]))),
            network.unet.conv_in.register_forward_pre_hook(lambda module, given: self.rows.append(len(given[0]))),
        ]

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def test_one_encoding_and_one_row_an_image_and_timestep(backbone: Diffusion, recipe: Recipe, ask: Ask) -> None:
    queries = [ask(str(number), "dog", "cat") for number in range(3)]
    requests = {DiffusionPass(recipe, timestep): frozenset({"cross:all"}) for timestep in (1, 100, 300)}
    with Counter(backbone.network) as count:
        passes = [request for request, _ in backbone.run(queries, requests)]
    assert passes == list(requests)
    assert count.encoded == [3]
    assert count.rows == [3, 3, 3]
    sampled = {DiffusionPass(recipe, latent="sample"): EVERYTHING, DiffusionPass(recipe): EVERYTHING}
    with Counter(backbone.network) as count:
        list(backbone.run(queries, sampled))
    assert count.encoded == [3]
    assert len({request.encoding for request in sampled}) == 1


def test_prompts_fill_calls_of_fixed_size(small_model: str, recipe: Recipe, ask: Ask) -> None:
    backbone = Diffusion(small_model, size=(32, 48), rows=4)
    queries = [ask("a", "dog", "cat", "car"), ask("b", "cat", "tree")]
    with Counter(backbone.network) as count:
        list(backbone.run(queries, {DiffusionPass(recipe, prompt="per_class"): EVERYTHING}))
    assert count.rows == [4, 4]


def test_company_changes_no_bit(backbone: Diffusion, recipe: Recipe, ask: Ask) -> None:
    first, third = ask("a", "dog", "cat"), ask("c", "dog")
    second = ask("b", "cat", "car", "traffic light", "wall clock")
    filler = Query("", np.full((64, 64, 3), 127, np.uint8), Vocabulary((("dog",),)))
    for mode in ("joint", "per_class"):
        request = DiffusionPass(recipe, 100, mode)
        found = []
        for company, parts in (([second, third], EVERYTHING), ([filler, filler], frozenset({"cross:0-9", "self:1/2"}))):
            ((_, features),) = backbone.run([first, *company], {request: parts})
            found.append(features[0])
        for (_, one_map), (_, other) in zip(found[0].class_maps("0-9"), found[1].class_maps("0-9"), strict=True):
            assert torch.equal(one_map, other)
        given = torch.rand(2, 8, 12)
        narrow = frozenset({"cross:0-9", "self:1/2"})
        ((_, alone),) = backbone.run([first, filler, filler], {request: narrow})
        assert torch.equal(alone[0].propagate(given, "2,3"), found[0].propagate(given, "2,3"))


def test_noise_depends_on_seed_image_and_draw_alone(backbone: Diffusion, recipe: Recipe, ask: Ask) -> None:
    shape = (4, 16, 24)
    here = normal(shape, "noise", 0, "x", 0)
    normal(shape, "noise", 0, "y", 0)
    torch.manual_seed(3)
    assert torch.equal(here, normal(shape, "noise", 0, "x", 0))
    others = [("noise", 1, "x", 0), ("noise", 0, "y", 0), ("noise", 0, "x", 1), ("latent", 0, "x", 0)]
    assert all(not torch.equal(here, normal(shape, *other)) for other in others)
    assert abs(float(here.mean())) < 0.1
    assert abs(float(here.std()) - 1.0) < 0.1
    queries = [ask("a", "dog"), ask("b", "dog")]
    network = backbone.network
    posterior = network.encode([fit_image(query.image, network.size, 2, "stretch")[0] for query in queries])
    there = network.noisy(posterior, queries, DiffusionPass(recipe, 300, seed=4))
    turned = type(posterior)(*(part.flip(0) for part in posterior))
    swapped = network.noisy(turned, queries[::-1], DiffusionPass(recipe, 300, seed=4))
    assert torch.equal(there, swapped.flip(0))
    clean = network.noisy(posterior, queries, DiffusionPass(recipe, 300, add_noise=False))
    assert torch.equal(clean, posterior.mean)
    nearly = network.noisy(posterior, queries, DiffusionPass(recipe, 1))
    expected = 0.99915 * posterior.mean + 0.04128 * torch.stack([normal(shape, "noise", 0, key, 0) for key in "ab"])
    torch.testing.assert_close(nearly, expected, rtol=0, atol=1e-4)


def test_permuting_names_permutes_maps(backbone: Diffusion, recipe: Recipe, ask: Ask) -> None:
    query = ask("one", "dog", "cat", "traffic light")
    turned = Query("one", query.image, Vocabulary(query.vocabulary.names[::-1]))
    request = DiffusionPass(recipe, 50, "per_class")
    parts = frozenset({"cross:all"})
    found, mirrored = (one(backbone, asked, request, parts).class_maps() for asked in (query, turned))
    for (_, maps), (_, other) in zip(found, mirrored, strict=True):
        torch.testing.assert_close(maps, other.flip(0), rtol=1e-5, atol=0)


def test_wrong_names_are_read_at_the_right_positions(backbone: Diffusion, recipe: Recipe, ask: Ask) -> None:
    query = ask("one", "dog", "cat")
    network = backbone.network
    wrong = DiffusionPass(recipe, whose_names="others")
    (row,) = network.rows(0, query, wrong)
    words = [word for word in ("tree", "boat", "bird", "sky") if word in row.prompt.text]
    assert len(words) == 2
    assert "dog" not in row.prompt.text
    assert one(backbone, query, wrong, frozenset({"cross:1/2"})).class_maps("1/2")[0][1].shape == (2, 8, 12)


def test_no_names_give_no_maps(backbone: Diffusion, recipe: Recipe, ask: Ask) -> None:
    for mode in ("joint", "per_class"):
        features = one(backbone, ask("one"), DiffusionPass(recipe, prompt=mode), frozenset({"cross:1/2"}))
        assert features.class_maps("1/2")[0][1].shape == (0, 8, 12)


def test_padding_is_cut_off_again(small_model: str, recipe: Recipe, ask: Ask) -> None:
    backbone = Diffusion(small_model, size=(32, 48), resize="pad")
    query = ask("one", "dog", size=(60, 30))
    features = one(backbone, query, DiffusionPass(recipe), frozenset({"cross:1/2"}))
    assert features.alone.contents == ((16, 8),)
    given = torch.arange(16 * 24.0).reshape(1, 16, 24)
    assert torch.equal(features.crop(given), given[:, :16, :8])
    pixels, filled = fit_image(query.image, (32, 48), 2, "pad")
    assert filled == (32, 16)
    assert (pixels[:, 16:] == 127).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_number_formats(dtype: str, small_model: str, backbone: Diffusion, recipe: Recipe, ask: Ask) -> None:
    low = Diffusion(small_model, size=(32, 48), dtype=dtype)
    query, request = ask("one", "dog", "cat"), DiffusionPass(recipe, 100)
    exact, rough = (one(net, query, request).class_maps("1/2") for net in (backbone, low))
    for (_, maps), (_, near) in zip(exact, rough, strict=True):
        assert near.dtype == torch.float32
        assert float((maps - near).abs().max()) < 0.02
    assert formats_of(low.network) == {getattr(torch, dtype)}


def test_half_precision_files_open_in_one_format(
    tmp_path_factory: pytest.TempPathFactory, write_diffusion: Callable[..., Any]
) -> None:
    small = {
        "sample_size": 16,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "cross_attention_dim": 24,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2,
    }
    folder = write_diffusion(tmp_path_factory.mktemp("half") / "model", small, 24, half=True)
    network = Diffusion(str(folder)).network
    assert formats_of(network) == {torch.float32}
    assert [(layer.path.split(".transformer")[0], layer.factor) for layer in network.layers] == [
        ("down_blocks.0.attentions.0", 1),
        ("down_blocks.1.attentions.0", 2),
        ("mid_block.attentions.0", 2),
        ("up_blocks.0.attentions.0", 2),
        ("up_blocks.0.attentions.1", 2),
        ("up_blocks.1.attentions.0", 1),
        ("up_blocks.1.attentions.1", 1),
    ]


def wrong_requests(recipe: Recipe) -> Iterator[tuple[DiffusionPass, str, str]]:
    yield DiffusionPass(recipe, 1000), "cross:all", "timestep is 1000; this model knows 0 to 999"
    yield DiffusionPass(recipe), "crows:all", "no part 'crows:all'"
    yield DiffusionPass(recipe), "cross:16", "no layer '16'.*16 attention layers"
    yield DiffusionPass(recipe), "self:1/16", "no layer '1/16'"
    yield DiffusionPass(recipe, template="a photo"), "cross:all", "needs exactly one {}"


def test_what_cannot_be_served_is_said(backbone: Diffusion, small_model: str, recipe: Recipe, ask: Ask) -> None:
    for request, part, message in wrong_requests(recipe):
        with pytest.raises(ModelError, match=message):
            one(backbone, ask("one", "dog"), request, frozenset({part}))
    with pytest.raises(ModelError, match="multiples of 2 pixels"):
        one(Diffusion(small_model, size=(33, 48)), ask("one", "dog"), DiffusionPass(recipe))
    with pytest.raises(ModelError, match="prompt is 'both'; it can be 'joint' or 'per_class'"):
        DiffusionPass(recipe, prompt="both")
    with pytest.raises(ModelError, match="not a str"):
        list(backbone.run([ask("one", "dog")], {"pass": EVERYTHING}))  # type: ignore[dict-item]
