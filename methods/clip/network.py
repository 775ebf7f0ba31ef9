"""Images flow in; they go through the tower in calls of fixed shapes; what enters its last blocks flows out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.contracts import Image, ModelError
from harness.contracts.sending import sent
from methods.clip.batch import ClipBatch, OfOneShape
from methods.clip.passes import ClipPass, check_depth
from methods.clip.pixels import Normalisation, Tiling, normalised, target_size, tile, whole_sides
from methods.clip.positions import position_table
from methods.clip.text import TextBank

WINDOWS = 32  # windows of one image that go through a network together, where each image goes alone


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
            windows = torch.split(torch.cat([self.windows(images[place], tilings[place]) for place in own]), step)
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

    def windows(self, image: Image, tiling: Tiling) -> Tensor:
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
