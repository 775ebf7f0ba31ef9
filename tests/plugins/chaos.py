"""Pretended hosts and a seed flow in; a sweep by the commands of docs/cluster.md is hit by events meanwhile, and what
it left, what each event cost and how long nothing went on flow out.

Who computes writes down what (`toy_paced`): so what was computed twice, and when, is known whatever the sweep says.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import polars as pl
import pretend_hosts
import psutil
from in_process import PLUGINS, ROOT, door
from pretend_hosts import Host

from results.folder.store import Store

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
PATIENCE = 900.0  # seconds in which something has to go on
HUNG = 420.0  # seconds after which a driver without which nobody computes is killed, and that is said
UNASKED = 20  # ends of the driver by itself
SAME = ("run_id", "image_id")


def by_hand() -> tuple[str, str, str]:
    """The commands of the page: of the head, of every other host, and of the sweep."""
    text = PAGE.read_text("utf-8")
    block = next(b for b in re.findall(r"^```bash\n(.*?)^```$", text, flags=re.M | re.S) if "ray start --head" in b)
    head, other, sweep = (line.partition("  #")[0].strip() for line in block.splitlines() if not line.startswith("#"))
    return head, other, sweep


@dataclass
class Happened:
    """An event. at: when, in seconds of the clock; detail: where and how long; ended: exit codes it brought about."""

    kind: str
    at: float
    detail: str
    ended: list[str] = field(default_factory=list)


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


class Chaos:
    """Events, each by its name, for a lab whose sweep is at work. longest: seconds until one is undone."""

    def __init__(
        self, lab: Lab, seed: int, told: Callable[[Happened], None] = lambda event: None, longest: float = 20.0
    ) -> None:
        self.lab, self.rng, self._tell, self._longest = lab, random.Random(seed), told, longest
        self.events: list[Happened] = []
        self._later: list[threading.Timer] = []

    def run(self, kinds: Sequence[str]) -> None:
        """The sweep from its start to its end, and events of these kinds in between."""
        self.lab.pace.write_text("." * PACE)
        for host in self.lab.hosts[:-1]:
            self.lab.switch_on(host)
        self.lab.drive(self.lab.head)
        try:
            for kind in kinds:
                self._go_on(self.rng.randint(4, 10))
                event = Happened(kind, time.time(), "")
                self.events.append(event)
                event.detail = getattr(self, kind.replace(" ", "_"))()
                self._tell(event)
            self._go_on(2)
            self.lab.pace.unlink()
            self._to_the_end()
        finally:
            for timer in self._later:
                timer.cancel()
                timer.join()

    # the events

    def worker_killed(self) -> str:
        host, worker = self._worker()
        worker.kill()
        return host.name

    def worker_frozen(self) -> str:
        host, worker = self._worker()
        worker.suspend()
        return f"{host.name}, {self._undo(worker.resume)}"

    def raylet_killed(self) -> str:
        host = self._other()
        for process in host.processes():
            with suppress(psutil.Error):
                if process.name() == "raylet":
                    process.kill()
        return host.name

    def host_killed(self) -> str:
        """Its driver, if it has one, dies too."""
        host = self._other()
        host.kill()
        return f"{host.name}{self._with_driver(host)}, {self._undo(lambda: self.lab.switch_on(host))}"

    def link_cut(self) -> str:
        host = self._other()
        host.cut()
        return f"{host.name}, {self._undo(host.mend)}"

    def link_cut_for_long(self) -> str:
        """So long that Ray gives the host up, which ends its Ray; the loop brings it back."""
        host = self._other()
        host.cut()
        return f"{host.name}, {self._undo(host.mend, 75.0)}"

    def link_slow(self) -> str:
        host = self._other()
        host.slow(256)
        return f"{host.name} at 256 kbit/s, {self._undo(host.mend, 15.0)}"

    def shared_memory_full(self) -> str:
        host = self._other()
        size = pretend_hosts.SHARED_MEMORY
        with suppress(subprocess.CalledProcessError):
            host.call("dd", "if=/dev/zero", "of=/dev/shm/full", "bs=1M", f"count={size}")
        return f"{host.name}, {self._undo(lambda: host.up and host.call('rm', '-f', '/dev/shm/full'))}"

    def driver_killed(self) -> str:
        return self._driver_again(signal.SIGKILL, self.lab.at)

    def driver_killed_and_moved(self) -> str:
        return self._driver_again(signal.SIGKILL, self._another())

    def driver_asked_to_end_and_moved(self) -> str:
        return self._driver_again(signal.SIGTERM, self._another())

    def host_joins_or_leaves(self) -> str:
        guest = self.lab.guest
        if guest.up:
            guest.kill()
            return f"{guest.name} leaves for good{self._with_driver(guest)}"
        self.lab.switch_on(guest)
        return f"{guest.name} joins"

    def head_killed(self) -> str:
        """With the cluster's centre; all is started again by hand."""
        head = self.lab.head
        head.kill()
        told = f"{head.name}{self._with_driver(head)}"
        self.lab.switch_on(head)
        return told

    # what they have in common

    def _undo(self, how: Callable[[], object], seconds: float | None = None) -> str:
        """Later; how long that is, in words."""
        seconds = self.rng.uniform(2.0, self._longest) if seconds is None else seconds

        def act() -> None:
            with suppress(subprocess.CalledProcessError, psutil.Error):  # the host is gone meanwhile
                how()

        timer = threading.Timer(seconds, act)
        self._later.append(timer)
        timer.start()
        return f"{seconds:.0f} s"

    def _other(self) -> Host:
        """A host that computes."""
        return self._one_of(lambda host: host is not self.lab.head)

    def _another(self) -> Host:
        """One where the driver is not."""
        return self._one_of(lambda host: host not in (self.lab.guest, self.lab.at))

    def _one_of(self, fits: Callable[[Host], bool]) -> Host:
        """Any such host, as soon as there is one."""
        found: list[Host] = []

        def there() -> bool:
            found[:] = [host for host in self.lab.hosts if host.up and fits(host)]
            return bool(found)

        self._until(there)
        return self.rng.choice(found)

    def _worker(self) -> tuple[Host, psutil.Process]:
        """Somebody who computes, by what was written down last."""
        name = self.lab.computed()[-1][1]
        host = next(host for host in self.lab.hosts if host.name == name.rpartition("-")[0])
        inside = name.rpartition("-")[2]
        for process in host.processes():
            with suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                if any(line.startswith("NSpid:") and line.split()[-1] == inside for line in status):
                    return host, process
        return self._worker_after(name)

    def _worker_after(self, name: str) -> tuple[Host, psutil.Process]:
        """The one that was found is gone already: wait for the next."""
        self._until(lambda: self.lab.computed()[-1][1] != name)
        return self._worker()

    def _driver_again(self, number: int, host: Host) -> str:
        before = self.lab.at
        code = self.lab.end_driver(number)
        self.events[-1].ended.append(str(code))
        self.lab.drive(host)
        return before.name if host is before else f"{before.name}, again on {host.name}"

    def _with_driver(self, host: Host) -> str:
        return " and the driver on it" if self.lab.at is host else ""

    def _go_on(self, batches: int) -> None:
        """Until so many more batches were computed, or nothing but the last is left."""
        enough = len(self.lab.computed()) + batches * BATCH * METHODS
        most = (self.lab.images - BATCH) * METHODS
        self._until(lambda: len(found := self.lab.computed()) >= enough or len({what for *_, what in found}) >= most)

    def _until(self, true: Callable[[], bool]) -> None:
        """Wait, and start the driver again whenever it has ended."""
        start, hung = time.monotonic(), False
        while not true():
            waited = time.monotonic() - start
            assert waited < PATIENCE, f"nothing goes on: {self.lab.said('driver')[-2000:]}"
            if waited > HUNG and self.events and not hung:
                hung = True
                self.events[-1].ended.append(f"{self.lab.end_driver(signal.SIGKILL)} (hung)")
                self.lab.drive(self.lab.at)
            self._keep_driving()
            time.sleep(0.2)

    def _keep_driving(self) -> None:
        driver = self.lab.driver
        assert driver is not None
        if (code := driver.poll()) is None:
            return
        assert code != 0, "it ended before its last images could be computed"
        said = [line for line in self.lab.said("driver").splitlines() if line.strip(" *") and "[0x" not in line]
        last = said[-1].rpartition("Check failed: ")[2][:120] if said else ""  # what Ray's own code says at its abort
        event = self.events[-1] if self.events else Happened("start", time.time(), "")
        event.ended.append(f"{code}" if code < 0 else f"{code} ({last})")
        assert sum(len(one.ended) for one in self.events) < UNASKED + len(self.events), event
        time.sleep(2.0)
        self.lab.drive(self.lab.at if self.lab.at.up else self.lab.head)

    def _to_the_end(self) -> None:
        end = time.monotonic() + PATIENCE
        while self.lab.driver is not None and self.lab.driver.poll() != 0:
            assert time.monotonic() < end, self.lab.said("driver")[-2000:]
            self._keep_driving()
            time.sleep(0.2)


KINDS = (
    "worker killed", "worker frozen", "raylet killed", "host killed", "link cut", "link cut for long", "link slow",
    "shared memory full", "driver killed", "driver killed and moved", "driver asked to end and moved",
    "host joins or leaves", "head killed",
)  # fmt: skip


@dataclass(frozen=True)
class Left:
    """What a sweep leaves."""

    leaderboard: bytes
    rows: pl.DataFrame

    @classmethod
    def of(cls, folder: Path) -> Left:
        """The table as it is, and the rows in order, without how long each took."""
        rows = Store(folder).rows().drop("seconds").sort(SAME)
        return cls((folder / "leaderboard.csv").read_bytes(), rows)


def by_one_process(lab: Lab) -> Left:
    """The same grid by `--local`."""
    answer = door("grid.yaml", "--local", "--quiet", "--results", "local", cwd=lab.place)
    assert answer.returncode == 0, answer.stderr
    return Left.of(lab.place / "local")


@contextmanager
def lab_of(place: Path, names: Sequence[str], images: int, **variables: str) -> Iterator[Lab]:
    """A lab whose hosts are switched off."""
    with pretend_hosts.hosts(place, names) as hosts:
        yield Lab(place, hosts, images, variables)


@dataclass(frozen=True)
class Cost:
    """What an event cost until the next one. again: image results computed once more; still: the longest time, in
    seconds, in which nobody computed; back: how long after it a new process computed, where it ended one."""

    again: int
    still: float
    back: float | None


ENDS_A_PROCESS = ("worker killed", "raylet killed", "host killed", "link cut for long", "head killed")


def costs(chaos: Chaos) -> list[tuple[Happened, Cost]]:
    """Of every event, by what was written down."""
    computed, events = chaos.lab.computed(), chaos.events
    bounds = [*(event.at for event in events[1:]), float("inf")]
    seen: set[str] = set()
    found = []
    for event, bound in zip(events, bounds, strict=True):
        seen |= {what for when, _, what in computed if when < event.at}
        within = [(when, what) for when, _, what in computed if event.at <= when < bound]
        again = 0
        for _, what in within:
            again += what in seen
            seen.add(what)
        times = [event.at, *(when for when, _ in within), *([bound] if bound < float("inf") else [])]
        still = max((b - a for a, b in pairwise(times)), default=0.0)
        found.append((event, Cost(again, still, _back(event, computed))))
    return found


def _back(event: Happened, computed: Sequence[tuple[float, str, str]]) -> float | None:
    """When somebody who was not there before computed, on the same host where it is one host that was hit."""
    if not event.kind.startswith(("driver", *ENDS_A_PROCESS)):
        return None
    before = {who for when, who, _ in computed if when < event.at} if event.kind != "host killed" else set()
    host = "" if event.kind.startswith(("driver", "head")) else event.detail.split()[0].rstrip(",")
    later = (when for when, who, _ in computed if when > event.at and who not in before and who.startswith(host))
    return next((when - event.at for when in later), None)
