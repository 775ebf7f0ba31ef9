"""The report in a real Chromium, opened from the disk: silent, alone with its files, sorted, filtered, by keyboard too.

Needs Chromium (`apt-get install chromium`); without it the tests are skipped, unless REQUIRE_CHROMIUM is set.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toy_results
from chromium import Chromium

from results import report
from results.folder.store import Store
from results.report.pages import FIRST_ROWS
from results.tables.evidence import Evidence

PAGES = ("index", "tables", "classes", "images", "cost", "failures", "runs")
CELLS = "[...document.querySelectorAll('#board-1 tbody tr:not([hidden])')].map(r => r.cells[{}].innerText.trim())"
LISTED = "[...document.querySelectorAll('#images li')].map(l => l.querySelector('span').textContent)"
NUMBERS = "[...document.querySelectorAll('#images li b')].map(b => b.textContent)"
LEGEND = "[...document.querySelectorAll('#legend li')].map(l => l.textContent)"
LEGEND_END = "not scored"


def choose(browser: Chromium, select: str, value: str) -> None:
    change = "dispatchEvent(new Event('change', {bubbles: true}))"
    browser.value(f"(() => {{ const s = document.getElementById('{select}'); s.value = '{value}'; s.{change}; }})()")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_in_silence_and_asks_nobody(browser: Chromium, pages: Path, page: str) -> None:
    for dark, phone in ((False, False), (True, True)):
        browser.look(*((390, 844) if phone else (1280, 800)), dark=dark, phone=phone)
        browser.open(pages / f"{page}.html")
        browser.until("[...document.querySelectorAll('[data-chart]')].every(e => e.dataset.drawn)")
        assert browser.complaints == []
        assert browser.requests == []
        assert browser.value("window.caught") is None  # no name from the data ran as a script
        assert browser.value("document.documentElement.scrollWidth <= innerWidth")  # only tables scroll sideways
    assert browser.value("[...document.querySelectorAll('[data-chart] svg')].length") == browser.value(
        "document.querySelectorAll('[data-chart]').length"
    )


@pytest.fixture(scope="module")
def long_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report in which names are long words, and no run has every image."""
    store = toy_results.fill(tmp_path_factory.mktemp("long"), images=6, keep=2)
    for run_id, recipe in store.raw_recipes().items():
        names = {key: str(recipe[key]) + "WithoutAnySpace" * 6 for key in ("method_name", "benchmark_name")}
        variant = f"{recipe['variant']} checkpoint=/models/{'x' * 80}"
        store.write_recipe(run_id, {**recipe, **names, "variant": variant, "images": 9})
    return report.write_report(store).parent


@pytest.mark.parametrize("page", PAGES)
def test_long_names_break_no_page(browser: Chromium, long_names: Path, page: str) -> None:
    for width in (1440, 390):
        browser.look(width, 844, phone=width < 500)
        browser.open(long_names / f"{page}.html")
        browser.until("[...document.querySelectorAll('[data-chart]')].every(e => e.dataset.drawn)")
        assert browser.complaints == []  # a curve without intervals neither
        assert browser.value("document.documentElement.scrollWidth") <= width
        # Neither is the name squeezed to a column of letters, nor do the numbers leave the window.
        cells = "[...document.querySelectorAll('tbody .text.fixed')].map(c => c.offsetWidth).filter(Boolean)"
        assert all(110 < cell <= width / 2 for cell in browser.value(cells))
        links = "[...document.querySelectorAll('nav a')].every(a => a.getBoundingClientRect().right <= innerWidth)"
        assert browser.value(links)  # every page can be seen and reached


def test_what_has_the_focus_bears_a_ring(browser: Chromium, pages: Path) -> None:
    for page in ("index", "images", "runs"):
        browser.look(1440, 900)
        browser.open(pages / f"{page}.html")
        for _ in range(25):
            browser.press("Tab")
            ring = "(s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1)"
            if browser.value("document.activeElement !== document.body"):
                place = browser.value("document.activeElement.outerHTML.slice(0, 80)")
                assert browser.value(f"{ring}(getComputedStyle(document.activeElement))"), (page, place)


def test_a_table_of_its_own_follows_the_light_and_scrolls_by_itself(browser: Chromium, toys: Store) -> None:
    paper = "getComputedStyle(document.querySelector('td')).color"
    ink = []
    for dark in (False, True):
        browser.look(390, 844, dark=dark, phone=True)
        browser.open(toys.folder / "tables" / "main.html")
        assert browser.value("document.title") == "main"
        assert browser.value("document.documentElement.scrollWidth <= innerWidth && innerWidth === 390")
        ink.append(browser.value(paper))
        assert browser.complaints == [] and browser.requests == []
    assert ink[0] != ink[1]


def test_a_complaint_and_a_request_would_be_seen(browser: Chromium, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<script>console.error('no')</script><img src='http://127.0.0.1:9/x.png'>")
    browser.open(page)
    assert any('"no"' in complaint for complaint in browser.complaints)
    assert browser.requests == ["http://127.0.0.1:9/x.png"]


def test_a_click_sorts_and_another_one_turns(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "index.html")
    heading = "document.querySelectorAll('#board-1 th button')[2]"
    numbers = [float(text) for text in browser.value(CELLS.format(2))]
    assert numbers == sorted(numbers, reverse=True)
    for state, reverse in (("descending", True), ("ascending", False)):
        browser.value(f"{heading}.click()")
        assert browser.value(f"{heading}.parentElement.getAttribute('aria-sort')") == state
        found = [float(text) for text in browser.value(CELLS.format(2))]
        assert found == sorted(numbers, reverse=reverse)


def test_the_keyboard_sorts_too(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "index.html")
    browser.value("document.querySelectorAll('#board-1 th button')[1].focus()")
    browser.press("Enter")
    names = browser.value(CELLS.format(1))
    assert names == sorted(names, key=str.lower)
    browser.press("Tab")
    assert browser.value("document.activeElement.textContent.trim()") == "mIoU"


def test_words_filter_rows_and_say_how_many_are_left(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "index.html")
    box = "document.querySelector('[data-filter=board-1]')"
    browser.value(f"{box}.value = 'SAR 300'; {box}.dispatchEvent(new Event('input'))")
    assert [name.split()[0] for name in browser.value(CELLS.format(1))] == ["Seg"]
    assert browser.value("document.querySelector('[data-count=board-1]').textContent") == "1 of 6"
    browser.value(f"{box}.value = '<img'; {box}.dispatchEvent(new Event('input'))")
    assert [name.split("\n")[0] for name in browser.value(CELLS.format(1))] == [toy_results.EVIL_METHOD]


def test_of_a_long_table_the_first_rows_are_laid_out_and_more_as_one_comes_to_them(
    browser: Chromium, pages: Path
) -> None:
    """A filter looks at all of them; who searches the page, or prints it, has all of them."""
    script = (pages / "tables.js").read_text("utf-8")
    assert f"const FIRST = {FIRST_ROWS};" in script
    browser.look(1280, 800)
    browser.open(pages / "classes.html")
    table = "document.getElementById('words-1').parentElement"
    rows = f"[...{table}.querySelectorAll('tbody tr')]"
    shown = f"{rows}.filter(row => getComputedStyle(row).display !== 'none').length"
    total = browser.value(f"{rows}.length")
    assert browser.value(shown) == FIRST_ROWS < total
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.value(shown) == total
    browser.call("Emulation.setEmulatedMedia", media="")
    browser.value(f"{table}.scrollIntoView()")
    browser.until(f"({table}.scrollTop = {table}.scrollHeight, {shown} === {total})")
    box, last = "document.querySelector('[data-filter=words-1]')", browser.value(f"{rows}.at(-1).cells[4].textContent")
    typed = f"{box}.value = word; {box}.dispatchEvent(new Event('input'))"
    browser.value(f"(word => {{ {typed} }})({json.dumps(last)})")
    named = browser.value(f"{rows}.filter(row => row.textContent.includes({json.dumps(last)})).length")
    assert 0 < browser.value(shown) == min(named, FIRST_ROWS) < total
    browser.value(f"(word => {{ {typed} }})('')")
    assert browser.value(shown) == FIRST_ROWS
    browser.value("dispatchEvent(new KeyboardEvent('keydown', {key: 'f', ctrlKey: true}))")
    assert browser.value(shown) == total


def test_a_link_from_a_number_opens_its_receipt(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "index.html")
    run_id = browser.value("document.querySelector('#board-1 tbody a').hash.slice(1)")
    browser.open(pages / "runs.html", f"#{run_id}")
    assert browser.value(f"document.getElementById('{run_id}').open")
    assert "weights-0123" in browser.value(f"document.getElementById('{run_id}').innerText")


def test_charts_follow_the_light(browser: Chromium, pages: Path) -> None:
    browser.look(1280, 800)
    browser.open(pages / "index.html")
    browser.until("[...document.querySelectorAll('[data-chart]')].every(e => e.dataset.drawn === 'light')")
    browser.look(1280, 800, dark=True)
    browser.until("[...document.querySelectorAll('[data-chart]')].every(e => e.dataset.drawn === 'dark')")
    browser.look(1280, 800)


def test_a_class_called_script_is_a_word_in_the_charts(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "classes.html")
    browser.until("[...document.querySelectorAll('[data-chart]')].every(e => e.dataset.drawn)")
    words = browser.value("[...document.querySelectorAll('[data-chart] svg text')].map(t => t.textContent)")
    assert any(word.startswith("<script>window.caught") for word in words)  # long words are cut
    assert browser.value("window.caught") is None


def test_images_are_sorted_by_the_difference_of_two_runs(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "images.html")
    shown = [float(text.replace("−", "-")) for text in browser.value(NUMBERS)]
    assert len(shown) == 6 and shown == sorted(shown, reverse=True)
    choose(browser, "order", "worse")
    assert [float(text.replace("−", "-")) for text in browser.value(NUMBERS)] == sorted(shown)
    choose(browser, "order", "apart")
    sizes = [abs(float(text.replace("−", "-"))) for text in browser.value(NUMBERS)]
    assert sizes == sorted(sizes, reverse=True)
    choose(browser, "run-b", browser.value("document.getElementById('run-a').value"))
    assert set(browser.value(NUMBERS)) == {"+0.0"}
    choose(browser, "order", "name")
    assert browser.value(LISTED) == sorted(toy_results.image_ids(6))


def test_images_are_filtered_by_class(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "images.html")
    classes = "window.ROOMS[0].images.filter(i => i.classes.includes({})).map(i => i.id).sort()"
    for number in range(1, len(toy_results.CLASSES) + 1):
        choose(browser, "class", str(number + 1))
        assert sorted(browser.value(LISTED)) == browser.value(classes.format(number))
    choose(browser, "class", "0")
    assert len(browser.value(LISTED)) == 6


def test_image_truth_maps_and_errors_stand_side_by_side(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "images.html")
    captions = browser.value("[...document.querySelectorAll('.panels figcaption span')].map(s => s.textContent)")
    assert captions[:2] == ["Image", "Truth"] and captions[2].startswith("A · ") and captions[3].startswith("B · ")
    overlays = "[...document.querySelectorAll('.panels .over')].map(i => i.getAttribute('src'))"
    assert not any("errors" in source for source in browser.value(overlays))
    browser.value("document.querySelector('[value=errors]').click()")
    assert [("errors" in source) for source in browser.value(overlays)] == [False, *[True] * (len(captions) - 2)]
    assert LEGEND_END in browser.value(f"{LEGEND}.at(-1)")
    assert browser.value("document.getElementById('rest').disabled")  # an error map has nothing to say of them
    browser.until("[...document.images].every(i => i.complete)")
    assert browser.value("[...document.querySelectorAll('.panels img')].every(i => i.naturalWidth > 0)")
    assert browser.complaints == []


def test_unscored_pixels_are_hatched_and_a_key_brings_them_back(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "images.html")
    panels = browser.value("document.querySelectorAll('.panels figure').length")
    number = "document.querySelectorAll('.panels img.{}').length"
    rest = "[...document.querySelectorAll('.panels .over')].filter(i => i.src.endsWith('-rest.png')).length"
    assert browser.value(number.format("hatch")) == panels - 1  # the image itself has none
    assert browser.value(rest) == 0
    before = browser.value(LEGEND)
    assert before[-1] == LEGEND_END
    browser.value("document.querySelector('[value=map]').focus()")
    browser.press("Tab")
    assert browser.value("document.activeElement.id") == "rest"
    browser.press("Space")
    assert browser.value(number.format("hatch")) == 1  # the truth's
    assert browser.value(rest) == panels - 2
    place = browser.value("document.querySelector('#images [aria-selected=true]').id").removeprefix("image-")
    given = (
        f"window.ROOMS[0].runs.slice(0, 4).map(r => r.cells[{place}]).flatMap(c => [...c.classes, ...c.rest_classes])"
    )
    names = [toy_results.CLASSES[number - 1] for number in sorted(set(browser.value(given)))]
    assert browser.value(LEGEND) == [*names, f"{LEGEND_END} (hatched in the truth)"]
    browser.until("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    browser.press("Space")
    assert browser.value(LEGEND) == before
    assert browser.complaints == []


def test_the_arrow_keys_go_through_the_list(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "images.html")
    names = browser.value(LISTED)
    browser.value("document.getElementById('images').focus()")
    title = "document.getElementById('title').textContent"
    assert browser.value(title) == names[0]
    for key, place in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", 5), ("ArrowDown", 5), ("Home", 0)):
        browser.press(key)
        assert browser.value(title) == names[place]
    active = browser.value("document.getElementById('images').getAttribute('aria-activedescendant')")
    assert browser.value(f"document.getElementById('{active}').getAttribute('aria-selected')") == "true"


def test_the_arrow_keys_need_no_focus_and_leave_controls_theirs(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "images.html")
    names, title = browser.value(LISTED), "document.getElementById('title').textContent"
    assert browser.value("document.activeElement === document.body")
    for key, place in (("ArrowRight", 1), ("ArrowDown", 2), ("ArrowLeft", 1), ("End", 1)):
        browser.press(key)
        assert browser.value(title) == names[place]
    browser.value("document.getElementById('overlay').focus()")
    before = browser.value("document.getElementById('overlay').value")
    browser.press("ArrowLeft")
    assert browser.value("document.getElementById('overlay').value") != before
    assert browser.value(title) == names[1]


def test_an_address_leads_to_what_was_seen_whatever_the_runs_numbers_are(browser: Chromium, pages: Path) -> None:
    seen = (
        "[...document.querySelectorAll('#title, .panels figcaption, #legend li, #images li')].map(e => e.textContent)"
    )
    browser.open(pages / "images.html")
    choose(browser, "run-a", "2")
    choose(browser, "order", "low")
    choose(browser, "class", "2")
    browser.value("document.querySelector('[value=errors]').click()")
    browser.press("ArrowDown")
    address, shown = browser.value("location.hash"), browser.value(seen)
    assert browser.value("window.ROOMS[0].runs[2].id") in address
    # Another report of the same runs, which it numbers in another order, as after a merge.
    turned = "<script>window.ROOMS.forEach((room) => room.runs.push(room.runs.shift()))</script>"
    source, script = (pages / "images.html").read_text("utf-8"), '<script src="browser.js">'
    other = pages / "turned.html"
    other.write_text(source.replace(script, turned + script), "utf-8")
    try:
        for page in (pages / "images.html", other):
            browser.open(pages / "cost.html")
            browser.open(page, address)
            assert sorted(browser.value(seen)) == sorted(shown) and browser.value(seen)[0] == shown[0]
    finally:
        other.unlink()
    browser.open(pages / "cost.html")
    browser.open(pages / "images.html", "#data=gone&a=gone&image=gone&order=gone&class=gone&runs=gone")
    assert len(browser.value(LISTED)) == 6 and browser.complaints == []


def test_the_front_page_begins_with_all_methods_on_all_data_sets(
    browser: Chromium, pages: Path, evidence: Evidence
) -> None:
    browser.open(pages / "index.html")
    table = "document.querySelector('section table')"
    heads = browser.value(f"[...{table}.tHead.rows[0].cells].map(c => c.innerText)")
    assert {"Toys", "Bricks"} < set(heads) and "average" in heads[-1].lower()
    rows = "[...document.querySelectorAll('#overview tbody tr:not([hidden])')].map(r => r.cells[0].textContent)"
    known = {" ".join(filter(None, (entry.method, entry.variant))) for entry in evidence.board.entries}
    assert set(browser.value(rows)) == known
    typed = "i => { i.value = 'Clip'; i.dispatchEvent(new Event('input')); }"
    browser.value(f"({typed})(document.querySelector('[data-filter=overview]'))")
    assert browser.value(rows) == ["Clip"]


def test_everything_that_can_be_done_can_be_reached_by_tab(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "images.html")
    reached = set()
    for _ in range(40):
        browser.press("Tab")
        reached.add(browser.value("document.activeElement.id || document.activeElement.name || 'link'"))
    assert {"room", "class", "run-a", "run-b", "order", "view", "rest", "overlay", "images", "link"} <= reached
