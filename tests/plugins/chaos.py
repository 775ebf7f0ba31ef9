"""A lab and a seed flow in; its sweep is hit by events meanwhile, and started again whenever it has ended."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pretend_hosts
import psutil
from chaos_lab import BATCH, METHODS, PACE, Lab
from pretend_hosts import Host

PATIENCE = 900.0  # seconds in which something has to go on
HUNG = 420.0  # seconds after which a driver without which nobody computes is killed, and that is said
UNASKED = 20  # ends of the driver by itself


@dataclass
class Happened:
    """An event. at: when, in seconds of the clock; detail: where and how long; ended: exit codes it brought about."""

    kind: str
    at: float
    detail: str
    ended: list[str] = field(default_factory=list)


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
