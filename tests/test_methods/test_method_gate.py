"""The gate for methods: all of ours and a stranger's keep every promise; broken ones fail, each for its own reason."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from our_methods import OURS

import methods
from harness.checks import method_trials
from harness.checks.__main__ import main
from harness.checks.method_answers import difference, gap_between
from harness.checks.module_watch import left_behind, watched
from harness.contracts import Recipe

ROOT = Path(__file__).parents[2]
# tried with models that are made for it, below and in files of their own; answers for the images of its folder alone
ELSEWHERE = {
    "openclip_resnet:MaskCLIPResNet", "predictions:Folder", "proxyclip:ProxyCLIP", "trident:Trident",
    "corrclip:CorrCLIP",
}  # fmt: skip
BOXES = ("--benchmark", "toy_world:Boxes")


def gate(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["method", *arguments])
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).split())


def with_words(words: tuple[str, ...]) -> tuple[str, ...]:
    return ("--with", *words) if words else ()


@pytest.fixture(scope="module")
def planning() -> Iterator[subprocess.Popen[str]]:
    """One process that plans with every recipe it is given: a fresh one for each costs a second, and shows no more."""
    path = os.pathsep.join(place for place in sys.path if place)
    command = [sys.executable, "-m", "harness.checks.planning_trial"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        yield process


@pytest.fixture
def one_planner(planning: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate asks that process."""
    assert planning.stdin is not None and planning.stdout is not None

    def ask(recipe: Recipe) -> Any:
        print(json.dumps({"use": recipe.use, "settings": recipe.as_dict()}), file=planning.stdin, flush=True)
        return json.loads(planning.stdout.readline())

    monkeypatch.setattr(method_trials, "planned_elsewhere", ask)


@pytest.mark.parametrize("name", OURS)
def test_ours_keep_every_promise(name: str, capsys: pytest.CaptureFixture[str], one_planner: None) -> None:
    code, text = gate(capsys, f"methods.{name}", *with_words(OURS[name]))
    assert (code, "All 11 promises are kept" in text) == (0, True), text


def test_none_of_ours_is_left_out() -> None:
    found = set()
    for place in pkgutil.iter_modules(methods.__path__):
        module = importlib.import_module(f"methods.{place.name}")
        kinds = [kind for kind in vars(module).values() if getattr(kind, "__module__", "") == module.__name__]
        kinds = [kind for kind in kinds if isinstance(kind, type)]
        if any(hasattr(kind, "fit") for kind in kinds):
            continue  # learners, and what a fit leaves: they answer only after a grid has fitted them
        verbs = (("segment",), ("passes", "read"))
        answers = [kind for kind in kinds if any(all(hasattr(kind, verb) for verb in some) for some in verbs)]
        found |= {f"{place.name}:{kind.__name__}" for kind in answers if not inspect.isabstract(kind)}
    assert found == set(OURS) | ELSEWHERE


def test_a_resnet_of_open_clip_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], one_planner: None
) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
    from safetensors.torch import save_file

    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    model = open_clip.CLIP(embed_dim=24, vision_cfg=vision, text_cfg=text, quick_gelu=True)
    config = {"model_cfg": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}}
    colours = {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.1], "interpolation": "bicubic"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config | {"preprocess_cfg": colours}))
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    code, said = gate(capsys, "methods.openclip_resnet:MaskCLIPResNet", "--with", f"model={tmp_path}")
    assert (code, "All 11 promises are kept" in said) == (0, True), said


@pytest.mark.parametrize("name", ["FlatGuess", "Bands"])
def test_a_strangers_package_keeps_them(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "stranger"))
    code, text = gate(capsys, f"stranger_segmentation:{name}")
    assert (code, "All 11 promises are kept" in text) == (0, True), text
    assert f"stranger_segmentation:{name}: what its own modules say is in the id (stranger_segmentation)" in text


BROKEN = {
    "Remembers": "remembers nothing broken asked in another order, for image 001, it gives another answer",
    "Wavers": "says the same twice broken asked twice for the same image, it gives another answer: scores differ",
    "Scribbles": "changes nothing it is given broken it writes into the image it is given (000): work on a copy",
    "Neighbourly": "batches are only batches broken in a batch of three,",
    "TwoMinds": "batches are only batches broken in a batch of three,",
    "NoNumber": "answers in the right form broken the method gave scores that are not finite",
    "TurnedRound": "answers in the right form broken the method gave a label map of (12, 8)",
    "NeedsTwo": "takes any vocabulary broken it raised ValueError: not enough values to unpack",
    "Elsewhere": "plans without torch broken a second process that gets the recipe sees other method than this one",
    "Peeks": "answers in the right form broken it reads a pass that it did not declare: ToyPass(",
    "Idles": "reads what it declares broken it declares a pass that it does not read, and every image would pay",
    "Stains": "changes nothing it is given broken read twice from the same features (it changes what others read",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_methods_fail_each_for_its_own_reason(
    name: str, capsys: pytest.CaptureFixture[str], one_planner: None
) -> None:
    code, text = gate(capsys, f"broken_methods:{name}", *BOXES)
    assert code == 1
    assert BROKEN[name] in text, text
    assert re.search(r"\d+ of 11 promises are broken", text)


@pytest.mark.parametrize(
    ("habit", "says"),
    [
        ("", "All 11 promises are kept"),
        ("hook", "leaves no trace broken after an answer the network is not as it was: forward hooks of"),
        ("forward", "leaves no trace broken after an answer the network is not as it was: forward of"),
        ("mixes", "ignores its company broken asked beside other images, in a batch of the same shape"),
        ("company", "ignores its company broken asked for ToyPass(backbone="),
        ("first", "a pass must not depend on the others"),
        ("twice", "opens kept built, 1 network opened answers in the right form broken its backbone"),
    ],
)
def test_broken_networks_fail_each_for_its_own_reason(
    habit: str, says: str, capsys: pytest.CaptureFixture[str], one_planner: None
) -> None:
    code, text = gate(capsys, "broken_methods:NetworkReader", "--with", f"habit='{habit}'", *BOXES)
    assert says in text, text
    assert code == (1 if habit else 0)


def test_a_sound_method_on_the_toys_and_one_that_loads_torch_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(capsys, "broken_methods:Sound", *BOXES)[0] == 0
    code, text = gate(capsys, "broken_at_once:TorchFirst", *BOXES)
    assert code == 1
    assert "planning with it loads torch: import that inside the functions that need it" in text
    assert "1 of 11 promises are broken" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("methods.stablesegg:StableSeg",), "did you mean 'methods.stableseg'?"),
        (("benchmarks.shapes:Shapes",), "cannot be used as a method: it has neither `segment` nor both `passes`"),
        (("methods.stableseg:StableSeg", "--with", "refin=sar"), "did you mean 'refine'?"),
        (("methods.fttm:FTTM", "--with", "guidance=7.5"), "no setting 'guidance': guidance mixes two noise"),
        (("methods.stableseg:StableSeg", "--with", "refine"), "--with 'refine' is not a setting; write key=value"),
        (("methods.stableseg:StableSeg", "--with", "model=nowhere"), "There is no model 'nowhere'"),
        (("methods.controls:OneClass", "--benchmark", "methods.controls:OneClass"), "cannot be used as a benchmark"),
        (("methods.controls:OneClass", "--benchmark-with", "images=2"), "has 2 images; the gate for methods needs 3"),
        (("methods.pamr:PAMR", "--with", "method=x"), "'x' names no method"),
        (("methods.student:Student", "--with", "teacher=x"), "answers once a grid has fitted it: give the folder"),
    ],
)
def test_commands_that_make_no_sense(arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = gate(capsys, *arguments)
    assert (code, says in text) == (2, True), text


def test_the_command_itself() -> None:
    command = [sys.executable, "-m", "harness.checks", "method", "methods.controls:OneClass"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, "All 11 promises are kept" in done.stdout) == (0, True), done.stdout + done.stderr


class Holder:
    """A network behind a list in a mapping of an attribute."""

    def __init__(self, network: Any) -> None:
        self.held = {"networks": [network], "words": "x" * 10}


def test_what_hangs_on_modules_is_seen_wherever_they_are() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    holder = Holder(network)
    before = watched(holder)
    assert sorted(before) == [f"Holder.held.networks.0{end}" for end in ("", ".0", ".1")]
    handle = network[0].register_forward_pre_hook(lambda module, inputs: None)
    network[1].processor = object()
    network.train(False)
    clauses = left_behind(before, watched(holder))
    assert "forward pre hooks of Holder.held.networks.0.0 (0 before, 1 after)" in clauses
    assert "attention processor of Holder.held.networks.0.1" in clauses
    assert "training mode of Holder.held.networks.0" in clauses
    handle.remove()
    del network[1].processor
    network.train(True)
    assert left_behind(before, watched(holder)) == []


def test_differences_between_answers_in_words(rng: np.random.Generator) -> None:
    scores = rng.random((2, 3, 5))
    assert difference(scores, scores + 1e-8, 1e-6) == ""
    assert "scores differ by up to" in difference(scores, scores + 1e-3, 1e-6)
    assert "scores differ" in difference(scores, scores * np.nan, 1e-6)
    assert difference(scores, scores[:, :2], 1e-6) == "the shape is (2, 3, 5) and then (2, 2, 5)"
    labels = np.arange(15).reshape(3, 5)
    assert difference(labels, np.where(labels == 4, 0, labels), 1e-6) == "1 of 15 pixels have another label"
    assert gap_between(np.full((1, 2, 2), 4.0), np.full((1, 2, 2), 5.0)) == 0.25


READS = """
import os
from dataclasses import dataclass
from pathlib import Path
import numpy as np

BIAS = os.environ.get("TOY_BIAS", "0")

@dataclass(frozen=True)
class Reads:
    named: Path = Path("named.npy")
    def segment(self, image, vocabulary):
        for path in (self.named, "hidden" + ".npy", Path(__file__).with_name("beside.npy")):
            np.load(path)
        everything = dict(os.environ)  # as for another process
        labels = np.zeros(image.shape[:2], np.int16)
        labels[: len(os.getenv("TOY_SCALE", "ab"))] = len(vocabulary) - 1
        return labels
"""


def test_what_a_method_reads_that_is_in_no_id_is_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, one_planner: None
) -> None:
    (tmp_path / "reading_method.py").write_text(READS)
    for name in ("named", "hidden", "beside"):
        np.save(tmp_path / f"{name}.npy", np.zeros(1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = os.environ._data  # type: ignore[attr-defined]
    _, text = gate(capsys, "reading_method:Reads", *BOXES)
    assert os.environ._data is before  # type: ignore[attr-defined]
    told = re.findall(r"not in the id of reading_method:Reads: (it \w+ .*?);", text)
    reads = [f"it reads the environment variable {name}" for name in ("TOY_BIAS", "TOY_SCALE")]
    assert told == [f"it opens {tmp_path / 'hidden.npy'}", *reads], text
    assert "name it by a setting annotated Path, or in `fingerprint()`" in text and "make it a setting" in text
