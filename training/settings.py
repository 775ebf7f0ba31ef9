"""A scale flows in; the settings of every stage of the training flow out, all driven by steps, never by the clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

SIDE = 96  # native size of both models, in pixels; pictures are stretched to it
LATENT_SIDE = 24
POSITIONS = 40  # all ten names fit into one joint prompt: 4 * 10 + 1 words and marks, less the first "and"
WIDTH = 64  # of the text tower, hence of the UNet's cross-attention
TEMPLATE = "a photo of a {}"


@dataclass(frozen=True)
class TrainingStage:
    """One training: steps, batch, peak learning rate, warm-up steps, final share of the rate, decay of the average."""

    name: str
    steps: int
    batch: int
    rate: float
    warmup: int
    floor: float
    betas: tuple[float, float]
    decay: float
    average: float | None = None
    every: int = 250


@dataclass(frozen=True)
class Settings:
    """Everything that shapes the weights."""

    images: int = 20000
    held_out: int = 600  # train-split images that no network sees, for the choices made after training
    seed: int = 0
    clip: TrainingStage = TrainingStage("clip", 4000, 128, 1.2e-3, 100, 0.02, (0.9, 0.98), 0.05)
    vae: TrainingStage = TrainingStage("vae", 1500, 24, 2e-3, 50, 0.02, (0.9, 0.99), 1e-3)
    unet: TrainingStage = TrainingStage("unet", 2200, 32, 1e-3, 100, 0.03, (0.9, 0.99), 0.01, average=0.998)

    def scaled(self, factor: float) -> Settings:
        """The same recipe with all steps (and the number of pictures, below 1) multiplied, for trials and tests."""

        def shorter(stage: TrainingStage) -> TrainingStage:
            return replace(
                stage, steps=max(2, round(stage.steps * factor)), warmup=max(1, round(stage.warmup * factor))
            )

        images = max(256, round(self.images * min(1.0, factor)))
        return replace(self, images=images, clip=shorter(self.clip), vae=shorter(self.vae), unet=shorter(self.unet))
