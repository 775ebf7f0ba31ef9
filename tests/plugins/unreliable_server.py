"""A file's bytes and a way to misbehave flow in; a server on this machine that does so flows out."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Server:
    """What is served at `/file`, and how.

    cuts: after how many bytes of an answer the line is cut, an answer each; then it holds. ranges: whether they are
    served. says: what is said of the length of a whole answer. starts: what is said of where a range starts. statuses:
    answers without a file, one a request, before all others. leads: addresses by path that a request is sent to.
    """

    data: bytes = b""
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    says: int | None = None
    starts: int | None = None
    statuses: list[int] = field(default_factory=list)
    leads: dict[str, str] = field(default_factory=dict)
    address: str = ""
    asked: list[int | None] = field(default_factory=list)  # where the ranges that were asked for start


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server, with its address, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self, server)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        server.address = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def answer(handler: BaseHTTPRequestHandler, server: Server) -> None:
    """One request."""
    handler.close_connection = True
    if handler.path in server.leads:
        return plainly(handler, 302, Location=server.leads[handler.path])
    span = handler.headers.get("Range")
    start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
    server.asked.append(start if span else None)
    if server.statuses:
        return plainly(handler, server.statuses.pop(0))
    size = len(server.data)
    if not (span and server.ranges):
        handler.send_response(200)
        start = 0
        handler.send_header("Content-Length", str(size if server.says is None else server.says))
    elif start >= size:
        return plainly(handler, 416, **{"Content-Range": f"bytes */{size}"})
    else:
        handler.send_response(206)
        said = start if server.starts is None else server.starts
        handler.send_header("Content-Range", f"bytes {said}-{size - 1}/{size}")
        handler.send_header("Content-Length", str(size - start))
    handler.send_header("Connection", "close")
    handler.end_headers()
    cut = server.cuts.pop(0) if server.cuts else size
    handler.wfile.write(server.data[start:][:cut])
    return None


def plainly(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    """An answer without a file."""
    handler.send_response(status)
    for name, value in {"Content-Length": "0", "Connection": "close", **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()


def md5(data: bytes) -> str:
    """As it is promised."""
    return hashlib.md5(data).hexdigest()
