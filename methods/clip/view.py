"""A CLIP reader's settings for its input flow in; how it cuts an image flows out, also under a protocol that cuts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, cast

from harness.contracts import MethodError, ProtocolSettings

AUTO = "auto"
CUTTING = ("resize", "window", "stride")
View: TypeAlias = tuple[int | str, int | None, int | None]  # resize, window and stride of a ClipPass
SHOWN: View = ("shown", None, None)
CUT: View = ("window", None, None)


class Cutting(Protocol):
    """The settings of a reader that cuts images."""

    @property
    def resize(self) -> int | str: ...
    @property
    def window(self) -> int | str | None: ...
    @property
    def stride(self) -> int | str | None: ...


def view_of(reader: Cutting, published: View) -> View:
    """How a reader cuts by itself: `auto` is as published, and a window that is written brings its own stride.

    ValueError for another word.
    """
    for name in ("window", "stride"):
        if isinstance(getattr(reader, name), str) and getattr(reader, name) != AUTO:
            raise ValueError(f"{name} is {getattr(reader, name)!r}; give a number of pixels, null or {AUTO!r}.")
    resize, window, stride = published
    if reader.window != AUTO:
        window, stride = cast("int | None", reader.window), None
    resize = resize if reader.resize == AUTO else reader.resize
    return resize, window, stride if reader.stride == AUTO else cast("int | None", reader.stride)


def resolved_windows(reader: Cutting, published: View, protocol: ProtocolSettings) -> Mapping[str, Any]:
    """The same of a reader that joins its windows before it scores: they stay its own, whatever the protocol resizes.
    MethodError for a protocol that cuts, and for a `resize` that is written where the protocol resizes."""
    if protocol.window:
        raise MethodError(
            f"{type(reader).__name__} joins windows before it scores, and the protocol cuts windows of "
            f"{protocol.window} pixels; take window out of the protocol: the method cuts them itself"
        )
    if protocol.resize != "none" and reader.resize != AUTO:
        return resolved_view(reader, published, protocol)  # says what is cut twice
    resize, window, stride = view_of(reader, published)
    found = {"resize": resize if protocol.resize == "none" else SHOWN[0], "window": window, "stride": stride}
    return {name: value for name, value in found.items() if getattr(reader, name) == AUTO}


def resolved_view(reader: Cutting, published: View, protocol: ProtocolSettings) -> Mapping[str, Any]:
    """What stands in place of `auto` under a protocol. MethodError for what is written where the protocol cuts."""
    auto = [name for name in CUTTING if getattr(reader, name) == AUTO]
    if protocol.resize == "none" and not protocol.window:
        return {name: value for name, value in zip(CUTTING, view_of(reader, published), strict=True) if name in auto}
    if written := [name for name in CUTTING if name not in auto]:
        does = " and ".join(
            [f"resizes ({protocol.resize})"] * (protocol.resize != "none")
            + [f"cuts windows of {protocol.window} pixels"] * bool(protocol.window)
        )
        value = getattr(reader, written[0])
        raise MethodError(
            f"{type(reader).__name__}'s {written[0]} is {value!r}, and the protocol {does}: an image would be cut "
            f"twice; leave {' and '.join(written)} at {AUTO!r}, or take resize and window out of the protocol"
        )
    return dict(zip(CUTTING, CUT if protocol.window else SHOWN, strict=True))
