"""What an exposure does to the loss on a text: event windows against matched controls, pooled, over time, and shuffled.

A *window* lies between two neighbouring checkpoints. A text is *exposed* in it when the rows trained on in between hold
it whole. Its change of loss, from the checkpoint before to the one behind, is compared with that of control texts of
the same domain and nearly the same length and starting loss, which were not exposed in the window nor in the one
before. The difference is the effect; a negative one means that the text was learned beyond what its kind was. Effects
are averaged per text, then over texts, with a bootstrap interval over texts.

*Forgetting* follows the same pairs to later checkpoints, as long as neither side is exposed again. The *placebo* deals
the texts' histories of exposures out anew within each domain, many times; what is left of the effect is nothing but
chance, and its spread says how much chance can do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workflow_scripts.experiments.statistics.resampling import LOWER, UPPER, bootstrap_means
from workflow_scripts.json_values import JsonObject

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
CONTROLS = 5  # nearest in starting loss
FEWEST_CONTROLS = 2
CALIPER = 0.25  # nats per token between the starting losses of a text and a control
LENGTH_SHARE = 0.25  # by which the lengths may differ
SHUFFLES = 100


@dataclass(frozen=True)
class Histories:
    """Losses and exposures of the same texts.

    ``loss`` float64 [texts, checkpoints] in nats per token, ``steps`` int64 [checkpoints] rising, ``exposed`` int64
    [texts, checkpoints - 1] whole exposures in each window, ``length`` int64 and ``domain`` [texts].
    """

    loss: Floats
    steps: Integers
    exposed: Integers
    length: Integers
    domain: NDArray[np.object_]


@dataclass(frozen=True)
class Events:
    """Comparisons: ``text``, ``window``, ``lag`` (0: the window's own end), ``exposures``, ``difference`` in nats."""

    text: Integers
    window: Integers
    lag: Integers
    exposures: Integers
    difference: Floats


def exposure_counts(rows: dict[str, Integers], texts: list[str], seen: Integers) -> Integers:
    """Exposures in each window, int64 [texts, checkpoints - 1], from the rows of each text's exposures.

    ``seen`` int64 [checkpoints]: rows trained on before each checkpoint, rising.
    """
    counts = np.zeros((len(texts), len(seen) - 1), np.int64)
    for number, text in enumerate(texts):
        places = np.searchsorted(seen, rows.get(text, np.empty(0, np.int64)), side="right") - 1
        inside = (places >= 0) & (places < counts.shape[1])
        np.add.at(counts[number], places[inside], 1)
    return counts


def events(histories: Histories, lags: int) -> Events:
    """All comparisons up to ``lags`` windows behind the exposure."""
    found = [event for window in range(histories.exposed.shape[1]) for event in window_events(histories, window, lags)]
    whole = np.array([event[:4] for event in found], np.int64).reshape(len(found), 4)
    difference = np.array([event[4] for event in found], np.float64)
    return Events(whole[:, 0], whole[:, 1], whole[:, 2], whole[:, 3], difference)


def window_events(histories: Histories, window: int, lags: int) -> Iterator[tuple[int, int, int, int, float]]:
    """Comparisons of one window: text, window, lag, exposures, difference."""
    exposed, loss = histories.exposed, histories.loss
    before = exposed[:, max(window - 1, 0) : window].sum(axis=1)
    treated = np.flatnonzero((exposed[:, window] > 0) & (before == 0))
    for lag in range(min(lags + 1, exposed.shape[1] - window)):
        later = exposed[:, window + 1 : window + 1 + lag].sum(axis=1)
        pool = np.flatnonzero((exposed[:, window] + before + later) == 0)
        change = loss[:, window + 1 + lag] - loss[:, window]
        for text in treated[later[treated] == 0]:
            controls = matched(histories, int(text), pool, loss[:, window])
            if len(controls) >= FEWEST_CONTROLS:
                difference = float(change[text] - change[controls].mean())
                yield int(text), window, lag, int(exposed[text, window]), difference


def matched(histories: Histories, text: int, pool: Integers, start: Floats) -> Integers:
    """The controls of ``text`` among ``pool``: same domain, like length, nearest starting loss within the caliper."""
    length = histories.length
    alike = (
        (histories.domain[pool] == histories.domain[text])
        & (np.abs(length[pool] - length[text]) <= LENGTH_SHARE * length[text])
        & (np.abs(start[pool] - start[text]) <= CALIPER)
    )
    near = pool[alike]
    return np.asarray(near[np.argsort(np.abs(start[near] - start[text]), kind="stable")[:CONTROLS]])


@dataclass(frozen=True)
class Pooled:
    """Mean over texts with its 95 % bootstrap interval; NaN for no text, an interval from two texts on."""

    mean: float
    lower: float
    upper: float
    texts: int
    events: int


def pooled(found: Events, chosen: NDArray[np.bool_], seed: int) -> Pooled:
    """Mean effect of the chosen events: of each text's mean."""
    texts, place = np.unique(found.text[chosen], return_inverse=True)
    if not len(texts):
        return Pooled(np.nan, np.nan, np.nan, 0, 0)
    means = np.bincount(place, found.difference[chosen]) / np.bincount(place)
    if len(texts) < 2:
        return Pooled(float(means[0]), np.nan, np.nan, 1, int(chosen.sum()))
    lower, upper = np.quantile(bootstrap_means(means, seed), [LOWER, UPPER])
    return Pooled(float(means.mean()), float(lower), float(upper), len(texts), int(chosen.sum()))


def forgetting(found: Events, lags: int, seed: int) -> Iterator[tuple[int, Pooled]]:
    """Pooled effect at each lag in windows, for texts that are followed so far."""
    for lag in range(lags + 1):
        yield lag, pooled(found, found.lag == lag, seed)


@dataclass(frozen=True)
class Placebo:
    """Effects of shuffled exposures: mean, where 95 % of them lie, and p, the share as far from 0 as the true one."""

    mean: float
    lower: float
    upper: float
    p: float
    shuffles: int


def placebo(histories: Histories, effect: float, seed: int, shuffles: int = SHUFFLES) -> Placebo:
    """Effect at lag 0 when each text has the exposures of another one of its domain; NaN where no shuffle has any."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(shuffles):
        order = np.arange(len(histories.length))
        for domain in sorted(set(histories.domain.tolist())):
            mine = np.flatnonzero(histories.domain == domain)
            order[mine] = random.permutation(mine)
        dealt = Histories(histories.loss, histories.steps, histories.exposed[order], histories.length, histories.domain)
        drawn = events(dealt, 0)
        if len(drawn.text):
            texts, place = np.unique(drawn.text, return_inverse=True)
            found.append(float((np.bincount(place, drawn.difference) / np.bincount(place))[: len(texts)].mean()))
    if not found:
        return Placebo(np.nan, np.nan, np.nan, np.nan, 0)
    lower, upper = np.quantile(found, [LOWER, UPPER])
    farther = sum(abs(value) >= abs(effect) for value in found)
    return Placebo(float(np.mean(found)), float(lower), float(upper), (1 + farther) / (1 + len(found)), len(found))


def effect_row(histories: Histories, lags: int, seed: int) -> tuple[JsonObject, Events]:
    """Numbers of the effect and its placebo, and the events behind them."""
    found = events(histories, lags)
    first = found.lag == 0
    whole = pooled(found, first, seed)
    chance = placebo(histories, whole.mean, seed)
    counts = found.exposures[first]
    each = float(found.difference[first].sum() / counts.sum()) if counts.sum() else float("nan")
    return {
        "effect": whole.mean,
        "lower": whole.lower,
        "upper": whole.upper,
        "texts": whole.texts,
        "events": whole.events,
        "exposures": int(counts.sum()),
        "effect_per_exposure": each,
        "placebo": chance.mean,
        "placebo_lower": chance.lower,
        "placebo_upper": chance.upper,
        "placebo_p": chance.p,
        "shuffles": chance.shuffles,
    }, found


def frame_of_events(found: Events, histories: Histories, texts: list[str]) -> pd.DataFrame:
    """Events with names and steps in place of numbers."""
    return pd.DataFrame(
        {
            "text": np.array(texts, dtype=object)[found.text],
            "step_before": histories.steps[found.window],
            "step_behind": histories.steps[found.window + 1 + found.lag],
            "windows_later": found.lag,
            "exposures": found.exposures,
            "difference": found.difference,
        }
    )
