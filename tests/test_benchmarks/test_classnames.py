"""The shipped names are the published ones, in order, and a user's own file is taken or refused with a sentence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from benchmarks.classnames import Words, catalogue
from benchmarks.pascal_context import PascalContext
from benchmarks.pascal_voc import PascalVOC
from harness.contracts import DataError

# number of classes and sha256 (16 digits) of the JSON text of the lists that were collected from the named sources
PUBLISHED = (
    ("pascal_voc", "own", 20, "e5514fa221bd9217"),
    ("pascal_voc", "sclip", 20, "03f221c4e407543d"),
    ("pascal_voc", "clearclip", 20, "ad321aed7503dcc7"),
    ("pascal_voc", "sfp", 20, "0aae34184364d424"),
    ("pascal_voc", "maskclip", 20, "c7d60e64fff0d2da"),
    ("pascal_voc", "cat_seg", 20, "e5514fa221bd9217"),
    ("pascal_voc", "corrclip", 20, "677885814099b774"),
    ("pascal_context", "own", 59, "a1f576d93f4c4028"),
    ("pascal_context", "sclip", 59, "a1f576d93f4c4028"),
    ("pascal_context", "maskclip", 59, "5c3abdaea24307ca"),
    ("pascal_context", "groupvit", 59, "ec8426ae6b805d18"),
    ("pascal_context", "cat_seg", 59, "37ad8dd9093dcde0"),
    ("pascal_context", "corrclip", 59, "b2e1f27127caa435"),
    ("ade20k", "own", 150, "c3bc33f87b1b9bc2"),
    ("ade20k", "official", 150, "96e4ced90b6a19d5"),
    ("ade20k", "sclip", 150, "54de501704dd728c"),
    ("ade20k", "corrclip", 150, "64ae5f84a95553dd"),
    ("cityscapes", "own", 19, "7372894f337ec984"),
    ("cityscapes", "sclip", 19, "fd246b97d94b4cc6"),
    ("cityscapes", "sfp", 19, "dcb8dfa619b1f5b9"),
    ("foodpix", "own", 102, "a71226ea4e3a033e"),
    ("foodseg", "own", 103, "084c16fc44006805"),
    ("coco_stuff", "own", 171, "0ae624b3312f240a"),
    ("coco_stuff", "sclip", 171, "becd6d08455eb737"),
    ("coco_stuff", "corrclip", 171, "50fd1fbd3d97511e"),
    ("coco_stuff", "itaclip", 171, "b430c32cead5b2bd"),
    ("coco_stuff", "cat_seg", 171, "0ae624b3312f240a"),
    ("coco_stuff", "cliper", 171, "becd6d08455eb737"),
    ("coco_object", "own", 80, "1f2d2b7b4f9d7f8f"),
    ("coco_object", "sclip", 80, "ed8537162c3da3c0"),
    ("coco_object", "clearclip", 80, "1f2d2b7b4f9d7f8f"),
    ("coco_object", "proxyclip", 80, "1f2d2b7b4f9d7f8f"),
    ("coco_object", "corrclip", 80, "5c59ce12afabb7ec"),
    ("coco_object", "itaclip", 80, "79b931a331969301"),
    ("coco_object", "cliper", 80, "2796cdeb1ca2066f"),
    ("coco_object", "lposs", 80, "5cae4c7657636df9"),
    ("coco_object", "seg4diff", 80, "1f2d2b7b4f9d7f8f"),
    ("ade20k_full", "own", 847, "1ec584d44eb02267"),
    ("ade20k_full", "cat_seg", 847, "e0e14980df04bdcf"),
    ("ade20k_full", "proxyclip", 847, "f8b82a627e410d26"),
    ("ade20k_full", "synonyms", 847, "54d257f84fe74fbb"),
    ("pascal_context_full", "own", 459, "04da55965ff1efc9"),
    ("pascal_context_full", "cat_seg", 459, "04da55965ff1efc9"),
    ("pascal_context_full", "proxyclip", 459, "25df09b31f3030bb"),
)
OURS = (("foodpix", "clean"), ("foodseg", "clean"))


@pytest.mark.parametrize("file, name_set, count, digest", PUBLISHED)
def test_published_names(file: str, name_set: str, count: int, digest: str) -> None:
    names = catalogue(file).names(name_set)
    text = json.dumps([list(words) for words in names])
    assert (len(names), hashlib.sha256(text.encode()).hexdigest()[:16]) == (count, digest)


def test_every_set_is_covered_and_has_its_source() -> None:
    tested = {(file, name_set) for file, name_set, _, _ in PUBLISHED} | set(OURS)
    shipped = {(file, name_set) for file in {file for file, _ in tested} for name_set in ("own", *catalogue(file).sets)}
    assert shipped == tested
    for path in Path("benchmarks/names").glob("*.json"):
        content = json.loads(path.read_text())
        assert content["version"] == 1
        for entry in [*content["sets"].values(), *content.get("background_words", {}).values()]:
            assert entry["version"] == 1
            assert entry["source"]


@pytest.mark.parametrize("file, name_set", [*[row[:2] for row in PUBLISHED], *OURS])
def test_words_are_words(file: str, name_set: str) -> None:
    names = catalogue(file).names(name_set)
    assert len(names) == len(catalogue(file).classes)
    for words in names:
        assert words
        assert len(set(words)) == len(words)
        assert all(word == " ".join(word.split()) and word and "{" not in word for word in words)


@pytest.mark.parametrize("file, name_set", OURS)
def test_clean_names_tell_the_classes_apart(file: str, name_set: str) -> None:
    usual = [words[0] for words in catalogue(file).names(name_set)]
    assert len(set(usual)) == len(usual)


def test_numbers_and_orders_of_pascal_context() -> None:
    facts = catalogue("pascal_context").facts
    classes = catalogue("pascal_context").classes
    numbers = facts["numbers_of_459"]
    assert list(classes) == sorted(classes)
    assert len(numbers) == 59 and list(numbers) == sorted(set(numbers)) and numbers[0] == 2 and numbers[-1] == 458
    assert sorted(facts["voc_first"]) == list(classes) != list(facts["voc_first"])
    assert facts["voc_first"][:20] == (
        *catalogue("pascal_voc").classes[:10],
        "table",
        *catalogue("pascal_voc").classes[11:],
    )


def test_label_table_of_cityscapes() -> None:
    """The 34 entries: 19 train ids in rising order, and every class stands where the official names put it."""
    facts = catalogue("cityscapes").facts
    table, labels = facts["train_id_of_label_id"], facts["label_names"]
    assert len(table) == len(labels) == 34
    assert [train for train in table if train != 255] == list(range(19))
    assert [name for name, train in zip(labels, table, strict=True) if train != 255] == list(
        catalogue("cityscapes").classes
    )
    assert (labels[0], labels[7], labels[33], labels[29]) == ("unlabeled", "road", "bicycle", "caravan")


def test_background_words() -> None:
    voc = PascalVOC(root="x")
    assert len(voc.background_words("sclip")) == 26
    assert len(voc.background_words("cat_seg")) == 39
    assert not set(voc.background_words("cat_seg")) & set(voc.classes)
    with pytest.raises(DataError, match="has no background words 'mine'; there are: "):
        voc.background_words("mine")


def write_names(path: Path, names: dict[str, object]) -> str:
    path.write_text(json.dumps(names))
    return str(path)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_users_own_names(tmp_path: Path, suffix: str) -> None:
    context = PascalContext(root="x", layout="mat")
    own: dict[str, object] = {name: name.upper() for name in reversed(context.classes)}
    own["bag"] = ["hand bag", " purse "]
    names: Words = context.names(write_names(tmp_path / f"names{suffix}", own))
    assert names[:3] == (("AEROPLANE",), ("hand bag", "purse"), ("BED",))
    assert len(names) == 59


@pytest.mark.parametrize(
    "change, says",
    [
        ({"sofa": None}, "must give 'sofa' a word"),
        ({"sofa": []}, "must give 'sofa' a word"),
        ({"sofa": [True]}, "must give 'sofa' a word"),
        ({"sofa": " "}, "must give 'sofa' a word"),
        ({"soffa": "couch"}, "names 'soffa', which is no class of Pascal VOC 2012; did you mean 'sofa'?"),
    ],
)
def test_a_users_names_that_do_not_fit(tmp_path: Path, change: dict[str, object], says: str) -> None:
    voc = PascalVOC(root="x")
    path = write_names(tmp_path / "names.yaml", {**{name: name for name in voc.classes}, **change})
    with pytest.raises(DataError) as raised:
        voc.names(path)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "text, says",
    [
        ("sofa: couch\n", "lacks 19 classes of Pascal VOC 2012: aeroplane"),
        ("- sofa\n", "must map every class"),
        ("sofa: [\n", "is not YAML or JSON"),
        ("!!python/object/apply:os.system ['true']\n", "is not YAML or JSON"),
    ],
)
def test_files_that_are_no_names(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "names.yml"
    path.write_text(text)
    with pytest.raises(DataError) as raised:
        PascalVOC(root="x").names(str(path))
    assert says in str(raised.value)


def test_unknown_name_sets() -> None:
    with pytest.raises(DataError, match=r"has no name set .scilp.; it has own, .*maskclip, sclip, sfp, or give"):
        PascalVOC(root="x").names("scilp")
    with pytest.raises(DataError, match="cannot be read"):
        PascalVOC(root="x").names("nowhere/names.yaml")
