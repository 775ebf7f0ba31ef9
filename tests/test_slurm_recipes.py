"""What `make slurm` runs are the scripts of docs/slurm.md, and only what a site has to change is changed in them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from perf import slurm


@pytest.mark.parametrize("name", slurm.SITE)
def test_a_recipe_is_that_of_the_page_but_for_what_a_site_changes(name: str) -> None:
    theirs, ours = slurm.recipes()[name].splitlines(), slurm.at_this_site(name, "/place").splitlines()
    changed = [pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1]]
    words = " ".join(slurm.SITE[name])
    for before, _ in changed:
        assert any(known in before for known in slurm.SITE[name]), f"{before!r} changed, and no {words!r} in it"
    subprocess.run([shutil.which("bash") or "sh", "-n"], input="\n".join(ours), text=True, check=True)


def test_another_page_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(slurm.SITE, "several", {"--nodes=99": "--nodes=2"})
    with pytest.raises(AssertionError, match="no '--nodes=99' in the recipe 'several'"):
        slurm.at_this_site("several", "/place")
