"""Pretended hosts flow in; a cluster on them and the driver of a sweep, by the commands of docs/cluster.md, flow out.

Who computes writes down what (`toy_paced`): so what was computed twice, and when, is known whatever the sweep says.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pretend_hosts
import psutil
from in_process import PLUGINS, ROOT
from pretend_hosts import Host

PAGE = ROOT / "docs" / "cluster.md"
METHODS, BATCH = 2, 4
PACE = 25  # hundredths of a second an image and method
GRID = """name: chaos
methods:
  - {{name: Halves, use: toy_paced:Paced, with: {{wrong: 2}}}}
  - {{name: Thirds, use: toy_paced:Paced, with: {{wrong: 3}}}}
benchmarks:
  - {{name: Numbers, use: toy_paced:Numbered, with: {{images: {images}}}}}
batch: {batch}
cluster: {{stall_seconds: 900}}
"""  # the last images wait for the end of all events, and are no hung worker
SMALL = "--object-store-memory=80000000"  # what a small machine adds to `ray start`
HAS_RAY = shutil.which("ray", path=str(Path(sys.executable).parent)) is not None
RAY = "" if HAS_RAY else 'ray() { python -m ray.scripts.scripts "$@"; }; '  # an environment without commands


def by_hand() -> tuple[str, str, str]:
    """The commands of the page: of the head, of every other host, and of the sweep."""
    text = PAGE.read_text("utf-8")
    block = next(b for b in re.findall(r"^```bash\n(.*?)^```$", text, flags=re.M | re.S) if "ray start --head" in b)
    head, other, sweep = (line.partition("  #")[0].strip() for line in block.splitlines() if not line.startswith("#"))
    return head, other, sweep


class Lab:
    """The hosts, the cluster on them, and the driver. The first host is the head. variables: for all there."""

    def __init__(self, place: Path, hosts: Sequence[Host], images: int, variables: Mapping[str, str]) -> None:
        self.place, self.hosts, self.images, self._variables = place, list(hosts), images, variables
        self.head, self.guest = hosts[0], hosts[-1]
        self.driver: subprocess.Popen[bytes] | None = None
        self.at = self.head  # where the driver is
        self.runs, self.pace = place / "runs", place / "pace"
        (place / "computed").mkdir()
        (place / "grid.yaml").write_text(GRID.format(images=images, batch=BATCH))
        self.head_line, self.other_line, self.sweep_line = by_hand()

    def switch_on(self, host: Host) -> None:
        """A host starts, and does what the page tells it to."""
        host.start()
        if host is self.head:
            said = self._run(host, f"{self.head_line} {SMALL} --include-dashboard=false")
            assert said.wait() == 0, self.said(host)
        else:
            line = self.other_line.replace("HEAD", self.head.name)
            self._run(host, line.replace("--block", f"--block --num-cpus=1 {SMALL}"))

    def drive(self, host: Host) -> None:
        """The sweep is started, for the first time or again."""
        line = self.sweep_line.replace("/shared/runs", str(self.runs)) + " --no-report --quiet"
        address = "auto" if host is self.head else f"{self.head.name}:6379"
        self.at = host
        self.driver = self._run(host, "exec " + line.replace("--address auto", f"--address {address}"), "driver")

    def end_driver(self, number: int) -> int:
        """A signal for the driver; its exit code."""
        assert self.driver is not None
        with suppress(psutil.NoSuchProcess, ValueError):
            (sweep,) = psutil.Process(self.driver.pid).children()
            sweep.send_signal(number)
        return self.driver.wait()

    def said(self, host: Host | str) -> str:
        """What a host's commands, or the driver, have said."""
        return (self.place / f"log-{host if isinstance(host, str) else host.name}").read_text("utf-8", "replace")

    def computed(self) -> list[tuple[float, str, str]]:
        """When, by which process, which result; in the order of time."""
        found = []
        for path in (self.place / "computed").iterdir():
            for line in path.read_text().splitlines():
                when, what = line.split(" ", 1)
                found.append((float(when), path.name, what))
        return sorted(found)

    def _run(self, host: Host, line: str, log: str | None = None) -> subprocess.Popen[bytes]:
        home = self.place / f"home-{host.name}"
        home.mkdir(exist_ok=True)
        variables = {"HOME": str(home), "TOY_PACE": str(self.pace), "PYTHONPATH": str(PLUGINS), **self._variables}
        out = self.place / f"log-{log or host.name}"
        return host.run("bash", "-c", f"{RAY}cd {self.place} && {line}", out=out, **variables)


@contextmanager
def lab_of(place: Path, names: Sequence[str], images: int, **variables: str) -> Iterator[Lab]:
    """A lab whose hosts are switched off."""
    with pretend_hosts.hosts(place, names) as hosts:
        yield Lab(place, hosts, images, variables)
