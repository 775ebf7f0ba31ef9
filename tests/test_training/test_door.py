"""The whole training, a few steps a stage: what it writes opens as Stable Diffusion and CLIP do."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from in_process import as_it_was
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from training import shapes
from training.settings import Settings

SHIPPED = shapes.ROOT / "methods" / "pretrained" / "shapes"


def check_formats(folder: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(folder / "diffusion", torch_dtype=torch.float32)
    assert pipeline.vae_scale_factor == 4
    assert len(pipeline.unet.attn_processors) == 20
    unet = UNet2DConditionModel.from_pretrained(folder / "diffusion", subfolder="unet")
    clip = CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "clip")
    size = CLIPImageProcessor.from_pretrained(folder / "clip").size
    assert (size["height"], size["width"]) == (96, 96)
    assert unet.config.sample_size == 24 and clip.config.vision_config.image_size == 96
    tokens = tokenizer(["a photo of a star"], padding="max_length", return_tensors="pt").input_ids
    states = pipeline.text_encoder(tokens).last_hidden_state
    assert torch.equal(states, clip.text_model(input_ids=tokens).last_hidden_state)  # one text tower in both
    with torch.no_grad():
        assert unet(torch.zeros(1, 4, 24, 24), 1, encoder_hidden_states=states).sample.shape == (1, 4, 24, 24)


class Here:
    """A process of the training that runs in this one, for `subprocess`: it is done when it has started."""

    def __init__(self, command: list[str], **_: Any) -> None:
        assert command[:3] == [sys.executable, "-m", "training.shapes"]
        shapes.main(command[3:])

    def wait(self) -> int:
        return 0


def few() -> Settings:
    """The recipe with two steps a stage, smaller batches and few pictures."""
    short = Settings().scaled(1e-6)
    stages = {stage.name: replace(stage, batch=4) for stage in (short.clip, short.vae, short.unet)}
    return replace(short, images=48, held_out=16, **stages)


def test_one_command_trains_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "subprocess", SimpleNamespace(run=Here, Popen=Here))
    monkeypatch.setattr(shapes, "Settings", few)
    arguments = ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    with as_it_was(tmp_path):
        shapes.main(arguments)
        for part in ("text_encoder", "tokenizer", "unet", "vae", "scheduler"):
            assert (tmp_path / "out" / "diffusion" / part).is_dir()
        for stage in ("clip", "vae", "unet"):
            assert (tmp_path / "cache" / f"{stage}.jsonl").exists()
        StableDiffusionPipeline.from_pretrained(tmp_path / "out" / "diffusion")
        shapes.main(arguments)  # again: nothing is left to train, and nothing breaks


def test_the_shipped_models_open_and_are_small() -> None:
    check_formats(SHIPPED)
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 12e6
