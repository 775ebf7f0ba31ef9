"""Names go in; hosts flow out that this machine pretends to have: each with an address, a host name, process numbers, a
/dev/shm and a /tmp of its own, on one network whose links can be cut and slowed. All other files are shared.

A host is a handful of Linux namespaces, which only root may make. It is there as long as its first process, which ends
when ours does, and with it all that runs there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
NET = "10.213.77"  # a network that only these hosts know
SHARED_MEMORY = 256  # MiB of /dev/shm
OWN = ("/tmp", "/run/munge")  # folders for sockets, which no two hosts may share
_UNSHARED = ("unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_STAY = "echo there; cat >/dev/null; :"  # until our end of its input is closed; the shell buries what is left to it


class Host:
    """One of them, which can be started again after it was killed. place: a folder that all share."""

    def __init__(self, network: Network, name: str, number: int, place: Path) -> None:
        self.name, self.address = name, f"{NET}.{number + 1}"
        self._network, self._number, self._place = network, number, place
        self._holder: subprocess.Popen[str] | None = None
        self.first = 0  # the number of its first process, seen from here

    @property
    def up(self) -> bool:
        """Whether it is there."""
        return self.first != 0 and psutil.pid_exists(self.first)

    def start(self) -> None:
        """Switch it on; nothing runs there yet."""
        shared = [path for path in (self._place, ROOT, Path(sys.prefix)) if path.is_relative_to("/tmp")]
        mounts = [f"hostname {self.name}", f"mount -t tmpfs -o size={SHARED_MEMORY}m tmpfs /dev/shm"]
        mounts += [f"mount --bind {self._place / file} /etc/{file}" for file in ("hosts", "resolv.conf")]
        mounts += ["mount -t tmpfs tmpfs /mnt"]
        mounts += [f"mkdir /mnt/{n} && mount --rbind {path} /mnt/{n}" for n, path in enumerate(shared)]
        mounts += [f"mkdir -p {path} && mount -t tmpfs -o mode=1777 tmpfs {path}" for path in OWN]
        mounts += [f"mkdir -p {path} && mount --rbind /mnt/{n} {path}" for n, path in enumerate(shared)]
        self._holder, self.first = _held([*_UNSHARED, "bash", "-c", " && ".join([*mounts, f"{{ {_STAY}; }}"])])
        self._network.plug_in(self, self._number)

    def kill(self) -> None:
        """As when its plug is pulled: all its processes end at once, and nobody is told."""
        if self._holder is not None:
            with suppress(ProcessLookupError):
                os.kill(self.first, signal.SIGKILL)
            self._holder.communicate()
        self._holder, self.first = None, 0

    def run(self, *command: str, out: Path, **variables: str) -> subprocess.Popen[bytes]:
        """A process there; what it says is appended to a file."""
        with out.open("ab") as file:
            return subprocess.Popen(
                [*self.inside(), *command], env={**_surroundings(), **variables}, stdin=subprocess.DEVNULL, stdout=file,
                stderr=file,
            )  # fmt: skip

    def call(self, *command: str, **variables: str) -> str:
        """What a short command says there."""
        return _said([*self.inside(), *command], {**_surroundings(), **variables})

    def inside(self) -> list[str]:
        """What makes a command one of this host."""
        return ["nsenter", f"--target={self.first}", "--net", "--uts", "--ipc", "--mount", "--pid", "--"]

    def processes(self) -> list[psutil.Process]:
        """All that run there, by our numbers."""
        space = os.readlink(f"/proc/{self.first}/ns/pid")
        found = []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if os.readlink(f"/proc/{process.pid}/ns/pid") == space and process.pid != self.first:
                    found.append(process)
        return found

    def cut(self) -> None:
        """Nothing comes through, as when a cable is pulled in a switch."""
        self._network.call("ip", "link", "set", self._link, "down")

    def mend(self) -> None:
        """Undo `cut` and `slow`."""
        self._network.call("ip", "link", "set", self._link, "up")
        with suppress(subprocess.CalledProcessError):  # it was not slow
            self._network.call("tc", "qdisc", "del", "dev", self._link, "root")

    def slow(self, kilobits: int) -> None:
        """So much a second comes through to it."""
        limit = ("rate", f"{kilobits}kbit", "burst", "4kb", "latency", "2s")
        self._network.call("tc", "qdisc", "replace", "dev", self._link, "root", "tbf", *limit)

    @property
    def _link(self) -> str:
        return f"to{self._number}"


class Network:
    """A switch that hosts are plugged into."""

    def __init__(self) -> None:
        self._holder, self._first = _held(["unshare", "--net", "--fork", "--kill-child", "bash", "-c", _STAY])
        self.call("ip", "link", "add", "switch", "type", "bridge")
        self.call("ip", "link", "set", "switch", "up")

    def call(self, *command: str) -> str:
        """Something is done to the switch."""
        return _said(["nsenter", f"--target={self._first}", "--net", "--", *command])

    def plug_in(self, host: Host, number: int) -> None:
        """A cable; the one of a host that was killed is gone with it, if not at once."""
        link, end = f"to{number}", ("address", f"02:00:00:00:00:{number:02x}", "netns", str(host.first))
        with suppress(subprocess.CalledProcessError):
            self.call("ip", "link", "del", link)
        self.call("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", *end)
        self.call("ip", "link", "set", link, "master", "switch", "up")
        address = f"addr add {host.address}/24 dev eth0"
        for words in (address, "link set eth0 up", "link set lo up", "route add default dev eth0"):
            host.call("ip", *words.split())

    def close(self) -> None:
        self._holder.communicate()


@contextmanager
def hosts(place: Path, names: Sequence[str]) -> Iterator[list[Host]]:
    """Hosts that know each other by name, switched off; all end with the block. place: a folder that all will share."""
    with ExitStack() as over:
        network = Network()
        over.callback(network.close)
        found = [Host(network, name, number, place) for number, name in enumerate(names)]
        known = [("127.0.0.1", "localhost"), *((one.address, one.name) for one in found)]
        (place / "hosts").write_text("".join(f"{address} {name}\n" for address, name in known))
        (place / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # says at once that it knows no other names
        for one in found:
            over.callback(one.kill)
        yield found


@cache
def forbidden() -> str | None:
    """Why this machine pretends no hosts; None where it does."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces need Linux and root"
    try:
        with tempfile.TemporaryDirectory() as place, hosts(Path(place), ["north", "east"]) as pair:
            for one in pair:
                one.start()
            pair[0].slow(1000)
            pair[0].mend()
    except (OSError, subprocess.CalledProcessError, AssertionError) as error:
        said = getattr(error, "stderr", None) or error
        return f"this machine forbids namespaces or their network: {said}".strip()
    return None


def _held(command: Sequence[str]) -> tuple[subprocess.Popen[str], int]:
    """A process that stays, and the number of the first one in its namespaces."""
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    if holder.stdout.readline() != "there\n":
        raise AssertionError(holder.communicate()[1])
    (first,) = psutil.Process(holder.pid).children()
    return holder, first.pid


def _surroundings() -> dict[str, str]:
    """Our commands are found there, and what Ray or Slurm told this process is not."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "RAY_USAGE_STATS_ENABLED": "0"}


def _said(command: Sequence[str], variables: Mapping[str, str] | None = None) -> str:
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout
