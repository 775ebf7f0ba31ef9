"""A run and the name of a score go in; the number comes out, or why there is none, and what must be known of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from harness.contracts import WIDE_IGNORED
from harness.errors import StoreError
from results.counts import boundaries, estimators, oracles, presence, strangers
from results.counts.oracles import Oracle, Pair
from results.folder import keepsakes
from results.folder.recipes import RunRecipe
from results.tables.evidence import Evidence
from results.tables.spec import OF_RUNS

PRESENT = "the vocabulary told which classes are present, so there is nothing to know: offer `all`"
NO_MAPS = "no label maps are kept: write `keep: {label_maps: 24}` into the grid"
NO_BOUNDARIES = "boundaries are not counted: write `keep: {boundaries: true}` into the grid"


@dataclass(frozen=True)
class Scored:
    """A score, 0..1 but where its name says else; None with the reason. note: what must be known beside it."""

    value: float | None
    why: str = ""
    note: str = ""


def score(evidence: Evidence, run_id: str, value: str) -> Scored:
    """A run's score by its name in VALUES, or by a stranger's address."""
    try:
        if value in FROM_ROWS:
            found = FROM_ROWS[value](evidence, run_id)
        elif value in estimators.SCORES:
            found = Scored(estimators.SCORES[value](evidence.counts(run_id)))
        else:
            found = Scored(strangers.estimated(value, evidence.counts(run_id)))
    except StoreError as error:
        return Scored(None, str(error))
    return Scored(None, "undefined") if found.value is None and not found.why else found


def _image_miou(evidence: Evidence, run_id: str) -> Scored:
    """The mean over images of each one's own mIoU."""
    return Scored(evidence.entry(run_id).image_miou)


def _worst_decile_image_miou(evidence: Evidence, run_id: str) -> Scored:
    """The mean over the tenth of the images that come off worst, each by its own mIoU."""
    own = evidence.images.filter(run_id=run_id)["image_miou"].drop_nulls()
    return Scored(estimators.worst_decile(own.to_numpy()))


def _presence_mcc(evidence: Evidence, run_id: str) -> Scored:
    """Whether a method knows that a class is absent: Matthews correlation over images by class, -1 to 1, its mean."""
    if evidence.recipes[run_id].protocol.get("vocabulary", "present") == "present":
        return Scored(None, PRESENT)
    return Scored(estimators.mean_of(presence.matthews(evidence.presence[run_id])))


def _of_maps(oracle: Oracle, evidence: Evidence, run_id: str) -> Scored:
    """mIoU over the kept label maps, of what an oracle makes of them."""
    recipe = evidence.recipes[run_id]
    pairs = _kept(evidence, recipe)
    if not pairs:
        return Scored(None, NO_MAPS)
    count = partial(oracles.counts_under, classes=len(recipe.classes), background=recipe.scores_background)
    found, plain = (estimators.miou(count(pairs, one)) for one in (oracle, oracles.as_it_is))
    beside = "undefined" if plain is None else f"{100 * plain:.2f}"
    return Scored(found, note=f"over {len(pairs)} kept images, where mIoU is {beside}")


def _oracle_naming(evidence: Evidence, run_id: str) -> Scored:
    """mIoU over kept label maps, were every predicted region given its best name: what is lost is lost by grouping."""
    return _of_maps(oracles.named_by_oracle, evidence, run_id)


def _oracle_grouping(evidence: Evidence, run_id: str) -> Scored:
    """mIoU over kept label maps, were every true region given the name most of it got: what is lost, by naming."""
    return _of_maps(oracles.drawn_by_oracle, evidence, run_id)


def _boundary_iou(evidence: Evidence, run_id: str) -> Scored:
    """Boundary IoU, averaged over classes: as mIoU, of the pixels at the boundaries of classes.

    Over the images in whose rows these are counted, and those whose label maps are kept.
    """
    recipe, counted = evidence.recipes[run_id], evidence.boundaries[run_id]
    pairs = _kept(evidence, recipe, counted.images)
    total, there = evidence.images.filter(run_id=run_id, status="ok").height, len(counted.images) + len(pairs)
    if not there:
        return Scored(None, NO_BOUNDARIES)
    counts = counted.counts + boundaries.of_maps(pairs, len(recipe.classes), recipe.scores_background)
    return Scored(counts.iou, note="" if there == total else f"over {there} of {total} images")


FROM_ROWS: Mapping[str, Callable[[Evidence, str], Scored]] = {
    "image_miou": _image_miou,
    "worst_decile_image_miou": _worst_decile_image_miou,
    "presence_mcc": _presence_mcc,
    "oracle_naming": _oracle_naming,
    "oracle_grouping": _oracle_grouping,
    "boundary_iou": _boundary_iou,
}
assert tuple(FROM_ROWS) == OF_RUNS  # which a grid may name


def _kept(evidence: Evidence, recipe: RunRecipe, but: Collection[str] = ()) -> list[Pair]:
    """Truths, as they are scored, and predicted maps of the images whose maps are kept, but for some."""
    folder, own = evidence.store.folder, evidence.images.filter(run_id=recipe.run_id, status="ok")["image_id"]
    images = [image for image in own if image not in but]
    there = keepsakes.kept_label_maps(folder, {recipe.run_id: images}).get(recipe.run_id, {})
    pairs = []
    for image_id, path in there.items():
        truth_path = keepsakes.picture_paths(folder, recipe.benchmark, image_id)[1]
        if truth_path.exists():
            truth = keepsakes.read_map(truth_path)
            if not recipe.scores_background:
                truth[truth == 0] = WIDE_IGNORED
            pairs.append((truth, keepsakes.read_map(path)))
    return pairs
