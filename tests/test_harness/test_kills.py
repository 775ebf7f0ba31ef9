"""A chain of learners whose driver is killed (SIGKILL) again and again: the next sweep goes on, to the same tables."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from toy_chain import CHAIN, cards, door, met, start, tables, until_met

JOINED = CHAIN.replace("toy_learners:Colours, with: {teacher: Bright}", "toy_learners:Joined, with: {teacher: Bright}")
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # they try for a minute to tell Ray's dead centre of it


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain, run without a mishap."""
    place = tmp_path_factory.mktemp("whole")
    (place / "grid.yaml").write_text(JOINED)
    assert door(place) == 0
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "grid.yaml").write_text(JOINED)
    return tmp_path


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short folder for what a killed Ray leaves: its sockets need short paths."""
    made = Path(tempfile.mkdtemp(prefix="kill-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def check_ended_as(whole: Path, folder: Path) -> None:
    assert tables(folder) == tables(whole)
    held, expected = cards(folder), cards(whole)
    assert held["Plus"]["learner_tells"] == {**expected["Plus"]["learner_tells"], "started": 4}  # from its checkpoint
    assert held["Gains"]["learner_tells"] == expected["Gains"]["learner_tells"]
    assert {name: card["artefact_id"] for name, card in held.items()} == {
        name: card["artefact_id"] for name, card in expected.items()
    }
    assert not list((folder / "runs").rglob("*.tmp")) and not (folder / "runs" / "LOCK").exists()


def test_a_driver_that_dies_in_label_fit_and_score_ends_in_the_same_tables(whole: Path, folder: Path) -> None:
    for place in ("label 0", "fit 4", "answer 0.1"):
        driver = start(folder, "--local", wish=f"kill at {place}")
        driver.join()
        assert driver.exitcode == -signal.SIGKILL, (folder / "stderr").read_text()
        assert met() and (folder / "runs" / "LOCK").exists(), "it had no time to tidy up"
    assert door(folder) == 0
    check_ended_as(whole, folder)


@pytest.mark.slow
def test_a_driver_on_ray_that_is_killed_in_label_fit_and_score_ends_in_the_same_tables(
    whole: Path, folder: Path, temporary: Path, ray_address: str
) -> None:
    """Once with a Ray of its own, which ends with it; one that is reached by its address serves the next driver."""
    (folder / "grid.yaml").write_text(JOINED + "cluster: {workers: 1, shard_batches: 1}\n")
    by_address = ("--address", ray_address)
    kill_at("label 0", folder, *by_address)
    kill_with_its_ray_at("fit 4", folder, temporary)
    kill_at("answer 0.1", folder, *by_address)
    assert door(folder, *by_address) == 0, (folder / "stderr").read_text()
    check_ended_as(whole, folder)


def kill_at(place: str, folder: Path, *more: str) -> None:
    """Kill the driver of a sweep on Ray while a worker is at a place."""
    driver = start(folder, *more, wish=f"wait at {place}")
    try:
        until_met(folder, driver)
    finally:
        driver.kill()
        driver.join()


def kill_with_its_ray_at(place: str, folder: Path, temporary: Path) -> None:
    """The driver's own Ray and its workers end when it is killed, the rest by our hand."""
    driver = start(folder, wish=f"wait at {place}", temporary=temporary)
    family: dict[psutil.Process, str] = {}
    try:
        until_met(folder, driver)
        family = named(psutil.Process(driver.pid).children(recursive=True))
        lasting = [process for process, name in family.items() if "/core/src/ray/" in name or is_worker(name)]
        assert len(lasting) >= 3, family
        driver.kill()
        driver.join()
        assert driver.exitcode == -signal.SIGKILL
        _, left = psutil.wait_procs(lasting, timeout=600)
        assert not [family[process] for process in left if process.status() != psutil.STATUS_ZOMBIE]
    finally:
        driver.kill()
        for process in family:
            if process.is_running():  # since the same moment: a number that another process has now is left alone
                process.kill()


def named(processes: list[psutil.Process]) -> dict[psutil.Process, str]:
    found = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found[process] = " ".join(process.cmdline())
    return found


def is_worker(name: str) -> bool:
    """Whether this is an open worker; one that Ray has just started notices the end later, and does nothing."""
    return name.startswith("ray::") and not name.startswith(AGENTS)
