"""Axes that a training run needs: tokens on a log scale with a marked place for step 0, steps above, labels at ends.

A logarithm has no zero, and Pythia's checkpoint at step 0 matters. It is drawn left of the first trained checkpoint,
behind two slanted strokes that say the axis is broken there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from workflow_scripts.report.drawing.style import FAINT, INK, readable

ZERO_GAP = 0.55  # decades between the first trained checkpoint and the place of step 0
SHORTEST_AXIS = 0.5  # decades; an axis for a single checkpoint needs some length
WIDE = 2.4  # inches of a panel with room for its title and "training step" on one line
LABEL_ROOM = 0.14  # share of the x range kept free at the right for labels
PREFIXES = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
MIN_LABEL_SHARE = 0.13  # labels nearer than this share of the axis are thinned out


@dataclass(frozen=True)
class TokenScale:
    """Places of token counts on the x axis, in decades; ``first`` and ``last`` are the extreme counts above 0."""

    first: float
    last: float
    tokens_per_step: float
    has_zero: bool

    @classmethod
    def of(cls, tokens: npt.ArrayLike, steps: npt.ArrayLike) -> Self:
        """Scale for checkpoints at ``tokens`` (predicted tokens seen) and the same checkpoints' ``steps``."""
        seen, at = np.asarray(tokens, dtype=float), np.asarray(steps, dtype=float)
        above = seen > 0
        if not above.any():
            return cls(1.0, 10.0, 1.0, has_zero=True)
        per_step = float(np.median(seen[above] / at[above]))
        return cls(float(seen[above].min()), float(seen.max()), per_step, has_zero=bool((seen == 0).any()))

    @property
    def zero(self) -> float:
        """Place of step 0."""
        return float(np.log10(self.first)) - ZERO_GAP

    def place(self, tokens: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Places on the axis."""
        seen = np.asarray(tokens, dtype=float)
        return np.where(seen > 0, np.log10(np.maximum(seen, 1e-300)), self.zero)

    @property
    def span(self) -> float:
        """Decades from the left end of the axis to the last checkpoint, at least SHORTEST_AXIS."""
        left = self.zero if self.has_zero else float(np.log10(self.first))
        return max(float(np.log10(self.last)) - left, SHORTEST_AXIS)

    def token_ticks(self) -> dict[float, str]:
        """Labelled token counts: 0, the decades, the first and last checkpoint."""
        decades = 10.0 ** np.arange(np.ceil(np.log10(self.first)), np.floor(np.log10(self.last)) + 1)
        ticks = thin_ticks([self.first, *decades, self.last], MIN_LABEL_SHARE * self.span)
        zero = {self.zero: "0"} if self.has_zero else {}
        return zero | {float(np.log10(tick)): amount_label(tick) for tick in ticks}

    def step_ticks(self) -> dict[float, str]:
        """Labelled steps at their places."""
        last = round(self.last / self.tokens_per_step)
        decades = [10**power for power in range(12) if self.first <= 10**power * self.tokens_per_step < self.last]
        ticks = thin_ticks([*decades, last], MIN_LABEL_SHARE * self.span)
        zero = {self.zero: "0"} if self.has_zero else {}
        return zero | {float(np.log10(tick * self.tokens_per_step)): amount_label(tick) for tick in ticks}


def thin_ticks(ticks: Sequence[float], distance: float) -> list[float]:
    """Ticks at least ``distance`` decades apart; the last always stays, and the first unless it is too near the last.

    >>> thin_ticks([2e6, 1e7, 1e8, 2.5e8, 3e8], 0.3)
    [2000000.0, 10000000.0, 100000000.0, 300000000.0]
    """
    first, *between = sorted(set(ticks))
    if not between:
        return [first]
    last = between.pop()
    kept = [first] if np.log10(last / first) >= distance else []
    for tick in between if kept else []:
        if min(np.log10(tick / kept[-1]), np.log10(last / tick)) >= distance:
            kept.append(tick)
    return [*kept, last]


def amount_label(amount: float) -> str:
    """Amount in a few characters.

    >>> [amount_label(a) for a in (2097152, 299892736000, 512, 143000, 38400)]
    ['2M', '300B', '512', '143k', '38k']
    """
    for scale, prefix in PREFIXES:
        if amount >= scale:
            shown = amount / scale
            return (
                f"{shown:.1f}{prefix}" if shown < 1.9 and abs(shown - round(shown)) > 0.05 else f"{shown:.0f}{prefix}"
            )
    return f"{amount:.0f}"


def set_token_axis(ax: Axes, scale: TokenScale, label: str = "training tokens") -> None:
    """Give ``ax`` the token axis below and the step axis above."""
    right = float(np.log10(scale.last))
    ax.set_xlim(right - 1.03 * scale.span, right + LABEL_ROOM * scale.span)
    ticks = scale.token_ticks()
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.set_xlabel(label)
    above = ax.secondary_xaxis("top")
    steps = scale.step_ticks()
    above.set_xticks(list(steps), list(steps.values()))
    above.tick_params(length=2, labelsize=6, labelcolor=FAINT, pad=1)
    above.spines["top"].set_visible(False)
    words = "training step" if ax.get_window_extent().width / ax.figure.dpi > WIDE else "step"
    above.set_xlabel(words, loc="right", fontsize=6, color=FAINT, labelpad=1.5)
    if scale.has_zero:
        mark_break(ax, scale.zero + ZERO_GAP / 2)


def mark_break(ax: Axes, place: float) -> None:
    """Two slanted strokes across the axis at ``place``."""
    strokes: dict[str, Any] = {"marker": [(-1, -2), (1, 2)], "markersize": 6, "linestyle": "none", "color": INK}
    strokes |= {"markeredgewidth": 0.8, "zorder": 5, "clip_on": False, "transform": ax.get_xaxis_transform()}
    for shift in (-0.05, 0.05):
        ax.plot([place + shift], [0], **strokes)


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places as near as possible to ``wanted`` (least squares) and at least ``gap`` apart, in the same order.

    Neighbours that are too near are merged into blocks that move together (pool adjacent violators).

    >>> spread([0.0, 0.05, 1.0], gap=0.1)
    [-0.025, 0.075, 1.0]
    """
    order = np.argsort(np.asarray(wanted, dtype=float), kind="stable")
    blocks: list[tuple[float, int]] = []  # mean of the wanted places less their offsets, members
    for rank, index in enumerate(order):
        mean, count = float(wanted[int(index)]) - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, members = blocks.pop()
            mean, count = (before * members + mean * count) / (members + count), members + count
        blocks.append((mean, count))
    placed = [mean for mean, count in blocks for _ in range(count)]
    result = [0.0] * len(order)
    for rank, index in enumerate(order):
        result[int(index)] = round(placed[rank] + rank * gap, 12)
    return result


def label_line_ends(
    ax: Axes, x: float, ends: Mapping[str, float], colours: Mapping[str, str], size: float = 6.5
) -> None:
    """Write each name beside the end of its line, moved apart so that no two overlap, with a hair line to the end.

    Call when the limits of ``ax`` are final: distances are computed from them.
    """
    low, high = ax.get_ylim()
    height_points = ax.get_window_extent().height * 72 / ax.figure.dpi
    gap = (high - low) * size * 1.12 / height_points
    places = spread(list(ends.values()), gap)
    shift = max(0.0, low + gap / 2 - min(places, default=low)) - max(0.0, max(places, default=high) - high)
    left, right = ax.get_xlim()
    text_at = x + 0.028 * (right - left)
    for (name, end), place in zip(ends.items(), places, strict=True):
        ax.plot([x, text_at], [end, place + shift], color=colours[name], linewidth=0.5, zorder=1, clip_on=False)
        colour = readable(colours[name])
        ax.text(text_at + 0.006 * (right - left), place + shift, name, color=colour, fontsize=size, va="center")
