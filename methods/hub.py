"""A hub id flows in; the folder of its files on this machine flows out, fetched by one attempt when it is not there."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from harness.contracts import ModelError
from methods.quiet import quiet

OFFLINE_ERRORS = frozenset(
    ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError", "TimeoutException")
)
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_COMMIT = re.compile(r"[0-9a-f]{40}")


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


def cached(hub_id: str, revision: str | None, patterns: Sequence[str]) -> Path | None:
    """The folder of the files in the local cache, as far as the hub's library can tell whole; None when it is not
    there. No network."""
    from huggingface_hub import snapshot_download

    commit = pinned(hub_id, revision)
    if commit is None:
        return None
    try:
        with quiet():
            return Path(
                snapshot_download(hub_id, revision=commit, allow_patterns=list(patterns), local_files_only=True)
            )
    except (OSError, ValueError):  # the library's own "not cached" is an OSError
        return None


def fetched(hub_id: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder of the files, fetched from the hub. ModelError, one sentence, when that cannot be done."""
    from huggingface_hub import snapshot_download

    if forbidding := forbidden():
        at = f" at revision {revision!r}" if revision else ""
        raise ModelError(
            f"The model {hub_id!r}{at} is not on this machine and {forbidding} forbids to fetch it: unset it, or give "
            "a local folder."
        )
    try:
        with quiet():
            meant = pinned(hub_id, revision) or revision
            return Path(snapshot_download(hub_id, revision=meant, allow_patterns=list(patterns)))
    except Exception as problem:  # the hub's own tree of errors, and those of the connection below it
        raise ModelError(_explain(hub_id, revision, problem)) from problem


def forbidden() -> str | None:
    """The variable that forbids the hub's library all traffic, or None."""
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE:
        return None
    return next((name for name in OFFLINE_VARIABLES if os.environ.get(name)), OFFLINE_VARIABLES[0])


def reason(problem: BaseException) -> str:
    """The first line of a foreign error, shortened, to stand at the end of a sentence."""
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return lines[0][:160].rstrip(". ")


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
    if names & OFFLINE_ERRORS:
        return f"The model {model!r}{at} is not cached and the hub cannot be reached: connect, or give a local folder."
    return f"The model {model!r}{at} cannot be fetched from the hub: {reason(problem)}."
