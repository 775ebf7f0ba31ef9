"""Methods that leave something behind in their process, a habit each; and one whose numbers would show it."""

from __future__ import annotations

import argparse
import atexit
import builtins
import copyreg
import ctypes
import decimal
import functools
import gc
import importlib
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import careless_helper
import numpy as np
import torch
import toy_world
from PIL import Image as Pillow
from PIL import ImageFile
from torch.nn import functional
from toy_world import Boxes

from harness.contracts import Sample, Vocabulary
from harness.protocol import decision, planes
from methods import stableseg

_KEPT: list[Any] = []


Pillow.preinit()  # so that its tables are filled


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


def broken(*given: Any, **how: Any) -> Any:
    raise RuntimeError("somebody put this here")


def thread(image: Any) -> None:
    """Sets the default dtype while others are at work."""

    def later() -> None:
        time.sleep(3.0)  # by then it was seen, and asked to end
        torch.set_default_dtype(torch.float64)

    threading.Thread(target=later, name="later", daemon=True).start()


def at_the_end(image: Any) -> None:
    atexit.register(os._exit, 0)


def other_defaults(image: Any) -> None:
    decision.nothing_offered.__code__ = (lambda size, settings: 0).__code__


def darken(image: Any) -> None:
    """Gives a stranger's benchmark another way of loading."""
    load = Boxes.load

    def loaded(of: Boxes, image_id: str) -> Sample:
        sample = load(of, image_id)
        return Sample(image_id, sample.image, np.where(sample.truth == 1, 2, sample.truth).astype(np.uint8))

    Boxes.load = functools.wraps(load)(loaded)  # type: ignore[method-assign]


def child(image: Any) -> None:
    """A child that comes back into our own code."""
    if process := os.fork():
        os.waitpid(process, 0)


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
    "hook table": swap(torch.nn.modules.module, "_global_forward_hooks", OrderedDict({1: lambda *of: of[-1] * 0})),
    "name of a dtype": swap(torch, "float32", torch.float16),
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
    "len": swap(builtins, "len", broken), "exception": swap(builtins, "Exception", KeyError),
    "getcwd": swap(os, "getcwd", broken), "get dtype": swap(torch, "get_default_dtype", broken),
    "thread": thread, "trace": lambda image: sys.settrace(lambda *given: None),
    "profile": lambda image: sys.setprofile(lambda *given: None),
    "buffer": lambda image: np.setbufsize(1 << 16), "path": lambda image: sys.path.clear(),
    "excepthook": swap(sys, "excepthook", broken), "module": lambda image: sys.modules.pop("torch.nn.functional"),
    "random": swap(random, "random", lambda: 0.5), "numpy's random": swap(np.random, "rand", lambda *given: 0.5),
    "manual seed": swap(torch, "manual_seed", broken),
    "fast path": lambda image: torch.backends.mha.set_fastpath_enabled(False),
    "constant": swap(planes, "_SLICE_ELEMENTS", 3), "table": lambda image: stableseg.CHOICES.clear(),
    "code": other_defaults, "their method": darken, "their property": swap(Boxes, "classes", property(lambda of: ())),
    "their attribute": swap(Boxes, "broken", ("001",)), "their new verb": swap(Boxes, "files", lambda of, image_id: ()),
    "their code": lambda image: setattr(Boxes.ids, "__code__", (lambda of: ["000"]).__code__),
    "their function": swap(toy_world, "Flat", broken), "our new verb": swap(Vocabulary, "__bool__", broken),
    "decimals": lambda image: setattr(decimal.getcontext(), "prec", 3), "umask": lambda image: os.umask(0o077),
    "argv": lambda image: sys.argv.append("--careless"), "digits": lambda image: sys.set_int_max_str_digits(1000),
    "finder": lambda image: sys.meta_path.insert(0, Careless),  # type: ignore[arg-type]
    "copying": lambda image: copyreg.pickle(Sample, lambda sample: (int, (0,))),  # type: ignore[arg-type]
    "timeout": lambda image: socket.setdefaulttimeout(3.0), "temporary": swap(tempfile, "tempdir", "/nowhere"),
    "openers": lambda image: Pillow.OPEN.clear(), "level": lambda image: torch.autograd.forward_ad.enter_dual_level(),
    "saved": lambda image: torch.autograd.graph.saved_tensors_hooks(broken, broken).__enter__(),
    "sparse": lambda image: torch.sparse.check_sparse_tensor_invariants.enable(), "child": child, "end": at_the_end,
    "seeds": lambda image: (random.seed(1), np.random.seed(1), torch.manual_seed(1)),
    "nothing": lambda image: None,
}  # fmt: skip


def keeps(image: Any) -> None:
    """Calls a function of theirs, and fills in what is empty: that is no meddling."""
    careless_helper.keep(image)
    careless_helper.CACHE[f"mine {len(careless_helper.CACHE)}"] = 1.0


MEDDLES: dict[str, Callable[[Any], Any]] = {
    "variable": swap(careless_helper, "VALUE", 0.0),
    "gone": lambda image: vars(careless_helper).pop("VALUE", None),
    "entry": lambda image: careless_helper.TABLE.update(share=0.0),
    "deep entry": lambda image: careless_helper.TABLE["deep"].clear(),  # type: ignore[attr-defined]
    "list": lambda image: careless_helper.SHARES.append(-0.5), "array": lambda image: careless_helper.WEIGHTS.fill(0),
    "bank": lambda image: careless_helper.BANK.fill(1e-4),
    "bank entry": lambda image: careless_helper.BANK.put(777, 1.0),
    "long": lambda image: careless_helper.LONG.__setitem__(slice(None), [1e-3] * 3001),
    "long entry": lambda image: careless_helper.LONG.__setitem__(777, 1.0),
    "tensor": lambda image: careless_helper.TENSOR.mul_(2),
    "tensor data": lambda image: careless_helper.TENSOR.data.mul_(2),
    "network": lambda image: careless_helper.NETWORK.weight.data.zero_(),
    "network training": lambda image: careless_helper.NETWORK.eval(),
    "network entry": lambda image: careless_helper.NETWORK.weight.data.view(-1)[777].add_(1.0),
    "configuration": swap(careless_helper.CONFIGURATION, "share", 0.0),
    "nested class": swap(careless_helper.Outer.Inner, "share", 0.0),
    "context": lambda image: careless_helper.MODE.set(1.0), "keeps": keeps,
}  # fmt: skip
HABITS_OF_ALL = HABITS | MEDDLES


@dataclass(frozen=True)
class Careless:
    """Has a habit, of HABITS, and then answers."""

    version: ClassVar[int] = 1
    habit: str = "nothing"
    opening: bool = False  # what is done once, when it is built, not for every image

    def __post_init__(self) -> None:
        if self.opening:
            HABITS_OF_ALL[self.habit](None)

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        if not self.opening:
            HABITS_OF_ALL[self.habit](image)
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


@dataclass(frozen=True)
class Importer:
    """Imports a module while it answers, as who loads late does."""

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        importlib.import_module("colorsys")
        return np.zeros(image.shape[:2], np.int16)
