"""A results folder, damaged again and again by bits, bytes, holes, cuts and editors -> what was told, and what was not.

Every damage is tried on the folder's own copy and mended afterwards. A damage is *told* when `results.verify` lists it,
*harmless* when everything that can be read is as before (a space of a recipe that is a tab now), *silent* when anything
else is read and nobody says so, and *broken* when an exception of somebody else ends the reading. A log of events that
was cut exactly between two lines is that of a sweep which was killed there: *shorter log*, on which no number rests.

    python -m perf.damages [--folder DIR] [--trials 1000] [--seed N]     (make damages)
"""

from __future__ import annotations

import argparse
import io
import random
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from harness import sweep
from harness.errors import HarnessError
from results import verify
from results.folder import artefacts, keepsakes
from results.folder.store import Store
from results.tables import leaderboard

ROOT = Path(__file__).parent.parent
KINDS = ("rows", "recipes", "grid.json", "events.jsonl", "artefacts", "label_maps", "pictures")


def bit(content: bytes, rng: random.Random) -> bytes:
    """One bit is another one."""
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def byte(content: bytes, rng: random.Random) -> bytes:
    """One byte is another one."""
    place = rng.randrange(len(content))
    return content[:place] + bytes([(content[place] + rng.randrange(1, 256)) % 256]) + content[place + 1 :]


def hole(content: bytes, rng: random.Random) -> bytes:
    """Some bytes are nought, as after a crash of a machine."""
    start, length = rng.randrange(len(content)), rng.randrange(1, 513)
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def cut(content: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return content[: rng.randrange(len(content))]


def saved_again(content: bytes, rng: random.Random) -> bytes:
    """As an editor leaves a picture: decoded and written anew, so that its digest is gone; of other files the end."""
    stream = io.BytesIO()
    try:
        with Pillow.open(io.BytesIO(content)) as picture:
            picture.save(stream, picture.format)
    except OSError:
        return content[: -rng.randrange(1, 100)]
    return stream.getvalue()


GOOD = ("told", "harmless", "shorter log")
DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (bit, byte, hole, cut, saved_again)


def files(folder: Path) -> dict[str, list[Path]]:
    """Kind -> the files that numbers, tables and pictures rest on."""
    below = {kind: sorted(path for path in (folder / kind).rglob("*") if path.is_file()) for kind in KINDS}
    return {kind: below[kind] or [folder / kind] for kind in KINDS if below[kind] or (folder / kind).is_file()}


def read_all(folder: Path) -> tuple[Any, ...]:
    """All that can be read of a folder, in a form that can be compared."""
    store = Store.open(folder, create=False)
    rows, recipes, table = store.rows(), store.raw_recipes(), store.table()
    board = leaderboard.leaderboard_csv(leaderboard.build_board(store))
    places = sorted(path.parent for path in (folder / "artefacts").glob("*/card.json"))
    learned = [_artefact(folder, place) for place in places]
    shown = files(folder)
    pictures = [path for kind in ("label_maps", "pictures") for path in shown.get(kind, ())]
    seen = [(keepsakes.read_image if path.suffix == ".jpg" else keepsakes.read_map)(path) for path in pictures]
    people_see = [picture.tobytes() for picture in seen]
    return store.told().events, rows.to_dict(as_series=False), recipes, table, board, learned, people_see


def _artefact(folder: Path, place: Path) -> tuple[dict[str, Any], list[bytes]]:
    artefacts.refuse_damaged(place)
    held = sorted(path for path in place.rglob("*") if path.is_file() and path.name != "card.json")
    return artefacts.card(folder, place.name), [path.read_bytes() for path in held]


def fate(folder: Path, whole: tuple[Any, ...]) -> str:
    """What a damaged folder does to those who read it."""
    try:
        if verify.look_over(Store.open(folder, create=False)).findings:
            return "told"
        events, *rest = read_all(folder)
        if rest != list(whole[1:]) or events != whole[0][: len(events)]:
            return "silent"
        return "harmless" if events == whole[0] else "shorter log"
    except HarnessError:
        return "told"
    except Exception as error:
        return f"broken: {type(error).__name__}"


def trials(folder: Path, count: int, rng: random.Random) -> Counter[tuple[str, str, str]]:
    """(kind of file, damage, fate) -> how often; the folder is afterwards as it was."""
    whole, shown, found = read_all(folder), files(folder), Counter[tuple[str, str, str]]()
    for number in range(count):
        kind, damage = list(shown)[number % len(shown)], DAMAGES[number // len(shown) % len(DAMAGES)]
        path = rng.choice(shown[kind])
        content = path.read_bytes()
        damaged = damage(content, rng) if content else b"x"
        if damaged != content:
            path.write_bytes(damaged)
            found[kind, damage.__name__, fate(folder, whole)] += 1
            path.write_bytes(content)
    return found


def table(found: Counter[tuple[str, str, str]]) -> str:
    """A line a kind of file, a column a fate."""
    fates = [*GOOD, "silent", *sorted({one for *_, one in found if one.startswith("broken")})]
    text = io.StringIO()
    print("| file | damages |", " | ".join(fates), "|", file=text)
    print("|---" * (2 + len(fates)) + "|", file=text)
    for kind in [*KINDS, "all"]:
        of_kind = Counter[str]()
        for (one, _, what), number in found.items():
            of_kind[what] += number if kind in (one, "all") else 0
        print(f"| {kind} | {of_kind.total()} |", " | ".join(str(of_kind[one]) for one in fates), "|", file=text)
    return text.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, help="a results folder; without one the root grid's first images are swept"
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.folder is None and sweep.main(
            [str(ROOT / "grid.yaml"), "--local", "--limit", "4", "--no-report", "--results", temporary]
        ):
            return 1
        found = trials(folder, options.trials, random.Random(seed))
    print(f"\n{found.total()} damages, seed {seed}\n\n{table(found)}")
    return int(any(what not in GOOD for *_, what in found))


if __name__ == "__main__":
    sys.exit(main())
