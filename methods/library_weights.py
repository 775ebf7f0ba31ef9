"""A repository flows in from which a library fetches weights by itself; whether that is still to come flows out."""

from __future__ import annotations

from pathlib import Path

from methods.hub import forbidden


def weights_to_fetch(what: str, repository: str) -> tuple[str, ...]:
    """What a library fetches by itself, in words, if no weights of its repository are in the local cache. No network.

    repository: `owner/name`, in which `*` stands for any text.
    """
    from huggingface_hub import constants

    pattern = f"models--{repository.replace('/', '--')}/snapshots/*/*"
    if any(path.suffix in (".safetensors", ".bin") for path in Path(constants.HF_HUB_CACHE).glob(pattern)):
        return ()
    forbidding = forbidden()
    return (f"{what} (which {forbidding} forbids: what needs it will not be tried)" if forbidding else what,)
