"""What is read of a whole batch at once: the same as image by image, the same bits in any company, and few launches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import thin_models
import torch
from launches import Launches
from our_methods import CLIPS, DIFFUSION
from pretend_gpu import pretend_gpu

from harness.checks.with_words import settings_of_words
from harness.contracts import Query, Recipe, Vocabulary
from harness.contracts.sending import sent
from harness.recipes import loading
from harness.work.batch_reading import in_batches
from harness.work.passes import joined_requests
from methods.clip import Clip
from methods.controls import WrongPrompt
from methods.diffusion import Diffusion, aside, many_prompts, row_calls, together
from methods.diffusion.prompts import Prompt
from methods.diffusion.row_calls import UNetRow, calls_of, rows_of_a_call
from methods.naclip import NACLIP
from methods.resclip import ResCLIP
from methods.sclip import SCLIP
from methods.stableseg import StableSeg
from perf.launches import IMAGES, clip_heads, diffusion_readers, launches_of, mixes

Ask = Callable[..., Query]
SIZE = (32, 48)
UPLOADS = 2  # the images, and the noise that belongs to them
KINDS: dict[str, list[dict[str, Any]]] = {
    "joint": [
        {"refine": "none"}, {}, {"refine": "samap"}, {"refine": "box"}, {"refine": "two_level"}, {"refine": "vote"},
        {"prompt_self": "first"}, {"map_norm": "sum", "class_norm": "softmax"},
        {"layers": "4-12", "layer_weights": "1/4:.5, 1/2:.5", "norm_order": "norm_first", "map_size": "1/2"},
        {"subtoken_agg": "last", "head_agg": "max"}, {"refine": "multiscale(power=2)"},
    ],
    "single": [
        {"prompt": "per_class"}, {"prompt": "per_class", "refine": "samap"},
        {"prompt": "per_class", "prompt_self": "first"}, {"prompt": "per_class", "refine": "multiscale"},
    ],
    "padded": [{"resize": "pad"}],
    "draws": [{"noise_draws": 2, "refine": "samap"}],
}  # fmt: skip
FILLER = Query("", np.full((64, 64, 3), 127, np.uint8), Vocabulary((("dog",),)))


def in_a_batch(backbone: Any, readers: Sequence[Any], queries: Sequence[Query], asked: Sequence[int]) -> list[Any]:
    """What each reader answers about the second image."""
    requests = joined_requests(reader.passes() for reader in readers)
    held = dict(backbone.run(queries, requests))
    words = {place: queries[place].vocabulary for place in asked}
    return [reader.read_batch({one: held[one] for one in reader.passes()}, words)[1] for reader in readers]


@pytest.fixture(scope="module")
def backbones(small_model: str) -> Callable[[StableSeg], Diffusion]:
    opened: dict[str, Diffusion] = {}

    def backbone(reader: StableSeg) -> Diffusion:
        return opened.setdefault(reader.resize, Diffusion(small_model, size=SIZE, resize=reader.resize))

    return backbone


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_the_same_bits_in_any_company(
    kind: str, small_model: str, backbones: Callable[[StableSeg], Diffusion], ask: Ask
) -> None:
    """Alone among fillers, among images with more classes, in several prompts too, and asked about by itself; its
    prompts in one call and in two, at any place of it."""
    readers = [StableSeg(small_model, size=SIZE, **settings) for settings in KINDS[kind]]
    own, two = ask("own", "dog", "cat", size=(60, 30)), ask("two", "car", "tree")
    few, many = ask("few", "cat"), ask("many", "cat", "car", "traffic light", "wall clock", "dog", "a photo of the car")
    first, *others = [
        in_a_batch(backbones(readers[0]), readers, company, asked)
        for company, asked in (
            ([FILLER, own, FILLER], [1]), ([many, own, few], [0, 1, 2]), ([few, own, many], [1]),
            ([two, own, few], [1]),
        )
    ]  # fmt: skip
    for settings, scores, *same in zip(KINDS[kind], first, *others, strict=True):
        assert scores.shape[0] == 2 and scores.dtype == torch.float32
        assert all(torch.equal(scores, other) for other in same), settings


@pytest.fixture
def as_on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(row_calls.SIDE_BY_SIDE, "cpu", 2)


@pytest.mark.usefixtures("as_on_a_card")
@pytest.mark.parametrize("settings", [{"refine": "samap"}, {"prompt_self": "first"}, {"head_agg": "max"}])
def test_prompts_side_by_side_leave_an_image_the_same_bits_in_any_company(
    settings: dict[str, Any], small_model: str, backbones: Callable[[StableSeg], Diffusion], ask: Ask
) -> None:
    """Of five prompts, three, two in a call; beside fillers, images that are offered as much, and others. An image that
    is offered every class, while others are not, has no call of a size of its own."""
    reader = StableSeg(small_model, size=SIZE, prompt="per_class", **settings)
    names, filler = ("dog", "cat", "car", "tree", "sky"), FILLER
    own, alike = (
        replace(one, vocabulary=replace(one.vocabulary, others=(), everywhere=True))
        for one in (ask("own", *names, size=(60, 30)), ask("alike", *names))
    )
    part, backbone, rows = ask("part", *names[:4]), backbones(reader), list[int]()
    counting = backbone.network.unet.conv_in.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    first, *others = [
        in_a_batch(backbone, [reader], company, range(3))[0]
        for company in ([filler, own, filler], [alike, own, alike], [part, own, filler])
    ]
    assert rows == [6, 6, 6, 6, 6, 3, 3, 6]
    assert all(torch.equal(first, other) for other in others)
    holds = replace(own, vocabulary=replace(own.vocabulary, everywhere=False))
    beside, among = (in_a_batch(backbone, [reader], (one, holds, one), range(3))[0] for one in (filler, part))
    counting.remove()
    assert rows[8:] == [3] * (3 + 5) and torch.equal(beside, among)
    company = (part, own, filler)
    held = dict(backbone.run(company, reader.passes()))
    batch = reader.read_batch(held, {place: one.vocabulary for place, one in enumerate(company)})
    for place, query in enumerate(company):
        alone = reader.read({request: one[place] for request, one in held.items()}, query.vocabulary)
        torch.testing.assert_close(batch[place], alone, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("refine", ["sar", "samap", "iterate"])
def test_what_several_prompts_keep_lies_in_a_file_and_is_read_to_the_bit(
    refine: str,
    small_model: str,
    backbones: Callable[[StableSeg], Diffusion],
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As from memory; memory it is where the disk takes nothing, where tensors are small, and where there is one
    prompt. Of more classes than a head is wide, too."""
    names = ("dog", "cat", "car", "tree", "sky", "wall", "road", "boat", "bird")
    reader, query = StableSeg(small_model, size=SIZE, prompt="per_class", refine=refine), ask("a", *names)

    def read() -> tuple[Any, int]:
        held = dict(backbones(reader).run([query, query], reader.passes()))
        ((_, batch),) = held.items()
        kept = [one for layer in batch.groups[0].own.values() for piece in layer for one in piece]
        laid = sum(isinstance(one, aside.Laid) for one in kept)
        return reader.read_batch(held, {1: query.vocabulary})[1], laid

    (first, none), _ = read(), monkeypatch.setattr(aside, "LARGE", 0)
    (again, all_of_them), _ = read(), monkeypatch.setattr(aside.tempfile, "TemporaryFile", _full)
    full, no_place = read()
    assert torch.equal(first, again) and torch.equal(first, full)
    assert not none and not no_place and all_of_them > 2 * len(names)


def _full(**_: Any) -> Any:
    raise OSError("No space left on device")


def test_maps_under_the_mean_of_all_prompts_are_those_under_each(
    small_model: str, backbones: Callable[[StableSeg], Diffusion], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few positions at a time, too. The first layer's queries and keys are those of every prompt, to the bit."""
    reader = StableSeg(small_model, size=SIZE, prompt="per_class")
    ((request, parts),) = reader.passes().items()
    everything = {request: parts | {"self:all"}}
    held = dict(backbones(reader).run([ask("a", "dog", "cat", "car")], everything))
    ((_, (one,)),) = held.items()
    maps = torch.rand(70, *one.side("1/1"), generator=torch.Generator().manual_seed(0))
    for spec, given in (("second", maps[:, ::2, ::2]), ("1/1", maps)):
        found = one.propagate(given, spec, 2)
        mean = one.self_attention(spec)
        torch.testing.assert_close(found.flatten(1), given.flatten(1) @ mean.T @ mean.T, rtol=1e-5, atol=1e-6)
        with monkeypatch.context() as few:
            few.setattr(many_prompts, "MEAN", 4 * given[0].numel() * 5)
            torch.testing.assert_close(one.propagate(given, spec, 2), found, rtol=1e-5, atol=1e-6)
    for kind in (0, 1):  # queries, keys
        first, later = (torch.cat([piece[kind] for piece in one.alone.own[index]]) for index in (0, 1))
        assert len(first) == 3 and torch.equal(first[1], first[0]) and torch.equal(first[2], first[0])
        assert not torch.equal(later[1], later[0])


@pytest.mark.parametrize("prompt", ["joint", "per_class"])
def test_images_of_many_positions_have_the_same_bits_in_any_company(
    prompt: str,
    small_model: str,
    backbones: Callable[[StableSeg], Diffusion],
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are refined under the mean of all probabilities, of one prompt and a few classes too."""
    settings: dict[str, Any] = {"size": SIZE, "prompt": prompt, "class_norm": "none"}
    readers = [StableSeg(small_model, refine=refine, **settings) for refine in ("sar", "samap")]
    own, many = ask("own", "dog", "cat"), ask("many", "cat", "car", "traffic light", "wall clock", "dog")
    queries = [FILLER, own, FILLER]
    plain = in_a_batch(backbones(readers[0]), readers, queries, [1])
    monkeypatch.setattr(together, "LARGE", 1)
    first = in_a_batch(backbones(readers[0]), readers, queries, [1])
    other = in_a_batch(backbones(readers[0]), readers, [many, own, FILLER], [0, 1, 2])
    for before, scores, same in zip(plain, first, other, strict=True):
        assert torch.equal(scores, same)
        torch.testing.assert_close(scores, before, rtol=1e-4, atol=1e-6)


def test_rows_of_a_call_depend_on_the_batch_and_on_what_is_offered_everywhere() -> None:
    assert rows_of_a_call(16, 7, True, "cuda") == 7 * 16 and rows_of_a_call(16, 7, False, "cuda") == 16
    assert rows_of_a_call(16, 7, True, "cpu") == 16 and rows_of_a_call(4, 1, True, "cuda") == 4
    assert rows_of_a_call(2, 43, True, "cuda") == 2 * 15  # three calls of at most sixteen prompts an image, evenly
    assert rows_of_a_call(2, 0, True, "cuda") == 2


def test_prompts_of_all_images_fill_calls_of_as_many_rows_as_the_batch_has_images() -> None:
    """Two calls, not three, where one image of sixteen has three prompts; fourteen rows of the second are copies."""
    counts = [1] * 8 + [3] + [1] * 7
    rows = [[UNetRow(image, place, Prompt("", ())) for place in range(count)] for image, count in enumerate(counts)]
    calls = calls_of(rows, [rows_of_a_call(16, count, False, "cuda") for count in counts])
    assert [(len(call.rows), call.copies) for call in calls] == [(16, 0), (16, 14)]
    assert [row for call in calls for row in call.asked] == [row for own in rows for row in own]


OPENED: dict[Recipe, Any] = {}


@pytest.mark.parametrize("name", [*DIFFUSION, *CLIPS])
def test_a_batch_is_read_as_its_images_are(name: str, ask: Ask) -> None:
    settings = settings_of_words(("model=shapes", *{**DIFFUSION, **CLIPS}[name]))
    reader: Any = loading.build(Recipe.of(f"methods.{name}", **settings))
    queries = [ask("a", "dog", "cat", size=(60, 40)), ask("b", "traffic light"), ask("c", "cat", "tree", "sky")]
    (recipe,) = {request.backbone for request in reader.passes()}
    held = dict(OPENED.setdefault(recipe, loading.build(recipe)).run(queries, reader.passes()))
    assert in_batches(reader)
    together = reader.read_batch(held, {place: query.vocabulary for place, query in enumerate(queries)})
    for place, query in enumerate(queries):
        alone = reader.read({request: batch[place] for request, batch in held.items()}, query.vocabulary)
        assert together[place].shape == alone.shape
        torch.testing.assert_close(together[place], alone, rtol=1e-4, atol=2e-5)


CUT = {"resize": 96, "window": 64, "stride": 32}


@pytest.mark.parametrize(
    ("view", "calls"),
    [
        (CUT, {(64, 64): 6}),  # of 4, 8 and 4 windows
        ({"resize": "window", "window": None, "stride": None}, {(60, 40): 1, (64, 64): 1}),
        ({"resize": "shown", "window": None, "stride": None}, {(60, 40): 1, (64, 64): 2}),
    ],
)
def test_windows_go_through_a_tower_in_full_calls_and_have_the_same_bits_in_any_company(
    view: dict[str, Any], calls: dict[tuple[int, int], int], ask: Ask
) -> None:
    readers = [NACLIP("shapes", **view), SCLIP("shapes", **view), ResCLIP("shapes", rcs_blocks=(2, 3), **view)]
    backbone, own, seen = Clip("shapes"), ask("own", "dog", "cat", size=(60, 40)), list[tuple[int, ...]]()
    counting = backbone.network.tower.embeddings.patch_embedding.register_forward_pre_hook(
        lambda _, given: seen.append(tuple(given[0].shape))
    )
    wide, tall = ask("wide", "car", "tree", "sky", size=(40, 70)), ask("tall", "sky", size=(90, 35))
    first = in_a_batch(backbone, readers, [FILLER, own, FILLER], [1])
    counting.remove()
    alone = 1 if view["resize"] == "shown" else 3
    assert Counter(seen) == {(alone, 3, *shape): count for shape, count in calls.items()}
    for company, asked in (([wide, own, tall], [0, 1, 2]), ([tall, own, wide], [1]), ([own, own, FILLER], [1])):
        found = in_a_batch(backbone, readers, company, asked)
        assert all(torch.equal(one, other) for one, other in zip(first, found, strict=True)), company


def test_readers_that_ask_for_the_same_maps_share_them_and_leave_them_as_they_are(
    small_model: str, backbones: Callable[[StableSeg], Diffusion], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = [StableSeg(small_model, size=SIZE, refine=refine) for refine in ("none", "sar", "samap", "box", "none")]
    queries = [ask("a", "dog", "cat"), ask("b", "cat")]
    (request,), backbone = readers[0].passes(), backbones(readers[0])
    ((_, batch),) = backbone.run(queries, joined_requests(reader.passes() for reader in readers))
    made: list[int] = []
    weigh = StableSeg._joined
    monkeypatch.setattr(StableSeg, "_joined", lambda self, *given: made.append(1) or weigh(self, *given))
    words = {place: query.vocabulary for place, query in enumerate(queries)}
    first, *_, last = [reader.read_batch({request: batch}, words) for reader in readers]
    assert len(made) == len(batch.groups) == 1
    assert all(torch.equal(first[place], last[place]) for place in words)
    other = StableSeg(small_model, size=SIZE, refine="none", layer_weights="1/2:1")
    assert not torch.equal(other.read_batch({request: batch}, words)[0], first[0]) and len(made) == 2


def test_a_card_is_asked_little_for_a_batch_of_stable_diffusion() -> None:
    """From images to rows: 150 operations an image for three readers, 25 for one more, and as many with 150 classes."""
    one, two, three = (launches_of("diffusion", diffusion_readers(count), 20) for count in (1, 2, 3))
    assert three.operations.total() <= 150 * IMAGES
    assert two.operations.total() - one.operations.total() <= 25 * IMAGES
    assert three.operations.total() - two.operations.total() <= 25 * IMAGES
    many = launches_of("diffusion", diffusion_readers(3), 150)  # seven prompts an image, in one call
    assert many.operations.total() <= 1.1 * three.operations.total()
    for found in (three, many):
        assert found.uploads.total() <= UPLOADS + IMAGES  # a truth an image
        assert found.waits.total() <= 2 and not found.held


def test_a_card_is_asked_little_for_six_heads_of_clip() -> None:
    few, many = (launches_of("clip", clip_heads(), classes) for classes in (20, 150))
    assert few.numbers == many.numbers
    assert few.operations.total() <= 150 * IMAGES
    assert few.uploads.total() <= 1 + IMAGES and few.waits.total() <= 2 and not few.held


@pytest.mark.parametrize(("mix", "rows"), [("all 150 in one, 20 in the others", 22), ("60 in each", 48)])
def test_where_each_image_is_offered_its_own_every_call_of_a_card_is_as_large_as_the_batch(mix: str, rows: int) -> None:
    calls = list[int]()
    found = launches_of("diffusion", diffusion_readers(1), 150, own=mixes()[mix], calls=calls)
    assert set(calls) == {IMAGES} and len(calls) == -(-rows // IMAGES)
    assert found.waits.total() == 1 and not found.held


def test_fillers_go_with_the_images_that_are_offered_every_class() -> None:
    calls = list[int]()
    launches_of("diffusion", diffusion_readers(1), 150, calls=calls, images=10)
    assert calls == [7 * IMAGES]


def test_wrong_names_that_take_more_prompts_than_the_right_ones_have_calls_of_their_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(row_calls.SIDE_BY_SIDE, "cpu", 16)
    network, rows = thin_models.stable_diffusion("cpu"), list[int]()
    network.unet.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    names = tuple([(" ".join(f"word{n}" for n in range(words)),) for words in (60, 9, 20, 49)])  # two fill a prompt
    words = Vocabulary(names, everywhere=True)
    offered = [replace(query, vocabulary=words) for query in thin_models.queries(6, [1] * 6)]
    reader = WrongPrompt("shapes")
    (request,) = reader.passes()
    counts = [len(network.text.prompts(query, request)) for query in offered]
    right = len(network.text.prompts(offered[0], replace(request, whose_names="own")))
    list(network.serve(offered, reader.passes()))
    assert max(counts) > right == 2 and set(rows) == {6 * right} and len(rows) == -(-sum(counts) // (6 * right))


def test_reading_asks_a_card_to_wait_for_nothing() -> None:
    found = Launches()
    with pretend_gpu(found), torch.no_grad():
        network = thin_models.stable_diffusion("cuda")
        queries, reader = thin_models.queries(3, [2, 5, 30]), StableSeg("shapes", refine="samap")
        ((request, batch),) = network.serve(queries, reader.passes())
        found.clear()
        reader.read_batch({request: batch}, {place: query.vocabulary for place, query in enumerate(queries)})
    assert not found.waits and not found.uploads and found.operations


@pytest.mark.parametrize(("refine", "waits"), [("vote", 3 * IMAGES), ("multiscale", 0), ("iterate", 0), ("spread", 0)])
def test_refiners_that_form_attention_wait_for_a_card_a_few_times_an_image_at_most(refine: str, waits: int) -> None:
    """And what they send there they send without waiting; other than the last bits, they find what they find here."""
    found = launches_of("diffusion", [StableSeg("shapes", refine=refine)], 20)
    assert found.waits.total() == 1 + waits
    assert found.operations.total() <= (300 if refine == "spread" else 180) * IMAGES


@pytest.mark.parametrize("refine", ["vote", "vote(take=majority)", "multiscale", "iterate", "spread"])
def test_refiners_find_on_a_card_what_they_find_here(refine: str) -> None:
    reader, queries = StableSeg("shapes", refine=refine, class_norm="none"), thin_models.queries(3, [2, 5, 30])
    words = {place: query.vocabulary for place, query in enumerate(queries)}
    scores = []
    for device in ("cpu", "cuda"):
        with pretend_gpu(), torch.no_grad():
            held = dict(thin_models.stable_diffusion(device).serve(queries, reader.passes()))
            scores.append({place: one.cpu() for place, one in reader.read_batch(held, words).items()})
    for place, here in scores[0].items():
        torch.testing.assert_close(scores[1][place], here, rtol=1e-4, atol=1e-5)


def test_what_a_card_is_asked_is_counted() -> None:
    found = Launches()
    with pretend_gpu(found):
        there = torch.ones(4, 3).to("cuda")
        there.view(3, 4)[1:].mul(2).sum()
        assert found.operations == {"mul": 1, "sum": 1} and found.uploads == {"to": 1} and not found.waits
        there[[0, 2]], there[torch.tensor([1])], torch.tensor([1.0], device="cuda")
        assert found.uploads == found.held == {"to": 1, "__getitem__": 2, "tensor": 1}
        assert sent(torch.ones(2), torch.device("cuda")).is_cuda and sent(there, "cuda") is there
        assert found.uploads["to"] == 2 and found.held["to"] == 1
        there.cpu(), there.sum().item(), bool(there.any()), there.nonzero(), there[there > 0], there[0].tolist()
        assert found.waits.total() == 6
