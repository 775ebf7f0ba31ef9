"""Digests of the data behind rows, and of artefacts, flow in; what was not the same for all flows out, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from harness.contracts import Origin
from results.folder import origins
from results.folder.rows import some_of


@dataclass(frozen=True)
class Checked:
    """unverified: by run, good rows that do not say of which data they are. disputed: by run, images that another run
    of the benchmark saw with other pixels or another truth, and all of a run that rests on several artefacts.
    sentences: a line a benchmark, or a run, with such images."""

    unverified: Mapping[str, int]
    disputed: Mapping[str, int]
    sentences: tuple[str, ...]


def check_same_data(images: pl.DataFrame, benchmarks: Mapping[str, str], folders: Sequence[Path]) -> Checked:
    """images: run_id, image_id, status, sample, artefact. benchmarks: run id -> what stands for its benchmark in words.

    folders: results folders that remember where their images came from.
    """
    good = images.filter(pl.col("status") == "ok")
    good = good.with_columns(benchmark=pl.col("run_id").replace_strict(benchmarks, return_dtype=pl.String))
    said = good.filter(pl.col("sample").is_not_null())
    seen = said.filter(pl.col("sample").n_unique().over("benchmark", "image_id") > 1)
    groups = seen.group_by("benchmark", maintain_order=True).agg("image_id", "sample", "run_id")
    sentences = tuple(
        _sentence(label, image_ids, samples, runs, folders) for label, image_ids, samples, runs in groups.iter_rows()
    )
    mixed = good.filter(pl.col("artefact").drop_nulls().n_unique().over("run_id") > 1)
    sentences += tuple(_of_several(*one) for one in mixed.group_by("run_id").agg("artefact").sort("run_id").iter_rows())
    return Checked(_counts(good.filter(pl.col("sample").is_null())), _counts(seen) | _counts(mixed), sentences)


def why_differing(pairs: Collection[tuple[str, str]], folders: Sequence[Path]) -> str:
    """What is known of images that were seen in several forms, as a clause. pairs: image id, digest."""
    forms: dict[str, dict[str, Origin]] = {}
    for origin in (origin for folder in folders for origin in origins.said(folder)):
        if (origin.image_id, origin.sample) in pairs:
            forms.setdefault(origin.image_id, {})[origin.sample] = origin
    several = [list(one.values()) for one in forms.values() if len(one) > 1]
    if not several:
        return "files were changed, or decoded by other libraries"
    same = all(len({origin.files for origin in one}) == 1 for one in several)
    readers = {origin.readers for one in several for origin in one}
    versions = sorted({words for words in _differing(readers) if words})
    if same and len(versions) < 2:
        return "two readings of one image differ, and no file is known to have changed: its loading is not repeatable"
    if len(versions) < 2 or any(len({_files(origin) for origin in one}) > 1 for one in several):
        return "files were changed"
    what = "the same files" if same else "files of equal names and sizes"
    return f"{what} were decoded by {' and by '.join(versions)}"


def _sentence(
    benchmark: str, images: Sequence[str], samples: Sequence[str], runs: Sequence[str], folders: Sequence[Path]
) -> str:
    which, why = sorted(set(images)), why_differing(set(zip(images, samples, strict=True)), folders)
    return (
        f"{benchmark}: {len(which)} images were not the same for all of {len(set(runs))} runs "
        f"({some_of(which)}): {why}. These runs are not compared; run the sweep again where the data are."
    )


def _of_several(run_id: str, artefacts: Sequence[str | None]) -> str:
    several = len(set(artefacts) - {None})
    return (
        f"Run {run_id} has rows of {several} artefacts, as what it had learned was learned anew: it is not compared; "
        "run the sweep again, which computes those anew that are not of the artefact that is there."
    )


def _counts(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame.group_by("run_id").len().iter_rows())


def _files(origin: Origin) -> tuple[tuple[str, int], ...]:
    """Names and sizes, which files have on any machine."""
    return tuple((Path(mark.path).name, mark.size) for mark in origin.files)


def _differing(readers: Collection[str]) -> Iterator[str]:
    """Of lists of libraries with versions, those libraries that were there in several versions."""
    split = [dict(word.rsplit(" ", 1) for word in one.split(", ") if " " in word) for one in readers]
    known = {library: {one[library] for one in split if library in one} for one in split for library in one}
    several = sorted(library for library, versions in known.items() if len(versions) > 1)
    for one in split:
        yield ", ".join(f"{library} {one[library]}" for library in several if library in one)
