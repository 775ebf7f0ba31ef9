"""How a card computes: off unless it is asked for, in the id where it is, refused in a sentence where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import door
from toy_cells import Cell

from harness.contracts import ModelError, Query, Recipe, Vocabulary
from harness.planning import plan as plans
from methods import cards
from methods.cards import computing
from methods.clip import Clip
from methods.corrclip import CorrCLIP
from methods.diffusion import Diffusion
from methods.learned_stableseg import LearnedStableSeg
from methods.naclip import NACLIP
from methods.openclip_resnet import MaskCLIPResNet
from methods.sam import Sam, Sam2
from methods.sam.passes import RegionsPass, SamPass
from methods.stableseg import StableSeg
from methods.vision import Vit
from methods.vision.passes import VitPass
from perf import propose_batch
from perf.gpu_bench import proposed, rate_of

Flags = tuple[str, bool, bool, bool]


def flags() -> Flags:
    cuda = torch.backends.cuda
    return (
        torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, cuda.flash_sdp_enabled(),
        cuda.math_sdp_enabled(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("card", "says"),
    [
        ("tf23", "The setting card is 'tf23'; it joins channels_last, tf32, flash, efficient, cudnn, math by"),
        ("math+tf32", r"The setting card is 'math\+tf32'; write it as 'tf32\+math'"),
        ("tf32+tf32", "write it as 'tf32', so that one way to compute has one id"),
        (" tf32+", "write it as 'tf32'"),
        ("+", "write it as ''"),
        ("flash+math", "flash and math exclude each other; name one"),
        (
            "tf32+compile",
            "Stable Diffusion does not compile here, since attention is read by hooks, .* leave 'compile'",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(card: str, says: str) -> None:
    for kind in (StableSeg, Diffusion):
        with pytest.raises(ModelError, match=says):
            kind("shapes", card=card)


@pytest.mark.parametrize(
    ("kind", "card", "says"),
    [
        (Clip, "channels_last", "a transformer has one convolution, .*: leave 'channels_last' out"),
        (CorrCLIP, "channels_last", "a transformer has one convolution"),
        (MaskCLIPResNet, "flash", "a ResNet is read without attention: leave 'flash' out"),
        (MaskCLIPResNet, "compile", "a ResNet of open_clip is not compiled"),
        (NACLIP, "fast", "it joins tf32, flash"),
        (Vit, "compile", "of the transformers only CLIP's tower is compiled here: leave 'compile' out"),
        (Sam, "flash", "a SAM adds relative positions to its attention, .*: leave 'flash' out"),
    ],
)
def test_what_a_family_of_clip_cannot_is_refused_in_a_sentence(kind: Any, card: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        kind(card=card).passes()


def test_where_no_card_is_the_rows_of_one_are_told_of_at_the_start(
    small_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for network in (Diffusion(small_model, card="tf32"), Clip("shapes", card="tf32")):
        (said,) = network.open_models()
        assert said.startswith("The setting card is 'tf32', which says how a GPU computes, and this machine has none: ")
        with monkeypatch.context() as with_a_card:
            with_a_card.setattr(torch.cuda, "is_available", lambda: True)
            assert not [*network.open_models()]
    assert not [*Clip("shapes").open_models()]


CARDS = """
name: cards
methods:
  - {name: MaskCLIP, use: "methods.maskclip:MaskCLIP", with: {model: shapes, card: tf32}}
benchmarks:
  - {name: Shapes, use: "benchmarks.shapes:Shapes", with: {images: 4}}
"""


def test_a_plan_tells_of_a_setting_of_cards_where_this_machine_computes_and_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grid.yaml").write_text(CARDS)
    monkeypatch.setattr(cards, "_DEVICES", (str(tmp_path / "nvidia[0-9]"),))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    def says(*words: str) -> int:
        answer = door("grid.yaml", "--plan", *words, cwd=tmp_path)
        assert answer.returncode == 0, answer
        return answer.stdout.count("and this machine has none")

    assert says() == 1 and says("--set", "methods.MaskCLIP.with.card=''") == 0
    assert says("--address", "10.0.0.1:6379") == 0, "another machine computes"
    (tmp_path / "nvidia0").touch()
    assert says() == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert says() == 1


@pytest.mark.parametrize("kind", [Vit, Sam, Sam2])
def test_towers_beside_clip_compute_as_the_card_says(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Seen:
        def features(self, image: Any, *_: Any) -> Flags:
            return flags()

    monkeypatch.setattr("methods.sam.regions.found_regions", lambda network, *_: network.features(None))
    query, recipe = Query("a", np.zeros((8, 8, 3), np.uint8), Vocabulary((("dog",),))), Recipe.of("m:n")
    asked = {Vit: VitPass(recipe), Sam: SamPass(recipe), Sam2: RegionsPass(recipe)}[kind]
    for card, wanted in (("", ("highest", False, True, True)), ("tf32+math", ("high", True, False, True))):
        backbone = kind("folder", card=card)
        vars(backbone)["network"] = Seen()
        assert [found for _, found in backbone.run([query], {asked: frozenset()})] == [[wanted]]
        assert ("card" in backbone.idle) != bool(card)


@pytest.mark.parametrize(
    ("card", "wanted"),
    [("", ("highest", False, True, True)), ("tf32", ("high", True, True, True)),
     ("math", ("highest", False, False, True)), ("tf32 + flash", ("high", True, True, False))],
)  # fmt: skip
def test_meanwhile_it_computes_so_and_it_is_put_back(card: str, wanted: Flags) -> None:
    before = flags()
    with pytest.raises(KeyError), computing(card):
        assert flags() == wanted
        raise KeyError
    assert flags() == before


def test_a_setting_of_cards_is_in_the_id_where_it_is_set() -> None:
    def run(**settings: Any) -> Any:
        return plans.make("x", [Cell(Recipe.of("methods.stableseg:StableSeg", model="shapes", **settings))], 2).runs[0]

    plain, card = run(), run(card="tf32")
    assert plain.run.run_id == run(card="").run.run_id != card.run.run_id and plain.passes != card.passes
    assert plain.passes == run(card="").passes
    for built in (StableSeg("shapes"), Diffusion("shapes"), LearnedStableSeg(model="shapes", teacher="t")):
        assert "card" in built.idle
    assert "card" not in StableSeg("shapes", card="tf32").idle


def test_a_tower_of_clip_has_it_in_its_ids_where_it_is_set() -> None:
    """Networks beside it have one of their own."""

    def run(**settings: Any) -> Any:
        return plans.make("x", [Cell(Recipe.of("methods.naclip:NACLIP", model="shapes", **settings))], 2).runs[0]

    plain, card = run(), run(card="tf32")
    assert plain.run.run_id == run(card="").run.run_id != card.run.run_id and plain.passes == run(card="").passes
    assert "card" not in repr(plain.passes) and plain.passes != card.passes != run(card="compile").passes
    several = CorrCLIP(card="tf32+compile", regions=None)
    told = {one.backbone.use.partition(":")[2]: one.backbone.as_dict().get("card") for one in several.passes()}
    assert told == {"Clip": "tf32+compile", "Vit": None, "Sam": None}
    beside = CorrCLIP(card_beside="tf32+math", sam_version=2)
    told = {one.backbone.use.partition(":")[2]: one.backbone.as_dict().get("card") for one in beside.passes()}
    assert told == {"Clip": None, "Vit": "tf32+math", "Sam2": "tf32+math"}
    assert "card_beside" in several.idle and "card_beside" not in beside.idle
    assert "card" in Clip().idle and "card" in MaskCLIPResNet().idle and "card" not in MaskCLIPResNet(card="tf32").idle


def test_a_tower_is_compiled_for_few_shapes_and_computes_as_the_card_says(
    ask: Callable[..., Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a compiled graph gives the same numbers but for rounding is `perf.compiled`'s to say."""
    shapes: list[tuple[int, ...]] = []
    ways: list[Any] = []

    def compiled(work: Any, **how: Any) -> Any:
        def run(pixels: torch.Tensor, positions: str) -> Any:
            shapes.append(tuple(pixels.shape))
            ways.append((how, flags()))
            return work(pixels, positions)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    queries, found = [ask("a", "dog", "cat", size=(60, 40)), ask("b", "sky", "tree", size=(64, 64))], []
    for card in ("", "math+compile"):
        for resize in ("native", "window", "shown"):
            reader = NACLIP("shapes", resize=resize, window=None, stride=None, card=card)
            ((request, parts),) = reader.passes().items()
            ((_, batch),) = Clip(**request.backbone.as_dict()).run(queries, {request: parts})
            found.append([reader.read({request: batch[place]}, queries[place].vocabulary) for place in (0, 1)])
    for plain, other in zip(found[:3], found[3:], strict=True):
        torch.testing.assert_close(plain, other, rtol=1e-4, atol=1e-5)
    assert shapes == [(2, 3, 96, 96), (2, 3, 64, 64)]
    assert all(way == ({"fullgraph": True, "dynamic": False}, ("highest", False, False, True)) for way in ways)


def test_scores_are_the_same_but_for_rounding(small_model: str, ask: Callable[..., Query]) -> None:
    query, found = ask("a", "dog", "cat"), []
    for card in ("", "channels_last+tf32+math"):
        reader = StableSeg(small_model, size=(32, 48), card=card)
        ((request, parts),) = reader.passes().items()
        backbone = Diffusion(**request.backbone.as_dict())
        ((_, batch),) = backbone.run([query, query], {request: parts})
        found.append(reader.read({request: batch[0]}, query.vocabulary))
        weight = backbone.network.unet.conv_in.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == bool(card)
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


def test_a_batch_is_proposed_for_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    """The smallest that no larger one is three hundredths faster than."""
    assert proposed({1: 10.0, 2: 20.0, 4: 20.5, 8: 30.0, 16: 30.5, 32: 0.0}) == 8
    assert (rate_of("12.5, 3.1 GiB"), rate_of("out of memory"), rate_of("does not run: 1")) == (12.5, 0.0, 0.0)
    propose_batch.main(["--most", "1", "--refine", "none"])
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("batch 1: ") and last == "Write `batch: 1` into the grid."
