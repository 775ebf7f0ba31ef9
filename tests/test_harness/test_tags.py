"""Tags frozen in a file: written from any tagger by a command, offered by image id, and never in others' columns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import call, door
from toy_cells import Cell, reader

from harness import tags
from harness.contracts import MethodError, ModelError, ProtocolSettings, Recipe, Vocabulary
from harness.errors import GridError
from harness.grid import reading
from harness.planning import plan as plans
from harness.protocol.offering import tagged
from harness.protocol.rules import effective
from harness.work.worker import ShardWorker
from methods.tag_file import TagFile, digest_of_tags
from results.folder.protocols import differences, protocol_text
from results.folder.store import Store

GRID = """\
name: tags
methods:
- {name: Reader, use: 'toy_world:ToyReader'%s}
benchmarks:
- {name: Boxes, use: 'toy_world:Boxes', with: {images: 6}}
protocol: %s
"""
COLOURS = "{vocabulary: predicted, tagger: {use: 'toy_taggers:Colours', with: {share: 0.26}}}"
NAMES = Vocabulary((("red",), ("green", "lime"), ("blue",)))


def grid(folder: Path, protocol: str, more: str = "") -> str:
    (folder / "grid.yaml").write_text(GRID % (more, protocol))
    return "grid.yaml"


def freeze(folder: Path, *more: str) -> Path:
    answer = call(tags.main, grid(folder, COLOURS), "Boxes", "--out", "tags.json", *more, cwd=folder)
    assert answer.returncode == 0, answer.stderr
    return folder / "tags.json"


def test_what_a_tagger_says_is_written_and_gives_the_same_counts(tmp_path: Path) -> None:
    held = json.loads(freeze(tmp_path).read_text())
    assert held["classes"] == ["red", "green", "blue"] and sorted(held["images"]) == [f"{n:03d}" for n in range(6)]
    assert len({len(one) for one in held["images"].values()}) > 1
    asked = {}
    for name, protocol in (("predicted", COLOURS), ("given", "{vocabulary: {file: tags.json}}")):
        answer = door(grid(tmp_path, protocol), "--results", name, cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        rows = Store.open(tmp_path / name, create=False).rows()
        asked[name] = rows.sort("image_id").select("image_id", "true", "predicted", "pixels", "status").to_dicts()
    assert asked["predicted"] == asked["given"] and {row["status"] for row in asked["given"]} == {"ok"}


def test_another_tagger_and_fewer_images_can_be_asked_for(tmp_path: Path) -> None:
    some = freeze(tmp_path, "--tagger", "toy_taggers:Colours", "--with", "share=0.9", "--limit", "2")
    assert list(json.loads(some.read_text())["images"].items()) == [("000", []), ("001", [])]
    answer = call(tags.main, "grid.yaml", "Boxs", "--out", "tags.json", cwd=tmp_path)
    assert (answer.returncode, "did you mean 'Boxes'" in answer.stderr) == (2, True)
    answer = call(tags.main, "grid.yaml", "Boxes", "--out", "x.json", "--tagger", "toy_world:Flat", cwd=tmp_path)
    assert (answer.returncode, "it has no `tags`" in answer.stderr) == (2, True)


def test_a_tagger_that_raises_is_a_sentence_and_draws_are_a_sweeps(tmp_path: Path) -> None:
    (tmp_path / "odd_taggers.py").write_text(
        "import random\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n\n\n@dataclass(frozen=True)\n"
        "class Odd:\n    version: ClassVar[int] = 1\n    fails: bool = False\n\n"
        "    def tags(self, image, vocabulary):\n        if self.fails:\n            raise RuntimeError('no tags')\n"
        "        return random.sample(range(len(vocabulary)), random.randint(1, len(vocabulary)))\n"
    )
    words = [grid(tmp_path, "{vocabulary: all, background: ignored}"), "Boxes", "--tagger", "odd_taggers:Odd", "--out"]
    failed = call(tags.main, *words, "none.json", "--with", "fails=true", cwd=tmp_path)
    assert failed.returncode == 2 and "Traceback" not in failed.stderr and not (tmp_path / "none.json").exists()
    assert "odd_taggers:Odd failed on image 000: RuntimeError: no tags" in failed.stderr
    for name in ("one.json", "two.json"):
        assert call(tags.main, *words, name, cwd=tmp_path).returncode == 0
    held = (tmp_path / "one.json").read_bytes()
    assert held == (tmp_path / "two.json").read_bytes() and len(set(map(str, json.loads(held)["images"].values()))) > 1


def test_the_content_of_the_file_is_in_the_id_and_its_place_is_not(tmp_path: Path) -> None:
    def run_id(file: str) -> str:
        found = reading.read_grid(tmp_path / grid(tmp_path, f"{{vocabulary: {{file: {file}}}}}"))
        return plans.make("x", found.cells, 2, folder=found.folder).runs[0].run.run_id

    freeze(tmp_path)
    (tmp_path / "moved.json").write_bytes((tmp_path / "tags.json").read_bytes())
    first = run_id("tags.json")
    assert run_id("moved.json") == first
    held = json.loads((tmp_path / "tags.json").read_text())
    held["images"]["000"] = held["classes"]
    (tmp_path / "tags.json").write_text(json.dumps(held))
    assert run_id("tags.json") != first


def test_all_present_predicted_and_given_never_share_a_column(tmp_path: Path) -> None:
    freeze(tmp_path)
    (tmp_path / "other.json").write_text('{"000": ["red"]}')
    protocols = ["all", "present", "{file: tags.json}", "{file: other.json}"]
    found = []
    for one in [*(f"{{vocabulary: {name}}}" for name in protocols), COLOURS]:
        read = reading.read_grid(tmp_path / grid(tmp_path, one))
        (planned,) = plans.make("x", read.cells, 2, folder=read.folder).runs
        found.append(planned.run.protocol)
    texts = {protocol_text({**one.__dict__, "tagger": _told(one)}) for one in found}
    assert len(texts) == len(found)
    assert "vocabulary" in differences({"vocabulary": "given"}, {"vocabulary": "predicted"})


def _told(one: ProtocolSettings) -> object:
    return None if one.tagger is None else {"use": one.tagger.use, "settings": one.tagger.settings}


def test_a_file_of_ones_own_maps_ids_to_words(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"a/1": ["blue", "lime"], "b": []}')
    tagger = TagFile(str(file), digest_of_tags(file.read_bytes()))
    rules = ProtocolSettings("given")
    assert tagged(tagger, None, NAMES.names, rules, "a/1") == (2, 3)  # type: ignore[arg-type]
    assert tagged(tagger, None, NAMES.names, rules, "b") == ()  # type: ignore[arg-type]
    with pytest.raises(MethodError, match="say nothing of the image 'c'"):
        tagger.tags(None, NAMES, "c")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"b": ["purple"]}', "name 'purple', which is no class"),
        ('{"classes": ["red"], "images": {"b": ["red"]}}', "are of 1 classes, and the benchmark has 3"),
        ('{"classes": ["a", "a", "c"], "images": {"b": ["a"]}}', "'a', which is a word of several classes"),
        ('{"b": "red"}', "no file of tags"), ("[1]", "no file of tags"), ("{", "no file of tags"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_a_sentence(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(content)
    with pytest.raises((MethodError, ModelError), match=words):
        TagFile(str(file)).tags(None, NAMES, "b")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="are not those that were planned"):
        TagFile(str(file), "0" * 32).open_models()
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        TagFile(str(tmp_path / "none.json")).open_models()


def test_an_image_that_the_file_lacks_is_a_failed_row(tmp_path: Path) -> None:
    file = tmp_path / "few.json"
    file.write_text('{"000": ["red"]}')
    protocol = effective(ProtocolSettings("given", tagger=Recipe.of("methods.tag_file:TagFile", file=str(file))))
    cell: Cell = replace(reader(1), benchmark=Recipe.of("toy_world:Boxes", images=2), protocol=protocol)
    (shard,) = plans.make("x", [cell], 2).shards(9)
    rows = [row for done in ShardWorker().run(shard) for row in done.rows]
    assert [row.status for row in rows] == ["ok", "failed"] and "nothing of the image '001'" in str(rows[1].error)


def test_a_file_that_is_not_there_or_stands_beside_a_tagger_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(GridError, match=r"line 6: .*none\.json cannot be read.*harness\.tags"):
        reading.read_grid(tmp_path / grid(tmp_path, "{vocabulary: {file: none.json}}"))
    (tmp_path / "tags.json").write_text("{}")
    both = "{vocabulary: {file: tags.json}, tagger: {use: 'toy_taggers:Colours'}}"
    with pytest.raises(GridError, match=r"line 6: .*given by a file: leave the tagger out"):
        reading.read_grid(tmp_path / grid(tmp_path, both))
    with pytest.raises(GridError, match=r"vocabulary.*'predicted'"):
        reading.read_grid(tmp_path / grid(tmp_path, "{vocabulary: predictd}"))


def test_a_method_that_means_another_vocabulary_does_not_read_the_file(tmp_path: Path) -> None:
    (tmp_path / "tags.json").write_text("{}")
    found = reading.read_grid(
        tmp_path / grid(tmp_path, "{vocabulary: {file: tags.json}}", ", protocol: {vocabulary: predicted}")
    )
    assert found.cells[0].protocol.vocabulary == "predicted"
    assert found.cells[0].protocol.tagger == Recipe.of("methods.clip_tagger:ClipTagger")


def test_a_file_that_lacks_images_is_told_by_the_plan(tmp_path: Path) -> None:
    (tmp_path / "tags.json").write_text(json.dumps({f"{number:03d}": ["red"] for number in (0, 3)}))
    given = grid(tmp_path, "{vocabulary: {file: tags.json}}")
    said = "The tagger has nothing for 4 images of Boxes, which will fail: 001, 002, 004, 005."
    planned = door(given, "--plan", cwd=tmp_path)
    assert planned.returncode == 0 and said in " ".join(planned.stdout.split())
    assert "has nothing" not in door(given, "--plan", "--limit", "1", cwd=tmp_path).stdout
    swept = door(given, cwd=tmp_path)
    assert swept.returncode == 3 and said in " ".join(swept.stdout.split())
    assert "say nothing of the image '001'" in swept.stderr
