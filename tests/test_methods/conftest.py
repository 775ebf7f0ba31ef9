"""Small diffusion models with random weights, in diffusers' own format, and a plain reading of their attention."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.contracts import Query, Vocabulary

WORDS = ("a", "photo", "of", "and", "cat", "dog", "car", "an", "the")
STABLE_DIFFUSION_1 = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 768,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
SMALL = STABLE_DIFFUSION_1 | {
    "sample_size": 16,
    "attention_head_dim": 2,
    "block_out_channels": (16, 32, 48, 48),
    "cross_attention_dim": 24,
    "norm_num_groups": 8,
}


def write_tokenizer(folder: Path, positions: int) -> None:
    """A CLIP tokenizer that knows WORDS as whole tokens and spells everything else in bytes."""
    letters = [chr(code) for code in range(33, 127)] + [chr(code) for code in range(161, 512)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pair = (pieces[0], pieces[1])
            merges += [] if pair in merges else [pair]
            pieces = ["".join(pair), *pieces[2:]]
    tokens = [*letters, *(one + "</w>" for one in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n")
    from transformers import CLIPTokenizer

    CLIPTokenizer.from_pretrained(folder, model_max_length=positions).save_pretrained(folder)


def write_model(folder: Path, unet: dict[str, Any], positions: int, half: bool = False, seed: int = 0) -> Path:
    """A whole pipeline folder with random weights; queries and keys are made loud, so that attention is not flat."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(seed)
    write_tokenizer(folder / "tokenizer", positions)
    words = len(CLIPTokenizer.from_pretrained(folder / "tokenizer"))
    width = unet["cross_attention_dim"]
    text = CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=positions,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    network = UNet2DConditionModel(**unet)
    for name, module in network.named_modules():
        if name.endswith(("to_q", "to_k")):
            module.weight.data *= 2.0
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16)[:: 1 if unet["sample_size"] == 64 else 2],
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * (4 if unet["sample_size"] == 64 else 2),
        up_block_types=("UpDecoderBlock2D",) * (4 if unet["sample_size"] == 64 else 2),
        latent_channels=4,
    )
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    parts = {"unet": network, "vae": vae, "text_encoder": CLIPTextModel(text), "scheduler": scheduler}
    for name, part in parts.items():
        (part.half() if half and name != "scheduler" else part).save_pretrained(folder / name)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model with the block types of Stable Diffusion 1.x, 16 x 16 latents, a VAE of factor 2."""
    return str(write_model(tmp_path_factory.mktemp("diffusion") / "small", SMALL, 24))


@pytest.fixture(scope="session")
def write_diffusion() -> Callable[..., Path]:
    """`write_model`, for tests that want another one."""
    return write_model


@pytest.fixture(scope="session")
def stable_diffusion_1() -> dict[str, Any]:
    """The real UNet configuration of Stable Diffusion 1.x."""
    return STABLE_DIFFUSION_1


@pytest.fixture
def lots(rng: np.random.Generator) -> np.random.Generator:
    """Random numbers of this test's own."""
    return rng


@pytest.fixture
def ask(lots: np.random.Generator) -> Callable[..., Query]:
    """Makes queries with random non-square images."""

    def make(image_id: str, *names: str, size: tuple[int, int] = (37, 53)) -> Query:
        image = lots.integers(0, 256, (*size, 3), dtype=np.uint8)
        others = tuple((word,) for word in ("tree", "boat", "bird", "sky") if word not in names)
        return Query(image_id, image, Vocabulary(tuple((name,) for name in names), others))

    return make


@pytest.fixture(scope="session")
def plain() -> SimpleNamespace:
    """The independent reading: the whole UNet with explicit probabilities of every layer, all kept."""
    return SimpleNamespace(read=plain_attention, tokens_of=plain_tokens, latents=plain_latents)


def plain_attention(unet: Any, latents: Any, timestep: int, states: Any) -> list[tuple[Any, Any]]:
    """(self, cross) of every layer in network order, each (rows, heads, queries, keys)."""
    import torch

    kept: dict[str, Any] = {}

    class Explicit:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, **other: Any) -> Any:
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            query = attn.head_to_batch_dim(attn.to_q(hidden_states))
            key, value = attn.head_to_batch_dim(attn.to_k(context)), attn.head_to_batch_dim(attn.to_v(context))
            scores = torch.einsum("bqd,bkd->bqk", query, key) / query.shape[-1] ** 0.5
            probs = scores.softmax(dim=-1)
            kept[self.name] = probs.reshape(-1, attn.heads, *probs.shape[1:])
            mixed = attn.batch_to_head_dim(torch.einsum("bqk,bkd->bqd", probs, value))
            return attn.to_out[0](mixed)

    before = dict(unet.attn_processors)
    unet.set_attn_processor({name: Explicit(name) for name in before})
    try:
        with torch.no_grad():
            unet(latents, timestep, encoder_hidden_states=states)
    finally:
        unet.set_attn_processor(before)

    def order(name: str) -> tuple[int, ...]:
        stage = ("down", "mid", "up").index(name.split("_")[0])
        return (stage, *(int(number) for number in re.findall(r"\.(\d+)", name)))

    own = sorted((name for name in kept if "attn1" in name), key=order)
    return [(kept[name], kept[name.replace("attn1", "attn2")]) for name in own]


def plain_tokens(tokenizer: Any, prompt: str, name: str) -> list[int]:
    """Positions of a name's tokens: its own token ids are looked for in those of the prompt (the first match)."""
    whole = tokenizer(prompt)["input_ids"]
    part = tokenizer(name)["input_ids"][1:-1]
    for start in range(len(whole)):
        if whole[start : start + len(part)] == part:
            return list(range(start, start + len(part)))
    raise AssertionError(f"{name} is not in {prompt}")


def plain_latents(network: Any, queries: Sequence[Query], timestep: int, seed: int = 0) -> Any:
    """Noisy latents by the formula, from the network's own VAE, image by image, with its own noise."""
    import torch
    from diffusers import DDPMScheduler

    from methods.diffusion.images import fit_image
    from methods.diffusion.network import normal

    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    found = []
    for query in queries:
        pixels, _ = fit_image(query.image, network.size, network.factor, "stretch")
        tensor = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1.0
        with torch.no_grad():
            clean = network.vae.encode(tensor).latent_dist.mean * network.vae.config.scaling_factor
        noise = normal(tuple(clean.shape[1:]), "noise", seed, query.image_id, 0)[None]
        found.append(schedule.add_noise(clean, noise, torch.tensor([timestep])))
    return torch.cat(found)
