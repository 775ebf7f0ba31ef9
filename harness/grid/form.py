"""The plain values of a grid file -> its form: every key known, every value of the right type, or a GridError."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from harness.errors import GridError, nearest
from harness.grid.protocol_form import AXES, ChosenForm, Form, ProtocolForm, TaggerForm, preset_named
from harness.grid.table_form import TableForm
from harness.recipes.complaints import complaint
from harness.yaml_lines import Where, YamlText

LONGEST_NAME = 100
MOST_WORKERS, MOST_THREADS, LARGEST_BATCH = 10_000, 1024, 4096


def _name(value: str) -> str:
    if not (value.strip() == value and value.isprintable() and 0 < len(value) <= LONGEST_NAME):
        raise ValueError(f"Text should be 1 to {LONGEST_NAME} printable characters without spaces around them")
    return value


Name = Annotated[str, AfterValidator(_name)]
OwnProtocol = Annotated[ProtocolForm, BeforeValidator(preset_named)]
Settings = dict[str, Any]


class ItemForm(Form):
    """One entry of `methods:` or `benchmarks:`."""

    name: Name
    """How tables call it; each name once."""
    use: str
    """The address `module:Class`: ours, of a file beside the grid, or of an installed package."""
    settings: Settings = Field(default_factory=dict, alias="with")
    """Its settings. A list is an axis, a run for each value; where a setting is itself a list, a list of lists is."""
    protocol: OwnProtocol | None = None
    """What is said here of the protocol of its runs goes before what the grid says."""
    exclude: list[Settings] = Field(default_factory=list)
    """Combinations of its own settings that are left out; a key that is not named matches everything."""


class MethodForm(ItemForm):
    """One entry of `methods:`."""

    protocols: dict[str, OwnProtocol] = Field(default_factory=dict)
    """By the name of a benchmark: what is said of the protocol there alone."""
    process: Literal["shared", "own"] = "shared"
    """`own` is for a method that changes what others rest on, or crashes; in no id."""


class BenchmarkForm(ItemForm):
    """One entry of `benchmarks:`."""

    train: Settings | None = None
    """Settings in place of its own that make it the train split, for learners and for values that are chosen."""
    train_overlap: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    """The share of the scored images that may be in the train split too."""


class ExcludeForm(Form):
    """One entry of the grid's own `exclude:`; what is left out matches everything."""

    method: str | None = None
    """The name of a method."""
    benchmark: str | None = None
    """The name of a benchmark."""
    protocol: Settings = Field(default_factory=dict)
    """Values of the protocol's axes."""
    settings: Settings = Field(default_factory=dict, alias="with")
    """Settings of the method, or of the benchmark."""


class IncludeForm(Form):
    """One entry of `include:`: one more combination."""

    method: str
    """The name of a method."""
    benchmark: str
    """The name of a benchmark."""
    settings: Settings = Field(default_factory=dict, alias="with")
    """The method's settings in this one combination, a value each."""


class ClusterForm(Form):
    """`cluster:`, where and with how much the grid is computed; none of it can change a pixel."""

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=MOST_WORKERS)] = "auto"
    """How many at most; `auto` is one a GPU, or as the CPUs allow."""
    address: Name | None = None
    """A running Ray cluster: `auto`, `HOST:PORT` or `ray://HOST:PORT`; without it a Ray of the sweep's own."""
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None = None
    """Of each worker on CPUs; without it a worker's share of them."""
    gpus_per_worker: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """The share of a GPU that each worker asks for; 0: GPUs are not used."""
    gpu: Name | None = None
    """The kind of GPU that workers ask for, as Ray labels its nodes (`ray.io/accelerator-type`): `H100`."""
    shard_batches: Annotated[int, Field(ge=1)] | None = None
    """How many batches a worker is given at a time."""
    stall_seconds: Annotated[float, Field(gt=0)] | None = None
    """How long a worker may say nothing before its work is given to another one."""


class KeepForm(Form):
    """`keep:`, what is kept of an image besides its pixel counts; in no id."""

    label_maps: Annotated[int, Field(ge=0)] | list[str] = 0
    """Label maps of so many images of each benchmark, the same ones for all runs, or of the images named."""
    boundaries: bool = False
    """Whether the pixels at the boundaries of classes are counted too, of every image, for `boundary_iou`."""


class GridForm(Form):
    """The whole file."""

    name: Name
    """What the grid is called, in reports and logs."""
    methods: list[MethodForm] = Field(min_length=1)
    """What is compared."""
    benchmarks: list[BenchmarkForm] = Field(min_length=1)
    """The data sets on which it is compared."""
    exclude: list[ExcludeForm] = Field(default_factory=list)
    """Combinations that are left out."""
    include: list[IncludeForm] = Field(default_factory=list)
    """Combinations that are added to those that the axes make."""
    protocol: OwnProtocol = Field(default_factory=ProtocolForm)
    """What is offered to the methods and how scores become label maps, for all runs that say nothing else."""
    cluster: ClusterForm = Field(default_factory=ClusterForm)
    """Where it is computed."""
    batch: int = Field(default=8, ge=1, le=LARGEST_BATCH)
    """How many images go through a network together; in every id."""
    keep: KeepForm = Field(default_factory=KeepForm)
    """What is kept besides pixel counts."""
    tables: list[TableForm] = Field(default_factory=list)
    """Comparison tables besides the one of all runs."""


INNER: Mapping[str, tuple[str, type[Form]]] = {
    "methods": ("a method", MethodForm),
    "benchmarks": ("a benchmark", BenchmarkForm),
    "exclude": ("an exclude", ExcludeForm),
    "include": ("an include", IncludeForm),
    "protocol": ("protocol", ProtocolForm),
    "cluster": ("cluster", ClusterForm),
    "keep": ("keep", KeepForm),
    "tables": ("a table", TableForm),
}


class ProtocolAlone(Form):
    """No grid, but a protocol, with nothing beside it that could change it."""

    protocol: OwnProtocol = Field(default_factory=ProtocolForm)
    methods: ClassVar[Sequence[MethodForm]] = ()
    benchmarks: ClassVar[Sequence[BenchmarkForm]] = ()


Whole = TypeVar("Whole", GridForm, ProtocolAlone)


def check_form(source: YamlText) -> GridForm:
    """The form of a file; a GridError for the first thing that is wrong, unknown keys before missing ones."""
    form = validated(source, GridForm)
    _refuse_twice(source, "methods", form.methods)
    _refuse_twice(source, "benchmarks", form.benchmarks)
    _refuse_twice(source, "tables", form.tables)
    return form


def validated(source: YamlText, form: type[Whole]) -> Whole:
    """Values in their form; a GridError for the first thing that is wrong with one of them."""
    try:
        return form.model_validate(source.data)
    except ValidationError as error:
        raise _first(source, error.errors(include_url=False)) from None


def _first(source: YamlText, errors: list[Any]) -> GridError:
    """The most telling of pydantic's errors as a sentence: a misspelt key is unknown and missing at once."""
    placed = [(_where(source, error["loc"]), error) for error in errors]
    line: Callable[[Where], int] = lambda where: source.lines.get(where, 1)  # noqa: E731
    where, error = min(placed, key=lambda one: (_urgency(one[1]), line(one[0])))
    if error["type"] == "extra_forbidden":
        return source.error(where, _unknown(where))
    if error["type"] == "missing":
        return source.error(where, f"{_owner(where)} needs the key {error['loc'][-1]!r}")
    if not where:
        return source.error((), complaint("a grid", [error], error["input"]))
    value = source.value(where)
    relative = [{**one, "loc": ()} for place, one in placed if place == where]
    return source.error(where, complaint(_called(where), relative, value))


def _urgency(error: Mapping[str, Any]) -> int:
    return {"extra_forbidden": 0, "missing": 2}.get(error["type"], 1)


def _where(source: YamlText, location: Where) -> Where:
    """The way to the value that an error is about: pydantic's way without the branches of unions."""
    known: Where = ()
    for step in location:
        if (*known, step) in source.lines:
            known = (*known, step)
    return known


def _owner(where: Where) -> str:
    return _form_of(where)[0]


def _form_of(where: Where) -> tuple[str, type[Form]]:
    """How the mapping at the end of a way is called, and its form."""
    inside = _within_protocol(where)
    if inside is not None:
        if inside and inside[0] in AXES:
            return "a chosen value", ChosenForm
        return ("a tagger", TaggerForm) if inside[:1] == ("tagger",) else ("protocol", ProtocolForm)
    return INNER[str(where[0])] if where else ("the grid", GridForm)


def _within_protocol(where: Where) -> Where | None:
    """The rest of a way that leads into a protocol, of the grid or of an item; None for one that does not."""
    if where[:1] == ("protocol",):
        return where[1:]
    if where[0:1] not in (("methods",), ("benchmarks",)) or len(where) < 3:
        return None
    if where[2] == "protocol":
        return where[3:]
    return where[4:] if where[2] == "protocols" and len(where) > 3 else None


def _unknown(where: Where) -> str:
    owner, form = _form_of(where[:-1])
    keys = [field.alias or name for name, field in form.model_fields.items()]
    return f"{owner} has no key {where[-1]!r}{nearest(str(where[-1]), keys)} (keys: {', '.join(keys)})"


def _called(where: Where) -> str:
    """How a value is called in a sentence: `workers`, `item 2 of templates`."""
    if isinstance(where[-1], int):
        return f"item {where[-1] + 1} of {where[-2]}"
    return str(where[-1])


def _refuse_twice(source: YamlText, section: str, items: Sequence[ItemForm | TableForm]) -> None:
    first: dict[str, int] = {}
    for position, item in enumerate(items):
        where = (section, position, "name")
        if item.name in first:
            raise source.error(where, f"the name {item.name!r} was given in line {first[item.name]} already")
        first[item.name] = source.lines[where]
