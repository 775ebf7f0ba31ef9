"""Settings flow in; the CLIP pass, the backbone that serves it and the ground plan of its readers flow out, no torch.

The tower runs once an image up to the input of its last block; every method of the family then finishes that block in
its own way (see `methods.clip.features.ClipFeatures`).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from harness.contracts import Parts, Pass, ProtocolSettings, Query, Recipe, Timing, Vocabulary
from methods import measured
from methods.cards import NO_LAYOUT, computing, words_of
from methods.checkpoints import here
from methods.clip.passes import ClipPass, block_inputs, check_depth
from methods.clip.pixels import stride_of
from methods.clip.view import AUTO, View, resolved_view, view_of
from methods.one_network import OneNetwork

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import ClipFeatures
    from methods.clip.network import ClipNetwork

DEFAULT_MODEL = "openai/clip-vit-base-patch16"
PORTS = ("clean", "official")
POSITIONS = ("library", "authors")


@dataclass(frozen=True)
class Clip(OneNetwork["ClipNetwork"]):
    """Backbone: a CLIPModel of transformers with its tokenizer, by shipped name, folder or hub id; opened at first use.

    On a GPU when there is one. Images of the model's own square, and windows, go through together, in calls of as many
    as the batch has images, each of one shape; a whole image of its own size goes alone. So neighbours do not matter.
    ModelError for a model that is missing, of another kind or incomplete.
    port: "clean" runs the checkpoint as it was trained; "official" as MaskCLIP's authors do in their code, the image
    tower with plain GELU, layer norms with eps 1e-6, and ImageNet's colours (their corner padding is left out: sides
    are whole patches here).
    card: holds for the tower up to its last block, which readers finish. `compile` compiles that much of it, once a
    shape, for square inputs of passes that have few shapes; others stay as they are.
    """

    kind: ClassVar[str] = "clip"
    not_of_cards: ClassVar[Mapping[str, str]] = {"channels_last": NO_LAYOUT}

    model: str = DEFAULT_MODEL
    port: str = "clean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.port not in PORTS:
            raise ValueError(f"port is {self.port!r}; give one of {', '.join(PORTS)}.")

    def check_passes(self, requests: Mapping[Pass, Parts]) -> None:
        """ModelError for windows or blocks that the model cannot serve, if it is on this machine."""
        vision = self._vision()
        if vision is None:
            return
        patch, blocks = vision.get("patch_size", 32), vision.get("num_hidden_layers", 12)  # the library's defaults
        for asked, parts in requests.items():
            check_depth(_depth(parts), blocks)
            if isinstance(asked, ClipPass) and asked.window is not None:
                stride_of(asked.window, asked.stride, patch)

    @property
    def timings(self) -> Sequence[Timing]:
        """What networks of these shapes took for an image of their own size, or a window; none of other models."""
        if self.model == "shapes":
            return measured.timings("CLIP of Shapes", self.dtype)
        vision = self._vision()
        widths = {"hidden_size": 768, "patch_size": 16, "num_hidden_layers": 12}
        known = self.model == DEFAULT_MODEL if vision is None else widths.items() <= vision.items()
        return measured.timings("CLIP ViT-B/16 at 224 x 224", self.dtype) if known else ()

    def open_models(self) -> Sequence[str]:
        """Open the network; what is to be said of it."""
        return (*self.network.remarks, *super().open_models())

    def opened(self) -> ClipNetwork:
        """Open it."""
        from methods.clip.opening import open_network

        compiled = "compile" in words_of(self.card)
        return open_network(self.model, self.revision, dtype=self.dtype, port=self.port, compiled=compiled)

    def run(
        self, queries: Sequence[Query], requests: Mapping[Pass, Parts]
    ) -> Iterator[tuple[Pass, Sequence[ClipFeatures]]]:
        """Every pass with one ClipFeatures a query."""
        for asked, parts in requests.items():
            assert isinstance(asked, ClipPass)
            depth = _depth(parts)
            with computing(self.card):
                found = self.network.features([query.image for query in queries], asked, depth)
            yield asked, found

    def _vision(self) -> Mapping[str, Any] | None:
        """The configuration of the vision tower, if the model is on this machine."""
        folder = here(self.model, "clip", self.revision)
        if folder is None:
            return None
        found: Mapping[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return found.get("vision_config") or {}


@dataclass(frozen=True)
class ClipReader(ABC):
    """What the methods of the CLIP family share: which model, how its input is cut, and scores from embeddings.

    A method says how the last blocks are finished (`embeddings`). Scores are cosines between every patch's embedding
    and the texts, float32 (positions, rows, columns): on the patch grid, or, of several windows, enlarged and averaged
    on the pixels of the resized image. There is a plane a word (see harness.contracts), so that a softmax sees them
    all. No logit scale: it changes no argmax.
    resize, window, stride: how the image is cut (see ClipPass). `auto` is as the method is published, or, where the
    protocol resizes or cuts, the image as it is shown; what is written is refused there.
    positions: off the native size, the position table is resized as transformers does (`library`) or as the method's
    authors do in their code (`authors`).
    card: how a GPU computes the tower, see methods.cards; the other networks of a reader have a setting of their own.
    """

    published_positions: ClassVar[str] = "scaled"
    published_view: ClassVar[View] = ("native", None, None)
    multiple: ClassVar[int] = 0  # of pixels, that an image's sides are made

    model: str = DEFAULT_MODEL
    revision: str | None = None
    dtype: str = "float32"
    resize: int | str = AUTO
    window: int | str | None = AUTO
    stride: int | str | None = AUTO
    positions: str = "library"
    card: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if self.positions not in POSITIONS:
            raise ValueError(f"positions is {self.positions!r}; give {' or '.join(POSITIONS)}.")
        _ = self.clip_pass

    @property
    def idle(self) -> tuple[str, ...]:
        """The settings of positions and of cards where they are as they were before there was a choice."""
        return (*["positions"] * (self.positions == "library"), *["card"] * (not self.card))

    @property
    def plane_a_word(self) -> bool:
        """The scores have a plane for every word of every class."""
        return True

    def resolved(self, protocol: ProtocolSettings) -> Mapping[str, Any]:
        """The settings that stand at `auto`, as they are under a protocol. MethodError for those that are written where
        the protocol says how the image is cut."""
        return resolved_view(self, self.published_view, protocol)

    @property
    def backbone(self) -> Clip:
        """The model that serves the pass, not yet opened."""
        return Clip(self.model, self.revision, self.dtype, card=self.card)

    @property
    def clip_pass(self) -> ClipPass:
        """The one pass that is read."""
        named = {item.name: getattr(self.backbone, item.name) for item in fields(Clip)}
        settings = {name: value for name, value in named.items() if name not in self.backbone.idle}
        table = self.published_positions if self.positions == "authors" else self.positions
        own = Recipe.of("methods.clip:Clip", **settings)
        return ClipPass(own, *view_of(self, self.published_view), table, self.multiple)

    @property
    def blocks(self) -> int:
        """How many blocks, from the last one back, are finished in the method's own way."""
        return 1

    def passes(self) -> Mapping[Pass, Parts]:
        """One pass and the block inputs that are read of it."""
        return {self.clip_pass: block_inputs(self.blocks)}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Tensor:
        """Scores (planes, rows, columns) of one image."""
        from methods.clip.network import merge_windows

        own: ClipFeatures = features[self.clip_pass]
        return merge_windows(self.window_scores(own, vocabulary), own.tiling)

    def read_batch(
        self, features: Mapping[Pass, Sequence[ClipFeatures]], vocabularies: Mapping[int, Vocabulary]
    ) -> Mapping[int, Tensor]:
        """The same by place of a batch: embeddings of all windows that went through the tower together, where nothing
        but them and the words makes the scores. Products with the words are each image's own."""
        from methods.clip.batch import ClipBatch
        from methods.clip.network import merge_windows

        held = features[self.clip_pass]
        if not isinstance(held, ClipBatch) or not self.by_embeddings:
            return {place: self.read({self.clip_pass: held[place]}, words) for place, words in vocabularies.items()}
        found: dict[int, Tensor] = {}
        units = held.by_place(self.embeddings, list(vocabularies))
        for (place, words), own in zip(vocabularies.items(), units, strict=True):
            scores = held.network.text.scores(own, words, self.plane_a_word).transpose(0, 1)
            found[place] = merge_windows(scores, held.tilings[place])
        return found

    @property
    def by_embeddings(self) -> bool:
        """Whether a window's scores are cosines of its embeddings, which look at no other window."""
        return type(self).window_scores is ClipReader.window_scores

    def window_scores(self, features: ClipFeatures, vocabulary: Vocabulary) -> Tensor:
        """Scores (windows, planes, rows, columns) of every window on its patch grid."""
        return features.scores(self.embeddings(features), vocabulary, self.plane_a_word)

    @abstractmethod
    def embeddings(self, features: ClipFeatures) -> Tensor:
        """(windows, rows, columns, width): the embedding of every patch, in the space of the texts."""

    def fingerprint(self) -> str:
        """As the backbone's."""
        return self.backbone.fingerprint()


def _depth(parts: Parts) -> int:
    """How many of the last blocks' inputs some parts name."""
    return max((int(part.removeprefix("input:")) for part in parts), default=1)
