"""Hub models: looked for on this machine first, asked for once, told by the plan, and quiet."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import door

from harness.contracts import ModelError
from methods import checkpoints
from methods.openclip_resnet import ClipResNet, MaskCLIPResNet
from methods.quiet import quiet
from methods.student import Student

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GRID = f"""
name: hub
methods:
  - name: Far
    use: methods.stableseg:StableSeg
    with: {{model: owner/model, revision: {COMMIT}, timestep: [1, 100, 300]}}
  - {{name: Near, use: "toy_world:Flat"}}
benchmarks: [{{name: Boxes, use: "toy_world:Boxes", with: {{images: 6}}}}]
batch: 2
"""
SHAPES = Path(__file__).parents[2] / "methods" / "pretrained" / "shapes"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """An empty hub cache, and a hub that cannot be reached; how often it was asked."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    counts: Counter[str] = Counter()

    def snapshot_download(repo: str, *, local_files_only: bool = False, **more: Any) -> str:
        counts["here" if local_files_only else "hub"] += 1
        raise errors.LocalEntryNotFoundError("Got: ConnectError\nAn error happened")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return counts


def test_a_hub_that_cannot_be_reached_is_asked_once_and_once_more_at_the_end(
    asked: Counter[str], tmp_path: Path
) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 3 and asked["hub"] == 2, asked
    reason = "The model 'owner/model' at revision '0123456789abcdef0123456789abcdef01234567' is not cached and the hub"
    assert answer.stdout.count(reason) == 1 and answer.stderr.count(reason) == 1
    assert "18 x Not tried: " in answer.stderr
    assert "Near" in answer.stdout, "the others went on"


def test_the_plan_lists_what_would_be_fetched(
    asked: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    (tmp_path / "grid.yaml").write_text(GRID)
    named = "diffusion model owner/model at 0123456789ab"
    plan = " ".join(door("grid.yaml", "--plan", cwd=tmp_path).stdout.split())
    assert f"Not on this machine, to be fetched first: {named}." in plan
    assert json.loads(door("grid.yaml", "--plan", "--json", cwd=tmp_path).stdout)["to_fetch"] == [named]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    offline = " ".join(door("grid.yaml", "--plan", cwd=tmp_path).stdout.split())
    assert f"{named} (which TRANSFORMERS_OFFLINE forbids: what needs it will not be tried)" in offline
    assert asked["hub"] == 0


def test_a_plan_without_hub_models_lists_none(asked: Counter[str], tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID.replace(f"owner/model, revision: {COMMIT}", "shapes"))
    assert "Not on this machine" not in door("grid.yaml", "--plan", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("timestep: 5000", "Far: The timestep is 5000; this model knows 0 to 999."),
        ("layers: 1/64", "Far: There is no layer '1/64'"),
        ("size: 50", "Far: The size is 50; height and width must be multiples of 4"),
    ],
)
def test_what_a_model_on_this_machine_can_never_do_ends_the_plan(settings: str, message: str, tmp_path: Path) -> None:
    model = f"owner/model, revision: {COMMIT}, timestep: [1, 100, 300]"
    (tmp_path / "grid.yaml").write_text(GRID.replace(model, f"shapes, {settings}"))
    for arguments in (["--plan"], []):
        answer = door("grid.yaml", *arguments, cwd=tmp_path)
        assert answer.returncode == 2 and answer.stderr.startswith(message)
    assert not list(tmp_path.rglob("*.parquet")), "nothing was computed"


def cached(cache: Path, files: Sequence[str]) -> None:
    """A snapshot as the hub's library leaves it, with these of the shipped model's files."""
    snapshot = cache / "models--owner--model" / "snapshots" / COMMIT
    for name in files:
        target = snapshot / name.replace(".fp16", "")
        target.parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(SHAPES / "diffusion" / name.replace(".fp16", ""))


WHOLE = [path.relative_to(SHAPES / "diffusion").as_posix() for path in (SHAPES / "diffusion").rglob("*.*")]


def test_what_is_cached_is_opened_without_asking_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library itself, with an endpoint where nobody listens."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert checkpoints.here("owner/model", "diffusion", COMMIT) is None
    cached(tmp_path, WHOLE)
    folder = tmp_path / "models--owner--model" / "snapshots" / COMMIT
    assert checkpoints.fetch("owner/model", "diffusion", COMMIT) == folder
    assert checkpoints.model_to_fetch("owner/model", "diffusion", COMMIT) == ()


def test_a_cached_half_precision_variant_does_not_stand_for_a_commit(tmp_path: Path, asked: Counter[str]) -> None:
    """Another program may have fetched it; the id of a hub model means the plain weights."""
    cached(tmp_path / "hub", [name.replace(".safetensors", ".fp16.safetensors") for name in WHOLE])
    assert checkpoints.here("owner/model", "diffusion", COMMIT) is None


def test_a_commit_without_safetensors_of_full_precision_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    cached(tmp_path, [name for name in WHOLE if not name.endswith(".safetensors")])
    folder = tmp_path / "models--owner--model" / "snapshots" / COMMIT
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    with pytest.raises(ModelError, match=r"no safetensors weights of full precision for its unet: .* give the folder"):
        checkpoints.fetch("owner/model", "diffusion", COMMIT)


def test_libraries_are_quiet_and_then_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    import diffusers
    import huggingface_hub
    import transformers
    from huggingface_hub.utils import tqdm

    loggers = [library.utils.logging for library in (diffusers, huggingface_hub, transformers)]
    before = [logger.get_verbosity() for logger in loggers]
    barred = huggingface_hub.utils.are_progress_bars_disabled()
    with quiet("diffusers", "transformers"):
        for logger in loggers:
            logger.get_logger().warning("something nobody asked for")
        for _ in tqdm(range(3), desc="Fetching 3 files"):
            pass
        warnings.warn("in vain", UserWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "")
    assert [logger.get_verbosity() for logger in loggers] == before
    assert huggingface_hub.utils.are_progress_bars_disabled() == barred


def test_what_libraries_fetch_by_themselves_is_listed_until_it_is_here(asked: Counter[str], tmp_path: Path) -> None:
    student = Student(teacher="T", head="text", text_model="owner/clip")
    timm = Student(teacher="T", encoder="tu-resnet10t")
    resnet = ClipResNet("RN50x4", "openai")
    assert student.models_to_fetch() == ("imagenet weights of the encoder resnet50", "clip model owner/clip")
    assert timm.models_to_fetch() == ("imagenet weights of the encoder tu-resnet10t",)
    assert resnet.models_to_fetch() == ("open_clip model RN50x4 with the tag openai",)
    for name in ("smp-hub--resnet50.imagenet", "timm--resnet10t.c3_in1k", "timm--resnet50x4_clip.openai"):
        file = tmp_path / "hub" / f"models--{name}" / "snapshots" / COMMIT / "model.safetensors"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights")
    assert student.models_to_fetch() == ("clip model owner/clip",)
    assert timm.models_to_fetch() == resnet.models_to_fetch() == ClipResNet(str(tmp_path)).models_to_fetch() == ()
    assert replace(student, encoder_weights=None, head="classifier", text_model=None).models_to_fetch() == ()
    (request,) = MaskCLIPResNet(window=48).passes()
    with pytest.raises(ModelError, match="window of 48 pixels does not fit patches of 32"):
        resnet.check_passes({request: frozenset()})
