"""One command for all doors: a verb hands over to its own door, and what there is to write into a grid is listed."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from harness import __main__ as command
from harness import sweep
from harness.recipes import loading
from results.tables.terminal import console_for_output

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("verb", command.VERBS)
def test_every_verb_tells_what_it_takes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = command.main([verb, "--help"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 0 and len(capsys.readouterr().out) > 100


def test_a_verb_is_its_own_door(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    grid, results = str(ROOT / "grid.yaml"), ["--results", str(tmp_path / "runs")]
    assert command.main(["plan", grid, *results]) == 0
    told = capsys.readouterr().out
    assert sweep.main([grid, "--plan", *results]) == 0
    assert capsys.readouterr().out == told and "17 runs" in told
    assert command.main(["leaderboard", str(tmp_path / "none")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["swep"], "there is no verb 'swep'; did you mean 'sweep'?"),
        (["list", "metods"], "there is nothing to list as 'metods'; did you mean 'methods'?"),
        (["list", "methods", "presets"], "there is nothing to list as 'methods presets'"),
    ],
)
def test_what_there_is_not_is_told(given: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(given) == 2
    told = capsys.readouterr()
    assert says in told.err and not told.out


@pytest.mark.parametrize("verb", sorted({*command.VERBS} - command.OWN))
def test_what_a_verb_does_not_take_is_one_sentence_of_that_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is called as it was typed."""
    with pytest.raises(SystemExit) as ended:
        command.main([verb, "--hlep"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert said.startswith(f"stableseg {verb}: ") and said.endswith(f"(`stableseg {verb} --help` says what it takes)\n")


def test_an_option_with_a_slip_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    for given, meant in ((["sweep", "g", "--wokers", "2"], "--workers"),
                         (["check", "method", "x:X", "--wth"], "--with")):  # fmt: skip
        with pytest.raises(SystemExit):
            command.main(given)
        assert f"did you mean {meant!r}? (" in capsys.readouterr().err


def test_no_image_is_fetched_for_a_limit_of_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["fetch", "pascal_voc", "--root", str(tmp_path / "data"), "--limit", "0"])
    assert ended.value.code == 2 and "'0' is not a whole number of at least 1" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_without_a_folder_results_are_looked_for_where_a_sweep_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in ("leaderboard", "report", "verify", "figures", "ledger", "status"):
        assert command.main([verb]) == 2
        assert "runs does not exist" in capsys.readouterr().err
    (tmp_path / "runs").write_text("")
    assert command.main(["report"]) == 2 and "runs is a file; name the folder that" in capsys.readouterr().err


def test_names_that_leave_no_room_stand_above_their_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for columns, beside in ((80, False), (160, True)):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert command.main(["list", "methods"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert any(line.rstrip() == "methods.controls:OneClass" for line in lines) is not beside
        assert all(len(line) <= columns for line in lines)


def test_an_address_before_a_colon_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """rich would draw a leaf."""
    console_for_output().print("my_data:Leaves: what its own modules say is in the id")
    assert capsys.readouterr().out.startswith("my_data:Leaves: what")


def listed(kind: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert command.main(["list", kind, "--json"]) == 0
    return {one["name"]: one["words"] for one in json.loads(capsys.readouterr().out)}


@pytest.mark.parametrize(("kind", "role"), [("methods", "method"), ("benchmarks", "benchmark")])
def test_what_is_listed_is_what_a_grid_can_name(kind: str, role: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Against the classes themselves: all that have the verbs, and nothing that is only there to be filled in."""
    package = importlib.import_module(kind)
    found = set()
    for file in sorted(Path(str(package.__file__)).parent.iterdir()):
        if file.name.startswith("__") or (file.suffix != ".py" and not (file / "__init__.py").exists()):
            continue
        module = importlib.import_module(f"{kind}.{file.stem}")
        for name, one in vars(module).items():
            own = isinstance(one, type) and one.__module__ == module.__name__ and not name.startswith("_")
            if own and not getattr(one, "__abstractmethods__", None) and not getattr(one, "_is_protocol", False):
                try:
                    loading.check_role(one, role, f"{module.__name__}:{name}")  # type: ignore[arg-type]
                except loading.AddressError:
                    continue
                found.add(f"{module.__name__}:{name}")
    told = listed(kind, capsys)
    assert told.keys() == found and all(told.values())


def test_presets_and_estimators_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "SCLIP" in listed("presets", capsys)["sclip"]
    assert "mmseg" in listed("estimators", capsys)["miou"]


def test_what_an_installed_package_brings_is_listed_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    about = tmp_path / "open_fields-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: open-fields\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text("[stableseg.methods]\nfields = open_fields.method:Fields\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert listed("methods", capsys)["open_fields.method:Fields"] == "installed with open-fields 1.2"
    assert command.main(["list", "methods"]) == 0
    assert "methods.stableseg:StableSeg" in capsys.readouterr().out and "open_fields" not in sys.modules
