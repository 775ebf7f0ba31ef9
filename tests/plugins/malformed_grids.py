"""A seed flows in; a grid that was sound and is spoilt in one to three ways flows out, as the bytes of its file."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from toy_learners import SplitBoxes
from toy_world import Boxes

from harness import sweep

LONGEST = 1000  # characters of the sentence that a grid gets

WORDS = ("name", "use", "with", "methods", "benchmarks", "exclude", "protocol", "cluster", "batch", "keep", "tables")
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 10**9, 10**30, -(10**400), 1.5, 1e308, float("inf"), float("-inf"), float("nan"), "",
    " ", "yes", "1", "é漢", "x" * 300, "x" * 70_000, "two\nlines", "bell\x07", "nul\0", "~", "$HOME", "../../etc",
    "/dev/zero", "{}", "{} {}", "a photo of a {}", "%s", "toy_world:Flat", "toy_world.Flat", "toy_world:", ":",
    "os:system", "harness.sweep:main", "benchmarks.shapes:Shapes", "builtins:object", "builtins:dict", "builtins:int",
    "a b:c d", "toy_world:Nobody", "nowhere:Nobody", "results.yaml", "none.txt", [], {}, [[]], [{}], [None], [1, 1],
    [1, "1", 1.0, True], ["a", "a"], [[1], [1]], {"a": 1}, {"a": {"b": {"c": []}}},
    list(range(400)), [list(range(50))] * 3, {"use": "x"},
)  # fmt: skip
SOUND: tuple[dict[str, Any], ...] = (
    {
        "name": "toy",
        "methods": [
            {"name": "Reads", "use": "toy_world:ToyReader", "with": {"timestep": [1, 100], "refine": ["none", "sar"]}},
            {"name": "Flat", "use": "toy_world:Flat", "exclude": [{"position": 1}], "with": {"position": [0, 1]}},
        ],
        "benchmarks": [{"name": "Boxes", "use": "malformed_grids:FewBoxes", "with": {"images": 3, "broken": [["2"]]}}],
        "exclude": [{"method": "Reads", "benchmark": "Boxes", "with": {"refine": "sar"}}],
        "include": [{"method": "Flat", "benchmark": "Boxes", "with": {"position": 2}}],
        "protocol": {"vocabulary": "all", "background": "constant", "threshold": 0.4, "templates": ["a {}", "the {}"]},
        "cluster": {"workers": "auto", "threads": 1, "gpus_per_worker": 0.5, "shard_batches": 2, "stall_seconds": 9.5},
        "batch": 4,
        "keep": {"label_maps": 2},
        "tables": [{"name": "t", "rows": "timestep", "columns": ["benchmark", "refine"], "where": {"refine": "none"}}],
    },
    {
        "name": "learned",
        "methods": [
            {"name": "Brightest", "use": "toy_learners:Brightest"},
            {"name": "Pupil", "use": "toy_learners:Colours", "with": {"teacher": "Brightest", "low": [0.0, 0.5]}},
        ],
        "benchmarks": [{"name": "Boxes", "use": "malformed_grids:FewSplitBoxes", "train": {"split": "train"}}],
    },
    {
        "name": "tagged",
        "methods": [{"name": "Flat", "use": "toy_world:Flat"}],
        "benchmarks": [{"name": "Boxes", "use": "malformed_grids:FewBoxes"}],
        "protocol": {
            "vocabulary": "predicted", "tagger": {"use": "toy_taggers:Colours"}, "resize": "short", "size": 32,
            "window": 16, "stride": 8, "names": "own", "background": "prompts", "context": ["sky", "road"],
        },
    },
)  # fmt: skip
TEXTS: tuple[bytes, ...] = (
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\t", b"- ", b": ", b"{", b"]", b"'", b'"', b"&a ", b"*a", b"<<: *a",
    b"!!python/object:os.system ", b"!!binary ", b"!!set ", b"!!timestamp ", b"2020-01-01", b"? ", b"---\n", b"...\n",
    b"%YAML 9.9\n---\n", b"| \n", b">-\n", b"# ", b"\r", b"\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\x1b[31m",
    b"0x", b"0b2", b"1_000", b"1:60", b"12e03", b"=", b"~", b"nan", b".nan", b"[" * 2000, b"{a: " * 500, b"\n  " * 3,
    b"!!int x", b"!!float x", b"!!bool x", b"!!null x", b"!<tag:yaml.org,2002:int> z", b"@", b"`", b"@a",
)  # fmt: skip


@dataclass(frozen=True)
class FewBoxes(Boxes):
    """Boxes, but nobody can ask for a billion of them."""

    def __post_init__(self) -> None:
        if not 0 <= self.images <= 100:
            raise ValueError(f"images must be 0 to 100, not {self.images}")


@dataclass(frozen=True)
class FewSplitBoxes(SplitBoxes):
    """The same, with a split."""

    def __post_init__(self) -> None:
        if not 0 <= self.images <= 100:
            raise ValueError(f"images must be 0 to 100, not {self.images}")


@dataclass(frozen=True)
class Outcome:
    """What the door made of a grid. fault: what should not be so, in words; empty when all is well."""

    code: int | None
    said: str
    fault: str
    seconds: float


def outcome(content: bytes, folder: Path) -> Outcome:
    """Plan the grid with these bytes, in a folder of its own, in this process."""
    path, out, err = folder / "grid.yaml", StringIO(), StringIO()
    path.write_bytes(content)
    started, code, fault = time.perf_counter(), None, ""
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = sweep.main([str(path), "--plan", "--results", str(folder / "runs")])
        except BaseException as error:
            fault = "".join(traceback.format_exception(error)[-3:])
    said = err.getvalue()
    return Outcome(code, said, fault or _fault(code, said), time.perf_counter() - started)


def _fault(code: int | None, said: str) -> str:
    """Exit 0 and silence, or exit 2 and one printable sentence of bounded length."""
    if code == 0:
        return "a sound grid, and yet something was said" if said else ""
    if code != 2:
        return f"exit {code}"
    line = said.removesuffix("\n")
    if not line or not line.isprintable():
        return "no sentence, more than one line, or letters that do not print"
    return f"{len(line)} letters" if len(line) > LONGEST else ""


def grids(seed: int, count: int) -> Iterator[bytes]:
    """So many spoilt grids; each is found again by the seed and its place."""
    for place in range(count):
        yield grid(seed, place)


def grid(seed: int, place: int) -> bytes:
    """One spoilt grid."""
    dice = random.Random(f"{seed} {place}")
    data = _copied(dice.choice(SOUND))
    whole: list[Callable[[random.Random], bytes]] = [_bomb, _deep, _long, _twice, _nothing]
    if dice.random() < 0.08:
        return dice.choice(whole)(dice)
    for _ in range(dice.randint(0, 2)):
        _spoil_values(data, dice)
    content = yaml.safe_dump(data, sort_keys=False, allow_unicode=dice.random() < 0.5).encode("utf-8", "replace")
    for _ in range(dice.randint(0, 2)):
        content = _spoil_text(content, dice)
    return content


def _spoil_values(data: Any, dice: random.Random) -> None:
    """A value somewhere is another one, gone, under another key, or wrapped."""
    spots = list(_spots(data))
    holder, key = dice.choice(spots)
    held = holder[key]
    what = dice.choice(["another", "another", "another", "gone", "renamed", "listed", "mapped", "moved", "doubled"])
    if what == "gone":
        del holder[key]
    elif what == "renamed" and isinstance(holder, dict):
        name = dice.choice([*WORDS, str(key)[:-1], f"{key}s", str(key).upper(), 1, None, True, 1.5, "", "x" * 500])
        holder[name] = holder.pop(key)
    elif what in ("listed", "mapped"):
        holder[key] = [held] if what == "listed" else {"a": held}
    elif what == "moved":
        other, place = dice.choice(spots)
        other[place] = _copied(held)
    elif what == "doubled" and isinstance(holder, list):
        holder.append(_copied(held))
    else:
        holder[key] = _copied(dice.choice(VALUES))


def _spots(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every place that holds a value: the holder and the key or position."""
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from _spots(data[key])


def _spoil_text(content: bytes, dice: random.Random) -> bytes:
    """Bytes are put in, left out, changed, or lines go elsewhere."""
    at = dice.randint(0, len(content))
    what = dice.choice(["put in", "put in", "cut", "left out", "changed", "tabs", "lines", "line twice"])
    if what == "put in":
        return content[:at] + dice.choice(TEXTS) + content[at:]
    if what == "cut":
        return content[:at]
    if what == "left out":
        return content[:at] + content[at + dice.randint(1, 20) :]
    if what == "changed" and at < len(content):
        return content[:at] + bytes([dice.randint(0, 255)]) + content[at + 1 :]
    if what == "tabs":
        return content.replace(b"  ", b"\t", dice.randint(1, 5))
    lines = content.splitlines(keepends=True) or [b""]
    line = dice.randrange(len(lines))
    if what == "lines":
        lines.insert(dice.randrange(len(lines)), lines.pop(line))
    else:
        lines.insert(line, lines[line])
    return b"".join(lines)


def _bomb(dice: random.Random) -> bytes:
    """Aliases of aliases."""
    levels = dice.randint(3, 30)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join([*lines, "name: *a0", ""]).encode()


def _deep(dice: random.Random) -> bytes:
    depth = dice.choice([20, 31, 400, 5000])
    blocks = b"".join(b" " * level + b"a:\n" for level in range(min(depth, 400)))
    return dice.choice([b"name: " + b"[" * depth + b"]" * depth, blocks])


def _long(dice: random.Random) -> bytes:
    return dice.choice([b"name: [" + b"1, " * 120_000 + b"]", b"x" * 2_000_000, b"name: " + b"x" * 900_000])


def _twice(dice: random.Random) -> bytes:
    return yaml.safe_dump_all([dice.choice(SOUND)] * 2).encode()


def _nothing(dice: random.Random) -> bytes:
    kinds = (b"", b" \n", b"# words\n", b"null\n", b"1\n", b"[]\n", b"text\n", b"---\n---\n", b"{}\n", b"? [a]\n: b\n")
    return dice.choice(kinds)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
