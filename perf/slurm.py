"""Debian's Slurm on two pretended hosts and the recipes of docs/slurm.md, word by word, flow in; perf/results/slurm.md
says what became of them: each has to end in the bytes of one process.

make slurm        (root; installs slurm-wlm and munge where apt-get may)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))

import pretend_hosts
from pretend_hosts import Host

from perf import machine

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "slurm.md"
IMAGES, METHODS, BATCH = 240, 2, 4
SITE = {  # what a lab has to change in a recipe, by its place on the page
    "one": {
        " --gpus-per-task=4 --cpus-per-task=32 --mem=128G": " --cpus-per-task=2 --mem=4G",
        "/shared/": "PLACE/",
    },
    "several": {
        "--nodes=4": "--nodes=2",
        " --gpus-per-task=4 --cpus-per-task=16": " --cpus-per-task=1",
        "/shared/": "PLACE/",
    },
    "array": {
        "--array=1-6 --gpus-per-task=1 --cpus-per-task=8": "--array=1-3 --cpus-per-task=1",
        "/shared/": "PLACE/",
    },
    "merge": {"/shared/": "PLACE/"},
}
GRID = f"""name: mine
methods:
  - {{name: Halves, use: toy_paced:Paced, with: {{wrong: 2}}}}
  - {{name: Thirds, use: toy_paced:Paced, with: {{wrong: 3}}}}
benchmarks:
  - {{name: Numbers, use: toy_paced:Numbered, with: {{images: {IMAGES}}}}}
batch: {BATCH}
"""
CONFIGURATION = """ClusterName=pretended
SlurmctldHost={control}({address})
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=20
MinJobAge=86400
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool-%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
"""
ABOUT = (
    "`make slurm`, Debian's {version}: a controller and two nodes of two CPUs, each a pretended host (namespaces) with "
    "its own address, host name, process numbers and /dev/shm; file system shared, no GPU. The scripts are those of "
    "docs/slurm.md, read from the page; a grid of {methods} methods on {images} images, batches of {batch}. Seconds "
    "are those of a busy machine. What was computed again was lost, or done twice by a worker that was idle at an end."
)
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
PATIENCE = 1200.0  # seconds


def recipes() -> dict[str, str]:
    """The scripts of the page, by a name that the text of each tells."""
    text = PAGE.read_text("utf-8")
    found = re.findall(r"^```bash\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    told = {"--time=08:00:00": "one", "symmetric-run": "several", "--array": "array", "merge": "merge"}
    return {name: next(block for block in found if words in block) for words, name in told.items()}


def at_this_site(name: str, place: str) -> str:
    """A recipe with what a site changes; AssertionError where the page has other words by now."""
    script = recipes()[name]
    for theirs, ours in SITE[name].items():
        assert theirs in script, f"{PAGE.name}: no {theirs!r} in the recipe {name!r}"
        script = script.replace(theirs, ours)
    return script.replace("PLACE", place)


@dataclass
class Slurm:
    """Its controller on a host of its own, and two that compute."""

    place: Path
    control: Host
    nodes: Sequence[Host]
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        """What a person who logs in there has."""
        known = {"SLURM_CONF": str(self.place / "slurm.conf"), "HOME": str(self.place / "home")}
        return {**known, "TOY_PACE": str(self.place / "pace")}

    def start(self) -> None:
        """Until both nodes are idle."""
        (self.place / "home").mkdir()
        (self.place / "state").mkdir()
        lines = [f"NodeName={one.name} NodeAddr={one.address} CPUs=2 RealMemory=8000" for one in self.nodes]
        text = CONFIGURATION.format(control=self.control.name, address=self.control.address, place=self.place)
        (self.place / "slurm.conf").write_text("\n".join([text, *lines, "PartitionName=all Nodes=ALL Default=YES\n"]))
        for host in (self.control, *self.nodes):
            self.switch_on(host)
        self._until(lambda: self.control.call("sinfo", "-h", "-o", "%t", **self.variables).split() == ["idle"])

    def switch_on(self, host: Host) -> None:
        """A host, and what runs there from its start."""
        host.start()
        log = self.place / f"log-{host.name}"
        host.call("chown", "munge:", "/run/munge")
        munge = [f"--{what}-file={self.place}/munge-{host.name}.{what}" for what in ("log", "seed", "pid")]
        self.daemons.append(host.run("munged", "--foreground", "--force", *munge, out=log))
        daemon = ["slurmctld", "-D"] if host is self.control else ["slurmd", "-D", "-N", host.name]
        time.sleep(1)
        self.daemons.append(host.run(*daemon, out=log, **self.variables))

    def sbatch(self, script: str, *more: str) -> str:
        """A job is sent from the folder of the grid, as a file; its number."""
        (self.place / "job.sh").write_text(script)
        words = ("sbatch", "--parsable", f"--chdir={self.place}", *more, str(self.place / "job.sh"))
        return self.control.call(*words, **self.variables).strip()

    def told(self, job: str) -> list[dict[str, str]]:
        """What Slurm tells of a job, or of each task of an array."""
        lines = self.control.call("scontrol", "-o", "show", "job", job, **self.variables).splitlines()
        return [dict(word.partition("=")[::2] for word in line.split() if "=" in word) for line in lines]

    def states(self, job: str) -> list[str]:
        return [one["JobState"] for one in self.told(job)]

    def ended(self, job: str) -> list[str]:
        """How it ended: state, exit code and host, of every task."""
        self._until(lambda: all(state in ENDED for state in self.states(job)))
        return sorted({f"{one['JobState']} {one['ExitCode']}" for one in self.told(job)})

    def running(self, job: str, restarts: int = 0) -> None:
        """Until it runs, and has been started again so often."""

        def runs() -> bool:
            return all(one["JobState"] == "RUNNING" and int(one["Restarts"]) >= restarts for one in self.told(job))

        self._until(runs)

    def _until(self, true: Callable[[], bool]) -> None:
        until(true, self.place)


def until(true: Callable[[], bool], place: Path) -> None:
    """Wait; AssertionError with the ends of all logs when it takes too long."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if true():
                return
        except (subprocess.CalledProcessError, FileNotFoundError, KeyError):
            pass  # the controller is not there yet, or a file
        if time.monotonic() > end:
            logs = [path for pattern in ("log-*", "slurm-*.out") for path in sorted(place.glob(pattern))]
            told = [f"{path.name}: {path.read_text('utf-8', 'replace')[-1500:]}" for path in logs]
            raise AssertionError("\n".join(told))
        time.sleep(0.5)


class Recipes:
    """The recipes, one after the other; each gives the line of the record that says how it ended."""

    def __init__(self, slurm: Slurm, local: bytes) -> None:
        self._slurm, self._place, self._local = slurm, slurm.place, local

    def one_node(self) -> str:
        """The recipe of one node."""
        ways = self._slurm.ended(self._send("one"))
        return f"{', '.join(ways)}; {self._bytes()}"

    def several_nodes(self) -> str:
        """That of several nodes, by `ray symmetric-run`."""
        job, names = self._send("several", pace=10), [one.name for one in self._slurm.nodes]
        until(lambda: all(self._computed(name) for name in names), self._place)
        (self._place / "pace").unlink()
        ways = self._slurm.ended(job)
        told = ", ".join(f"{name} {len(self._computed(name))}" for name in names)
        return f"{', '.join(ways)}; image results by host: {told}; {self._bytes()}"

    def array(self) -> str:
        """A job array of three tasks by `--shard`, and the merge by hand."""
        ways = self._slurm.ended(self._send("array"))
        shards = sorted(path.name for path in (self._place / "runs" / "shards").iterdir())
        self._merge()
        return f"{', '.join(ways)} of {len(shards)} tasks ({', '.join(shards)}); merged: {self._bytes()}"

    def requeue(self) -> str:
        """`scontrol requeue` while the recipe of one node is at work."""
        job = self._send("one", pace=20)
        self._until_stored(5)
        self._slurm.control.call("scontrol", "requeue", job, **self._slurm.variables)
        until(lambda: "Interrupted; what is done is kept" in self._said(job), self._place)  # the next start clears it
        self._slurm.running(job, restarts=1)
        kept = self._events().count('"event": "batch"')
        (self._place / "pace").unlink()
        ways = self._slurm.ended(job)
        return (
            f'"Interrupted; what is done is kept", {kept} batches; again: {", ".join(ways)}; {self._lost()}; '
            f"{self._bytes()}"
        )

    def usr1(self) -> str:
        """The array's `--signal=B:USR1@300` with a limit of six minutes: Slurm sends it after the first."""
        job = self._send("array", "--time=00:06:00", pace=100)
        ways = self._slurm.ended(job)
        logs = [path.read_text() for path in self._place.glob(f"slurm-{job}_*.out")]
        count = sum("Ended with the batch at work, as asked" in text for text in logs)
        assert count == len(logs) == 3, logs
        (self._place / "pace").unlink()
        again = self._slurm.ended(self._send("array", fresh=False))
        self._merge()
        return (
            f'{", ".join(ways)}, "Ended with the batch at work, as asked" by {count} of 3 tasks; the same array again: '
            f"{', '.join(again)}; {self._lost()}; {self._bytes()}"
        )

    def node_failure(self) -> str:
        """The host where the recipe of one node is at work is switched off; Slurm starts the job on the other one."""
        job = self._send("one", pace=20)
        self._until_stored(5)
        (before,) = [one["BatchHost"] for one in self._slurm.told(job)]
        host = next(one for one in self._slurm.nodes if one.name == before)
        host.kill()
        dead = time.monotonic()
        self._slurm.running(job, restarts=1)
        (after,) = [one["BatchHost"] for one in self._slurm.told(job)]
        seen = time.monotonic() - dead
        kept = self._events().count('"event": "batch"')
        (self._place / "pace").unlink()
        ways = self._slurm.ended(job)
        took = time.monotonic() - dead
        self._slurm.switch_on(host)
        return (
            f"{kept} batches kept from {before}; Slurm started it on {after} after {seen:.0f} s, and it ended after "
            f"{took:.0f} s: {', '.join(ways)}; {self._lost()}; {self._bytes()}"
        )

    def _send(self, name: str, *more: str, pace: int = 0, fresh: bool = True) -> str:
        if fresh:
            for folder in ("runs", "computed"):
                shutil.rmtree(self._place / folder, ignore_errors=True)
            (self._place / "computed").mkdir()
        if pace:
            (self._place / "pace").write_text("." * pace)
        return self._slurm.sbatch(at_this_site(name, str(self._place)), *more)

    def _merge(self) -> None:
        """What the page says to type when all tasks have ended."""
        script = f"cd {self._place} && . .venv/bin/activate && set -e\n{at_this_site('merge', str(self._place))}"
        with (self._place / "log-merge").open("ab") as log:
            subprocess.run(["bash", "-c", script], check=True, stdout=log, stderr=log, cwd=self._place)

    def _until_stored(self, batches: int) -> None:
        until(lambda: self._events().count('"event": "batch"') >= batches, self._place)

    def _events(self) -> str:
        return (self._place / "runs" / "events.jsonl").read_text("utf-8")

    def _said(self, job: str) -> str:
        return (self._place / f"slurm-{job}.out").read_text("utf-8")

    def _computed(self, host: str = "*") -> list[str]:
        files = (self._place / "computed").glob(f"{host}-*")
        return [line.split(" ", 1)[1] for path in files for line in path.read_text().splitlines()]

    def _lost(self) -> str:
        """How many image results were computed more than once: lost, or done twice by who was idle at an end."""
        again = len(self._computed()) - len(set(self._computed()))
        return f"{again} of {IMAGES * METHODS} image results computed again ({again / (BATCH * METHODS):.1f} batches)"

    def _bytes(self) -> str:
        """AssertionError where the leaderboard is another one than that of `--local`."""
        logs = "\n".join(path.read_text()[-1500:] for path in self._place.glob("slurm-*.out"))
        assert (self._place / "runs" / "leaderboard.csv").read_bytes() == self._local, logs
        assert not (self._place / "runs" / "LOCK").exists()
        return "leaderboard.csv equal to that of `--local`"


@contextmanager
def slurm_here() -> Iterator[Slurm]:
    """Slurm on three pretended hosts, in a folder that all see, with a grid and its plug-in."""
    place = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    place.chmod(0o755)
    (place / ".venv").symlink_to(Path(sys.executable).parents[1])
    (place / "mine.yaml").write_text(GRID)
    shutil.copy(ROOT / "tests" / "plugins" / "toy_paced.py", place)
    try:
        with pretend_hosts.hosts(place, ["control", "north", "east"]) as (control, *nodes):  # each with its own /tmp
            yield Slurm(place, control, nodes)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def by_one_process(place: Path) -> bytes:
    """The leaderboard of `--local`."""
    command = ["stableseg", "sweep", "mine.yaml", "--local", "--no-report", "--quiet", "--results", "local"]
    bin = Path(sys.executable).parent
    subprocess.run([str(bin / command[0]), *command[1:]], check=True, cwd=place, env=dict(os.environ))
    return (place / "local" / "leaderboard.csv").read_bytes()


def main() -> int:
    """Exit 2 where Slurm cannot run here."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        print(f"There is no {', '.join(missing)} here: install Debian's slurm-wlm and munge as root.", file=sys.stderr)
        return 2
    if reason := pretend_hosts.forbidden():
        print(f"Two hosts cannot be pretended: {reason}.", file=sys.stderr)
        return 2
    lines = ["| recipe | what became of it | seconds |", "|---|---|---:|"]
    with slurm_here() as slurm:
        local = by_one_process(slurm.place)
        slurm.start()
        does = Recipes(slurm, local)
        for step in (does.one_node, does.several_nodes, does.array, does.requeue, does.usr1, does.node_failure):
            start = time.monotonic()
            became = step()
            lines.append(f"| {(step.__doc__ or '').strip().rstrip('.')} | {became} | {time.monotonic() - start:.0f} |")
            print(lines[-1], flush=True)
        version = slurm.control.call("slurmd", "-V").strip()
    changed = [
        f"- {name}: " + "; ".join(f"`{theirs.strip()}` -> `{ours.strip()}`" for theirs, ours in words.items())
        for name, words in SITE.items()
    ]
    about = ABOUT.format(version=version, methods=METHODS, images=IMAGES, batch=BATCH)
    changed = ["What the site changed in them:", "", *changed]
    machine.write("slurm", "The recipes for Slurm, as they ran", [about, "", *lines, "", *changed])
    return 0


if __name__ == "__main__":
    sys.exit(main())
