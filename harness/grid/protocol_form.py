"""What one place of a grid says under `protocol:` -> values with their places: files read; a GridError has its line."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from harness.contracts import Recipe, expanded
from harness.errors import GridError, HarnessError
from harness.protocol import naming, presets
from harness.protocol.rules import TAG_FILE
from harness.recipes import loading, settings
from harness.recipes.complaints import spell
from harness.recipes.named_files import placed
from harness.yaml_lines import Where, YamlText

LARGEST_SIDE = 16384  # pixels
AXES = ("threshold", "power", "logit_scale", "area_thd")  # fields that may be lists: decisions, which cost no pass


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


Level = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Form(BaseModel):
    """A mapping with known keys only, and no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ChosenForm(Form):
    """A value that is chosen on the train split: by which rule, and of which values."""

    choose: Literal["best_miou"]
    """The rule: the value under which the method's mIoU on the train split is best."""
    of: list[Level] = Field(min_length=2)
    """The values."""


class PositiveChosenForm(ChosenForm):
    """The same of numbers above 0."""

    of: list[Positive] = Field(min_length=2)


def _kind(value: object) -> str:
    return "list" if isinstance(value, list) else "chosen" if isinstance(value, dict | ChosenForm) else "value"


Levels = Annotated[
    Annotated[Level, Tag("value")]
    | Annotated[list[Level], Field(min_length=1), Tag("list")]
    | Annotated[ChosenForm, Tag("chosen")],
    Discriminator(_kind),
]
PositiveLevels = Annotated[
    Annotated[Positive, Tag("value")]
    | Annotated[list[Positive], Field(min_length=1), Tag("list")]
    | Annotated[PositiveChosenForm, Tag("chosen")],
    Discriminator(_kind),
]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Shares = Annotated[
    Annotated[Share, Tag("value")] | Annotated[list[Share], Field(min_length=1), Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "value"),
]


class TaggerForm(Form):
    """`tagger:` of a protocol; lists in `with` are values, not axes."""

    use: str
    """The address of a class with `tags(image, vocabulary)`."""
    settings: dict[str, Any] = Field(default_factory=dict, alias="with")
    """Its settings; a list is a value, no axis."""


class TagsForm(Form):
    """`vocabulary:` of a protocol where a file says which classes an image is offered."""

    file: str
    """Written by `python -m harness.tags`, or image ids with lists of words; relative to the grid."""


Offered = Annotated[
    Annotated[Literal["all", "present", "predicted"], Tag("word")] | Annotated[TagsForm, Tag("file")],
    Discriminator(lambda value: "file" if isinstance(value, dict | TagsForm) else "word"),
]


class ProtocolForm(Form):
    """`protocol:`, a mapping or the name of a preset; what is left out is the preset's, or the default.

    A list is an axis for `threshold`, `power`, `logit_scale` and `area_thd`; files lie relative to the grid.
    """

    preset: str | None = None
    """A published protocol (`stableseg list presets`); the other keys change it."""
    vocabulary: Offered = "present"
    """The names offered: `all`, those `present` in the truth, those `predicted` by the tagger, or those of a file."""
    tagger: TaggerForm | None = None
    """Who predicts the names; without it `methods.clip_tagger:ClipTagger`."""
    background: Literal["ignored", "class", "constant", "power", "hinge_power", "prompts", "prompts_constant"] = (
        "ignored"
    )
    """By which rule a pixel is background; `ignored`: pixels of truth 0 are not scored."""
    threshold: Levels = 0.5
    """Of the rules `constant`, `hinge_power` and `prompts_constant`."""
    power: PositiveLevels = 2.0
    """Of the rule `power`."""
    background_names: list[Word] = Field(default_factory=list, min_length=1)
    """Words that are offered for the background under `class`; without it `background`."""
    context: list[Word] = Field(default_factory=list, min_length=1)
    """Words offered beside the classes under `prompts` and `prompts_constant`, each a position of its own."""
    scale: Literal["minmax", "softmax", "none"] = "minmax"
    """How scores become comparable with a background's: over the image a class, over the classes, or not at all."""
    logit_scale: PositiveLevels = 100.0
    """What scores are multiplied by before `softmax`."""
    area_thd: Shares = 0.0
    """Classes that are best at no more than this share of the pixels are left out."""
    resize: Literal["none", "short", "long", "box", "stretch"] = "none"
    """How an image is shown: a side brought to `size`, as large as fits into a `box`, stretched to it, or as it is."""
    size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    """Pixels: one side, or [height, width]."""
    longest: int = Field(default=0, ge=0, le=LARGEST_SIDE)
    """With `short`: the bound of the long side; 0 is none."""
    resampling: Literal["pillow", "cv2"] = "pillow"
    """How images are resized: as Pillow does it, or as OpenCV does."""
    window: int = Field(default=0, ge=0, le=LARGEST_SIDE)
    """Side of square windows of the resized image, in pixels; 0: the whole image."""
    stride: int = Field(default=0, ge=0, le=LARGEST_SIDE)
    """From window to window, in pixels."""
    void_counts: bool = False
    """Whether what is predicted where nothing is scored counts as wrong, as in forks of mmseg on labels of 16 bits."""
    names: Word = naming.OWN
    """The benchmark's `own` names, a name set that it has published, or a .yaml or .json file."""
    templates: Templates = Field(default_factory=list)
    """Sentences with one `{}`, or a .txt file with one a line; without it `a photo of a {}`."""


def preset_named(value: object) -> object:
    """A bare word is the name of a preset."""
    return {"preset": value} if isinstance(value, str) else value


@dataclass(frozen=True)
class ChosenOf:
    """Values of which one is chosen by a rule."""

    rule: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Value:
    """What a field is set to, and where that is written."""

    value: Any
    where: Where


class Written:
    """A form with its place in a file."""

    def __init__(self, form: ProtocolForm, source: YamlText, folder: str | Path, where: Where) -> None:
        self._form, self._source, self._folder, self._where = form, source, Path(folder), where
        self._keys = form.model_fields_set - {"preset"}

    def values(self) -> dict[str, Value]:
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
        if isinstance(self._form.vocabulary, TagsForm):
            found |= {"vocabulary": "given", "tagger": self._tag_file(self._form.vocabulary.file)}
        if found.get("size", 0) is None:
            del found["size"]
        for key in AXES:
            if isinstance(chosen := found.get(key), ChosenForm):
                found[key] = ChosenOf(chosen.choose, tuple(chosen.of))
                self._refuse_twice((key, "of"), tuple(chosen.of))
            self._refuse_twice((key,), found.get(key))
        return {key: Value(value, (*self._where, key)) for key, value in found.items()}

    def _refuse_twice(self, key: Where, values: object) -> None:
        """An axis that holds a value twice."""
        if isinstance(values, tuple) and len(set(values)) < len(values):
            number = next(n for n, value in enumerate(values) if value in values[:n])
            where = (*self._where, *key, number)
            raise self._source.error(where, f"the axis {key[0]!r} holds {spell(values[number])} twice")

    def _templates(self, written: str) -> tuple[str, ...]:
        """The sentences of a text file."""
        if not written.lower().endswith(".txt"):
            how = presets.how_to_write("imagenet80")
            raise self._error("templates", f"templates {written!r} is no list and no .txt file; published sets: {how}")
        try:
            place = self._folder / expanded(written)
            if not place.exists():
                how = f"`python -m methods.text_templates imagenet80 > {place}` writes a published set"
                told = f"{place} cannot be read: there is no such file; {how}"
                self._source.lacking((*self._where, "templates"), told)
                return ("{}",)
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

    def _tag_file(self, written: str) -> Recipe:
        """The recipe of the tagger that reads a file of tags, with the digest of what it holds now."""
        if self._form.tagger is not None:
            raise self._error("tagger", "the classes of an image are given by a file: leave the tagger out")
        place = self._folder.absolute() / expanded(written)
        try:
            digest = hashlib.blake2b(place.read_bytes(), digest_size=16).hexdigest()
        except OSError as error:
            how = "`python -m harness.tags` writes one"
            raise self._error("vocabulary", f"{place} cannot be read: {error.strerror or error}; {how}") from None
        return Recipe.of(TAG_FILE, file=str(place), digest=digest)

    def _tagger(self, form: TaggerForm) -> Recipe:
        """The recipe of a tagger whose class has `tags` and takes these settings."""
        here: Where = (*self._where, "tagger", "use")
        try:
            loading.check_beside(form.use, self._folder)
            cls = loading.load_class(form.use)
            if not callable(getattr(cls, "tags", None)):
                raise GridError(f"{form.use!r} cannot be used as a tagger: it has no `tags`")
            fitting = {}
            for key, value in form.settings.items():
                here = (*self._where, "tagger", "with", key)
                fitting[key] = placed(cls, key, settings.check_setting(cls, key, value), str(self._folder))
            here = (*self._where, "tagger", "use")
            recipe = Recipe.of(form.use, **fitting)
            loading.build(recipe)
        except HarnessError as error:
            raise self._source.error(here, str(error)) from None
        return recipe

    def _error(self, key: str, sentence: str) -> GridError:
        return self._source.error((*self._where, key), sentence)


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
