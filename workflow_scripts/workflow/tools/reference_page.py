r"""Write docs/configuration.md from the schema of a run, so that the page cannot be out of date.

Example:
  python -m workflow_scripts.workflow.tools.reference_page --output docs/configuration.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from workflow_scripts import ROOT, cli
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.suite.schema import load_schema

DEFAULTS = ROOT / "config" / "config.yaml"
HEAD = """# Configuration

Generated from `config/schemas/run.schema.yaml` by `python -m workflow_scripts.workflow.tools.reference_page`; do not
edit.

A run is `config/config.yaml` with the keys of another file on top: `snakemake -c2 --configfile config/runs/books.yaml`.
Single keys can be given on the command line: `snakemake -c2 --config steps=last shots=0`. Where and how a run is
computed (cores, partitions) is set in `profiles/` and does not change results.

| key | type | default | meaning |
|---|---|---|---|
"""


def rows(schema: JsonMapping, defaults: JsonMapping, prefix: str = "") -> Iterator[str]:
    """A table row per key, nested keys with dots."""
    for name, entry in schema["properties"].items():
        key = f"{prefix}{name}"
        if entry.get("properties"):
            yield f"| **{key}** | section | | {shown_as_is(entry['description'])} |"
            yield from rows(entry, defaults.get(name, {}), f"{key}.")
        else:
            default = defaults.get(name, "")
            shown = f"`{default}`" if name in defaults else ""
            yield f"| `{key}` | {type_text(entry)} | {shown} | {shown_as_is(entry.get('description', ''))} |"


def shown_as_is(text: str) -> str:
    """Text in which <run> and its like are shown, and not taken for HTML.

    >>> shown_as_is("results/runs/<run>/")
    'results/runs/&lt;run>/'
    """
    return text.replace("<", "&lt;")


def type_text(entry: JsonMapping) -> str:
    """Type of a key, with its allowed values where they are listed."""
    if "enum" in entry:
        return ", ".join(str(value) for value in entry["enum"])
    kind = entry.get("type", "any")
    return kind if isinstance(kind, str) else " or ".join(kind)


def page() -> str:
    """The whole page."""
    return HEAD + "\n".join(rows(load_schema("run"), load_yaml(DEFAULTS))) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and write the page."""
    parser = cli.parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="Markdown file to write")
    parser.parse_args(arguments).output.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
