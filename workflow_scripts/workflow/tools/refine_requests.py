r"""Requested against measured: what the jobs of a run asked for, what they took, and a table of better requests.

Reads Snakemake's benchmark files in results/timings (largest resident size in MiB, seconds) of the run's models and
prints, per stage and model, what was asked for, the peak, and what will be asked for from now on: the peak with a
margin of a quarter and 200 MB for Snakemake itself, and twice the longest time. With --output the measurements are
written to a table; where results/requests.tsv is present, the rules and the plan use it. Requests never make a job run
again. Jobs that end within a second are measured too small by Snakemake; no request is below 500 MB.

Example:
  python -m workflow_scripts.workflow.tools.refine_requests --config config/config.yaml --output results/requests.tsv
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.storage.atomic import write_text as write_atomically
from workflow_scripts.suite.run import Run
from workflow_scripts.workflow.requests.measured_requests import TABLE, Key, Measured, read_table, write_text
from workflow_scripts.workflow.resources import JobResources
from workflow_scripts.workflow.tools.check import DEFAULT, load_run_file

# Rule of the benchmark files, and what its jobs are called in suite/resources.py.
STAGES = {
    "fetch_checkpoint": "fetch",
    "score_checkpoint": "evaluate",
    "train_model": "retrain",
    "score_memorization": "memorize",
}
MEBIBYTE = 1024 * 1024
NOT_MEASURED = ("-", "NA", "")


@dataclass(frozen=True)
class Benchmark:
    """Seconds of a job, its peak in MB (1e6 bytes) and its CPU-seconds; 0 for what was not measured."""

    seconds: float
    peak_mb: float
    cpu_seconds: float


def read_benchmark(path: Path) -> Benchmark:
    """The largest numbers in a benchmark file; raises DataError for a file that is not a timing."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
        seconds, peak, cpu = (
            max(0.0 if row[name] in NOT_MEASURED else float(row[name]) for row in rows)
            for name in ("s", "max_rss", "cpu_time")
        )
    except (KeyError, TypeError, ValueError, UnicodeDecodeError):
        raise DataError(f"{path}: not a benchmark file of Snakemake; remove it") from None
    return Benchmark(seconds, peak * MEBIBYTE / 1e6, cpu)


def files_of(folder: Path, model: str) -> list[Path]:
    """Benchmark files of one model: named by the model, alone or with a step behind it."""
    return sorted([*folder.glob(f"{model}.tsv"), *folder.glob(f"{model}-step[0-9]*.tsv")])


def measure(run: Run, timings: Path) -> Iterator[Measured]:
    """What the jobs of ``run`` took, per stage and model, from the benchmark files below ``timings``.

    Evaluations of a run that cuts its documents are left out: they would be too small for a whole one.
    """
    asked = JobResources(run, {})
    for rule, stage in STAGES.items():
        if stage == "evaluate" and run.section("evaluation").get("limit"):
            continue
        for model in run.models:
            jobs = [read_benchmark(path) for path in files_of(timings / rule, model.name)]
            if not jobs:
                continue
            work, peak = asked.work[model.name][stage], max(job.peak_mb for job in jobs)
            longest = max(job.seconds for job in jobs)
            yield Measured(stage, model.name, asked.device, work, len(jobs), peak, longest)


def comparison(run: Run, measured: Mapping[Key, Measured]) -> str:
    """Requests before and after beside what was measured, a line per stage and model."""
    before, after = JobResources(run, {}), JobResources(run, measured)
    heads = f"{'asked MB':>10}{'peak':>8}{'now':>8}{'asked min':>11}{'took':>8}{'now':>6}"
    lines = [f"{'stage':10}{'model':28}{'jobs':>6}{heads}"]
    for each in measured.values():
        old, new = before.needs[each.model][each.stage], after.needs[each.model][each.stage]
        memory = f"{old.memory_mb:>10,}{each.peak_mb:>8,.0f}{new.memory_mb:>8,}"
        minutes = f"{old.minutes:>11}{each.seconds / 60:>8.1f}{new.minutes:>6}"
        lines.append(f"{each.stage:10}{each.model:28}{each.jobs:>6}{memory}{minutes}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments, compare, write."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT, help="configuration of the run that was measured")
    parser.add_argument("--timings", type=Path, default=Path("results/timings"), help="folder of the benchmark files")
    parser.add_argument("--output", type=Path, help=f"table to write; {TABLE} is the one used by rules and plan")
    options = parser.parse_args(arguments)
    run = load_run_file(options.config)
    measured = {each.key: each for each in measure(run, options.timings)}
    if not measured:
        raise MissingInputError(
            f"{options.timings}: no benchmark file of a model of run {run.name}; finish the run first, or "
            f"choose --config"
        )
    cli.say(comparison(run, measured))
    if options.output:
        # Other runs' measurements stay: a table serves every run of this folder.
        write_atomically(options.output, write_text({**read_table(options.output), **measured}))
        cli.say(f"wrote {options.output}")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
