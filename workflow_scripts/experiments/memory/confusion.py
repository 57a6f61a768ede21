"""Confusion of predicted and true memorization, every cell by name, and the published ones with corrected names.

The published matrices (112 SVG files beside arXiv 2304.11158) print false positives and false negatives exchanged:
their script unpacks ``confusion_matrix(prediction, truth).ravel()`` as TN, FP, FN, TP although the prediction was given
first. Exchanged back, precision and recall agree with the paper's tables. Cells are counts or per cent.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workflow_scripts.errors import DataError, UnknownNameError
from workflow_scripts.experiments.outputs import read_frame
from workflow_scripts.suite.models import Suite

Booleans = NDArray[np.bool_]
PUBLISHED = Path("config/suites/published/memorization-confusions.csv")
KINDS = ("small", "early")
CELLS = ("true_positive", "false_positive", "false_negative", "true_negative")
PRINTED = ("TP_pct", "FP_pct_printed_as_FN", "FN_pct_printed_as_FP", "TN_pct")
# Labels of the published files, in millions of rows trained on, and the steps they mean.
LABELS = {"23m": 23000, "44m": 43000, "65m": 63000, "85m": 83000, "105m": 103000, "126m": 123000, "146m": 143000}
TOLERANCE = 0.005  # per cent: rounding of four printed cells


@dataclass(frozen=True)
class Confusion:
    """Rows that are predicted to be memorized against rows that are."""

    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float

    @classmethod
    def of(cls, predicted: Booleans, truth: Booleans) -> Self:
        """Counts over rows; both bool [n]."""
        if len(predicted) != len(truth):
            raise DataError(f"{len(predicted)} predictions and {len(truth)} true values; both must be of the same rows")
        cells = ((predicted, truth), (predicted, ~truth), (~predicted, truth), (~predicted, ~truth))
        return cls(*(float((first & second).sum()) for first, second in cells))

    @property
    def precision(self) -> float:
        """Share of the predicted rows that are memorized; NaN where none is predicted."""
        return ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of the memorized rows that are predicted; NaN where none is memorized."""
        return ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def correlation(self) -> float:
        """Pearson's correlation of the two flags (phi); NaN where one of them never changes."""
        tp, fp, fn, tn = (getattr(self, cell) for cell in CELLS)
        return ratio(tp * tn - fp * fn, math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def ratio(part: float, whole: float) -> float:
    """``part / whole``, NaN for a whole of 0."""
    return part / whole if whole else math.nan


def read_published(path: Path, suite: Suite) -> pd.DataFrame:
    """Published confusions: kind, model (present name), size, step, the four cells in per cent, precision, recall.

    ``small``: a model against the largest one at the same step; ``early``: a step of a model against its last one.
    ``path`` is this project's table or the file as it was printed. Raises DataError where the cells do not add up.
    """
    frame = read_frame(path, ["kind", "model"])
    if PRINTED[1] in frame:
        frame = frame.rename(columns=dict(zip(PRINTED, CELLS, strict=True)))
        frame["step"] = [label_step(str(label)) for label in frame["ckpt"]]
        frame["model"] = [suite.model(f"pythia-{name}").name for name in frame["model"]]
    check_cells(frame, path)
    frame["size"] = [suite.model(name).size for name in frame["model"]]
    found = [Confusion(*cells) for cells in frame[list(CELLS)].itertuples(index=False)]
    measures = {name: [getattr(each, name) for each in found] for name in ("precision", "recall", "correlation")}
    columns = ["kind", "model", "size", "step", *CELLS, *measures]
    return frame.assign(**measures)[columns].sort_values(["kind", "model", "step"], ignore_index=True)


def label_step(label: str) -> int:
    """Step of a label such as ``85m``; raises UnknownNameError."""
    if label not in LABELS:
        raise UnknownNameError("label of a checkpoint", label, LABELS)
    return LABELS[label]


def check_cells(frame: pd.DataFrame, path: Path) -> None:
    """The four cells of each row must be there and make 100 per cent."""
    missing = [cell for cell in (*CELLS, "step") if cell not in frame]
    if missing:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}")
    total = frame[list(CELLS)].sum(axis=1)
    wrong = frame[(total - 100).abs() > TOLERANCE]
    if len(wrong):
        first = wrong.iloc[0]
        raise DataError(f"{path}: cells of {first['model']} step {first['step']} make {total[wrong.index[0]]:.4f} %")
