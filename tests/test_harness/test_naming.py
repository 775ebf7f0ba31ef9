"""Name sets and users' name files: the words they give, and a sentence with the path for each that does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_cells import Cell, reader

from harness.contracts import NameFile, ProtocolSettings, Recipe
from harness.errors import GridError
from harness.planning import plan as plans
from harness.protocol import naming

CLASSES = ("red", "green", "blue")


class Published:
    def names(self, name_set: str) -> list[list[str]]:
        return {"long": [["crimson", "red"], ["green"], ["blue"]], "short": [["red"]]}[name_set]


def test_own_names_are_the_classes_and_published_sets_are_the_benchmarks() -> None:
    assert naming.words("own", object(), CLASSES, "B") == (("red",), ("green",), ("blue",))
    assert naming.words("long", Published(), CLASSES, "B") == (("crimson", "red"), ("green",), ("blue",))
    with pytest.raises(GridError, match="B has no name set 'long': it has only its own class names"):
        naming.words("long", object(), CLASSES, "B")
    with pytest.raises(GridError, match="'short' has 1 entries for 3 classes"):
        naming.words("short", Published(), CLASSES, "B")


def test_a_list_is_in_order_and_a_mapping_by_class_in_yaml_and_json(tmp_path: Path) -> None:
    wanted = (("scarlet",), ("green", "lime"), ("blue",))
    (tmp_path / "a.yaml").write_text("- scarlet\n- [green, ' lime ']\n- blue\n")
    (tmp_path / "b.yml").write_text("blue: blue\nred: [scarlet]\ngreen: [green, lime]\n")
    (tmp_path / "c.JSON").write_text('[\n\t"scarlet", ["green", "lime"], "blue"\n]')
    (tmp_path / "d.json").write_text(json.dumps({"green": ["green", "lime"], "red": "scarlet", "blue": "blue"}))
    for name in ("a.yaml", "b.yml", "c.JSON", "d.json"):
        assert naming.is_file(name)
        file = naming.read_file(name, tmp_path)
        assert file.file == name and naming.words(file, object(), CLASSES, "B") == wanted
    assert not naming.is_file("sclip")


BAD = {
    "missing.yaml": (None, "no file"), "empty.yaml": (" \n", "is empty; give"), "word.yaml": ("red", "holds a list"),
    "none.json": ("[]", "holds a list"), "broken.json": ("[1,", "is not JSON"), "broken.yaml": ("[a", "not YAML"),
    "number.yaml": ("- 1\n- b\n- c", "class 1 needs a word"), "blank.json": ('["a", " ", "c"]', "class 2 needs a word"),
    "nothing.json": ('{"red": []}', "class 'red' needs a word"), "deep.json": ('[[["a"]]]', "class 1 needs a word"),
    "gone.json": (None, "cannot be read"), "boolean.yaml": ("- no\n- b\n- c", "in quotes if need be"),
    "tag.yaml": ("- !!python/name:os.system x", "tag"), "bytes.json": (b"\xff\xfe", "not UTF-8"),
    "nested.json": ("[" * 100000, "is not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_does_not_fit_is_named_in_one_sentence(tmp_path: Path, name: str) -> None:
    content, words = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(GridError) as caught:
        naming.read_file(name, tmp_path)
    assert words in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "huge.json").write_text('"' + "x" * 2**20 + '"')
    with pytest.raises(GridError, match=r"huge\.json is larger"):
        naming.read_file("huge.json", tmp_path)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (NameFile("n.yaml", (("a",),)), "n.yaml has 1 entries, but Boxes has 3 classes"),
        (NameFile("n.yaml", (("a",),), ("rde",)), "'rde', which is no class of Boxes; did you mean 'red'?"),
        (NameFile("n.yaml", (("a",),), ("red",)), "lacks 2 classes of Boxes, such as 'green'"),
    ],
)
def test_a_file_that_does_not_fit_the_benchmark_is_refused_while_planning(file: NameFile, words: str) -> None:
    with pytest.raises(GridError) as caught:
        plans.make("toy", [Cell(reader(1).method, protocol=ProtocolSettings(names=file))], 4)
    assert words in str(caught.value)


def test_words_are_in_the_run_its_record_and_its_id_and_the_files_name_is_not() -> None:
    def planned(names: str | NameFile) -> plans.PlannedRun:
        return plans.make("toy", [Cell(reader(1).method, protocol=ProtocolSettings(names=names))], 4).runs[0]

    own = planned("own")
    assert own.run.names == own.record["names"] == (("red",), ("green",), ("blue",))
    words = (("crimson", "red"), ("green",), ("blue",))
    one, two = planned(NameFile("a.yaml", words)), planned(NameFile("b/c.json", words))
    assert one.run.names == words and one.run.run_id == two.run.run_id != own.run.run_id
    assert planned(NameFile("a.yaml", own.run.names)).run.run_id == own.run.run_id
    assert planned(NameFile("a.yaml", words[::-1], CLASSES[::-1])).run.run_id == one.run.run_id


def test_a_benchmark_that_is_built_twice_keeps_its_words_apart() -> None:
    file = NameFile("n.json", (("a",), ("b",), ("c",)))
    cells = [
        Cell(reader(1).method, benchmark=Recipe.of("toy_world:Boxes", images=n), protocol=ProtocolSettings(names=names))
        for n in (4, 5)
        for names in ("own", file)
    ]
    runs = [planned.run for planned in plans.make("toy", cells, 4).runs]
    assert [run.names[0] for run in runs] == [("red",), ("a",), ("red",), ("a",)]
    assert len({run.run_id for run in runs}) == 4
