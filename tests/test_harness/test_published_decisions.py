"""From scores of words, and from images, to the label maps that the authors' own programs give."""

from __future__ import annotations

import ast
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import published_images
import pytest
import torch
from in_process import door
from PIL import Image
from published import arrays, clip_network, write_clip

from harness.contracts import ProtocolSettings, Vocabulary
from harness.protocol import presets, views
from harness.protocol.decision import checked_answer, predict, predict_views
from harness.protocol.offering import Offer
from harness.protocol.rules import effective
from harness.protocol.views import queries, tiling
from methods.sclip import SCLIP
from results.folder.keepsakes import label_map_path
from results.folder.store import Store

ALIKE = 0.999  # of the pixels; all of them on the machines that were tried, the rest is for another one's rounding
COUNTS = {"decide_sclip": 9, "decide_naclip": 6, "decide_trident": 4}
CASES = [(name, case) for name, cases in COUNTS.items() for case in range(cases)]


def offered(class_of_query: np.ndarray) -> tuple[Offer, list[int]]:
    """The classes above 0 with their words, then the words of class 0 as context; and the queries in that order."""
    classes = sorted(set(class_of_query.tolist()) - {0})
    words = [[int(query) for query in np.flatnonzero(class_of_query == one)] for one in classes]
    around = [int(query) for query in np.flatnonzero(class_of_query == 0)]
    names = tuple(tuple(f"word {query}" for query in own) for own in [*words, *([query] for query in around)])
    context = tuple(range(len(classes), len(names)))
    numbers = (*classes, *[0] * len(around))
    return Offer(Vocabulary(names, context=context), numbers), [query for own in words for query in own] + around


@pytest.mark.parametrize(("name", "case"), CASES)
def test_softmax_over_words_then_the_best_word_then_area_then_threshold(name: str, case: int) -> None:
    held = arrays(name)
    published = dict(ast.literal_eval(str(held[f"settings{case}"])))
    rules = ProtocolSettings(
        "all", "prompts_constant", threshold=published["prob_thd"], context=("any",), scale="softmax",
        logit_scale=published["logit_scale"], area_thd=published.get("area_thd") or 0.0,
    )  # fmt: skip
    offer, order = offered(held[f"class_of_query{case}"])
    scores = held[f"scores{case}"].astype(np.float32)[order]
    wanted = held[f"labels{case}"]
    found = predict(scores, offer, wanted.shape, rules, plane_a_word=True)
    assert (found == wanted).mean() >= ALIKE
    if len(offer.numbers) < len(order):  # the best word before the softmax is another decision
        best = np.stack([scores[[order.index(q) for q in own]].max(axis=0) for own in _words(offer)])
        before = predict(best, offer, wanted.shape, rules)
        assert not published["prob_thd"] or (before != wanted).sum() > (found != wanted).sum()


def _words(offer: Offer) -> list[list[int]]:
    return [[int(word.removeprefix("word ")) for word in words] for words in offer.vocabulary.names]


@pytest.mark.parametrize("case", [0, 1])
def test_the_preset_of_sclip_gives_the_authors_label_maps_end_to_end(case: int) -> None:
    """SCLIP at its defaults under `protocol: sclip` at this CLIP's size: the protocol cuts, the method does not."""
    held = arrays("sclip_predict")
    image, wanted = held[f"image{case}"], held[f"labels{case}"]
    classes = held["class_of_query"].tolist()
    words = [tuple(str(word) for word, its in enumerate(classes) if its == one) for one in range(4)]
    offer = Offer(Vocabulary(tuple(words), templates=("{}",)), (1, 2, 3, 4))
    rules = effective(replace(presets.preset("sclip").settings, size=min(image.shape[:2]), window=112, stride=56))
    method = SCLIP(**SCLIP().resolved(rules))
    network, cut = clip_network(text="sclip_predict"), tiling(image.shape[:2], rules)
    answers = []
    for query in queries("x", image, offer.vocabulary, cut):
        (features,) = network.features([query.image], method.clip_pass, method.blocks)
        scores = method.read({method.clip_pass: features}, offer.vocabulary)
        answers.append(checked_answer(scores, 4, query.image.shape[:2], 5))
    assert len(answers) > 1
    found = predict_views(answers, cut, offer, wanted.shape, rules, offer.planes(method.plane_a_word))
    assert (found == wanted + 1).mean() >= ALIKE


END_TO_END = """
name: end-to-end
methods:
  - {name: SCLIP, use: "methods.sclip:SCLIP", with: {model: clip}}
  - {name: whole, use: "methods.sclip:SCLIP", with: {model: clip}, protocol: {window: 0}}
benchmarks:
  - {name: first, use: "published_images:Answered", with: {number: 0}, protocol: {size: [112, 150]}}
  - {name: second, use: "published_images:Answered", with: {number: 1}, protocol: {size: [128, 137]}}
protocol: {preset: sclip, names: words.yaml, templates: ["{}"], resize: stretch, longest: 0, window: 112, stride: 56}
keep: {label_maps: 1}
"""


def test_a_sweep_under_the_preset_of_sclip_keeps_the_authors_label_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command, from the grid to the label maps that it keeps and the accuracy in its table."""
    write_clip(tmp_path / "clip", "sclip_predict")
    (tmp_path / "words.yaml").write_text('[["0"], ["1", "2"], ["3"], ["4"]]')
    (tmp_path / "grid.yaml").write_text(END_TO_END)
    monkeypatch.setattr(views, "resized_image", published_images.entering)
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    store = Store(tmp_path / "runs")
    board = store.folder / "leaderboard.csv"
    told = {row["run_id"]: float(row["pixel_accuracy"]) for row in csv.DictReader(board.open())}
    assert len(told) == 4
    for run, accuracy in told.items():
        method, number = recipe_of(store, run)
        kept = np.asarray(Image.open(label_map_path(store.folder, run, f"image{number}")))
        alike = (kept == arrays("sclip_predict")[f"labels{number}"] + 1).mean()
        assert 100 * alike == pytest.approx(accuracy, abs=1e-3)
        assert alike >= ALIKE if method == "SCLIP" else alike < 0.95


def recipe_of(store: Store, run: str) -> tuple[str, int]:
    """The method's name and the number of the image."""
    held = json.loads((store.folder / "recipes" / f"{run}.json").read_text())
    return held["method_name"], held["benchmark"]["settings"]["number"]


@pytest.mark.parametrize("case", [0, 1])
def test_a_method_that_cuts_itself_gives_the_same_label_maps(case: int) -> None:
    """Windows over the unrounded image: 150 and 137 pixels are no whole patches."""
    held = arrays("sclip_predict")
    image, wanted = held[f"image{case}"], held[f"labels{case}"]
    words = (("0",), ("1", "2"), ("3",), ("4",))
    offer = Offer(Vocabulary(words, templates=("{}",)), (1, 2, 3, 4))
    method = SCLIP(resize=min(image.shape[:2]), window=112, stride=56)
    (features,) = clip_network(text="sclip_predict").features([image], method.clip_pass, 1)
    scores = method.read({method.clip_pass: features}, offer.vocabulary)
    assert scores.shape == (5, *image.shape[:2])
    found = predict(scores, offer, wanted.shape, ProtocolSettings("all"), plane_a_word=True)
    assert (found == wanted + 1).mean() >= ALIKE


@pytest.mark.parametrize("case", [0, 1])
def test_shares_are_those_of_the_softmax_over_all_words(case: int) -> None:
    held = arrays("sclip_predict")
    image, shares = held[f"image{case}"], held[f"probabilities{case}"]
    method = SCLIP(resize=min(image.shape[:2]), window=112, stride=56)
    (features,) = clip_network(text="sclip_predict").features([image], method.clip_pass, 1)
    names = Vocabulary((("0",), ("1", "2"), ("3",), ("4",)), templates=("{}",))
    scores = method.read({method.clip_pass: features}, names)
    size = tuple(held[f"original_size{case}"].tolist())
    large = torch.nn.functional.interpolate(scores[None], size=size, mode="bilinear")[0]
    words = (40 * large).softmax(dim=0)
    best = torch.stack([words[0], words[1].maximum(words[2]), words[3], words[4]])
    np.testing.assert_allclose(best[:, ::6, ::6].numpy(), shares, rtol=0, atol=2e-5)
