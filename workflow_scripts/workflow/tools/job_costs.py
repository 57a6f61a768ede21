r"""What the jobs of a finished run took: time, CPU time and memory by rule, from Snakemake's benchmark files.

The rule with most CPU time comes first, with its share of all. Rules whose jobs take one or two CPU-seconds each spend
them on the start of a program. CPU time is that of Snakemake's last look at a job, half a second to half a minute
before it ended, so it is a little too small, and 0 for the shortest jobs.

    python -m workflow_scripts.workflow.tools.job_costs --timings results/timings
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import MissingInputError
from workflow_scripts.workflow.tools.refine_requests import Benchmark, read_benchmark

HEADS = ("jobs", "s", "CPU-s", "of all", "per job", "peak MB")


def by_rule(timings: Path) -> dict[str, list[Benchmark]]:
    """Benchmarks below ``timings`` by the folder that a rule's files are in, those with most CPU time first.

    Raises MissingInputError where there is none, DataError for a file that is no benchmark.
    """
    found: dict[str, list[Benchmark]] = {}
    for path in sorted(timings.rglob("*.tsv")):
        found.setdefault(path.relative_to(timings).parts[0].removesuffix(".tsv"), []).append(read_benchmark(path))
    if not found:
        raise MissingInputError(f"{timings}: no benchmark files of Snakemake; finish a run first, or choose --timings")
    return dict(sorted(found.items(), key=lambda item: (-cpu(item[1]), -wall(item[1]), item[0])))


def wall(jobs: Sequence[Benchmark]) -> float:
    """Seconds of all ``jobs`` together."""
    return sum(job.seconds for job in jobs)


def cpu(jobs: Sequence[Benchmark]) -> float:
    """CPU-seconds of all ``jobs`` together."""
    return sum(job.cpu_seconds for job in jobs)


def table(rules: Mapping[str, Sequence[Benchmark]]) -> str:
    """A line per rule, and one for all."""
    everything = [job for jobs in rules.values() for job in jobs]
    lines = [f"{'rule':30}" + "".join(f"{head:>10}" for head in HEADS)]
    for name, jobs in [*rules.items(), ("all", everything)]:
        share = cpu(jobs) / (cpu(everything) or 1.0)
        times = f"{wall(jobs):>10,.1f}{cpu(jobs):>10,.1f}{share:>10.0%}{cpu(jobs) / len(jobs):>10.1f}"
        lines.append(f"{name:30}{len(jobs):>10}{times}{max(job.peak_mb for job in jobs):>10,.0f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and print the table."""
    parser = cli.parser(__doc__)
    parser.add_argument("--timings", type=Path, default=Path("results/timings"), help="folder of the benchmark files")
    options = parser.parse_args(arguments)
    cli.say(table(by_rule(options.timings)))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
