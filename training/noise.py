"""Nothing flows in; Stable Diffusion's noise schedule flows out."""

from __future__ import annotations

from diffusers import DDIMScheduler

STEPS = 1000


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        num_train_timesteps=STEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
