"""`new` writes what runs as it stands: it passes its gate and its own test, and its grid is swept."""

from __future__ import annotations

import csv
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import as_it_was, call, door

from harness import __main__ as command
from harness import starting
from harness.contracts.command_line import typed
from harness.errors import HarnessError

WANTED = {  # kind -> what its grid ranks
    "method": {("WideEyes", "Shapes"), ("OneClass", "Shapes")},
    "reader": {("WideEyes", "Shapes"), ("StableSeg", "Shapes")},
    "benchmark": {("OneClass", "WideEyes"), ("MaskCLIP", "WideEyes")},
}


@pytest.mark.parametrize("kind", starting.KINDS)
def test_what_is_written_runs_as_it_stands(kind: str, tmp_path: Path) -> None:
    written = call(command.main, "new", kind, "WideEyes", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    assert "python -m pytest test_wide_eyes.py" in written.stdout
    assert f"{typed('sweep')} wide_eyes.yaml --local" in written.stdout.splitlines()  # as this call was typed
    with as_it_was(tmp_path):
        sys.path.insert(0, str(tmp_path))
        promised = runpy.run_path("test_wide_eyes.py")
        for name, test in promised.items():  # the gate is one of them
            if name.startswith("test_"):
                test()
    swept = door("wide_eyes.yaml", "--limit", "2", cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr
    lines = list(csv.DictReader((tmp_path / "runs" / "leaderboard.csv").open()))
    assert {(line["method"], line["benchmark"]) for line in lines} == WANTED[kind]
    assert all(line["miou"] and line["failed"] == "0" for line in lines)


@pytest.mark.parametrize(
    ("name", "files"),
    [("my_method", ("my_method", "MyMethod")), ("FASeg2", ("fa_seg_2", "FASeg2")), ("clip", ("clip", "Clip")),
     ("open-eyes", ("open_eyes", "OpenEyes")), ("DAAM", ("daam", "DAAM"))],
)  # fmt: skip
def test_a_name_becomes_a_file_and_a_class(name: str, files: tuple[str, str], tmp_path: Path) -> None:
    assert starting.named(name, tmp_path) == files


@pytest.mark.parametrize("name", ["", "2eyes", "a b", "../eyes", "_", "eyes.py", "x" * 61, "lambda", "é"])
def test_what_cannot_be_a_name_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be the name of a plug-in; give a word"):
        starting.named(name, tmp_path)


def test_a_module_that_is_there_is_not_hidden_by_a_new_one(tmp_path: Path) -> None:
    for taken in ("torch", "json", "harness", "Methods"):
        with pytest.raises(HarnessError, match=f"give another name, such as my_{taken.lower()}"):
            starting.named(taken, tmp_path)


def test_nothing_is_written_over_and_a_refusal_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "eyes.yaml").write_text("mine")
    refused = call(command.main, "new", "method", "eyes", "--into", tmp_path, cwd=tmp_path)
    assert refused.returncode == 2 and "eyes.yaml is there already" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["eyes.yaml"]
    (tmp_path / "file").write_text("")
    refused = call(command.main, "new", "benchmark", "eyes", "--into", tmp_path / "file", cwd=tmp_path)
    assert refused.returncode == 2 and "cannot be written" in refused.stderr


def test_another_folder_is_made_and_named(tmp_path: Path) -> None:
    written = call(command.main, "new", "method", "eyes", "--into", tmp_path / "deep" / "er", cwd=tmp_path)
    assert written.returncode == 0 and f"cd {tmp_path / 'deep' / 'er'}\n" in written.stdout


def test_bash_completes_verbs_kinds_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    asked = {"lead": "leaderboard", "list es": "estimators", "new re": "reader", "sweep --avail": "--available"}
    lines = [
        f'COMP_WORDS=(stableseg {words}); COMP_CWORD={words.count(" ") + 1}; _shtab_stableseg; echo "${{COMPREPLY[@]}}"'
        for words in asked
    ]
    code = "\n".join([f"source {tmp_path / 'script'}", *lines])
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(asked.values())


def test_every_shell_is_given_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("zsh", "tcsh"):
        assert command.main(["completion", shell]) == 0
        told = capsys.readouterr().out
        assert all(verb in told for verb in command.VERBS)
    assert command.main(["completion", "fish"]) == 2 and "no completion for 'fish'" in capsys.readouterr().err


STRANGE = {  # a word that a verb takes for a file, a folder, a name
    "missing": "no/such/thing",
    "a folder": "folder",
    "bytes": "bytes",
    "empty": "empty",
    "odd": "a\nb",
    "nul": "a\0b",
}


@pytest.mark.parametrize("word", STRANGE)
@pytest.mark.parametrize("verb", [verb for verb in command.VERBS if verb not in ("completion", "new")])
def test_no_verb_ends_in_a_traceback(verb: str, word: str, tmp_path: Path) -> None:
    """Whatever stands where a file, a folder or a name is meant: exit code 2 and a sentence."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").write_bytes(b"")
    more = {
        "check": ["method"], "merge": ["--into", "folder"], "tags": ["Boxes", "--out", "o.json"],
    }.get(verb, [])  # fmt: skip
    words = [*more, STRANGE[word]] if verb == "check" else [STRANGE[word], *more]
    answer = call(command.main, verb, *words, cwd=tmp_path)
    assert answer.returncode == 2 and answer.stderr.strip() and "Traceback" not in answer.stderr
