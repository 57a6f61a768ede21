r"""Scores of one checkpoint, zero-shot and few-shot, ours beside the published ones.

    pythia scores pythia-70m 143000
    pythia scores pythia-70m step143000 'arc_*' sciq
    pythia scores pocket-1m last

Reads what the runs of this checkout have scored and the published results that the project carries, and fetches
nothing. A value is followed by its standard error. A published number is under the name of the task that it has today
where the two can be compared; in brackets where lm-eval has changed the task or the prompts since. Without a TASK the
parts of larger tasks, such as MMLU's subjects, are left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from workflow_scripts import ROOT, cli
from workflow_scripts.errors import ConfigError, MissingInputError, PipelineError, UnknownNameError
from workflow_scripts.published.compare import COUNTERPARTS, FIVE_SHOT, TODAY, Counterpart
from workflow_scripts.published.results_table import of_protocol, read_table
from workflow_scripts.published.rules.findings import CONTROL, has_note, without_dropped
from workflow_scripts.published.summary import MMLU_PREFIX
from workflow_scripts.suite.registry import load_suite, suite_names
from workflow_scripts.suite.run import STOCK
from workflow_scripts.suite.steps import nearest

CARRIED = ROOT / "config" / "suites" / "published" / "pythia-evals.parquet"
HARNESS = "lm-eval<=0.3"  # the papers' main evaluation
KEY = ["task", "metric", "shots"]
STEP = re.compile(r"(?:step)?(\d{1,9})")
SAME = ("same", "nearly")
EVERY = "*"  # run
log = logging.getLogger(__name__)


def tables_of(results: Path, run: str) -> list[Path]:
    """Tables of scores of the runs whose names fit the pattern ``run``; raises UnknownNameError where none does."""
    tables = sorted((results / "runs").glob("*/tables/scores.parquet"))
    found = [path for path in tables if fnmatchcase(path.parts[-3], run)]
    if not found and run != EVERY:
        raise UnknownNameError("run", run, [path.parts[-3] for path in tables], str(results))
    return found


def readable_tables(paths: Sequence[Path]) -> dict[Path, pd.DataFrame]:
    """Tables by path, newest first; a broken one is left out with a warning.

    Raises DataError or MissingInputError where all of them are broken.
    """
    tables: dict[Path, pd.DataFrame] = {}
    broken: list[PipelineError] = []
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            tables[path] = read_table(path)
        except PipelineError as error:
            broken.append(error)
    if broken and not tables:
        raise broken[0]
    for reason in broken:
        log.warning("warning: %s; left out", reason)
    return tables


def ours_of(model: str, tables: Mapping[Path, pd.DataFrame]) -> tuple[pd.DataFrame, Path | None]:
    """Rows of ``model`` in the first of ``tables`` that has some, under today's prompts, and that table's path.

    What stock lm-eval has scored fills the gaps.
    """
    for path, table in tables.items():
        rows = table.dropna(subset=["step", "shots"])
        rows = rows[rows["model"] == model]
        if len(found := pd.concat([of_protocol(rows, TODAY), of_protocol(rows, STOCK)])):
            return found.drop_duplicates(subset=[*KEY, "step"]), path
    return pd.DataFrame(columns=[*KEY, "step", "value", "stderr"]), None


def published_of(model: str, published: pd.DataFrame) -> pd.DataFrame:
    """Published rows of ``model``'s main evaluation, under today's names of tasks and metrics, with ``fair``."""
    rows = published[(published["model"] == model) & published["harness"].astype(str).str.startswith(HARNESS)]
    rows = without_dropped(rows[~has_note(rows, CONTROL)])
    today = {(then.task, then.metric): (name, then) for name, then in COUNTERPARTS.items()}
    pairs = [today.get(pair) for pair in zip(rows["task"], rows["metric"], strict=True)]
    thens = zip(rows["task"], rows["metric"], strict=True)
    names = [pair[0] if pair else then for pair, then in zip(pairs, thens, strict=True)]
    fair = [pair is not None and is_fair(pair[1], shots) for pair, shots in zip(pairs, rows["shots"], strict=True)]
    return rows.assign(task=[task for task, _ in names], metric=[metric for _, metric in names], fair=fair)


def is_fair(then: Counterpart, shots: int) -> bool:
    """Whether the requests of 2023 were those of today."""
    return (then.zero_shot if shots == 0 else FIVE_SHOT) in SAME


def step_of(word: str, known: Sequence[int]) -> int:
    """The step that ``word`` means: a number, step<N>, or last (main); raises ConfigError with the nearest steps."""
    if word in ("last", "main"):
        return max(known)
    if not (match := STEP.fullmatch(word)):
        raise ConfigError(f"step {word!r}: expected a number, step<N>, or last")
    if (step := int(match[1])) not in known:
        raise ConfigError(f"no scores at step {step}; {nearest(step, set(known))}")
    return step


def shown(rows: pd.DataFrame) -> str:
    """One number with its standard error, in brackets where it is not to be compared, or a dash."""
    if rows.empty or pd.isna(rows["value"].iloc[0]):
        return "-"
    value, error = float(rows["value"].iloc[0]), rows["stderr"].iloc[0]
    text = f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
    text += "" if pd.isna(error) else f" ± {float(error):.4f}"
    return text if rows["fair"].iloc[0] else f"({text})"


def lines(ours: pd.DataFrame, published: pd.DataFrame) -> Iterator[list[str]]:
    """Cells of the table with its heading: task, metric, then for each number of shots ours, published, or both."""
    sides = {"": ours.assign(fair=True), "published ": published}
    columns = [
        (f"{side}{k}-shot", rows[rows["shots"] == k])
        for k in sorted({int(k) for rows in sides.values() for k in rows["shots"].dropna()})
        for side, rows in sides.items()
        if k in set(rows["shots"])
    ]
    yield ["task", "metric", *(title for title, _ in columns)]
    pairs = {pair for _, rows in columns for pair in zip(rows["task"], rows["metric"], strict=True)}
    for task, metric in sorted(pairs):
        yield [task, metric, *(shown(rows[(rows["task"] == task) & (rows["metric"] == metric)]) for _, rows in columns)]


def chosen(rows: pd.DataFrame, step: int, tasks: Sequence[str]) -> pd.DataFrame:
    """Rows at ``step`` of the tasks that a pattern names; without patterns, of whole tasks only."""
    rows = rows[rows["step"] == step].astype({"task": str, "metric": str})
    names = sorted(set(rows["task"]))
    wanted = [name for name in names if any(fnmatchcase(name, task) for task in tasks)] if tasks else wholes(names)
    return rows[rows["task"].isin(wanted)]


def wholes(names: Sequence[str]) -> list[str]:
    """Names of tasks without those of parts of another task, and without the subjects of MMLU.

    >>> wholes(["blimp", "blimp_adjunct_island", "hendrycksTest-anatomy", "sciq"])
    ['blimp', 'sciq']
    """
    mmlu = (MMLU_PREFIX, "mmlu_")
    parents = tuple(f"{name}_" for name in names)
    return [name for name in names if not name.startswith((*mmlu, *parents))]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("model", metavar="MODEL", help="pythia-70m, pocket-1m-deduped")
    parser.add_argument("step", metavar="STEP", help="143000, step143000, or last")
    parser.add_argument(
        "tasks", metavar="TASK", nargs="*", default=[], help="tasks or patterns ('arc_*'); default: all whole ones"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder with the results of the runs")
    parser.add_argument("--run", default=EVERY, help="run whose scores to show; default: the newest that has the model")
    options = parser.parse_args(arguments)
    tables = readable_tables(tables_of(options.results, options.run))
    published = read_table(CARRIED).dropna(subset="step")
    ours, path = ours_of(options.model, tables)
    theirs = published_of(options.model, published)
    if ours.empty and theirs.empty:
        mine = {str(name) for table in tables.values() for name in table["model"].unique()}
        if options.model not in mine and any(load_suite(name).knows(options.model) for name in suite_names()):
            raise MissingInputError(
                f"no run in {options.results} has scored {options.model} yet; run snakemake evaluate"
            )
        if options.model in mine:
            raise ConfigError(f"{options.model} has no scores under today's prompts in {options.results}")
        raise UnknownNameError("model", options.model, sorted(mine | set(published["model"].astype(str))))
    known = sorted({int(step) for rows in (ours, theirs) for step in rows["step"].dropna()})
    step = step_of(options.step, known)
    every = sorted({str(task) for rows in (ours, theirs) for task in rows[rows["step"] == step]["task"]})
    ours, theirs = (chosen(rows, step, options.tasks) for rows in (ours, theirs))
    if ours.empty and theirs.empty:
        raise UnknownNameError("task", " ".join(options.tasks), every, f"{options.model} at step {step}")
    table = [[cli.one_line(cell) for cell in row] for row in lines(ours, theirs)]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    source = f"ours from {path}" if len(ours) else f"published only: no run in {options.results} has scored it"
    cli.say(cli.one_line(f"{options.model}, step {step}; {source}"))
    cli.say("\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table))
    if any(cell.startswith("(") for row in table for cell in row):
        cli.say("In brackets: not to be compared with ours, for lm-eval asks this differently today.")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
