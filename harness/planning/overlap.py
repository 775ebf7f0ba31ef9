"""Digests of the images that a learner sees, and of those it is scored on, flow in; what both hold flows out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.planning.data_now import DataNow
from harness.planning.planned import PlannedRun, TrainImages, most

NAMED = 3  # of the images that are in both
SUSPECTS = 8  # images of one name in one data set, of which a plan reads so many


@dataclass(frozen=True)
class Overlap:
    """pairs: a scored image and the train image that has the same pixels. among: of how many scored images, and train
    images. may: the share of the scored images that may be among the train images."""

    pairs: tuple[tuple[str, str], ...]
    among: tuple[int, int]
    may: float

    @property
    def words(self) -> str:
        """What is in both; empty where nothing is."""
        if not self.pairs:
            return ""
        named = ", ".join(f"{one!r} is {other!r} there" for one, other in self.pairs[:NAMED])
        more = ", ..." if len(self.pairs) > NAMED else ""
        scored, train = self.among
        return f"{len(self.pairs)} of the {scored} scored images are among the {train} train images ({named}{more})"

    @property
    def refusal(self) -> str:
        """Why a learner cannot be scored; empty where it can."""
        if len(self.pairs) <= most(self.may, self.among[0]):
            return ""
        return (
            f"{self.words}; `train:` should name a split without the scored images, or `train_overlap:` of the "
            f"benchmark say which share of them may be there, now {self.may:g}"
        )


def overlap(planned: PlannedRun, seen: TrainImages, scored: DataNow, train: DataNow, read: bool) -> Overlap:
    """What a run, and the lessons behind it or the choice of its protocol, have in common, by the pixels of the images.

    read: also the images of which nothing is remembered; else only a few of those that bear one name in one data set.
    """
    same_data = planned.run.benchmark.use == seen.run.benchmark.use
    suspects = sorted(set(planned.image_ids) & set(seen.image_ids))[:SUSPECTS] if same_data and not read else []
    taught: dict[str, str] = {}
    for image_id, digest in _pictures(train, seen.image_ids, suspects, read).items():
        taught.setdefault(digest, image_id)
    own = _pictures(scored, planned.image_ids, suspects, read)
    pairs = tuple((image_id, taught[digest]) for image_id, digest in own.items() if digest in taught)
    return Overlap(pairs, (len(planned.image_ids), len(seen.image_ids)), planned.train_overlap)


def _pictures(data: DataNow, image_ids: tuple[str, ...], suspects: list[str], read: bool) -> Mapping[str, str]:
    return data.pictures(image_ids, read) | data.pictures(suspects, read=True)
