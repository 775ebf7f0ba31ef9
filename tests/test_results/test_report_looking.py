"""Looking closely at images in a real Chromium: all panels in step, what is under the pointer, colours, any score."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recount
import toy_results
from chromium import Chromium
from PIL import Image as Pillow

from results.counts import boundaries, estimators
from results.folder import keepsakes
from results.folder.store import Store
from results.pictures import gallery
from results.pictures.colours import ERROR_COLOURS
from results.report.browser import write_browser
from results.tables.evidence import Evidence

STACKS = "[...document.querySelectorAll('.panels .stack')]"
SEEN = f"{STACKS}.map(s => {{ const o = s.getBoundingClientRect(), i = s.firstChild.getBoundingClientRect(); "
SEEN += (
    "return [i.width / o.width, (i.left - o.left) / o.width, (i.top - o.top) / o.height].map(v => +v.toFixed(3)); })"
)
TAGS = "[...document.querySelectorAll('.panels .tag')].map(t => t.value)"
WORDS = f"JSON.stringify({TAGS}.map(t => t.replace(/\\d+\\.\\d/g, '#')))"
ROOM = "window.ROOMS[0]"
NUMBER = re.compile(r"\d+\.\d")


@pytest.fixture(autouse=True)
def _laptop(browser: Chromium) -> None:
    browser.look(1366, 768)


def box(browser: Chromium, number: int) -> tuple[float, float, float, float]:
    """Left, top, width and height of a panel in the window, in which it is brought."""
    browser.value(f"{STACKS}[{number}].scrollIntoView({{block: 'center'}})")
    left, top, width, height = browser.value(
        f"(b => [b.left, b.top, b.width, b.height])({STACKS}[{number}].getBoundingClientRect())"
    )
    return left, top, width, height


def place(browser: Chromium, number: int, x: float, y: float) -> tuple[float, float]:
    """A place of a panel, given in shares of its sides, in the window."""
    left, top, width, height = box(browser, number)
    return left + x * width, top + y * height


def test_all_panels_are_looked_at_in_step_by_wheel_drag_and_keys(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "images.html")
    browser.until("[...document.images].every(i => i.complete)")
    assert {tuple(one) for one in browser.value(SEEN)} == {(1, 0, 0)}
    at = place(browser, 2, 0.25, 0.5)
    browser.mouse("Wheel", *at, deltaX=0, deltaY=-346.574)  # 0.002 of it is ln 2
    (twice,) = {tuple(one) for one in browser.value(SEEN)}
    assert twice == pytest.approx((2, -0.25, -0.5), abs=0.01)  # what was under the pointer is there still
    *_, width, height = box(browser, 3)
    left, top = place(browser, 3, 0.75, 0.5)
    browser.mouse("Pressed", left, top, button="left", buttons=1, clickCount=1)
    browser.mouse("Moved", left - 0.1 * width, top + 0.2 * height, button="left", buttons=1)
    browser.mouse("Released", left - 0.1 * width, top + 0.2 * height, button="left", clickCount=1)
    (dragged,) = {tuple(one) for one in browser.value(SEEN)}
    assert dragged == pytest.approx((2, -0.35, -0.3), abs=0.01)
    browser.press("ArrowLeft", shift=True)
    assert browser.value(SEEN)[0] == pytest.approx([2, -0.25, -0.3], abs=0.01)
    browser.press("+")
    assert browser.value(SEEN)[4][0] == pytest.approx(3, abs=0.01)
    for _ in range(3):
        browser.press("-")
    assert {tuple(one) for one in browser.value(SEEN)} == {(1, 0, 0)}  # never smaller than whole
    browser.press("+")
    browser.press("0")
    assert {tuple(one) for one in browser.value(SEEN)} == {(1, 0, 0)}
    browser.value("document.getElementById('closer').click()")
    assert browser.value("document.getElementById('zoom').value") == "150 %"
    assert browser.complaints == []


def test_the_place_one_looks_at_stands_in_the_address(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "images.html")
    browser.mouse("Wheel", *place(browser, 1, 0.9, 0.2), deltaX=0, deltaY=-500)
    seen = browser.value(SEEN)[0]
    browser.until("location.hash.includes('look=')")
    address = browser.value("location.hash")
    browser.open(pages / "cost.html")
    browser.open(pages / "images.html", address)
    assert browser.value(SEEN)[0] == pytest.approx(seen, abs=0.01)
    browser.press("ArrowDown")  # the next image at the same place
    assert browser.value(SEEN)[0] == pytest.approx(seen, abs=0.01)
    browser.value("location.hash = 'look=NaN,x'")
    browser.until(f"{SEEN}[0][0] === 1")
    assert browser.complaints == []


def test_every_panel_says_the_class_and_its_score_under_the_pointer(
    browser: Chromium, toys: Store, evidence: Evidence, pages: Path
) -> None:
    browser.open(pages / "images.html")
    shown = browser.value("document.querySelector('#images [aria-selected=true]').id").removeprefix("image-")
    image, runs = browser.value(f"[{ROOM}.images[{shown}].id, {ROOM}.runs.slice(0, 4).map(r => r.id)]")
    recipe = evidence.recipes[runs[0]]
    truth = keepsakes.read_map(keepsakes.picture_paths(toys.folder, recipe.benchmark, image)[1])
    maps = [keepsakes.read_map(keepsakes.label_map_path(toys.folder, run, image)) for run in runs]
    height, width = truth.shape
    for row, column in ((9, 4), (5, 25), (0, 3)):
        browser.mouse("Moved", *place(browser, 3, (column + 0.5) / width, (row + 0.5) / height))
        own = toys.rows(runs).filter(image_id=image)
        expected = [
            said(own, run, int(labels[row, column]), int(truth[row, column]))
            for run, labels in zip(runs, maps, strict=True)
        ]
        scored = toy_results.CLASSES[truth[row, column] - 1] if row else "not scored"
        words = ["", scored, *(NUMBER.sub("#", says) for says, _ in expected)]
        browser.until(f"{WORDS} === JSON.stringify({json.dumps(words)})")  # at first those of the place before stand
        for says, (_, iou) in zip(browser.value(TAGS)[2:], expected, strict=True):
            assert NUMBER.findall(says) == [] if iou is None else float(NUMBER.findall(says)[-1]) == near(iou)
    browser.mouse("Moved", *place(browser, 1, 15.5 / width, 9.5 / height))  # within a pixel, not between two
    for key in "++":  # under the pointer, so what is there stays
        before = browser.value(TAGS)
        browser.press(key)
        assert browser.value(TAGS) == before
    browser.mouse("Moved", 3, 3)
    assert not browser.value("document.querySelector('.panels').classList.contains('pointed')")
    assert browser.complaints == [] and browser.value("window.caught") is None


def near(percent: float) -> Any:
    return pytest.approx(percent, abs=0.051)


def said(own: Any, run: str, number: int, true: int) -> tuple[str, float | None]:
    """The words of a run's panel, and the IoU in them counted again; None where no scored pixel has that class."""
    (line,) = own.filter(run_id=run).iter_rows(named=True)
    total = dict(zip(zip(line["true"], line["predicted"], strict=True), line["pixels"], strict=True))
    iou = recount.class_iou(total, number)
    words = toy_results.CLASSES[number - 1] + ("" if iou is None else " · IoU 0.0")
    whole = f"{'✓' if number == true else '✗'} {words}" if 0 < true < 255 else f"{words} (not scored)"
    return whole, None if iou is None else float(100 * iou)


def picture(browser: Chromium) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The window's pixels (height, width, 3)."""
    data = browser.call("Page.captureScreenshot", format="png")["data"]
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


@pytest.mark.parametrize("view", ["map", "errors"])
def test_colours_of_panels_are_those_of_the_legend_whatever_was_photographed(
    browser: Chromium, pages: Path, view: str
) -> None:
    """Under a photograph as bright as what is under the legend; of other brightness only the brightness differs."""
    browser.open(pages / "images.html")
    browser.value(f"document.querySelector('[value={view}]').click()")
    browser.value("document.querySelectorAll('.hatch').forEach(i => i.remove())")
    # Of this bright blue 126 is grey, as bright as what is under the legend: no panel may show a breath of blue.
    blue = "canvas => { canvas.width = 30; canvas.height = 18; const pen = canvas.getContext('2d'); "
    blue += "pen.fillStyle = 'rgb(77, 127, 255)'; pen.fillRect(0, 0, 30, 18); return canvas.toDataURL(); }"
    photo = f"({blue})(document.createElement('canvas'))"
    browser.value(f"document.querySelectorAll('.photo').forEach(i => {{ i.src = {photo}; }})")
    browser.until("[...document.images].every(i => i.complete)")
    browser.value("document.getElementById('legend').scrollIntoView({block: 'end'})")
    swatches = "[...document.querySelectorAll('#legend i:not(.unscored)')].map(i => i.getBoundingClientRect())"
    places = browser.value(f"{swatches}.map(b => [b.left + b.width / 2, b.top + b.height / 2])")
    pixels = picture(browser)
    legend = np.array([pixels[int(y), int(x)] for x, y in places]).astype(int)
    left, top, width, height = box(browser, 3)
    pixels = picture(browser)
    shown = pixels[int(top + 0.3 * height) : int(top + 0.8 * height) : 3, int(left + 3) : int(left + width - 3) : 3]
    shown = shown.reshape(-1, 3).astype(int)
    nearest = np.abs(shown[:, None] - legend[None]).max(axis=2)
    assert (nearest.min(axis=1) <= 3).mean() > 0.9  # but for the rims between two of them
    assert len(set(nearest.argmin(axis=1))) == len(legend)


# Machado, Oliveira, Fernandes 2009, severity 1.0, on linear RGB: what an eye without one kind of cone sees.
EYES = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def lab(linear: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """CIE L*a*b* (D65) of linear sRGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    share = to_xyz @ linear / np.array([0.9505, 1, 1.089])
    root = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("eye", EYES)
def test_right_and_wrong_are_far_apart_for_every_eye(eye: str) -> None:
    """Over black, grey and white photographs; 10 is a plain difference, red and blue of before had 27."""
    for grey in (0, 64, 128, 192, 255):
        seen = []
        for name in ("right", "wrong"):
            *rgb, alpha = bytes.fromhex(ERROR_COLOURS[name][1:])
            share = 0.8 * alpha / 255  # the overlay as it is at first
            colour = (share * np.array(rgb) + (1 - share) * grey) / 255
            linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
            seen.append(lab(np.clip(np.array(EYES[eye]) @ linear, 0, 1)))
        assert np.linalg.norm(seen[0] - seen[1]) > 60


def test_images_are_sorted_by_any_score(browser: Chromium, toys: Store, pages: Path) -> None:
    browser.open(pages / "images.html")
    names = browser.value("[...document.getElementById('score').options].map(o => o.textContent)")
    assert {"mIoU", "pixel accuracy", "mean Dice", "worst class's IoU"} < set(names)
    assert "boundary IoU" not in names  # no table of this folder asks for it
    choose = (
        "(s => { s.value = %s; s.dispatchEvent(new Event('change', {bubbles: true})); })(document.getElementById('%s'))"
    )
    browser.value(choose % (names.index("pixel accuracy"), "score"))
    browser.value(choose % ("'low'", "order"))
    run = browser.value(f"{ROOM}.runs[0].id")
    known = {}
    for line in toys.rows([run]).iter_rows(named=True):
        total = dict(zip(zip(line["true"], line["predicted"], strict=True), line["pixels"], strict=True))
        known[line["image_id"]] = float(recount.accuracy(total))
    listed = browser.value("[...document.querySelectorAll('#images li span')].map(s => s.textContent)")
    assert len(listed) == 6 and listed == sorted(listed, key=lambda image: round(known[image], 6))
    shown = float(browser.value("document.querySelector('.panels .chosen b').textContent"))
    assert shown == pytest.approx(100 * known[listed[0]], abs=0.051)
    assert "score=pixel_accuracy" in browser.value("location.hash")
    browser.value(choose % (2, "class"))
    assert browser.value("document.getElementById('score').disabled")


def a_half(counts: object) -> float:
    """An estimator from elsewhere."""
    return 0.5


def test_a_score_of_maps_or_of_a_stranger_is_there_where_a_table_asks(evidence: Evidence, tmp_path: Path) -> None:
    asked = ("boundary_iou", f"{__name__}:a_half", "presence_mcc", "no_module:nothing", "miou")
    rooms: Sequence[Any] = write_browser(evidence, gallery.rooms(evidence)[:1], asked, tmp_path)
    assert rooms[0]["scores"] == (*estimators.SCORES, *asked[:2])
    run, background = rooms[0]["runs"][1], rooms[0]["background"]
    for place, image in enumerate(rooms[0]["images"]):
        truth = keepsakes.read_map(
            keepsakes.picture_paths(evidence.store.folder, evidence.recipes[run["id"]].benchmark, image["id"])[1]
        )
        truth[truth == 0] = 65535
        given = keepsakes.read_map(keepsakes.label_map_path(evidence.store.folder, run["id"], image["id"]))
        found = boundaries.of_maps([(truth, given)], len(toy_results.CLASSES), background).iou
        assert run["cells"][place]["scores"][-2:] == (round(found or 0, 6), 0.5)
