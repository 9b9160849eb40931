"""The page in headless Chromium: at a phone's width, light and dark, sorted by clicks."""

from __future__ import annotations

import chromium
import page_runs
import pytest

from keras_inception.report import write_report

pytestmark = pytest.mark.skipif(not chromium.PROGRAM, reason="needs Chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module", params=[2, 10, 1000])
def page(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / str(request.param)
    run, source = page_runs.made_run(folder, request.param)
    return write_report(run.path, source), request.param


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_a_page_fits_its_screen_and_says_nothing(browser, page, width, dark):
    path, _ = page
    browser.problems.clear(), browser.requests.clear()
    browser.open(path, width, dark=dark)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") == width
    over = "[...document.querySelectorAll('section, .tile, nav')].filter((one) => "
    over += "one.getBoundingClientRect().right > innerWidth).length"
    assert browser.run(over) == 0
    colors = browser.run(
        "['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name])"
    )
    ink, paper = (sum(map(int, c.strip("rgb()").split(", "))) for c in colors)
    assert (ink > 500 and paper < 150) if dark else (ink < 150 and paper > 500)
    assert browser.problems == []
    assert [r for r in browser.requests if not r.startswith("data:")] == [path.as_uri()]


def test_a_click_on_the_head_of_a_column_sorts(browser, page):
    path, classes = page
    browser.problems.clear()
    browser.open(path, 360)
    heads = "#classes th button"
    cells = "[...document.querySelectorAll('#classes tbody tr')].map((row) => row.cells[{}].{})"
    state = "document.querySelectorAll('#classes th')[{}].getAttribute('aria-sort')"
    (f1,) = [i for i, t in enumerate(_titles(browser, heads)) if t == "F1"]
    if browser.run(state.format(f1)) is None:
        browser.click(heads, f1)
        values = browser.run(cells.format(f1, "dataset.sort"))
        assert browser.run(state.format(f1)) == "descending"
        assert values == sorted(values, key=float, reverse=True)
        browser.click(heads, f1)
    values = browser.run(cells.format(f1, "dataset.sort"))
    assert browser.run(state.format(f1)) == "ascending"
    assert values == sorted(values, key=float) and len(values) == classes
    browser.click(heads, 0)
    assert browser.run(state.format(0)) == "ascending" and browser.run(state.format(f1)) is None
    names = browser.run(cells.format(0, "innerText"))
    plain = [name for name in names if name.startswith("class ")]
    assert plain == sorted(plain, key=lambda name: int(name.split()[1]))
    assert browser.problems == []


def test_a_long_table_can_be_searched_and_scrolls_in_its_box(browser, page):
    path, classes = page
    browser.open(path, 360)
    inputs = browser.run("document.querySelectorAll('#classes input').length")
    assert inputs == (classes > 25)
    if inputs:
        browser.click("#classes input")
        browser.send("Input.insertText", text="CLASS 99")
        shown = (
            "[...document.querySelectorAll('#classes tbody tr')].filter((r) => !r.hidden).length"
        )
        assert browser.run(shown) == 11  # 99 and 990 to 999
        assert browser.run("document.querySelector('#classes .found').innerText") == (
            "11 of 1,000 rows"
        )
    assert browser.run("document.querySelector('#classes').offsetHeight") < 1200


def _titles(browser, selector):
    return browser.run(f"[...document.querySelectorAll('{selector}')].map((one) => one.innerText)")
