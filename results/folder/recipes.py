"""What the door knows of a run goes in and comes back as JSON: what was run, on what, and what it depends on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from results.folder import protocols

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True)
class RunRecipe:
    """All that is told about a run; only what can change a pixel is in its `run_id`.

    method, benchmark and each of the backbones are facts: `{"use": address, "settings": {...}}` and what else decides
    pixels (a stamp of the source, a fingerprint of files). classes are the benchmark's, in order; images is how many
    the run should cover; batch is the number of images that go through a network together.
    sweeps: versions and commit of all sweeps that added rows to it, each once; versions and commit by themselves are of
    folders of before. identity: what kind of ids it is of, None before there was more than one.
    artefact, of a method that learns: `{"id": ..., "teacher": its name, "labels": run id of the teacher's label maps}`,
    `image_labels` where a teacher was told which classes an image holds and the run is not, or the other way round,
    and where train images were left out because a teacher failed on them, `left_out` with `train_images`, how many of.
    chosen, where something of the protocol was chosen on a train split: `rule`, `fields`, the `runs` that were compared
    on how many `train_images`, `of` which values, their `scores`, and the `values` chosen. The id holds rule and runs.
    official_images: how many the data set has by its own account, where it says so. clusters: cluster -> images of it
    that are not independent of each other, where the benchmark says so. Neither is in the id.
    """

    run_id: str
    method_name: str
    variant: str
    method: Mapping[str, Any]
    benchmark_name: str
    benchmark: Mapping[str, Any]
    protocol: Mapping[str, Any]
    classes: tuple[str, ...]
    images: int
    backbones: tuple[Mapping[str, Any], ...] = ()
    batch: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    artefact: Mapping[str, Any] | None = None
    sweeps: tuple[Mapping[str, Any], ...] = ()
    identity: int | None = None
    official_images: int | None = None
    clusters: Mapping[str, Sequence[str]] | None = None
    chosen: Mapping[str, Any] | None = None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], origin: str = "a recipe") -> RunRecipe:
        """The recipe from its JSON object; unknown keys are left aside. StoreError names `origin` and what is wrong."""
        known = {f.name: content[f.name] for f in fields(cls) if f.name in content}
        try:
            known["classes"] = tuple(known["classes"])
            known |= {name: tuple(known.get(name, ())) for name in ("backbones", "sweeps")}
            recipe = cls(**known)
        except (KeyError, TypeError) as error:
            raise StoreError(f"{origin} lacks what a recipe needs ({error}); run the sweep again to renew it") from None
        if (
            not isinstance(recipe.images, int)
            or not all(isinstance(part, Mapping) for part in (recipe.method, recipe.benchmark, recipe.protocol))
            or not _rightly_typed(recipe)
        ):
            raise StoreError(f"{origin} holds a value of a wrong type; run the sweep again to renew it")
        return recipe

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)

    @property
    def made_by(self) -> tuple[Mapping[str, Any], ...]:
        """Versions and commit of every sweep that is known to have added rows."""
        before = {"versions": self.versions, "commit": self.commit}
        return self.sweeps or ((before,) if self.versions or self.commit else ())

    @property
    def cluster_of_image(self) -> dict[str, str]:
        """Image id -> its cluster; empty where images are independent."""
        return {image_id: cluster for cluster, images in (self.clusters or {}).items() for image_id in images}

    @property
    def supervision(self) -> str:
        """What a run rests on besides images, and on how few: its method's learning, and the choice of its protocol."""
        return "; ".join(words for words in (self._learned_from, self._chosen_on) if words)

    @property
    def rules(self) -> Mapping[str, Any]:
        """The protocol as it is compared: where a value was chosen, the rule and what it was chosen of."""
        if not self.chosen:
            return self.protocol
        fields = self.chosen["fields"]
        of = {name: dict.fromkeys(str(values[n]) for values in self.chosen["of"]) for n, name in enumerate(fields)}
        return {**self.protocol, **{name: f"{self.chosen['rule']} of {' '.join(of[name])}" for name in fields}}

    @property
    def _chosen_on(self) -> str:
        if not self.chosen:
            return ""
        values = " ".join(f"{name}={value}" for name, value in (self.chosen.get("values") or {}).items())
        return f"{values} by {self.chosen['rule']} over {self.chosen['train_images']} train images and their truth"

    @property
    def _learned_from(self) -> str:
        if not self.artefact:
            return ""
        knows = self.artefact.get("image_labels", self.protocol.get("vocabulary", "present") == "present")
        labels = ["image-level labels"] if knows else []
        told = " and ".join([*labels, *(["true foreground"] if self.artefact.get("foreground") else [])])
        out = self.artefact.get("left_out")
        share = f"without {len(out)} of {self.artefact.get('train_images')} train images" if out else ""
        return ", ".join(words for words in (told, share) if words)

    @property
    def scores_background(self) -> bool:
        """Whether class 0 is a scored class under the run's protocol."""
        return bool(self.protocol.get("background", "ignored") != "ignored")

    @property
    def protocol_text(self) -> str:
        """The protocol in one line (see results.folder.protocols); runs whose lines differ share no column."""
        return protocols.protocol_text(self.rules)


def _rightly_typed(recipe: RunRecipe) -> bool:
    """Whether what results count by is what it should be."""
    clusters = {} if recipe.clusters is None else recipe.clusters
    return isinstance(recipe.official_images, int | None) and (
        isinstance(clusters, Mapping) and all(isinstance(images, list | tuple) for images in clusters.values())
    )


def recipe_path(folder: Path, run_id: str) -> Path:
    """Where a run's recipe lies. StoreError for an id that is no plain word, so that no id leaves the folder."""
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise StoreError(f"run id {run_id!r} is no plain word of letters, digits, - and _; give the run such an id")
    return folder / f"{run_id}.json"


def file_name_of(text: str) -> str:
    """A file name for an id."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def benchmark_key(benchmark: Mapping[str, object]) -> str:
    """A folder name for a benchmark, from what a recipe says of it."""
    return file_name_of(json.dumps(benchmark, sort_keys=True, default=str))


def is_of_now(content: Mapping[str, Any]) -> bool:
    """Whether a recipe is of a time when every file of a sweep proves itself (since `identity` is told)."""
    return content.get("identity") is not None


def recipe_text(content: Mapping[str, Any]) -> str:
    """The canonical JSON text, the same for equal content."""
    return json.dumps(content, indent=2, sort_keys=False, ensure_ascii=False, allow_nan=False) + "\n"


def joined_sweeps(*recipes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sweeps of several recipes of one run, each once, in an order that does not depend on theirs."""
    found = {recipe_text(one): one for recipe in recipes for one in recipe.get("sweeps") or ()}
    return [found[text] for text in sorted(found)]
