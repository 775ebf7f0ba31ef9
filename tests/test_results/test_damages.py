"""Damages of single files of a results folder, drawn at random: each is told, or changes nothing that can be read."""

from __future__ import annotations

import random
from pathlib import Path

import toy_results

from perf import damages
from results.folder import artefacts


def test_no_damage_of_a_results_folder_is_silent(tmp_path: Path, seed: int) -> None:
    store = toy_results.fill(tmp_path, images=3, keep=1, seed=seed)
    place = artefacts.artefact_path(tmp_path, "feed01")
    place.mkdir(parents=True)
    (place / "weights.bin").write_bytes(random.Random(seed).randbytes(4000))
    artefacts.finish(store.folder, "feed01", {"learner_tells": {"loss": 0.25}})
    for run_id, content in store.raw_recipes().items():
        store.write_recipe(run_id, {**content, "identity": 2})  # of a time when everything proves itself
    found = damages.trials(tmp_path, 56, random.Random(seed))
    assert {kind for kind, *_ in found} == set(damages.KINDS)
    assert {what for *_, what in found} <= set(damages.GOOD), damages.table(found)
