"""A Ray cluster with a dashboard on loopback flows in; what becomes of sweeps that are its jobs flows out, as a record.

`python -m perf.jobs`. Commands are those of docs/cluster.md, typed as there: submitted, refused, failed, stopped, and
submitted again. The cluster is started for this alone and ended with it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

IMAGES = 24  # of the job that is stopped: two runs of half a second each
CHECKOUT = Path(__file__).resolve().parents[1]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
SWEEP = [sys.executable, "-u", "-m", "harness.sweep", "grid.yaml", "--address", "auto", "--grace", "30", "--no-report"]
METHOD = """
import time
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Flat:
    class_index: int = 0
    seconds: float = 0.0
    broken: bool = False

    def segment(self, image, vocabulary):
        if self.broken:
            raise ValueError("it was made to fail")
        time.sleep(self.seconds)
        return np.full(image.shape[:2], self.class_index % len(vocabulary.names), np.int16)
"""
GRID = """
name: job
methods:
  - {{name: Flat, use: "flat:Flat", with: {{class_index: [0, 1], seconds: {seconds}, broken: {broken}}}}}
benchmarks:
  - {{name: Shapes, use: "benchmarks.shapes:Shapes", with: {{images: {images}}}}}
batch: 2
"""


@dataclass(frozen=True)
class Dashboard:
    """Where jobs are submitted to, and from which folder."""

    address: str
    folder: Path

    def submit(self, *arguments: str, name: str, wait: bool = True) -> subprocess.CompletedProcess[str]:
        """`ray job submit`, as in the docs; its exit code and what it printed."""
        variables = {"PYTHONPATH": str(CHECKOUT), "RAY_JOB_STOP_WAIT_TIME_S": "60"}
        here = ["--working-dir", str(self.folder), "--runtime-env-json", json.dumps({"env_vars": variables})]
        more = [] if wait else ["--no-wait"]
        return self.said("submit", "--submission-id", name, *more, *here, "--", *SWEEP, *arguments)

    def said(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _run([*RAY, "job", verb, "--address", self.address, *arguments])

    def grid(self, images: int, seconds: float = 0.0, broken: bool = False) -> None:
        text = GRID.format(images=images, seconds=seconds, broken=str(broken).lower())
        (self.folder / "grid.yaml").write_text(text)


def main() -> None:
    """Run all of it and print the record's lines."""
    with tempfile.TemporaryDirectory(prefix="jobs-") as text:
        place = Path(text)
        (place / "job").mkdir()
        (place / "job" / "flat.py").write_text(METHOD)
        with cluster(place) as dashboard:
            for trial in (submitted, refused, stopped):
                for line in trial(dashboard, place):
                    print(f"- {line}", flush=True)


def submitted(dashboard: Dashboard, place: Path) -> Iterator[str]:
    """A job that ends well, and one with failed images."""
    dashboard.grid(8)
    alone = _run([one for one in SWEEP if one not in ("--address", "auto")] + ["--local"], dashboard.folder)
    assert alone.returncode == 0, alone.stderr
    table = (dashboard.folder / "runs" / "leaderboard.csv").read_bytes()
    shutil.rmtree(dashboard.folder / "runs")
    done = dashboard.submit("--results", str(place / "runs"), name="well")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "runs" / "leaderboard.csv").read_bytes() == table
    yield "submitted, results at a place that stays: exit code 0; leaderboard.csv the same bytes as with --local"
    dashboard.grid(8, broken=True)
    failed = dashboard.submit("--results", str(place / "broken"), name="broken")
    assert "image results failed or are missing" in failed.stdout + failed.stderr, failed.stdout + failed.stderr
    yield f"all images fail: exit code {failed.returncode} of `ray job submit`; {_told(failed)!r}; our 3 stands there"


def refused(dashboard: Dashboard, place: Path) -> Iterator[str]:
    """A job without a place that stays."""
    dashboard.grid(8)
    answer = dashboard.submit(name="nowhere")
    lines = (answer.stdout + answer.stderr).splitlines()
    sentence = next(line for line in lines if "where Ray unpacked the job" in line)
    assert not list(place.glob("ray/**/working_dir_files/**/runs")), "something was written there"
    sentence = sentence[sentence.index("this is") :]
    yield f"without --results: exit code {answer.returncode}, {_told(answer)!r}; nothing is written; '{sentence}'"


def stopped(dashboard: Dashboard, place: Path) -> Iterator[str]:
    """A job that is stopped at work, and the same one again."""
    results = place / "stopped"
    dashboard.grid(IMAGES, seconds=0.5)
    begun = dashboard.submit("--results", str(results), name="long", wait=False)
    assert begun.returncode == 0, begun.stdout + begun.stderr
    _until(lambda: '"event": "batch"' in _events(results))
    asked = time.monotonic()
    end = dashboard.said("stop", "long")
    took = time.monotonic() - asked
    state = _answered(dashboard.said("status", "long"))
    log = dashboard.said("logs", "long").stdout
    assert "Ended with the batch at work, as asked" in log, log
    last = json.loads(_events(results).splitlines()[-1])
    assert (last["event"], last["exit"]) == ("end", 130), last
    done = sum(event["done"] for event in map(json.loads, _events(results).splitlines()) if event["event"] == "batch")
    yield f"`ray job stop` in mid-sweep: exit code {end.returncode} after {took:.0f} s, and the job {state}"
    yield "it said 'Ended with the batch at work, as asked', and its last event is the end with exit code 130"
    yield f"what it had done is kept: {done} of {2 * IMAGES} image results"
    again = dashboard.submit("--results", str(results), name="again")
    assert again.returncode == 0, again.stdout + again.stderr
    events = [json.loads(line) for line in _events(results).splitlines()]
    begins = [event["images"] for event in events if event["event"] == "sweep"]
    assert begins == [2 * IMAGES, 2 * IMAGES - done], begins
    yield f"the same command again: exit code 0, {begins[1]} image results were left to do, and were done"


def _told(answer: subprocess.CompletedProcess[str]) -> str:
    """What Ray says of how the job ended."""
    lines = [line for line in (answer.stdout + answer.stderr).splitlines() if "exit code" in line.lower()]
    return lines[-1].partition("Status message: ")[2].partition(",")[0] if lines else ""


def _answered(answer: subprocess.CompletedProcess[str]) -> str:
    said = answer.stdout + answer.stderr
    return next((words for words in ("was stopped", "failed", "succeeded") if f"' {words}" in said), said[-500:])


def _events(results: Path) -> str:
    path = results / "events.jsonl"
    return path.read_text() if path.exists() else ""


def _until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        time.sleep(0.2)


@contextmanager
def cluster(place: Path) -> Iterator[Dashboard]:
    """One node and its dashboard, on loopback; it ends with the block."""
    ports = _free_ports(2)
    words = ["start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={ports[0]}", "--num-cpus=2"]
    words += ["--dashboard-host=127.0.0.1", f"--dashboard-port={ports[1]}", f"--temp-dir={place / 'ray'}"]
    words += ["--disable-usage-stats", "--object-store-memory=100000000"]
    with (place / "log").open("w") as log:
        head = subprocess.Popen([*RAY, *words], env=_environment(), stdout=log, stderr=log)
    try:
        dashboard = Dashboard(f"http://127.0.0.1:{ports[1]}", place / "job")
        while dashboard.said("list").returncode:
            assert head.poll() is None, (place / "log").read_text()
        yield dashboard
    finally:
        head.terminate()
        head.wait()


def _run(words: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=_environment(), cwd=folder, capture_output=True, text=True, check=False)


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    python = os.pathsep.join([str(CHECKOUT), own.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**own, "PYTHONPATH": python, "NO_PROXY": "127.0.0.1", "COLUMNS": "200"}


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    numbers = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return numbers


if __name__ == "__main__":
    main()
