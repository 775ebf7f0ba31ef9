"""What a grid says under `protocol:` -> ProtocolSettings: presets filled in, files read; a GridError has its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from harness.contracts import ProtocolSettings, Recipe, expanded
from harness.errors import GridError, HarnessError
from harness.protocol import naming, presets
from harness.protocol.rules import SCALED, THRESHOLDED, WORDED, effective
from harness.recipes import loading, settings
from harness.recipes.named_files import placed
from harness.yaml_lines import Where, YamlText

LARGEST_SIDE = 16384  # pixels
TOP: Where = ("protocol",)


def _template(value: str) -> str:
    if not (value.count("{}") == value.count("{") == value.count("}") == 1 and value.isprintable()):
        raise ValueError("Text should be a sentence with exactly one {}")
    return value


def _word(value: str) -> str:
    if not (value.strip() and value.isprintable()):
        raise ValueError("Text should be printable and not empty")
    return value.strip()


Word = Annotated[str, AfterValidator(_word)]
Template = Annotated[str, AfterValidator(_template)]
Sentences = Annotated[list[Template], Field(min_length=1)]
Templates = Annotated[
    Annotated[str, Tag("set")] | Annotated[Sentences, Tag("list")],
    Discriminator(lambda value: "set" if isinstance(value, str) else "list"),
]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]


class Form(BaseModel):
    """A mapping with known keys only, and no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TaggerForm(Form):
    """`tagger:` of a protocol; lists in `with` are values, not axes."""

    use: str
    settings: dict[str, Any] = Field(default_factory=dict, alias="with")


class ProtocolForm(Form):
    """`protocol:`, a mapping or the name of a preset; what is left out is the preset's, or the default.

    See contracts.ProtocolSettings. templates: sentences, or a .txt file with one a line. names: a
    name set, or a .yaml or .json file; files lie relative to the grid.
    """

    preset: str | None = None
    vocabulary: Literal["all", "present", "predicted"] = "present"
    tagger: TaggerForm | None = None
    background: Literal["ignored", "class", "constant", "power", "hinge_power", "prompts", "prompts_constant"] = (
        "ignored"
    )
    threshold: float = Field(default=0.5, allow_inf_nan=False)
    power: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    background_names: list[Word] = Field(default_factory=list, min_length=1)
    context: list[Word] = Field(default_factory=list, min_length=1)
    scale: Literal["minmax", "softmax", "none"] = "minmax"
    logit_scale: float = Field(default=100.0, gt=0, allow_inf_nan=False)
    resize: Literal["none", "short", "stretch"] = "none"
    size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    window: int = Field(default=0, ge=0, le=LARGEST_SIDE)
    stride: int = Field(default=0, ge=0, le=LARGEST_SIDE)
    names: Word = naming.OWN
    templates: Templates = Field(default_factory=list)


def preset_named(value: object) -> object:
    """A bare word is the name of a preset."""
    return {"preset": value} if isinstance(value, str) else value


def protocol(form: ProtocolForm, source: YamlText, folder: str | Path) -> ProtocolSettings:
    """The protocol that a form asks for, fields without effect at their defaults; GridError names the line."""
    written = _Written(form, source, Path(folder))
    found = replace(written.start(), **written.given())
    written.check(found)
    return effective(found)


class _Written:
    """A form with its place in a file."""

    def __init__(self, form: ProtocolForm, source: YamlText, folder: Path) -> None:
        self._form, self._source, self._folder = form, source, folder
        self._keys = form.model_fields_set - {"preset"}

    def start(self) -> ProtocolSettings:
        """What the written fields change: the preset, or the defaults."""
        if self._form.preset is None:
            return ProtocolSettings()
        try:
            found = presets.preset(self._form.preset)
        except GridError as error:
            raise self._error("preset", str(error)) from None
        if found.ensemble and "templates" not in self._keys:
            how = presets.how_to_write(found.ensemble)
            raise self._error("preset", f"preset {self._form.preset!r} needs the sentences of {found.ensemble}: {how}")
        return found.settings

    def given(self) -> dict[str, Any]:
        """The written fields as the contracts have them: files read, lists frozen, the tagger checked."""
        found = {key: _frozen(getattr(self._form, key)) for key in self._keys}
        if "templates" in found and isinstance(self._form.templates, str):
            found["templates"] = self._templates(self._form.templates)
        if "names" in found and naming.is_file(self._form.names):
            try:
                found["names"] = naming.read_file(self._form.names, self._folder)
            except GridError as error:
                raise self._error("names", str(error)) from None
        if self._form.tagger is not None:
            found["tagger"] = self._tagger(self._form.tagger)
        if found.get("size", 0) is None:
            del found["size"]
        return found

    def check(self, found: ProtocolSettings) -> None:
        """What does not go together."""
        shares = found.background in SCALED and found.scale != "none"
        if found.background in THRESHOLDED and shares and not 0 <= found.threshold <= 1:
            bound = "less than or equal to 1" if found.threshold > 1 else "greater than or equal to 0"
            raise self._error("threshold", f"threshold must be {bound}, not {found.threshold}")
        if found.background in WORDED and not found.context:
            raise self._error("background", f"background {found.background!r} needs words: give a list as context")
        if found.resize != "none" and found.size == 0:
            raise self._error("resize", f"resize {found.resize!r} needs a size in pixels")
        if found.resize == "short" and not isinstance(found.size, int):
            raise self._error("size", "size must be one number of pixels where resize is 'short'")
        if found.resize == "none" and "size" in self._keys:
            raise self._error("size", "a size needs resize: write resize: short or resize: stretch")
        self._check_windows(found)

    def _check_windows(self, found: ProtocolSettings) -> None:
        if found.window and not found.stride:
            raise self._error("window", f"a window needs a stride: give one from 1 to {found.window} pixels")
        if found.window and found.stride > found.window:
            raise self._error(
                "stride",
                f"a stride of {found.stride} skips pixels: the window has {found.window}; give no more than that",
            )
        if found.stride and not found.window and "stride" in self._keys and "window" not in self._keys:
            raise self._error("stride", f"a stride needs a window: give one of {found.stride} pixels or more")

    def _templates(self, written: str) -> tuple[str, ...]:
        """The sentences of a text file."""
        if not written.lower().endswith(".txt"):
            how = presets.how_to_write("imagenet80")
            raise self._error("templates", f"templates {written!r} is no list and no .txt file; published sets: {how}")
        try:
            place = self._folder / expanded(written)
            found = presets.sentences(naming.small_text(place))
        except GridError as error:
            raise self._error("templates", str(error)) from None
        if not found:
            raise self._error("templates", f"{place} holds no template; write one sentence with one {{}} a line")
        for number, sentence in enumerate(found, start=1):
            try:
                _template(sentence)
            except ValueError:
                text = f"{place}: sentence {number} must have exactly one {{}}: {sentence!r}"
                raise self._error("templates", text) from None
        return found

    def _tagger(self, form: TaggerForm) -> Recipe:
        """The recipe of a tagger whose class has `tags` and takes these settings."""
        here: Where = (*TOP, "tagger", "use")
        try:
            loading.check_beside(form.use, self._folder)
            cls = loading.load_class(form.use)
            if not callable(getattr(cls, "tags", None)):
                raise GridError(f"{form.use!r} cannot be used as a tagger: it has no `tags`")
            fitting = {}
            for key, value in form.settings.items():
                here = (*TOP, "tagger", "with", key)
                fitting[key] = placed(cls, key, settings.check_setting(cls, key, value), str(self._folder))
            here = (*TOP, "tagger", "use")
            recipe = Recipe.of(form.use, **fitting)
            loading.build(recipe)
        except HarnessError as error:
            raise self._source.error(here, str(error)) from None
        return recipe

    def _error(self, key: str, sentence: str) -> GridError:
        return self._source.error((*TOP, key), sentence)


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
