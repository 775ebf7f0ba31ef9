"""A model's name flows in (`shapes`, a folder, a hub id); the folder to open and a string for its content flow out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from harness.contracts import ModelError, expanded

SHIPPED = Path(__file__).parent / "pretrained"
KINDS = ("diffusion", "clip")
SUFFIXES = (".json", ".txt", ".safetensors")
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")  # what is read of a diffusion checkpoint
WEIGHTS = ("diffusion_pytorch_model", "model")
OFFLINE = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError", "TimeoutException"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def locate(model: str, kind: str) -> str:
    """The folder of a shipped or local model, or the hub id as it is.

    model: `shapes` (shipped, trained by this project), a folder, or `owner/name` of the hub. kind: `diffusion` or
    `clip`. ModelError when the folder is missing or holds another kind, or when the name can be none of the three.
    """
    shipped = SHIPPED / model if re.fullmatch(r"\w+", model) else None
    if shipped is not None and (shipped.is_dir() or model == "shapes"):
        return str(_checked(shipped / kind, model, kind))
    folder = expanded(model)
    if folder.is_dir():
        return str(_checked(folder, model, kind))
    if _HUB_ID.fullmatch(model) and not model.startswith("."):
        return model
    raise ModelError(
        f"There is no model {model!r}: it is neither a folder that exists, nor a hub id of the form 'owner/name', "
        f"nor one of the shipped models ({', '.join(shipped_models()) or 'none is trained yet'})."
    )


def shipped_models() -> tuple[str, ...]:
    """Names of the models that come with the project, in order."""
    return tuple(sorted(path.name for path in SHIPPED.glob("*") if path.is_dir())) if SHIPPED.is_dir() else ()


def fingerprint(model: str, kind: str, revision: str | None = None) -> str:
    """A short string that stands for the weights: a hash of a folder's files, or `id@commit` for a hub id.

    A revision that is no full commit hash is looked up in the local hub cache (no network); when it is not there
    either, ModelError asks for a pinned one, since results could not be told apart later.
    """
    place = locate(model, kind)
    if Path(place).is_dir():
        files = ((name, path.stat()) for name, path in _content(Path(place), kind))
        return _digest(place, kind, tuple((name, about.st_size, about.st_mtime_ns) for name, about in files))
    commit = pinned(place, revision)
    if commit is None:
        raise ModelError(
            f"The model {model!r} has no pinned revision: set `revision` to the commit hash that is meant "
            f"(40 hexadecimal digits; asked was {revision or 'the newest'!r}), or fetch it once so that it is cached."
        )
    return f"{place}@{commit}"


def pinned(hub_id: str, revision: str | None) -> str | None:
    """The commit hash a revision stands for: itself, or what the local hub cache knows, or None. No network."""
    if revision and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import constants

    name = "models--" + hub_id.replace("/", "--")
    refs = (Path(constants.HF_HUB_CACHE) / name / "refs").resolve()
    reference = (refs / (revision or "main")).resolve()
    if not reference.is_relative_to(refs) or not reference.is_file():
        return None
    return reference.read_text().strip()


def fetch(model: str, kind: str, revision: str | None = None) -> Path:
    """The local folder of a model, downloaded (safetensors only) when it is a hub id that is not cached.

    ModelError, one sentence, for an unknown id, a revision that does not exist, no permission, or no network.
    """
    place = locate(model, kind)
    if Path(place).is_dir():
        return Path(place)
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(
            place, revision=pinned(place, revision) or revision, allow_patterns=_wanted(kind)
        )
    except Exception as problem:  # the hub's own tree of errors, and those of the connection below it
        raise ModelError(_explain(model, revision, problem)) from problem
    return _checked(Path(folder), model, kind)


def reason(problem: BaseException) -> str:
    """The first line of a foreign error, shortened, to stand at the end of a sentence."""
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return lines[0][:160].rstrip(". ")


def _wanted(kind: str) -> list[str]:
    """Patterns of the files that are opened; half-precision and other variants stay where they are."""
    tails = (".safetensors", ".safetensors.index.json", "-0*.safetensors")
    weights = [f"{name}{tail}" for name in WEIGHTS for tail in tails]
    if kind == "clip":
        return ["*.json", "*.txt", *weights]
    opened = [f"{part}/{name}" for part in PARTS for name in ("*.json", "*.txt", *weights)]
    return ["model_index.json", *opened]


def _explain(model: str, revision: str | None, problem: BaseException) -> str:
    """One sentence for what went wrong at the hub, told by the names of the errors on the chain of causes."""
    names, at = set(), f" at revision {revision!r}" if revision else ""
    link: BaseException | None = problem
    while link is not None:
        names |= {kind.__name__ for kind in type(link).__mro__}
        link = link.__cause__ or link.__context__
    if "GatedRepoError" in names:
        return f"The model {model!r} may only be fetched after its terms are accepted on the hub and a token is set."
    if "RevisionNotFoundError" in names:
        return f"The model {model!r} has no revision {revision!r}: give a commit hash, tag or branch of it."
    if "RepositoryNotFoundError" in names:
        return f"The hub knows no model {model!r} (or it is private): check owner and name, or give a local folder."
    if names & OFFLINE:
        return f"The model {model!r}{at} is not cached and the hub cannot be reached: connect, or give a local folder."
    return f"The model {model!r}{at} cannot be fetched from the hub: {reason(problem)}."


def _checked(folder: Path, model: str, kind: str) -> Path:
    """The folder, if it is there and holds that kind of model."""
    if kind not in KINDS:
        raise ModelError(f"There is no kind of model {kind!r}; the kinds are {' and '.join(KINDS)}.")
    if not folder.is_dir():
        known = ", ".join(shipped_models()) or "none"
        raise ModelError(
            f"The {kind} model {model!r} is not in {folder}: run `make models` to train it (shipped here: {known})."
        )
    found = _kind_of(folder)
    if found != kind:
        raise ModelError(
            f"The folder {folder} was asked for a {kind} model and holds {found}: a diffusion model has a "
            "model_index.json, a CLIP model a config.json whose model_type is clip."
        )
    return folder


def _kind_of(folder: Path) -> str:
    """What a folder holds, in words."""
    if (folder / "model_index.json").is_file():
        return "diffusion"
    try:
        held = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "no model"
    except (OSError, ValueError) as problem:
        return f"a config.json that cannot be read ({reason(problem)})"
    name = held.get("model_type") if isinstance(held, dict) else None
    return "clip" if name == "clip" else f"a model of type {name!r}"


def _content(folder: Path, kind: str) -> Iterator[tuple[str, Path]]:
    """Relative names and paths of the files that are opened, in order."""
    places = [folder] if kind == "clip" else [folder, *(folder / part for part in PARTS)]
    for place in places:
        for path in sorted(place.glob("*")):
            if path.is_file() and path.suffix in SUFFIXES:
                yield path.relative_to(folder).as_posix(), path


@lru_cache(maxsize=64)
def _digest(place: str, kind: str, stamp: tuple[tuple[str, int, int], ...]) -> str:
    """Hash over names and bytes; `stamp` (name, size, time) lets a process notice that a folder changed."""
    total = blake2b(digest_size=16)
    for name, path in _content(Path(place), kind):
        total.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()
