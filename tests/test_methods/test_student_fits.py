"""A student's fit: it resumes to the same bits, alone or shared, and begins anew where its checkpoint is of no use."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
from colour_lessons import SMALL, ColourLessons, folder_at, weights_of
from in_process import as_it_was

from harness.contracts.checkpoint import read_checkpoint, write_checkpoint


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path, broken_off: Path) -> None:
    SMALL.fit(ColourLessons(), whole := folder_at(tmp_path / "whole"))
    shutil.copytree(broken_off, halves := tmp_path / "halves" / "fit")
    assert (halves / "unfinished" / "checkpoint.pt").exists() and not (halves / "weights.safetensors").exists()
    SMALL.fit(ColourLessons(), halves)
    one, other = weights_of(whole), weights_of(halves)
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    curve = (halves / "curve.jsonl").read_text()
    steps_told = [json.loads(line)["step"] for line in curve.splitlines()]
    assert steps_told == sorted(steps_told) and set(steps_told) == {1, 2, 3, 4} and "notice" not in curve


@pytest.mark.parametrize("shared", [{"group": 2}, {"group": None, "part": 2, "dropout": 0.5}], ids=["groups", "parts"])
def test_workers_change_no_bit(tmp_path: Path, shared: dict[str, Any]) -> None:
    """Two workers learn what one learns, from three groups or from three parts with their statistics in common."""
    one, two = (weights_of(shared_by(count, tmp_path, shared)) for count in (1, 2))
    assert one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def test_gpus_that_share_a_batch_learn_what_one_learns(tmp_path: Path) -> None:
    """The way that is taken on GPUs, by two processes on CPUs: each has what it has in one go. Up to rounding."""
    change = {"group": None, "batch": 5, "dropout": 0.5, "optimiser": "sgd"}
    one, two = (weights_of(shared_by(count, tmp_path, change, on_gpu=True)) for count in (1, 2))
    for name in one:
        assert two[name] == pytest.approx(one[name], abs=2e-5), name
    plain = weights_of(shared_by(1, tmp_path / "plain", {**change, "group": 5}))
    assert any(np.abs(one[name] - plain[name]).max() > 1e-3 for name in one)  # other draws are seen


def shared_by(count: int, folder: Path, change: dict[str, Any], on_gpu: bool = False) -> Path:
    """Where so many workers, joined as by Ray Train, leave one fit."""
    folder = folder_at(folder / f"by {count}")
    meeting = str(folder / "meeting")
    with as_it_was(folder):
        other = forked.start(folder, _work, 1, 2, meeting, str(folder), change, on_gpu) if count == 2 else None
        try:
            _work(0, count, meeting, str(folder), change, on_gpu)
        finally:
            if other is not None:
                other.join()
    assert other is None or other.exitcode == 0
    return folder


def _work(rank: int, count: int, meeting: str, folder: str, change: dict[str, Any], on_gpu: bool) -> None:
    import torch
    import torch.distributed as workers

    from methods.student import training as student_training

    torch.set_num_threads(count)  # the fit has a number, and convolutions, of its own
    torch.backends.mkldnn.set_flags(count == 2)
    real = student_training._parted
    workers.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(student_training, "_parted", lambda course, gpu, *place: real(course, gpu or on_gpu, *place))
        replace(SMALL, **{"batch": 6, "steps": 3, **change}).fit(ColourLessons(), Path(folder))
    workers.destroy_process_group()


def test_groups_are_added_up_in_their_order() -> None:
    """In single precision, where another order gives another sum."""
    import torch

    from methods.student.workers import summed

    rows = [torch.tensor([value, 1.0], dtype=torch.float32) for value in (1e8, 1.0, -1e8, 1.0)]
    assert summed(rows, 4, 0, 1).tolist() == [1.0, 4.0]  # 1e8 + 1 is 1e8


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of four steps, broken off before the last one."""
    from methods.student import training as student_training

    steps, real = [0], student_training._step

    def dies(*given: Any) -> float:
        steps[0] += 1
        if steps[0] == 4:
            raise KeyboardInterrupt
        return real(*given)

    folder = folder_at(tmp_path_factory.mktemp("broken") / "fit")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(student_training, "_step", dies)
        SMALL.fit(ColourLessons(), folder)
    return folder


def _unfit_for_use(checkpoint: Path, how: str) -> str:
    """Make a checkpoint useless in one way; what is said of it."""
    import torch

    content = checkpoint.read_bytes()
    place = len(content) // 2
    flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    damages = {"bit": flipped, "cut": content[:-1], "empty": b"", "of before": content[content.index(b"PK") :]}
    if how in damages:
        checkpoint.write_bytes(damages[how])
        return "is damaged: its bytes are not those that were written"
    if how == "another's":
        (other := checkpoint.parents[2] / "other" / "unfinished").mkdir(parents=True)
        write_checkpoint(other / "checkpoint.pt", read_checkpoint(checkpoint) or b"")
        shutil.copy(other / "checkpoint.pt", checkpoint)
        return "is of another fit, other"
    if how == "a folder":
        checkpoint.unlink()
        (checkpoint / "within").mkdir(parents=True)
        return "cannot be read (Is a directory)"
    held = torch.load(io.BytesIO(read_checkpoint(checkpoint) or b""), weights_only=True)
    torch.save({**held, "step": 5} if how == "too far" else {"weights": 1}, anew := io.BytesIO())
    write_checkpoint(checkpoint, anew.getvalue())
    return "is at step 5 of 4" if how == "too far" else "holds no state of a training (KeyError)"


@pytest.mark.parametrize(
    "damage", ["bit", "cut", "empty", "of before", "another's", "a folder", "too far", "of another learner"]
)
def test_a_broken_checkpoint_means_beginning_anew_and_is_said(tmp_path: Path, broken_off: Path, damage: str) -> None:
    shutil.copytree(broken_off, tmp_path / "fit")
    checkpoint = tmp_path / "fit" / "unfinished" / "checkpoint.pt"
    said = _unfit_for_use(checkpoint, damage)
    SMALL.fit(ColourLessons(), tmp_path / "fit")
    SMALL.fit(ColourLessons(), folder_at(tmp_path / "whole"))
    one, other = weights_of(tmp_path / "fit"), weights_of(tmp_path / "whole")
    assert all(np.array_equal(one[name], other[name]) for name in one)
    first, *rest = map(json.loads, (tmp_path / "fit" / "curve.jsonl").read_text().splitlines())
    assert first["notice"] == f"begins anew, because its checkpoint {checkpoint} {said}"
    assert {line["step"] for line in rest} == {1, 2, 3, 4} and not any("notice" in line for line in rest)
