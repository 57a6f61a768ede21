"""What every experiment leaves behind: tidy tables (parquet, the same as csv) and a verdict that is computed.

A verdict file is a JSON object ``{"experiment", "sentences", "numbers"}``: sentences for the report, and the numbers
in them. Nothing here may round a number that goes into a table.
"""

import argparse
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.json_values import JsonMapping, JsonObject, read_object
from workflow_scripts.storage.atomic import atomic_path, write_json, write_text
from workflow_scripts.storage.records import write_record

LOG = logging.getLogger(__name__)


def write_frame(path: Path, frame: pd.DataFrame, inputs: Mapping[str, Path], parameters: JsonMapping) -> None:
    """Write ``frame`` as parquet to ``path``, as csv beside it, and its record; ConfigError for another suffix."""
    if path.suffix != ".parquet":
        raise ConfigError(f"{path}: a table's name must end in .parquet; the .csv is written beside it")
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False)
    write_text(path.with_suffix(".csv"), frame.to_csv(index=False, lineterminator="\n"))
    write_record(path, inputs, {"rows": len(frame), **parameters})


def read_frame(path: Path, columns: Sequence[str], remedy: str = "run the step that creates it first") -> pd.DataFrame:
    """Table with at least ``columns``; raises MissingInputError or DataError."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such table; {remedy}")
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a table ({error}); recreate it") from error
    missing = [name for name in columns if name not in frame]
    if missing:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
    return frame


def write_verdict(
    path: Path, experiment: str, sentences: Sequence[str], numbers: JsonMapping, inputs: Mapping[str, Path]
) -> None:
    """Write the verdict of ``experiment``; numbers that are not finite become null."""
    write_json(path, {"experiment": experiment, "sentences": list(sentences), "numbers": finite(dict(numbers))})
    write_record(path, inputs, {"experiment": experiment})


def read_verdict(path: Path) -> JsonObject:
    """A verdict file; raises MissingInputError or DataError."""
    return read_object(path, "verdict", "rerun the experiment", "experiment", "sentences", "numbers")


@dataclass(frozen=True)
class Outcome:
    """What an experiment found: ``tables`` by name, each with the files it was made from; sentences and their numbers.

    ``verdict_from`` names the tables that the sentences are about, ``parameters`` go into the record of each table.
    """

    tables: Mapping[str, tuple[pd.DataFrame, Mapping[str, Path]]]
    sentences: Sequence[str]
    numbers: JsonMapping
    verdict_from: Sequence[str]
    parameters: JsonMapping = field(default_factory=dict)

    def write(self, folder: Path, experiment: str) -> None:
        """Write ``<table>.parquet`` (and csv) for each table and ``verdict_<experiment>.json``; log the sentences."""
        for name, (frame, files) in self.tables.items():
            write_frame(folder / f"{name}.parquet", frame, files, self.parameters)
        sources = {name: folder / f"{name}.parquet" for name in self.verdict_from}
        write_verdict(folder / f"verdict_{experiment}.json", experiment, self.sentences, self.numbers, sources)
        for sentence in self.sentences:
            LOG.info("%s", sentence)


def analysis_parser(description: str | None) -> argparse.ArgumentParser:
    """Command line of a program that joins the files of a run: the run, the folder of results, the folder of tables."""
    parser = cli.parser(description)
    parser.add_argument("--run", type=Path, required=True, help="the resolved run (run.json); it names the files")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all results")
    parser.add_argument("--tables-dir", type=Path, required=True, help="folder for the tables")
    return parser


def finite(value: object) -> object:
    """``value`` as JSON allows it: numpy numbers as Python's, NaN and infinities as None, at any depth.

    >>> finite({"a": [float("nan"), 1.5]})
    {'a': [None, 1.5]}
    """
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def probability(p: float) -> str:
    """A p value for a sentence.

    >>> probability(0.0312), probability(0.00002), probability(float("nan"))
    ('p = 0.031', 'p < 0.001', 'p not defined')
    """
    if not math.isfinite(p):
        return "p not defined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
