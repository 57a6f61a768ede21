"""The page in a real browser: fast, silent, without a network, and usable by mouse, keyboard and screen reader."""

import itertools
import json
import re
import shutil

import matplotlib.image
import pandas as pd
import pytest
from browser import PROGRAM, Browser
from synthetic_run import FIGURES, build_arguments, scores_frame

from workflow_scripts.published.results_table import write_table
from workflow_scripts.report.build import main as build
from workflow_scripts.report.drawing.style import (
    ARM_COLOURS,
    FAINT,
    FAMILY_COLOURS,
    INK,
    contrast,
    readable,
    size_colours,
)
from workflow_scripts.report.figures.all_figures import FIGURES as REGISTRY

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no browser on this machine")]
LONGEST_LOAD = 2.0  # seconds
LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, level AA


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pocket_page(run_on_disk, drawn, root):
    """The page of a run with scores of its own."""
    defects = root / "config" / "suites" / "published" / "pythia-evals.defects.tsv"
    (run_on_disk["tables"] / "published_defects.tsv").write_bytes(defects.read_bytes())
    output = run_on_disk["run_dir"] / "in-browser.html"
    build(build_arguments(run_on_disk, FIGURES, output))
    return output


@pytest.fixture(scope="module")
def published_page(run_on_disk, drawn, tmp_path_factory):
    """The page of a run that shows all published figures and has no models."""
    folder = tmp_path_factory.mktemp("published")
    run = {"run": "published", "suite": "pythia", "models": [], "steps": {}, "shots": [], "tasks": []}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "tables").mkdir()
    shutil.copy(run_on_disk["tables"] / "published.parquet", folder / "tables")
    shutil.copytree(drawn, folder / "figures")
    names = [name for name in REGISTRY if name.startswith("published_")]
    paths = {"run": folder / "run.json", "run_dir": folder, "root": folder}
    build(build_arguments(paths, names, folder / "report.html"))
    return folder / "report.html"


@pytest.fixture(params=["pocket_page", "published_page"])
def page(request):
    return request.getfixturevalue(request.param)


def test_it_opens_fast_and_silently_and_asks_nobody(browser, page):
    assert page.stat().st_size < 6_000_000
    seconds = []
    for _ in range(3):
        seconds.append(browser.open(page))
        assert browser.complaints() == []
        assert browser.requests() == [page.as_uri()]
    assert min(seconds) < LONGEST_LOAD


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_never_scrolls_sideways(browser, page, width):
    browser.open(page, width=width)
    assert browser.value("document.documentElement.scrollWidth") <= width
    wide = browser.value(
        "[...document.querySelectorAll('.scroll')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert wide == 0


CONTRAST = """
(() => {
  const channel = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const parse = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.querySelector("body"), NodeFilter.SHOW_TEXT);
  const worst = {};
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.textContent.trim() || node.closest("svg, script, style, option") || !node.checkVisibility()) continue;
    const pair = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05), name = node.tagName + "." + node.className;
    worst[name] = Math.min(worst[name] ?? 99, ratio);
  }
  return worst;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(browser, pocket_page, scheme):
    browser.open(pocket_page, scheme=scheme)
    contrast = browser.value(CONTRAST)
    assert len(contrast) > 10
    assert {name: ratio for name, ratio in contrast.items() if ratio < LEAST_CONTRAST} == {}
    paper = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 200) == (scheme == "dark")


def lines_of(browser):
    return browser.value("document.querySelectorAll('#explore-chart polyline').length")


def test_clicks_change_the_picture(browser, pocket_page):
    browser.open(pocket_page)
    assert lines_of(browser) == 6
    before = browser.value("document.getElementById('explore-chart').innerHTML")
    browser.click("#explore-models input[value='pocket-1m']")
    assert lines_of(browser) == 5
    assert browser.value("document.querySelectorAll('#explore-rows tr').length") == 5
    browser.click("#explore-none")
    assert lines_of(browser) == 0
    browser.click("#explore-all")
    assert browser.value("document.getElementById('explore-chart').innerHTML") == before


def test_pointing_at_a_dot_shows_its_record(browser, pocket_page):
    browser.open(pocket_page)
    browser.hover("#explore-chart circle:last-of-type")
    shown = browser.value("document.getElementById('explore-point').textContent")
    assert "pocket-1m-deduped, step 600" in shown
    assert "n = 250. From scores/pocket-1m-deduped/step600/0-shot.json (sha256 000000000000)" in shown


def test_the_chart_has_axes_with_names_bands_and_a_last_tick(browser, pocket_page):
    browser.open(pocket_page)
    texts = browser.value("[...document.querySelectorAll('#explore-chart text')].map(text => text.textContent)")
    assert {"accuracy", "training tokens", "training step", "614k", "600", "chance"} <= set(texts)
    assert browser.value("document.querySelectorAll('#explore-chart .band').length") == 6


def test_the_address_holds_what_was_chosen(browser, pocket_page):
    """The state comes back from the address alone, in a page that is opened anew."""
    browser.open(pocket_page)
    browser.value("document.getElementById('explore-task').focus()")
    browser.press("ArrowDown")
    browser.click("#explore-models input[value='pocket-1m']")
    browser.value("document.getElementById('explore-step').focus()")
    browser.press("ArrowLeft")
    address, before = browser.value("location.href"), browser.value("document.getElementById('explore').innerHTML")
    assert "#explore?" in address
    assert "step=512" in address
    browser.open(pocket_page)
    browser.value(f"location.replace({json.dumps(address)}), location.reload()")
    browser.events.clear()
    browser.wait_for("Page.loadEventFired")
    assert browser.value("document.getElementById('explore').innerHTML") == before


def go_to(browser, address):
    browser.value(f"location.hash = {json.dumps(address)}")
    browser.value("new Promise(done => setTimeout(done, 50))")
    return browser.value(
        "[...document.querySelectorAll('#explore select, #explore-step-name')].map(e => e.value)"
    ), browser.value("document.querySelectorAll('#explore-models input:checked').length")


def test_an_address_in_an_open_page_is_followed_and_nonsense_shows_the_start(browser, pocket_page):
    browser.open(pocket_page)
    start, all_models = go_to(browser, "#explore?source=nothing&task=none&shots=many&step=last&models=who")
    assert start == ["this run", "Number agreement", "zero-shot", "step 600"]
    assert all_models == 6
    wanted = "#explore?source=this+run&task=Facts&shots=five-shot&step=64&models=pocket-1m"
    assert go_to(browser, wanted) == (["this run", "Facts", "five-shot", "step 64"], 1)
    assert go_to(browser, "#explore?") == (start, 6)
    assert go_to(browser, "#explore?models=")[1] == 0


@pytest.fixture
def open_with(browser, run_on_disk, drawn, tmp_path):
    """Open the page of the run with other scores."""

    def open_it(scores):
        shutil.copytree(run_on_disk["tables"], tmp_path / "tables")
        write_table(scores, tmp_path / "tables/scores.parquet")
        shutil.copy(run_on_disk["run"], tmp_path)
        paths = {**run_on_disk, "run": tmp_path / "run.json", "root": tmp_path, "training": tmp_path}
        build(build_arguments(paths, FIGURES, tmp_path / "report.html"))
        browser.open(tmp_path / "report.html")

    return open_it


def test_lines_of_one_size_bear_their_names(browser, open_with):
    scores = scores_frame().astype({"model": str})
    slow = scores[scores["model"] == "pocket-1m"].assign(model="pocket-1m-with-a-slow-start", version="variant")
    open_with(pd.concat([scores, slow]))
    texts = browser.value("[...document.querySelectorAll('#explore-chart text')].map(text => text.textContent)")
    assert {"pocket-1m", "pocket-1m-with-a-slow-start", "1m d", "90k"} <= set(texts)
    assert browser.value(
        "[...document.querySelectorAll('#explore-chart text')].every(text => text.getBoundingClientRect().right"
        " <= document.getElementById('explore-chart').getBoundingClientRect().right)"
    )


def test_a_run_of_step_0_alone_has_a_chart(browser, open_with):
    scores = scores_frame()
    open_with(scores[scores["step"] == 0])
    assert "NaN" not in browser.value("document.getElementById('explore-chart').outerHTML")


@pytest.mark.parametrize("width", [320, 400])
def test_the_chart_fits_a_phone_and_can_be_read_there(browser, pocket_page, width):
    browser.open(pocket_page, width=width)
    box = "document.getElementById('explore-chart').getBoundingClientRect()"
    assert browser.value(f"{box}.right") <= width
    size = "getComputedStyle(document.querySelector('#explore-chart text')).fontSize"
    scale = browser.value(f"{box}.width / document.getElementById('explore-chart').viewBox.baseVal.width")
    assert float(browser.value(size).removesuffix("px")) * scale >= 10


def test_the_chart_is_dark_in_the_dark_scheme_and_its_lines_can_be_seen(browser, pocket_page):
    browser.open(pocket_page, scheme="dark")
    paper = browser.value("getComputedStyle(document.querySelector('.chart')).backgroundColor")
    channels = [int(part) for part in paper[4:-1].split(",")]
    assert sum(channels) < 200
    strokes = "[...document.querySelectorAll('#explore-chart polyline')].map(line => line.getAttribute('stroke'))"
    behind = contrast("#{:02x}{:02x}{:02x}".format(*channels))  # both to white, so their quotient is to each other
    assert all(behind / contrast(colour) >= 3 for colour in browser.value(strokes))


AS_SHOWN = """
((colours) => {
  const image = document.querySelector('.picture img'), style = getComputedStyle(image);
  const context = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d');
  return colours.map((colour) => {
    context.globalCompositeOperation = 'source-over';
    context.filter = 'none';
    context.fillStyle = getComputedStyle(image.parentElement).backgroundColor;
    context.fillRect(0, 0, 1, 1);
    context.globalCompositeOperation = style.mixBlendMode === 'normal' ? 'source-over' : style.mixBlendMode;
    context.filter = style.filter;
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const channels = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    return '#' + channels.map((channel) => channel.toString(16).padStart(2, '0')).join('');
  });
})
"""


def test_figures_are_dark_in_the_dark_scheme_and_their_lines_can_be_seen(browser, pocket_page, tmp_path):
    sizes = ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]
    lines = [*size_colours(sizes).values(), *ARM_COLOURS.values(), *FAMILY_COLOURS.values()]
    colours = ["#ffffff", INK, FAINT, *map(readable, size_colours(sizes).values()), *lines]
    browser.open(pocket_page)
    assert browser.value(f"{AS_SHOWN}({json.dumps(colours)})") == [colour.lower() for colour in colours]
    browser.open(pocket_page, scheme="dark")
    paper, *shown = (contrast(colour) for colour in browser.value(f"{AS_SHOWN}({json.dumps(colours)})"))
    ratios = {colour: paper / ratio for colour, ratio in zip(colours[1:], shown, strict=True)}
    assert {colour: ratio for colour, ratio in ratios.items() if ratio < 3} == {}
    assert {colour: ratios[colour] for colour in colours[1 : -len(lines)] if ratios[colour] < LEAST_CONTRAST} == {}
    browser.place(".picture")
    browser.screenshot(tmp_path / "dark.png")
    assert matplotlib.image.imread(tmp_path / "dark.png")[..., :3].mean() < 0.25  # 0 is black, 1 is white paper


def test_without_scripts_the_page_says_where_the_numbers_are(pocket_page):
    text = pocket_page.read_text()
    (told,) = re.findall(r"<noscript>(.+?)</noscript>", text, re.DOTALL)
    assert "tables/scores.csv" in told


@pytest.mark.parametrize("width", [1400])
def test_tables_of_six_models_fit_a_wide_page(browser, pocket_page, width):
    browser.open(pocket_page, width=width)
    cut = browser.value(
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
        ".map(e => e.getAttribute('aria-label'))"
    )
    assert cut == []


def focus(browser):
    return browser.value("document.activeElement.id || document.activeElement.getAttribute('href')")


def test_the_keyboard_reaches_and_moves_everything(browser, published_page):
    browser.open(published_page)
    browser.press("Tab")
    assert focus(browser) == "#overview"  # skip link
    outlined = browser.value(
        "(() => { const s = getComputedStyle(document.activeElement); return parseFloat(s.outlineWidth) })()"
    )
    assert outlined > 0
    browser.value("document.getElementById('explore-source').focus()")
    order = []
    for _ in range(3):
        order.append(focus(browser))
        browser.press("Tab")
    # One source: its select is disabled where there is nothing to choose, so the order starts at the task.
    wanted = ["explore-task", "explore-shots", "explore-step"]
    browser.value("document.getElementById('explore-task').focus()")
    order = []
    for _ in wanted:
        order.append(focus(browser))
        browser.press("Tab")
    assert order == wanted
    title = "document.querySelector('#explore-chart title').textContent"
    assert browser.value(title).startswith("LAMBADA, zero-shot, published")
    browser.value("document.getElementById('explore-task').focus()")
    browser.press("ArrowDown")
    assert browser.value(title).startswith("PIQA, zero-shot, published")
    browser.press("Tab")
    browser.press("ArrowDown")
    assert browser.value(title).startswith("PIQA, five-shot, published")
    browser.press("Tab")
    assert browser.value("document.getElementById('explore-step-name').textContent") == "step 143000"
    browser.press("ArrowLeft")
    assert browser.value("document.getElementById('explore-step-name').textContent") == "step 133000"
    browser.press("Tab")
    assert browser.value("document.activeElement.value") == "pythia-70m"
    browser.press("Space")
    assert lines_of(browser) == 15


def test_a_screen_reader_meets_names_and_structure(browser, page):
    browser.open(page)
    nodes = browser.accessible()
    roles = {node["role"] for node in nodes}
    assert {"banner", "navigation", "main", "contentinfo", "heading", "table", "slider", "checkbox"} <= roles
    named = ("image", "combobox", "slider", "checkbox", "button", "link", "region", "navigation")
    unnamed = [node for node in nodes if node["role"] in named and not node["name"].strip()]
    assert unnamed == []
    levels = [int(node["level"]) for node in nodes if node["role"] == "heading"]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert levels.count(1) == 1
    pictures = [node["name"] for node in nodes if node["role"] == "image"]
    assert len(pictures) > 3
    assert any(node.get("live") == "polite" for node in nodes)


def test_links_and_summaries_work(browser, pocket_page):
    browser.open(pocket_page)
    browser.click("nav a[href='#provenance']")
    assert browser.value("location.hash") == "#provenance"
    browser.click("details summary")
    assert browser.value("document.querySelector('details').open") is True


def test_a_screenshot_is_no_blank_page(browser, pocket_page, tmp_path):
    browser.open(pocket_page, width=390)
    browser.screenshot(tmp_path / "phone.png")
    picture = (tmp_path / "phone.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
