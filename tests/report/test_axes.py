"""The token axis with its place for step 0, tick labels, and labels at line ends."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from workflow_scripts.errors import DataError
from workflow_scripts.report.drawing.axes import TokenScale, label_line_ends, set_token_axis, spread, thin_ticks
from workflow_scripts.report.drawing.style import house_style, ordered_sizes, parameters_of_size, size_colours

STEPS = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 3000, *range(13000, 143001, 10000)]
TOKENS = [step * 2_097_152 for step in STEPS]


def luminance(colour):
    """Relative luminance of the sRGB standard."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_scale_of_the_real_suite():
    scale = TokenScale.of(TOKENS, STEPS)
    assert scale.tokens_per_step == 2_097_152
    places = scale.place(TOKENS)
    assert np.all(np.diff(places) > 0)
    assert places[1] - places[0] == pytest.approx(0.55)
    assert scale.place([1e9])[0] == pytest.approx(9)
    labels = scale.token_ticks().values()
    assert {"0", "2M", "100M", "1B", "10B", "300B"} <= set(labels)
    assert {"0", "1", "10", "100", "1k", "10k", "143k"} <= set(scale.step_ticks().values())


def test_scale_without_step_0_or_with_step_0_alone():
    assert not TokenScale.of([2048, 4096], [1, 2]).has_zero
    assert "0" not in TokenScale.of([2048, 4096], [1, 2]).token_ticks().values()
    assert TokenScale.of([0], [0]).place([0])[0] < 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.01, 0.2))
@settings(deadline=None, max_examples=100)
def test_spread_keeps_order_and_distance(wanted, gap):
    placed = spread(wanted, gap)
    ordered = sorted(placed)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(ordered))
    for i, first in enumerate(wanted):
        for j, second in enumerate(wanted):
            assert first >= second or placed[i] < placed[j]
    assert sum(placed) == pytest.approx(sum(wanted))


def test_spread_leaves_alone_what_is_apart():
    assert spread([0.9, 0.1, 0.5], 0.1) == [0.9, 0.1, 0.5]


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=15, unique=True))
@settings(deadline=None, max_examples=60)
def test_thinned_ticks_keep_the_ends_and_their_distance(ticks):
    kept = thin_ticks(ticks, 0.3)
    assert kept[-1] == max(ticks)
    if np.log10(max(ticks) / min(ticks)) >= 0.3:
        assert kept[0] == min(ticks)
    assert all(np.log10(b / a) >= 0.3 - 1e-9 for a, b in pairwise(kept))


def test_axis_of_a_single_checkpoint():
    scale = TokenScale.of([2048], [1])
    assert scale.token_ticks().keys() == scale.step_ticks().keys()
    assert list(scale.token_ticks().values()) == ["2k"]


def test_labels_at_line_ends_do_not_overlap():
    with house_style("test"):
        figure, ax = plt.subplots(figsize=(3, 2))
        ax.set_ylim(0, 1)
        set_token_axis(ax, TokenScale.of(TOKENS, STEPS))
        names = ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]
        ends = {name: 0.5 + 0.001 * i for i, name in enumerate(names)}
        label_line_ends(ax, 11.47, ends, size_colours(names))
        figure.canvas.draw()
        boxes = [t.get_window_extent() for t in ax.findobj(Text) if t.get_text() in names]
        plt.close(figure)
    assert len(boxes) == 8
    boxes.sort(key=lambda box: box.y0)
    assert all(below.y0 + below.height * 0.85 <= above.y0 for below, above in pairwise(boxes))
    assert all(box.y0 >= 0 for box in boxes)


def test_size_ramp_is_monotone_in_luminance_and_readable():
    sizes = ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]
    ramp = [luminance(colour) for colour in size_colours(sizes[::-1]).values()]
    assert ramp == sorted(ramp, reverse=True)
    assert min(a - b for a, b in pairwise(ramp)) > 0.01
    assert ordered_sizes(sizes[::-1]) == sizes


@pytest.mark.parametrize("size", ["", "70", "m", "1.2.3b", "seventy"])
def test_sizes_that_are_none(size):
    with pytest.raises(DataError, match="not a number followed by k, m or b"):
        parameters_of_size(size)
