"""A stranger's benchmark that is careless in the way that its setting names, about one image or about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from harness.contracts import Sample

SPOILED = "b"  # the image about which it is careless
TURNED = np.array([[[9, 0, 0]] * 5] * 4, np.uint8)


@dataclass(frozen=True)
class Careless:
    """Three images of 4 x 5 pixels, two classes."""

    version: ClassVar[int] = 1
    about: str = "nothing"

    @property
    def classes(self) -> Any:
        return {
            "classes: a list": ["cat", "dog"], "classes: one word": "cat", "classes: none": (),
            "classes: too many": tuple(map(str, range(65535))), "classes: twice": ("cat", "dog", "cat"),
            "classes: empty word": ("cat", " "), "classes: a number": ("cat", 3),
            "classes: two lines": ("cat", "d\nog"),
        }.get(self.about, ("cat", "dog"))  # fmt: skip

    def ids(self) -> Any:
        if self.about == "ids: raises":
            raise RuntimeError("two\nlines")
        return {
            "ids: whole numbers": [1, 2, 3], "ids: twice": ["a", "b", "a"], "ids: none": [], "ids: one text": "abc",
            "ids: endless": (letter for letter in "abc"), "ids: empty": ["a", ""], "ids: None": None,
            "ids: a bell": ["a", "b\x07"], "ids: foreign bytes": ["a", b"b\xff".decode("utf-8", "surrogateescape")],
            "ids: long": ["a", "b" * 1001], "ids: numpy": np.array(["c", "b", "a"]),
            "ids: paths": ["../../a", "/etc/passwd", SPOILED],
        }.get(self.about, ["c", SPOILED, "a"])  # fmt: skip

    def load(self, image_id: str) -> Any:
        image, truth = np.full((4, 5, 3), 99, np.uint8), np.full((4, 5), 1, np.uint8)
        truth[2:] = 2
        sound = Sample(image_id, image, truth)
        if image_id != SPOILED:
            return sound
        changed: dict[str, Any] = {
            "truth: short": truth[:1], "truth: label 3": np.where(truth == 2, np.uint8(3), truth),
            "truth: label 300": np.where(truth == 2, np.uint16(300), truth), "truth: bool": truth == 1,
            "truth: 255 of 16 bits": np.where(truth == 2, np.uint16(255), truth),
            "truth: 32 bits": truth.astype(np.uint32), "truth: signed": truth.astype(np.int16),
            "truth: whole numbers": np.where(truth == 2, -1, truth).astype(np.int64),
            "truth: masked": np.ma.masked_equal(truth, 1), "truth: a list": truth.tolist(),
        }  # fmt: skip
        shown: dict[str, Any] = {
            "image: float": image / 255, "image: grey": image[..., 0],
            "image: four channels": image.repeat(2, 2)[..., :4], "image: planes first": image.transpose(2, 0, 1),
            "image: None": None, "image: empty": image[:0],
            "image: turned": TURNED[::-1, ::-1],
        }  # fmt: skip
        if self.about in changed:
            return Sample(image_id, image, changed[self.about])
        if self.about in shown:
            return Sample(image_id, shown[self.about], truth)
        return {"sample: None": None, "sample: a pair": (image, truth), "sample: other": Sample("a", image, truth)}.get(
            self.about, sound
        )
