"""What of torch, where it is loaded, can change another plug-in's numbers; looked at and put back by torch's own words.

torch is taken from the loaded modules, never imported: where nothing has loaded it there is nothing to look at.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from harness.foreign.watch import Watched, attribute

FLAGS = {
    "cudnn": ("enabled", "benchmark", "deterministic", "allow_tf32"),
    "mkldnn": ("enabled", "deterministic"),
    "opt_einsum": ("enabled", "strategy"),
    "quantized": ("engine",),
    "cuda.matmul": (
        "allow_tf32", "allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction",
        "allow_fp16_accumulation",
    ),
}  # fmt: skip
ATTENTION = ("flash", "mem_efficient", "math", "cudnn")
_Tables: TypeAlias = tuple[tuple[Any, dict[Any, Any]], ...]  # that are bound, each with what it holds
_ended: list[Any] = []  # guards against an inference mode that was entered and never left


def torch_things() -> tuple[Watched, ...]:
    """All that is watched of torch; nothing where it is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "compile"):  # not, or not wholly, imported
        return ()
    found = [
        Watched(
            "torch's default dtype", torch.get_default_dtype, torch.set_default_dtype, fresh=(torch.float32,)
        ),
        Watched("torch's default device or a mode over all its functions", partial(_modes, torch),
                partial(_put_modes, torch), _modes_told, fresh=(((), 0),)),
        Watched("torch's gradients", torch.is_grad_enabled, torch.set_grad_enabled, _switched("torch's gradients"),
                fresh=(True,)),
        Watched("torch's inference mode", torch.is_inference_mode_enabled, partial(_put_inference, torch),
                _switched("torch's inference mode"), fresh=(False,)),
        Watched("torch's anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly,
                _switched("torch's anomaly detection"), fresh=(False,), rare=True),
        Watched("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
        Watched("torch's rule of deterministic algorithms", torch.get_deterministic_debug_mode,
                torch.set_deterministic_debug_mode, fresh=(0,)),
        Watched("torch's precision of float32 products", torch.get_float32_matmul_precision,
                torch.set_float32_matmul_precision, fresh=("highest",)),
        Watched("torch's automatic casts", partial(_casts, torch), partial(_put_casts, torch),
                lambda before, now: "torch's automatic casts (autocast) changed"),
        _hooks_of_all(torch),
        attribute("torch.utils.deterministic.fill_uninitialized_memory", torch.utils.deterministic,
                  "fill_uninitialized_memory", rare=True),
    ]  # fmt: skip
    return (*found, *_flags(torch), *_attention(torch), *_fast_paths(torch), *_derivatives(torch))


def _switched(words: str) -> Callable[[Any, Any], str]:
    return lambda before, now: f"{words} {'on' if now else 'off'}"


def _modes(torch: Any) -> tuple[tuple[Any, ...], int]:
    """Modes over torch's functions, the default device among them, and the number of modes over its dispatch."""
    count = torch._C._len_torch_function_stack()
    stack = tuple([torch._C._get_function_stack_at(place) for place in range(count)]) if count else ()
    return stack, torch._C._len_torch_dispatch_stack()


def _put_modes(torch: Any, was: tuple[tuple[Any, ...], int]) -> None:
    """Take off what was put on top, and put on what is lacking."""
    stack, dispatch = was
    while (now := _modes(torch)[0]) and now != stack[: len(now)]:
        torch._C._pop_torch_function_stack()
    for mode in stack[len(_modes(torch)[0]) :]:
        torch._C._push_on_torch_function_stack(mode)
    while torch._C._len_torch_dispatch_stack() > dispatch:
        torch._C._pop_torch_dispatch_stack(None)
    device = next((mode for mode in reversed(stack) if type(mode).__name__ == "DeviceContext"), None)
    torch._GLOBAL_DEVICE_CONTEXT.device_context = device
    torch.utils._device.CURRENT_DEVICE = getattr(device, "device", None)


def _modes_told(before: Any, now: Any) -> str:
    devices = [mode.device for mode in now[0] if type(mode).__name__ == "DeviceContext" and mode not in before[0]]
    return f"torch's default device at {devices[-1]}" if devices else "a mode over all functions of torch"


def _put_inference(torch: Any, was: bool) -> None:
    _ended.append(torch._C._InferenceMode(was))


def _casts(torch: Any) -> tuple[Any, ...]:
    kinds = ("cpu", "cuda")
    states = tuple([(torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds])
    return states, torch.is_autocast_cache_enabled()


def _put_casts(torch: Any, was: tuple[Any, ...]) -> None:
    for kind, (enabled, dtype) in zip(("cpu", "cuda"), was[0], strict=True):
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)
    torch.set_autocast_cache_enabled(was[1])


def _hooks_of_all(torch: Any) -> Watched:
    """The tables of hooks that all modules have in common, by torch's names: which are bound, and what they hold."""
    module = torch.nn.modules.module
    found = [name for name, held in vars(module).items() if name.startswith("_global_") and isinstance(held, dict)]
    bound = operator.attrgetter(found[0], *found)  # one name alone would give no tuple
    last: list[tuple[tuple[Any, ...], _Tables]] = [((), ())]  # tables that were all empty, as they mostly are

    def look() -> _Tables:
        tables, (known, empty) = bound(module)[1:], last[0]
        if any(tables):
            return tuple([(table, dict(table)) for table in tables])
        if len(known) != len(tables) or not all(map(operator.is_, known, tables)):
            empty = tuple([(table, {}) for table in tables])
            last[0] = tables, empty
        return empty

    def put(was: _Tables) -> None:
        for name, (table, held) in zip(found, was, strict=True):
            setattr(module, name, table)
            table.clear()
            table.update(held)

    def told(before: Any, now: Any) -> str:
        pairs = zip(found, before, now, strict=True)
        changed = [name for name, was, held in pairs if was[0] is not held[0] or was[1] != held[1]]
        kinds = ", ".join(name.removeprefix("_global_").replace("_", " ") for name in changed)
        return f"hooks of all torch modules ({kinds})"

    return Watched("hooks of all modules", look, put, told)


def _flags(torch: Any) -> Iterator[Watched]:
    """Flags of torch's libraries, those that this build of torch has and can tell."""
    for place, names in FLAGS.items():
        holder: Any = torch.backends
        for step in place.split("."):
            holder = getattr(holder, step, None)
        for name in names:
            with suppress(Exception):
                getattr(holder, name)
                one = attribute(f"torch.backends.{place}.{name}", holder, name, rare=place not in ("cudnn", "mkldnn"))
                asked = getattr(vars(type(holder)).get(name), "getter", None)  # what the attribute asks torch itself
                yield one if asked is None else replace(one, look=asked)


def _attention(torch: Any) -> Iterator[Watched]:
    """Which ways of computing attention torch may choose from."""
    cuda = torch.backends.cuda
    for kind in ATTENTION:
        if look := getattr(cuda, f"{kind}_sdp_enabled", None):
            put = getattr(cuda, f"enable_{kind}_sdp")
            yield Watched(f"torch's {kind} attention", look, put, _switched(f"torch's {kind} attention"))


def _fast_paths(torch: Any) -> Iterator[Watched]:
    """Other ways of computing that can be switched off, where this build of torch can tell."""
    mha: Any = getattr(torch.backends, "mha", None)
    if hasattr(mha, "get_fastpath_enabled"):
        words = "torch's fast path of transformers"
        yield Watched(words, mha.get_fastpath_enabled, mha.set_fastpath_enabled, _switched(words), rare=True)
    nnpack: Any = getattr(torch.backends, "nnpack", None)
    if look := getattr(torch._C, "_get_nnpack_enabled", None):
        yield Watched("torch's NNPACK", look, nnpack.set_flags, _switched("torch's NNPACK"), rare=True)
    if look := getattr(torch, "is_warn_always_enabled", None):
        words = "torch's repeated warnings"
        yield Watched(words, look, torch.set_warn_always, _switched(words), rare=True)


def _derivatives(torch: Any) -> Iterator[Watched]:
    """What autograd and sparse tensors keep for all, where this build of torch can tell."""
    forward: Any = getattr(torch.autograd, "forward_ad", None)
    if hasattr(forward, "_current_level") and hasattr(forward, "exit_dual_level"):
        words = "torch's level of forward derivatives"
        yield Watched(words, lambda: forward._current_level, partial(_put_level, forward), rare=True)
    saved: Any = getattr(torch._C, "_autograd", None)
    if hasattr(saved, "_top_saved_tensors_default_hooks"):
        top = partial(saved._top_saved_tensors_default_hooks, False)
        yield Watched("hooks of what autograd saves", top, partial(_put_saved, saved, top),
                      lambda before, now: "hooks of what autograd saves", rare=True)  # fmt: skip
    if look := getattr(torch._C, "_check_sparse_tensor_invariants", None):
        words = "torch's checks of sparse tensors"
        yield Watched(words, look, torch._C._set_check_sparse_tensor_invariants, _switched(words), rare=True)


def _put_level(forward: Any, was: int) -> None:
    while forward._current_level > was:
        forward.exit_dual_level()


def _put_saved(saved: Any, top: Callable[[], Any], was: Any) -> None:
    while (now := top()) is not None and now != was:
        saved._pop_saved_tensors_default_hooks()
    if now != was:
        saved._push_saved_tensors_default_hooks(*was)
