"""A results folder goes in; a folder of static pages comes out that opens from the disk and asks no network."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import jinja2
import vl_convert
from markupsafe import Markup

from harness.errors import StoreError
from results.folder.store import Store
from results.pictures import gallery
from results.report import browser, pages
from results.tables import formats, ledger, matrices
from results.tables.evidence import Evidence, gather
from results.tables.ledger import Published
from results.tables.matrices import Matrix

FOLDER = "report"
_HERE = Path(__file__).parent
_VEGA = "vega.js"
_LICENCES = (
    "/* Vega, Vega-Lite and Vega-Embed, BSD 3-Clause Licence, Copyright (c) 2013-2026, University of Washington "
    "Interactive Data Lab and contributors; bundled by vl-convert-python {version} (BSD 3-Clause Licence). */\n"
)
_PAGES = {  # file -> what its link says
    "index.html": "Leaderboard",
    "tables.html": "Tables",
    "classes.html": "Classes",
    "images.html": "Images",
    "cost.html": "Cost",
    "failures.html": "Failures",
    "runs.html": "Runs",
}


def write_report(
    store: Store,
    partial: bool = False,
    everything: bool = False,
    ledgers: Sequence[str | Path] = (),
    pairs: bool = False,
) -> Path:
    """Write a folder's `tables/`, `ledger.csv` and `report/`, in place of the last one; the path of its first page.

    pairs: show the differences of all pairs of runs, not only those from the best. A stranger's estimator that cannot
    be had from here is said on stderr.
    """
    evidence = gather(store, partial, everything)
    specs = matrices.declared(store)
    for sentence in matrices.without_estimator(specs):
        print(sentence, file=sys.stderr)
    published = ledger.published_numbers(store.folder, ledgers)
    built = [ledger.as_published(matrices.build_matrix(evidence, spec), published) for spec in specs]
    formats.write_tables(built, store.folder)
    ledger.write_ledger(ledger.verdicts(evidence, published), store.folder)
    return write_pages(evidence, built, published, pairs)


def write_pages(
    evidence: Evidence, built: Sequence[Matrix], published: Sequence[Published], pairs: bool = False
) -> Path:
    """The pages alone, from what is gathered and built already."""
    folder = evidence.store.folder / FOLDER
    fresh = folder.with_name(f"{FOLDER}.{os.getpid()}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir()
        _fill(evidence, built, published, fresh, folder, pairs)
        # The old pages stay until the new ones are whole.
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror}); free or mend the disk") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder / "index.html"


def _fill(
    evidence: Evidence, built: Sequence[Matrix], published: Sequence[Published], fresh: Path, old: Path, pairs: bool
) -> None:
    speed = pages.speeds(evidence)
    rooms = browser.write_browser(evidence, gallery.rooms(evidence), [matrix.spec.value for matrix in built], fresh)
    contents: dict[str, dict[str, object]] = {
        "index.html": pages.leaderboard(evidence, speed, pairs),
        "tables.html": pages.tables(evidence, built, published),
        "classes.html": pages.classes(evidence),
        "images.html": {"rooms": rooms},
        "cost.html": pages.cost(evidence, speed),
        "failures.html": pages.failures(evidence),
        "runs.html": pages.runs(evidence),
    }
    environment, summary = _environment(), pages.summary(evidence)
    for file, content in contents.items():
        template = environment.get_template(f"{file}.j2")
        text = template.render(page=file, pages=_PAGES, summary=summary, **content)
        (fresh / file).write_text(text, encoding="utf-8")
    for asset in sorted((_HERE / "static").iterdir()):
        shutil.copyfile(asset, fresh / asset.name)
    # A page from the disk may not read a JSON file, but may run a script that holds one.
    data = json.dumps(rooms, allow_nan=False, separators=(",", ":"))
    (fresh / "rooms.js").write_text(f"window.ROOMS = {data};\n", encoding="utf-8")
    _write_vega(fresh / _VEGA, old / _VEGA)


def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(_HERE / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.globals["first_rows"] = pages.FIRST_ROWS
    environment.filters["percent"] = _percent
    environment.filters["significant"] = _significant
    environment.filters["chart"] = lambda chart: Markup(pages.chart_json(chart))
    environment.filters["json"] = lambda content: Markup(pages.in_page(content))
    environment.filters["table"] = Markup  # a table that `table_formats` has escaped
    return environment


def _percent(value: float | None, digits: int = 2) -> str:
    """A share 0..1 in percent; a dash where there is none (NaN included)."""
    return "–" if value is None or value != value else f"{100 * value:.{digits}f}"


def _significant(value: float | None) -> str:
    """A positive number with three digits that mean something; a dash where there is none."""
    return "–" if not value else f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def _write_vega(path: Path, former: Path) -> None:
    """The charts' scripts as one file; making it takes a second or two, so that of the last report is taken again."""
    head = _LICENCES.format(version=importlib.metadata.version("vl-convert-python"))
    if former.is_file() and former.read_text(encoding="utf-8").startswith(head):
        shutil.copyfile(former, path)
    else:
        bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]
        path.write_text(head + bundle, encoding="utf-8")
