"""Files of one name from several machines go in; whether they mean the same, and which of them stand, come out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from results.folder.artefacts import DIGESTS
from results.folder.keepsakes import read_map
from results.folder.proof import SEAL, read_json

CARD = "card.json"
Files = Mapping[str, Path]  # a name -> its file
# In an artefact's JSON, at any depth: time, place and names, which may differ although the same was learned.
MAY_DIFFER = frozenset(
    (
        SEAL,
        DIGESTS,
        "finished",
        "seconds",
        "device",
        "workers",
        "host",
        "versions",
        "commit",
        "method_name",
        "variant",
        "teacher",
    )
)


def equal(versions: Sequence[Files]) -> bool:
    """Whether all versions have the same names and bytes."""
    if len(versions) == 1:
        return True
    first, *others = ({name: fingerprint(path) for name, path in files.items()} for files in versions)
    return all(other == first for other in others)


def differing_files(versions: Sequence[Files], meaning: Callable[[Path], str]) -> list[str]:
    """The names whose files do not mean the same in all versions, or are not in all."""
    names = sorted({name for files in versions for name in files})
    return [name for name in names if len({meaning(files[name]) if name in files else "" for files in versions}) > 1]


def standing(versions: Sequence[Files]) -> Files:
    """The version that stands, whatever their order: what was finished first; of those the least by its bytes."""
    return min(versions, key=_seniority)


def fingerprint(path: Path) -> str:
    """A digest of a file's bytes, which are never held all at once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def learned(path: Path) -> str:
    """What a file of an artefact means: its bytes, or, of JSON and JSONL, its content without MAY_DIFFER."""
    if path.suffix not in (".json", ".jsonl"):
        return fingerprint(path)
    try:
        text = path.read_text(encoding="utf-8")
        lines = [_lasting(json.loads(one)) for one in (text.splitlines() if path.suffix == ".jsonl" else [text])]
        return json.dumps(lines, sort_keys=True)
    except ValueError:  # a line that was cut short, or no JSON at all
        return fingerprint(path)


def seen(path: Path) -> str:
    """What a picture means: the pixels of a map (PNG encoders differ). StoreError when it is damaged.

    Photographs are lossy copies for people, of images that the benchmark's key stands for: any copy will do.
    """
    if path.suffix == ".jpg":
        return "photograph"
    labels = read_map(path)
    return f"{labels.shape} {hashlib.sha256(labels.tobytes()).hexdigest()}"


def _lasting(value: object) -> object:
    if isinstance(value, dict):
        return {key: _lasting(inner) for key, inner in value.items() if key not in MAY_DIFFER}
    return [_lasting(inner) for inner in value] if isinstance(value, list) else value


def _seniority(files: Files) -> tuple[str, list[tuple[str, str]]]:
    finished = str(read_json(files[CARD]).get("finished", "")) if CARD in files else ""
    return finished, sorted((name, fingerprint(path)) for name, path in files.items())
