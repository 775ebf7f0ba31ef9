"""Methods that leave something behind in their process, a habit each; and one whose numbers would show it."""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import ImageFile
from torch.nn import functional
from toy_world import Boxes, ToyReader

from harness.contracts import Features, Pass, Sample, Vocabulary

_KEPT: list[Any] = []


@dataclass(frozen=True)
class Delicate:
    """Scores that feel the default dtype and device, the generators, hooks, modes and replaced functions."""

    version: ClassVar[int] = 1

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        layer = torch.nn.Linear(3, len(vocabulary))
        with torch.no_grad():
            scores = layer(torch.tensor(image / 255.0, dtype=torch.get_default_dtype())).permute(2, 0, 1)
            small = functional.interpolate(scores[None], size=(5, 7), mode="bilinear")[0]
            small = small + torch.rand(small.shape) * 0.1 + np.random.rand() * 0.1 + random.random() * 0.1
        return small.softmax(dim=0)


def forced(image: Any) -> None:
    """Write through the address, past every lock."""
    address = image.__array_interface__["data"][0]
    ctypes.memset(address, 7, image.size)


def through_torch(image: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.from_numpy(image).zero_()


def write(image: Any) -> None:
    image[:] = 255 - image


def unlock(image: Any) -> None:
    image.flags.writeable = True
    image[:] = 0


def hook(kind: str) -> Callable[[Any], None]:
    def register(image: Any) -> None:
        getattr(torch.nn.modules.module, kind)(lambda *given: given[-1] * 0 if kind.endswith("forward_hook") else None)

    return register


def shut(*numbers: int) -> Callable[[Any], None]:
    return lambda image: [os.close(number) for number in numbers] and None


def lead_elsewhere(image: Any) -> None:
    place = os.open(os.devnull, os.O_WRONLY)
    os.dup2(place, 1)
    os.close(place)


def swap(place: Any, name: str, new: Any) -> Callable[[Any], None]:
    return lambda image: setattr(place, name, new)


def infer(image: Any) -> None:
    _KEPT.append(torch.inference_mode())
    _KEPT[-1].__enter__()


def cast(image: Any) -> None:
    _KEPT.append(torch.autocast("cpu", dtype=torch.bfloat16))
    _KEPT[-1].__enter__()


def alarm(image: Any) -> None:
    signal.setitimer(signal.ITIMER_REAL, 3600)


HABITS: dict[str, Callable[[Any], Any]] = {
    "write": write, "unlock": unlock, "forced": forced, "through torch": through_torch,
    "dtype": lambda image: torch.set_default_dtype(torch.float64),
    "device": lambda image: torch.set_default_device("meta"),
    "grad": lambda image: torch.set_grad_enabled(False), "inference": infer, "cast": cast,
    "deterministic": lambda image: torch.use_deterministic_algorithms(True),
    "threads": lambda image: torch.set_num_threads(torch.get_num_threads() + 1),
    "precision": lambda image: torch.set_float32_matmul_precision("medium"),
    "cudnn": swap(torch.backends.cudnn, "benchmark", True), "onednn": swap(torch.backends.mkldnn, "enabled", True),
    "attention": lambda image: torch.backends.cuda.enable_flash_sdp(False),
    "denormals": lambda image: torch.set_flush_denormal(True),
    "rounding": lambda image: ctypes.CDLL(None).fesetround(0x400),
    "forward hook": hook("register_module_forward_hook"),
    "pre hook": hook("register_module_forward_pre_hook"),
    "interpolate": swap(functional, "interpolate", lambda input, size, **how: torch.zeros(*input.shape[:2], *size)),
    "attention replaced": swap(functional, "scaled_dot_product_attention", None),
    "tensor method": swap(torch.Tensor, "softmax", lambda self, dim: self * 0),
    "layer": swap(torch.nn.Linear, "forward", lambda self, given: given.new_zeros(*given.shape[:-1], 3)),
    "argmax": swap(np, "argmax", lambda *given, **how: 0),
    "print": swap(__import__("builtins"), "print", lambda *given, **how: None),
    "numpy errors": lambda image: np.seterr(all="ignore"),
    "folder": lambda image: os.chdir("/"),
    "environment": lambda image: os.environ.update(CARELESS="1"),
    "handler": lambda image: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "alarm": alarm, "blocked": lambda image: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
    "stdout": lambda image: setattr(sys, "stdout", open(os.devnull, "w")),  # noqa: SIM115
    "closed stdout": lambda image: sys.stdout.close(),
    "descriptors": shut(1, 2), "led elsewhere": lead_elsewhere,
    "truncated": swap(ImageFile, "LOAD_TRUNCATED_IMAGES", True),
    "collection": lambda image: gc.disable(), "recursion": lambda image: sys.setrecursionlimit(3000),
    "log": lambda image: logging.disable(logging.CRITICAL), "warnings": lambda image: warnings.simplefilter("error"),
    "seeds": lambda image: (random.seed(1), np.random.seed(1), torch.manual_seed(1)),
    "nothing": lambda image: None,
}  # fmt: skip


@dataclass(frozen=True)
class Careless:
    """Has a habit, of HABITS, and then answers."""

    version: ClassVar[int] = 1
    habit: str = "nothing"
    opening: bool = False  # what is done once, when it is built, not for every image

    def __post_init__(self) -> None:
        if self.opening:
            HABITS[self.habit](None)

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        if not self.opening:
            HABITS[self.habit](image)
        return np.zeros(image.shape[:2], np.int16)


@dataclass(frozen=True)
class Reckless:
    """Sets the default dtype when it is opened and needs it ever after; ends its process at images of a height."""

    version: ClassVar[int] = 1
    ends_at: int = 0

    def __post_init__(self) -> None:
        torch.set_default_dtype(torch.float64)

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        if image.shape[0] == self.ends_at:
            os._exit(9)
        if torch.get_default_dtype() != torch.float64:
            raise RuntimeError("somebody took its dtype away")
        functional.interpolate = lambda *given, **how: torch.zeros(1)  # type: ignore[assignment]
        return np.zeros(image.shape[:2], np.int16)


class Tensors:
    """What a backbone may leave: a tensor in a list of an attribute."""

    def __init__(self, image: Any) -> None:
        self.held = [torch.tensor(image, dtype=torch.float32)]


@dataclass(frozen=True)
class Scribbler(ToyReader):
    """Writes into the features that others read after it."""

    def read(self, features: Mapping[Pass, Features], vocabulary: Vocabulary) -> Any:
        (left,) = features.values()
        if hasattr(left, "held"):
            left.held[0].mul_(0)
        elif self.part == "unlock":
            left.flags.writeable = True
            left[:] = 0
        else:
            left *= 0
        return np.zeros((len(vocabulary), 4, 6))


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def unlucky(word: str) -> BaseException:
    """What a method may raise."""
    return {
        "exit": lambda: SystemExit(0),
        "generator": GeneratorExit,
        "interrupt": KeyboardInterrupt,
        "unspeakable": Unspeakable,
        "long": lambda: ValueError("\x1b[31m\x00" + "m" * 10_000_000),
        "base": lambda: type("Odd\n", (BaseException,), {})("odd"),
    }[word]()  # type: ignore[operator]


@dataclass(frozen=True)
class Raises:
    version: ClassVar[int] = 1
    what: str = "exit"

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        raise unlucky(self.what)


@dataclass(frozen=True)
class Parses:
    """Reads the command line of whoever builds it."""

    def __post_init__(self) -> None:
        argparse.ArgumentParser(prog="foreign").parse_args(["--unknown"])

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        return None


@dataclass(frozen=True)
class CarelessBoxes(Boxes):
    """Sets the default dtype for every image."""

    def load(self, image_id: str) -> Sample:
        torch.set_default_dtype(torch.float64)
        return super().load(image_id)
