"""Saved weights flow in; settings chosen on held-out train images and numbers on val images flow out, as JSON.

python -m training.measure           # reads methods/pretrained/shapes, prints and writes measured.json in the cache
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from benchmarks.shapes_world import CLASSES
from training.maskclip import FORMS, patch_scores
from training.probe import (
    Maps,
    Probe,
    ProbedPicture,
    class_scores,
    confusions,
    gain,
    miou_interval,
    percent_miou,
    pictures_of,
    refine,
)
from training.settings import SIDE, Settings
from training.shapes import ROOT

LAYERS = {
    "all": tuple(range(10)),
    "12": (1, 6, 7),
    "12 down": (1,),
    "12 up": (6, 7),
    "12 first two": (1, 6),
    "12 up first": (6,),
    "12 up last": (7,),
    "12 outer": (1, 7),
    "12 and 24": (0, 1, 6, 7, 8, 9),
    "6 and 12": (1, 2, 3, 4, 5, 6, 7),
    "up": (4, 5, 6, 7, 8, 9),
    "up6 and 12": (1, 4, 5, 6, 7),
}
REFINERS: dict[str, tuple[tuple[int, ...], int]] = {  # self-attention layers of one side, and the power
    "sar24": ((0, 8, 9), 1), "sar12": ((1, 6, 7), 1), "samap12": ((1, 6, 7), 4), "samap6": ((2, 3, 4, 5), 4),
    "square12": ((1, 6, 7), 2), "square24": ((0, 8, 9), 2),
}  # fmt: skip
TIMES = (1, 100, 200, 300, 400)
VAL = 200  # images of the val split
LEVELS = tuple(round(0.05 * place, 2) for place in range(4, 19))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.measure", description="Measures the embedded models.")
    parser.add_argument("--weights", type=Path, default=ROOT / "methods" / "pretrained" / "shapes")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "shapes-training")
    parser.add_argument("--images", type=int, default=150, help="of the train split, for choices")
    parser.add_argument("--times", type=int, nargs="+", default=list(TIMES))
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    settings = Settings()
    found = {
        "maskclip": measure_maskclip(options.weights / "clip", settings, options.images),
        "stableseg": measure_stableseg(options.weights / "diffusion", settings, options.images, options.times),
    }
    text = json.dumps(found, indent=1)
    (options.cache / "measured.json").write_text(text)
    print(text)


def open_probe(folder: Path, pictures: list[ProbedPicture]) -> tuple[Probe, UNet2DConditionModel]:
    """The saved pipeline's parts in float32, as a probe over the pictures, and its UNet."""
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae").float().eval()
    text = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder").float().eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").float().eval()
    return Probe.of(pictures, vae, text, tokenizer), unet


def measure_stableseg(folder: Path, settings: Settings, images: int, times: list[int]) -> dict[str, object]:
    """The best settings without, with one and with repeated refinement, chosen on train, and what they give on val."""
    train = pictures_of("train", range(settings.images, settings.images + settings.held_out), settings.seed)[:images]
    probe, unet = open_probe(folder, train)
    table: dict[str, float] = {}
    for time in times:
        table |= search(probe.maps(unet, time), train, time)
        print(json.dumps(best_of(table, time)), flush=True)
    val = pictures_of("val", range(VAL), settings.seed)
    probe_val, _ = open_probe(folder, val)
    found: dict[str, object] = {
        "chance on val": round(percent_miou(confusions(random_scores(val), val).sum(axis=0)), 2)
    }
    for name in chosen_settings(table):
        found[name] = {"train": round(table[name], 2)} | on_val(name, probe, probe_val, unet)
        print(name, json.dumps(found[name]), flush=True)
    return found | {"train": {name: round(value, 2) for name, value in table.items()}}


def chosen_settings(table: dict[str, float]) -> list[str]:
    """The best key of every kind of refinement: of all settings, and of Stable Diffusion's (all layers, min-max)."""
    kinds = ("none", "sar", "samap")
    usual = {name: value for name, value in table.items() if "|all|minmax|" in name}
    keys = [
        max((name for name in part if name.split("|")[3].startswith(kind)), key=part.__getitem__)
        for part in (table, usual)
        for kind in kinds
    ]
    return list(dict.fromkeys(keys))


def best_of(table: dict[str, float], time: int) -> dict[str, float]:
    """The five best plain and refined entries of one time step."""
    here = [name for name in table if name.startswith(f"{time}|")]
    plain = sorted((name for name in here if name.endswith("|none")), key=table.__getitem__, reverse=True)[:5]
    refined = sorted((name for name in here if not name.endswith("|none")), key=table.__getitem__, reverse=True)[:5]
    return {name: round(table[name], 2) for name in plain + refined}


def search(maps: list[Maps], pictures: list[ProbedPicture], time: int) -> dict[str, float]:
    """mIoU in percent of every combination; keys `time|layers|norm|refiner`."""
    table = {}
    for (name, layers), norm in itertools.product(LAYERS.items(), ("raw", "minmax")):
        scores = [class_scores(one, layers, norm == "minmax") for one in maps]
        table[f"{time}|{name}|{norm}|none"] = percent_miou(confusions(scores, pictures).sum(axis=0))
        for refiner, (own, power) in REFINERS.items():
            better = [refine(score, one, own, power) for score, one in zip(scores, maps, strict=True)]
            table[f"{time}|{name}|{norm}|{refiner}"] = percent_miou(confusions(better, pictures).sum(axis=0))
    return table


def scores_of(name: str, maps: list[Maps]) -> list[Tensor]:
    """The scores that a key of the table stands for."""
    _, layers, norm, refiner = name.split("|")
    scores = [class_scores(one, LAYERS[layers], norm == "minmax") for one in maps]
    if refiner == "none":
        return scores
    own, power = REFINERS[refiner]
    return [refine(score, one, own, power) for score, one in zip(scores, maps, strict=True)]


def on_val(name: str, train: Probe, val: Probe, unet: UNet2DConditionModel) -> dict[str, object]:
    """One setting on val: right prompts, wrong prompts, gain over no refinement, background by the train threshold."""
    time = int(name.split("|")[0])
    plain = name.rsplit("|", 1)[0] + "|none"
    maps = val.maps(unet, time)
    first, second = (confusions(scores_of(key, maps), val.pictures) for key in (plain, name))
    wrong = val.maps(unet, time, absent_classes(val.pictures))
    single = val.maps_per_class(unet, time)
    found: dict[str, object] = {
        "one prompt per class": round(percent_miou(confusions(scores_of(name, single), val.pictures).sum(axis=0)), 2),
        "miou": round(percent_miou(second.sum(axis=0)), 2),
        "without refinement": round(percent_miou(first.sum(axis=0)), 2),
        "interval": miou_interval(second),
        "gain with interval": gain(first, second),
        "wrong prompts": round(percent_miou(confusions(scores_of(name, wrong), val.pictures).sum(axis=0)), 2),
    }
    level = best_level(scores_of(name, train.maps(unet, time)), train.pictures)
    counts = confusions(scores_of(name, maps), val.pictures, level)
    return found | {"with background": round(percent_miou(counts.sum(axis=0)), 2), "threshold": level}


def best_level(scores: list[Tensor], pictures: list[ProbedPicture]) -> float:
    """The background threshold that is best on these (train) images."""
    return max(LEVELS, key=lambda level: percent_miou(confusions(scores, pictures, level).sum(axis=0)))


def absent_classes(pictures: list[ProbedPicture]) -> list[list[int]]:
    """For every image as many classes as it shows, none of them shown, in random order: neighbours look alike."""
    rng = np.random.default_rng(0)
    others = [[kind for kind in range(len(CLASSES)) if kind not in picture.present] for picture in pictures]
    return [
        rng.permutation(other)[: len(picture.present)].tolist() for other, picture in zip(others, pictures, strict=True)
    ]


def random_scores(pictures: list[ProbedPicture]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(len(picture.present), 24, 24, generator=generator) for picture in pictures]


def measure_maskclip(folder: Path, settings: Settings, images: int) -> dict[str, object]:
    """mIoU in percent of every form of the last block, without and with background."""
    clip = CLIPModel.from_pretrained(folder).float().eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    held_out = range(settings.images, settings.images + settings.held_out)
    train, val = (
        pictures_of("train", held_out, settings.seed)[:images],
        pictures_of("val", range(VAL), settings.seed),
    )
    found: dict[str, object] = {}
    for form in FORMS:
        on_train, on_val = (scores_of_clip(clip, tokenizer, pictures, form) for pictures in (train, val))
        level = best_level(on_train, train)
        counts = confusions(on_val, val)
        found[form] = {
            "train": round(percent_miou(confusions(on_train, train).sum(axis=0)), 2),
            "val": round(percent_miou(counts.sum(axis=0)), 2),
            "interval": miou_interval(counts),
            "with background": round(percent_miou(confusions(on_val, val, level).sum(axis=0)), 2),
            "threshold": level,
        }
    return found


def scores_of_clip(clip: CLIPModel, tokenizer: CLIPTokenizer, pictures: list[ProbedPicture], form: str) -> list[Tensor]:
    pixels: NDArray[np.uint8] = np.stack([picture.pixels for picture in pictures])
    assert pixels.shape[1:3] == (SIDE, SIDE)
    scores = patch_scores(clip, tokenizer, pixels, form)
    return [one[picture.present] for one, picture in zip(scores, pictures, strict=True)]


if __name__ == "__main__":
    main()
