"""Equal bits for any number of threads, on the shipped models."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from in_process import as_it_was

from harness.contracts import Pass, Query, Vocabulary
from harness.grid import reading as grids
from harness.recipes import loading
from harness.work import arithmetic

ROOT = Path(__file__).parents[2]
OFFERED = Vocabulary((("circle",), ("star",), ("heart",)))


def digests(threads: int) -> list[str]:
    """Of the scores of the root grid's networks on four images, as a worker of so many threads computes them."""
    arithmetic.prepare_torch(threads)
    assert torch.get_num_threads() == threads
    cells = [
        cell for cell in grids.read_grid(ROOT / "grid.yaml").cells if cell.method_name in ("StableSeg", "MaskCLIP")
    ]
    world = loading.build(cells[0].benchmark)
    queries = [Query(image_id, world.load(image_id).image, OFFERED) for image_id in world.ids()[:4]]
    methods = [loading.build(cell.method) for cell in cells]
    needs: dict[Pass, frozenset[str]] = {}
    for method in methods:
        for request, parts in method.passes().items():
            needs[request] = needs.get(request, frozenset()) | parts
    found = []
    for backbone in dict.fromkeys(request.backbone for request in needs):
        mine = {request: parts for request, parts in needs.items() if request.backbone == backbone}
        for request, features in loading.build(backbone).run(queries, mine):
            for method in methods:
                if request in method.passes():
                    scores = torch.stack([method.read({request: one}, OFFERED) for one in features])
                    found.append(hashlib.sha256(scores.contiguous().numpy().tobytes()).hexdigest())
    return found


def test_scores_have_the_same_bits_on_one_thread_and_on_two() -> None:
    with as_it_was(ROOT):
        alone, shared = digests(1), digests(2)
    assert len(alone) == len(set(alone)) == 11
    assert alone == shared


def test_float32_means_float32_on_a_card_in_a_worker_and_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's default convolutions on a card round to 10 bits, whatever network they are in."""

    def rounding() -> tuple[bool, str]:
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()

    mkldnn = torch.backends.mkldnn.enabled
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.set_float32_matmul_precision("high")
    try:
        with arithmetic.as_in_a_worker():
            assert rounding() == (False, "highest")
        assert rounding() == (True, "high")
        arithmetic.prepare_torch(None)
        assert rounding() == (False, "highest")
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.mkldnn.set_flags(mkldnn)  # type: ignore[no-untyped-call]
