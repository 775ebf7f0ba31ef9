"""The rules that hold for all methods alike: the protocol, a user's own names, and when a teacher is sure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from harness.contracts.nouns import Recipe, Words
from harness.errors import MethodError


@dataclass(frozen=True)
class NameFile:
    """A user's own names: the file as the grid writes it, and what it says.

    words: an entry a class, in the benchmark's order; where the file maps classes to words, `classes` says of which.
    """

    file: str
    words: Words
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProtocolSettings:
    """How an image is shown and how scores become label maps, for all methods alike.

    Every field that has an effect under the rules chosen is part of a run's id (see harness.protocol.rules); with
    m = a pixel's best scaled score:

    vocabulary: `all` names of the benchmark are offered, those `present` in the image's truth, those `predicted` by the
    `tagger`, or those `given` by a file, which the tagger reads.
    background: `ignored` (truth 0 is not scored), or scored as: `class` (offered as one more position, whose words are
    `background_names`); `constant` (where m < threshold); `power` (where (1 - m)^power > m, 1 - m not below 0);
    `hinge_power` (where (2 threshold - m)^2 > m); `prompts` (every word of `context` is one more position);
    `prompts_constant` (both: words of `context`, and where m < threshold).
    scale: how scores become comparable with a background's: `minmax` of each class over the image, `softmax` over the
    positions of logit_scale times the scores, or `none`.
    area_thd: classes whose pixels are no more than this share of all pixels of classes, by their best scores, are left
    out where the background is scored; 0 leaves none out.
    resize: `none`; `short` side brought to `size` pixels; `long` side; `box`: as large as fits, the long side into the
    larger number of `size` and the short side into the smaller one; `stretch` to `size` (height, width).
    longest: with `short`, where the long side would be above it the image is shrunk to that; 0 is no bound.
    resampling: `pillow`'s bilinear, which joins pixels where it shrinks, or as in `cv2`, which does not.
    window, stride: square windows of so many pixels, cut from the resized image (0: whole).
    names: `own` (the benchmark's class names), a name set it has published, or a file's content.
    void_counts: what is predicted where nothing is scored counts as wrong, and the 256th class is not scored: what
    evaluators do that know 255 alone as ignored, of labels in 16 bits.
    """

    vocabulary: str = "present"
    background: str = "ignored"
    threshold: float = 0.5
    templates: tuple[str, ...] = ("a photo of a {}",)
    names: str | NameFile = "own"
    tagger: Recipe | None = None
    power: float = 2.0
    background_names: tuple[str, ...] = ("background",)
    context: tuple[str, ...] = ()
    scale: str = "minmax"
    logit_scale: float = 100.0
    resize: str = "none"
    size: int | tuple[int, int] = 0
    window: int = 0
    stride: int = 0
    area_thd: float = 0.0
    longest: int = 0
    resampling: str = "pillow"
    void_counts: bool = False


@dataclass(frozen=True)
class LabelRule:
    """When a teacher's answer is sure enough to be taught; it stands in place of the protocol's background rule.

    Without a threshold (low and high are 0) a pixel is of the class whose score is best, as the teacher gives it. With
    one, m is a pixel's best score, scaled to 0..1 per class over the whole image (`minmax`) or taken as it is (`none`);
    with best = `raw` its class is still the one whose score is best as it is given, and m the scaled score of that one.
    Where m < low the pixel is left out (255) or, with below = `background`, background (0); from low to below high it
    is left out. Of the rest of an image the share `unsure` with the least distance from best to second best is left
    out; of a crop that the teacher is asked about, what is no surer than that share of its whole image. With
    `foreground` all pixels are left out that the truth calls background or leaves out itself, as in MaskCLIP+'s recipe
    for VOC: the masks of objects are then told by a person.
    """

    low: float = 0.0
    high: float = 0.0
    scale: str = "minmax"
    below: str = "ignored"
    unsure: float = 0.0
    foreground: bool = False
    best: str = "scaled"

    def __post_init__(self) -> None:
        if self.foreground and self.below == "background":
            raise MethodError(
                "A label rule that leaves out the truth's background (foreground) has none to teach: leave below at "
                "'ignored'."
            )
        if self.scale not in ("minmax", "none") or self.below not in ("ignored", "background"):
            raise MethodError(
                f"A label rule has scale 'minmax' or 'none' and below 'ignored' or 'background', not {self.scale!r} "
                f"and {self.below!r}."
            )
        if self.best not in ("scaled", "raw") or (self.best == "raw" and not self.scales):
            raise MethodError(
                f"A label rule's best class is by 'scaled' scores or, where a threshold has them scaled ('minmax'), by "
                f"'raw' ones, not {self.best!r}; without a threshold, and with scale 'none', it is by raw ones anyway."
            )
        self._check_thresholds()
        if not 0.0 <= self.unsure < 1.0:
            raise MethodError(f"A label rule leaves out a share of 0 to below 1 as unsure, not {self.unsure}.")

    def _check_thresholds(self) -> None:
        if min(self.low, self.high) < 0.0:
            raise MethodError(
                f"A label rule's thresholds are above 0, or 0 for none, not {self.low} and {self.high}; scores that go "
                "below 0 can be scaled ('minmax')."
            )
        if 0.0 < self.high < self.low:
            raise MethodError(
                f"A label rule leaves out what is from low to below high, and high, {self.high}, is below low, "
                f"{self.low}: give a larger high, or 0 for none."
            )
        if self.scales and max(self.low, self.high) > 1.0:
            raise MethodError(
                f"A label rule's thresholds for scaled scores ('minmax') are at most 1, not {self.low} and "
                f"{self.high}; above it nothing would be taught: scale 'none' takes scores as they are given."
            )
        if self.below == "background" and not self.low:
            raise MethodError(
                "A label rule teaches as background what is below low, and low is 0: give a low, or leave below at "
                "'ignored'."
            )

    def facts(self) -> dict[str, Any]:
        """What stands for the rule in ids and on cards: what came later where it is asked for."""
        later = {"foreground": False, "best": "scaled"}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}

    @property
    def thresholded(self) -> bool:
        """Whether a pixel's best score decides if it is taught."""
        return max(self.low, self.high) > 0.0

    @property
    def scales(self) -> bool:
        """Whether scores are scaled to 0..1 first: only a threshold needs it."""
        return self.thresholded and self.scale == "minmax"

    @property
    def sees_the_whole(self) -> bool:
        """Whether a part of an image is judged by what the whole of it is: by its extremes, or its unsure share."""
        return self.scales or self.unsure > 0.0

    @property
    def plain(self) -> bool:
        """Whether every pixel is taught as the teacher says."""
        return not self.thresholded and not self.unsure
