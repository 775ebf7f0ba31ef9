"""A model's name, folder or hub id flows in; the opened network flows out, or one sentence that says why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from harness.contracts import ModelError
from methods.checkpoints import fetch, variant
from methods.clip.network import ClipNetwork
from methods.clip.pixels import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Normalisation
from methods.hub import reason
from methods.quiet import quiet


def open_network(model: str, revision: str | None, *, dtype: str, port: str, compiled: bool = False) -> ClipNetwork:
    """The model at its place, on the GPU when there is one. ModelError, one sentence, when it cannot be had."""
    folder = fetch(model, "clip", revision)
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():  # it would open, empty
        raise ModelError(
            f"The CLIP model in {folder} has no tokenizer: it needs tokenizer.json, or vocab.json and merges.txt."
        )
    weights = variant(folder)
    try:
        with quiet("transformers"):
            config = CLIPConfig.from_pretrained(folder)
            if port == "official":
                config.vision_config.hidden_act, config.vision_config.layer_norm_eps = "gelu", 1e-6
            opened, notes = CLIPModel.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                variant=weights or None,
                local_files_only=True,
                output_loading_info=True,
            )
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as problem:  # a library's own tree of errors, and those of safetensors below it
        raise ModelError(f"The CLIP model {model!r} cannot be opened from {folder}: {reason(problem)}.") from problem
    if notes["missing_keys"]:
        absent = sorted(notes["missing_keys"])
        raise ModelError(f"The CLIP model {model!r} in {folder} lacks {len(absent)} of its weights, {absent[0]} first.")
    words, end = config.text_config.vocab_size, tokenizer.eos_token_id
    if end is None or end >= words or tokenizer("a").input_ids[-1] != end:
        raise ModelError(
            f"The tokenizer of the CLIP model {model!r} in {folder} ends a text with a mark ({tokenizer.eos_token!r}, "
            f"number {end}) that its text encoder of {words} tokens cannot be read at: take both from one checkpoint."
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rule = Normalisation.of_folder(folder)
    if port == "official":
        rule = replace(rule or Normalisation(), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    remarks = [] if rule else [_assumed(model, folder)]
    return ClipNetwork(opened, tokenizer, rule or Normalisation(), device, remarks, compiled)


def _assumed(model: str, folder: Path) -> str:
    """What is said of a folder that does not say how its colours are normalised."""
    return (
        f"The CLIP model {model!r} in {folder} has neither processor_config.json nor preprocessor_config.json: its "
        f"colours are normalised with OpenAI's mean {CLIP_MEAN} and deviation {CLIP_STD}."
    )
