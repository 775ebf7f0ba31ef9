"""Models by name, folder and hub id: what is opened, what stands for it, and what is said when it cannot be had."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import ModelError
from methods import checkpoints
from methods.diffusion import Diffusion

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copy(small_model: str, tmp_path: Path) -> Path:
    """A model folder that may be spoilt."""
    return Path(shutil.copytree(small_model, tmp_path / "model"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_names_folders_and_ids(copy: Path, tmp_path: Path) -> None:
    assert checkpoints.locate(str(copy), "diffusion") == str(copy)
    assert checkpoints.locate("CompVis/stable-diffusion-v1-4", "diffusion") == "CompVis/stable-diffusion-v1-4"
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text('{"model_type": "clip"}')
    assert checkpoints.locate(str(tmp_path / "clip"), "clip") == str(tmp_path / "clip")
    for name, kind, message in (
        (str(copy), "clip", "asked for a clip model and holds diffusion"),
        (str(tmp_path / "clip"), "diffusion", "asked for a diffusion model and holds clip"),
        (str(tmp_path), "clip", "holds no model"),
        (str(tmp_path / "none"), "clip", "neither a folder that exists"),
        ("../x", "diffusion", "neither a folder that exists"),
        ("sd14", "diffusion", "hub id of the form 'owner/name'"),
        (str(copy), "flow", "no kind of model 'flow'"),
    ):
        with pytest.raises(ModelError, match=message):
            checkpoints.locate(name, kind)
    (tmp_path / "clip" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="holds a model of type 'bert'"):
        checkpoints.locate(str(tmp_path / "clip"), "clip")


def test_missing_shipped_models_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path)
    with pytest.raises(ModelError, match="run `make models`"):
        checkpoints.locate("shapes", "diffusion")


def test_a_fingerprint_is_the_content(copy: Path) -> None:
    before = checkpoints.model_fingerprint(str(copy), "diffusion")
    assert before == Diffusion(str(copy)).fingerprint()
    moved = copy.parent / "elsewhere"
    shutil.copytree(copy, moved)
    assert checkpoints.model_fingerprint(str(moved), "diffusion") == before
    (moved / "README.md").write_text("a remark")
    (moved / "unet" / "notes").write_text("another")
    assert checkpoints.model_fingerprint(str(moved), "diffusion") == before
    weights = moved / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert checkpoints.model_fingerprint(str(moved), "diffusion") != before


def test_hub_ids_need_a_pinned_revision(hub: Path) -> None:
    name = "owner/model"
    assert checkpoints.model_fingerprint(name, "diffusion", COMMIT) == f"{name}@{COMMIT}"
    for revision in (None, "main", "../../../etc"):
        with pytest.raises(ModelError, match="no pinned revision: set `revision` to the commit hash"):
            checkpoints.model_fingerprint(name, "diffusion", revision)
    refs = hub / "models--owner--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    assert checkpoints.model_fingerprint(name, "diffusion") == f"{name}@{COMMIT}"


def hub_errors() -> Iterator[tuple[str, str]]:
    yield "RevisionNotFoundError", "has no revision 'v9'"
    yield "RepositoryNotFoundError", "hub knows no model 'owner/model'"
    yield "GatedRepoError", "after its terms are accepted"
    yield "LocalEntryNotFoundError", "is not cached and the hub cannot be reached"
    yield "OfflineModeIsEnabled", "is not cached and the hub cannot be reached"
    yield "HfHubHTTPError", "cannot be fetched from the hub: something broke"


@pytest.mark.parametrize(("name", "message"), hub_errors())
def test_the_hub_fails_in_one_sentence(name: str, message: str, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    kind = getattr(errors, name)
    assert issubclass(kind, Exception)

    def fail(*_: Any, **__: Any) -> str:
        problem = kind.__new__(kind)
        problem.args = ("something broke.\nRequest id 1",)
        raise problem

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=message) as caught:
        _ = Diffusion("owner/model", "v9").network
    assert "\n" not in str(caught.value)


def test_no_network_is_said(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cached, and the library was told to stay offline."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="is not on this machine and HF_HUB_OFFLINE forbids to fetch it: unset it"):
        checkpoints.fetch("owner/model", "diffusion", COMMIT)


def test_only_safetensors_are_asked_for(hub: Path, small_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def answer(place: str, revision: str | None, allow_patterns: list[str], local_files_only: bool = False) -> str:
        if local_files_only:
            raise FileNotFoundError
        asked.update(place=place, revision=revision, patterns=allow_patterns)
        return small_model

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    assert checkpoints.fetch("owner/model", "diffusion", COMMIT) == Path(small_model)
    assert asked["place"] == "owner/model"
    assert asked["revision"] == COMMIT
    assert "unet/diffusion_pytorch_model.safetensors" in asked["patterns"]
    assert "text_encoder/model.safetensors" in asked["patterns"]
    assert all(pattern.endswith((".json", ".txt", ".safetensors")) for pattern in asked["patterns"])


def test_spoilt_folders_are_said(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    expect_sentence(copy)
    weights.unlink()
    with pytest.raises(ModelError, match=r"There are no weights in .*unet: the model's folder is not whole"):
        _ = Diffusion(str(copy)).network
    weights.write_bytes(content)
    shutil.rmtree(copy / "tokenizer")
    expect_sentence(copy)


def test_missing_weights_are_said(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        path = copy / part / f"{name}.safetensors"
        whole = load_file(path)
        less = dict(list(whole.items())[1:])
        save_file(less, path, {"format": "pt"})
        expect_sentence(copy, f"its {part} lacks 1 weights")
        save_file(whole, path, {"format": "pt"})
    _ = Diffusion(str(copy)).network


def expect_sentence(folder: Path, why: str = "") -> None:
    with pytest.raises(ModelError, match="cannot be opened: " + why) as caught:
        _ = Diffusion(str(folder)).network
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_shipped_configurations_name_no_folder_of_the_machine_that_made_them() -> None:
    found = sorted((Path(__file__).parents[2] / "methods" / "pretrained").rglob("config.json"))
    texts = [path.read_text("utf-8") for path in found]
    assert len(texts) >= 4 and not any('"/' in text or "_name_or_path" in text for text in texts)
