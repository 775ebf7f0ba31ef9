"""The training loop: a stopped training, taken up again, ends with the weights of one that was not stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.clip import captions_fit
from training.loop import rate_at, train
from training.settings import Settings, TrainingStage
from training.unet import draw_times, new_unet, start_tied
from training.vae import VaeTraining, new_vae

STAGE = TrainingStage("tiny", 12, 4, 1e-2, 3, 0.1, (0.9, 0.99), 0.01, average=0.9, every=4)


def weights(folder: Path, stops: list[int | None]) -> dict[str, Tensor]:
    """The averaged weights of a small network, trained in as many sittings as there are stops."""
    for stop in stops:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))

        def loss(step: int, generator: torch.Generator, model: nn.Module = model) -> dict[str, Tensor]:
            points = torch.randn(STAGE.batch, 3, generator=generator)
            return {"loss": (model(points) - points.sum(dim=1, keepdim=True)).square().mean()}

        train(model, loss, STAGE, folder, seed=0, stop=stop)
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("stops", [[4, None], [5, 9, None]])
def test_resuming_gives_the_weights_of_an_uninterrupted_training(tmp_path: Path, stops: list[int | None]) -> None:
    whole, parts = weights(tmp_path / "whole", [None]), weights(tmp_path / "parts", stops)
    for name, value in whole.items():
        assert torch.equal(value, parts[name])


def test_the_autoencoder_resumes_too(tmp_path: Path) -> None:
    settings = Settings().scaled(1e-6)
    settings = replace(settings, vae=replace(settings.vae, batch=2))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 96, 96, 3), dtype=np.uint8)
    found = []
    for folder, stops in (("whole", [None]), ("parts", [1, None])):
        for stop in stops:
            training = VaeTraining(new_vae(0), pixels, settings)
            train(training, training.loss, settings.vae, tmp_path / folder, seed=0, stop=stop)
        found.append(training.state_dict())
    assert settings.vae.steps == 2
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_the_log_has_a_line_a_sitting_at_least_and_the_last_step(tmp_path: Path) -> None:
    weights(tmp_path, [5, None])
    lines = [json.loads(line) for line in (tmp_path / "tiny.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 12]
    assert all(line["loss"] > 0.0 for line in lines)


def test_the_rate_warms_up_and_falls_to_the_floor() -> None:
    rates = [rate_at(STAGE, step) for step in range(STAGE.steps + 1)]
    assert rates[0] == pytest.approx(STAGE.rate / 3) and max(rates) == pytest.approx(STAGE.rate)
    assert rates[-1] == pytest.approx(STAGE.rate * STAGE.floor)
    assert rates[3:] == sorted(rates[3:], reverse=True)


def test_time_steps_cover_all_and_prefer_the_middle() -> None:
    times = draw_times(10000, torch.Generator().manual_seed(0))
    assert times.min() < 5 and times.max() > 994
    assert 0.74 < ((times >= 200) & (times < 800)).float().mean() < 0.78


def test_self_attention_starts_tied() -> None:
    block = new_unet(0).down_blocks[1].attentions[0].transformer_blocks[0]
    assert torch.equal(block.attn1.to_q.weight, block.attn1.to_k.weight)
    assert not torch.equal(block.attn2.to_q.weight[:, :8], block.attn2.to_k.weight[:, :8])
    points = nn.functional.layer_norm(torch.randn(500, 64), (64,))
    start_tied(block.attn1)
    query = block.attn1.to_q(points).unflatten(1, (2, -1))
    own = (query.square().sum(dim=2) * block.attn1.scale).mean()
    assert 11.0 < float(own.detach()) < 17.0


def test_a_caption_fits_when_the_image_shows_all_it_names() -> None:
    fits = captions_fit([[0, 3], [3]], [[3], [0, 3], [5]])
    assert fits.tolist() == [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
