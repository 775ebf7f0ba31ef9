"""The controls: the same class everywhere, labels by lot, and wrong prompts."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts import Method, MethodError, Vocabulary
from methods.controls import OneClass, RandomLabels, WrongPrompt
from methods.diffusion.prompts import other_words

OFFERED = Vocabulary((("dog",), ("cat",), ("car",)), (("sky",), ("tree",), ("boat",), ("bird",)))


def test_one_class(lots: np.random.Generator) -> None:
    image = lots.integers(0, 256, (7, 11, 3), dtype=np.uint8)
    for position, expected in ((0, 0), (2, 2), (9, 2), (-1, 2), (-9, 0)):
        found = OneClass(position).segment(image, OFFERED)
        assert found.shape == (7, 11)
        assert (found == expected).all()
    assert isinstance(OneClass(), Method)


def test_random_labels(lots: np.random.Generator) -> None:
    image = lots.integers(0, 256, (70, 110, 3), dtype=np.uint8)
    scores, pixels = RandomLabels().segment(image, OFFERED), RandomLabels(side=0).segment(image, OFFERED)
    assert scores.shape == (3, 24, 24)
    assert pixels.shape == (70, 110)
    shares = np.bincount(pixels.ravel(), minlength=3) / pixels.size
    assert np.abs(shares - 1 / 3).max() < 0.03
    assert np.bincount(scores.argmax(axis=0).ravel(), minlength=3).min() > 130  # of 576 cells, 192 expected
    again = np.asfortranarray(image)
    assert np.array_equal(scores, RandomLabels().segment(again, OFFERED))
    assert not np.array_equal(scores, RandomLabels(seed=1).segment(image, OFFERED))
    image[0, 0, 0] ^= 1
    assert not np.array_equal(scores, RandomLabels().segment(image, OFFERED))
    with pytest.raises(MethodError, match="side of random labels is -1"):
        RandomLabels(side=-1)


def test_wrong_names() -> None:
    found = [other_words(OFFERED, str(number), 0) for number in range(40)]
    assert all(len(words) == 3 and not set(words) & set(OFFERED.words) for words in found)
    assert len(set(found)) > 10  # another image, other names
    assert found == [other_words(OFFERED, str(number), 0) for number in range(40)]
    few = Vocabulary(OFFERED.names, (("sky",), ("dog",)))
    for number in range(40):
        words = other_words(few, str(number), 3)
        assert sorted(words) == sorted(few.words)
        assert all(wrong != right for wrong, right in zip(words, few.words, strict=True))
    assert other_words(Vocabulary((("dog",),)), "x", 0) == ("dog",)
    assert other_words(Vocabulary(()), "x", 0) == ()


def test_the_wrong_prompt_is_another_pass() -> None:
    (request,) = WrongPrompt("shapes").passes()
    assert request.whose_names == "others"  # type: ignore[attr-defined]
