"""Settings that name files stand for what is in the files; words, places and data sets' folders do not."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.contracts import Recipe
from harness.contracts.facts import digest, essence
from harness.errors import SettingsError
from harness.recipes import identity, remembered
from harness.recipes.named_files import MODEL_NAMES, MODEL_SUFFIXES, files_named, files_not_counted, placed
from harness.recipes.remembered import LARGE, digest_of_file, digest_of_folder


@dataclass(frozen=True)
class Uses:
    version: ClassVar[int] = 1
    places: ClassVar[tuple[str, ...]] = ("scratch",)
    inside: ClassVar[tuple[str, ...]] = ("masks",)
    checkpoint: str = "none"
    folder: Path = Path("nowhere")
    either: Path | None = None
    many: tuple[str, ...] = ()
    mode: str = "fast"
    method: str = ""
    scratch: str = ""
    root: str = ""
    masks: str = ""
    table: Mapping[str, str] | None = None


def stamped(folder: Path, /, benchmark: bool = False, **settings: Any) -> str:
    """What an id would be made from, for a grid in a folder."""
    recipe = Recipe.of(f"{__name__}:Uses", **settings)
    known = identity.facts(recipe, Uses(**settings), str(folder), benchmark)
    return digest(essence(known))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stableseg-harness" / "digests"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("w.npy", {"checkpoint": "w.npy"}),
        ("sub/weights", {"checkpoint": "sub/weights"}),
        ("weights", {"folder": Path("weights")}),
        ("weights", {"either": Path("weights")}),
        ("model/a/model.safetensors", {"folder": Path("model")}),
        ("any/words.txt", {"folder": Path("any")}),
        ("model/w.npz", {"checkpoint": "model/"}),
        ("model/w.npy", {"checkpoint": "model"}),  # a word that names a folder with a model
        ("b.pt", {"many": ("a.pt", "b.pt")}),
        ("w.npy", {"method": "toy:Inner(size=3, checkpoint=w.npy)"}),
        ("w.npy", {"many": (("use", "toy:Inner"), ("with", (("checkpoint", "w.npy"),)))}),
        ("weights/model.data-00000-of-00001", {"checkpoint": "weights/model"}),
        ("weights/fold1.npy", {"checkpoint": "weights/fold"}),
        ("model.ckpt.index", {"checkpoint": "model.ckpt"}),
        ("model-1.any", {"either": Path("model")}),
        ("weights/a.npy", {"checkpoint": "weights/*.npy"}),
        ("weights/deep/a.npy", {"checkpoint": "weights/**/*.np[yz]"}),
        ("b.npy", {"folder": Path("?.npy")}),
        ("weights/a.npy", {"method": "toy:Inner(checkpoint=weights/*.npy)"}),
    ],
)
def test_a_retrained_file_is_another_setting(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"old")
    before = stamped(tmp_path, **settings)
    assert stamped(tmp_path, **settings) == before
    file.write_bytes(b"new")
    assert stamped(tmp_path, **settings) != before


@pytest.mark.parametrize("between", [",", ", ", ";", ":", " ", "\n"])
def test_files_that_are_named_in_one_text_count_in_their_order(between: str, tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "w.npz").write_bytes(b"1")
    text = between.join(("a.npy", "b.npy", "model"))
    before = stamped(tmp_path, checkpoint=text)
    assert stamped(tmp_path, checkpoint=between.join(("b.npy", "a.npy", "model"))) != before
    given = placed(Uses, "checkpoint", text, str(tmp_path))
    assert [one.strip() for one in str(given).split(between.strip() or None)] == [
        str(tmp_path / name) for name in ("a.npy", "b.npy", "model")
    ]
    assert stamped(tmp_path, checkpoint=given) == before
    (tmp_path / "model" / "w.npz").write_bytes(b"2")
    second = stamped(tmp_path, checkpoint=text)
    (tmp_path / "b.npy").write_bytes(b"new")
    assert len({before, second, stamped(tmp_path, checkpoint=text)}) == 3


@pytest.mark.parametrize(
    ("named", "part"),
    [
        ("m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"),
        ("m.safetensors.index.json", "m-00002-of-00002.safetensors"),
        ("m.ckpt.index", "m.ckpt.data-00000-of-00001"),
        ("m.onnx", "m.onnx.data"),
        ("m.onnx", "m.onnx_data"),
    ],
)
def test_the_parts_of_a_model_count_with_the_one_that_is_named(named: str, part: str, tmp_path: Path) -> None:
    (tmp_path / named).write_text('{"weight_map": {"a.weight": "m-00002-of-00002.safetensors"}}')
    seen = {stamped(tmp_path, checkpoint=named)}
    for content in (b"1", b"2"):
        (tmp_path / part).write_bytes(content)
        seen.add(stamped(tmp_path, checkpoint=named))
    (tmp_path / "other.npy").write_bytes(b"1")
    assert len(seen | {stamped(tmp_path, checkpoint=named)}) == 3


def test_files_that_are_named_together_are_the_same_elsewhere_and_start_at_the_grid(tmp_path: Path) -> None:
    for place in ("he[r]e", "there"):
        (tmp_path / place / "w").mkdir(parents=True)
        for name in ("a.npy", "m.index"):
            (tmp_path / place / "w" / name).write_bytes(b"weights")
    for text in ("w/*.npy", "w/m", "w/a.npy,w/m.index"):
        here, there = str(tmp_path / "he[r]e"), str(tmp_path / "there")
        absolute = [placed(Uses, "checkpoint", text, place) for place in (here, there)]
        assert absolute[1] == text.replace("w/", f"{there}/w/")
        for given in (text, *absolute):
            assert stamped(tmp_path / "there", checkpoint=given) == stamped(tmp_path / "he[r]e", checkpoint=text)
    assert glob.glob(str(placed(Uses, "checkpoint", "w/*.npy", here))) == [f"{here}/w/a.npy"]


def test_what_settings_may_name_and_no_id_holds_is_told(tmp_path: Path) -> None:
    for name in ("sub/a.npy", "b.npy", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "pictures").mkdir()
    told = {
        "*.npy": ["*.npy"], "file:b.npy": ["b.npy"], "b.npy|absent.npy": ["b.npy"], "./pictures": ["./pictures"],
        "sub/a.npy@3 b.npy": ["sub/a.npy", "b.npy"], "b.npy": [], "sub/a.npy,b.npy": [], "toy:Inner(w=b.npy)": [],
        "a word": [], "sub": [],
    }  # fmt: skip
    for text, expected in told.items():
        counted = files_named(Uses, {"checkpoint": text}, str(tmp_path), folders=True)
        found = files_not_counted(Uses, {"checkpoint": text}, str(tmp_path), counted)
        assert found == ({"checkpoint": expected} if expected else {}), text


def test_a_benchmarks_patterns_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "data" / name).write_bytes(b"1")
    for text in ("data/*.png", "data/"):
        assert files_named(Uses, {"checkpoint": text}, str(tmp_path), folders=False) == {}
    assert list(files_named(Uses, {"checkpoint": "data/a.png,data/b.png"}, str(tmp_path), folders=False))


def test_the_same_file_elsewhere_is_the_same_setting(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "w.npy").write_bytes(b"weights")
    one = stamped(tmp_path / "here", checkpoint="w.npy")
    assert one == stamped(tmp_path / "there", checkpoint="w.npy")
    assert one == stamped(tmp_path, checkpoint=str(tmp_path / "there" / "w.npy"))


@pytest.mark.parametrize(
    "settings", [{"mode": "grid"}, {"scratch": "w.npy"}, {"checkpoint": "plain"}, {"checkpoint": "absent.npy"}]
)
def test_words_and_places_are_no_files(settings: dict[str, Any], tmp_path: Path) -> None:
    before = stamped(tmp_path, **settings)
    for name in ("grid", "w.npy"):
        (tmp_path / name).write_bytes(b"content")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "notes.txt").write_bytes(b"no model")
    assert stamped(tmp_path, **settings) == before


def test_a_benchmarks_folders_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "config.json").write_bytes(b"1")
    known = {"root": "data/", "folder": "data"}
    assert files_named(Uses, known, str(tmp_path), folders=False) == {}
    assert set(files_named(Uses, known, str(tmp_path), folders=True)) == {"data/", "data"}
    (tmp_path / "names.json").write_bytes(b"1")
    before = stamped(tmp_path, benchmark=True, checkpoint="names.json", root="names.json")
    (tmp_path / "names.json").write_bytes(b"2")
    assert stamped(tmp_path, benchmark=True, checkpoint="names.json") != before
    assert stamped(tmp_path, benchmark=True, root="names.json") == stamped(tmp_path, benchmark=True, root="names.json")


def test_a_folder_that_a_model_links_to_counts_and_circles_end(tmp_path: Path) -> None:
    model, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    model.mkdir()
    elsewhere.mkdir()
    (model / "unet").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "back").symlink_to(model, target_is_directory=True)
    (elsewhere / "w.npy").write_bytes(b"1")
    first = digest_of_folder(model)
    (elsewhere / "w.npy").write_bytes(b"2")
    assert digest_of_folder(model) != first
    (elsewhere / "w.npy").write_bytes(b"1")
    assert digest_of_folder(model) == first


def test_a_large_file_is_read_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "SETTLED", 0)
    file = tmp_path / "large.bin"
    file.write_bytes(b"\1" * LARGE)
    os.utime(file, (1_000_000, 1_000_000))
    changed, first = file.stat().st_ctime_ns, digest_of_file(file)
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as context:
        context.setattr(remembered.hashlib, "file_digest", lambda *_: pytest.fail("it was read again"))
        assert digest_of_file(file) == first
    file.write_bytes(b"\2" * LARGE)
    assert digest_of_file(file) != first
    os.utime(file, (1_000_000, 1_000_000))  # the size and time of before, but written since
    while file.stat().st_ctime_ns == changed:  # within one tick of the file system's clock
        os.utime(file, (1_000_000, 1_000_000))
    assert digest_of_file(file) != first


def test_a_file_that_was_just_written_is_not_remembered(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 10**9 < remembered.SETTLED < 10**10
    monkeypatch.setattr(remembered, "SETTLED", 600 * 10**9)
    (tmp_path / "large.bin").write_bytes(b"\1" * LARGE)
    digest_of_file(tmp_path / "large.bin")
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_or_read_costs_only_time(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "SETTLED", 0)
    file = tmp_path / "large.bin"
    file.write_bytes(b"\1" * LARGE)
    first = digest_of_file(file)
    (note,) = cache.iterdir()
    note.write_text("[1")
    assert digest_of_file(file) == first
    (tmp_path / "no_folder").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no_folder"))
    assert digest_of_file(file) == first


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.npy").write_bytes(b"1")

    def refuse(_path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SettingsError, match=r"w\.npy is named by a setting and cannot be read \(Permission denied\)"):
        files_named(Uses, {"checkpoint": "w.npy"}, str(tmp_path), folders=True)


def test_content_stands_where_a_path_stood() -> None:
    files = {"w.npy": "d1", "sub/w.npy": "d2"}
    settings = {"a": "w.npy", "b": ("sub/w.npy", 3, None), "c": "m:C(checkpoint=sub/w.npy, k=w.npy)", "d": "w.npy!"}
    assert essence({"use": "m:C", "settings": settings, "files": files})["settings"] == {
        "a": "file:d1", "b": ["file:d2", 3, None], "c": "m:C(checkpoint=file:d2, k=file:d1)", "d": "w.npy!",
    }  # fmt: skip


@pytest.mark.parametrize("name", [*sorted(MODEL_NAMES), *(f"x{suffix}" for suffix in sorted(MODEL_SUFFIXES)), "X.PTH"])
def test_a_folder_holds_a_model_by_the_names_of_its_files(name: str, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "notes.txt").write_bytes(b"1")
    assert files_named(Uses, {"checkpoint": "some"}, str(tmp_path), folders=True) == {}
    (tmp_path / "some" / name).write_bytes(b"1")
    assert list(files_named(Uses, {"checkpoint": "some"}, str(tmp_path), folders=True)) == ["some"]
    page = (Path(__file__).parents[2] / "docs" / "what_is_in_an_id.md").read_text()
    assert f"`{Path(name).suffix.lower() if name[0] in 'xX' else name}`" in page


def test_paths_in_settings_start_at_the_grids_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, other = tmp_path / "grid", tmp_path / "other"
    for place in (grid / "model", grid / "data", other):
        place.mkdir(parents=True)
    for name in ("w.npy", "model/w.npy", "a b.npy"):
        (grid / name).write_bytes(b"1")
    monkeypatch.chdir(other)
    for name, written, given in (
        ("checkpoint", "w.npy", "GRID/w.npy"),
        ("checkpoint", "model", "GRID/model"),
        ("checkpoint", "data", "data"),  # a word: no model is in it
        ("checkpoint", "absent.npy", "absent.npy"),
        ("folder", "data", "GRID/data"),
        ("folder", "absent", "GRID/absent"),
        ("mode", "fast", "fast"),
        ("mode", "../grid/w.npy", "GRID/../grid/w.npy"),
        ("many", ("w.npy", "x"), ("GRID/w.npy", "x")),
        ("method", "m:C(size=3, w=w.npy)", "m:C(size=3, w=GRID/w.npy)"),
        ("method", "m:C(w='a b.npy', k=2)", 'm:C(w="GRID/a b.npy", k=2)'),
        ("scratch", "x", "GRID/x"),
    ):
        there = placed(Uses, name, written, str(grid))
        expected = [str(one).replace("GRID", str(grid)) for one in (given if isinstance(given, tuple) else (given,))]
        assert [*(there if isinstance(there, tuple) else (there,))] == expected
    assert placed(Uses, "root", "data", str(grid), declared=True) == str(grid / "data")
    assert placed(Uses, "masks", "model/w.npy", str(grid)) == "model/w.npy"  # of another folder, whatever lies here
    table = placed(Uses, "table", {"w.npy": "w.npy", "a": "x"}, str(grid))
    assert table == {"w.npy": str(grid / "w.npy"), "a": "x"} and hash(table)
    (other / "mine.npy").write_bytes(b"1")
    with pytest.raises(SettingsError, match=r"'mine.npy' lies in .*other, and paths .*: write '../other/mine.npy'"):
        placed(Uses, "checkpoint", "mine.npy", str(grid))


def test_an_id_does_not_know_where_the_grid_lies(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "w.npy").write_bytes(b"weights")
    known = {"checkpoint": "w.npy", "root": "data", "method": "m:C(w=w.npy)"}
    here = str(tmp_path / "here")
    absolute = {name: placed(Uses, name, value, here, name == "root") for name, value in known.items()}
    assert absolute != known
    assert stamped(tmp_path / "here", True, **absolute) == stamped(tmp_path / "there", True, **known)
