"""The effect where it is planted, where there is none, and how it is forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from workflow_scripts.experiments.traces.effect import (
    Histories,
    effect_row,
    events,
    exposure_counts,
    forgetting,
    matched,
    placebo,
    pooled,
)

TEXTS, WINDOWS, NOISE = 200, 12, 0.05


def planted(effect, kept=1.0, seed=0, domains=("a", "b")):
    """Histories in which each exposure lowers the loss by ``effect``, of which the share ``kept`` stays per window.

    A quarter of the texts is never seen; domains have trends of their own.
    """
    random = np.random.default_rng(seed)
    exposed = random.binomial(1, 0.1, (TEXTS, WINDOWS))
    exposed[random.permutation(TEXTS)[: TEXTS // 4]] = 0
    domain = np.array([domains[k % len(domains)] for k in range(TEXTS)], dtype=object)
    slope = np.array([1.0 + domains.index(name) for name in domain])
    learned = np.zeros((TEXTS, WINDOWS + 1))
    for window in range(WINDOWS):
        learned[:, window + 1] = kept * learned[:, window] + effect * exposed[:, window]
    trend = -slope[:, None] * np.linspace(0, 1, WINDOWS + 1)
    loss = random.normal(3, 0.3, TEXTS)[:, None] + trend - learned + random.normal(0, NOISE, learned.shape)
    return Histories(loss, np.arange(WINDOWS + 1) * 10, exposed, np.full(TEXTS, 30), domain)


@pytest.mark.parametrize("effect", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_a_planted_effect_has_its_size(effect, kept):
    row, _ = effect_row(planted(effect, kept), 4, seed=0)
    assert row["lower"] < row["effect"] < row["upper"] < 0
    assert row["effect"] == pytest.approx(-effect, abs=0.02)
    assert row["effect_per_exposure"] == pytest.approx(-effect, abs=0.02)
    assert row["placebo_lower"] < 0 < row["placebo_upper"]
    assert abs(row["placebo"]) < 0.02
    assert row["placebo_p"] < 0.02


@pytest.mark.slow
def test_the_interval_holds_the_truth_as_often_as_it_says():
    """95 % are promised. Controls serve several texts, which the bootstrap does not know: somewhat fewer are got."""
    inside = 0
    for seed in range(40):
        found = events(planted(0.3, seed=seed), 0)
        mean = pooled(found, found.lag == 0, seed)
        inside += mean.lower <= -0.3 <= mean.upper
    assert inside >= 34


@pytest.mark.slow
def test_where_nothing_is_planted_nothing_is_found():
    outside, far = 0, 0
    for seed in range(20):
        histories = planted(0.0, seed=seed)
        found = events(histories, 0)
        mean = pooled(found, found.lag == 0, seed)
        outside += not mean.lower <= 0 <= mean.upper
        far += placebo(histories, mean.mean, seed, shuffles=40).p < 0.05
    assert outside <= 4
    assert far <= 3


def test_forgetting_has_the_planted_half_life():
    course = dict(forgetting(events(planted(1.0, kept=0.5), 3), 3, seed=0))
    for lag, part in course.items():
        assert part.mean == pytest.approx(-(0.5**lag), abs=0.08)
    assert course[3].texts < course[0].texts


def histories_of(exposed, loss, domain=None, length=None):
    exposed = np.array(exposed)
    count = len(exposed)
    return Histories(
        np.array(loss, float),
        np.arange(exposed.shape[1] + 1),
        exposed,
        np.full(count, 20) if length is None else np.array(length),
        np.array(["a"] * count if domain is None else domain, dtype=object),
    )


def test_one_comparison_by_hand():
    """Text 0 is exposed in the second window; text 3 is too just before and text 4 in it, so neither is a control."""
    histories = histories_of(
        [[0, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 2, 0]],
        [[3, 2, 1, 1], [3, 2.1, 2, 2], [3, 1.9, 1.7, 1.5], [3, 2, 5, 5], [3, 9, 5, 5]],
    )
    found = events(histories, 1)
    rows = list(zip(found.text, found.window, found.lag, found.exposures, found.difference.round(9), strict=True))
    # Controls of text 0: 1 and 2, whose losses change by -0.1 and -0.2, then by -0.1 and -0.4 in two windows.
    assert (0, 1, 0, 1, pytest.approx(-1 + 0.15)) in rows
    assert (0, 1, 1, 1, pytest.approx(-1 + 0.25)) in rows
    assert not any(text == 4 for text, *_ in rows)  # no control begins near its loss


def test_texts_that_are_seen_again_are_not_followed():
    histories = histories_of([[1, 0, 1], [0, 0, 0], [0, 0, 0]], np.ones((3, 4)))
    followed = events(histories, 2)
    assert {(int(w), int(lag)) for w, lag in zip(followed.window, followed.lag, strict=True)} == {
        (0, 0),
        (0, 1),
        (2, 0),
    }


def test_controls_are_alike():
    histories = histories_of(
        np.zeros((7, 1)), np.ones((7, 2)), domain=[*"aaabaaa"], length=[20, 15, 26, 20, 20, 20, 20]
    )
    start = np.array([1.0, 1.0, 1.0, 1.0, 1.24, 1.26, 0.9])
    assert matched(histories, 0, np.arange(1, 7), start).tolist() == [1, 6, 4]


def test_exposures_are_counted_in_their_windows():
    seen = np.array([0, 8, 16, 64])
    counts = exposure_counts({"a": np.array([0, 7, 8, 63, 64, 99])}, ["a", "never"], seen)
    assert counts.tolist() == [[2, 1, 1], [0, 0, 0]]


def test_no_exposures_at_all():
    row, found = effect_row(histories_of(np.zeros((4, 2)), np.ones((4, 3))), 2, seed=0)
    assert row["texts"] == row["events"] == len(found.text) == 0
    assert np.isnan(row["effect"])
    assert row["shuffles"] == 0
