"""The word of a setting `card` flows in; how a network computes on a GPU meanwhile, or a refusal, flows out.

Nothing of it is on unless it is asked for: what a card gains by it is measured by `perf.gpu`, and no default changes
before that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import glob
from typing import Any

from harness.contracts import ModelError

BACKENDS = {
    "flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION", "math": "MATH",
}  # fmt: skip
NO_LAYOUT = "a transformer has one convolution, at its start, so the layout changes nothing"
NOT_COMPILED = "of the transformers only CLIP's tower is compiled here"
_DEVICES = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/dxg")  # of CUDA, of ROCm, of Linux within Windows
WORDS = ("channels_last", "tf32", *BACKENDS, "compile")


def words_of(card: str) -> tuple[str, ...]:
    """The words of a setting, `tf32+flash` say; none of an empty text."""
    return tuple([word.strip() for word in card.split("+") if word.strip()])


def check_card(card: str, refused: Mapping[str, str]) -> None:
    """ModelError for a word that means nothing, for two kernels of attention, and for what a family refuses, by why."""
    asked, offered = words_of(card), [word for word in WORDS if word not in refused]
    for word in asked:
        if word not in WORDS:
            raise ModelError(f"The setting card is {card!r}; it joins {', '.join(offered)} by +, or is empty.")
        if word in refused:
            raise ModelError(f"The setting card is {card!r}, and {refused[word]}: leave {word!r} out.")
    if len(kernels := [word for word in BACKENDS if word in asked]) > 1:
        raise ModelError(f"The setting card is {card!r}: {' and '.join(kernels)} exclude each other; name one.")
    if card != (once := "+".join(word for word in WORDS if word in asked)):
        raise ModelError(f"The setting card is {card!r}; write it as {once!r}, so that one way to compute has one id.")


def remarks_on(card: str) -> Sequence[str]:
    """What is to be said where a way of a card to compute is asked of a machine that has none."""
    import torch

    return _without_card(card) if card and not torch.cuda.is_available() else ()


def remarks_here(card: str) -> Sequence[str]:
    """The same while planning, without torch: only where nothing here can be a GPU."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    return _without_card(card) if card and (hidden or not any(map(glob, _DEVICES))) else ()


def _without_card(card: str) -> tuple[str, ...]:
    return (
        f"The setting card is {card!r}, which says how a GPU computes, and this machine has none: a CPU computes these "
        "rows, under the id of that setting; they say nothing of its speed or rounding. Leave it out where no GPU is.",
    )


@contextmanager
def computing(card: str) -> Iterator[None]:
    """Meanwhile products of float32 are as exact as their type unless `tf32` is asked for, and attention is computed by
    the kernel that is named, or by the one that torch chooses. It is put back."""
    import torch
    from torch.nn import attention

    asked = words_of(card)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    kernel: Any = next((getattr(attention.SDPBackend, BACKENDS[word]) for word in asked if word in BACKENDS), None)
    try:
        torch.set_float32_matmul_precision("high" if "tf32" in asked else "highest")
        torch.backends.cudnn.allow_tf32 = "tf32" in asked
        if kernel is None:
            yield
        else:
            with attention.sdpa_kernel(kernel):
                yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
