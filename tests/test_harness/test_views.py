"""Resizing and windows against loops over pixels; decisions under windows against averages formed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from by_hand import averaged, enlarged, starts
from PIL import Image

from harness.contracts import WIDE_IGNORED, MethodError, ProtocolSettings, Vocabulary
from harness.protocol import offering, views
from harness.protocol.decision import checked_answer, predict, predict_views
from harness.protocol.rules import effective

NAMES = (("cat",), ("dog",), ("tree",))
WORDS = Vocabulary(NAMES)


def sliding(window: int, stride: int, **more: object) -> ProtocolSettings:
    return ProtocolSettings("all", window=window, stride=stride, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [
        ((20, 33), 8, 5),
        ((20, 33), 8, 8),
        ((8, 8), 8, 3),
        ((7, 30), 8, 4),
        ((5, 6), 8, 4),
        ((9, 9), 8, 8),
        ((21, 8), 4, 1),
    ],
)
def test_windows_are_those_of_mmseg_and_cover_every_pixel(size: tuple[int, int], window: int, stride: int) -> None:
    cut = views.tiling(size, sliding(window, stride))
    tall, wide = min(window, size[0]), min(window, size[1])
    by_hand = [(y, x, tall, wide) for y in starts(size[0], window, stride) for x in starts(size[1], window, stride)]
    assert [tuple(box) for box in cut.boxes] == by_hand and cut.size == size
    covered = np.zeros(size, int)
    for top, left, height, width in cut.boxes:
        assert 0 <= top <= size[0] - height and 0 <= left <= size[1] - width
        covered[top : top + height, left : left + width] += 1
    assert covered.min() >= 1
    assert len(set(cut.boxes)) == len(cut.boxes)


@pytest.mark.parametrize(
    ("rules", "size"),
    [
        (ProtocolSettings(), (375, 500)),
        (ProtocolSettings(resize="short", size=336), (336, 448)),
        (ProtocolSettings(resize="short", size=750), (750, 1000)),
        (ProtocolSettings(resize="stretch", size=(64, 96)), (64, 96)),
    ],
)
def test_the_resize_rule(rules: ProtocolSettings, size: tuple[int, int], rng: np.random.Generator) -> None:
    assert views.resized_size((375, 500), rules) == size
    image = rng.integers(0, 256, (375, 500, 3), dtype=np.uint8)
    shown = views.resized_image(image, size)
    assert shown.shape == (*size, 3)
    again = np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    assert (shown == again).all()


def test_the_short_side_is_rounded_half_up_in_either_orientation() -> None:
    rules = ProtocolSettings(resize="short", size=5)
    assert views.resized_size((2, 3), rules) == (5, 8)  # 7.5
    assert views.resized_size((333, 100), rules) == (17, 5)  # 16.65


@pytest.mark.parametrize(
    ("rules", "image", "size"),
    [
        (ProtocolSettings(resize="box", size=520), (375, 500), (390, 520)),  # MaskCLIP on PC59
        (ProtocolSettings(resize="box", size=520), (500, 375), (520, 390)),
        (ProtocolSettings(resize="box", size=(512, 2048)), (300, 400), (512, 683)),  # MaskCLIP on VOC20 and ADE
        (ProtocolSettings(resize="box", size=(512, 2048)), (300, 1500), (410, 2048)),
        (ProtocolSettings(resize="long", size=448), (375, 500), (336, 448)),
        (ProtocolSettings(resize="long", size=448), (500, 375), (448, 336)),
        (ProtocolSettings(resize="short", size=336, longest=2048), (375, 500), (336, 448)),
        (ProtocolSettings(resize="short", size=336, longest=2048), (100, 1000), (205, 2048)),
    ],
)
def test_resizing_that_keeps_the_aspect_is_mmcvs(
    rules: ProtocolSettings, image: tuple[int, int], size: tuple[int, int]
) -> None:
    assert views.resized_size(image, effective(rules)) == size


CV2 = [  # OpenCV 4.11's INTER_LINEAR of the image below at 3 x 5
    [[127, 48, 138], [162, 84, 173], [30, 119, 124], [65, 154, 159], [100, 189, 128]],
    [[36, 125, 214], [71, 160, 48], [106, 195, 33], [141, 230, 68], [176, 14, 103]],
    [[112, 200, 122], [147, 102, 74], [182, 103, 109], [184, 55, 144], [85, 90, 179]],
]


def test_bilinear_as_in_cv2_skips_pixels_where_it_shrinks(rng: np.random.Generator) -> None:
    image = (np.arange(7 * 11 * 3).reshape(7, 11, 3) * 89 % 251).astype(np.uint8)
    assert views.resized_image(image, (3, 5), "cv2").tolist() == CV2
    assert (views.resized_image(image, (3, 5)) != CV2).mean() > 0.5
    larger = rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    by_hand = enlarged(larger.transpose(2, 0, 1).astype(float), (20, 31)).transpose(1, 2, 0)
    assert np.abs(views.resized_image(larger, (20, 31), "cv2") - by_hand).max() <= 1.0


def test_views_show_their_pixels_under_their_own_names(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (10, 13, 3), dtype=np.uint8)
    cut = views.tiling((10, 13), sliding(6, 4))
    shown = views.queries("x", image, WORDS, cut)
    assert [query.image_id for query in shown] == ["x@0,0", "x@0,4", "x@0,7", "x@4,0", "x@4,4", "x@4,7"]
    for query, box in zip(shown, cut.boxes, strict=True):
        for y in range(6):
            for x in range(6):
                assert (query.image[y, x] == image[box.top + y, box.left + x]).all()
    (whole,) = views.queries("x", image, WORDS, views.tiling((10, 13), ProtocolSettings()))
    assert whole.image_id == "x" and whole.image is image


@pytest.mark.parametrize("rule", ["ignored", "constant"])
@pytest.mark.parametrize(("window", "stride"), [(8, 5), (9, 9), (20, 7)])
def test_scores_of_windows_are_averaged_where_they_overlap(
    rule: str, window: int, stride: int, rng: np.random.Generator
) -> None:
    size, rules = (13, 22), sliding(window, stride, background=rule)
    cut = views.tiling(size, rules)
    offered = offering.offer((1, 2, 3), NAMES, rules)
    pieces = [rng.random((3, 3, 4)).astype(np.float32) for _ in cut.boxes]
    mean = averaged([piece.astype(np.float64) for piece in pieces], [tuple(box) for box in cut.boxes], size)
    if rule == "constant":
        low, high = mean.min((1, 2), keepdims=True), mean.max((1, 2), keepdims=True)
        mean = (mean - low) / (high - low)
    ranked = np.sort(mean, axis=0)
    wanted, sure = mean.argmax(0) + 1, ranked[-1] - ranked[-2] > 1e-5
    if rule == "constant":
        wanted, sure = np.where(ranked[-1] < 0.5, 0, wanted), sure & (abs(ranked[-1] - 0.5) > 1e-5)
    answers = [checked_answer(piece, 3, (box.height, box.width)) for piece, box in zip(pieces, cut.boxes, strict=True)]
    found = predict_views(answers, cut, offered, size, rules)
    assert (found == wanted)[sure].all() and sure.mean() > 0.9


def test_one_window_decides_as_the_whole_image(rng: np.random.Generator) -> None:
    scores = rng.random((3, 4, 5)).astype(np.float32)
    rules = sliding(64, 32)
    offered, cut = offering.offer((1, 2, 3), NAMES, rules), views.tiling((13, 22), rules)
    assert len(cut.boxes) == 1
    found = predict_views([checked_answer(scores, 3, (13, 22))], cut, offered, (13, 22), rules)
    assert (found == predict(scores, offered, (13, 22), ProtocolSettings("all"))).all()


def test_label_maps_of_windows_are_votes_the_first_of_equals_wins_and_silence_is_no_class(
    rng: np.random.Generator,
) -> None:
    size, rules = (9, 14), sliding(6, 3)
    cut, offered = views.tiling(size, rules), offering.offer((1, 2, 3), NAMES, rules)
    maps = [rng.integers(-1, 3, (box.height, box.width)) for box in cut.boxes]
    votes = np.zeros((3, *size))
    for labels, (top, left, height, width) in zip(maps, cut.boxes, strict=True):
        for y in range(height):
            for x in range(width):
                if labels[y, x] >= 0:
                    votes[labels[y, x], top + y, left + x] += 1
    wanted = np.where(votes.max(0) == 0, WIDE_IGNORED, votes.argmax(0) + 1)
    answers = [checked_answer(labels, 3, labels.shape) for labels in maps]
    assert (predict_views(answers, cut, offered, size, rules) == wanted).all()


def test_a_label_map_of_a_resized_image_is_enlarged_as_votes() -> None:
    rules = ProtocolSettings("all", resize="stretch", size=(2, 2))
    cut, offered = views.tiling((4, 8), rules), offering.offer((1, 2, 3), NAMES, rules)
    answer = checked_answer(np.array([[0, 1], [0, 1]]), 3, (2, 2))
    assert predict_views([answer], cut, offered, (4, 8), rules).tolist() == [[1] * 4 + [2] * 4] * 4


def test_scores_and_label_maps_do_not_mix() -> None:
    rules = sliding(6, 6)
    cut, offered = views.tiling((6, 12), rules), offering.offer((1, 2, 3), NAMES, rules)
    answers = [
        checked_answer(np.zeros((3, 2, 2), np.float32), 3, (6, 6)),
        checked_answer(np.zeros((6, 6), int), 3, (6, 6)),
    ]
    with pytest.raises(MethodError, match="scores for one window"):
        predict_views(answers, cut, offered, (6, 12), rules)
