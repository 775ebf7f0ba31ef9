"""The folder of what a learner has learned flows in; what in it is not as its card says flows out, in a clause."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

CARD = "card.json"
CURVE = "curve.jsonl"  # tells of the training, and holds seconds
DIGESTS = "file_digests"  # on a card: a file's path in the artefact -> its digest, BLAKE2b with 16 bytes


def digests_on_card(place: Path) -> Mapping[str, str]:
    """What the card in a folder says of the files beside it; nothing where there is no card, or one of before."""
    try:
        card = json.loads((place / CARD).read_bytes())
        return dict(card.get(DIGESTS, {}))
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def digest_of_all(digests: Mapping[str, str]) -> str | None:
    """What stands in rows for what was learned: one digest of the files on a card; None for a card of before.

    The curve is left out: a training that is repeated to the same bits takes other seconds.
    """
    held = sorted((name, digest) for name, digest in digests.items() if name != CURVE)
    return hashlib.blake2b(json.dumps(held).encode(), digest_size=16).hexdigest() if digests else None


def damage(place: Path, digests: Mapping[str, str]) -> str:
    """The first file that is not what it was when it was learned, in a clause; empty when all are."""
    for name, digest in digests.items():
        path = place / name
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest() == digest:
                    continue
        except FileNotFoundError:
            return f"{path} is not there"
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
        return f"{path} is damaged: its bytes are not those that were learned"
    return ""
