"""What learners have learned goes into a results folder and is found again, by the id of the fit.

`artefacts/<id>/` holds what the learner wrote (weights), and `card.json`, which is written last and lists the digests
of all other files: an artefact with a card is whole. What only serves to go on after a crash (checkpoints, what workers
gathered) lies in `artefacts/<id>/unfinished/` and is thrown away when the card is written. Several machines see one
such folder.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.contracts import Row, Rows, artefact
from harness.errors import StoreError
from results.folder.durable import ASIDE, write_text, write_whole
from results.folder.proof import file_digest, read_json, sealed, stamped
from results.folder.recipes import file_name_of, recipe_path, recipe_text

UNFINISHED = "unfinished"
DIGESTS = artefact.DIGESTS
TEACHER = "teacher_artefact"  # on a card: what stands for the artefact of its teacher, where that had learned itself
LESSONS = "lessons.json"  # in `unfinished`: what the card will say of the lessons, before anything is made of them
_OTHERS = {"samples": "others", TEACHER: "others"}  # equal to no digest


def artefacts(folder: Path) -> Path:
    """Where the artefacts of a results folder lie, as a path that holds in any process."""
    return (folder / "artefacts").absolute()


def artefact_path(folder: Path, artefact_id: str) -> Path:
    """The folder of one artefact."""
    return recipe_path(artefacts(folder), artefact_id).with_suffix("")


def has_artefact(folder: Path, artefact_id: str) -> bool:
    """Whether an artefact is whole."""
    return (artefact_path(folder, artefact_id) / "card.json").exists()


def begun(folder: Path) -> list[str]:
    """The artefacts of which nothing is there but what serves to go on."""
    places = sorted((folder / "artefacts").glob(f"*/{UNFINISHED}"))
    return [one.parent.name for one in places if not has_artefact(folder, one.parent.name) and any(one.iterdir())]


def card(folder: Path, artefact_id: str) -> dict[str, Any]:
    """What an artefact's card says. StoreError when it cannot be read."""
    return _read_card(artefact_path(folder, artefact_id))


def taught(folder: Path, artefact_id: str) -> str | None:
    """What stands for the images behind an artefact, whole or begun; None where there is none, or nobody knows."""
    said = _said_of_lessons(folder, artefact_id).get("samples")
    return said if isinstance(said, str) else None


def taught_with(folder: Path, artefact_id: str) -> str | None:
    """What stands for the artefact of the teacher that an artefact was taught by; None where nobody knows."""
    said = _said_of_lessons(folder, artefact_id).get(TEACHER)
    return said if isinstance(said, str) else None


def begin_with(folder: Path, artefact_id: str, lessons: Mapping[str, object]) -> None:
    """Say which lessons what comes to lie in `unfinished` is made of, before it does."""
    path = artefact_path(folder, artefact_id) / UNFINISHED / LESSONS
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, recipe_text(sealed(dict(lessons))))


def _said_of_lessons(folder: Path, artefact_id: str) -> Mapping[str, Any]:
    """What a card says, or while there is none what was said at the beginning; of others where that cannot be told."""
    if has_artefact(folder, artefact_id):
        return card(folder, artefact_id)
    unfinished = artefact_path(folder, artefact_id) / UNFINISHED
    if not unfinished.exists():
        return {}
    try:
        return read_json(unfinished / LESSONS)
    except StoreError:
        return _OTHERS


def artefact_digest(folder: Path, artefact_id: str) -> str | None:
    """What stands in rows for an artefact as it lies there; None where there is none, or one of before."""
    there = has_artefact(folder, artefact_id)
    return artefact.digest_of_all(card(folder, artefact_id).get(DIGESTS, {})) if there else None


def set_artefact_aside(folder: Path, artefact_id: str) -> None:
    """Move an artefact, or what there is of one, to `outdated/`."""
    path = artefact_path(folder, artefact_id)
    if not path.exists():
        return
    aside = folder / "outdated" / f"{artefact_id}-{time.time_ns()}"
    try:
        aside.parent.mkdir(exist_ok=True)
        path.rename(aside)
    except OSError as error:
        raise StoreError(f"{path} cannot be moved to {aside} ({error.strerror}); mend the disk") from None


def finish(folder: Path, artefact_id: str, content: Mapping[str, object]) -> Path:
    """Write the card, by which the artefact becomes whole, and throw away what served the fit; the card's path."""
    path = artefact_path(folder, artefact_id) / "card.json"
    digests = {name: file_digest(file) for name, file in _files(path.parent).items()}
    write_text(path, recipe_text(sealed({**content, DIGESTS: digests})))
    shutil.rmtree(path.parent / UNFINISHED, ignore_errors=True)
    return path


def artefact_is_of_now(card: Mapping[str, Any]) -> bool:
    """Whether a card is of a time when cards have seals: those of before tell less of the learner."""
    return "code" in card.get("learner", ())


def artefact_damage(folder: Path, artefact_id: str) -> str:
    """Why a whole artefact cannot be used, in a sentence; empty when it is as it was learned."""
    try:
        refuse_damaged(artefact_path(folder, artefact_id))
    except StoreError as error:
        return str(error)
    return ""


def refuse_damaged(place: Path) -> None:
    """StoreError when a file of the artefact in a folder is not what its card says; cards of before say nothing."""
    if what := artefact.damage(place, _read_card(place).get(DIGESTS, {})):
        raise StoreError(
            f"{what}; move {place} away (`python -m results.verify DIR --set-aside` does) and run the sweep again to "
            "learn it anew"
        )


def _read_card(place: Path) -> dict[str, Any]:
    return read_json(place / "card.json", artefact_is_of_now)


def _files(place: Path) -> dict[str, Path]:
    """The files that a card answers for, by their paths in the artefact."""
    found = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}
    left_out = ("card.json", *(name for name in found if name.startswith(f"{UNFINISHED}/") or name.endswith(ASIDE)))
    return {name: path for name, path in found.items() if name not in left_out}


def gathered_path(folder: Path, artefact_id: str, image_id: str) -> Path:
    """Where what a learner gathered of an image lies, or would lie."""
    return artefact_path(folder, artefact_id) / UNFINISHED / "gathered" / f"{file_name_of(image_id)}.npz"


def has_gathered(folder: Path, artefact_id: str, image_id: str) -> bool:
    """Whether it lies there."""
    return gathered_path(folder, artefact_id, image_id).exists()


def keep_gathered(folder: Path, rows: Iterable[Row]) -> None:
    """Write what rows bring of a learner's gathering; their run is the artefact."""
    columns = Rows.of(rows)
    for number, gathered in columns.gathered.items():
        _write(gathered_path(folder, *columns.key(number)), gathered)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(stamped(content, path)))
