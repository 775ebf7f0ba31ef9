"""The leaderboard: ranks, holes, order, the same bytes for any parts, and a table that fits the terminal."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import call
from rich.console import Console

from harness.contracts import WIDE_IGNORED, Row
from harness.errors import StoreError
from results.folder.recipes import RunRecipe
from results.folder.store import Store
from results.leaderboard import main
from results.tables import leaderboard, significance_words
from results.tables.evidence import gather
from results.tables.terminal import print_leaderboard

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = {"vocabulary": "present", "background": "ignored", "templates": ["a photo of a {}"]}


def recipe(run_id: str, method: str, variant: str = "", on: str = "Shapes", **changes: Any) -> RunRecipe:
    settings = {"split": "val", "images": 4}
    benchmark = {"use": "b:B", "settings": settings}
    content = {"protocol": PROTOCOL, "classes": ("disc", "ring"), "images": 4, "benchmark": benchmark, **changes}
    method_recipe = {"use": f"m:{method}", "settings": {}}
    return RunRecipe(run_id, method, variant, method_recipe, benchmark_name=on, **content)


def rows(run_id: str, right: int, images: Sequence[int] = range(4), failed: Sequence[int] = ()) -> list[Row]:
    """Images of 100 pixels of class 1, of which `right` plus the image's number are given class 1, the rest class 2."""
    made = []
    for i in images:
        overlap = np.array([1, 1]), np.array([1, 2]), np.array([right + i, 100 - right - i])
        made.append(Row(run_id, f"{i}", "ok", 0.1, None, *overlap))
    return made + [Row(run_id, f"{i}", "failed", 0.1, "boom") for i in failed]


def filled(folder: Path, recipes: Sequence[RunRecipe], *parts: Sequence[Row]) -> Store:
    store = Store.open(folder)
    for one in recipes:
        store.write_recipe(one.run_id, one.as_dict())
    store.set_table("test", [one.run_id for one in recipes])
    for part in parts:
        with store.writer() as writer:
            writer.append(part)
    return store


def lines(store: Store, **options: bool) -> list[dict[str, str]]:
    text = leaderboard.leaderboard_csv(leaderboard.build_board(store, **options))
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_worked_out_by_hand(tmp_path: Path) -> None:
    store = filled(tmp_path, [recipe("r1", "A", "t=1")], rows("r1", 50))
    assert leaderboard.leaderboard_csv(leaderboard.build_board(store)) == (
        "rank,method,variant,benchmark,protocol,images,failed,miou,image_miou,pixel_accuracy,run_id,low,high,group,"
        "against_best,behind,behind_low,behind_high,p,detectable,images_compared,best_there,official_images,seeds,"
        "seed_mean,seed_sd,unverified,supervision,needed\n"
        # 206 of 400 pixels right; class 2 is predicted, never labelled: IoU 0; image i: (50 + i) / 200
        "1,A,t=1,Shapes,vocabulary=present background=ignored,4,0,"
        "25.7500,25.7500,51.5000,r1,,,,too few images,0.0000,,,,,4,25.7500,,,,,4,,\n"
    )
    assert leaderboard.matrix_csv(leaderboard.build_board(store)) == "method,variant,Shapes\nA,t=1,25.7500\n"


def test_ranks_ties_and_order(tmp_path: Path) -> None:
    recipes = [recipe(f"r{i}", name, on=b) for i, (name, b) in enumerate(
        [("Z", "Shapes"), ("B", "Shapes"), ("A", "Shapes"), ("M", "Shapes"), ("M", "Aerial")]
    )]  # fmt: skip
    data = rows("r0", 50), rows("r1", 60), rows("r2", 60), rows("r3", 70), rows("r4", 10)
    found = lines(filled(tmp_path, recipes, *data))
    assert [(x["benchmark"], x["rank"], x["method"]) for x in found] == [
        ("Shapes", "1", "M"), ("Shapes", "2", "A"), ("Shapes", "2", "B"), ("Shapes", "4", "Z"), ("Aerial", "1", "M"),
    ]  # fmt: skip
    matrix = leaderboard.matrix_csv(leaderboard.build_board(Store.open(tmp_path)))
    assert matrix.splitlines()[0] == "method,variant,Shapes,Aerial"
    assert [line.split(",")[0] for line in matrix.splitlines()[1:]] == ["Z", "B", "A", "M"]
    assert matrix.splitlines()[1].endswith(",")  # Z was not asked for on Aerial: a hole


def test_a_run_with_holes_is_shown_and_ranked_only_when_asked(tmp_path: Path) -> None:
    recipes = [recipe("r1", "Whole"), recipe("r2", "Failed"), recipe("r3", "Missing"), recipe("r4", "Nothing")]
    data = rows("r1", 50), rows("r2", 80, images=range(3), failed=[3]), rows("r3", 90, images=range(2))
    store = filled(tmp_path, recipes, *data)
    assert [(x["method"], x["rank"], x["images"], x["failed"], x["miou"] != "") for x in lines(store)] == [
        ("Whole", "1", "4", "0", True), ("Failed", "", "3", "1", True), ("Missing", "", "2", "0", True),
        ("Nothing", "", "0", "0", False),
    ]  # fmt: skip
    assert leaderboard.matrix_csv(leaderboard.build_board(store)).splitlines()[2:] == [
        "Failed,,",
        "Missing,,",
        "Nothing,,",
    ]
    partial = lines(store, partial=True)
    # Fewer than ten images of both say nothing of a rank; numbers are shown.
    assert [(x["method"], x["rank"], x["images_compared"]) for x in partial] == [
        ("Whole", "1", "4"), ("Failed", "", "3"), ("Missing", "", "2"), ("Nothing", "", ""),
    ]  # fmt: skip
    assert "Failed,,40.5000" in leaderboard.matrix_csv(leaderboard.build_board(store, partial=True))


def test_a_run_is_measured_by_the_images_that_its_rivals_have(tmp_path: Path) -> None:
    """A recipe that was written for two images does not make two images enough beside a run that has four."""
    store = filled(
        tmp_path, [recipe("r1", "A", images=2), recipe("r2", "B", images=2)], rows("r1", 50), rows("r2", 60, [0, 1])
    )
    assert [(x["method"], x["rank"]) for x in lines(store)] == [("A", "1"), ("B", "")]
    promised = filled(tmp_path / "promised", [recipe("r1", "A", images=5)], rows("r1", 50))
    assert [x["rank"] for x in lines(promised)] == [""]


def hard_and_easy(rng: np.random.Generator, run_id: str, skill: float, images: Sequence[int] = range(80)) -> list[Row]:
    """Images of 1000 pixels; every second one is hard."""
    made = []
    for i in images:
        right = int(np.clip(1000 * (skill - 0.3 * (i % 2) + 0.02 * rng.normal()), 1, 999))
        overlap = np.array([1, 1]), np.array([1, WIDE_IGNORED]), np.array([right, 1000 - right])
        made.append(Row(run_id, f"{i}", "ok", 0.1, None, *overlap))
    return made


def test_failing_on_hard_images_lifts_nobody_and_five_images_shrink_nobody(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """A run that failed all hard images has the highest score on its own, and is ranked by the images of both."""
    recipes = [recipe(f"r{n}", name, images=80) for n, name in enumerate(["Best", "Good", "Cheat", "Five"])]
    easy = range(0, 80, 2)
    data = [hard_and_easy(rng, "r0", 0.8), hard_and_easy(rng, "r1", 0.75), hard_and_easy(rng, "r2", 0.7, easy)]
    data[2] += [Row("r2", f"{i}", "failed", 0.1, "too hard") for i in range(1, 80, 2)]
    data.append(hard_and_easy(rng, "r3", 0.9, range(5)))
    store = filled(tmp_path, recipes, *data)
    whole, partial = lines(store), {x["method"]: x for x in lines(store, partial=True)}
    assert [(x["method"], x["rank"]) for x in whole] == [("Best", "1"), ("Good", "2"), ("Cheat", ""), ("Five", "")]
    cheat = partial["Cheat"]
    assert float(cheat["miou"]) > float(partial["Best"]["miou"]) + 1  # on its own images
    assert float(cheat["behind"]) == pytest.approx(float(cheat["best_there"]) - float(cheat["miou"]), abs=2e-4)
    assert (cheat["rank"], cheat["against_best"], cheat["group"], cheat["images_compared"]) == ("3", "worse", "", "40")
    five = partial["Five"]
    assert (five["rank"], five["against_best"], five["p"], five["low"]) == ("", "too few images", "", "")
    for name in ("Best", "Good"):  # the comparisons of whole runs are what they are without short ones
        before = next(x for x in whole if x["method"] == name)
        assert before == partial[name]
        assert float(before["low"]) < float(before["miou"]) < float(before["high"])
    assert (partial["Good"]["against_best"], partial["Good"]["group"]) == ("worse", "2")
    out = io.StringIO()
    print_leaderboard(leaderboard.build_board(store, partial=True), Console(file=out, width=140))
    (shown,) = re.findall(r"Cheat .* (\d+\.\d\d) *$", out.getvalue(), re.M)  # the last column
    assert float(shown) == pytest.approx(float(cheat["best_there"]), abs=0.005 + 1e-9)  # every fourth ends in a 5
    assert "ranked by how far it is from the best" in " ".join(out.getvalue().split())


def test_a_short_run_that_is_better_than_the_best_is_called_so(tmp_path: Path, rng: np.random.Generator) -> None:
    recipes = [recipe(f"r{n}", name, images=80) for n, name in enumerate(["Best", "Short"])]
    store = filled(
        tmp_path, recipes, hard_and_easy(rng, "r0", 0.7), hard_and_easy(rng, "r1", 0.9, range(40)),
    )  # fmt: skip
    short = next(line for line in lines(store, partial=True) if line["method"] == "Short")
    behind, low, high = (float(short[name]) for name in ("behind", "behind_low", "behind_high"))
    assert (short["rank"], short["against_best"]) == ("1", "better") and float(short["p"]) <= 0.05
    assert low < behind < high < 0
    evidence = gather(store, partial=True)
    (column,) = evidence.columns
    said = significance_words.run_in_words(evidence.entry("r1"), column.standings)
    (told,) = [words for words in said if "points ahead of the best on the same 40 images" in words]
    shown = [float(word.strip("()")) for word in told.split()[:4] if word != "to"]
    assert shown == pytest.approx([-behind, -high, -low], abs=0.006) and told.endswith("better there")


def test_where_no_run_is_complete_those_with_the_most_images_are_compared(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    recipes = [recipe(f"r{n}", f"M{n}", images=90) for n in range(3)]
    data = [hard_and_easy(rng, f"r{n}", 0.7 + n / 20, range(40 - 20 * (n == 2))) for n in range(3)]
    found = lines(filled(tmp_path, recipes, *data), partial=True)
    assert [(x["method"], x["rank"], x["images_compared"], x["group"]) for x in found] == [
        ("M2", "1", "20", ""), ("M1", "2", "40", "1"), ("M0", "3", "40", "2"),
    ]  # fmt: skip


def test_equal_sized_benchmarks_draw_by_themselves(tmp_path: Path, rng: np.random.Generator) -> None:
    other = {"use": "b:B", "settings": {"split": "train", "images": 4}}
    recipes = [recipe("r0", "A", images=80), recipe("r1", "A", "", "Other", images=80, benchmark=other)]
    filled(tmp_path, recipes, hard_and_easy(rng, "r0", 0.7), hard_and_easy(rng, "r1", 0.7))
    first, again = (
        [held.seed for held in leaderboard.build_board(Store.open(tmp_path)).standings.values()] for _ in range(2)
    )
    assert first == again and len(set(first)) == 2


def test_runs_that_differ_in_their_seed_alone_have_a_spread(tmp_path: Path) -> None:
    def seeded(run_id: str, seed: int, **settings: object) -> RunRecipe:
        method = {"use": "m:A", "settings": {"t": 1, "seed": seed, **settings}}
        return replace(recipe(run_id, "A", f"t=1 seed={seed}"), method=method)

    recipes = [seeded("r0", 0), seeded("r1", 1), seeded("r2", 2), seeded("r3", 2, t=5), recipe("r4", "B")]
    store = filled(tmp_path, recipes, *(rows(f"r{n}", 50 + 4 * n) for n in range(5)))
    found = {x["run_id"]: (x["seeds"], x["seed_mean"], x["seed_sd"]) for x in lines(store)}
    assert found["r0"] == found["r1"] == found["r2"] == ("3", "27.7500", "2.0000")  # 25.75, 27.75, 29.75
    assert found["r3"] == found["r4"] == ("", "", "")
    out = io.StringIO()
    print_leaderboard(leaderboard.build_board(store), Console(file=out, width=120))
    assert "A t=1 over 3 seeds: 27.75, standard deviation 2.00." in out.getvalue()


def test_a_part_of_a_data_set_is_marked_wherever_its_number_stands(tmp_path: Path) -> None:
    store = filled(tmp_path, [recipe("r1", "A", official_images=1449)], rows("r1", 50))
    board = leaderboard.build_board(store)
    assert leaderboard.matrix_csv(board).splitlines()[0] == "method,variant,Shapes (4 of the 1449 official images)"
    assert lines(store)[0]["official_images"] == "1449"
    out = io.StringIO()
    print_leaderboard(board, Console(file=out, width=120))
    assert "Shapes (4 of the 1449 official images)" in out.getvalue()
    whole = filled(tmp_path / "whole", [recipe("r1", "A", official_images=4)], rows("r1", 50))
    assert "official" not in leaderboard.matrix_csv(leaderboard.build_board(whole))


def test_all_pairs_are_written_on_request(tmp_path: Path, rng: np.random.Generator) -> None:
    recipes = [recipe(f"r{n}", f"M{n}", images=30) for n in range(4)]
    filled(tmp_path, recipes, *(hard_and_easy(rng, f"r{n}", 0.6 + n / 20, range(30)) for n in range(4)))
    assert main([str(tmp_path)]) == 0 and not (tmp_path / "pairs.csv").exists()
    assert main([str(tmp_path), "--pairs"]) == 0
    pairs = list(csv.DictReader((tmp_path / "pairs.csv").open()))
    assert len(pairs) == 6 and pairs[0]["better"] == "r3" and pairs[-1]["worse"] == "r0"


def test_protocols_share_no_ranking_and_no_column(tmp_path: Path) -> None:
    scored = {**PROTOCOL, "background": "constant"}
    store = filled(tmp_path, [recipe("r1", "A"), recipe("r2", "A", protocol=scored)], rows("r1", 50), rows("r2", 60))
    assert [x["rank"] for x in lines(store)] == ["1", "1"]
    header, *body = csv.reader(io.StringIO(leaderboard.matrix_csv(leaderboard.build_board(store))))
    assert header == ["method", "variant", "Shapes [background=ignored]", "Shapes [background=constant]"]
    assert body == [["A", "", "25.7500", "30.7500"]]
    board = leaderboard.build_board(store, everything=True)
    assert board.differing == ("background",)
    console = Console(width=100, record=True, file=io.StringIO())
    print_leaderboard(board, console)
    assert "Protocols differ in background: they share no column." in console.export_text()


def test_one_name_for_two_benchmarks_is_told_apart_by_what_differs(tmp_path: Path) -> None:
    other = {"use": "b:B", "settings": {"split": "train", "images": 4}}
    recipes = [recipe("r1", "A"), recipe("r2", "A", benchmark=other)]
    found = lines(filled(tmp_path, recipes, rows("r1", 50), rows("r2", 60)))
    assert [(x["benchmark"], x["rank"]) for x in found] == [("Shapes split=val", "1"), ("Shapes split=train", "1")]
    edited = [recipe("r1", "A"), recipe("r2", "A", benchmark={**recipe("r1", "A").benchmark, "source": "other"})]
    found = lines(filled(tmp_path / "edited", edited, rows("r1", 50), rows("r2", 60)))
    assert [(x["benchmark"], x["rank"]) for x in found] == [("Shapes #1", "1"), ("Shapes #2", "1")]


def test_two_runs_of_one_name_stand_apart_in_the_matrix(tmp_path: Path) -> None:
    store = filled(tmp_path, [recipe("r1", "A", "t=1"), recipe("r2", "A", "t=1")], rows("r1", 50), rows("r2", 60))
    body = leaderboard.matrix_csv(leaderboard.build_board(store)).splitlines()[1:]
    assert body == ["A,t=1 [r1],25.7500", "A,t=1 [r2],30.7500"]


def test_the_last_grid_is_shown_and_all_on_request(tmp_path: Path) -> None:
    store = filled(tmp_path, [recipe("r1", "A"), recipe("r2", "B")], rows("r1", 50), rows("r2", 60))
    store.set_table("narrow", ["r1"])
    assert [x["method"] for x in lines(store)] == ["A"]
    assert [x["method"] for x in lines(store, everything=True)] == ["B", "A"]
    store.set_table("wide", ["r1", "r3"])
    with pytest.raises(StoreError, match="lacks run r3 of the last grid; run the sweep again"):
        leaderboard.build_board(store)


def test_rows_of_more_classes_than_the_recipe_names_are_refused(tmp_path: Path) -> None:
    row = Row("r1", "0", "ok", 0.1, None, np.array([3]), np.array([1]), np.array([9]))
    with pytest.raises(StoreError, match="pixels of class 3, but its recipe lists 2 classes"):
        leaderboard.build_board(filled(tmp_path, [recipe("r1", "A")], [row]))


def test_the_bytes_depend_on_no_order_and_no_number_of_parts(tmp_path: Path, seed: int) -> None:
    rng, random_order = np.random.default_rng(seed), random.Random(seed)
    recipes = [recipe(f"r{i}", f"M{i}", images=30, classes=tuple("abcdefg")) for i in range(3)]
    data = []
    truths = rng.integers(2, 99999, (30, 7))  # pixels by image and class, whichever run looks at them
    for i in range(90):
        given = np.array([rng.choice(8, 2, replace=False) for _ in range(7)])
        first = rng.integers(1, truths[i // 3])
        pixels = np.stack([first, truths[i // 3] - first], axis=1)
        overlap = np.repeat(np.arange(1, 8), 2), np.where(given, given, WIDE_IGNORED).ravel(), pixels.ravel()
        data.append(Row(f"r{i % 3}", f"image {i // 3}", "ok", float(rng.random()), None, *overlap))
    texts = set()
    for number in (1, 2, 7):
        random_order.shuffle(data)
        store = filled(tmp_path / str(number), recipes, *(data[k::number] for k in range(number)))
        board = leaderboard.build_board(store)
        texts.add((leaderboard.leaderboard_csv(board), leaderboard.matrix_csv(board)))
    assert len(texts) == 1
    assert len({x["miou"] for x in lines(store)}) > 1  # two of the three may be printed alike


def test_the_command_writes_both_files_and_prints_the_table(tmp_path: Path) -> None:
    store = filled(tmp_path, [recipe("r1", "Maskless [x]", "t=1")], rows("r1", 50))
    done = call(main, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Maskless [x]" in done.stdout
    assert "25.75" in done.stdout
    assert (tmp_path / "leaderboard.csv").read_text() == leaderboard.leaderboard_csv(leaderboard.build_board(store))
    assert (tmp_path / "matrix.csv").read_text().startswith("method,variant,Shapes\n")


def test_a_wrong_folder_is_one_sentence_and_exit_2(tmp_path: Path) -> None:
    for folder, what in ((tmp_path / "none", "does not exist"), (tmp_path, "holds no rows/")):
        done = call(main, folder)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert what in done.stderr


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_terminal_and_tells_of_holes(tmp_path: Path, width: int) -> None:
    recipes = [recipe(f"r{i}", "StableSeg", f"timestep={i} refine=samap") for i in range(3)]
    store = filled(tmp_path, recipes, rows("r0", 50), rows("r1", 60), rows("r2", 70, [0, 1], failed=[2]))
    out = io.StringIO()
    print_leaderboard(leaderboard.build_board(store), Console(file=out, width=width, highlight=False))
    printed = out.getvalue()
    assert max(map(len, printed.splitlines())) <= width
    assert "30.75" in printed
    assert "2/4" in printed
    assert "1 run has holes (1 image failed, 1 missing) and is not" in printed.replace("\n", " ")
    if width >= 80:
        assert "timestep=1 refine=samap" in printed
