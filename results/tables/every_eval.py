"""A folder's evidence goes in; its runs come out in the form of Every Eval Ever 0.3: a JSON a run, a line an image.

Source: evaleval/every_eval_ever, schema 0.3.0. Scores are percent. A run's method stands as its model, under the
backbone's id where that is one of a hub; settings and protocol are details, whose values must be texts.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import polars as pl

from results.folder.recipes import RunRecipe
from results.tables.evidence import Evidence
from results.tables.ranking import Entry
from results.tables.spec import setting_in_words

SCHEMA, LIBRARY = "0.3.0", "stableseg-harness"
COLLECTION = "stableseg"
METRICS = {"miou": "mIoU", "image_miou": "mIoU of single images, averaged", "pixel_accuracy": "pixel accuracy"}
_INTERVAL = "Student's interval from leave-one-out values, on the scale of log odds"
_HALF = 0.5  # an image counts as right above it: a sample must say whether it is
Json = dict[str, Any]


def documents(evidence: Evidence, organization: str, relationship: str, now: int) -> Iterator[tuple[str, str, Json]]:
    """Path below a folder, run id and content of every run that has a score, of those with holes only where they are
    asked for. now: seconds since 1970."""
    for entry in evidence.board.entries:
        if entry.miou is None or not (entry.complete or evidence.board.partial):
            continue
        recipe = evidence.recipes[entry.run_id]
        model = model_id(recipe)
        content: Json = {
            "schema_version": SCHEMA,
            "evaluation_id": f"{COLLECTION}-{_word(entry.benchmark)}/{_word(model)}-{entry.run_id}/{now}",
            "retrieved_timestamp": str(now),
            "source_metadata": {
                "source_type": "evaluation_run",
                "source_organization_name": organization,
                "evaluator_relationship": relationship,
            },
            "model_info": {"name": entry.name, "id": model, "additional_details": _details(recipe)},
            "eval_library": {"name": LIBRARY, "version": _version(recipe)},
            "evaluation_results": [_result(evidence, entry, metric) for metric in METRICS],
        }
        developer, _, name = model.partition("/")
        place = uuid.uuid5(uuid.NAMESPACE_URL, f"{LIBRARY}:{entry.run_id}")
        yield f"data/{COLLECTION}/{_word(developer)}/{_word(name)}/{place}.json", entry.run_id, content


def samples(evidence: Evidence, run_id: str, document: Json) -> Iterator[str]:
    """A line of JSON for every image of a run that was scored, in order."""
    own = evidence.images.filter(run_id=run_id, status="ok").filter(pl.col("image_miou").is_not_null())
    for line in own.sort("image_id").iter_rows(named=True):
        digest = line["sample"] or ""
        yield json.dumps({
            "schema_version": SCHEMA,
            "evaluation_id": document["evaluation_id"],
            "model_id": document["model_info"]["id"],
            "evaluation_name": document["evaluation_results"][0]["evaluation_name"],
            "sample_id": line["image_id"],
            "interaction_type": "single_turn",
            "input": {"raw": digest, "reference": [digest]},  # of image and truth together
            "answer_attribution": [],
            "evaluation": {"score": 100 * line["image_miou"], "is_correct": line["image_miou"] > _HALF},
        }, ensure_ascii=False)  # fmt: skip


def model_id(recipe: RunRecipe) -> str:
    """`owner/name` of the first backbone that has such a model, else this harness's own name for the method."""
    for facts in (*recipe.backbones, recipe.method):
        model = dict(facts.get("settings", {})).get("model")
        if isinstance(model, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", model):
            return model
    return f"{LIBRARY}/{_word(recipe.method_name)}"


def _result(evidence: Evidence, entry: Entry, metric: str) -> Json:
    score = getattr(entry, metric)
    details: Json = {"score": None if score is None else 100 * score}
    interval = evidence.column_of(entry.run_id).interval(entry.run_id) if metric == "miou" else None
    if interval:
        low, high = (100 * end for end in interval)
        bounds = {"lower": low, "upper": high, "confidence_level": 0.95, "method": _INTERVAL}
        details["uncertainty"] = {"confidence_interval": bounds, "num_samples": entry.images}
    recipe = evidence.recipes[entry.run_id]
    return {
        "evaluation_name": f"{entry.benchmark} {METRICS[metric]}",
        "source_data": {"dataset_name": entry.benchmark, "source_type": "other",
                        "additional_details": {**_texts(recipe.benchmark), **_images(entry)}},
        "metric_config": {
            "metric_id": metric, "metric_kind": "accuracy", "metric_unit": "percent", "lower_is_better": False,
            "score_type": "continuous", "min_score": 0.0, "max_score": 100.0,
            "metric_parameters": _texts(recipe.protocol),
        },
        "score_details": details,
    }  # fmt: skip


def _images(entry: Entry) -> dict[str, str]:
    """On how many images a number rests, and how many there should be."""
    known = {"images_scored": entry.images, "images_failed": entry.failed, "images_missing": entry.missing,
             "images_of_other_data": entry.disputed, "official_images": entry.official or 0}  # fmt: skip
    return {name: str(number) for name, number in known.items() if number or name == "images_scored"}


def _details(recipe: RunRecipe) -> dict[str, str]:
    return {
        "deployment_type": "local",
        "model_availability": "open_weights",
        "method": str(recipe.method["use"]),
        "run_id": recipe.run_id,
        **{f"setting.{name}": setting_in_words(one) for name, one in recipe.method.get("settings", {}).items()},
        **({"supervision": recipe.supervision} if recipe.supervision else {}),
    }


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    plain = (str, int, float, bool)
    return {name: one if isinstance(one, str) else json.dumps(one, default=str) if not isinstance(one, plain)
            else setting_in_words(one) for name, one in facts.items()}  # fmt: skip


def _version(recipe: RunRecipe) -> str:
    for made in recipe.made_by:
        if found := dict(made.get("versions") or {}).get(LIBRARY):
            return str(found)
    try:
        return version(LIBRARY)
    except PackageNotFoundError:
        return "unknown"


def _word(text: str) -> str:
    """A plain word for a path, which never leaves its folder."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "x"
