"""A hook of MkDocs: the search of the site also works where the site is opened from a disk, without a server.

Browsers neither fetch a file nor start a worker from a file:// address. The theme reads ``search/search_index.js``
there, which is written here, and starts a worker from the address of a script. In its place a worker of the same name
starts from the script's text, which a blob may hold.
"""

from __future__ import annotations

import json
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

CONFIG = '<script id="__config"'  # the theme's own scripts follow it
STARTER = "search/from_disk.js"


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001 - MkDocs names it
    """Load the starter before the theme's scripts on a page that is opened from a disk."""
    name = get_relative_url(STARTER, page.url)
    load = f"""<script>location.protocol === "file:" && document.write('<script src="{name}"><\\/script>')</script>"""
    return output.replace(CONFIG, load + CONFIG, 1)


def on_post_build(config: MkDocsConfig) -> None:
    """Write the index as a script, and the starter with the text of the theme's worker."""
    site = Path(config.site_dir)
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    (site / "search" / "search_index.js").write_text(f"var __index = {index}", encoding="utf-8")
    (worker,) = (site / "assets" / "javascripts" / "workers").glob("search.*.js")
    text = json.dumps(worker.read_text(encoding="utf-8")).replace("</", "<\\/")
    starter = f"""const text = {text};
const address = URL.createObjectURL(new Blob([text], {{type: "text/javascript"}}));
window.Worker = class extends Worker {{ constructor() {{ super(address); }} }};
"""
    (site / STARTER).write_text(starter, encoding="utf-8")
