"""`protocol:` of a grid: presets, files, fields without effect, and a sentence with its line for what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from grid_texts import tail

from harness.contracts import NameFile, ProtocolSettings, Recipe
from harness.errors import GridError
from harness.grid.protocol_form import ProtocolForm
from harness.grid.reading import Grid
from harness.protocol import presets
from harness.protocol.rules import DEFAULT_TAGGER, effective

Read = Callable[[str], Grid]


def rules(read_grid: Read, *lines: str) -> ProtocolSettings:
    return read_grid(tail(*lines)).cells[0].protocol


def test_a_preset_is_named_alone_or_changed(read_grid: Read) -> None:
    assert rules(read_grid, "protocol: voc20") == ProtocolSettings("all")
    changed = rules(read_grid, "protocol: {preset: stableseg, threshold: 0.4, templates: ['{}']}")
    assert changed == ProtocolSettings("present", "constant", 0.4, ("{}",))
    city = rules(read_grid, "protocol: {preset: sclip, size: 560, names: own, templates: ['a {}', 'the {}']}")
    assert (city.size, city.window, city.stride, city.names, len(city.templates)) == (560, 224, 112, "own", 2)
    whole = rules(read_grid, "protocol: {preset: tcl, window: 0}")
    assert (whole.window, whole.stride, whole.size) == (0, 0, 448)


def test_presets_are_sound_and_say_where_they_are_from() -> None:
    settings = [effective(presets.preset(name).settings) for name in presets.names()]
    assert {"stableseg", "voc20", "voc21", "pc59", "pc60", "sclip", "tcl", "food", "food_foreground"} <= set(
        presets.names()
    )
    for name, found in zip(presets.names(), settings, strict=True):
        assert found == presets.preset(name).settings, "a preset holds no field without effect"
        assert len(presets.preset(name).source) > 20
    by_name = dict(zip(presets.names(), settings, strict=True))
    assert by_name["voc20"] == by_name["pc59"] == by_name["food_foreground"] == ProtocolSettings("all")
    assert len(by_name["voc21"].context) == 26 and by_name["sclip_background"] == by_name["sclip_voc21"]
    assert by_name["sclip"] == by_name["sclip_voc20"] == by_name["sclip_pc59"] == by_name["sclip_ade"]
    voc = by_name["sclip_voc21"]
    assert (voc.logit_scale, voc.threshold, voc.area_thd, voc.longest, voc.resampling) == (65, 0.1, 0.1, 2048, "cv2")
    assert (by_name["naclip_voc20"].window, by_name["clearclip_city"].stride) == (0, 224)
    assert (by_name["maskclip_pc59"].resize, by_name["maskclip_pc59"].size) == ("box", (520, 520))


def test_templates_are_a_list_or_a_text_file(read_grid: Read, grid_folder: Path) -> None:
    (grid_folder / "two.txt").write_text("a {}\n\n  the {} there \n")
    assert rules(read_grid, "protocol: {templates: two.txt}").templates == ("a {}", "the {} there")


def test_a_name_file_lies_beside_the_grid_and_its_content_is_the_value(read_grid: Read, grid_folder: Path) -> None:
    (grid_folder / "words.yaml").write_text("disc: [disc, disk]\nbar: bar\n")
    assert rules(read_grid, "protocol: {names: words.yaml}").names == NameFile(
        "words.yaml", (("disc", "disk"), ("bar",)), ("disc", "bar")
    )
    assert rules(read_grid, "protocol: {names: sclip}").names == "sclip"


def test_a_tagger_is_a_recipe_and_there_is_one_by_default(read_grid: Read) -> None:
    given = rules(
        read_grid, "protocol: {vocabulary: predicted, tagger: {use: 'toy_taggers:Colours', with: {share: 1}}}"
    )
    assert given.tagger == Recipe.of("toy_taggers:Colours", share=1.0)
    assert rules(read_grid, "protocol: {vocabulary: predicted}").tagger == DEFAULT_TAGGER
    assert rules(read_grid, "protocol: {tagger: {use: 'toy_taggers:Colours'}}").tagger is None


USELESS = {
    "threshold": [{"background": "ignored"}, {"background": "class"}, {"background": "power"},
                  {"background": "prompts", "context": ("a",)}],
    "power": [{"background": rule} for rule in ("ignored", "class", "constant", "hinge_power")],
    "background_names": [{"background": rule} for rule in ("ignored", "constant", "power", "hinge_power")],
    "context": [{"background": rule} for rule in ("ignored", "class", "constant", "power", "hinge_power")],
    "scale": [{"background": "ignored"}, {"background": "class"}, {"background": "prompts", "context": ("a",)}],
    "logit_scale": [{"background": "ignored", "scale": "softmax"}, {"background": "constant"},
                    {"background": "constant", "scale": "none"}],
    "size": [{"resize": "none"}], "stride": [{"window": 0}], "area_thd": [{"background": "ignored"}],
    "resampling": [{"resize": "none"}],
    "longest": [{"resize": rule, "size": 8} for rule in ("none", "long", "box", "stretch")],
    "tagger": [{"vocabulary": "all"}, {"vocabulary": "present"}],
}  # fmt: skip
USEFUL = {
    "threshold": [{"background": "constant"}, {"background": "hinge_power"},
                  {"background": "prompts_constant", "context": ("a",)}],
    "power": [{"background": "power"}], "background_names": [{"background": "class"}],
    "context": [{"background": "prompts"}, {"background": "prompts_constant"}],
    "scale": [{"background": "constant"}, {"background": "power"}, {"background": "hinge_power"}],
    "logit_scale": [{"background": "power", "scale": "softmax"}],
    "size": [{"resize": rule} for rule in ("short", "long", "box", "stretch")], "stride": [{"window": 64}],
    "area_thd": [{"background": "class"}, {"background": "constant"}], "longest": [{"resize": "short", "size": 8}],
    "resampling": [{"resize": rule, "size": 8} for rule in ("short", "long", "box", "stretch")],
    "tagger": [{"vocabulary": "predicted"}],
    "templates": [{}], "names": [{}], "vocabulary": [{}], "window": [{"stride": 4}], "background": [{}], "resize": [{}],
    "void_counts": [{}],
}  # fmt: skip
OTHER = {
    "threshold": 0.25, "power": 3.0, "background_names": ("nothing",), "context": ("sky",), "scale": "none",
    "logit_scale": 7.0, "size": 96, "stride": 32, "tagger": Recipe.of("toy_taggers:Colours"), "templates": ("{}",),
    "names": "sclip", "vocabulary": "all", "window": 8, "background": "constant", "resize": "short",
    "area_thd": 0.1, "longest": 2048, "resampling": "cv2", "void_counts": True,
}  # fmt: skip


def test_every_field_is_known_to_have_an_effect_somewhere() -> None:
    assert set(USEFUL) == {one.name for one in fields(ProtocolSettings)} == set(OTHER)


@pytest.mark.parametrize("name", OTHER)
def test_a_field_counts_exactly_where_it_has_an_effect(name: str) -> None:
    for around in USELESS.get(name, []):
        assert effective(ProtocolSettings(**{**around, name: OTHER[name]})) == effective(ProtocolSettings(**around))
    for around in USEFUL[name]:
        found = effective(ProtocolSettings(**{**around, name: OTHER[name]}))
        assert found != effective(ProtocolSettings(**around)) and effective(found) == found


MALFORMED: list[tuple[str, list[str], int, tuple[str, ...]]] = [
    ("preset", ["protocol: stablseg"], 7, ("no preset 'stablseg'", "did you mean 'stableseg'?", "presets: stableseg")),
    ("preset inside", ["protocol:", "  preset: slcip"], 8, ("no preset 'slcip'", "'sclip'?")),
    ("preset a number", ["protocol: {preset: 20}"], 7, ("preset must be text",)),
    ("protocol a list", ["protocol: [voc20]"], 7, ("protocol must be a mapping",)),
    ("unknown key", ["protocol:", "  strde: 4"], 8, ("protocol has no key 'strde'", "'stride'?")),
    ("window without stride", ["protocol:", "  window: 224"], 8, ("a window needs a stride", "1 to 224")),
    ("stride without window", ["protocol:", "  stride: 112"], 8, ("a stride needs a window",)),
    ("stride beyond", ["protocol:", "  window: 4", "  stride: 5"], 9, ("skips pixels", "window has 4")),
    ("window negative", ["protocol: {window: -1}"], 7, ("window must be greater than or equal to 0",)),
    ("window huge", ["protocol: {window: 99999, stride: 1}"], 7, ("window must be less than or equal to 16384",)),
    ("resize without size", ["protocol:", "  resize: short"], 8, ("resize 'short' needs a size",)),
    ("size without resize", ["protocol:", "  size: 336"], 8, ("a size needs resize",)),
    ("two sizes for long", ["protocol:", "  resize: long", "  size: [3, 4]"], 9, ("one number", "'long'")),
    ("area", ["protocol: {background: class, area_thd: 1}"], 7, ("area_thd must be less than 1",)),
    ("resampling", ["protocol: {resize: short, size: 8, resampling: cv3}"], 7, ("'cv2'?",)),
    ("longest", ["protocol: {resize: short, size: 8, longest: -1}"], 7, ("longest must be greater than",)),
    ("two sizes for short", ["protocol:", "  resize: short", "  size: [3, 4]"], 9, ("one number",)),
    ("three sizes", ["protocol: {resize: stretch, size: [3, 4, 5]}"], 7, ("size must",)),
    ("size a word", ["protocol: {resize: short, size: big}"], 7, ("size must be a whole number", "'big'")),
    ("context missing", ["protocol:", "  background: prompts"], 8, ("needs words", "context")),
    ("context empty", ["protocol: {background: prompts, context: []}"], 7, ("context must have at least 1 item",)),
    ("context a blank", ["protocol: {background: prompts, context: [sky, ' ']}"], 7, ("item 2 of context",)),
    ("background names", ["protocol: {background: class, background_names: [1]}"], 7, ("item 1 of background_names",)),
    ("threshold", ["protocol:", "  background: constant", "  threshold: -0.1"], 9, ("greater than or equal to 0",)),
    ("scale", ["protocol: {background: constant, scale: sofmax}"], 7, ("'softmax'?",)),
    ("power", ["protocol: {background: power, power: 0}"], 7, ("power must be greater than 0",)),
    ("logit scale", ["protocol: {logit_scale: .inf}"], 7, ("an infinite number is not a value",)),
    ("tagger a word", ["protocol: {vocabulary: predicted, tagger: clip}"], 7, ("tagger must be a mapping",)),
    ("tagger without address", ["protocol:", "  tagger:", "    with: {}"], 8, ("a tagger needs the key 'use'",)),
    ("tagger key", ["protocol:", "  tagger:", "    us: x:Y"], 9, ("a tagger has no key 'us'", "'use'?")),
    ("tagger address", ["protocol:", "  tagger:", "    use: toy_taggers:Colors"], 9, ("'Colours'?",)),
    ("no tagger", ["protocol:", "  tagger:", "    use: toy_world:Flat"], 9, ("as a tagger: it has no `tags`",)),
    ("tagger setting", ["protocol:", "  tagger:", "    use: toy_taggers:Colours", "    with:", "      shar: 1"],
     11, ("'share'?",)),
    ("tagger value", ["protocol:", "  tagger:", "    use: toy_taggers:Colours", "    with:", "      share: much"],
     11, ("must be a number",)),
    ("name file", ["protocol:", "  names: nowhere.yaml"], 8, ("no file", "nowhere.yaml")),
    ("template file", ["protocol:", "  templates: nowhere.txt"], 8, ("nowhere.txt cannot be read",)),
    ("template set", ["protocol: {templates: imagenet80}"], 7, ("no .txt file", "methods.text_templates imagenet80")),
    ("preset without its templates", ["protocol: sclip"], 7, ("needs the sentences of imagenet80",)),
    ("template without hole", ["protocol: {templates: [a photo]}"], 7, ("item 1 of templates", "exactly one {}")),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "line", "words"), [pytest.param(*rest, id=name) for name, *rest in MALFORMED])
def test_what_is_wrong_is_said_with_its_line(
    read_grid: Read, lines: list[str], line: int, words: tuple[str, ...]
) -> None:
    with pytest.raises(GridError) as caught:
        rules(read_grid, *lines)
    sentence = str(caught.value)
    assert sentence.startswith(f"grid.yaml, line {line}: ") and "\n" not in sentence, sentence
    assert all(word in sentence for word in words), sentence


def test_a_template_file_with_a_bad_sentence_is_refused(read_grid: Read, grid_folder: Path) -> None:
    (grid_folder / "bad.txt").write_text("a {}\na photo\n")
    with pytest.raises(GridError, match=r"line 7: .*bad\.txt: sentence 2 must have exactly one \{\}: 'a photo'"):
        rules(read_grid, "protocol: {templates: bad.txt}")
    (grid_folder / "empty.txt").write_text("\n \n")
    with pytest.raises(GridError, match=r"empty\.txt holds no template"):
        rules(read_grid, "protocol: {templates: empty.txt}")


def test_every_published_row_of_a_method_that_is_here_has_a_preset() -> None:
    """CLIPer's rule for the background is none of ours, and GEM has no configuration of its own."""
    methods = ("sclip", "naclip", "clearclip", "scclip", "sfp", "resclip", "proxyclip", "trident", "corrclip")
    sets = ("voc21", "pc60", "object", "voc20", "city", "pc59", "ade", "stuff")
    assert {f"{method}_{data}" for method in methods for data in sets} <= set(presets.names())
    scored = presets.preset("corrclip_object").settings
    assert len(scored.context) == 16 and "bed" not in scored.context and scored.threshold == 0.25
    assert presets.preset("trident_city").settings.resize == presets.preset("corrclip_city").settings.resize == "none"


def test_the_first_examples_of_the_page_are_read(read_grid: Read, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text("utf-8")
    (tmp_path / "imagenet80.txt").write_text("a photo of a {}.\nart of the {}.\n")
    examples = re.findall(r"```yaml\n(protocol:.*?)```", page.partition("| field |")[0], re.DOTALL)
    found = [rules(read_grid, one.replace("imagenet80.txt", f"{tmp_path}/imagenet80.txt")) for one in examples]
    assert len(found) == 4 and found[2].names == "own" and len(found[2].templates) == 2 and found[2].window == 224


def test_the_page_on_protocols_speaks_of_every_field_rule_and_preset() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text("utf-8")
    rules_known = re.findall(r"'(\w+)'", str(ProtocolForm.model_fields["background"].annotation))
    assert len(rules_known) == 7
    words = {*ProtocolForm.model_fields, *rules_known, *presets.names()} - {"preset"}
    assert [word for word in sorted(words) if f"`{word}`" not in page] == []
