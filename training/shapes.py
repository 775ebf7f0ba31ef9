"""Settings flow in; the embedded models of the Shapes world flow out, trained from scratch by one command.

python -m training.shapes            # everything; stopped and started again, it goes on where it was
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
import transformers

from training.loop import train
from training.pictures import draw_all, load_all
from training.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("pictures", "clip", "vae", "latents", "unet", "export")


def main(arguments: list[str] | None = None) -> None:
    """Runs the stages asked for, in order; CLIP and autoencoder at the same time when both are asked for."""
    options = _options(arguments)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    settings = Settings().scaled(options.steps_scale) if options.steps_scale != 1.0 else Settings()
    if {"clip", "vae"} <= set(options.stages):
        _beside(options)
        options.stages = [stage for stage in options.stages if stage not in ("pictures", "clip", "vae")]
    for stage in STAGES:
        if stage in options.stages:
            print(f"stage {stage}", flush=True)
            RUN[stage](settings, options.cache, options.out)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.shapes", description="Trains the embedded Shapes models.")
    parser.add_argument("--out", type=Path, default=ROOT / "methods" / "pretrained" / "shapes")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "shapes-training")
    parser.add_argument("--steps-scale", type=float, default=1.0, help="multiplies the steps of every stage")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(arguments)


def _beside(options: argparse.Namespace) -> None:
    """Draws the pictures, then trains CLIP and autoencoder as two processes of half the threads each."""
    command = [sys.executable, "-m", "training.shapes", "--cache", str(options.cache), "--out", str(options.out)]
    command += ["--steps-scale", str(options.steps_scale), "--threads", str(max(1, options.threads // 2))]
    if "pictures" in options.stages:
        subprocess.run([*command, "--stages", "pictures"], check=True, cwd=ROOT)
    running = {stage: subprocess.Popen([*command, "--stages", stage], cwd=ROOT) for stage in ("clip", "vae")}
    failed = [stage for stage, process in running.items() if process.wait() != 0]
    if failed:
        raise SystemExit(f"The training of {' and '.join(failed)} failed; its message is above. Start again to resume.")


def _pictures(settings: Settings, cache: Path, out: Path) -> None:
    draw_all(settings, cache)


def _clip(settings: Settings, cache: Path, out: Path) -> None:
    from training.clip import ClipTraining, clip_quality, new_clip, save_text
    from training.pictures import draw_part
    from training.tokenizer import build_tokenizer

    pixels, classes = load_all(cache)
    tokenizer = build_tokenizer(cache / "tokenizer")
    training = ClipTraining(new_clip(tokenizer, settings.seed), tokenizer, pixels, classes, settings)
    fresh, present = draw_part(settings.images, settings.images + settings.held_out, settings.seed)
    fresh_classes = [[place for place, shown in enumerate(row) if shown] for row in present.tolist()]

    def check(step: int, model: torch.nn.Module) -> dict[str, float]:
        if training.text_is_frozen(step) and not (cache / "text").exists():
            save_text(training.model, cache / "text")  # from here on the UNet's training may run beside
        return clip_quality(training, fresh, fresh_classes)

    train(training, training.loss, settings.clip, cache, settings.seed, check=check)
    training.model.save_pretrained(cache / "clip")


def _vae(settings: Settings, cache: Path, out: Path) -> None:
    from training.vae import VaeTraining, new_vae

    pixels, _ = load_all(cache)
    training = VaeTraining(new_vae(settings.seed), pixels, settings)
    train(training, training.loss, settings.vae, cache, settings.seed)
    training.model.save_pretrained(cache / "vae")


def _latents(settings: Settings, cache: Path, out: Path) -> None:
    from diffusers import AutoencoderKL

    from training.vae import encode_all

    pixels, _ = load_all(cache)
    vae = AutoencoderKL.from_pretrained(cache / "vae")
    scaling = encode_all(vae, pixels, cache)
    vae.register_to_config(scaling_factor=scaling)
    vae.save_pretrained(cache / "vae")


def _unet(settings: Settings, cache: Path, out: Path) -> None:
    from training.unet import train_unet

    train_unet(settings, cache)


def _export(settings: Settings, cache: Path, out: Path) -> None:
    from training.export import export

    export(settings, cache, out)


RUN = {"pictures": _pictures, "clip": _clip, "vae": _vae, "latents": _latents, "unet": _unet, "export": _export}


if __name__ == "__main__":
    main()
