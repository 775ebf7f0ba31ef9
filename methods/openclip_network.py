"""Images flow in; the last map of a CLIP ResNet of open_clip flows out, with the verbs that read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from torch import Tensor

from harness.contracts import Image, ModelError, Vocabulary
from harness.contracts.sending import sent
from methods.clip.network import WINDOWS, cut_windows
from methods.clip.pixels import Normalisation, Tiling, normalised, target_size, tile
from methods.clip.text import TextBank
from methods.hub import reason
from methods.openclip_shape import PATCH

if TYPE_CHECKING:
    from methods.clip.passes import ClipPass


class ResNetNetwork:
    """A CLIP of open_clip in evaluation, whose image tower is a ModifiedResNet, and its tokenizer, on one device."""

    def __init__(self, model: Any, tokenizer: Any, device: torch.device, dtype: torch.dtype):
        self.model = model.to(device, dtype).eval().requires_grad_(False)
        self.tower, self.tokenizer, self.device, self.dtype = model.visual, tokenizer, device, dtype
        side = self.tower.image_size
        self.native: int = side if isinstance(side, int) else side[0]
        colours = self.tower.preprocess_cfg
        resample = Pillow.Resampling[colours.get("interpolation", "bicubic").upper()]
        self.rule = Normalisation(tuple(colours["mean"]), tuple(colours["std"]), int(resample))
        self.text = TextBank(self.encode)

    def channels_last(self) -> None:
        """Lay the tower out so, from now on."""
        self.tower.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def features(self, images: Sequence[Image], asked: ClipPass) -> list[ResNetFeatures]:
        """Features of images that have one size after resizing; they go through the tower as one batch."""
        (size,) = {target_size(image, asked.resize, PATCH, self.native) for image in images}
        tiling = tile(size, asked.window, asked.stride, PATCH)
        pixels = torch.stack([torch.from_numpy(normalised(image, size, self.rule)) for image in images])
        cut = cut_windows(pixels, tiling)
        groups = torch.split(cut, WINDOWS) if len(images) == 1 else [cut]
        maps = torch.cat([self.last_map(group) for group in groups])
        count = len(tiling.corners)
        return [
            ResNetFeatures(self, maps[place * count : (place + 1) * count], tiling, image)
            for place, image in enumerate(images)
        ]

    def last_map(self, pixels: Tensor) -> Tensor:
        """What enters the attention pool, (batch, channels, rows, columns)."""
        hidden = self.tower.stem(sent(pixels, self.device).to(self.dtype))
        for stage in (self.tower.layer1, self.tower.layer2, self.tower.layer3, self.tower.layer4):
            hidden = stage(hidden)
        found: Tensor = hidden
        return found

    @torch.no_grad()
    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Text features (sentences, width); ModelError when a sentence has more tokens than positions."""
        room = self.model.context_length
        for sentence in sentences:
            count = len(self.tokenizer.encode(sentence)) + 2
            if count > room:
                raise ModelError(
                    f"The prompt {sentence[:80]!r} has {count} tokens and this CLIP takes {room}: "
                    "shorten the class name or the template."
                )
        tokens = self.tokenizer(list(sentences), context_length=room).to(self.device)
        encoded: Tensor = self.model.encode_text(tokens)
        return encoded


class ResNetFeatures:
    """What the pass leaves of one image, which is `image`; `grid` is the (rows, columns) of a window's last map."""

    def __init__(self, network: ResNetNetwork, maps: Tensor, tiling: Tiling, image: Image):
        self.network, self.tiling, self.image = network, tiling, image
        self.grid = (maps.shape[2], maps.shape[3])
        self.positions = maps.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def embeddings(self) -> Tensor:
        """c_proj(v_proj(x)) at unit length (windows, rows, columns, width), float32."""
        pool = self.network.tower.attnpool
        return self._on_grid(F.normalize(pool.c_proj(pool.v_proj(self.positions)).float(), dim=-1))

    @torch.no_grad()
    def keys(self) -> Tensor:
        """k_proj(x) (windows, rows, columns, channels), float32."""
        return self._on_grid(self.network.tower.attnpool.k_proj(self.positions).float())

    @torch.no_grad()
    def scores(self, embeddings: Tensor, vocabulary: Vocabulary, plane_a_word: bool = False) -> Tensor:
        """Cosines (windows, positions, rows, columns) of embeddings, or with a plane for every name."""
        return self.network.text.scores(embeddings, vocabulary, plane_a_word).transpose(0, 1)

    def _on_grid(self, values: Tensor) -> Tensor:
        return values.reshape(len(values), *self.grid, -1)


def open_resnet(model: str, pretrained: str, dtype: str) -> ResNetNetwork:
    """The model by name and tag, or from a folder, on the GPU when there is one. ModelError when it cannot be had."""
    local = Path(model).is_dir()
    if not local:
        tags = open_clip.list_pretrained_tags_by_model(model)
        if pretrained not in tags:
            known = f"its tags are {', '.join(tags)}" if tags else "it knows no model of that name"
            raise ModelError(f"open_clip has no {model!r} with the tag {pretrained!r}; {known}.")
    name = f"local-dir:{Path(model)}" if local else model
    try:
        opened = open_clip.create_model(name, pretrained=None if local else pretrained)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as problem:  # open_clip's errors, the hub's, and those of the connection below
        raise ModelError(f"The CLIP {model!r} cannot be opened by open_clip: {reason(problem)}.") from problem
    if not hasattr(opened.visual, "attnpool"):
        raise ModelError(f"The CLIP {model!r} has no ResNet tower; methods.maskclip:MaskCLIP reads transformers.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return ResNetNetwork(opened, tokenizer, device, getattr(torch, dtype))
