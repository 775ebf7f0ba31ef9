"""Published numbers beside ours: within, off, or not comparable and why; users' own files; the shipped one."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import recount
import toy_results

from harness.errors import StoreError
from results.folder.store import Store
from results.ledger import main
from results.tables import ledger, matrices
from results.tables.evidence import Evidence
from results.tables.ledger import Published

HEAD = "source,table,method,variant,dataset,miou,vocabulary,background,split,notes\n"


@pytest.fixture(scope="module")
def ours(toys: Store) -> float:
    """Clip on Toys, in percent, counted again."""
    run_id = next(r.run_id for r, _ in toy_results.runs(30) if r.method_name == "Clip" and r.benchmark_name == "Toys")
    return float(100 * recount.miou(recount.sums(toys.folder, run_id), len(toy_results.CLASSES)))


def published(miou: float, **changes: Any) -> Published:
    one = Published("me", "1", "Clip", "as reported", "Toys", miou, "present", "ignored", "val")
    return replace(one, **changes)


def text(evidence: Evidence, one: Published) -> str:
    (found,) = ledger.verdicts(evidence, [one])
    return found.text


def test_reproduced_and_off(evidence: Evidence, ours: float) -> None:
    assert text(evidence, published(ours + 0.21)) == "reproduced within 0.3"
    assert text(evidence, published(ours - 0.5)) == "reproduced within 0.5"
    assert text(evidence, published(ours - 0.51)) == "off by +0.5"
    assert text(evidence, published(ours + 4.2)) == "off by -4.2"
    (found,) = ledger.verdicts(evidence, [published(ours - 0.03)], tolerance=0.01)
    assert found.text == "off by +0.03"  # never by 0.0


def test_a_part_of_a_data_set_is_not_comparable(evidence: Evidence, ours: float) -> None:
    entry = next(one for one in evidence.board.entries if one.method == "Clip" and one.benchmark == "Toys")
    found = ledger.judge(published(ours), replace(entry, official=1449), evidence.recipes[entry.run_id], 0.5)
    assert found.text == "not comparable: only 30 of the 1449 official images"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("vocabulary", "unknown", "vocabulary unknown"),
        ("vocabulary", "all", "vocabulary all, ours present"),
        ("background", "scored", "background scored, ours ignored"),
        ("split", "test", "split test, ours val"),
        ("variant", "ViT-B/16 + PAMR", "variant 'ViT-B/16 + PAMR'"),
        ("variant", "RN50", "backbone RN50, ours ViT-B/16"),
    ],
)
def test_another_protocol_is_not_comparable(
    evidence: Evidence, ours: float, field: str, value: str, reason: str
) -> None:
    assert text(evidence, published(ours, **{field: value})) == f"not comparable: {reason}"


def test_all_reasons_are_named(evidence: Evidence, ours: float) -> None:
    one = published(ours, vocabulary="unknown", split="unknown")
    assert text(evidence, one) == "not comparable: vocabulary unknown; split unknown"


def test_the_same_tower_is_the_same_variant(evidence: Evidence, ours: float) -> None:
    assert text(evidence, published(ours, variant="ViT-B/16")) == "reproduced within 0.0"


@pytest.mark.parametrize(
    ("model", "tower"),
    [
        ("openai/clip-vit-base-patch16", "ViT-B/16"),
        ("laion/CLIP-ViT-H-14-laion2B", "ViT-H/14"),
        ("timm/resnet50x16_clip.openai", "RN50x16"),
        ("folder/RN50", "RN50"),
        ("shapes", "shapes"),
    ],
)
def test_towers_by_their_models_names(model: str, tower: str) -> None:
    assert ledger._tower(model) == tower


def test_a_run_with_holes_is_not_compared(evidence: Evidence) -> None:
    one = published(30, method=toy_results.EVIL_METHOD)
    assert text(evidence, one) == "not comparable: only 29 of 30 images"


def test_a_declared_table_says_which_number_is_meant(evidence: Evidence) -> None:
    spec = next(s for s in matrices.declared(evidence.store) if s.name == "refinement")
    spec = replace(spec, columns=("benchmark",), where={**spec.where, "timestep": (1,)}, published=("2 SAR",))
    matrix = matrices.build_matrix(evidence, spec)
    numbers = [published(50, table="2 SAR", method="StableSeg", variant="w/ SAR"),
               published(51, table="3", method="StableSeg", variant="w/ SAR")]  # fmt: skip
    found = ledger.beside(evidence, matrix, numbers)
    assert list(found) == [matrix.cell("w/ SAR", "Toys").run_id]
    assert [v.published.miou for v in found.values()] == [50]
    assert [v.text[:6] for v in found.values()] == ["off by"]


def test_the_files_of_a_user(toys: Store, evidence: Evidence, ours: float, tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "mine.csv").write_text(HEAD + f"me,1,clip,,toys,{ours:.2f},Present,ignored,val,\n", "utf-8")
    (found,) = [v for v in ledger.verdicts(evidence, ledger.published_numbers(tmp_path)) if v.published.source == "me"]
    assert found.text.startswith("reproduced within 0.")
    lines = list(csv.DictReader(io.StringIO(ledger.ledger_csv([found]))))
    assert lines[0]["ours"] == f"{ours:.4f}" and lines[0]["run_id"] == found.run_id


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (HEAD + "me,1,Clip,,Toys,4x,all,ignored,val,\n", r"line 2: miou must be a number from 0 to 100, not '4x'"),
        (HEAD + "me,1,Clip,,Toys,470,all,ignored,val,\n", r"line 2: miou must be"),
        ("method,miou\nClip,3\n", r"it lacks source, table, variant, dataset"),
        ("", r"it lacks lines"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(StoreError, match=sentence):
        ledger.published_numbers(files=[path])


def test_the_shipped_ledger_holds_the_poster() -> None:
    shipped = ledger.published_numbers()
    poster = {(p.table, p.method, p.variant, p.dataset): p for p in shipped if p.source == "stableseg-poster"}
    assert len(poster) == 40 and len(shipped) > 400
    assert poster["2 SAR", "StableSeg", "SAMap", "FoodPix"].miou == 65.4
    assert {p.vocabulary for p in poster.values()} == {"unknown"}


def test_the_command_writes_the_csv(toys: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text(HEAD + "me,1,Clip,,Bricks,50,unknown,ignored,val,\n")
    assert main([str(toys.folder), "--ledger", str(mine)]) == 0
    assert "Clip on Bricks: 50 (me, ): not comparable: vocabulary unknown" in capsys.readouterr().out
    assert len((toys.folder / "ledger.csv").read_text().splitlines()) == 2
    assert main([str(tmp_path / "nowhere")]) == 2
