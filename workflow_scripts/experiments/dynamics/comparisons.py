"""Comparisons between checkpoints from what each of them left: distances from sketches, CKA from fingerprints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workflow_scripts.errors import DataError
from workflow_scripts.experiments.dynamics.measured_files import Row, Sketches, read_arrays
from workflow_scripts.experiments.dynamics.similarity import cka
from workflow_scripts.experiments.dynamics.sketches import cosine, distance, relative_error, squared_distance
from workflow_scripts.experiments.dynamics.weight_stream import place_of
from workflow_scripts.json_values import JsonObject

WHOLE = "all"  # part that stands for all tensors together
REFERENCES = ("first", "previous", "last")
Prints = Mapping[str, NDArray[np.float32]]


def references(steps: Sequence[int], step: int) -> dict[str, int]:
    """Steps that ``step`` is compared with, by what they are to it; the first has no previous one.

    >>> references([0, 16, 600], 16), references([0, 16, 600], 0)
    ({'first': 0, 'previous': 0, 'last': 600}, {'first': 0, 'last': 600})
    """
    place = list(steps).index(step)
    previous = {"previous": steps[place - 1]} if place else {}
    return {"first": steps[0], **previous, "last": steps[-1]}


def distances(files: Mapping[int, Path], layers: Sequence[int], wanted: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Step and row of every distance and cosine; ``files`` are the sketches of a model's steps, ascending.

    Per tensor in the chosen layers and outside of them, and for all tensors of the model together. No more than four
    checkpoints' sketches are held.
    """
    steps = list(files)
    ends = {step: Sketches.read(files[step]) for step in {steps[0], steps[-1]}}
    previous = ends[steps[0]]
    for step in steps:
        mine = ends.get(step) or Sketches.read(files[step])
        for name, other in references(steps, step).items():
            reference = previous if name == "previous" else ends[other]
            yield from ((step, row) for row in compared(mine, reference, name, layers, wanted))
        previous = mine


def compared(mine: Sketches, other: Sketches, name: str, layers: Sequence[int], wanted: Sequence[str]) -> Iterator[Row]:
    """Rows of two checkpoints; ``name`` says what ``other`` is."""
    if mine.places != other.places or dict(mine.sizes) != dict(other.sizes):
        raise DataError(f"sketches of other tensors or of {mine.places} and {other.places} places; make them again")
    squares, variance = 0.0, 0.0
    for tensor, sketch in mine.tensors.items():
        squared = squared_distance(sketch, other.tensors[tensor])
        error = squared * relative_error(mine.places, mine.sizes[tensor])
        squares, variance = squares + squared, variance + error**2
        layer, part = place_of(tensor)
        if layer is None or layer in layers:
            norms = (mine.norms[tensor], other.norms[tensor])
            yield from both(name, (squared, error), norms, (part, layer), wanted)
    norms = (whole_norm(mine), whole_norm(other))
    yield from both(name, (squares, math.sqrt(variance)), norms, (WHOLE, None), wanted)


def both(
    name: str,
    squared: tuple[float, float],
    norms: tuple[float, float],
    place: tuple[str, int | None],
    wanted: Sequence[str],
) -> Iterator[Row]:
    """Distance and cosine, as far as they are wanted, from a squared distance and its standard error."""
    part, layer = place
    if "distance" in wanted:
        yield Row(f"distance_{name}", distance(*squared), part, layer)
    if "cosine" in wanted:
        yield Row(f"cosine_{name}", cosine(*squared, norms), part, layer)


def whole_norm(sketches: Sketches) -> float:
    """Norm of all tensors together."""
    return math.sqrt(sum(norm**2 for norm in sketches.norms.values()))


def similarities(model: str, prints: Mapping[int, Prints]) -> pd.DataFrame:
    """CKA of every two steps of a model, each pair once and each step with itself, at each place."""
    rows: list[JsonObject] = []
    steps = list(prints)
    for layer in prints[steps[0]] if steps else ():
        stack = np.stack([prints[step][layer] for step in steps]).astype(np.float64)
        values = stack @ stack.T
        same = ~stack.any(axis=1)
        values[same] = values[:, same] = math.nan
        for one, other in itertools.combinations_with_replacement(range(len(steps)), 2):
            rows.append(pair((model, steps[one], int(layer)), (model, steps[other], int(layer)), values[one, other]))
    return pd.DataFrame(rows)


def between_models(prints: Mapping[tuple[str, int], Prints]) -> pd.DataFrame:
    """CKA of every two models, each at the given step, at each pair of places."""
    rows = [
        pair((*one, int(layer)), (*other, int(deeper)), cka(prints[one][layer], prints[other][deeper]))
        for one, other in itertools.combinations(prints, 2)
        for layer in prints[one]
        for deeper in prints[other]
    ]
    return pd.DataFrame(rows)


def pair(one: tuple[str, int, int], other: tuple[str, int, int], value: float) -> JsonObject:
    """A row of the table of similarities."""
    names = ("model", "step", "layer", "other_model", "other_step", "other_layer")
    return {**dict(zip(names, (*one, *other), strict=True)), "value": float(value)}


def read_prints(path: Path) -> dict[str, NDArray[np.float32]]:
    """Fingerprints of a checkpoint by place, in order of depth; raises MissingInputError or DataError."""
    return dict(sorted(read_arrays(path).items(), key=lambda item: int(item[0])))
