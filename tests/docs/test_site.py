"""The pages as a site: every link leads somewhere, generated pages are current, and opening it asks no host."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from tests.report.browser import Browser

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def load(root, path):
    spec = importlib.util.spec_from_file_location("generate_reference", root / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generator(root):
    return load(root, "docs/generate_reference.py")


def test_the_page_of_commands_is_current(root, generator):
    assert (root / "docs/commands.md").read_text(encoding="utf-8") == generator.commands_page(), "run: make reference"


def test_the_page_of_targets_is_current(root, generator):
    assert (root / "docs/targets.md").read_text(encoding="utf-8") == generator.targets_page(), "run: make reference"


def test_every_program_of_the_package_is_on_the_page(root, generator):
    mains = {
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in (root / "workflow_scripts").glob("*/**/*.py")
        if "raise SystemExit(cli.run(main))" in path.read_text(encoding="utf-8")
    }
    assert set(generator.programs()) == mains
    assert len(mains) > 60


def test_every_rule_says_what_it_does(root, generator):
    for path in [root / "Snakefile", *sorted((root / "rules").glob("*.smk"))]:
        for name, text, _ in generator.rules_of(path):
            assert text, f"{path.name}: rule {name} has no docstring"


def test_relative_links_of_all_pages_lead_somewhere(root):
    pages = [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").rglob("*.md")]
    dead = [
        f"{page.relative_to(root)}: {target}"
        for page in pages
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if not target.startswith(("http:", "https:")) and not (page.parent / target).exists()
    ]
    assert not dead


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    """The built site; a warning of the builder is an error."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_every_page_is_in_the_site(root, site):
    for page in (root / "docs").rglob("*.md"):
        name = page.relative_to(root / "docs").with_suffix(".html")
        built = site / (name.with_name("index.html") if name.name == "README.html" else name)
        assert built.is_file(), page


@pytest.mark.slow
def test_no_page_loads_anything_from_another_host(site):
    loads = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["'](https?:)?//""")
    for page in site.rglob("*.html"):
        found = [tag[0] for tag in loads.finditer(page.read_text(encoding="utf-8")) if 'rel="canonical"' not in tag[0]]
        assert not found, page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?https?:", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser on this machine")
@pytest.mark.parametrize("name", ["index.html", "tutorial.html", "how-to/my-corpus.html"])
def test_a_browser_opens_it_and_asks_no_host(site, tmp_path, name):
    log = tmp_path / "net.json"
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={log}",
        "--disable-background-networking", "--disable-component-update", "--no-first-run",
        "--virtual-time-budget=2000", "--dump-dom", (site / name).as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
    assert "<h1" in done.stdout
    asked = set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text(encoding="utf-8", errors="replace")))
    foreign = {url for url in asked if not re.search(r"google|gvt1\.com", url)}  # what the browser asks
    assert not foreign


@pytest.mark.slow
def test_names_in_angle_brackets_are_shown_and_not_taken_for_html(site):
    """`<run>` in a page's text becomes an unknown element, which a browser shows as nothing."""
    known = {"run", "suite", "model", "set", "name", "org", "organisation", "stage", "step", "task", "split", "config"}
    for page in site.rglob("*.html"):
        text = re.sub(r"<script.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not known & set(re.findall(r"<(\w+)>", text)), page


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser on this machine")
def test_search_works_from_a_disk(site, tmp_path):
    """Without a server a browser neither fetches the index nor starts the theme's worker (docs/search_from_disk.py)."""
    field = "document.querySelector('[data-md-component=search-query]')"
    found = "[...document.querySelectorAll('.md-search-result__item h1')].map(title => title.innerText)"
    with Browser(tmp_path / "profile") as browser:
        browser.open(site / "how-to" / "my-corpus.html")
        browser.value(f"{field}.focus()")
        browser.value(f"{field}.value = 'unshard', {field}.dispatchEvent(new Event('keyup', {{bubbles: true}}))")
        for _ in range(100):
            if titles := browser.value(found):
                break
            time.sleep(0.1)
    assert "From the original repository" in titles
