"""A page's address goes in; what a real headless Chromium makes of it comes out: console, requests, values, pictures.

It speaks the DevTools protocol over a pipe, so that no driver and no Python package is needed.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless_shell")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 600.0  # seconds; a loaded machine is slow to start a browser


def find() -> str:
    """The browser's path. Without one the test is skipped, or fails where REQUIRE_CHROMIUM is set."""
    asked = os.environ.get("CHROMIUM")
    path = asked or next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        reason = "no Chromium is installed (apt-get install chromium), or name it in the variable CHROMIUM"
        if os.environ.get("REQUIRE_CHROMIUM"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


class Chromium:
    """One browser with one page, as a context. events: all that the page said since it was opened."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._number = 0
        self._buffer = b""

    def __enter__(self) -> Chromium:
        path = find()
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        self._in, self._out = ours_in, ours_out

        command = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, path, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)  # the browser ends when its pipe does
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, page: Path, query: str = "") -> None:
        """Open a file and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri() + query)
        self._wait(lambda: any(event["method"] == "Page.loadEventFired" for event in self.events))

    def value(self, script: str) -> Any:
        """What an expression gives in the page (promises are awaited); AssertionError when it throws."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + PATIENCE
        while not self.value(script):
            assert time.monotonic() < end, f"{script} stayed false"
            time.sleep(0.05)

    def mouse(self, kind: str, x: float, y: float, **further: Any) -> None:
        """Move, press, release or turn the wheel of a mouse at a place of the window (CSS pixels)."""
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **further)

    def press(self, key: str, shift: bool = False) -> None:
        """Press and release a key of the keyboard."""
        codes = {
            "Tab": 9, "Enter": 13, "Space": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
            "ArrowDown": 40, "+": 187, "-": 189, "0": 48,
        }  # fmt: skip
        text = {"Enter": {"text": "\r"}, "Space": {"text": " "}}.get(key, {"text": key} if len(key) == 1 else {})
        name = " " if key == "Space" else key
        for kind in ("keyDown", "keyUp"):
            extra = text if kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=name, code=key, windowsVirtualKeyCode=codes[key],
                modifiers=8 * shift, **extra,
            )  # fmt: skip

    def look(self, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Set the window's size in CSS pixels and the colour scheme."""
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, whole: bool = True) -> None:
        """Write a PNG of the page (of the window alone, if not `whole`)."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and what the browser itself logged."""
        found = []
        for event in self.events:
            content = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(content["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(content["args"]))
            elif event["method"] == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
                found.append(json.dumps(content["entry"]))
        return found

    @property
    def requests(self) -> list[str]:
        """The addresses the page asked for, besides files and data that stand in the page."""
        asked = (e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent")
        return [address for address in asked if not address.startswith(("file:", "data:", "blob:"))]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        answer: dict[str, Any] = {}
        number = self._number

        def answered() -> bool:
            return "id" in answer

        self._wait(answered, into=answer, number=number)
        assert "error" not in answer, f"{method}: {answer.get('error')}"
        return answer.get("result", {})  # type: ignore[no-any-return]

    def _wait(self, done: Any, into: dict[str, Any] | None = None, number: int = -1) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            ready, _, _ = select.select([self._in], [], [], 1.0)
            assert time.monotonic() < end, "Chromium does not answer"
            assert ready or self._process.poll() is None, "Chromium ended"
            if ready:
                self._take(os.read(self._in, 1 << 20), into, number)

    def _take(self, text: bytes, into: dict[str, Any] | None, number: int) -> None:
        assert text, "Chromium closed its pipe"
        *messages, self._buffer = (self._buffer + text).split(b"\0")
        for message in map(json.loads, messages):
            if message.get("id") == number and into is not None:
                into.update(message)
            elif "method" in message:
                self.events.append(message)
