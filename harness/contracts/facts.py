"""Facts of a recipe flow in, as runs record them; what of them an id is made from, and the id, flow out.

Facts are plain values: `use`, `settings` as they were written, `code`, `files` (text of a setting -> digest of the file
that it names), and what else decides pixels. Who reads a stored recipe or a card finds its id by the same rules.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

ID_DIGITS = 16
CAME_LATER = {  # fields of a protocol, as it was before them
    "area_thd": 0.0, "longest": 0, "resampling": "pillow", "void_counts": False,
}  # fmt: skip
_ABSENT = object()


def digest(value: Any) -> str:
    """Hex blake2b of a JSON value in canonical form: the same text in, the same id out, in any process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=ID_DIGITS // 2).hexdigest()


def id_of_run(record: Mapping[str, Any]) -> str:
    """The id of a run, from what its recipe says of it.

    record: identity, harness, method, benchmark, backbones, batch, and what protocol_facts are made from. The batch
    size counts only where images go through a network together.
    """
    content: dict[str, Any] = {
        "identity": record["identity"], "harness": record["harness"], "method": essence(record["method"]),
        "benchmark": essence(record["benchmark"]), "protocol": protocol_facts(record),
    }  # fmt: skip
    if record["backbones"]:
        content["backbones"] = _essences(record["backbones"])
    if record["batch"] is not None:
        content["batch"] = record["batch"]
    return digest(content)


def protocol_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol as it decides pixels: the words themselves, whatever their set is called, and the tagger's facts.

    A field that came later is left out where it has the value that was meant before.
    record: protocol, names, tagger; chosen, where something of the protocol was chosen on a train split: its rule and
    the runs that were compared stand in place of the value; rule, of a teacher's run, what makes its label maps
    lessons; stretch, of runs whose scores are scaled to 0..1, how. A version of that module would be in the id of every
    run, and few of them scale.
    """
    tagger = None if record["tagger"] is None else essence(record["tagger"])
    own = {name: value for name, value in record["protocol"].items() if CAME_LATER.get(name, _ABSENT) != value}
    facts = {**own, "names": record["names"], "tagger": tagger}
    if chosen := record.get("chosen"):
        facts |= {key: {name: chosen[name] for name in ("rule", "runs", "images")} for key in chosen["fields"]}
    facts |= {"stretch": record["stretch"]} if "stretch" in record else {}
    return facts if record["rule"] is None else {**facts, "rule": record["rule"]}


def id_of_fit(record: Mapping[str, Any]) -> str:
    """The id of an artefact, from what its card says: the learner, its backbones, the teacher's label maps, images.

    left_out: where there are such, the train images on which the teacher failed.
    """
    left_out = {"left_out": record["left_out"]} if record.get("left_out") else {}
    return digest({
        "learner": essence(record["learner"]), "backbones": _essences(record["backbones"]),
        **{name: record[name] for name in ("labels", "images", "batch")}, **left_out,
    })  # fmt: skip


def _essences(backbones: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return sorted(map(essence, backbones), key=digest)


def essence(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with every file's content in place of its path: a file that moves is the same file."""
    held = {name: value for name, value in facts.items() if name != "files"}
    return {**held, "settings": _by_content(facts.get("settings", {}), facts.get("files", {}))}


def _by_content(settings: Any, files: Mapping[str, str]) -> Any:
    if isinstance(settings, Mapping):
        return {name: _by_content(value, files) for name, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [_by_content(value, files) for value in settings]
    if not isinstance(settings, str) or not files:
        return settings
    if settings in files:
        return f"file:{files[settings]}"
    for text in sorted(files, key=len, reverse=True) if "(" in settings else ():
        settings = settings.replace(text, f"file:{files[text]}")
    return settings
