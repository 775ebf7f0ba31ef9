"""A folder flows in; a real S3 server on loopback flows out, behind a line that can be slow, refuse, and be cut."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
KEY, SECRET = "a-key-of-a-test", "a-secret-of-a-test"
ACCESS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
_PARTS = ("master", "volume", "filer", "admin", "s3")


class Server:
    """The program, which can be ended and started again on what it holds, and the line to it.

    line: "open", "slow", "refused" or "cut". heard: told of each request first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = _free_ports(2 * len(_PARTS))
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self.line = self._ports[_PARTS.index("s3")], "open"
        self.address = ""

    @property
    def environment(self) -> dict[str, str]:
        """What a person would set."""
        return {**ACCESS, "AWS_ENDPOINT_URL": self.address, "NO_PROXY": "127.0.0.1"}

    def start(self) -> None:
        names = [f"-{name}.port{kind}" for kind in ("", ".grpc") for name in _PARTS]
        told = [f"{name}={port}" for name, port in zip(names, self._ports, strict=True)]
        still = [f"-{name}=false" for name in ("webdav", "admin.ui", "master.telemetry")]
        still += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        here = [f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=lab"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(PROGRAM), "mini", *here, *told, *still],
                env={**os.environ, **ACCESS, "TMPDIR": str(self._folder)},  # where its logs come to lie
                stdout=log,
                stderr=log,
            )
        while True:
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            try:
                connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/")
                if connection.getresponse().status < 500:
                    return
            except (OSError, HTTPException):
                pass
            time.sleep(0.05)

    def end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            for port in self._ports:  # it takes none of them away
                for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    path.unlink()
        self._process = None

    def heard(self, command: str, path: str) -> None:
        """A request came."""


def _free_ports(count: int) -> list[int]:
    """Ports that are free, and that no system gives to who asks for any: nobody takes them before the server does."""
    found = list[int]()
    while len(found) < count:
        with socket.socket() as held, suppress(OSError):
            port = 10_000 + secrets.randbelow(20_000)
            held.bind(("127.0.0.1", port))
            found += [port] if port not in found else []
    return found


def _line_to(server: Server) -> type[BaseHTTPRequestHandler]:
    """Passes requests on to a server, as well as its line is at the moment."""

    class Line(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def passed_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.heard(self.command, self.path)
            self.close_connection = True
            if server.line == "slow":
                time.sleep(0.02)
            if server.line == "refused":
                self.send_error(503, f"not now, {KEY}")
            elif server.line != "cut":
                self._answered(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = passed_on

        def _answered(self, body: bytes) -> None:
            try:
                connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, HTTPException):  # it was ended
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Line


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """The server at work until the end of the block."""
    server = Server(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), _line_to(server)) as line:
        line.daemon_threads = True
        server.address = f"http://127.0.0.1:{line.server_port}"
        thread = threading.Thread(target=line.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            server.start()
            yield server
        finally:
            server.end()
            line.shutdown()
            thread.join()
