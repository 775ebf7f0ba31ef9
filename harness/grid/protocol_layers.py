"""What a grid says of the protocol, for all and for a method or a benchmark -> the protocols of their runs.

The grid's own `protocol:` is the start. A method's and a benchmark's change fields of it, or name a preset and start
there; a method's `protocols:` do the same for one benchmark. A field that a method and a benchmark both set is an
error: which of them should win is nobody's to guess. Fields of AXES may be lists: then there is a protocol a value; or
chosen of several values on the train split.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from harness.contracts import ProtocolSettings
from harness.errors import GridError, nearest
from harness.grid.combinations import Combination
from harness.grid.form import GridForm, MethodForm, ProtocolAlone
from harness.grid.protocol_form import AXES, ChosenOf, ProtocolForm, Value, Written
from harness.protocol import presets
from harness.protocol.rules import SCALED, THRESHOLDED, WORDED, effective
from harness.recipes.complaints import spell
from harness.yaml_lines import Where, YamlText

_ORDER = ("preset", *(one.name for one in fields(ProtocolSettings)))


@dataclass(frozen=True)
class Said:
    """What one place, or several together, says of the protocol. of: whose it is, in words; where: its place."""

    of: str
    where: Where
    preset: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)

    def over(self, below: Said) -> Said:
        """This, and of what lies below all that this does not say; who names a preset starts anew."""
        if self.preset is not None:
            return self
        gone = {"size"} if "resize" in self.values and self.values["resize"].value == "none" else set()
        gone |= {"stride"} if "window" in self.values and self.values["window"].value == 0 else set()
        if "vocabulary" in self.values and "tagger" not in self.values and _value(below, "vocabulary") == "given":
            gone |= {"tagger"}  # it reads the file that is not meant any more
        kept = {name: value for name, value in below.values.items() if name not in gone}
        return replace(self, where=below.where, preset=below.preset, values={**kept, **self.values})

    def states(self) -> Mapping[str, Where]:
        """The fields that it sets, those of its preset among them, and where."""
        own = {name: value.where for name, value in self.values.items()}
        if self.preset is None:
            return own
        named = (*self.where, "preset")
        return {**dict.fromkeys(presets.preset(self.preset).states, named), **own, "preset": named}


@dataclass(frozen=True)
class ProtocolChoice:
    """What is chosen on the train split, by which rule, of which protocols."""

    rule: str
    fields: tuple[str, ...]
    candidates: tuple[ProtocolSettings, ...]


@dataclass(frozen=True)
class RunProtocol:
    """The protocol of a run; where something of it is chosen, with the first of the values."""

    settings: ProtocolSettings
    choice: ProtocolChoice | None = None


class Protocols:
    """The protocols of a grid's runs. GridError, with the line, for the first thing that is wrong with what is said.

    whole: what the grid says by itself, one for each value of what is an axis of it.
    """

    def __init__(
        self, source: YamlText, form: GridForm | ProtocolAlone, folder: str, benchmarks: Sequence[Combination]
    ) -> None:
        self._source, self._folder = source, folder
        self._whole = self._said(form.protocol, ("protocol",), "the grid")
        self.whole = self._settled(self._whole)
        self._places = {
            one.name: self._said(one.protocol, ("benchmarks", number, "protocol"), f"the benchmark {one.name!r}")
            for number, one in enumerate(form.benchmarks)
        }
        self._methods = {one.name: self._of_method(one, number) for number, one in enumerate(form.methods)}
        self._refuse_unknown(benchmarks)
        self._found: dict[tuple[str, str], tuple[RunProtocol, ...]] = {}

    def of(self, method: Combination, benchmark: Combination) -> tuple[RunProtocol, ...]:
        """The protocols of a method's runs on a benchmark, one for each value of what is an axis of them."""
        key = method.name, benchmark.full_name
        if key not in self._found:
            general, each = self._methods[method.name]
            narrow = each.get(benchmark.full_name) or each.get(benchmark.name)
            own, place = narrow.over(general) if narrow else general, self._places[benchmark.name]
            self._refuse_clash(own, place)
            both = replace(
                own, preset=own.preset or place.preset, where=place.where if own.preset is None else own.where,
                values={**place.values, **own.values},
            )  # fmt: skip
            self._found[key] = self._settled(both.over(self._whole))
        return self._found[key]

    def _of_method(self, form: MethodForm, number: int) -> tuple[Said, Mapping[str, Said]]:
        """What a method says for all benchmarks, and for some by name."""
        where, of = ("methods", number), f"the method {form.name!r}"
        each = {
            name: self._said(one, (*where, "protocols", name), f"{of} for {name!r}")
            for name, one in form.protocols.items()
        }
        return self._said(form.protocol, (*where, "protocol"), of), each

    def _said(self, form: ProtocolForm | None, where: Where, of: str) -> Said:
        if form is None:
            return Said(of, where)
        if form.preset is not None:
            try:
                presets.preset(form.preset)
            except GridError as error:
                raise self._source.error((*where, "preset"), str(error)) from None
        return Said(of, where, form.preset, Written(form, self._source, self._folder, where).values())

    def _refuse_unknown(self, benchmarks: Sequence[Combination]) -> None:
        known = {name for one in benchmarks for name in (one.name, one.full_name)}
        for general, each in self._methods.values():
            for name, said in each.items():
                if name not in known:
                    listed = ", ".join(dict.fromkeys(one.full_name for one in benchmarks))
                    sentence = f"{general.of} has a protocol for {name!r}, and no benchmark is called so"
                    raise self._source.error(said.where, f"{sentence}{nearest(name, known)} (benchmarks: {listed})")

    def _refuse_clash(self, method: Said, benchmark: Said) -> None:
        one, other = method.states(), benchmark.states()
        for name in _ORDER:
            if name in one and name in other:
                what = "name a preset" if name == "preset" else f"set {name}"
                told = (
                    f"{method.of} ({self._line(name, one[name])}) and {benchmark.of} ({self._line(name, other[name])})"
                )
                raise self._source.error(one[name], f"{told} both {what}; leave it to one of them")

    def _line(self, name: str, where: Where) -> str:
        known = next(where[:end] for end in range(len(where), -1, -1) if where[:end] in self._source.lines)
        preset = ", by its preset" if where[-1] == "preset" and name != "preset" else ""
        return f"line {self._source.lines[known]}{preset}"

    def _settled(self, said: Said) -> tuple[RunProtocol, ...]:
        """The protocols that are meant, fields without effect at their defaults, each once."""
        start = self._start(said)
        axes = {name: said.values[name].value for name in AXES if isinstance(_value(said, name), tuple)}
        single = {
            name: one.value for name, one in said.values.items()
            if name not in axes and not isinstance(one.value, ChosenOf)
        }  # fmt: skip
        found: dict[RunProtocol, None] = {}
        for values in itertools.product(*axes.values()):
            found[self._chosen(said, replace(start, **single, **dict(zip(axes, values, strict=True))))] = None
        return tuple(found)

    def _chosen(self, said: Said, settings: ProtocolSettings) -> RunProtocol:
        """The protocol with what is chosen of it, if that has an effect; every candidate is checked."""
        wanted = {name: one for name in AXES if isinstance(one := _value(said, name), ChosenOf)}
        candidates: dict[ProtocolSettings, None] = {}
        for values in itertools.product(*(one.values for one in wanted.values())):
            changes: dict[str, Any] = dict(zip(wanted, values, strict=True))
            candidate = replace(settings, **changes)
            _Check(said, self._source).check(candidate)
            candidates[effective(candidate)] = None
        first, *others = candidates
        names = tuple(name for name in wanted if any(getattr(one, name) != getattr(first, name) for one in others))
        rules = {wanted[name].rule for name in names}
        return RunProtocol(first, ProtocolChoice(rules.pop(), names, tuple(candidates)) if names else None)

    def _start(self, said: Said) -> ProtocolSettings:
        """What the written fields change: the preset, or the defaults."""
        if said.preset is None:
            return ProtocolSettings()
        found = presets.preset(said.preset)
        if found.ensemble and "templates" not in said.values:
            how = presets.how_to_write(found.ensemble)
            sentence = f"preset {said.preset!r} needs the sentences of {found.ensemble}: {how}"
            self._source.lacking((*said.where, "preset"), sentence)
        return found.settings


class _Check:
    """What does not go together in a protocol, told with the line of the field that is at fault."""

    def __init__(self, said: Said, source: YamlText) -> None:
        self._said, self._source = said, source

    def check(self, found: ProtocolSettings) -> None:
        shares = found.background in SCALED and found.scale != "none"
        if found.background in THRESHOLDED and shares and not 0 <= found.threshold <= 1:
            bound = "less than or equal to 1" if found.threshold > 1 else "greater than or equal to 0"
            raise self._error("threshold", f"threshold must be {bound}, not {spell(found.threshold)}")
        if found.background in WORDED and not found.context:
            raise self._error("background", f"background {found.background!r} needs words: give a list as context")
        if found.resize != "none" and found.size == 0:
            raise self._error("resize", f"resize {found.resize!r} needs a size in pixels")
        if found.resize in ("short", "long") and not isinstance(found.size, int):
            raise self._error("size", f"size must be one number of pixels where resize is {found.resize!r}")
        if found.resize == "none" and "size" in self._said.values:
            raise self._error("size", "a size needs resize: write resize: short, long, box or stretch")
        self._check_windows(found)

    def _check_windows(self, found: ProtocolSettings) -> None:
        written = self._said.values
        if found.window and not found.stride:
            raise self._error("window", f"a window needs a stride: give one from 1 to {found.window} pixels")
        if found.window and found.stride > found.window:
            raise self._error(
                "stride",
                f"a stride of {found.stride} skips pixels: the window has {found.window}; give no more than that",
            )
        if found.stride and not found.window and "stride" in written and "window" not in written:
            raise self._error("stride", f"a stride needs a window: give one of {found.stride} pixels or more")

    def _error(self, key: str, sentence: str) -> GridError:
        where = self._said.values[key].where if key in self._said.values else (*self._said.where, key)
        return self._source.error(where, sentence)


def _value(said: Said, name: str) -> Any:
    return said.values[name].value if name in said.values else None
