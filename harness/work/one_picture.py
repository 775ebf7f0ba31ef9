"""One picture and a method flow in, in somebody else's process; label map and scores flow out as a sweep decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.contracts import (
    BACKGROUND,
    NO_CLASS,
    WIDE_IGNORED,
    Finisher,
    Image,
    LabelMap,
    MethodError,
    ProtocolSettings,
    Query,
    Reader,
    Recipe,
    Words,
)
from harness.errors import SettingsError, in_words
from harness.foreign.calls import Guard
from harness.protocol.decision import checked_answer, gives_planes_a_word, merged_planes, predict_views
from harness.protocol.offering import Offer, offer, segmented, segments_together
from harness.protocol.planes import Answer
from harness.protocol.rules import effective
from harness.protocol.views import Cut, Window, queries, resized_image, tiling
from harness.recipes import loading
from harness.recipes.code_stamp import strange
from harness.work.passes import features_of

T = TypeVar("T")


class OpenMethod:
    """A method with its networks open, as it is under a protocol; of a learner, what lies in the artefact's folder."""

    def __init__(self, recipe: Recipe, artefact: str | None, rules: ProtocolSettings) -> None:
        self._guard, self._recipe, self._learned = Guard(), _resolved(recipe, rules), artefact is not None
        if loading.kind_of(loading.build(self._recipe)) == "learner" and artefact is None:
            raise SettingsError(
                f"{recipe.use} answers once it has learned: give the artefact's folder, as a grid left it"
            )
        self._guard.settle()
        self._method = self._open(self._recipe, partial(loading.open_method, self._recipe, artefact))
        reads = isinstance(self._method, Reader)
        self._needs = self._call(self._recipe, "", lambda: dict(self._method.passes())) if reads else {}
        backbones = dict.fromkeys(request.backbone for request in self._needs)
        self._networks = {one: self._open(one, partial(loading.build, one)) for one in backbones}
        self._guard.leave()

    def about(
        self, image: Image, image_id: str, words: Words, rules: ProtocolSettings
    ) -> tuple[LabelMap, NDArray[np.float32] | None]:
        """Label map and scores of one picture."""
        self._guard.settle()
        offered, size = offer(range(1, len(words) + 1), words, rules), (image.shape[0], image.shape[1])
        planes = offered.planes(gives_planes_a_word(self._method))
        answers, cut = self._answers(image, image_id, offered, planes, rules)
        self._guard.leave()
        numbers = predict_views(answers, cut, offered, size, rules, planes).astype(np.int32)
        nothing = (numbers == BACKGROUND) | (numbers == WIDE_IGNORED)
        label_map = np.where(nothing, NO_CLASS, numbers - 1).astype(np.int32)
        if answers[0].ndim != 3:
            return label_map, None
        found = np.asarray(merged_planes(answers, cut, planes, size).cpu(), np.float32)
        starts = np.cumsum([0, *planes[:-1]])
        return label_map, np.maximum.reduceat(found, starts, axis=0)[: len(words)]

    def _answers(
        self, image: Image, image_id: str, offered: Offer, planes: Sequence[int], rules: ProtocolSettings
    ) -> tuple[list[Answer], Cut]:
        """The checked answers, one a window, with the windows."""
        size = (image.shape[0], image.shape[1])
        whole = Cut(size, (Window(0, 0, *size),))
        cut = whole if getattr(type(self._method), "whole_image", False) is True else tiling(size, rules)
        finishes = isinstance(self._method, Finisher) and not cut.is_whole(size)

        def checked(answer: object, box: Window) -> Answer:
            return checked_answer(answer, len(offered.vocabulary), (box.height, box.width), sum(planes))

        shown = queries(image_id, image, offered.vocabulary, cut, rules.resampling)
        answers = [checked(self._answer(one, finishes), box) for one, box in zip(shown, cut.boxes, strict=True)]
        if not finishes:
            return answers, cut
        scores, seen = merged_planes(answers, cut, planes, size), resized_image(image, cut.size, rules.resampling)
        finished = self._call(self._recipe, image_id, partial(self._method.finish, scores, seen))
        return [checked(finished, whole.boxes[0])], whole

    def _answer(self, query: Query, unfinished: bool) -> object:
        """What the method says of one window."""
        if not self._needs:
            return self._call(self._recipe, query.image_id, partial(self._segmented, query))
        ask = lambda network: lambda function: self._call(network, query.image_id, function)  # noqa: E731
        (features,) = features_of(self._needs, [query], self._networks.__getitem__, ask)
        read: Callable[..., object] = self._method.unfinished if unfinished else self._method.read
        return self._call(self._recipe, query.image_id, partial(read, features, query.vocabulary))

    def _segmented(self, query: Query) -> object:
        """As in a sweep with batches of one image."""
        if not self._learned and segments_together(self._method):
            return self._method.segment_batch([query.image], [query.vocabulary])[0]
        return segmented(self._method, query.image, query.image_id, query.vocabulary)

    def _open(self, recipe: Recipe, make: Callable[[], Any]) -> Any:
        made = self._call(recipe, "", make, opening=True)
        if callable(opens := getattr(made, "open_models", None)):
            self._call(recipe, "", opens, opening=True)
        return made

    def _call(self, recipe: Recipe, image_id: str, function: Callable[[], T], opening: bool = False) -> T:
        """A plug-in's call, looked after as in a sweep; what it raises becomes a sentence."""
        try:
            words = (recipe.use, image_id)
            return self._guard.call(recipe.use, words, function, opening=opening, within=strange(recipe))
        except Exception as error:
            raise MethodError(in_words(error)) from error


def _resolved(recipe: Recipe, rules: ProtocolSettings) -> Recipe:
    """The method with the settings that it leaves to the protocol."""
    built = loading.build(recipe)
    if not callable(ask := getattr(built, "resolved", None)):
        return recipe
    found = loading.ask(built, "resolved()", lambda: dict(ask(effective(rules))))
    return Recipe.of(recipe.use, **{**recipe.as_dict(), **found})
