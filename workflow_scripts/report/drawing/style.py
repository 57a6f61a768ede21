"""The look of every figure: sizes, fonts, colours. Knows matplotlib and nothing about scores.

Model size is an ordered ramp (plasma cut at 0.63, small and light to large and dark: monotone in luminance, so it
prints in grey and reads for all kinds of colour vision). Its light end has a contrast of 3 to white, as lines need, and
names are written in a darker shade with 4.5, as small text needs (WCAG 2.2, 1.4.3 and 1.4.11). Families and arms use
Okabe-Ito colours. Every file is byte-identical on repetition: fixed hash salt for SVG, no dates, no version of a
library inside.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.typing import RcKeyType

from workflow_scripts.errors import DataError

FULL_WIDTH, COLUMN_WIDTH = 7.0, 3.3  # inches: a text width and a column
INK, FAINT, GRID = "#1f2328", "#6a737d", "#e4e7eb"
LIGHT_END = 0.63  # of plasma; lighter is too pale for a line on white
DARK_PAGE = (0.5, 0.98)  # of plasma; on a dark page the largest is the brightest
TEXT_CONTRAST = 4.5
MULTIPLIERS = {"k": 1e3, "m": 1e6, "b": 1e9}
# Okabe and Ito's palette, chosen to be told apart with any colour vision (jfly.uni-koeln.de/color, 2002); its light
# blue is darkened to a contrast of 3.
FAMILY_COLOURS = {"pythia": "#0072B2", "pythia-deduped": "#3A97D3", "opt": "#D55E00", "bloom": "#009E73"}
FAMILY_MARKERS = {"pythia": "o", "pythia-deduped": "s", "opt": "^", "bloom": "D"}
ARM_COLOURS = {"baseline": "#444444", "intervention": "#D55E00", "intervention-long": "#0072B2"}
REFERENCE_LINE: dict[str, Any] = {"color": FAINT, "linewidth": 0.8, "linestyle": (0, (1, 2)), "zorder": 1}  # chance
DATA_STYLES: dict[str, Literal["-"] | tuple[float, tuple[float, ...]]] = {"standard": "-", "deduped": (0, (4, 1.6))}
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
SETTINGS: dict[RcKeyType, object] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so nothing depends on the machine
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": INK,
    "lines.linewidth": 1.3,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 7,
    "figure.dpi": 100,
    "savefig.dpi": 180,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "path.simplify": False,
}


@contextmanager
def house_style(name: str) -> Iterator[None]:
    """Draw in the house style; ``name`` makes the identifiers inside an SVG unique to the figure and stable."""
    mpl.use("agg")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports every glyph it keeps in a PDF
    with mpl.rc_context({**SETTINGS, "svg.hashsalt": name}):
        yield


def parameters_of_size(size: str) -> float:
    """Parameters that a size name stands for.

    >>> parameters_of_size("70m"), parameters_of_size("1.4b"), parameters_of_size("280k")
    (70000000.0, 1400000000.0, 280000.0)
    """
    number, unit = size[:-1], size[-1:]
    if unit not in MULTIPLIERS or not number.replace(".", "", 1).isdecimal():
        raise DataError(f"model size '{size}' is not a number followed by k, m or b, such as 70m or 1.4b")
    return float(number) * MULTIPLIERS[unit]


def ordered_sizes(sizes: Sequence[str]) -> list[str]:
    """Sizes without repeats, small to large."""
    return sorted(set(sizes), key=parameters_of_size)


def size_colours(sizes: Sequence[str], *, is_dark: bool = False) -> dict[str, str]:
    """Colour of each size: light for the smallest, dark for the largest; on a dark page dim to bright.

    >>> size_colours(["1m", "90k"])
    {'90k': '#e76e5b', '1m': '#0d0887'}
    >>> size_colours([])
    {}
    """
    ordered = ordered_sizes(sizes)
    ends = DARK_PAGE if is_dark else (LIGHT_END, 0.0)
    places = np.linspace(*ends, len(ordered)) if len(ordered) > 1 else [sum(ends) / 2] * len(ordered)
    ramp = mpl.colormaps["plasma"]
    return {size: mpl.colors.to_hex(ramp(place)) for size, place in zip(ordered, places, strict=True)}


def contrast(colour: str) -> float:
    """Contrast of ``colour`` to white, 1 to 21 (WCAG 2.2, relative luminance of sRGB).

    >>> round(contrast("#000000"), 3), round(contrast("#767676"), 2)
    (21.0, 4.54)
    """
    parts = np.asarray(mpl.colors.to_rgb(colour))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(1.05 / (linear @ np.array([0.2126, 0.7152, 0.0722]) + 0.05))


def readable(colour: str) -> str:
    """``colour``, darkened as far as small text on white needs.

    >>> readable("#0d0887"), readable("#e76e5b")
    ('#0d0887', '#b95849')
    """
    (red, green, blue), shade = mpl.colors.to_rgb(colour), colour
    for share in np.arange(1.0, 0.0, -0.04):
        shade = mpl.colors.to_hex((red * share, green * share, blue * share))
        if contrast(shade) >= TEXT_CONTRAST:
            break
    return shade
