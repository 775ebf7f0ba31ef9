"""Unsound grids go in; out comes one sentence with the line and the nearest valid word, and never anything else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from grid_texts import GUESS, HEAD, QUICKSTART, WORLD, method, tail
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import GridError
from harness.grid import reading as grids
from harness.grid.reading import Grid


def whole(written: str) -> str:
    """A grid whose method takes lists and mappings as values; the setting is in line 6."""
    return method("with:", f"  {written}").replace("grid_plugins:Guess", "grid_plugins:Whole")


MALFORMED: list[tuple[str, str, int, tuple[str, ...]]] = [
    # what is wrong, the grid, the line, words of the sentence
    ("top key", tail("protocl: {}"), 7, ("no key 'protocl'", "did you mean 'protocol'?", "keys: name, methods")),
    ("method key", method("wiht: {}"), 5, ("a method has no key 'wiht'", "did you mean 'with'?")),
    ("misspelt required key", HEAD + "  - name: Guess\n    usee: x:Y\n" + WORLD, 4, ("'usee'", "did you mean 'use'?")),
    ("protocol key", tail("protocol:", "  vocab: all"), 8, ("protocol has no key 'vocab'", "vocabulary")),
    ("cluster key", tail("cluster:", "  worker: 2"), 8, ("cluster has no key 'worker'", "did you mean 'workers'?")),
    ("include key", tail("include:", "  - {methods: Guess, benchmark: World}"),
     8, ("an include", "did you mean 'method'")),
    ("exclude key", tail("exclude:", "  - {benchmarks: World}"), 8, ("an exclude", "did you mean 'benchmark'?")),
    ("no name", "methods:\n" + GUESS + WORLD, 1, ("the grid needs the key 'name'",)),
    ("no methods", "name: g\n" + WORLD, 1, ("the grid needs the key 'methods'",)),
    ("no address", HEAD + "  - name: Guess\n" + WORLD, 3, ("a method needs the key 'use'",)),
    ("include without a benchmark", tail("include:", "  - method: Guess"),
     8, ("an include needs the key 'benchmark'",)),
    ("methods a mapping", "name: g\nmethods: {name: x}\n" + WORLD, 2, ("methods must be a list, not a mapping",)),
    ("methods empty", "name: g\nmethods:\n" + WORLD, 2, ("methods must be a list, not empty",)),
    ("methods without items", "name: g\nmethods: []\n" + WORLD, 2, ("methods must have at least 1 item",)),
    ("method a word", HEAD + "  - Guess\n" + WORLD, 3, ("item 1 of methods must be a mapping", "'Guess'")),
    ("with a list", method("with: [timestep]"), 5, ("with must be a mapping of keys to values, not [timestep]",)),
    ("with empty", method("with:"), 5, ("with must be a mapping of keys to values, not empty",)),
    ("name a number", "name: 3\n" + tail().partition("\n")[2], 1, ("name must be text, not 3 (put it in quotes)",)),
    ("name a truth", "name: yes\n" + tail().partition("\n")[2],
     1, ("name must be text, not true", "YAML", "in quotes")),
    ("name with control characters", 'name: "a\\eb"\n' + tail().partition("\n")[2], 1, ("printable",)),
    ("batch zero", tail("batch: 0"), 7, ("batch must be greater than or equal to 1, not 0",)),
    ("batch a fraction", tail("batch: 1.5"), 7, ("batch must be a whole number, not 1.5",)),
    ("batch text", tail("batch: '8'"), 7, ("batch must be a whole number, not '8' (write it without quotes)",)),
    ("workers a word", tail("cluster: {workers: autoo}"), 7, ("'auto'", "a whole number", "did you mean 'auto'?")),
    ("workers none", tail("cluster: {workers: 0}"),
     7, ("workers must be 'auto' or greater than or equal to 1, not 0",)),
    ("stall", tail("cluster:", "  stall_seconds: 1e3"),
     8, ("stall_seconds must be a number", "with a point and a sign")),
    ("vocabulary", tail("protocol: {vocabulary: presnt}"),
     7, ("'all', 'present' or 'predicted'", "did you mean 'present'?")),
    ("background off", tail("protocol: {background: off}"),
     7, ("'ignored', 'class', 'constant'", "not false", "bare yes, no")),
    ("threshold", tail("protocol: {background: constant, threshold: 1.5}"),
     7, ("threshold must be less than or equal to 1, not 1.5",)),
    ("templates a word", tail("protocol: {templates: a {}}"), 7, ("not YAML",)),
    ("template without hole", tail("protocol:", "  templates:", "    - 'a {}'", "    - a photo"),
     10, ("exactly one {}",)),
    ("templates empty", tail("protocol: {templates: []}"), 7, ("templates must have at least 1 item",)),
    ("address form", HEAD + "  - {name: A, use: grid_plugins.Guess}\n" + WORLD,
     3, ("module:Class", "'grid_plugins:Guess'?")),
    ("module", HEAD + "  - {name: A, use: 'grid_plugin:Guess'}\n" + WORLD,
     3, ("no module", "did you mean 'grid_plugins'?")),
    ("module in a package", HEAD + "  - {name: A, use: 'benchmark.shape:X'}\n" + WORLD,
     3, ("mean 'benchmarks.shapes'?",)),
    ("class", HEAD + "  - {name: A, use: 'grid_plugins:Gess'}\n" + WORLD,
     3, ("no class 'Gess'", "did you mean 'Guess'?")),
    ("no class", HEAD + "  - {name: A, use: 'grid_plugins:A_CONSTANT'}\n" + WORLD,
     3, ("is not a class but of type int",)),
    ("import fails", HEAD + "  - {name: A, use: 'grid_broken:X'}\n" + WORLD, 3, ("RuntimeError: no such device",)),
    ("import lacks", HEAD + "  - {name: A, use: 'grid_needy:X'}\n" + WORLD,
     3, ("importing 'grid_needy' failed", "nobody")),
    ("hidden by another", HEAD + "  - {name: A, use: 'colorsys:Mine'}\n" + WORLD, 3, ("colorsys.py, not to", "rename")),
    ("no method", HEAD + "  - {name: A, use: 'grid_plugins:World'}\n" + WORLD, 3, ("neither `segment` nor both",)),
    ("no benchmark", HEAD + GUESS + "benchmarks:\n  - {name: A, use: 'grid_plugins:Guess'}\n",
     5, ("no `ids` and no `load`",)),
    ("no classes", HEAD + GUESS + "benchmarks:\n  - {name: A, use: 'grid_plugins:Unclassed'}\n",
     5, ("needs `classes`",)),
    ("dangerous class", HEAD + "  - {name: A, use: 'subprocess:Popen', with: {args: 'false'}}\n" + WORLD,
     3, ("neither",)),
    ("setting", method("with:", "  model: small", "  timestp: 1"),
     7, ("no setting 'timestp'", "mean 'timestep'?", "refine")),
    ("setting's type", method("with:", "  timestep: [1,", "    1.5]"),
     7, ("'timestep' must be a whole number, not 1.5",)),
    ("setting in quotes", method("with: {timestep: '1'}"), 5, ("must be a whole number, not '1'", "without quotes")),
    ("setting as exponent", method("with: {power: 1e-3}"), 5, ("must be a number, not '1e-3'", "1.0e-3")),
    ("setting a truth", method("with: {refine: [no, sar]}"), 5, ("must be text, not false", "put the word in quotes")),
    ("setting null", method("with: {timestep: }"), 5, ("must be a whole number, not empty",)),
    ("setting a mapping", method("with:", "  model: {a: 1}"), 6, ("'model' cannot be a mapping",)),
    ("setting a date", method("with: {model: 2024-01-02}"), 5, ("'2024-01-02'", "put it in quotes")),
    ("setting nan", method("with: {power: .nan}"), 5, ("nan is not a value",)),
    ("setting inf", method("with: {power: -.inf}"), 5, ("an infinite number is not a value",)),
    ("item of a setting", method("with: {layers: [[0, x]]}"),
     5, ("item 2 of setting 'layers' must be a whole number", "'x'")),
    ("item of a list that is one value", method("with: {layers: [0, x]}"),
     5, ("item 2 of setting 'layers' must be a whole number", "'x'")),
    ("an axis of lists with one that does not fit", method("with:", "  layers: [[0],", "    [x]]"),
     7, ("item 1 of setting 'layers' must be a whole number", "'x'")),
    ("value in a mapping", whole("words: {a: [x, 1]}"), 6, ("item 2 of a of setting 'words' must be text, not 1",)),
    ("key of a mapping", whole("shares: {one: 1.0}"), 6, ("a key of setting 'shares' must be a whole number",)),
    ("mapping for a list", whole("layers: {a: 1}"), 6, ("'layers' cannot be a mapping",)),
    ("list for a mapping", whole("shares: [1, 2]"), 6, ("'shares' must be a mapping of keys to values, not 1",)),
    ("key twice", whole("words: {1: [a], '1': [b]}"), 6, ("the key '1' was given in line 6 already",)),
    ("key a truth", whole("words: {yes: [a]}"), 6, ("does not read the key 'yes' as a word", "in quotes")),
    ("number as a setting", method("with: {1: a}"), 5, ("does not read the key '1' as a word",)),
    ("literal", method("with: {form: valeu}"), 5, ("'value' or 'full'", "did you mean 'value'?")),
    ("refused value", method("with:", "  model: x", "  refine:", "  - none", "  - sarr"),
     9, ("refine is none, sar or samap",)),
    ("refused number", method("with:", "  refine: sar", "  timestep: 1000"), 7, ("timestep runs from 0 to 999",)),
    ("backbone", HEAD + "  - name: A\n    use: grid_plugins:Reads\n    with:\n     model: [small,\n      z]\n" + WORLD,
     7, ("grid_plugins:Net: there is no network 'z'",)),
    ("required setting", HEAD + "  - {name: A, use: 'grid_plugins:Other'}\n" + WORLD, 3, ("needs the setting 'seed'",)),
    ("empty axis", method("with:", "  timestep: []"), 6, ("the axis 'timestep' is empty",)),
    ("value twice", method("with:", "  power: [1,", "    1.0]"), 7, ("the axis 'power' holds 1.0 twice",)),
    ("key twice", method("with: {timestep: 1}", "with: {timestep: 2}"), 6, ("'with' was given in line 5 already",)),
    ("section twice", tail("methods: []"), 7, ("the key 'methods' was given in line 2 already",)),
    ("method twice", HEAD + GUESS + GUESS + WORLD, 4, ("the name 'Guess' was given in line 3 already",)),
    ("benchmark twice", tail("  - {name: World, use: 'grid_plugins:World'}"), 7, ("'World' was given in line 6",)),
    ("same method", HEAD + GUESS + GUESS.replace("name: Guess", "name: B") + WORLD,
     4, ("'B' on 'World' already, as 'Guess'",)),
    ("same by default", HEAD + GUESS + "  - {name: B, use: 'grid_plugins:Guess', with: {power: 1}}\n" + WORLD,
     4, ("already",)),
    ("same once built", HEAD + "  - {name: A, use: 'grid_plugins:Settles', with: {power: [1, 2]}}\n" + WORLD,
     3, ("holds 'A power=2' on 'World' already, as 'A power=1' on 'World'",)),
    ("many lines", HEAD + "  - {name: A, use: 'grid_plugins:Settles', with: {refine: sar, power: 10}}\n" + WORLD,
     3, ("two lines",)),
    ("include what is there", tail("include:", "  - {method: Guess, benchmark: World, with: {timestep: 1}}"),
     8, ("twice",)),
    ("include unknown method", tail("include:", "  - {method: Gues, benchmark: World}"), 8, ("no method", "'Guess'?")),
    ("include unknown benchmark", tail("include:", "  - method: Guess", "    benchmark: Word"),
     9, ("did you mean 'World'?",)),
    ("include an axis", tail("include:", "- {method: Guess, benchmark: World, with: {timestep: [3, 4]}}"),
     8, ("one value",)),
    ("include a setting", tail("include:", "- {method: Guess, benchmark: World, with: {modl: x}}"),
     8, ("mean 'model'?",)),
    ("exclude unknown method", tail("exclude:", "  - {method: Oter}"),
     8, ("did you mean 'Other'?", "methods: Guess, Other")),
    ("exclude unknown benchmark", tail("exclude:", "  - {benchmark: Wrld}"), 8, ("did you mean 'World'?",)),
    ("exclude unknown setting", tail("exclude:", "  - with:", "      timestp: 1"), 9, ("did you mean 'timestep'?",)),
    ("exclude nothing", tail("exclude:", "  - {method: Guess, with: {timestep: 7}}"), 8, ("matches no combination",)),
    ("exclude a value that no protocol has", tail("exclude:", "  - {protocol: {threshold: 0.7}}"), 8,
     ("matches no combination",)),
    ("exclude by a field that is no axis", tail("exclude:", "  - {protocol: {thresold: 1}}"), 8,
     ("fields of the protocol that can be axes, not 'thresold'", "did you mean 'threshold'?")),
    ("exclude all by nothing", tail("exclude:", "  - {}"), 8, ("an empty exclude",)),
    ("exclude everything", tail("exclude:", "  - method: [Guess]"), 8, ("method must be text, not [Guess]",)),
    ("no cell left", tail("exclude:", "  - {benchmark: World}"), 7, ("leave no combination",)),
    ("item's exclude, setting", method("with: {timestep: [1, 2]}", "exclude:", "- {timestp: 1}"),
     7, ("mean 'timestep'?",)),
    ("item's exclude, nothing", method("with: {timestep: [1, 2]}", "exclude:", "- {timestep: 3}"), 7, ("matches no",)),
    ("item's exclude, all", method("with: {timestep: [1, 2]}", "exclude: [{timestep: [1, 2]}]"),
     6, ("no combination of 'Guess'",)),
    ("exclude no list", method("exclude: {timestep: 1}"), 5, ("exclude must be a list, not a mapping",)),
    ("too many", method(f"with: {{timestep: {list(range(999))}, power: {list(range(999))}}}"),
     2, ("998001", "10000 is the most")),
    ("syntax", "name: g\nmethods: [\n  a: b: c\n", 3, ("not YAML",)),
    ("tab", "name: g\nmethods:\n\t- a\n", 3, ("not YAML", "'\\t'")),
    ("a variable without quotes", "name: g\nmethods:\n- {name: a, with: {root: ${DATA}/x}}\n", 3,
     ("not YAML", "a value that begins with '${' stands in quotes")),
    ("a star without quotes", "name: g\nmethods:\n- {name: a, with: {masks: *_l.png}}\n", 3,
     ("not YAML", "a value that begins with '*' stands in quotes")),
    ("open quote", "name: 'g\nmethods: []\n", 3, ("not YAML",)),
    ("control character", "name: g\nmethods: \x01\n", 2, ("'\\x01' is not allowed",)),
    ("python tag", "name: g\nmethods: !!python/object/apply:os.system ['true']\n",
     2, ("'!!python/object/apply:os.system'",)),
    ("own tag", "name: g\nmethods: !mine [a]\n", 2, ("the tag '!mine' is not allowed",)),
    ("impossible number", "name: g\nbatch: 0b_\n", 2, ("cannot be read as int",)),
    ("merge key", "name: g\nbase: &b {a: 1}\nmethods:\n  <<: *b\n", 4, ("merge keys",)),
    ("key no word", "name: g\non: 1\n", 2, ("the key 'on'", "put it in quotes")),
    ("key a list", "name: g\n? [a]\n: 1\n", 2, ("a key must be a word",)),
    ("unknown alias", "name: g\nmethods: *nothing\n", 2, ("undefined alias",)),
    ("alias in itself", "name: g\nmethods: &m [*m]\n", 2, ("nested too deep",)),
    ("octal", tail("batch: 010"), 7, ("YAML reads 010 as 8; write 8, or 10 if that was meant, or '010' in quotes",)),
    ("of base 60", tail("batch: 1:30"), 7, ("YAML reads 1:30 as 90; write 90, or '1:30' in quotes",)),
    ("underscored", tail("batch: 1_0"), 7, ("YAML reads 1_0 as 10; write 10, or '1_0' in quotes",)),
    ("underscored fraction", method("with: {step: 1_0.5}"), 5, ("YAML reads 1_0.5 as 10.5; write 10.5",)),
    ("octal in a list", method("with: {steps: [1, -017]}"), 5, ("YAML reads -017 as -15; write -15, or -17 if",)),
    ("two documents", "name: g\n---\nname: h\n", 2, ("not YAML", "another document")),
    ("deep", "[" * 5000, 1, ("nested too deep",)),
    ("deeper than needed", "name: g\nmethods: " + "[" * 40 + "]" * 40, 2, ("nested too deep",)),
    ("empty", "", 1, ("the file is empty",)),
    ("comment", "# nothing\n", 1, ("the file is empty",)),
    ("a list", "- name: g\n", 1, ("a grid must be a mapping", "not [{name:g}]")),
    ("a word", "grid\n", 1, ("a grid must be a mapping", "'grid'")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), [pytest.param(*rest, id=name) for name, *rest in MALFORMED])
def test_what_is_wrong_is_said_in_one_sentence_with_its_line(
    read_grid: Callable[[str], Grid], text: str, line: int, words: tuple[str, ...]
) -> None:
    with pytest.raises(GridError) as caught:
        read_grid(text)
    sentence = str(caught.value)
    assert sentence.startswith(f"grid.yaml, line {line}: "), sentence
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence
    assert caught.value.exit_code == 2


def test_files_that_are_no_grid_are_named(grid_folder: Path, tmp_path: Path) -> None:
    (grid_folder / "grid.yaml").write_text(QUICKSTART)
    with pytest.raises(GridError, match=r"no file .*grid\.yml; did you mean 'grid\.yaml'\?"):
        grids.read_grid(grid_folder / "grid.yml")
    with pytest.raises(GridError, match="is a folder; give a YAML file"):
        grids.read_grid(tmp_path)
    with pytest.raises(GridError, match="there is no file"):
        grids.read_grid(tmp_path / "nowhere" / "grid.yaml")
    with pytest.raises(GridError, match="cannot be read"):
        grids.read_grid(grid_folder / "grid.yaml" / "grid.yaml")
    with pytest.raises(GridError, match="cannot be read: embedded null byte"):
        grids.read_grid("grid\0.yaml")


def test_bytes_that_are_no_grid_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(b"name: g\nmethods: \xff\xfe\n")
    with pytest.raises(GridError, match=r"^odd\.yaml, line 2: the text is not UTF-8"):
        grids.read_grid(path)
    path.write_bytes(b"# " + b"x" * 2**20)
    with pytest.raises(GridError, match="larger than 1048576 bytes"):
        grids.read_grid(path)
    path.write_bytes(b"\xef\xbb\xbfnome: g\n")
    with pytest.raises(GridError, match="did you mean 'name'"):
        grids.read_grid(path)


def test_aliases_cannot_blow_a_grid_up(tmp_path: Path) -> None:
    levels = [f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    (tmp_path / "bomb.yaml").write_text("\n".join(["k0: &a0 [x, x]", *levels]))
    with pytest.raises(GridError, match="more than 20000 values"):
        grids.read_grid(tmp_path / "bomb.yaml")


KEYS = ["name", "methods", "benchmarks", "use", "with", "exclude", "include", "protocol", "cluster", "batch", "method"]
WORDS = ["grid_plugins:Guess", "grid_plugins:World", "grid_plugins:Reads", "timestep", "refine", "images", "Guess", "="]
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(WORDS + KEYS), st.dates()
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS + WORDS), st.text(max_size=4)), inner, max_size=5),
    ),
    max_leaves=25,
)
ITEM = st.fixed_dictionaries(
    {"name": st.one_of(st.sampled_from(WORDS), JUNK), "use": st.sampled_from([*WORDS[:3], *WORDS])},
    optional={
        "with": st.dictionaries(st.sampled_from(["timestep", "refine", "images", "layers", "x"]), JUNK, max_size=3),
        "exclude": JUNK,
    },
)
NEAR_GRID = st.fixed_dictionaries(
    {"name": st.just("g"), "methods": st.lists(ITEM, max_size=2), "benchmarks": st.lists(ITEM, max_size=2)},
    optional={key: JUNK for key in ("exclude", "include", "protocol", "cluster", "batch")},
)
QUICK = settings(deadline=None, database=None, max_examples=100, suppress_health_check=list(HealthCheck))


def read_or_refuse(path: Path, content: bytes) -> None:
    """Whatever a file holds, the answer is a grid or one GridError."""
    path.write_bytes(content)
    try:
        assert isinstance(grids.read_grid(path), Grid)
    except GridError as error:
        assert re.match(r"junk\.yaml, line \d+: ", str(error)), error
        assert "\n" not in str(error)


@QUICK
@given(data=st.one_of(JUNK, NEAR_GRID))
def test_junk_values_raise_nothing_but_a_grid_error(grid_folder: Path, data: Any) -> None:
    text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
    read_or_refuse(grid_folder / "junk.yaml", text.encode("utf-8", "replace"))


@QUICK
@given(text=st.text(alphabet=st.sampled_from("ab01:-[]{}&*!|>%@`'\"#,?.=~<_\\ \t\n\r\x07é\U0001f600"), max_size=60))
def test_junk_text_raises_nothing_but_a_grid_error(grid_folder: Path, text: str) -> None:
    read_or_refuse(grid_folder / "junk.yaml", text.encode())


@QUICK
@given(cut=st.integers(0, len(QUICKSTART)), noise=st.binary(max_size=6), length=st.integers(0, 12))
def test_a_damaged_grid_raises_nothing_but_a_grid_error(grid_folder: Path, cut: int, noise: bytes, length: int) -> None:
    content = QUICKSTART.encode()
    read_or_refuse(grid_folder / "junk.yaml", content[:cut] + noise + content[cut + length :])
