"""Nothing flows in; a GPU that is none flows out: tensors of a CPU that say they are on `cuda`, and mix with no others.

What fails first on a real GPU is an operation between a tensor there and one left behind. This finds it without a GPU:
inside `pretend_gpu()` everything that is moved or made there is marked, computed where it is, and an operation over
marked and unmarked tensors raises what torch would raise. Nothing else of a GPU is imitated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from launches import Dispatched, Launches
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

THERE = torch.device("cuda", 0)
MOVES = {torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda, torch.Tensor.copy_, torch.Tensor.__setitem__}
INDEXED = {torch.Tensor.__getitem__}  # an index may lie on the CPU
FACTORIES = {torch.tensor, torch.as_tensor, torch.asarray}  # from numbers of the host
LISTED = {torch.Tensor.tolist}  # waits that dispatch nothing


class Marked(torch.Tensor):
    """A tensor of the CPU that counts as one of the GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl


class _Pretence(TorchFunctionMode):
    """found: where what the GPU is asked is counted, if it is."""

    def __init__(self, found: Launches | None) -> None:
        super().__init__()
        self._found, self.there = found, False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.device:
            return func(*args, **kwargs)
        tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
        here = any(isinstance(one, Marked) for one in tensors)
        if func == torch.Tensor.device.__get__:
            return THERE if here else func(*args)
        if func == torch.Tensor.is_cuda.__get__:
            return here
        if func is torch.Tensor.pin_memory:
            if here:
                raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
            return args[0]
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and here:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        hosts = _from_the_host(func, args, kwargs, here)
        args, kwargs, wish = _on_cpu(args, kwargs)
        if func is torch.Tensor.cpu or (wish is not None and wish.type == "cpu"):
            if here and self._found is not None:
                self._found.waits["cpu"] += 1
            return _unmarked(func(*args, **kwargs))
        if here and func not in MOVES | INDEXED:
            _refuse_mixtures(func, tensors)
        if self._found is not None and (here or wish is not None):
            counts = (self._found.uploads,) * hosts + (self._found.waits,) * (func in LISTED)
            counts += (self._found.held,) * (hosts and not kwargs.get("non_blocking"))
            for one in counts:
                one[getattr(func, "__name__", str(func))] += 1
        self.there = here or wish is not None
        try:
            answer = func(*args, **kwargs)
        finally:
            self.there = False
        follows = func is torch.Tensor.to and any(isinstance(one, Marked) for one in tensors)
        if func in (torch.Tensor.copy_, torch.Tensor.__setitem__):
            return answer
        return _marked(answer) if wish is not None or follows or here else answer


def _from_the_host(func: Callable[..., Any], args: Any, kwargs: dict[str, Any], here: bool) -> bool:
    """Whether something of this call lies in the host's memory: tensors, lists of numbers, an index that is none."""
    if func in FACTORIES:
        return True
    if func in INDEXED or func is torch.Tensor.__setitem__:
        parts = args[1] if isinstance(args[1], tuple) else (args[1],)
        return here and any(isinstance(one, list) or (_left(one) and one.ndim > 0) for one in parts)
    moves = func in (torch.Tensor.to, torch.Tensor.cuda, torch.Tensor.copy_)
    return moves and any(_left(one) for one in tree_flatten((args, kwargs))[0])


def _left(one: Any) -> bool:
    return isinstance(one, torch.Tensor) and not isinstance(one, Marked)


def _on_cpu(args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any], torch.device | None]:
    """The same call with the CPU wherever it names a device, and the device that it named."""
    wishes = [torch.device(one) for one in (*args, kwargs.get("device")) if _is_place(one)]
    positional = tuple(torch.device("cpu") if _is_place(one) else one for one in args)
    named = {name: torch.device("cpu") if name == "device" and _is_place(one) else one for name, one in kwargs.items()}
    return positional, named, wishes[-1] if wishes else None


def _is_place(word: Any) -> bool:
    """Whether it names the CPU or the GPU (and not, say, `meta`, on which models are built before they are read)."""
    return isinstance(word, torch.device | str) and str(word).partition(":")[0] in ("cuda", "cpu")


def _refuse_mixtures(func: Callable[..., Any], tensors: list[torch.Tensor]) -> None:
    left = [one for one in tensors if not isinstance(one, Marked) and one.ndim]  # a number may come along
    if left:
        name = getattr(func, "__name__", str(func))
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({name}, "
            f"of shapes {[tuple(one.shape) for one in tensors]})"
        )


def _marked(answer: Any) -> Any:
    return tree_map(lambda one: one.as_subclass(Marked) if type(one) is torch.Tensor else one, answer)


def _unmarked(answer: Any) -> Any:
    return tree_map(lambda one: one.as_subclass(torch.Tensor) if isinstance(one, Marked) else one, answer)


def _to(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
    """In place of Module.to: parameters and buffers are marked one by one."""
    rest, options, wish = _on_cpu(args, kwargs)
    with torch._C.DisableTorchFunction():
        _real_to(module, *rest, **options)
        if wish is None or wish.type != "cuda":
            return module
        for part in module.modules():
            for name, held in part._parameters.items():
                if held is not None:
                    part._parameters[name] = _parameter(held)
            for name, kept in part._buffers.items():
                if kept is not None:
                    part._buffers[name] = kept.as_subclass(Marked)
    return module


def _parameter(held: torch.Tensor) -> Any:
    marked: Any = held.data.as_subclass(Marked)
    marked._is_param = True  # what makes a tensor of another class a parameter
    return marked


_real_to = nn.Module.to


@contextmanager
def pretend_gpu(found: Launches | None = None) -> Iterator[None]:
    """While it is open, torch says that there is a GPU. found: where what it is asked is counted."""
    patch = pytest.MonkeyPatch()
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "current_device", lambda: 0)
    patch.setattr(torch.cuda, "get_device_name", lambda device=None: "a pretended GPU")
    patch.setattr(nn.Module, "to", _to)
    try:
        with _Pretence(found) as pretence, Dispatched(found or Launches(), lambda: pretence.there):
            yield
    finally:
        patch.undo()
