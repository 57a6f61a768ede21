"""The published training map of PolyPythias: which hidden state of a five-state model each seed is in at each step.

Columns: seed, step, state (0 to 4), score (a z-scored metric of the run at that step), group (stable or outlier; seeds
3 and 4 are the outliers). Source: EleutherAI/polypythias, data/training_maps.tsv. It must not be refitted here.
"""

from itertools import groupby
from pathlib import Path

import pandas as pd

from workflow_scripts.errors import DataError
from workflow_scripts.experiments.outputs import read_frame

TRAINING_MAP = Path("config/suites/published/polypythias-training-map.csv")
COLUMNS = ("seed", "step", "state", "score", "group")
OUTLIERS = (3, 4)


def read_training_map(path: Path) -> pd.DataFrame:
    """The map by seed and step, with the states so far (``path``, such as 0-1-4); raises DataError when it has gaps.

    ``path`` is this project's table or the original file, whose group is a list of seeds.
    """
    frame = read_frame(path, COLUMNS[:4]) if path.suffix == ".csv" else read_original(path)
    frame = frame.assign(group=["outlier" if seed in OUTLIERS else "stable" for seed in frame["seed"]])
    ordered = frame[list(COLUMNS)].sort_values(["seed", "step"], ignore_index=True)
    steps = ordered.groupby("seed")["step"].apply(tuple)
    if steps.nunique() != 1 or ordered.duplicated(["seed", "step"]).any():
        raise DataError(f"{path}: the seeds do not have the same steps once each; take the original file")
    return ordered.assign(path=[route for _, part in ordered.groupby("seed") for route in routes(list(part["state"]))])


def read_original(path: Path) -> pd.DataFrame:
    """The original tab-separated file, whose first column is a running number."""
    frame = pd.read_csv(path, sep="\t", index_col=0)
    missing = [name for name in COLUMNS[:4] if name not in frame]
    if missing:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; it is not the original training map")
    return frame


def routes(states: list[int]) -> list[str]:
    """States entered up to each step, repeats joined.

    >>> routes([0, 0, 2, 2, 1])
    ['0', '0', '0-2', '0-2', '0-2-1']
    """
    return ["-".join(str(state) for state, _ in groupby(states[: end + 1])) for end in range(len(states))]


def map_sentence(frame: pd.DataFrame) -> str:
    """The published map in words: how many seeds take each route."""
    last = frame[frame["step"] == frame["step"].max()]
    words = []
    for group, part in last.groupby("group", sort=True):
        counts = part["path"].value_counts(sort=True)
        words.append(f"{group}: " + ", ".join(f"{route} ({number} of {len(part)})" for route, number in counts.items()))
    return f"Published training map of {last['seed'].nunique()} seeds, states in order; {'; '.join(words)}."
