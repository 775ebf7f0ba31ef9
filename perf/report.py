"""A made-up folder of 200 runs on 8 data sets -> how long its report's pages take to open and to filter in Chromium.

Open: from the call until the page is loaded, has been painted, and answers; charts out of sight are drawn afterwards.
Filter: from a typed letter, or a ticked box, until the frame that shows the rows is painted; the longest of all.

    python -m perf.report [--runs 200] [--sets 8] [--images 10] [--folder DIR]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from perf import machine
from results import report
from results.folder.store import Store

sys.path.append(str(Path(__file__).parent.parent / "tests" / "plugins"))  # the browser that the tests use
from chromium import Chromium

CLASSES, PRESENT, PIXELS = 20, 6, 4000  # in all, in an image, and of each there
_PAGES = ("index", "tables", "classes", "images", "cost", "failures", "runs")
_HEAD = (
    "| page | KiB | opens (s; promised: 2) | filters, the longest (ms; promised: 100) | of it processor time (ms) |",
    "|---|---|---|---|---|",
)
_PAINTED = "new Promise(done => requestAnimationFrame(() => setTimeout(done)))"


def _fill(folder: Path, runs: int, sets: int, images: int) -> None:
    """Runs of a few methods with three settings each, on every data set."""
    store = Store.open(folder)
    rng = np.random.default_rng(0)
    ids = []
    with store.writer() as writer:
        for place in range(sets):
            hard = rng.random(images)
            for number in range(runs):
                run_id = f"r{number:03d}d{place}"
                store.write_recipe(run_id, _recipe(run_id, number, place, images))
                writer.write(_rows(rng, run_id, number / runs, hard))
                ids.append(run_id)
    store.set_table("two hundred runs", ids)


def _recipe(run_id: str, number: int, place: int, images: int) -> dict[str, object]:
    settings = {
        "timestep": (1, 50, 100, 200, 300)[number % 5],
        "power": number // 5 % 4,
        "refine": ("sar", "none")[number // 20 % 2],
    }
    method = f"Method {number // 40}"
    return {
        "run_id": run_id, "method_name": method, "variant": " ".join(f"{k}={v}" for k, v in settings.items()),
        "benchmark_name": f"Data {place}", "method": {"use": f"made:{method}", "settings": settings},
        "benchmark": {"use": "made:Data", "settings": {"place": place}},
        "protocol": {"vocabulary": "all", "background": "ignored"},
        "classes": [f"class {k}" for k in range(1, CLASSES + 1)], "images": images,
    }  # fmt: skip


def _rows(rng: np.random.Generator, run_id: str, skill: float, hard: np.ndarray) -> pl.DataFrame:
    """The same pixels of the same classes for all runs; the more skill, and the easier an image, the more are right."""
    lines = []
    for image, ease in enumerate(hard):
        true = (image + np.arange(PRESENT)) % CLASSES + 1
        right = (PIXELS * np.clip(0.2 + 0.4 * skill + 0.3 * ease + rng.normal(0, 0.05, PRESENT), 0.02, 0.98)).astype(
            int
        )
        other = true % CLASSES + 1
        overlaps = [*zip(true, true, right, strict=True), *zip(true, other, PIXELS - right, strict=True)]
        pairs = sorted((int(true), int(predicted), int(pixels)) for true, predicted, pixels in overlaps)
        lines.append([f"{image:04d}", *map(list, zip(*pairs, strict=True))])
    names = ("image_id", "true", "predicted", "pixels")
    kinds = {"true": pl.List(pl.UInt16), "predicted": pl.List(pl.UInt16), "pixels": pl.List(pl.UInt32)}
    frame = pl.DataFrame(dict(zip(names, zip(*lines, strict=True), strict=True))).cast(kinds)
    more = {
        "run_id": pl.lit(run_id), "status": pl.lit("ok"), "seconds": pl.lit(0.05 + 0.1 * (1 - skill)),
        "error": pl.lit(None, pl.String),
    }  # fmt: skip
    return frame.with_columns(**more).select("run_id", "image_id", "status", "seconds", "error", *names[1:])


def _opened(browser: Chromium, page: Path) -> float:
    """Seconds until a page is there and answers."""
    started = time.perf_counter()
    browser.open(page)
    browser.value(_PAINTED)
    return time.perf_counter() - started


def _filtered(browser: Chromium, acts: list[tuple[str, str]]) -> tuple[float, float]:
    """The longest act until what it leaves is painted, in milliseconds; and the most processor time of its thread. What
    stands before an act is done before, and waited for."""
    timed = "(async () => {{ const start = performance.now(); {}; await {}; return performance.now() - start; }})()"
    browser.call("Performance.enable", timeDomain="threadTicks")
    walls, processor = [], []
    for before_it, act in acts:
        browser.value(f"{before_it}; {_PAINTED}")
        before = _busy(browser)
        walls.append(browser.value(timed.format(act, _PAINTED)))
        processor.append(1000 * (_busy(browser) - before))
    return max(walls), max(processor)


def _busy(browser: Chromium) -> float:
    """Seconds of processor time of the page's main thread so far."""
    metrics = browser.call("Performance.getMetrics")["metrics"]
    return next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")


def _typing(browser: Chromium) -> list[tuple[str, str]]:
    """A word is typed into every field that is laid out, piece by piece, and taken away again; its table in sight."""
    acts = []
    for number in range(browser.value("document.querySelectorAll('input[data-filter]').length")):
        field = f"document.querySelectorAll('input[data-filter]')[{number}]"
        if browser.value(f"{field}.getClientRects().length"):
            for word in ("M", "Method 3", "Method 3 power=2", ""):
                typed = f"{field}.value = '{word}'; {field}.dispatchEvent(new Event('input'))"
                acts.append((f"{field}.scrollIntoView({{block: 'start'}})", typed))
    return acts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--sets", type=int, default=8)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="is filled, or measured as it is where it has a report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        index = folder / report.FOLDER / "index.html"
        if not index.exists():
            _fill(folder, options.runs, options.sets, options.images)
            report.write_report(Store.open(folder, create=False))
        with Chromium() as browser:
            browser.look(1366, 768)
            lines = [_line_of(browser, index.parent / f"{name}.html") for name in _PAGES]
    command = f"`python -m perf.report --runs {options.runs} --sets {options.sets} --images {options.images}`"
    title = f"A report of {options.runs} runs on {options.sets} data sets"
    head = [f"{command}, headless Chromium, a window of 1366 x 768.", "", *_HEAD]
    print("\n".join(lines), machine.write("report", title, [*head, *lines]), sep="\n")


def _line_of(browser: Chromium, page: Path) -> str:
    """What a page measures."""
    seconds = sorted(_opened(browser, page) for _ in range(3))[1]
    browser.until("[...document.querySelectorAll('[data-chart]')].every(e => e.dataset.drawn)")
    boxes = browser.value("document.querySelectorAll('.choice input').length")
    ticked = [("scrollTo(0, 0)", f"document.querySelectorAll('.choice input')[{n}].click()") for n in range(boxes)]
    acts = [*_typing(browser), *ticked]
    slowest = "{:.0f} | {:.0f}".format(*_filtered(browser, acts)) if acts else "– | –"
    return f"| {page.stem} | {page.stat().st_size / 1024:,.0f} | {seconds:.2f} | {slowest} |"


if __name__ == "__main__":
    main()
