"""A figure is data first: exactly what is plotted goes to ``<stem>.csv``, beside ``.svg``, ``.pdf`` and ``.png``.

``<stem>.record.json`` holds inputs, parameters, caption and the sha256 of each file. Equal data give equal bytes.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from workflow_scripts.errors import DataError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.report.drawing.style import METADATA
from workflow_scripts.storage.atomic import write_bytes
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import write_record

FORMATS = ("svg", "pdf", "png")


@dataclass(frozen=True)
class Drawing:
    """A drawn figure with the table it shows.

    ``caption`` names task, metric, items and source; ``alternative`` says in words what the picture shows.
    ``markdown``, where there is one, goes to ``<stem>.md``.
    """

    figure: Figure
    data: pd.DataFrame
    title: str
    caption: str
    alternative: str
    markdown: str = ""


def save_drawing(drawing: Drawing, stem: Path, inputs: Mapping[str, Path], parameters: JsonMapping) -> None:
    """Write the files of a figure beside ``stem``, its record last; raises DataError when there is nothing to show."""
    if drawing.data.empty:
        raise DataError(f"{stem.name}: nothing to plot; the tables contain no such scores")
    write_bytes(with_suffix(stem, "csv"), drawing.data.to_csv(index=False, lineterminator="\n").encode("utf-8"))
    if drawing.markdown:
        write_bytes(with_suffix(stem, "md"), drawing.markdown.encode("utf-8"))
    for kind in FORMATS:
        write_bytes(with_suffix(stem, kind), rendered(drawing.figure, kind))
    described = {"title": drawing.title, "caption": drawing.caption, "alternative": drawing.alternative}
    hashes = {kind: sha256_file(with_suffix(stem, kind)) for kind in ("csv", *FORMATS)}
    write_record(stem, inputs, {**parameters, **described, "sha256": hashes})


def rendered(figure: Figure, kind: str) -> bytes:
    """Bytes of the figure in one format; text in an SVG names fonts of the same widths for machines without DejaVu."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=METADATA[kind])
    content = buffer.getvalue()
    return content.replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif") if kind == "svg" else content


def with_suffix(stem: Path, kind: str) -> Path:
    """``<stem>.<kind>``; a dot inside the stem stays."""
    return stem.with_name(f"{stem.name}.{kind}")
