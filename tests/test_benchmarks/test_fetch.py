"""One command brings a data set to a machine, unpacks and gates it, or says what is to be done by hand."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trees
import yaml
from in_process import call
from unreliable_server import Server, md5, serving

from benchmarks import fetch as fetching
from benchmarks.archives import KNOWN, Archive, Obtainable
from benchmarks.download import CannotFetch
from harness.checks.__main__ import main as checks
from harness.contracts import Recipe
from harness.recipes import loading


def pack(tree: Path, archive: Path) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as tape:
        tape.add(tree, tree.name)
    return archive


def in_this_process(use: str, settings: Mapping[str, Any], limit: int | None) -> int:
    """The gate, without a process of its own."""
    words = [f"{name}={value}" for name, value in settings.items()]
    return checks(["benchmark", use, "--with", *words])


def test_a_data_set_is_fetched_unpacked_gated_and_told(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = trees.write_voc(tmp_path / "made", rng)
    archive = pack(tmp_path / "made/VOCdevkit", tmp_path / "voc.tar")
    with serving(Server(archive.read_bytes(), cuts=[1_000, 5_000])) as server:
        known = Obtainable(
            "PAS-20", "benchmarks.pascal_voc:PascalVOC", "VOCdevkit", {"split": "val"},
            (Archive("voc.tar", "", "VOCdevkit/VOC2012/JPEGImages", f"{server.address}/f", md5(server.data)),),
        )  # fmt: skip
        for _ in range(2):
            code = fetching.obtain(known, tmp_path / "data", loopback=True, pause=0, gate=in_this_process)
            told = capsys.readouterr().out
            assert code == 1 and f"{len(drawn)} images; the official split has 1449" in " ".join(told.split())
        assert server.asked == [None, 1_000, 6_000]
    entry = yaml.safe_load(told.partition("For the grid:")[2])["benchmarks"][0]
    benchmark = loading.build(Recipe.of(entry["use"], **entry["with"]))
    assert list(benchmark.ids()) == sorted(drawn)


def test_what_cannot_be_fetched_is_told_and_taken_once_it_is_brought(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "run_gate", in_this_process)
    drawn = trees.write_ade(tmp_path / "made", rng)
    command = ["ade20k", "--root", str(tmp_path / "data")]
    assert fetching.main(command) == 1
    told = capsys.readouterr().out
    assert f"bring ADEChallengeData2016.zip to {tmp_path}/data/archives, from http://sceneparsing" in told
    pack(tmp_path / "made/ADEChallengeData2016", tmp_path / "data/archives/ADEChallengeData2016.zip")
    assert fetching.main(command) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert f"{len(drawn)} images; the official split has 2000" in told and "use: benchmarks.ade20k:ADE20K" in told
    pack(tmp_path / "made", tmp_path / "data/archives/leftImg8bit_trainvaltest.zip")
    assert fetching.main(["cityscapes", *command[1:]]) == 2
    assert "was unpacked and holds no leftImg8bit: it is another archive" in capsys.readouterr().err


def test_a_list_that_is_brought_with_its_checksum(tmp_path: Path) -> None:
    one = Archive("list.txt", "sub", "sub/list.txt", md5=md5(b"a\n"), by_hand="somebody", single=True)
    assert "bring list.txt to" in fetching.bring(one, tmp_path)
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/list.txt").write_bytes(b"b\n")
    with pytest.raises(CannotFetch, match="is not the file that was promised"):
        fetching.bring(one, tmp_path)
    (tmp_path / "archives/list.txt").write_bytes(b"a\n")
    assert fetching.bring(one, tmp_path) == "" and (tmp_path / "sub/list.txt").read_bytes() == b"a\n"


def test_data_of_ones_own_in_place_is_not_fetched_again(tmp_path: Path) -> None:
    one = Archive("x.tar", "", "VOCdevkit/VOC2012", "http://nowhere.invalid/x.tar", "0" * 32)
    (tmp_path / "VOCdevkit/VOC2012").mkdir(parents=True)
    assert fetching.bring(one, tmp_path) == "" and not (tmp_path / "archives").exists()


WRITERS: dict[str, Callable[[Path, np.random.Generator], Any]] = {
    "pascal_voc": trees.write_voc,
    "pascal_context": lambda root, rng: trees.write_context_json(root, rng, [0, 2, 9, 300]),
    "pascal_context_full": lambda root, rng: trees.write_context_mat(root, rng, [1, 2, 459]),
    "coco_stuff": lambda root, rng: trees.write_coco(root / "coco", rng, {"": [0, 91, 255]})[""],
    "coco_object": lambda root, rng: trees.write_coco(root / "coco", rng, {"": [0, 91, 255]})[""],
    "ade20k": trees.write_ade,
    "cityscapes": lambda root, rng: trees.write_cityscapes(root / "cityscapes", rng, "labelIds", [0, 7, 33]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_unpacked_is_what_the_reader_reads(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    known, made, root = KNOWN[name], tmp_path / "made", tmp_path / "data"
    drawn = WRITERS[name](made, rng)
    (root / "archives").mkdir(parents=True)
    for one in known.archives:
        if one.train:
            continue
        if one.single:
            shutil.copyfile(made / one.makes, root / "archives" / one.name)
        else:
            top = Path(one.makes).relative_to(one.into).parts[0]
            pack(made / one.into / top, root / "archives" / one.name)
        assert fetching.bring(replace(one, address="", md5=""), root) == ""
    reader: Any = loading.build(Recipe.of(known.use, root=str(root / known.root), **known.settings))
    assert list(reader.ids()) == sorted(drawn) and reader.load(reader.ids()[0]).image.ndim == 3


@pytest.mark.parametrize("name", KNOWN)
def test_the_table_of_archives_is_what_the_pages_say(name: str) -> None:
    known, page = KNOWN[name], Path("docs/data", f"{name}.md").read_text("utf-8")
    loading.build(Recipe.of(known.use, root="x", **known.settings))
    assert bool(known.archives) != bool(known.by_hand) and f"fetch {name} " in page
    pages = page + Path("docs/data/coco_stuff.md").read_text("utf-8") * (name == "coco_object")
    pages += Path("docs/data/pascal_context.md").read_text("utf-8") * (name == "pascal_context_full")
    for one in known.archives:
        assert one.md5 in pages and one.name in pages
        assert (one.address.startswith("http") and len(one.md5) == 32) != bool(one.by_hand)


def test_the_command_knows_every_data_set(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert KNOWN.keys() == {path.stem for path in Path("benchmarks/names").glob("*.json")}
    assert fetching.main(["pascal_vok", "--root", str(tmp_path)]) == 2
    assert "there is no data set 'pascal_vok'; did you mean 'pascal_voc'?" in capsys.readouterr().err
    assert fetching.main(["foodpix", "--root", str(tmp_path)]) == 1
    assert "To do by hand: get UECFoodPix Complete at https://" in capsys.readouterr().out


@pytest.mark.parametrize("inside", ["", "below"])
def test_a_root_that_is_a_file_is_told(inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert fetching.main(["pascal_voc", "--root", str(tmp_path / "taken" / inside)]) == 2
    told = f"{tmp_path / 'taken'} is a file; --root is the folder below which data sets lie.\n"
    assert capsys.readouterr().err == told


def test_the_gate_is_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "UECFOODPIXCOMPLETE").mkdir()
    run: list[list[str]] = []

    def ran(command: list[str], **_: Any) -> Any:
        run.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", ran)
    answer = call(fetching.main, "foodpix", "--root", tmp_path, "--limit", 7)
    assert answer.returncode == 0 and "name: FoodPix" in answer.stdout
    (command,) = run
    assert command[:3] == [sys.executable, "-m", "harness.checks"]
    assert checks(command[3:]) == 1  # the words are the gate's
