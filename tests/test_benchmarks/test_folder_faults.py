"""Whatever is wrong in a folder or in its settings is told in one sentence, with the file and the value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import trees
from PIL import Image

from benchmarks.folder import Folder
from benchmarks.patterns import MASK_ENDINGS, Pattern
from harness.contracts import DataError, Recipe
from harness.errors import SettingsError
from harness.recipes import loading

ROWS, COLUMNS = 7, 11
ABC: dict[str, Any] = {"classes": ("a", "b", "c")}
COCO: dict[str, Any] = {"annotations": "a.json"}
COLOURS: dict[str, Any] = {"classes": ("a",), "labels": {"#ff0000": "a"}}
Damage = Callable[[Path], object]


class Case(NamedTuple):
    name: str
    settings: dict[str, Any]
    damage: Damage
    kind: str
    says: str
    loads: bool = True  # else ids() says it


def sound(root: Path) -> None:
    """Two images with grey masks 0 to 2, and annotations of both."""
    for key in ("x", "y"):
        for folder in ("images", "masks"):
            (root / folder).mkdir(exist_ok=True)
        Image.new("RGB", (COLUMNS, ROWS)).save(root / f"images/{key}.png")
        mask(np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(np.uint8) % 3, key)(root)
    annotate()(root)


def mask(values: np.ndarray, name: str = "x", **options: Any) -> Damage:
    """Another mask in place of a sound one."""

    def write(root: Path) -> None:
        path = root / "masks" / (name if "." in name else f"{name}.png")
        (root / "masks/x.png").unlink(missing_ok=True) if path.stem == "x" else None
        Image.fromarray(values).save(path, **options)

    return write


def npy(values: np.ndarray) -> Damage:
    def write(root: Path) -> None:
        (root / "masks/x.png").unlink()
        np.save(root / "masks/x.npy", values, allow_pickle=True)

    return write


def wrote(name: str, content: bytes | str) -> Damage:
    data = content.encode() if isinstance(content, str) else content
    return lambda root: (root / name).write_bytes(data)


def annotate(**changes: Any) -> Damage:
    """annotations in COCO's form with some rows changed: `category`, `image`, `annotation`, or a whole key."""
    rows: dict[str, dict[str, Any]] = {
        "image": {"id": 1, "file_name": "x.png", "height": ROWS, "width": COLUMNS},
        "category": {"id": 1, "name": "a"},
        "annotation": {"id": 5, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 4]]},
    }
    for key in rows:
        rows[key] |= changes.pop(key, {})
    content: dict[str, Any] = {
        "images": [rows["image"]], "categories": [rows["category"]], "annotations": [rows["annotation"]], **changes,
    }  # fmt: skip
    return lambda root: (root / "a.json").write_text(json.dumps(content))


def outline(segmentation: Any) -> Damage:
    return annotate(annotation={"segmentation": segmentation})


def nothing(root: Path) -> None:
    pass


RED = np.zeros((ROWS, COLUMNS, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
GREY = np.zeros((ROWS, COLUMNS), np.uint8)
IN_FOLDER = (
    Case("no root", ABC | {"root": "nowhere"}, nothing, "wrong root", "the folder does not exist", False),
    Case("wrong folder", ABC | {"images": "imgs"}, nothing, "broken list",
         "none fits 'imgs' (in its folder: no file)", False),
    Case("three words in a list", ABC | {"split": "list.txt"}, lambda root: (root / "list.txt").write_text("x a b\n"),
         "broken list", "entry 1: 'x a b' has 3 words; a line is an image, or an image and its mask", False),
    Case("wrong ending", ABC | {"masks": "masks/*_lbl.png"}, nothing, "broken list",
         "(in its folder: 2 x .png)", False),
    Case("nothing in common", ABC | {"images": "images/*.png", "masks": "*/x.png"}, nothing, "broken list",
         "No image of 'images/*.png' has a mask of '*/x.png'", False),
    Case("an image alone", ABC, lambda root: (root / "masks/y.png").unlink(), "broken list",
         "1 images without a mask (images/y.png); list those that are meant", False),
    Case("a mask alone", ABC, lambda root: (root / "images/y.png").unlink(), "broken list",
         "1 masks without an image (masks/y.png)", False),
    Case("two files of one id", ABC, lambda root: Image.new("RGB", (2, 2)).save(root / "images/x.jpg"), "broken list",
         "are both the file of 'x'; give 'images' an ending", False),
    Case("no list", ABC | {"split": "val.txt"}, nothing, "broken list",
         "val.txt does not exist: there is no such split", False),
    Case("an empty list", ABC | {"split": "l.txt"}, wrote("l.txt", "\n \n"), "broken list", "names no image", False),
    Case("a list of bytes", ABC | {"split": "l.txt"}, wrote("l.txt", b"\xff\xfe\xfa"), "broken list",
         "not a text file", False),
    Case("a doubled entry", ABC | {"split": "l.txt"}, wrote("l.txt", "x\nx.png\n"), "broken list",
         "more than once: x", False),
    Case("a list that leads out", ABC | {"split": "l.txt"}, wrote("l.txt", "x\n../../etc/passwd\n"), "broken list",
         "entry 2: '../../etc/passwd' leads out", False),
    Case("a mask that leads out", ABC | {"split": "l.txt"}, wrote("l.txt", "images/x.png masks/../../m.png\n"),
         "broken list",
         "entry 1: 'images/x.png masks/../../m.png' leads out", False),
    Case("a backslash", ABC | {"split": "l.txt"}, wrote("l.txt", "..\\x\n"), "broken list", "leads out", False),
    Case("an id of another shape", ABC | {"split": "l.txt", "images": "images/*.png", "masks": "masks/*.png"},
         wrote("l.txt", "deep/x\n"), "broken list", "entry 1: 'deep/x' is no image of 'images/*.png'", False),
    Case("a listed mask is missing", ABC | {"split": "l.txt", "masks": "masks/*.png"},
         lambda root: (wrote("l.txt", "x\n")(root), (root / "masks/x.png").unlink()), "missing file",
         "masks/x.png does not exist; it should be the mask of 'x'"),
    Case("a listed image is missing", ABC | {"split": "l.txt"},
         lambda root: (wrote("l.txt", "x\n")(root), (root / "images/x.png").unlink()), "missing file",
         "images/x.jpg does not exist; it should be the image of 'x'"),
    Case("no class file", {"classes": "c.txt"}, nothing, "broken list",
         "c.txt does not exist; it should be the classes", False),
    Case("an empty line among classes", {"classes": "c.txt"}, wrote("c.txt", "a\n\nb\n"), "broken list",
         "c.txt, line 2 is empty, after 'a'", False),
    Case("a doubled key of labels", {"classes": ["a", "b"], "labels": "l.yaml"}, wrote("l.yaml", "0: a\n0: b\n"),
         "broken list", "the key '0' is given twice", False),
    Case("a doubled key in JSON", {"classes": ["a", "b"], "labels": "l.json"}, wrote("l.json", '{"0": "a", "0": "b"}'),
         "broken list", "the key '0' is given twice", False),
    Case("an empty class file", {"classes": "c.txt"}, wrote("c.txt", "\n"), "broken list", "should hold a list", False),
    Case("a class file of numbers", {"classes": "c.yaml"}, wrote("c.yaml", "[1, 2]"), "broken list",
         "in quotes", False),
    Case("a class file that is no YAML", {"classes": "c.yaml"}, wrote("c.yaml", "[a"), "broken list",
         "not YAML or JSON", False),
    Case("a class file with code", {"classes": "c.yaml"}, wrote("c.yaml", "!!python/object/apply:os.getcwd []"),
         "broken list", "not YAML or JSON", False),
    Case("a table that is a list", ABC | {"labels": "l.yaml"}, wrote("l.yaml", "[a]"), "broken list",
         "should map values", False),
    Case("a table with a strange row", ABC | {"labels": "l.csv"}, wrote("l.csv", "name,r,g,b\na,1,2\n"), "broken list",
         "row 2: 'a, 1, 2' is not `class, value`", False),
    Case("a table that repeats itself", ABC | {"labels": "l.csv"}, wrote("l.csv", "a,1\nb,1\n"), "broken list",
         "row 2: 1 stands for 'a' already", False),
    Case("a table of other classes", ABC | {"labels": "l.csv"}, wrote("l.csv", "a,1\nbb,2\n"), "broken list",
         "labels name 'bb', which is none of the classes", False),
    Case("a stray value", {"classes": ("a", "b")}, nothing, "stray label",
         "masks/x.png has the label 2 in 25 pixels, first at row 0, column 2; labels of the folder"),
    Case("255 is a value like others", ABC, mask(GREY + 255), "stray label",
         "are 0 to 2; say what others are: `labels`, `ignore`, `background`, or `first`"),
    Case("a value above 16 bits", ABC, npy(np.full((ROWS, COLUMNS), 70000)), "stray label", "has the label 70000"),
    Case("a negative value", ABC, npy(np.full((ROWS, COLUMNS), -1)), "stray label", "has the label -1"),
    Case("a stray colour", COLOURS, mask(RED // 2), "stray label",
         "has the colour #7f0000 in 77 pixels, first at row 0"),
    Case("colours without a table", ABC, mask(RED), "wrong mode", "Give `labels` by colour, or `channel:` red"),
    Case("values with a table of colours", COLOURS, nothing, "wrong mode",
         "has the mode L and no colours; give `labels` by value"),
    Case("a see-through mask", COLOURS, mask(np.concatenate([RED, GREY[..., None]], 2)), "wrong mode",
         "is see-through"),
    Case("channels that differ", ABC | {"channel": "same"}, mask(RED), "wrong mode", "are not the same everywhere"),
    Case("a channel of grey", ABC | {"channel": "red"}, nothing, "wrong mode", "should have colours with red"),
    Case("a JPEG as a mask", ABC, lambda root: Image.fromarray(GREY).save(root / "masks/x.png", "JPEG"), "wrong mode",
         "is a JPEG, which changes labels"),
    Case("a grey mask of 4 bits", ABC, lambda root: (root / "masks/x.png").write_bytes(four_bits()), "wrong mode",
         "has 4 bits a channel"),
    Case("a TIFF turned round", ABC, mask(GREY, "x.tif", tiffinfo={262: 0}), "wrong mode", "0 means white"),
    Case("one pattern for both", ABC | {"images": "all", "masks": "all"}, lambda root: None, "broken list",
         "are both 'all': say what tells their names apart, such as all/*_image.png and all/*_mask.png", loads=False),
    Case("a TIFF of pages", ABC, mask(GREY, "x.tif", save_all=True, append_images=[Image.fromarray(GREY)]),
         "wrong mode", "x.tif is a TIFF of 2 pages, and a picture is one; save the one that is meant alone"),
    Case("a TIFF of fractions", ABC, mask(GREY.astype(np.float32), "x.tif"), "wrong mode", "has the mode F"),
    Case("an array of fractions", ABC, npy(GREY.astype(float)), "wrong mode", "holds float64 of shape (7, 11)"),
    Case("an array of three axes", ABC, npy(GREY[None]), "wrong mode", "of shape (1, 7, 11)"),
    Case("an array of objects", ABC, npy(np.array([[{}]], object)), "wrong mode", "holds Python objects"),
    Case("an array that is cut", ABC, lambda root: (npy(GREY)(root), cut(root / "masks/x.npy", 100)), "unreadable file",
         "is not a sound NPY file"),
    Case("a mask that is cut", ABC, lambda root: cut(root / "masks/x.png", 40), "unreadable file",
         "truncated or damaged"),
    Case("an empty mask", ABC, wrote("masks/x.png", b""), "unreadable file", "is empty (0 bytes)"),
    Case("a mask that is text", ABC, wrote("masks/x.png", b"0 1 2"), "unreadable file",
         "is not a PNG or TIFF or BMP file"),
    Case("another size", ABC, mask(GREY[:-1]), "size mismatch", "is 7 x 11 (height x width) and its mask is 6 x 11"),
    Case("an image that is text", ABC, wrote("images/x.png", b"x"), "unreadable file",
         "images/x.png is not a JPEG or PNG"),
    Case("names without annotations", ABC | {"labels": {"cat": "a"}}, nothing, "broken list",
         "which only annotations have", False),
)  # fmt: skip
IN_ANNOTATIONS = (
    Case("no file", {}, lambda root: (root / "a.json").unlink(), "missing file", "a.json does not exist", False),
    Case("no JSON", {}, wrote("a.json", "{"), "unreadable file", "is not sound JSON", False),
    Case("too deep", {}, wrote("a.json", "[" * 9**6), "unreadable file", "is not sound JSON", False),
    Case("a list", {}, wrote("a.json", "[]"), "broken list", "is not in COCO's form", False),
    Case("no categories", {}, wrote("a.json", '{"images": []}'), "broken list", "'categories' is missing", False),
    Case("no size", {}, annotate(image={"height": 0}), "broken list", "the size 0 x 11", False),
    Case("a huge image", {}, annotate(image={"height": 10**6, "width": 10**6}), "unreadable file",
         "pixels, the limit", False),
    Case("a name that leads out", {}, annotate(image={"file_name": "../x.png"}), "broken list",
         "'../x.png' leads out", False),
    Case("an absolute name", {}, annotate(image={"file_name": "/x.png"}), "broken list", "'/x.png' leads out", False),
    Case("images twice", {}, annotate(images=[{"id": n, "file_name": "x.png", "height": 7,
         "width": 11} for n in (1, 2)]),
         "broken list", "more than once: x", False),
    Case("categories of one id", {}, annotate(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]),
         "broken list", "gives 1 of its categories one id twice: 1", False),
    Case("images of one id", {}, annotate(images=[{"id": 1, "file_name": f"{name}.png", "height": 7, "width": 11}
                                                  for name in "xy"]),
         "broken list", "gives 1 of its images one id twice: 1", False),
    Case("no such image", {}, annotate(annotation={"image_id": 9}), "broken list", "of the image 9", False),
    Case("no such category", {}, annotate(annotation={"category_id": 9}), "broken list", "has the category 9", False),
    Case("categories twice", {}, annotate(categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]), "broken list",
         "has several categories of one name among a, a", False),
    Case("a category that is no class", {"classes": ("b",)}, nothing, "broken list",
         "has the category 'a', which is no class", False),
    Case("labels by value", {"classes": ("b",), "labels": {"1": "b"}}, nothing, "broken list", "not by value", False),
    Case("a list of others", {"split": "l.txt"}, wrote("l.txt", "z.png\n"), "broken list",
         "lists 'z', which is no image", False),
    Case("two corners", {}, outline([[1, 1, 5, 1]]), "unreadable file",
         "annotation 5 of 'x.png', has a broken outline: a polygon has 4"),
    Case("half a corner", {}, outline([[1, 1, 5, 1, 5, 4, 2]]), "unreadable file", "a polygon has 7 numbers"),
    Case("corners in words", {}, outline([["a", "b"]]), "unreadable file", "is a list of numbers"),
    Case("corners nowhere", {}, outline([[1, 1, 1e9, 1, 5, 4]]), "unreadable file", "in no image"),
    Case("no polygon", {}, outline([]), "unreadable file", "it has no polygon"),
    Case("short runs", {}, outline({"size": [ROWS, COLUMNS], "counts": [5, 5]}), "unreadable file",
         "the runs cover 10 pixels"),
    Case("foreign runs", {}, outline({"size": [ROWS, COLUMNS], "counts": "é"}), "unreadable file",
         "no character of run lengths"),
    Case("runs of another size", {}, outline({"size": [COLUMNS, ROWS], "counts": [77]}), "size mismatch",
         "run lengths for 11 x 7"),
    *(Case(f"an outline that is {name}", {}, outline(broken), "unreadable file",
           "of 'x.png', has a broken outline: it is neither a list of polygons nor run lengths {size: [heig")
      for name, broken in (("without runs", {"size": [ROWS, COLUMNS]}), ("a number", 5), ("empty", None),
                           ("of one side", {"size": 7, "counts": [77]}),
                           ("of a word", {"size": [7, "x"], "counts": ""}),
                           ("of nested runs", {"size": [ROWS, COLUMNS], "counts": [[77]]}))),
    Case("uneven corners", {}, outline([[1, 1, [2], 5, 5, 4]]), "unreadable file", "is a list of numbers x, y, x, y"),
)  # fmt: skip


def four_bits() -> bytes:
    """A grey PNG of four bits, by its chunks."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", COLUMNS, ROWS, 4, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(-(-COLUMNS // 2)) for _ in range(ROWS))
    return trees_magic() + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def trees_magic() -> bytes:
    return b"\x89PNG\r\n\x1a\n"


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    "case", [*IN_FOLDER, *(case._replace(settings=COCO | case.settings) for case in IN_ANNOTATIONS)],
    ids=lambda case: case.name.replace(" ", "-"),
)  # fmt: skip
def test_each_fault_has_its_sentence(tmp_path: Path, case: Case) -> None:
    sound(tmp_path)
    case.damage(tmp_path)
    folder = Folder(**{"root": str(tmp_path), **case.settings})
    with pytest.raises(DataError) as raised:
        if case.loads:
            assert "x" in folder.ids()
            folder.load("x")
        else:
            folder.ids()
    message = str(raised.value)
    assert case.says in message and raised.value.kind == case.kind, message
    assert "\n" not in message and message.endswith(".")


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({}, "classes are needed"),
    ({"classes": "river"}, "must name a file that ends in .txt or .yaml"),
    ({"classes": 3}, "setting 'classes' must"),
    ({"classes": ("a", 1)}, "item 2 of setting 'classes' must be text"),
    (ABC | {"labels": {"0": "d"}}, "labels name 'd', which is none of the classes"),
    (ABC | {"classes": ("river",), "labels": {"0": "rivr"}}, "did you mean 'river'?"),
    (ABC | {"labels": {"0": "a", "#00ff00": "b"}}, "not several at once: #00ff00, 0"),
    (ABC | {"labels": {"0": "a"}, "ignore": (0,)}, "the value 0 stands for class 'a' and for `ignore`"),
    (ABC | {"ignore": (0,)}, "the value 0 stands for class 'a' and for `ignore`"),
    (ABC | {"ignore": (255,), "background": ("255",)}, "stands for `ignore` and for `background`"),
    (ABC | {"ignore": (70000,)}, "the value 70000 is above 65535"),
    (ABC | {"labels": {"0 0 300": "a"}}, "has a part above 255"),
    (ABC | {"ignore": (-1,)}, "the value -1 is below 0, and a mask holds 0 to 65535: 8 bits store -1 as 255"),
    (ABC | {"first": -1}, "first is -1; the value of the first class is 0 or above"),
    (ABC | {"labels": {"255 0 0 255": "a"}}, "the colour '255 0 0 255' has four parts; give red, green and blue"),
    (ABC | {"labels": {"#ff0000ff": "a"}}, "the colour '#ff0000ff' has four parts"),
    (ABC | {"ignore": 255}, "setting 'ignore' must be a list, not 255"),
    (ABC | {"reduce_zero_label": True, "first": 1}, "give either it or labels, first, ignore"),
    (ABC | {"reduce_zero_label": True, "ignore": (0,)}, "give either it or labels, first, ignore"),
    (ABC | {"labels": {"1": "a"}, "first": 1}, "leave out first"),
    (ABC | {"labels": "table.txt"}, "must name a file that ends in .csv or .yaml"),
    (ABC | {"images": "../images"}, "leads out of the folder"),
    (ABC | {"images": "/images"}, "leads out of the folder"),
    (ABC | {"images": "**/a/**"}, "one ** at most"),
    (ABC | {"images": "***"}, "not told apart"),
    (ABC | {"images": "*/*.png"}, "need as many stars"),
    (ABC | {"channel": "alpha"}, "setting 'channel' must be 'none'"),
    (ABC | {"other": "ignored"}, "has no setting 'other'; did you mean 'others'?"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "says"), UNFIT)
def test_settings_that_make_no_sense_are_told_before_anything_is_read(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as raised:
        loading.build(Recipe.of("benchmarks.folder:Folder", **({"root": "nowhere"} | settings)))
    assert says in str(raised.value), str(raised.value)


def test_there_are_sixty_kinds_of_fault() -> None:
    assert len({case.name for case in (*IN_FOLDER, *IN_ANNOTATIONS)}) == len(IN_FOLDER) + len(IN_ANNOTATIONS) >= 60


def test_an_id_never_becomes_a_path_that_leads_out(rng: np.random.Generator) -> None:
    pattern = Pattern("masks/**/*.png", MASK_ENDINGS)
    for image_id in ("../x", "a/../../x", "/etc/passwd"):
        path = pattern.path_of(image_id)
        assert path is None or path.startswith("masks/")
    assert trees.SIZES


def test_smaller_copies_of_a_page_are_no_pages(tmp_path: Path) -> None:
    """As in maps, whose later pages are overviews of the first; pages of an image are refused as those of a mask."""
    sound(tmp_path)
    small = Image.fromarray(GREY[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    mask(GREY, "x.tif", save_all=True, append_images=[small])(tmp_path)
    folder = Folder(root=str(tmp_path), **ABC)
    assert folder.load("x").truth.shape == GREY.shape
    pages = [Image.fromarray(np.zeros((ROWS, COLUMNS, 3), np.uint8)) for _ in range(3)]
    (tmp_path / "images/y.png").unlink()
    pages[0].save(tmp_path / "images/y.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"y.tif is a TIFF of 3 pages"):
        Folder(root=str(tmp_path), **ABC).load("y")
