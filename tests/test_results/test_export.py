"""Numbers leave in the forms of others: checked against what those forms ask for, and against leaderboard.csv."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from in_process import call

from results import export
from results.folder.store import Store
from results.tables.board_csv import leaderboard_csv
from results.tables.evidence import Evidence

Json = dict[str, Any]
NEEDED: Json = {  # of schema 0.3.0: key -> its type, or what it needs in turn
    "schema_version": str, "evaluation_id": str, "retrieved_timestamp": str,
    "source_metadata": {"source_type": str, "source_organization_name": str, "evaluator_relationship": str},
    "model_info": {"name": str, "id": str, "additional_details": {"deployment_type": str, "model_availability": str}},
    "eval_library": {"name": str, "version": str},
    "evaluation_results": [{
        "evaluation_name": str, "source_data": {"dataset_name": str, "source_type": str},
        "metric_config": {"lower_is_better": bool, "min_score": float, "max_score": float},
        "score_details": {"score": float},
    }],
}  # fmt: skip
SAMPLE: Json = {
    "schema_version": str, "evaluation_id": str, "model_id": str, "evaluation_name": str, "sample_id": str,
    "interaction_type": str, "input": {"raw": str, "reference": [str]}, "answer_attribution": list,
    "evaluation": {"score": float, "is_correct": bool},
}  # fmt: skip


def lacking(found: Any, needed: Any, way: str = "") -> list[str]:
    """The ways at which something that is asked for is missing, or of another type."""
    if isinstance(needed, dict):
        if not isinstance(found, dict):
            return [way]
        return [one for key, inner in needed.items() for one in lacking(found.get(key), inner, f"{way}.{key}")]
    if isinstance(needed, list):
        inside = [one for item in found or () for one in lacking(item, needed[0], f"{way}[]")]
        return inside if isinstance(found, list) and found else [way]
    return [] if type(found) is needed else [way]


def details(content: Any) -> list[Any]:
    """All values of what is called `additional_details` or `metric_parameters`, wherever it stands."""
    if isinstance(content, list):
        return [one for item in content for one in details(item)]
    if not isinstance(content, dict):
        return []
    own = [list(content[key].values()) for key in ("additional_details", "metric_parameters") if key in content]
    return [one for values in own for one in values] + [one for item in content.values() for one in details(item)]


@pytest.fixture(scope="module")
def exported(toys: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    told = call(
        export.main, toys.folder, "--to", "every-eval-ever", "--samples", "--organization", "a lab", "--out", out,
        cwd=out,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert {Path(line) for line in told.stdout.split()} == {path for path in out.rglob("*") if path.is_file()}
    return out


def test_every_run_is_a_file_with_all_that_the_schema_needs(evidence: Evidence, exported: Path) -> None:
    lines = {line["run_id"]: line for line in csv.DictReader(leaderboard_csv(evidence.board).splitlines())}
    found = [json.loads(path.read_text()) for path in exported.rglob("*.json")]
    assert len(found) == 10 and len(lines) == 12, "two runs have holes"
    for content in found:
        assert lacking(content, NEEDED) == [] and content["schema_version"] == "0.3.0"
        assert all(isinstance(one, str) for one in details(content))
        assert content["source_metadata"]["source_organization_name"] == "a lab"
        line = lines[content["model_info"]["additional_details"]["run_id"]]
        for result, name in zip(content["evaluation_results"], ("miou", "image_miou", "pixel_accuracy"), strict=True):
            assert result["score_details"]["score"] == pytest.approx(float(line[name]), abs=5e-5)
            assert result["metric_config"]["metric_id"] == name
        bounds = content["evaluation_results"][0]["score_details"].get("uncertainty")
        assert (bounds is None) == (line["low"] == "")
        if bounds:
            ends = bounds["confidence_interval"]
            assert [ends["lower"], ends["upper"]] == pytest.approx([float(line["low"]), float(line["high"])], abs=5e-5)
            assert bounds["num_samples"] == int(line["images"])


def test_a_run_with_holes_leaves_only_on_request_and_says_so(toys: Store, tmp_path: Path) -> None:
    told = call(export.main, toys.folder, "--to", "every-eval-ever", "--partial", "--out", tmp_path, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    data = [json.loads(path.read_text())["evaluation_results"][0]["source_data"] for path in tmp_path.rglob("*.json")]
    assert len(data) == 12
    holes = [one["additional_details"] for one in data if one["additional_details"]["images_scored"] != "30"]
    assert [(one["images_scored"], *(one.get(f"images_{why}") for why in ("failed", "missing"))) for one in sorted(
        holes, key=lambda one: one.get("images_failed", ""))] == [("29", None, "1"), ("29", "1", None)]  # fmt: skip


def test_the_check_of_what_is_needed_can_fail(exported: Path) -> None:
    content = json.loads(next(exported.rglob("*.json")).read_text())
    del content["model_info"]["id"]
    content["evaluation_results"][0]["score_details"]["score"] = "72"
    assert lacking(content, NEEDED) == [".model_info.id", ".evaluation_results[].score_details.score"]


def test_the_packages_own_validator_finds_nothing(exported: Path) -> None:
    package = pytest.importorskip("every_eval_ever", reason="it needs Python 3.12")
    assert package  # its command looks at a folder
    from runpy import run_module

    before, sys.argv = sys.argv, ["every_eval_ever", "validate", str(exported)]
    try:
        with pytest.raises(SystemExit) as ended:
            run_module("every_eval_ever", run_name="__main__")
    finally:
        sys.argv = before
    assert ended.value.code in (0, None)


def test_paths_are_plain_and_a_model_of_a_hub_names_the_folder(exported: Path) -> None:
    paths = [path.relative_to(exported).as_posix() for path in exported.rglob("*.json")]
    assert all(re.fullmatch(r"data/stableseg/[\w-]+/[\w-]+/[0-9a-f-]{36}\.json", path) for path in paths)
    assert all("/owner/clip-vit-base-patch16/" in path for path in paths)


def test_every_scored_image_is_a_sample(evidence: Evidence, exported: Path) -> None:
    for path in exported.rglob("*.json"):
        content = json.loads(path.read_text())
        run_id = content["model_info"]["additional_details"]["run_id"]
        lines = [json.loads(one) for one in path.with_name(f"{path.stem}_samples.jsonl").read_text().splitlines()]
        own = evidence.images.filter(run_id=run_id).drop_nulls("image_miou")
        assert [line["sample_id"] for line in lines] == own["image_id"].to_list()
        for line, score in zip(lines, own["image_miou"], strict=True):
            assert lacking(line, SAMPLE) == [] and line["evaluation_id"] == content["evaluation_id"]
            assert line["evaluation"] == {"score": pytest.approx(100 * score), "is_correct": score > 0.5}


def test_a_model_card_has_a_line_a_run_and_what_it_rests_on(toys: Store, evidence: Evidence, tmp_path: Path) -> None:
    told = call(export.main, toys.folder, "--to", "model-card", "--method", "Seg", "--out", tmp_path, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    text = (tmp_path / "model_card.md").read_text()
    entries = [entry for entry in evidence.board.entries if entry.method == "Seg"]
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| Seg")]
    assert [row[3] for row in rows] == [f"{100 * (entry.miou or 0):.1f}" for entry in entries] and len(rows) == 8
    assert "each compared with the best over the same" in text and "Protocol of Toys: " in text
    whole = call(export.main, toys.folder, "--to", "model-card", "--out", tmp_path, cwd=tmp_path)
    assert whole.returncode == 0 and "<img" not in (tmp_path / "model_card.md").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--to", "model-card", "--method", "Segg"], "no run is of the method 'Segg'"),
     (["--to", "wandb"], "wandb is not installed here; `pip install wandb`"),
     (["--to", "model-card", "--out", "{toys}/grid.json"], "cannot be written")],
)  # fmt: skip
def test_what_cannot_be_exported_is_a_sentence(
    words: list[str], says: str, toys: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    told = call(export.main, toys.folder, *(word.format(toys=toys.folder) for word in words), cwd=tmp_path)
    assert told.returncode == 2 and says in told.stderr


def test_a_tracker_is_given_every_run_with_its_settings(
    toys: Store, evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what trackio and W&B share: a stand-in notes what it is asked."""
    noted: list[Json] = []
    stand_in = ModuleType("wandb")
    stand_in.init = lambda **words: noted.append(dict(words))  # type: ignore[attr-defined]
    stand_in.log = lambda scores: noted[-1].update(scores=scores)  # type: ignore[attr-defined]
    stand_in.finish = lambda: noted[-1].update(finished=True)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    told = call(export.main, toys.folder, "--to", "wandb", "--project", "p", cwd=tmp_path)
    assert told.returncode == 0 and told.stdout == "10 runs are in wandb's project p\n"
    for entry, one in zip([one for one in evidence.board.entries if one.complete], noted, strict=True):
        assert one["project"] == "p" and one["finished"] and one["config"]["run_id"] == entry.run_id
        assert one["scores"]["miou"] == pytest.approx(100 * (entry.miou or 0))
        assert one["scores"]["iou/disc"] == pytest.approx(100 * (evidence.class_ious(entry.run_id)["disc"] or 0))
    assert {one["config"].get("refine") for one in noted} == {"sar", "none", None}


def test_trackio_keeps_what_it_is_given(
    toys: Store, evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real library, on this machine alone."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "kept"))
    pytest.importorskip("trackio")
    told = call(export.main, toys.folder, "--to", "trackio", "--project", "toys", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert told.stdout.endswith("10 runs are in trackio's project toys\n")
    import sqlite3

    (kept,) = (tmp_path / "kept").glob("toys*.db")
    with sqlite3.connect(kept) as base:
        rows = [json.loads(text) for (text,) in base.execute("select metrics from metrics")]
    whole = [round(100 * (one.miou or 0), 4) for one in evidence.board.entries if one.complete]
    assert sorted(round(row["miou"], 4) for row in rows) == sorted(whole) and len(whole) == 10
