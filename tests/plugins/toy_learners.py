"""A world with two splits and learners small enough to follow by hand, which can break where a test wishes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from toy_world import Boxes, ToyReader

from harness.contracts import LabelRule, Lessons, Sample, Vocabulary


@dataclass(frozen=True)
class SplitBoxes:
    """Boxes with a split in its ids."""

    version: ClassVar[int] = 1
    split: str = "val"
    images: int = 10

    @property
    def classes(self) -> tuple[str, ...]:
        return ("red", "green", "blue")

    def ids(self) -> Sequence[str]:
        return [f"{self.split}-{index:03d}" for index in range(self.images)]

    def load(self, image_id: str) -> Sample:
        found = Boxes(images=1000).load(str(int(image_id[-3:]) + (500 if self.split == "train" else 0)).zfill(3))
        return Sample(image_id, found.image, found.truth)


def interrupt(place: str) -> None:
    """Stop here, once, as the file that the environment names wishes: `stop at`, `kill at` or `wait at` a place."""
    wish = Path(os.environ.get("TOY_INTERRUPT", "/nowhere"))
    try:
        how, _, wished = wish.read_text().partition(" at ")
        if wished != place:
            return
        wish.rename(wish.with_suffix(".met"))  # of several workers only one gets here
    except FileNotFoundError:
        return
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "wait":
        time.sleep(100)  # somebody kills the driver meanwhile
    signal.raise_signal(signal.SIGINT)  # as Ctrl-C does


@dataclass(frozen=True)
class Brightest:
    """Scores are the image's channels, turned by `turn`: 0 is right, 1 calls red green, and so on."""

    version: ClassVar[int] = 1
    turn: int = 0

    def segment(self, image: NDArray[np.uint8], vocabulary: Vocabulary) -> NDArray[np.float32]:
        interrupt(f"label {self.turn}" if image.shape[0] == 9 else "")
        place = {"red": 0, "green": 1, "blue": 2}
        return np.stack([image[..., (place[word] + self.turn) % 3] / np.float32(255) for word in vocabulary.words])


@dataclass(frozen=True)
class Colours:
    """Remembers the mean colour of every class in its lessons, one image a checkpoint."""

    version: ClassVar[int] = 1
    teacher: str
    low: float = 0.5
    shift: float = 0.0

    @property
    def rule(self) -> LabelRule:
        return LabelRule(low=self.low, scale="none")

    def fit(self, lessons: Lessons, folder: Path) -> Mapping[str, Any]:
        file = folder / "unfinished" / "sums.json"
        done, sums = json.loads(file.read_text()) if file.exists() else (0, np.zeros((3, 4)).tolist())
        started = done
        for image_id in lessons.image_ids[done:]:
            image, mask = lessons.image(image_id), lessons.mask(image_id)
            here = np.zeros((3, 4))
            for label in range(3):
                chosen = image[mask == label + 1].astype(float)
                here[label] = [*chosen.sum(axis=0), len(chosen)]
            sums, done = (np.array(sums) + here).tolist(), done + 1
            file.write_text(json.dumps([done, sums]))
            interrupt(f"fit {done}")
        (folder / "sums.json").write_text(json.dumps(sums))
        return {"started": started, "labelled": float(np.array(sums)[:, 3].sum())}

    def fitted(self, folder: Path) -> Nearest:
        sums = np.array(json.loads((folder / "sums.json").read_text()))
        return Nearest(tuple(map(tuple, sums[:, :3] / np.maximum(sums[:, 3:], 1))), self.low)


@dataclass(frozen=True)
class Joined(Colours):
    """Colours that is fitted on Ray where there is one; one worker has all the work."""

    version: ClassVar[int] = 1

    @property
    def workers(self) -> int:
        return 1


@dataclass(frozen=True)
class Nearest:
    """The class whose colour is nearest. low: tells one student from another where they can break."""

    colours: tuple[tuple[float, ...], ...]
    low: float

    def segment(self, image: NDArray[np.uint8], vocabulary: Vocabulary) -> NDArray[np.float32]:
        interrupt(f"answer {self.low}")
        names = ("red", "green", "blue")
        far = [np.abs(image - np.array(self.colours[names.index(word)])).sum(axis=2) for word in vocabulary.words]
        return -np.stack(far).astype(np.float32)


@dataclass(frozen=True)
class Gains(ToyReader):
    """A reader that learns: gathers the mean brightness of what the lesson calls a class; its score is scaled by it."""

    version: ClassVar[int] = 1
    teacher: str = ""

    @property
    def rule(self) -> LabelRule:
        return LabelRule()

    def gather(
        self, features: Mapping[Any, Any], vocabulary: Vocabulary, lesson: NDArray[np.int16]
    ) -> Mapping[str, NDArray[Any]]:
        (image,) = features.values()
        interrupt("gather")
        chosen = np.asarray(image, np.float64)[(lesson >= 0) & (lesson < len(vocabulary))]
        return {"sum": chosen.sum(axis=0), "count": np.array(len(chosen))}

    def fit(self, lessons: Lessons, folder: Path) -> Mapping[str, Any]:
        held = [lessons.gathered(image_id) for image_id in lessons.image_ids]
        mean = sum(one["sum"] for one in held) / sum(one["count"] for one in held)
        (folder / "gain.json").write_text(json.dumps(list(mean)))
        return {"mean": list(mean)}

    def fitted(self, folder: Path) -> ToyReader:
        json.loads((folder / "gain.json").read_text())
        return ToyReader(timestep=self.timestep)


@dataclass(frozen=True)
class Shy(Brightest):
    """Brightest that fails on the train images whose numbers a file beside the grid names."""

    version: ClassVar[int] = 1

    def segment(self, image: NDArray[np.uint8], vocabulary: Vocabulary) -> NDArray[np.float32]:
        file = Path("shy")
        shy = file.read_text().split() if file.exists() else []
        if any(np.array_equal(image, SplitBoxes("train").load(f"train-{number}").image) for number in shy):
            raise ValueError("too shy")
        return super().segment(image, vocabulary)


@dataclass(frozen=True)
class Bold(Colours):
    """Colours that goes on without some of the images on which its teacher failed."""

    version: ClassVar[int] = 1
    teacher_may_fail: float = 0.0


@dataclass(frozen=True)
class OtherTruth(SplitBoxes):
    """SplitBoxes whose split `copy` has the images of `val` by other names, and another truth."""

    version: ClassVar[int] = 1

    def load(self, image_id: str) -> Sample:
        found = super().load(image_id)
        truth = np.where(found.truth == 1, 2, found.truth).astype(np.uint8) if self.split == "copy" else found.truth
        return Sample(image_id, found.image, truth)


@dataclass(frozen=True)
class Moody(Colours):
    """Colours that, while a file `mood` lies beside the grid, calls every class by the name of the next one, and while
    a file `torn` does, fails."""

    version: ClassVar[int] = 1

    def fit(self, lessons: Lessons, folder: Path) -> Mapping[str, Any]:
        told = super().fit(lessons, folder)
        if Path("torn").exists():
            raise ValueError("torn")
        if Path("mood").exists():
            sums = json.loads((folder / "sums.json").read_text())
            (folder / "sums.json").write_text(json.dumps(sums[1:] + sums[:1]))
        return told


@dataclass(frozen=True)
class Vandal(Colours):
    """Colours that changes the lessons of others when it has learned."""

    version: ClassVar[int] = 1

    def fit(self, lessons: Lessons, folder: Path) -> Mapping[str, Any]:
        told = super().fit(lessons, folder)
        files = sorted(folder.parents[1].glob("label_maps/*/*.png"))
        contents = [path.read_bytes() for path in files]
        for path, content in zip(files, contents[1:] + contents[:1], strict=True):
            path.write_bytes(content)
        return told


@dataclass(frozen=True)
class Stubborn(Joined):
    """Joined that notes every time it is fitted, and raises the same error each time."""

    version: ClassVar[int] = 1

    def fit(self, lessons: Lessons, folder: Path) -> Mapping[str, Any]:
        with (folder / "unfinished" / "tries").open("a") as file:
            file.write("once\n")
        raise ValueError("it will never do")


@dataclass(frozen=True)
class Untidy(Colours):
    """Colours that does at its end what its word says."""

    version: ClassVar[int] = 1
    word: str = ""

    def fit(self, lessons: Lessons, folder: Path) -> Mapping[str, Any]:
        left = folder / "left.txt"
        found, _ = left.exists(), left.write_text("by a try")
        told: dict[str, Any] = {**super().fit(lessons, folder), "found": found}
        if self.word == "card":
            (folder / "card.json").write_text("{}")
        elif self.word == "half":
            (folder / "colours.tmp").write_text("1")
        elif self.word == "link":
            (folder / "sub").symlink_to(folder.parent)
        elif self.word == "nothing":
            left.unlink()
            (folder / "sums.json").unlink()
            told.clear()
        elif self.word == "curve":
            lines = ['{"step": 1, "steps": 2, "loss": null}', "3", '{"loss": 0.5}', "{", '{"loss": "small"}']
            (folder / "curve.jsonl").write_text("\n".join(lines))
        elif self.word == "raises once" and not found:
            raise ValueError("not at the first try")
        odd: dict[str, Any] = {"nan": {**told, "loss": float("nan")}, "list": [0.5]}
        return odd.get(self.word, told)


@dataclass(frozen=True)
class Recoloured(SplitBoxes):
    """SplitBoxes whose classes stand in another order, or are fewer."""

    version: ClassVar[int] = 1
    order: tuple[str, ...] = ("red", "green", "blue")

    @property
    def classes(self) -> tuple[str, ...]:
        return self.order


@dataclass(frozen=True)
class Teller(Colours):
    """Colours that has something odd to say of one thing: `about` which, and `word` what."""

    version: ClassVar[int] = 1
    about: str = ""
    word: str = ""

    def _told(self, what: str, else_: Any = None) -> Any:
        odd = {"text": "many", "none": None, "minus": -5, "half": 1.5, "nan": float("nan"), "huge": 10**30,
               "truth": True, "mapping": {"low": 0.5}, "plain": 3}  # fmt: skip
        if what == self.about and self.word == "raises":
            raise RuntimeError("nobody knows")
        return odd[self.word] if what == self.about else else_

    @property
    def rule(self) -> LabelRule:
        found: LabelRule = self._told("rule", super().rule)
        return found

    @property
    def crops(self) -> Any:
        return self._told("crops")

    @property
    def workers(self) -> Any:
        return self._told("workers")

    def artefact_bytes(self, names: int) -> Any:
        return self._told("artefact_bytes")
