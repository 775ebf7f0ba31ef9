"""More classes than 8 bits can number, from reader to report; and that nothing changes for those who have few."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import recount
from in_process import call, door
from numpy.typing import NDArray
from PIL import Image as Pillow
from wide_world import Many

from harness.checks.__main__ import main as checks
from harness.contracts import IGNORED, MOST_CLASSES, WIDE_IGNORED, Sample, narrowed, widened
from harness.protocol.given import BrokenContract, about_classes, checked_sample
from harness.recipes.origins import sample_digest
from harness.work.pictures import decode_map, encode_map
from harness.work.scoring import overlaps
from methods.diffusion.prompts import joint_prompts
from results import merge, verify
from results.folder import keepsakes, parts
from results.folder.store import Store
from results.pictures.colours import colour, paint_labels
from results.tables.board_csv import leaderboard_csv
from results.tables.leaderboard import build_board

GRID = """
name: wide
methods:
  - {{name: Spells, use: 'wide_world:Spells', with: {{form: [map, scores]}}}}
benchmarks: [{{name: Many, use: 'wide_world:Many', with: {{number: {number}, images: 4}}}}]
protocol: {protocol}
keep: {{label_maps: 4}}
batch: 3
"""


def swept(folder: Path, number: int, protocol: str = "{vocabulary: all}", report: bool = False) -> Store:
    folder.mkdir(exist_ok=True)
    (folder / "grid.yaml").write_text(GRID.format(number=number, protocol=protocol))
    answer = door("grid.yaml", cwd=folder, report=report)
    assert answer.returncode == 0, answer
    return Store.open(folder / "runs", create=False)


def spelled(sample: Sample, classes: list[int], form: str) -> NDArray[np.int64]:
    """What becomes of what Spells says, pixel by pixel: the class, the next one offered where blue is low; where it has
    none 65535, or the first of equal scores."""
    after = dict(zip(classes, [*classes[1:], classes[0]], strict=True))
    none, pixels = WIDE_IGNORED if form == "map" else classes[0], sample.image.reshape(-1, 3)
    said = [_said(int(red) * 256 + int(green), int(blue), after, none) for red, green, blue in pixels]
    return np.array(said).reshape(sample.truth.shape)


def _said(number: int, blue: int, after: Mapping[int, int], none: int) -> int:
    if number not in after or blue > 250:
        return none
    return after[number] if blue < 40 else number


def expected(sample: Sample, classes: list[int], form: str) -> Counter[tuple[int, int]]:
    """Pairs of true and given class, where the truth is a class; ignored is the largest number of the truth's type."""
    mark = 255 if sample.truth.dtype == np.uint8 else 65535
    given = spelled(sample, classes, form)
    pairs = zip(sample.truth.ravel().tolist(), given.ravel().tolist(), strict=True)
    return Counter((true, guess) for true, guess in pairs if true not in (0, mark))


@pytest.mark.parametrize("number", [20, 254, 255, 256, 300, 1000])
def test_every_pixel_is_counted_whatever_the_number_of_classes(tmp_path: Path, number: int) -> None:
    store, benchmark, classes = swept(tmp_path, number), Many(number=number, images=4), list(range(1, number + 1))
    own = {
        (run_id, image_id): expected(benchmark.load(image_id), classes, recipe.method["settings"]["form"])
        for run_id, recipe in store.recipes().items()
        for image_id in benchmark.ids()
    }
    for row in store.rows().iter_rows(named=True):
        pairs = zip(row["true"], row["predicted"], strict=True)
        assert dict(zip(pairs, row["pixels"], strict=True)) == own[row["run_id"], row["image_id"]]
    board = build_board(store)
    assert len(board.entries) == 2
    for entry in board.entries:
        images = [counts for (run_id, _), counts in own.items() if run_id == entry.run_id]
        whole = sum(images, Counter())
        assert {k for k in (254, 255, 256, number) if k <= number} <= {true for true, _ in whole}
        assert entry.miou == pytest.approx(float(recount.miou(whole, number)), abs=1e-12)
        mean = sum(float(recount.miou(one, number)) for one in images) / len(images)
        assert entry.image_miou == pytest.approx(mean, abs=1e-12)


def test_a_thousand_classes_are_kept_resumed_reported_and_merged(tmp_path: Path) -> None:
    store, benchmark = swept(tmp_path / "a", 1000, report=True), Many(number=1000, images=4)
    rows = {(row["run_id"], row["image_id"]): row for row in store.rows().iter_rows(named=True)}
    for run_id, recipe in store.recipes().items():
        for image_id in benchmark.ids():
            sample = benchmark.load(image_id)
            path = keepsakes.label_map_path(store.folder, run_id, image_id)
            given = spelled(sample, list(range(1, 1001)), recipe.method["settings"]["form"])
            kept = keepsakes.read_map(path)
            assert np.array_equal(kept, given) and kept.dtype == np.uint16
            mark = np.iinfo(sample.truth.dtype).max
            truth = keepsakes.picture_paths(store.folder, recipe.benchmark, image_id)[1]
            for file, wide in ((path, given[given < WIDE_IGNORED].max() > 254), (truth, mark == WIDE_IGNORED)):
                with Pillow.open(file) as held:
                    stored = np.array(held)
                    assert held.mode == ("I;16" if wide else "P")
            assert np.array_equal(stored, sample.truth)
            pairs = Counter(zip(sample.truth.ravel().tolist(), kept.ravel().tolist(), strict=True))
            row = rows[run_id, image_id]
            counted = zip(row["true"], row["predicted"], row["pixels"], strict=True)
            assert {(t, p): n for t, p, n in counted} == {k: n for k, n in pairs.items() if k[0] not in (0, mark)}
    before = sorted((tmp_path / "a" / "runs" / "rows").iterdir())
    again = door("grid.yaml", cwd=tmp_path / "a")
    assert again.returncode == 0 and sorted((tmp_path / "a" / "runs" / "rows").iterdir()) == before
    _shown(tmp_path / "a" / "runs", store)
    assert call(verify.main, tmp_path / "a" / "runs").returncode == 0
    _merged(tmp_path, store)


def _shown(folder: Path, store: Store) -> None:
    """Every kept map as the browser shows it: the colour of its class where the truth is scored."""
    text = (folder / "report" / "rooms.js").read_text(encoding="utf-8")
    (room,) = json.loads(text.removeprefix("window.ROOMS = ").rstrip(";\n"))
    assert len(room["classes"]) == len(room["colours"]) == 1001 and len(set(room["colours"])) == 1001
    for run in room["runs"]:
        recipe = store.recipes()[run["id"]]
        for image, cell in zip(room["images"], run["cells"], strict=True):
            kept = keepsakes.read_map(keepsakes.label_map_path(folder, run["id"], image["id"]))
            truth = keepsakes.read_map(keepsakes.picture_paths(folder, recipe.benchmark, image["id"])[1])
            scored = (truth > 0) & (truth < WIDE_IGNORED)
            seen = np.asarray(Pillow.open(folder / "report" / cell["map"]).convert("RGBA"))
            assert np.array_equal(seen[..., 3] > 0, scored & (kept != WIDE_IGNORED))
            painted = np.array([colour(int(k)) for k in kept[seen[..., 3] > 0]])
            assert np.array_equal(seen[seen[..., 3] > 0][:, :3], painted)
            wrong = np.asarray(Pillow.open(folder / "report" / cell["errors"]).convert("RGBA"))
            assert np.array_equal((wrong[..., 0] > 200) & scored, (kept != truth) & scored)
            assert image["classes"] == [int(k) for k in np.unique(truth) if 0 < k < WIDE_IGNORED]


def _merged(tmp_path: Path, store: Store) -> None:
    """What lacks the maps of one run and the rows of another is whole again after a merge, whichever comes first."""
    first, second = sorted(store.recipes())
    for name, run_id in (("b", first), ("c", second)):
        shutil.copytree(store.folder, tmp_path / name)
        half = Store.open(tmp_path / name)
        rows = half.rows([run_id])
        for path in (tmp_path / name / "rows").iterdir():
            path.unlink()
        with half.writer() as writer:
            writer.write(rows)
        shutil.rmtree(tmp_path / name / "label_maps" / (second if run_id == first else first))
    assert call(merge.main, tmp_path / "b", tmp_path / "c", "--into", tmp_path / "d").returncode == 0
    joined = Store.open(tmp_path / "d", create=False)
    assert joined.rows().drop("seconds").equals(store.rows().drop("seconds"))
    assert leaderboard_csv(build_board(joined)) == leaderboard_csv(build_board(store))
    assert {p.name for p in (tmp_path / "d" / "label_maps").rglob("*.png")} == {
        p.name for p in (store.folder / "label_maps").rglob("*.png")
    }


@pytest.mark.parametrize("protocol", [
    "{vocabulary: present}",
    "{vocabulary: all, background: class}",
    "{vocabulary: present, background: constant, threshold: 0.5}",
    "{vocabulary: all, resize: short, size: 42, window: 21, stride: 14}",
])  # fmt: skip
def test_protocols_of_many_classes(tmp_path: Path, protocol: str) -> None:
    """Maps and scores of one answer are one prediction, whatever is offered and however the image is shown."""
    store = swept(tmp_path, 300, protocol)
    rows = store.rows()
    assert set(rows["status"]) == {"ok"} and rows["true"].explode().max() == 300
    assert rows["pixels"].list.sum().min() > 0


def test_what_is_present_is_offered_and_nothing_else_is_said(tmp_path: Path) -> None:
    store, benchmark = swept(tmp_path, 300, "{vocabulary: present}"), Many(number=300, images=4)
    forms = {run_id: recipe.method["settings"]["form"] for run_id, recipe in store.recipes().items()}
    for row in store.rows().iter_rows(named=True):
        sample = benchmark.load(row["image_id"])
        mark = np.iinfo(sample.truth.dtype).max
        classes = [int(k) for k in np.unique(sample.truth) if 0 < k < mark]
        wanted = expected(sample, classes, forms[row["run_id"]])
        assert dict(zip(zip(row["true"], row["predicted"], strict=True), row["pixels"], strict=True)) == wanted


def test_what_a_method_may_not_say_of_many_classes(tmp_path: Path) -> None:
    methods = "[{name: Out, use: 'wide_world:OutOfPlace'}]"
    grid = GRID.format(number=300, protocol="{vocabulary: all}").split("methods:")
    (tmp_path / "grid.yaml").write_text(f"{grid[0]}methods: {methods}\nbenchmarks:{grid[1].split('benchmarks:')[1]}")
    assert door("grid.yaml", cwd=tmp_path).returncode == 3
    errors = set(Store.open(tmp_path / "runs").rows()["error"])
    assert errors == {
        "the method gave labels from 65535 to 65535; it was offered 300 classes (0 to 299, or -1 for no class)"
    }


@pytest.mark.parametrize("number", [254, 300])
def test_lessons_of_many_classes(tmp_path: Path, number: int) -> None:
    """Masks have 8 bits for up to 254 classes and 16 for more; the largest number of the type is unsure."""
    (tmp_path / "grid.yaml").write_text(f"""
name: lessons
methods:
  - {{name: Spells, use: 'wide_world:Spells', with: {{form: scores}}}}
  - {{name: Listens, use: 'wide_world:Listens', with: {{teacher: Spells}}}}
benchmarks:
  - {{name: Many, use: 'wide_world:Many', with: {{number: {number}, images: 2}}, train: {{split: train, images: 3}}}}
protocol: {{vocabulary: all}}
""")
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 0, answer
    (folder,) = (tmp_path / "runs" / "artefacts").iterdir()
    kind = "uint8" if number == 254 else "uint16"
    told = json.loads((folder / "told.json").read_text())
    assert told == {f"train-{n}": [kind, kind, "int16"] for n in range(3)}
    benchmark, offered = Many(number=number, split="train", images=3), np.arange(1, number + 1)
    for image_id in benchmark.ids():
        given = spelled(benchmark.load(image_id), offered.tolist(), "map")
        held = np.load(folder / f"{image_id}.npz")
        mask = np.where(given == WIDE_IGNORED, np.iinfo(kind).max, given)
        assert np.array_equal(held["mask"], mask) and np.array_equal(held["asked"], mask)
        assert np.array_equal(held["offered"], offered)
        assert np.array_equal(held["lesson"], np.where(given == WIDE_IGNORED, -1, given - 1))
    rows = Store.open(tmp_path / "runs").rows()
    assert set(rows["status"]) == {"ok"} and rows["run_id"].n_unique() == 3  # the teacher here and there


def test_a_thousand_names_are_prompted_in_as_many_prompts_as_they_need() -> None:
    """Tokens are words and two end marks; every class is in one prompt, in order, and none is cut off."""
    words = Many(number=1000).classes

    def tokenize(text: str) -> list[tuple[int, int]]:
        return [(0, 0), *((found.start(), found.end()) for found in re.finditer(r"\S+", text)), (len(text), len(text))]

    prompts = joint_prompts(words, "a photo of a {}", tokenize, limit=77)
    assert [position for prompt in prompts for position, _ in prompt.places] == list(range(1000))
    assert max(len(tokenize(prompt.text)) for prompt in prompts) <= 77
    for prompt in prompts:
        spelled_out = prompt.text.split()
        for position, tokens in prompt.places:
            assert " ".join(spelled_out[token - 1] for token in tokens) == words[position]


def test_the_gates_take_many_classes() -> None:
    benchmark = call(checks, "benchmark", "wide_world:Many", "--with", "number=1000")
    assert benchmark.returncode == 0, benchmark
    assert "Nothing is off" in benchmark.stdout and "65535  (ignored)" in benchmark.stdout.replace("   ", "  ")
    method = call(
        checks, "method", "wide_world:Spells", "--benchmark", "wide_world:Many", "--benchmark-with", "number=300"
    )
    assert method.returncode == 0, method


def test_parts_of_before_are_read_as_they_are(tmp_path: Path) -> None:
    """Classes of 8 bits, in which 255 was no class: the same numbers, nothing to do, and merges with parts of today."""
    store = swept(tmp_path / "new", 20, "{vocabulary: present}")
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    old = Store.open(tmp_path / "old" / "runs")
    former(old)
    assert old.rows()["predicted"].list.contains(WIDE_IGNORED).any()
    assert old.rows().equals(store.rows())
    board = leaderboard_csv(build_board(store))
    assert leaderboard_csv(build_board(old)) == board
    held = sorted(p.name for p in (old.folder / "rows").iterdir())
    assert door("grid.yaml", cwd=tmp_path / "old").returncode == 0
    assert sorted(p.name for p in (old.folder / "rows").iterdir()) == held
    assert call(verify.main, old.folder).returncode == 0
    for name, folders in (("one", (store, old)), ("other", (old, store))):
        assert call(merge.main, *(s.folder for s in folders), "--into", tmp_path / name).returncode == 0
        joined = Store.open(tmp_path / name)
        assert joined.rows().equals(store.rows())
        assert leaderboard_csv(build_board(joined)) == board


def former(store: Store) -> None:
    """Write the parts of a store as former versions did."""
    for path in sorted((store.folder / "rows").iterdir()):
        frame = pl.read_parquet(path)
        narrow = pl.element().replace(WIDE_IGNORED, IGNORED).cast(pl.UInt8)
        frame = frame.with_columns(pl.col("true", "predicted").list.eval(narrow))
        assert frame.schema["predicted"] == pl.List(pl.UInt8)
        path.unlink()
        parts.write_part(path.parent, frame)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, ">u2"])
def test_the_digest_of_data_is_that_of_before_where_8_bits_hold_the_truth(kind: str) -> None:
    sample = Many(number=254).load("val-0")
    assert sample.truth.max() == IGNORED and sample.truth.dtype == np.uint8
    state = hashlib.blake2b(digest_size=16)  # as former versions wrote it down
    for array in (sample.image, sample.truth):
        state.update(f"|u1{array.shape}".encode() + array.tobytes())
    truth = widened(sample.truth).astype(kind) if kind != np.uint8 else sample.truth
    checked = checked_sample(Sample("a", sample.image, truth), "a", 254)
    assert sample_digest(checked) == sample_digest(sample) == state.hexdigest()
    wide = Many(number=1000).load("val-0")
    held = checked_sample(wide, "val-0", 1000).truth
    assert held.dtype == np.uint16 and np.array_equal(held, wide.truth)
    assert sample_digest(wide) != sample_digest(Sample("val-0", wide.image, wide.truth.astype(np.uint8)))


def test_255_is_a_class_in_16_bits_and_ignored_in_8() -> None:
    image = np.zeros((1, 3, 3), np.uint8)
    for truth, wanted in (
        (np.array([[255, 254, 0]], np.uint8), [[65535, 254, 0]]),
        (np.array([[255, 65535, 0]], np.uint16), [[255, 65535, 0]]),
    ):
        assert checked_sample(Sample("a", image, truth), "a", 255).truth.tolist() == wanted
    with pytest.raises(BrokenContract, match=r"holds 255 in 1 pixels; it may hold 0 to 254 and 65535 \(255 means"):
        checked_sample(Sample("a", image, np.array([[255, 65535, 0]], np.uint16)), "a", 254)


def test_as_many_classes_as_16_bits_can_tell_apart() -> None:
    names = tuple(map(str, range(MOST_CLASSES + 2)))
    assert not list(about_classes(names[:MOST_CLASSES]))
    for more in (1, 2):
        (fault,) = about_classes(names[: MOST_CLASSES + more])
        assert fault == f"has {MOST_CLASSES + more} entries; there can be 1 to 65534"


@pytest.mark.parametrize("highest", [0, 1, 254, 255, 256, MOST_CLASSES])
def test_a_map_is_kept_as_narrow_as_it_can_be(highest: int) -> None:
    labels = np.full((3, 5), highest, np.uint16)
    labels[0] = WIDE_IGNORED
    content = encode_map(labels)
    assert np.array_equal(decode_map(content), labels)
    assert narrowed(labels).dtype == (np.uint8 if highest < IGNORED else np.uint16)
    assert np.array_equal(widened(narrowed(labels)), labels)
    narrow = np.array([[0, highest % 255, 255]], np.uint8)
    assert encode_map(narrow) == encode_map(widened(narrow))  # the bytes of before


def test_counting_takes_memory_by_pixels_and_not_by_classes() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = (rng.integers(0, MOST_CLASSES + 1, (250, 400)).astype(np.uint16) for _ in range(2))
    tracemalloc.start()
    counts = overlaps(truth, predicted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts.pixels.sum() == truth.size and len(counts.true) > 0.99 * truth.size
    assert peak < 100 * truth.size


def test_more_classes_than_a_palette_has_colours_are_painted_too() -> None:
    labels = np.arange(700, 1000, dtype=np.uint16).reshape(15, 20)
    labels[0, 0], labels[0, 1] = WIDE_IGNORED, 0
    for background in (True, False):
        seen = np.asarray(paint_labels(labels, background).convert("RGBA"))
        assert seen[0, 0, 3] == 0 and seen[0, 1, 3] == 255 * background
        assert [tuple(pixel) for pixel in seen[1].tolist()] == [(*colour(int(k)), 255) for k in labels[1]]
