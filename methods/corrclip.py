"""Features of CLIP and DINO and a map of regions flow in; CorrCLIP's label maps flow out: regions mix and vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.contracts import NO_CLASS, LabelMap, MethodError, Parts, Pass, ProtocolSettings, Recipe, Vocabulary
from harness.contracts.sending import sent
from methods.clip.passes import block_inputs
from methods.clip.view import AUTO, View, resolved_windows
from methods.proxyclip import ProxyCLIP, values_on
from methods.sam import Sam, Sam2
from methods.sam.passes import REGIONS, SAM, RegionsPass, StoredPass
from methods.vision.passes import SUMS

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import ClipFeatures
    from methods.vision.network import VitFeatures

GAMMA = 4.0  # times a cosine, under the softmax
NEAR = 0.2  # regions whose means are less alike than the largest likeness by more than that are not joined
SEMANTIC = 0.5  # the share of a region's own class token
ARGMAX = ("ignored", "class", "prompts")  # rules for the background that ask for the best position alone


@dataclass(frozen=True)
class CorrCLIP(ProxyCLIP):
    """CorrCLIP (Zhang et al., ICCV 2025, arXiv 2411.10086), first version: CLIP's values mixed within regions.

    f = q + k of DINO's last block at unit length; regions of an image, brought to DINO's grid, whose means of f have a
    cosine of 0.8 or more are joined, one by one; what is in no region (the smallest number) stays by itself.
    A = softmax(4 f fᵀ) over patches of the same region; a patch in no region, and what looks at it, sees where f fᵀ is
    above its mean. Embedding = E(W_o(A v)) + the same of the mean of five earlier inputs + half E of a copy of the
    class token that rides through all blocks and sees itself as it was and the patches of its region alone; E = LN_post
    and projection, unit length after the sum.
    regions: a folder with the map of every image (methods.stored_regions), as the authors publish theirs (SAM 2's;
    array `instance_mask`); without one, the masks that a SAM finds by itself (sam, sam_revision, points: prompts a
    side; sam_version: 2 for a Sam2Model, such as facebook/sam2-hiera-large).
    vote: after the decision, a region takes the class that most of its pixels have. For that it is made here as the
    protocol says: logit_scale and threshold at `auto` are its, and the answer is a label map; without a vote, scores.
    depth: the tower's blocks. spatial: the first and the last of the inputs whose mean is taken, counted as parts of
    the pass are (1 enters the last block). Defaults are VOC21's; it cuts windows itself, and a protocol that cuts them
    is refused.
    Left out: DINO in half precision, MetaCLIP's weights (give `model`), the second version's bank and RADIO.
    """

    published_view: ClassVar[View] = (336, 336, 112)

    regions: Path | None = None
    region_files: str = "*"
    region_array: str = ""
    sam: str = SAM
    sam_revision: str | None = None
    points: int = 8
    sam_version: int = 1
    depth: int = 12
    spatial: tuple[int, int] = (2, 6)
    vote: bool = True
    logit_scale: float | str = AUTO
    threshold: float | str = AUTO

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.spatial[0] <= self.spatial[1] <= self.depth:
            raise ValueError(f"spatial is {self.spatial}; give two of the {self.depth} inputs, the smaller one first.")
        if self.sam_version not in (1, 2):
            raise ValueError(f"sam_version is {self.sam_version}; give 1 for a SamModel, 2 for a Sam2Model.")
        for name in ("logit_scale", "threshold"):
            if isinstance(value := getattr(self, name), str) and value != AUTO:
                raise ValueError(f"{name} is {value!r}; give a number, or {AUTO!r} for the protocol's.")
        _ = self.regions_pass

    @property
    def idle(self) -> tuple[str, ...]:
        """As a reader's; and the SAM's version where it is as it was before there was a choice."""
        return (*super().idle, *["sam_version"] * (self.sam_version == 1))

    @cached_property
    def regions_pass(self) -> RegionsPass | StoredPass:
        """The pass that leaves the regions."""
        if self.regions is None:
            kind = Sam if self.sam_version == 1 else Sam2
            own = self.beside(kind(self.sam, self.sam_revision, self.dtype, card=self.card_beside))
            return RegionsPass(own, self.points)
        settings = {"root": str(self.regions), "files": self.region_files, "array": self.region_array}
        return StoredPass(Recipe.of("methods.stored_regions:StoredRegions", **settings))

    def resolved(self, protocol: ProtocolSettings) -> Mapping[str, Any]:
        """The settings that stand at `auto`. MethodError where the protocol cuts, or decides as the vote cannot."""
        if protocol.resize != "none":
            raise MethodError(
                f"CorrCLIP's regions are of the image's own size, and the protocol resizes ({protocol.resize}); "
                "take resize out of the protocol: the method brings the image to its own `resize`"
            )
        found = dict(resolved_windows(self, self.published_view, protocol))
        argmax = protocol.background in ARGMAX
        if not self.vote or argmax:
            own = {"logit_scale": 1.0, "threshold": 0.0}
        elif protocol.scale == "softmax" and protocol.background in ("constant", "prompts_constant"):
            own = {"logit_scale": protocol.logit_scale, "threshold": protocol.threshold}
        else:
            raise MethodError(
                f"CorrCLIP's regions vote after a softmax and a threshold, and the protocol has background "
                f"{protocol.background!r} with scale {protocol.scale!r}: take `scale: softmax`, or `vote: false`"
            )
        if self.vote and not argmax and protocol.area_thd:
            raise MethodError("CorrCLIP's regions vote without a rule for areas; take area_thd out, or `vote: false`")
        return {**found, **{name: value for name, value in own.items() if getattr(self, name) == AUTO}}

    def unanswered(self, image_ids: Sequence[str]) -> Sequence[str]:
        """The images that have no map of regions, or several, where they are stored."""
        if self.regions is None:
            return ()
        from methods.stored_files import StoredFiles

        return StoredFiles(self.regions, self.region_files, "region map").missing(image_ids)

    @property
    def blocks(self) -> int:
        """All of them: the class tokens of regions ride through the whole tower."""
        return self.depth

    def passes(self) -> Mapping[Pass, Parts]:
        """CLIP's pass, DINO's and that of the regions."""
        return {self.clip_pass: block_inputs(self.blocks), self.dino_pass: SUMS, self.regions_pass: REGIONS}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Tensor | LabelMap:  # type: ignore[override]
        """The label map of one image, as its regions voted; without a vote scores, as ProxyCLIP's."""
        import torch

        from methods.clip.network import merge_windows

        own: ClipFeatures = features[self.clip_pass]
        regions = features[self.regions_pass]
        if isinstance(regions, MethodError):
            raise regions
        numbers = sent(torch.from_numpy(regions.astype("int64")), own.inputs[0].device)
        found = self.of_regions(own, features[self.dino_pass], numbers)
        scores = merge_windows(own.scores(found, vocabulary, self.plane_a_word), own.tiling)
        if not self.vote or not len(vocabulary):
            return scores
        large = torch.nn.functional.interpolate(scores[None], tuple(numbers.shape), mode="bilinear")[0]
        return self.voted(large, numbers, vocabulary).cpu().numpy()

    def of_regions(self, features: ClipFeatures, proxy: VitFeatures, regions: Tensor) -> Tensor:
        """Unit embeddings (windows, rows, columns, width) on DINO's grid. regions: (height, width) of the image."""
        import torch
        from torch.nn.functional import interpolate

        assert proxy.sums is not None
        sums = proxy.sums.to(features.inputs[0])
        whole = interpolate(regions[None, None].double(), size=features.tiling.size)[0]
        height, width = features.tiling.window
        inputs = [torch.split(tokens, 1) for tokens in features.inputs]
        found = []
        for place, (top, left) in enumerate(features.tiling.corners):
            cut = interpolate(whole[None, :, top : top + height, left : left + width], size=proxy.grid)[0, 0]
            window = [tokens[place] for tokens in inputs]
            found.append(
                self._window(features, window, sums[place], joined_regions(cut.flatten(), sums[place]), proxy.grid)
            )
        return torch.cat(found)

    def _window(
        self, features: ClipFeatures, inputs: Sequence[Tensor], sums: Tensor, groups: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Of one window; groups: (patches) from 0, which is no region."""
        from torch.nn.functional import interpolate, normalize

        mix = within(sums, groups)
        first, last = self.spatial
        spatial = sum(inputs[first:last], inputs[first - 1]) / (last - first + 1)
        near = interpolate(groups.reshape(1, 1, *grid).double(), size=features.grid).flatten().long()
        own = class_tokens(features, inputs, near).reshape(*features.grid, -1).permute(2, 0, 1)[None]
        semantic = interpolate(own, size=grid).flatten(2).transpose(1, 2)
        several = [features.output(mix @ values_on(grid, features, tokens)) for tokens in (inputs[0], spatial)]
        total = sum((features.ended(tokens) for tokens in several), SEMANTIC * features.ended(semantic))
        return normalize(total, dim=-1).reshape(1, *grid, -1)

    def voted(self, scores: Tensor, regions: Tensor, vocabulary: Vocabulary) -> Tensor:
        """Positions (height, width), NO_CLASS for the background, of scores of words (planes, height, width)."""
        import torch

        scale, least = (1.0 if self.logit_scale == AUTO else float(self.logit_scale),
                        0.0 if self.threshold == AUTO else float(self.threshold))  # fmt: skip
        shares = (scale * scores).softmax(dim=0)
        words = torch.split(shares, [len(names) for names in vocabulary.names])
        values = torch.stack([planes.amax(dim=0) for planes in words])
        best, where = values.max(dim=0)
        around = [place for place in (vocabulary.background, *vocabulary.context) if place is not None]
        if around:
            where = where.masked_fill(values[around].amax(dim=0) == best, NO_CLASS)  # of equals the background wins
        return majority(where.masked_fill(best < least, NO_CLASS), regions)


def joined_regions(regions: Tensor, sums: Tensor) -> Tensor:
    """Group of every patch, from 0, which is no region (the smallest number), of its region and its unit vector."""
    import torch
    from torch.nn.functional import normalize

    numbers, place = torch.unique(regions, return_inverse=True)
    own = torch.nn.functional.one_hot(place, len(numbers)).to(sums)
    groups: Tensor = place
    if len(numbers) <= 2:
        return groups
    means = normalize(own.T @ sums / own.sum(dim=0)[:, None], dim=-1)
    alike = means @ means.T
    near = alike >= alike.max() - NEAR
    near[0], near[:, 0] = False, False
    near.fill_diagonal_(True)
    reach = near.float()
    for _ in range(len(numbers).bit_length()):  # a path of twice the length each time
        reach = (reach @ reach > 0).float()
    groups = torch.unique(reach.argmax(dim=1)[place], return_inverse=True)[1]
    return groups


def within(sums: Tensor, groups: Tensor) -> Tensor:
    """A (patches, patches) of unit vectors (patches, width)."""
    alike = sums @ sums.T
    same, apart = groups[:, None] == groups, groups == 0
    seen = same.where(~(apart[:, None] | apart), alike > alike.mean())
    seen.fill_diagonal_(True)
    found: Tensor = (GAMMA * alike).masked_fill(~seen, float("-inf")).softmax(dim=-1)
    return found


def class_tokens(features: ClipFeatures, inputs: Sequence[Tensor], groups: Tensor) -> Tensor:
    """At every patch of CLIP's grid (patches, width) the class token of its group, as it leaves the last block.

    inputs: those of all blocks, last one first, of one window.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    numbers, place = torch.unique(groups, return_inverse=True)
    seen = torch.cat([torch.ones_like(numbers[:, None]).bool(), numbers[:, None] == groups], dim=1)
    tokens = inputs[-1][:, :1].expand(1, len(numbers), -1)
    for number in range(len(inputs) - 1, -1, -1):
        block = features.network.tower.encoder.layers[-1 - number]
        around, own = features.heads_of(inputs[number], number), features.heads_of(tokens, number)
        mixed = scaled_dot_product_attention(own.queries, around.keys, around.values, attn_mask=seen)
        tokens = tokens + features.output(mixed.transpose(1, 2).flatten(2), number)
        tokens = tokens + block.mlp(block.layer_norm2(tokens))
    found: Tensor = tokens[0, place]
    return found


def majority(labels: Tensor, regions: Tensor) -> Tensor:
    """Labels (height, width) where every region but the smallest number has the label of most of its pixels, of equals
    the smallest."""
    import torch

    numbers, place = torch.unique(regions, return_inverse=True)
    codes, label = torch.unique(labels, return_inverse=True)
    votes = torch.bincount((place * len(codes) + label).flatten(), minlength=len(numbers) * len(codes))
    winner = votes.reshape(len(numbers), len(codes)).argmax(dim=1)
    found: Tensor = codes[winner[place].where(place > 0, label)]
    return found
