"""The gate for data sets: 0 when all is well, 1 with the list of what is off, 2 when the command makes no sense."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_folder
import trees
from PIL import Image

from benchmarks.pascal_voc import PascalVOC
from harness.checks.__main__ import main
from harness.checks.benchmark_walk import evenly_chosen
from harness.checks.with_words import settings_of_words
from harness.contracts import Sample
from harness.errors import SettingsError

VOC, PREFIX = "benchmarks.pascal_voc:PascalVOC", "VOCdevkit/VOC2012"


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if three images were the official number."""
    monkeypatch.setattr(PascalVOC, "official", {"val": (3, 5)})


def gate(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["benchmark", *arguments])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.usefixtures("official")
def test_sound_data(tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = trees.write_voc(tmp_path, rng)
    code, text = gate(capsys, VOC, "--with", f"root={tmp_path}", "split=val")
    assert code == 0
    assert "3 images (official: 3), 3 read" in text
    assert "3 sizes (height x width): heights 37 to 61, widths 40 to 75" in text
    assert "Nothing is off" in text
    void = sum(int((raw == 255).sum()) for raw, _ in drawn.values())
    dogs = sum(int((raw == 12).sum()) for raw, _ in drawn.values())
    assert re.search(rf"255 +\(ignored\) +3 +{void} ", text)
    assert re.search(rf"12 +dog +\d +{dogs} ", text)


@pytest.mark.usefixtures("official")
def test_everything_that_is_off_is_listed(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = sorted(trees.write_voc(tmp_path, rng))
    base = tmp_path / PREFIX
    (base / f"SegmentationClass/{keys[0]}.png").unlink()
    mask = np.array(Image.open(base / f"SegmentationClass/{keys[1]}.png"))
    mask[0, 0] = 99
    trees.save_palette(base / f"SegmentationClass/{keys[1]}.png", mask)
    trees.save_jpeg(base / f"JPEGImages/{keys[2]}.jpg", Image.new("RGB", (9, 8)))
    code, text = gate(capsys, VOC, "--with", f"root={tmp_path}")
    assert code == 1
    assert f"missing file {keys[0]}: " in text
    assert f"stray label {keys[1]}: " in text and "the label 99" in text
    assert f"size mismatch {keys[2]}: " in text
    assert "3 things are off: missing file 1, stray label 1, size mismatch 1" in text


def test_a_count_that_is_off(tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    trees.write_voc(tmp_path, rng)
    code, text = gate(capsys, VOC, "--with", f"root={tmp_path}")
    assert code == 1
    assert "count 3 images; the official split has 1449" in text
    assert "1 thing is off: count 1" in text


def test_a_count_in_circulation_is_a_note(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.write_voc(tmp_path, rng)
    monkeypatch.setattr(PascalVOC, "official", {"val": (2, 3)})
    code, text = gate(capsys, VOC, "--with", f"root={tmp_path}")
    assert code == 0
    assert "note 3 images; the official split has 2, and published work also uses 3" in text


def test_what_readers_log_is_shown(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.write_foodseg(tmp_path, rng)
    before = logging.getLogger().level, list(logging.getLogger().handlers)
    _, text = gate(capsys, "benchmarks.foodseg:FoodSeg", "--with", f"root={tmp_path}")
    assert "00000001.jpg: turned by its EXIF orientation 6" in text
    assert "00009999" in text
    assert (logging.getLogger().level, logging.getLogger().handlers) == before


def test_a_wrong_root_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = gate(capsys, VOC, "--with", f"root={tmp_path}")
    assert code == 1
    assert "looked for ImageSets/Segmentation in it" in text
    assert "1 thing is off: wrong root 1" in text


@pytest.mark.usefixtures("official")
def test_limit_reads_a_spread_sample(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = sorted(trees.write_voc(tmp_path, rng))
    (tmp_path / PREFIX / f"JPEGImages/{keys[1]}.jpg").unlink()
    code, text = gate(capsys, VOC, "--with", f"root={tmp_path}", "--limit", "2")
    assert (code, "3 images (official: 3), 2 read" in text) == (0, True)
    code, _ = gate(capsys, VOC, "--with", f"root={tmp_path}", "--limit", "3")
    assert code == 1


def test_spread() -> None:
    ids = [f"{number:03d}" for number in range(101)]
    assert evenly_chosen(ids, 3) == ("000", "050", "100")
    assert evenly_chosen(ids, 1) == ("000",)
    assert evenly_chosen(ids, None) == evenly_chosen(ids, 500) == tuple(ids)
    assert len(set(evenly_chosen(ids, 77))) == 77


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("benchmarks.pascal_voc:PascalVoc", "--with", "root=x"), "did you mean 'PascalVOC'"),
        (("benchmarks.pascal:PascalVOC",), "there is no module 'benchmarks.pascal'"),
        (("benchmarks.pascal_voc.PascalVOC",), "is not an address"),
        (("benchmarks.masks:LabelTable",), "cannot be used as a benchmark"),
        ((VOC,), "needs the setting 'root'"),
        ((VOC, "--with", "root=x", "spilt=val"), "did you mean 'split'?"),
        ((VOC, "--with", "root=x", "masks=none"), "it has SegmentationClass, SegmentationClassAug"),
        ((VOC, "--with", "root"), "write key=value"),
        ((VOC, "--with", "root=x", "root=y"), "gives 'root' twice"),
        ((VOC, "--with", "root=[x"), "the value is not YAML"),
    ],
)
def test_commands_that_make_no_sense(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str) -> None:
    code, text = gate(capsys, *arguments)
    assert code == 2
    assert says in text
    assert "Traceback" not in text


@pytest.mark.parametrize("limit", ["0", "-3", "some"])
def test_limits_that_make_no_sense(capsys: pytest.CaptureFixture[str], limit: str) -> None:
    with pytest.raises(SystemExit) as left:
        gate(capsys, VOC, "--with", "root=x", "--limit", limit)
    assert left.value.code == 2
    assert "--limit" in capsys.readouterr().err


def test_settings_are_values_of_yaml() -> None:
    words = ["root=/data/a=b", "label_offset=1", "flag=true", "none=null", "some=[1, x]"]
    expected = {"root": "/data/a=b", "label_offset": 1, "flag": True, "none": None, "some": [1, "x"]}
    assert settings_of_words(words) == expected
    with pytest.raises(SettingsError):
        settings_of_words(["a b=1"])


@dataclass(frozen=True)
class Strange:
    """A stranger's benchmark whose samples break the contract in one way each."""

    ids_given: tuple[str, ...] = ("a", "b", "c", "d", "e", "f")
    classes: tuple[str, ...] = ("cat", "dog")

    def ids(self) -> tuple[str, ...]:
        return self.ids_given

    def load(self, image_id: str) -> Sample:
        image, truth = np.zeros((3, 4, 3), np.uint8), np.ones((3, 4), np.uint8)
        if image_id == "a":
            truth[1, 1] = 3
        if image_id == "b":
            truth = truth.T
        if image_id == "c":
            image = image.astype(np.float32)
        if image_id == "d":
            raise ZeroDivisionError("by zero")
        return Sample("z" if image_id == "e" else image_id, image, truth)


def test_a_strangers_benchmark(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "strange", sys.modules[__name__])
    code, text = gate(capsys, "strange:Strange")
    assert code == 1
    for says in (
        "broken contract a: the truth holds 3 in 1 pixels; it may hold 0 to 2 and 255",
        "broken contract b: the truth is uint8 (4, 3); it must be uint8 or uint16 (3, 4)",
        "broken contract c: the image is float32 (3, 4, 3)",
        "broken contract d: ZeroDivisionError: by zero",
        "broken contract e: the sample calls itself 'z'",
        "5 things are off: broken contract 5",
    ):
        assert says in text
    code, text = gate(capsys, "strange:Strange", "--with", "ids_given=[f, b, f]", "classes=[cat, cat]")
    assert code == 1
    for says in ("ids() holds 1 text more than once: 'f'", "classes holds 1 text more than once: 'cat'"):
        assert says in text
    code, text = gate(capsys, "strange:Strange", "--with", "ids_given=[g, f]")
    assert code == 0 and "note ids() is not sorted" in text and "One size (height x width): 3 x 4" in text


def test_the_command_itself(tmp_path: Path, rng: np.random.Generator) -> None:
    """As a person types it; torch is not imported on the way, and a pipe gets the whole list."""
    trees.write_voc(tmp_path, rng)
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "harness.checks",
        "benchmark",
        VOC,
        "--with",
        f"root={tmp_path}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "count 3 images; the official split has 1449" in done.stdout
    assert not re.search(r"\| +torch\n", done.stderr)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("Folder", ""), ("Named", ""), ("Archive", ""),
        ("Sharded", ""),
        ("Hidden", "masks2.zip is opened for image '005', and a change in it would be missed"),
        ("Blind", "no file was seen to be opened for image '000': if there are any, let the benchmark name its files"),
        ("Forgetful", "000.npy is opened for image '000', and a change in it would be missed"),
    ],
)  # fmt: skip
def test_what_a_sweep_cannot_know_of_a_benchmarks_files_is_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, says: str
) -> None:
    root = toy_folder.write(tmp_path, images=6)
    (root / "note").write_text("")
    toy_folder.pack(root, range(6))
    for shard in range(3):
        toy_folder.pack(root, (2 * shard, 2 * shard + 1), name=f"masks{shard}.zip")
    code, text = gate(capsys, f"toy_folder:{kind}", "--with", f"root={root}")
    assert code == 0 and says in text and (says or "note" not in text), text
    assert ("is not there; mend `files`" in text) == (kind == "Forgetful")


@pytest.mark.parametrize("kind", ["Moody", "Counting"])
def test_an_image_that_is_another_when_it_is_loaded_again_is_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    root = toy_folder.write(tmp_path, images=6)
    if kind == "Counting":  # what it loads depends on what was loaded before
        monkeypatch.setattr(toy_folder.Moody, "load", counting(toy_folder.Blind.load))
    code, text = gate(capsys, "toy_folder:Moody", "--with", f"root={root}")
    assert code == 1
    assert re.search(r"another when loaded again 000: its (image|truth) is another when it is loaded again", text)
    assert re.search(r"\d things are off: another when loaded again \d", text)


def counting(load: Callable[[Any, str], Sample]) -> Callable[[Any, str], Sample]:
    seen: dict[int, int] = {}

    def loaded(self: Any, image_id: str) -> Sample:
        seen[id(self)] = seen.get(id(self), 0) + 1
        sample = load(self, image_id)
        return Sample(image_id, sample.image, np.where(sample.truth == seen[id(self)] % 3, 1, sample.truth))

    return loaded


def test_a_variable_that_a_benchmark_reads_is_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ids(_self: object) -> list[str]:
        return ["000", os.environ.get("TOY_SECOND", "001")]

    monkeypatch.setattr(toy_folder.Blind, "ids", ids)
    code, text = gate(capsys, "toy_folder:Blind", "--with", f"root={tmp_path}")
    assert code == 0
    assert "not in the id of toy_folder:Blind: it reads the environment variable TOY_SECOND; make it a setting" in text
