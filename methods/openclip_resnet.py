"""Settings flow in; MaskCLIP on a CLIP ResNet of open_clip (an optional package) flows out, with its backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.contracts import ModelError, Parts, Pass, ProtocolSettings, Query, Recipe, Vocabulary
from methods import library_weights
from methods.cards import BACKENDS, check_card, computing, remarks_here, remarks_on, words_of
from methods.clip.passes import ClipPass
from methods.clip.pixels import stride_of
from methods.clip.view import AUTO, View, resolved_view, view_of
from methods.maskclip import NORMS, refined
from methods.one_network import DTYPES
from methods.openclip_shape import PATCH

if TYPE_CHECKING:
    from torch import Tensor

    from methods.openclip_network import ResNetFeatures, ResNetNetwork

PUBLISHED_VIEW: View = ("native", None, None)
REFUSED = {
    **dict.fromkeys(BACKENDS, "a ResNet is read without attention"), "compile": "a ResNet of open_clip is not compiled",
}  # fmt: skip
FOLDER_FILES = ("open_clip_config.json", "open_clip_model.safetensors")


@dataclass(frozen=True)
class ClipResNet:
    """Backbone: a CLIP whose image tower is open_clip's ModifiedResNet, opened at first use, on a GPU if there is one.

    model: a name of open_clip with a `pretrained` tag, or a folder with open_clip_config.json and
    open_clip_model.safetensors (the tag is then not used). Images of one call go through together only when they are
    stretched to the native square without windows, as with `methods.clip:Clip`. card: see methods.cards.
    """

    any_company: ClassVar[bool] = True  # see harness.work.rounds

    model: str = "RN50-quickgelu"
    pretrained: str = "openai"
    dtype: str = "float32"
    card: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}; give one of {', '.join(DTYPES)}.")
        check_card(self.card, REFUSED)

    @property
    def idle(self) -> tuple[str, ...]:
        """The setting of cards where it is as it was before there was a choice."""
        return () if self.card else ("card",)

    def models_to_fetch(self) -> Sequence[str]:
        """The model, if it is not on this machine."""
        if Path(self.model).is_dir():
            return ()
        tower = self.model.removesuffix("-quickgelu").replace("RN", "resnet")
        named = f"open_clip model {self.model} with the tag {self.pretrained}"
        return library_weights.weights_to_fetch(named, f"timm/{tower}_clip.{self.pretrained}")

    def check_passes(self, requests: Mapping[Pass, Parts]) -> None:
        """ModelError for windows that do not fit the tower's last map."""
        for asked in requests:
            if isinstance(asked, ClipPass) and asked.window is not None:
                stride_of(asked.window, asked.stride, PATCH)

    def remarks_here(self) -> Sequence[str]:
        """What is to be said where this machine, which plans, computes too."""
        return remarks_here(self.card)

    def open_models(self) -> Sequence[str]:
        """Open the network; what is to be said of the machine that computes it."""
        _ = self.network
        return remarks_on(self.card)

    @cached_property
    def network(self) -> ResNetNetwork:
        """The opened model."""
        installed()
        from methods.openclip_network import open_resnet

        if Path(self.model).is_dir():
            checked_folder(Path(self.model))
        opened = open_resnet(self.model, self.pretrained, self.dtype)
        if "channels_last" in words_of(self.card):
            opened.channels_last()
        return opened

    def run(
        self, queries: Sequence[Query], requests: Mapping[Pass, Parts]
    ) -> Iterator[tuple[Pass, Sequence[ResNetFeatures]]]:
        """Every pass with one ResNetFeatures a query; a pass has the one part `map`."""
        for asked in requests:
            assert isinstance(asked, ClipPass)
            images = [query.image for query in queries]
            groups = [images] if asked.batched else [[image] for image in images]
            with computing(self.card):
                found = [features for group in groups for features in self.network.features(group, asked)]
            yield asked, found

    def fingerprint(self) -> str:
        """A folder's files, or the tag with open_clip's version, which fixes its meaning."""
        total = blake2b(digest_size=16)
        folder = Path(self.model)
        if folder.is_dir():
            for name in FOLDER_FILES:
                total.update(checked_folder(folder).joinpath(name).read_bytes())
        else:
            total.update(f"{self.model}@{self.pretrained} {installed()}".encode())
        return total.hexdigest()


@dataclass(frozen=True)
class MaskCLIPResNet:
    """MaskCLIP on a ResNet (Zhou, Loy, Dai, ECCV 2022, arXiv 2112.01071): the attention pool without its attention.

    f = W_c(W_v(x)) at every position of stage 4 (stride 32), at unit length; score = cosine with the text. No position
    embedding, no mean token; keys W_k(x) serve key smoothing only. key_smoothing, ks_*, prompt_denoising, pd_threshold
    and the input settings are those of `methods.maskclip:MaskCLIP`.
    Left out: the ablation with true attention in the pool.
    """

    model: str = "RN50-quickgelu"
    pretrained: str = "openai"
    dtype: str = "float32"
    resize: int | str = AUTO
    window: int | str | None = AUTO
    stride: int | str | None = AUTO
    key_smoothing: bool = False
    ks_norm: str = "channel"
    ks_threshold: float = 1.0
    prompt_denoising: bool = False
    pd_threshold: float = 0.5
    card: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        ClipResNet(self.model, self.pretrained, self.dtype, card=self.card)
        _ = self.clip_pass
        if self.ks_norm not in NORMS:
            raise ValueError(f"ks_norm is {self.ks_norm!r}; give {' or '.join(NORMS)}.")

    @property
    def idle(self) -> tuple[str, ...]:
        """The setting of cards where it is as it was before there was a choice."""
        return () if self.card else ("card",)

    @property
    def clip_pass(self) -> ClipPass:
        """The one pass that is read."""
        settings = {"model": self.model, "pretrained": self.pretrained, "dtype": self.dtype}
        settings |= {"card": self.card} if self.card else {}
        backbone = Recipe.of("methods.openclip_resnet:ClipResNet", **settings)
        return ClipPass(backbone, *view_of(self, PUBLISHED_VIEW))

    def resolved(self, protocol: ProtocolSettings) -> Mapping[str, Any]:
        """As `methods.clip:ClipReader` has it."""
        return resolved_view(self, PUBLISHED_VIEW, protocol)

    @property
    def plane_a_word(self) -> bool:
        """As `methods.maskclip:MaskCLIP` has it."""
        return not (self.key_smoothing or self.prompt_denoising)

    def passes(self) -> Mapping[Pass, Parts]:
        """One pass, of which the map of stage 4 is read."""
        return {self.clip_pass: frozenset({"map"})}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Tensor:
        """Scores (positions, rows, columns): cosines, or smoothed probabilities."""
        from methods.clip.network import merge_windows

        own: ResNetFeatures = features[self.clip_pass]
        scores = own.scores(own.embeddings(), vocabulary, self.plane_a_word)
        return merge_windows(refined(scores, own, self), own.tiling)

    def fingerprint(self) -> str:
        """As the backbone's."""
        return ClipResNet(self.model, self.pretrained, self.dtype).fingerprint()


def installed() -> str:
    """The version of open_clip; ModelError names the extra when it is not there."""
    try:
        return version("open_clip_torch")
    except PackageNotFoundError as problem:
        raise ModelError(
            "CLIP ResNets are opened by open_clip, which is not installed: "
            "install the extra with pip install 'stableseg-harness[open-clip]'."
        ) from problem


def checked_folder(folder: Path) -> Path:
    """The folder, if it holds configuration and weights under open_clip's names."""
    missing = [name for name in FOLDER_FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"The folder {folder} lacks {' and '.join(missing)}, so it holds no model of open_clip.")
    return folder
