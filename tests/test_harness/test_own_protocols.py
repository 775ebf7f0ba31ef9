"""Protocols that a method or a benchmark of a grid names itself: which holds where, and which clash."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from grid_texts import GUESS, HEAD, WORLD

from harness.contracts import ProtocolSettings
from harness.errors import GridError
from harness.grid.reading import Grid
from harness.planning import plan as plans
from harness.protocol import presets

Read = Callable[[str], Grid]
OTHER = "  - {name: Whole, use: 'grid_plugins:Whole'"
PLACES = """\
benchmarks:
  - {name: World, use: 'grid_plugins:World'%s}
  - {name: Far, use: 'grid_plugins:World', with: {split: far}%s}
"""


def grid(method: str = "", world: str = "", far: str = "", *lines: str) -> str:
    """Guess, which says nothing, and Whole with what it says; two benchmarks with what they say."""
    own = f", {method}" if method else ""
    places = PLACES % tuple(f", {one}" if one else "" for one in (world, far))
    return HEAD + GUESS + OTHER + own + "}\n" + places + "".join(f"{line}\n" for line in lines)


def protocols(found: Grid) -> dict[tuple[str, str], list[ProtocolSettings]]:
    by_name: dict[tuple[str, str], list[ProtocolSettings]] = {}
    for cell in found.cells:
        by_name.setdefault((cell.method_name, cell.benchmark_name), []).append(cell.protocol)
    return by_name


def test_a_grid_whose_items_say_nothing_has_its_protocol_and_ids_everywhere(read_grid: Read) -> None:
    whole = read_grid(grid("", "", "", "protocol: {vocabulary: all, background: constant, threshold: 0.3}"))
    assert {cell.protocol for cell in whole.cells} == {ProtocolSettings("all", "constant", 0.3)}
    said = read_grid(grid("protocol: {vocabulary: all, background: constant, threshold: 0.3}"))
    ids = [[one.run.run_id for one in plans.make("g", one.cells, 8, folder=one.folder).runs] for one in (whole, said)]
    assert [first == second for first, second in zip(*ids, strict=True)] == [False, True, False, True]


def test_a_preset_of_an_item_starts_anew_and_fields_change_what_lies_below(read_grid: Read) -> None:
    base = "protocol: {background: constant, threshold: 0.3, scale: none}"
    found = protocols(read_grid(grid("protocol: voc20", "", "protocol: {threshold: 0.4}", base)))
    below = ProtocolSettings("present", "constant", 0.3, scale="none")
    assert found["Guess", "World"] == [below]
    assert found["Guess", "Far"] == [ProtocolSettings("present", "constant", 0.4, scale="none")]
    assert found["Whole", "World"] == [presets.preset("voc20").settings] == found["Whole", "Far"]
    mixed = protocols(read_grid(grid("protocol: tcl", "", "protocol: {templates: ['a {}']}", base)))
    assert mixed["Whole", "Far"][0].window == 448 and mixed["Whole", "Far"][0].templates == ("a {}",)
    assert mixed["Guess", "Far"] == [ProtocolSettings("present", "constant", 0.3, ("a {}",), scale="none")]


def test_a_method_names_a_protocol_for_each_benchmark(read_grid: Read) -> None:
    own = "protocol: {preset: tcl, size: 336}, protocols: {Far: {size: 560, window: 0}}"
    found = protocols(read_grid(grid(own)))
    near, far = found["Whole", "World"][0], found["Whole", "Far"][0]
    assert (near.size, near.window, near.stride) == (336, 448, 224)
    assert (far.size, far.window, far.stride, far.vocabulary) == (560, 0, 0, "all")
    bare = protocols(read_grid(grid("protocol: tcl, protocols: {Far: {resize: none, window: 0}, World: voc21}")))
    assert bare["Whole", "Far"] == [ProtocolSettings("all")]
    assert bare["Whole", "World"] == [presets.preset("voc21").settings]
    text = grid("protocols: {'Far images=2': pc60}").replace("{split: far}", "{split: far, images: [2, 3]}")
    axes = protocols(read_grid(text))
    assert [one.background for one in (axes["Whole", f"Far images={n}"][0] for n in (2, 3))] == ["class", "ignored"]


CLASHES = [
    ("a field", "protocol: {threshold: 0.4}", "protocol: {threshold: 0.4}", "both set threshold; leave it to one"),
    ("a field of a preset", "protocol: {size: 3}", "protocol: tcl", "(line 6, by its preset) both set size"),
    ("two presets", "protocol: voc20", "protocol: voc21", "both name a preset; leave it to one of them"),
    ("what a preset is about", "protocol: voc20", "protocol: {background: class}", "(line 4, by its preset) and"),
    ("for one benchmark", "protocols: {World: {power: 3.0}}", "protocol: {power: 2.0}",
     "the method 'Whole' for 'World' (line 4) and the benchmark 'World' (line 6) both set power"),
    ("a field and none", "protocol: {resize: short}", "", "resize 'short' needs a size"),
    ("no such benchmark", "protocols: {Wrld: voc20}", "", "no benchmark is called so; did you mean 'World'? ("),
    ("no such preset", "protocols: {World: vco20}", "", "there is no preset 'vco20'"),
    ("key of a method's", "protocol: {treshold: 1}", "", "protocol has no key 'treshold'; did you mean 'threshold'?"),
    ("key for a benchmark", "protocols: {World: {treshold: 1}}", "", "protocol has no key 'treshold'"),
    ("key of a tagger", "protocol: {tagger: {us: x}}", "", "a tagger has no key 'us'"),
    ("protocols of a benchmark", "", "protocols: {World: voc20}", "a benchmark has no key 'protocols'"),
    ("an empty axis", "protocol: {background: constant, threshold: []}", "", "threshold must have at least 1 item"),
    ("an axis twice", "protocol: {background: constant, threshold: [0.1, 0.1]}", "", "'threshold' holds 0.1 twice"),
    ("a value of an axis", "protocol: {background: constant, threshold: [0.1, 1.5]}", "", "less than or equal to 1"),
    ("a word in an axis", "protocol: {threshold: [0.1, high]}", "", "item 2 of threshold must be a number, not 'high'"),
    ("no axis", "protocol: {window: [1, 2]}", "", "window must be a whole number, not [1,2]"),
    ("a sum of axes", "protocol: {background: constant, scale: softmax, threshold: %s, logit_scale: %s}", "", "10000"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "world", "words"), [pytest.param(*rest, id=name) for name, *rest in CLASHES])
def test_what_clashes_is_said_with_its_lines(read_grid: Read, method: str, world: str, words: str) -> None:
    if "%s" in method:
        method %= [n / 200 for n in range(150)], [n + 1.0 for n in range(150)]
    with pytest.raises(GridError) as caught:
        read_grid(grid(method, world))
    sentence = str(caught.value)
    line = 6 if method == "" else 4
    assert sentence.startswith(f"grid.yaml, line {line}: ") and "\n" not in sentence and words in sentence, sentence


def test_a_threshold_is_an_axis_where_it_has_an_effect(read_grid: Read) -> None:
    levels = "protocol: {background: constant, threshold: [0.2, 0.5, 0.7]}"
    found = protocols(read_grid(grid("protocol: {background: ignored}", "", "", levels)))
    assert [one.threshold for one in found["Guess", "Far"]] == [0.2, 0.5, 0.7]
    assert found["Whole", "Far"] == [ProtocolSettings()], "no threshold, no axis"
    both = "protocol: {background: constant, scale: softmax, threshold: [0.2, 0.5], logit_scale: [40.0, 50.0]}"
    settings = protocols(read_grid(grid(both)))["Whole", "World"]
    assert [(one.threshold, one.logit_scale) for one in settings] == [(0.2, 40), (0.2, 50), (0.5, 40), (0.5, 50)]


def test_one_method_may_stand_twice_under_two_protocols_and_not_under_one(read_grid: Read) -> None:
    again = "  - {name: Again, use: 'grid_plugins:Guess', protocol: {vocabulary: all}}\n"
    found = protocols(read_grid(HEAD + GUESS + again + WORLD))
    assert found["Guess", "World"] != found["Again", "World"]
    with pytest.raises(GridError, match="the grid holds 'Again' on 'World' already, as 'Guess' on 'World'"):
        read_grid(HEAD + GUESS + again.replace("vocabulary: all", "vocabulary: present") + WORLD)


LEARN = """
name: g
methods:
  - {name: Bright, use: 'toy_learners:Brightest'%s}
  - {name: Gains, use: 'toy_learners:Gains', with: {teacher: Bright}%s}
benchmarks:
  - {name: Split, use: 'toy_learners:SplitBoxes', train: {split: train}%s}
"""


def test_lessons_follow_the_protocol_of_the_teacher(read_grid: Read) -> None:
    taught = read_grid(LEARN % (", protocol: {vocabulary: present, templates: ['the {}']}", ", protocol: voc20", ""))
    cell = next(cell for cell in taught.cells if cell.method_name == "Gains")
    assert cell.teacher is not None
    assert (cell.protocol.vocabulary, cell.teacher.protocol.vocabulary) == ("all", "present")
    plan = plans.make("g", taught.cells, 8, folder=taught.folder)
    (fit,) = plan.fits
    assert fit.labels.run.protocol == cell.teacher.protocol and fit.gathers
    assert fit.gathers.run.protocol == cell.teacher.protocol, "what is gathered is shown as the teacher was"
    scored = plan.runs[1]
    assert scored.record["artefact"]["image_labels"] is True, "names that only the teacher knew are told all the same"
    before = read_grid(LEARN % ("", "", ""))
    assert "image_labels" not in plans.make("g", before.cells, 8, folder=before.folder).runs[1].record["artefact"]


def test_a_teacher_has_one_protocol(read_grid: Read) -> None:
    axis = ", protocol: {background: constant, threshold: [0.1, 0.2]}"
    every = read_grid(LEARN % ("", "", axis))
    assert [(one.protocol.threshold, one.teacher.protocol.threshold) for one in every.cells if one.teacher] == [
        (0.1, 0.1), (0.2, 0.2)
    ]  # fmt: skip
    with pytest.raises(
        GridError, match=r"line 3: 'Bright' teaches, and has 2 protocols on 'Split'.*give a teacher one"
    ):
        read_grid(LEARN % (axis, "", ""))
