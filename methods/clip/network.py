"""Images flow in; what enters the tower's last blocks flows out, with the verbs that finish those blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, TypeAlias, overload

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from harness.contracts import Image, ModelError, Vocabulary
from harness.contracts.sending import sent
from methods.checkpoints import fetch, variant
from methods.clip.passes import ClipPass, check_depth
from methods.clip.pixels import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalisation,
    Tiling,
    normalised,
    target_size,
    tile,
    whole_sides,
)
from methods.clip.positions import position_table
from methods.clip.text import TextBank
from methods.hub import reason
from methods.quiet import quiet

WINDOWS = 32  # windows of one image that go through a network together, where each image goes alone


@dataclass(frozen=True, eq=False)
class Projected:
    """What one block's attention works on.

    queries, keys, values: (windows, heads, 1 + patches, head width), class token first. norm: mean length of the
    normalised tokens they come from, (windows, 1, 1, 1). grid: (rows, columns) of a window.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    norm: Tensor
    grid: tuple[int, int]


Attention: TypeAlias = Callable[[Projected], Tensor]  # to mixed values, shaped as the values


def attend_by_head(
    one: Tensor, other: Tensor, values: Tensor, *, bias: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """softmax(one otherᵀ · scale + bias) values, the matrix never built; scale is 1 / sqrt(head width) unless given."""
    return F.scaled_dot_product_attention(one, other, values, attn_mask=bias, scale=scale)


class ClipNetwork:
    """A CLIPModel in evaluation, its tokenizer and its image rule, on one device. remarks: to be said of it."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        rule: Normalisation,
        device: torch.device,
        remarks: Sequence[str] = (),
        compiled: bool = False,
    ):
        self.model = model.to(device).eval().requires_grad_(False)
        self.tokenizer, self.rule, self.device, self.remarks = tokenizer, rule, device, tuple(remarks)
        self.tower = model.vision_model
        config = model.config.vision_config
        self.patch, self.native, self.heads = config.patch_size, config.image_size, config.num_attention_heads
        self.text = TextBank(self.encode)
        # The whole graph or an error: what falls back to the plain way after some shapes would depend on their order.
        self._compiled = torch.compile(self.entering, fullgraph=True, dynamic=False) if compiled else self.entering

    @property
    def dtype(self) -> torch.dtype:
        weight = self.model.visual_projection.weight
        assert isinstance(weight, Tensor)
        return weight.dtype

    def features(self, images: Sequence[Image], asked: ClipPass, depth: int) -> ClipBatch:
        """Features of images. Windows of one shape go through the tower together, as many a call as there are images,
        whosever they are, and a call that is not full has copies: so no image depends on its company."""
        tilings = [self._tiling(image, asked) for image in images]
        step, groups = len(images) if asked.of_few_shapes else 1, list[OfOneShape]()
        for shape in dict.fromkeys(tiling.window for tiling in tilings):
            own = [place for place, tiling in enumerate(tilings) if tiling.window == shape]
            windows = torch.split(torch.cat([self._windows(images[place], tilings[place]) for place in own]), step)
            one = asked.of_few_shapes and shape[0] == shape[1]
            parts = [self.block_inputs(_filled(part, step), depth, asked.positions, one) for part in windows]
            inputs = [torch.cat(held) if len(held) > 1 else held[0] for held in zip(*parts, strict=True)]
            ends = accumulate((len(tilings[place].corners) for place in own), initial=0)
            where = {place: slice(*pair) for place, pair in zip(own, pairwise(ends), strict=True)}
            groups.append(OfOneShape(inputs, step, where))
        return ClipBatch(self, groups, tilings, images)

    def _tiling(self, image: Image, asked: ClipPass) -> Tiling:
        """How an image is cut."""
        size = target_size(image, asked.resize, self.patch, self.native)
        size = whole_sides(size, asked.multiple, asked.window or 0)
        return tile(size, asked.window, asked.stride, self.patch)

    def _windows(self, image: Image, tiling: Tiling) -> Tensor:
        """What the tower is shown of an image (windows, 3, height, width)."""
        return cut_windows(torch.from_numpy(normalised(image, tiling.size, self.rule))[None], tiling)

    @torch.no_grad()
    def block_inputs(self, pixels: Tensor, depth: int, positions: str, usual: bool = True) -> list[Tensor]:
        """What enters the last `depth` blocks, last block first, each (batch, 1 + patches, width). usual: whether the
        pixels have one of few shapes, for which the tower is compiled, if it is to be."""
        check_depth(depth, len(self.tower.encoder.layers))
        make = self._compiled if usual else self.entering
        return make(sent(pixels, self.device).to(self.dtype), positions)[: -depth - 1 : -1]

    def entering(self, pixels: Tensor, positions: str) -> list[Tensor]:
        """What enters every block, the first one first."""
        hidden = self.tower.pre_layrnorm(self.tokens(pixels, positions))
        entering = [hidden]
        for block in self.tower.encoder.layers[:-1]:
            left = block(hidden, attention_mask=None)
            hidden = left if isinstance(left, Tensor) else left[0]  # transformers before 5 gave a tuple
            entering.append(hidden)
        return entering

    def tokens(self, pixels: Tensor, positions: str) -> Tensor:
        """Class token and patches of pixels, each with its position (batch, 1 + patches, width)."""
        embeddings = self.tower.embeddings
        if positions == "library":
            found: Tensor = embeddings(pixels, interpolate_pos_encoding=True)
            return found
        patches = embeddings.patch_embedding(pixels)
        first = embeddings.class_embedding.expand(len(pixels), 1, -1)
        grid = (patches.shape[2], patches.shape[3])
        places = position_table(embeddings.position_embedding.weight, grid, positions)
        return torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1) + places

    @torch.no_grad()
    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Projected text features (sentences, width); ModelError when a sentence has more tokens than positions."""
        numbers = self.tokenizer(list(sentences), padding="longest", verbose=False).input_ids
        tokens = torch.tensor(numbers, dtype=torch.int64, device="cpu")
        room = self.model.config.text_config.max_position_embeddings
        if tokens.shape[1] > room:
            longest = max(sentences, key=lambda sentence: len(self.tokenizer(sentence, verbose=False).input_ids))
            raise ModelError(
                f"The prompt {longest[:80]!r} has {tokens.shape[1]} tokens and this CLIP takes {room}: "
                "shorten the class name or the template."
            )
        # The tower is causal and read at the tokenizer's end mark, so padding behind it needs no mask. The library
        # reads at the mark of the text configuration, which is another one in some checkpoints.
        states = self.model.text_model(input_ids=tokens.to(self.device)).last_hidden_state
        ends = (tokens == self.tokenizer.eos_token_id).int().argmax(dim=1).to(self.device)
        projected: Tensor = self.model.text_projection(states[torch.arange(len(states), device=self.device), ends])
        return projected


class ClipFeatures:
    """What the pass leaves of one image, window by window; `inputs` as `block_inputs` gives.

    grid: the (rows, columns) of a window in patches. image: what was looked at, as the query gave it.
    """

    def __init__(self, network: ClipNetwork, inputs: Sequence[Tensor], tiling: Tiling, image: Image):
        self.network, self.inputs, self.tiling, self.grid, self.image = network, inputs, tiling, tiling.grid, image

    @torch.no_grad()
    def embeddings(
        self, attention: Attention, *, residual: bool = True, feedforward: bool = True, blocks: int = 1
    ) -> Tensor:
        """Unit embeddings (windows, rows, columns, width), float32, with the last blocks' attention replaced.

        With x_l what enters block l, y = LN1(x_l), and (q, k, v) its projections:
        u <- u + W_o attention(q, k, v), then u <- u + MLP(LN2(u)) if feedforward, over the last `blocks` blocks, from
        u = x of the first of them if residual, else 0. Every block reads the tower's own x_l. Then LN_post, projection,
        unit length; the class token is dropped.
        """
        mixed = self.inputs[blocks - 1] if residual else torch.zeros_like(self.inputs[0])
        for place in range(blocks - 1, -1, -1):
            block = self.network.tower.encoder.layers[-1 - place]
            mixed = mixed + self.attended(self.inputs[place], attention, place)
            if feedforward:
                mixed = mixed + block.mlp(block.layer_norm2(mixed))
        return self.projected(mixed[:, 1:])

    @torch.no_grad()
    def attended(self, tokens: Tensor, attention: Attention, place: int = 0) -> Tensor:
        """W_o attention(q, k, v) of a block, the last one or `place` before it, for tokens (windows, tokens, width)."""
        return self.output(attention(self.heads_of(tokens, place)).transpose(1, 2).flatten(2), place)

    @torch.no_grad()
    def output(self, values: Tensor, place: int = 0) -> Tensor:
        """W_o of a block's mixed values (windows, tokens, width), heads side by side."""
        mixed: Tensor = self.network.tower.encoder.layers[-1 - place].self_attn.out_proj(values)
        return mixed

    @torch.no_grad()
    def projected(self, tokens: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Tokens at the tower's end, of the patches or of another grid, to unit embeddings (windows, rows, columns,
        width), float32."""
        return self._on_grid(F.normalize(self.ended(tokens), dim=-1), grid)

    @torch.no_grad()
    def ended(self, tokens: Tensor) -> Tensor:
        """Tokens (windows, tokens, width) at the tower's end, to float32 in the space of the texts, of any length."""
        found: Tensor = self.network.model.visual_projection(self.network.tower.post_layernorm(tokens))
        return found.float()

    @torch.no_grad()
    def normed(self, place: int) -> Tensor:
        """LN1 of a block's input, the last one's or of `place` blocks before it: (windows, 1 + patches, width)."""
        found: Tensor = self.network.tower.encoder.layers[-1 - place].layer_norm1(self.inputs[place])
        return found

    def project(self, place: int = 0) -> Projected:
        """Queries, keys and values of the last block (0), of the one before (1), and so on."""
        return self.heads_of(self.inputs[place], place)

    def heads_of(self, tokens: Tensor, place: int = 0) -> Projected:
        """Queries, keys and values that a block makes of tokens (windows, tokens, width)."""
        block = self.network.tower.encoder.layers[-1 - place]
        normed = block.layer_norm1(tokens)
        heads = [
            layer(normed).reshape(*normed.shape[:2], self.network.heads, -1).transpose(1, 2)
            for layer in (block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj)
        ]
        norm = normed.norm(dim=-1).mean(dim=-1)[:, None, None, None]
        return Projected(heads[0], heads[1], heads[2], norm, self.grid)

    @torch.no_grad()
    def keys(self) -> Tensor:
        """Output-projected keys W_o(k) of the last block (windows, rows, columns, width), float32."""
        attention = self.network.tower.encoder.layers[-1].self_attn
        keys = attention.out_proj(self.project().keys.transpose(1, 2).flatten(2))
        return self._on_grid(keys[:, 1:].float())

    def patch_pixels(self) -> Tensor:
        """What the tower saw of every window (windows, 3, height, width), without what is no whole patch."""
        pixels = torch.from_numpy(normalised(self.image, self.tiling.size, self.network.rule))
        rows, columns = (count * self.network.patch for count in self.grid)
        return sent(cut_windows(pixels[None], self.tiling)[:, :, :rows, :columns], self.inputs[0].device)

    def text(self, vocabulary: Vocabulary) -> list[Tensor]:
        """Unit vectors (names, width) of every position."""
        return [
            torch.stack([self.network.text.vector(name, vocabulary.templates) for name in names])
            for names in vocabulary.names
        ]

    @torch.no_grad()
    def scores(self, embeddings: Tensor, vocabulary: Vocabulary, plane_a_word: bool = False) -> Tensor:
        """Cosines (windows, positions, rows, columns) of embeddings (windows, rows, columns, width): of a class's best
        name, or of every name of every class in order."""
        return self.network.text.scores(embeddings, vocabulary, plane_a_word).transpose(0, 1)

    def _on_grid(self, values: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """(windows, patches, width) to (windows, rows, columns, width)."""
        return values.reshape(len(values), *(grid or self.grid), -1)


@dataclass(frozen=True, eq=False)
class OfOneShape:
    """Windows of one shape. inputs: of all of them, one after the other, and of the copies that fill up the last call.
    step: windows of a call. where: by image, which are its own."""

    inputs: Sequence[Tensor]
    step: int
    where: Mapping[int, slice]

    def calls_of(self, place: int) -> range:
        """The numbers of the calls in which the windows of an image are."""
        own = self.where[place]
        return range(own.start // self.step, -(-own.stop // self.step))

    def of(self, values: Mapping[int, Tensor], place: int) -> Tensor:
        """Of values (windows of a call, ..), by call, those of one image."""
        own = self.where[place]
        starts = {call: call * self.step for call in self.calls_of(place)}
        parts = [values[call][max(0, own.start - at) : own.stop - at] for call, at in starts.items()]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class ClipBatch(Sequence[ClipFeatures]):
    """Features of every image of a batch, in order; and what went through the tower together, for who reads a batch."""

    def __init__(
        self, network: ClipNetwork, groups: Sequence[OfOneShape], tilings: Sequence[Tiling], images: Sequence[Image]
    ):
        self.network, self.tilings = network, tilings
        self._images, self._groups = images, {place: group for group in groups for place in group.where}
        one_call = len(groups) == 1 and len(groups[0].inputs[0]) == groups[0].step
        self._joint = JointFeatures(network, groups[0].inputs, tilings[0], images[0]) if one_call else None

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, place: int) -> ClipFeatures: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ClipFeatures]: ...
    def __getitem__(self, place: int | slice) -> ClipFeatures | Sequence[ClipFeatures]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        number = range(len(self))[place]
        group = self._groups[number]
        inputs = [tokens[group.where[number]] for tokens in group.inputs]
        return ClipFeatures(self.network, inputs, self.tilings[number], self._images[number])

    def by_place(self, make: Callable[[ClipFeatures], Tensor], places: Sequence[int]) -> Iterator[Tensor]:
        """What is made of the windows of every call, as if they were those of one image, image by image. It is kept
        until the last image that needs it."""
        needs = {
            place: [(id(self._groups[place]), call) for call in self._groups[place].calls_of(place)] for place in places
        }
        left, made = Counter(key for keys in needs.values() for key in keys), dict[tuple[int, int], Tensor]()
        for place, keys in needs.items():
            group = self._groups[place]
            for key in keys:
                if key not in made:
                    made[key] = make(self._call(place, key[1]))
            yield group.of({call: made[key] for key in keys for call in key[1:]}, place)
            left.subtract(keys)
            for key in keys:
                if not left[key]:
                    del made[key]

    def _call(self, place: int, call: int) -> ClipFeatures:
        """The windows of a call in which an image has some; `image` is nobody's to look at."""
        group = self._groups[place]
        own = slice(call * group.step, (call + 1) * group.step)
        inputs = [tokens[own] for tokens in group.inputs]
        return self._joint or ClipFeatures(self.network, inputs, self.tilings[place], self._images[place])


class JointFeatures(ClipFeatures):
    """Features of a batch that is one call; what every method of the family asks of the last block is made once."""

    @cached_property
    def _last(self) -> Projected:
        return super().project()

    def project(self, place: int = 0) -> Projected:
        """As ClipFeatures'; of the last block, which all methods read, made once."""
        return super().project(place) if place else self._last


def _filled(windows: Tensor, step: int) -> Tensor:
    """As many windows as a call takes, with copies of the first behind them."""
    missing = step - len(windows)
    return torch.cat([windows, windows[:1].expand(missing, -1, -1, -1)]) if missing else windows


def cut_windows(pixels: Tensor, tiling: Tiling) -> Tensor:
    """(images, 3, height, width) to (images · windows, 3, window height, window width)."""
    height, width = tiling.window
    cut = [pixels[:, :, top : top + height, left : left + width] for top, left in tiling.corners]
    return torch.stack(cut, dim=1).flatten(0, 1)


def merge_windows(scores: Tensor, tiling: Tiling) -> Tensor:
    """Scores of windows (windows, positions, rows, columns) to those of the image (positions, height, width).

    As in mmseg: each enlarged to its window's pixels, and the mean taken over the windows that cover a pixel. A single
    window stays on its patch grid.
    """
    if len(tiling.corners) == 1:
        return scores[0]
    height, width = tiling.window
    total, count = scores.new_zeros((scores.shape[1], *tiling.size)), scores.new_zeros(tiling.size)
    for piece, (top, left) in zip(scores, tiling.corners, strict=True):
        inside = (slice(top, top + height), slice(left, left + width))
        total[:, *inside] += F.interpolate(piece[None], size=tiling.window, mode="bilinear", align_corners=False)[0]
        count[inside] += 1
    return total / count


def open_network(model: str, revision: str | None, *, dtype: str, port: str, compiled: bool = False) -> ClipNetwork:
    """The model at its place, on the GPU when there is one. ModelError, one sentence, when it cannot be had."""
    folder = fetch(model, "clip", revision)
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():  # it would open, empty
        raise ModelError(
            f"The CLIP model in {folder} has no tokenizer: it needs tokenizer.json, or vocab.json and merges.txt."
        )
    weights = variant(folder)
    try:
        with quiet("transformers"):
            config = CLIPConfig.from_pretrained(folder)
            if port == "official":
                config.vision_config.hidden_act, config.vision_config.layer_norm_eps = "gelu", 1e-6
            opened, notes = CLIPModel.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                variant=weights or None,
                local_files_only=True,
                output_loading_info=True,
            )
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as problem:  # a library's own tree of errors, and those of safetensors below it
        raise ModelError(f"The CLIP model {model!r} cannot be opened from {folder}: {reason(problem)}.") from problem
    if notes["missing_keys"]:
        absent = sorted(notes["missing_keys"])
        raise ModelError(f"The CLIP model {model!r} in {folder} lacks {len(absent)} of its weights, {absent[0]} first.")
    words, end = config.text_config.vocab_size, tokenizer.eos_token_id
    if end is None or end >= words or tokenizer("a").input_ids[-1] != end:
        raise ModelError(
            f"The tokenizer of the CLIP model {model!r} in {folder} ends a text with a mark ({tokenizer.eos_token!r}, "
            f"number {end}) that its text encoder of {words} tokens cannot be read at: take both from one checkpoint."
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rule = Normalisation.of_folder(folder)
    if port == "official":
        rule = replace(rule or Normalisation(), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    remarks = [] if rule else [_assumed(model, folder)]
    return ClipNetwork(opened, tokenizer, rule or Normalisation(), device, remarks, compiled)


def _assumed(model: str, folder: Path) -> str:
    """What is said of a folder that does not say how its colours are normalised."""
    return (
        f"The CLIP model {model!r} in {folder} has neither processor_config.json nor preprocessor_config.json: its "
        f"colours are normalised with OpenAI's mean {CLIP_MEAN} and deviation {CLIP_STD}."
    )
