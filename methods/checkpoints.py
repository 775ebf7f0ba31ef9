"""A model's name flows in (`shapes`, a folder, a hub id); the folder to open and a string for its content flow out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from harness.contracts import ModelError, expanded
from methods import hub
from methods.hub import reason

SHIPPED = Path(__file__).parent / "pretrained"
KINDS = ("diffusion", "clip", "vit", "sam", "sam2")
FLAT = KINDS[1:]  # one network, whose files lie in the folder itself
ALSO = {"sam2_video": "sam2"}  # a checkpoint that holds more than is read of it
SUFFIXES = (".json", ".txt", ".safetensors")
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")  # what is read of a diffusion checkpoint
NETWORKS = PARTS[:3]
WEIGHTS = ("diffusion_pytorch_model", "model")
_WEIGHTS = re.compile(
    rf"(?:{'|'.join(WEIGHTS)})(?:\.(\w+))?\.safetensors|(?:{'|'.join(WEIGHTS)})\.safetensors\.index(?:\.(\w+))?\.json"
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def locate(model: str, kind: str) -> str:
    """The folder of a shipped or local model, or the hub id as it is.

    model: `shapes` (shipped, trained by this project), a folder, or `owner/name` of the hub. kind: one of
    KINDS. ModelError when the folder is missing or holds another kind, or when the name can be none of the three.
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


def model_fingerprint(model: str, kind: str, revision: str | None = None) -> str:
    """A short string that stands for the weights: a hash of a folder's files, or `id@commit` for a hub id.

    A revision that is no full commit hash is looked up in the local hub cache (no network); when it is not there
    either, ModelError asks for a pinned one, since results could not be told apart later.
    """
    place = locate(model, kind)
    if Path(place).is_dir():
        files = ((name, path.stat()) for name, path in _content(Path(place), kind))
        return _digest(
            place, kind, tuple((name, a.st_size, a.st_mtime_ns, a.st_ctime_ns, a.st_ino) for name, a in files)
        )
    commit = hub.pinned(place, revision)
    if commit is None:
        raise ModelError(
            f"The model {model!r} has no pinned revision: set `revision` to the commit hash that is meant "
            f"(40 hexadecimal digits; asked was {revision or 'the newest'!r}), or fetch it once so that it is cached."
        )
    return f"{place}@{commit}"


def here(model: str, kind: str, revision: str | None = None) -> Path | None:
    """The folder of a model that is whole on this machine, or None. ModelError as `locate`. No network."""
    place = locate(model, kind)
    if Path(place).is_dir():
        return Path(place)
    folder = hub.cached(place, revision, _wanted(kind))
    return folder if folder is not None and _kind_of(folder) == kind and not _lacking(folder, kind) else None


def fetch(model: str, kind: str, revision: str | None = None) -> Path:
    """The local folder of a model, downloaded (safetensors only) when it is a hub id that is not on this machine.

    The hub is asked only then, and once. ModelError, one sentence, for an unknown id, a revision that does not exist,
    no permission, or no network.
    """
    if (there := here(model, kind, revision)) is not None:
        return there
    folder = _checked(hub.fetched(model, revision, _wanted(kind)), model, kind)
    if lacking := _lacking(folder, kind):
        raise ModelError(
            f"The {kind} model {model!r} has no safetensors weights of full precision for its {lacking[0]}: .bin files "
            "and half-precision variants of a hub id are not fetched; download what it has and give the folder."
        )
    return folder


def variant(place: Path) -> str:
    """Which weights of a network's folder are opened: '' those of full precision, or, where there are no others, the
    variant (`fp16`). ModelError when there are none in safetensors.
    """
    found = sorted(_variants(place))
    if found:
        return found[0]  # the full ones come first
    others = sorted(path.name for path in place.glob("*") if path.suffix in (".bin", ".ckpt", ".pt", ".msgpack"))
    if others:
        raise ModelError(
            f"The weights in {place} are there as {others[0]} only, a format that is not opened (it can carry code): "
            "save them anew with `save_pretrained(folder)` (as safetensors), or take a checkpoint that has them."
        )
    raise ModelError(f"There are no weights in {place}: the model's folder is not whole, fetch it again.")


def model_to_fetch(model: str, kind: str, revision: str | None = None) -> tuple[str, ...]:
    """The model in words if it is not on this machine, with what forbids to fetch it; else nothing. No network."""
    if here(model, kind, revision) is not None:
        return ()
    at = hub.pinned(model, revision) or revision
    named = f"{kind} model {model}" + (f" at {at[:12]}" if at else "")
    forbidding = hub.forbidden()
    return (f"{named} (which {forbidding} forbids: what needs it will not be tried)" if forbidding else named,)


def _wanted(kind: str) -> list[str]:
    """Patterns of the files that are opened; half-precision and other variants stay where they are."""
    tails = (".safetensors", ".safetensors.index.json", "-0*.safetensors")
    weights = [f"{name}{tail}" for name in WEIGHTS for tail in tails]
    if kind in FLAT:
        return ["*.json", "*.txt", *weights]
    opened = [f"{part}/{name}" for part in PARTS for name in ("*.json", "*.txt", *weights)]
    return ["model_index.json", *opened]


def _checked(folder: Path, model: str, kind: str) -> Path:
    """The folder, if it is there and holds that kind of model."""
    if kind not in KINDS:
        raise ModelError(f"There is no kind of model {kind!r}; the kinds are {', '.join(KINDS)}.")
    if not folder.is_dir():
        known = ", ".join(shipped_models()) or "none"
        raise ModelError(
            f"The {kind} model {model!r} is not in {folder}: run `make models` to train it (shipped here: {known})."
        )
    found = _kind_of(folder)
    if found != kind:
        raise ModelError(
            f"The folder {folder} was asked for a {kind} model and holds {found}: a diffusion model has a "
            "model_index.json, a CLIP model a config.json whose model_type is clip, a DINO one that is vit, a SAM one "
            "that is sam, a SAM 2 one that is sam2 or sam2_video."
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
    known = ALSO.get(str(name), str(name))
    return known if known in FLAT else f"a model of type {name!r}"


def _variants(place: Path) -> set[str]:
    """The variants of weights in a network's folder; '' is full precision."""
    names = (path.name for path in place.glob("*.safetensors*"))
    return {match[1] or match[2] or "" for name in names if (match := _WEIGHTS.fullmatch(name))}


def _lacking(folder: Path, kind: str) -> list[str]:
    """The networks whose weights of full precision are not in a folder of the hub's cache.

    Another program may have put a half-precision variant there. The id of a hub model is its commit, so nothing else
    than what the commit means by its plain names may be opened under it.
    """
    places = {"model": folder} if kind in FLAT else {part: folder / part for part in NETWORKS}
    return [name for name, place in places.items() if "" not in _variants(place)]


def _content(folder: Path, kind: str) -> Iterator[tuple[str, Path]]:
    """Relative names and paths of the files that are opened, in order."""
    places = [folder] if kind in FLAT else [folder, *(folder / part for part in PARTS)]
    for place in places:
        for path in sorted(place.glob("*")):
            if path.is_file() and path.suffix in SUFFIXES:
                yield path.relative_to(folder).as_posix(), path


@lru_cache(maxsize=64)
def _digest(place: str, kind: str, stamp: tuple[tuple[str, int, int, int, int], ...]) -> str:
    """Hash over names and bytes; `stamp` (name, size, times, inode) lets a process notice that a folder changed."""
    total = blake2b(digest_size=16)
    for name, path in _content(Path(place), kind):
        total.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()
