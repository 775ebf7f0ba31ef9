"""The user's YAML file -> Grid: frozen cells, every name, address and setting in it checked, or one sentence why not.

Form: `name`, `methods`, `benchmarks`, and optionally `exclude`, `include`, `protocol`, `cluster`, `batch`, `keep`,
`tables`.
An item of `methods` or `benchmarks` has `name`, `use` (module:Class), `with` (its settings) and `exclude`; of `methods`
also `process: own`, for one that changes what others in its process rest on.

- Every list under `with:` is an axis: of the values of a setting. A setting that is annotated as a tuple or a mapping
  takes a list or a mapping as one value (`layers: [0, 1, 2]`), and its axis is a list of those (`[[0, 1, 2], [3]]`).
- `exclude` drops the combinations that have all it names: in an item `{setting: value}`, for the whole grid any of
  `{method: name, benchmark: name, with: {setting: value}, protocol: {threshold: value}}`; a list of values there means
  any of them, `with` speaks of the method's settings, defaults included, and `protocol` of its axes.
- `include` adds, after all excludes, one combination an entry: `{method: name, benchmark: name, with: {...}}`. Its
  `with` goes before the item's single values; an axis that it leaves out keeps the default of the class.
- A method or a benchmark may say something of the protocol itself: `protocol:`, a preset or fields that change the
  grid's; a method also `protocols: {benchmark: ...}` (see harness.grid.protocol_layers). A threshold may be a list: an
  axis of the protocol. Lessons follow the teacher's protocol.
- A benchmark with axes bears them in its name, and can be named with or without them.
- A method that learns names a `teacher`, another method here, and `train: {split: train}` of a benchmark says which of
  its settings make it the split that is learned from (see harness.grid.teachers). No scored image may be in it, by its
  pixels, or `train_overlap: 0.01` says which share of them.

Paths (of names, of templates, and in settings: see harness.recipes.named_files) are relative to the folder of the file,
and plug-ins are given absolute ones; `~` and `$VAR` are filled in.

Cells come benchmark by benchmark, method by method, the last axis changing fastest; included cells last. The folder of
the file is put at the end of the import path, so that `use: my_method:Mine` finds my_method.py beside the grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import yaml_lines
from harness.contracts import ProtocolSettings
from harness.errors import GridError
from harness.grid.cells import Cell, CellChoice, ClusterSettings, Grid
from harness.grid.form import ProtocolAlone, check_form, validated
from harness.grid.multiplying import Maker
from harness.grid.overrides import overridden
from harness.grid.protocol_layers import Protocols
from harness.grid.python_values import as_text
from harness.recipes import loading

__all__ = ["Cell", "CellChoice", "ClusterSettings", "Grid", "read_grid", "read_protocol"]


def read_grid(given: str | Path | Mapping[str, Any], changes: Sequence[str] = (), *, later: bool = False) -> Grid:
    """The grid in a file, or of a program's own values; GridError, with file and line, for whatever is wrong with it.

    Values take the place of a file in the folder that one works in. changes: `key=value`, in place of what the file
    says (see harness.grid.overrides). later: templates that are not there are no error yet, but in `missing`, to be
    told with what else is missing.
    """
    written = as_text(given) if isinstance(given, Mapping) else yaml_lines.read_yaml(Path(given))
    source = replace(overridden(written, changes), missing={} if later else None)
    form = check_form(source)
    folder = str(Path.cwd() if isinstance(given, Mapping) else Path(given).absolute().parent)
    loading.add_folder(folder)
    maker = Maker(source, form, folder)
    cells = tuple(maker.cells())
    wanted = form.keep.label_maps
    keep = wanted if isinstance(wanted, int) else tuple(wanted)
    missing = tuple((source.missing or {}).values())
    return Grid(
        form.name, folder, cells, form.batch, ClusterSettings(**dict(form.cluster)), keep, maker.tables(),
        missing=missing, boundaries=form.keep.boundaries,
    )  # fmt: skip


def read_protocol(given: str | Mapping[str, Any]) -> ProtocolSettings:
    """One protocol, as a grid says it under `protocol:`: a preset or fields. GridError for what is wrong with it."""
    source = as_text({"protocol": given})
    first, *others = Protocols(source, validated(source, ProtocolAlone), str(Path.cwd()), ()).whole
    if others or first.choice is not None:
        raise GridError("protocol: a list of values, or a choice of them, makes several protocols; give one value")
    return first.settings
