"""A sweep over pretended hosts that five events hit ends in the bytes of one process; `make chaos` tries thirty."""

from __future__ import annotations

from pathlib import Path

import pretend_hosts
import pytest
from chaos import Chaos
from chaos_lab import by_hand, lab_of
from chaos_record import Left, by_one_process

# From the fourth on the driver is not on the head, whose death would take it along: it has to see it.
FIVE = ("host joins or leaves", "worker killed", "link cut", "driver asked to end and moved", "head killed")
SOON = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}  # without its head a host's Ray ends then, and not in a minute


@pytest.mark.slow
def test_a_sweep_over_hosts_that_five_events_hit_ends_in_the_same_bytes(seed: int, tmp_path: Path) -> None:
    """Among them: the driver goes on elsewhere, and the head node dies and is started again."""
    if reason := pretend_hosts.forbidden():
        pytest.skip(reason)
    with lab_of(tmp_path, ("north", "east", "south"), images=160, **SOON) as lab:
        expected = by_one_process(lab)
        happened = Chaos(lab, seed, longest=5.0)
        happened.run(FIVE)
        found, said = Left.of(lab.runs), lab.said("driver")
    assert (found.leaderboard, found.rows.rows()) == (expected.leaderboard, expected.rows.rows())
    assert "Traceback" not in said
    ends = {event.kind: event.ended for event in happened.events}
    assert tuple(ends) == FIVE and ends["driver asked to end and moved"][0] == "130" and ends["head killed"], ends
    assert not (lab.runs / "LOCK").exists()


def test_the_page_tells_how_a_cluster_is_started_by_hand() -> None:
    head, other, sweep = by_hand()
    assert head.startswith("ray start --head --port=6379") and other.startswith("until ray start --address=HEAD:6379")
    assert "--address auto" in sweep and sweep.endswith("/shared/runs")
