"""What is wrong with a drawn figure for a reader: texts that intersect, colours too pale, y axes without a name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from workflow_scripts.report.drawing.style import GRID, TEXT_CONTRAST, contrast

LINE_CONTRAST = 3.0  # WCAG 2.2, 1.4.11, for what must be told from the background
MOST_OVERLAP = 0.06  # share of the smaller text's box: a box has the height of letters that are not there


def faults(figure: Figure) -> list[str]:
    """Sentences about what is wrong; none for a good figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    hidden = hidden_labels(figure)
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and id(text) not in hidden]
    texts = [text for text in texts if text.get_visible() and text.get_text().strip()]
    return [
        *overlaps(texts, canvas),
        *cut_off(texts, figure, canvas),
        *pale_texts(texts),
        *pale_lines(figure),
        *nameless_axes(figure),
    ]


def hidden_labels(figure: Figure) -> set[int]:
    """Labels of ticks that matplotlib keeps without drawing them: beyond the limits, or of axes that are off."""
    ticks = [(axes, axis, tick) for axes in all_axes(figure) for axis in (axes.xaxis, axes.yaxis)
             for tick in (*axis.majorTicks, *axis.minorTicks)]  # fmt: skip
    drawn = {id(tick) for axes in all_axes(figure) if axes.axison for axis in (axes.xaxis, axes.yaxis)
             for tick in axis._update_ticks()}  # fmt: skip
    return {id(label) for _, _, tick in ticks if id(tick) not in drawn for label in (tick.label1, tick.label2)}


def all_axes(figure: Figure) -> list[Axes]:
    """Axes and the secondary axes in them."""
    return [*figure.axes, *(child for axes in figure.axes for child in axes.child_axes)]


def cut_off(texts: list[Text], figure: Figure, canvas: FigureCanvasAgg) -> Iterator[str]:
    """Texts that the edge of the figure cuts."""
    edge = figure.bbox
    for text in texts:
        box = text.get_window_extent(canvas.get_renderer())
        if box.x0 < edge.x0 - 1 or box.x1 > edge.x1 + 1 or box.y0 < edge.y0 - 1 or box.y1 > edge.y1 + 1:
            yield f"'{text.get_text()}' is cut off"


def overlaps(texts: list[Text], canvas: FigureCanvasAgg) -> Iterator[str]:
    """Pairs of texts whose boxes intersect by more than a little."""
    boxes = [(text, text.get_window_extent(canvas.get_renderer())) for text in texts]
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        smaller = min(a.width * a.height, b.width * b.height)
        if width > 0 and height > 0 and smaller > 0 and width * height > MOST_OVERLAP * smaller:
            yield f"'{one.get_text()}' and '{other.get_text()}' overlap"


def pale_texts(texts: list[Text]) -> Iterator[str]:
    """Texts with too little contrast to white; those on a coloured cell are looked at by their own tests."""
    for text in texts:
        colour = mpl.colors.to_hex(text.get_color())
        on_cell = text.axes is not None and bool(text.axes.images or (text.axes.collections and text.get_bbox_patch()))
        if contrast(colour) < TEXT_CONTRAST - 0.05 and not on_cell:
            yield f"text '{text.get_text()}' has contrast {contrast(colour):.2f} ({colour})"


def pale_lines(figure: Figure) -> Iterator[str]:
    """Colours of lines with too little contrast, each once; grids and faint single batches are background."""
    lines = (line for axes in figure.axes for line in axes.get_lines())
    seen = {mpl.colors.to_hex(line.get_color()) for line in lines if is_line(line)}
    for colour in sorted(seen):
        if contrast(colour) < LINE_CONTRAST - 0.02:
            yield f"a line has contrast {contrast(colour):.2f} ({colour})"


def is_line(line: Line2D) -> bool:
    """Whether a reader must see the line by its colour."""
    return (
        line.get_alpha() is None
        and line.get_color() != GRID
        and line.get_linestyle() != "None"
        and len(line.get_xdata()) > 1
    )


def nameless_axes(figure: Figure) -> Iterator[str]:
    """Axes with numbers on y and no name of what they count; the first of a row of panels may speak for all."""
    for axes in figure.axes:
        if not axes.axison or axes.images or not any(label.get_text() for label in axes.get_yticklabels()):
            continue
        if not any(is_numeric(label.get_text()) for label in axes.get_yticklabels()):
            continue
        row = [other for other in figure.axes if abs(other.get_position().y0 - axes.get_position().y0) < 1e-6]
        if not any(other.get_ylabel() for other in row):
            yield f"panel '{title_of(axes)}' does not say what its y axis is"


def is_numeric(text: str) -> bool:
    """Whether a tick label is a number."""
    return text.replace("−", "-").strip("$").replace("%", "").lstrip("-").replace(".", "", 1).isdecimal()


def title_of(axes: Axes) -> str:
    """A panel's title."""
    return " ".join((axes.get_title("left") or axes.get_title()).split())
