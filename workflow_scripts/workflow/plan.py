r"""What a run will cost, before anything starts: jobs, submissions, bytes, disk, hours, days and money, per model.

Everything follows from the configuration and the registry, and nothing is written; servers are only asked whether they
have what the run would fetch, and a line says so when they do not. The estimates are arithmetic on the rates of the
site's file, good to about a factor of two. A run that exceeds a number under `limits` in its configuration is refused
with that number and the key to raise. What is done already is counted apart. With --jobs Snakemake counts what is left
to do, rule by rule, which takes seconds for a large run.

Example:
  python -m workflow_scripts.workflow.plan --config config/runs/suite.yaml --devices 16 --price 2.5
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.suite import layout
from workflow_scripts.suite.experiment_files import EXPERIMENTS, experiments_of, one_per_size, row_ranges
from workflow_scripts.suite.models import CHECKPOINT_FILES, Model
from workflow_scripts.suite.run import Run
from workflow_scripts.training.run.finished_files import WORKING
from workflow_scripts.workflow.experiment_costs import ExperimentCost, experiment_costs
from workflow_scripts.workflow.readiness import refuse_without_facts, report_of
from workflow_scripts.workflow.requests.cluster_site import Site, read_site
from workflow_scripts.workflow.requests.measured_requests import TABLE, read_table
from workflow_scripts.workflow.requests.partition_fit import groups_of_profile, report_of_site
from workflow_scripts.workflow.requests.request_table import request_table
from workflow_scripts.workflow.requests.training_requests import (
    CPU_RATE,
    RECOMPUTING_COST,
    forward_flops_per_token,
    training_flops,
)
from workflow_scripts.workflow.resources import (
    DOWNLOAD_RATE,
    HOUR,
    JobResources,
    evaluation_tokens,
    memorization_dtype,
    memorization_tokens,
)
from workflow_scripts.workflow.tools.check import DEFAULT, load_run_file
from workflow_scripts.workflow.training_segments import Segments, devices_of

BYTES_OF = {"float16": 2, "bfloat16": 2, "float32": 4}
# A trained checkpoint keeps float32 weights, and the newest one two float32 moments as well.
TRAINING_STATE_BYTES = 4
OPTIMIZER_BYTES = 8
# Of a Hub, for one checkpoint: the list of its files and each of them.
REQUESTS_PER_CHECKPOINT = 1 + len(CHECKPOINT_FILES)
LOCAL = "local"
JOB_SECONDS = 10.0  # that a Slurm job spends on starting Snakemake twice


@dataclass(frozen=True)
class Cost:
    """Cost of one model, or of everything: bytes to download and to keep, FLOPs of each kind of work."""

    checkpoints: int = 0
    download_bytes: float = 0.0
    disk_bytes: float = 0.0
    training_flops: float = 0.0
    evaluation_flops: float = 0.0
    memorization_flops: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """Sum of two costs."""
        return Cost(
            self.checkpoints + other.checkpoints,
            self.download_bytes + other.download_bytes,
            self.disk_bytes + other.disk_bytes,
            self.training_flops + other.training_flops,
            self.evaluation_flops + other.evaluation_flops,
            self.memorization_flops + other.memorization_flops,
        )


def model_cost(run: Run, model: Model) -> Cost:
    """Cost of one model of ``run``."""
    steps = run.steps[model.name]
    fetched = len(steps) * float(model.parameters) * BYTES_OF[model.published_dtype]
    forward = forward_flops_per_token(model)
    evaluation = len(steps) * len(run.protocols) * evaluation_tokens(run) * forward
    memorization = memorization_jobs(run, model) * memorization_tokens(run) * forward
    if not run.retrains:
        return Cost(len(steps), fetched, fetched, 0.0, evaluation, memorization)
    published = len(model.steps) * float(model.parameters) * BYTES_OF[model.published_dtype]
    state = float(model.parameters) * (len(model.steps) * TRAINING_STATE_BYTES + OPTIMIZER_BYTES)
    devices = devices_of(run, model, read_site())
    trained = training_flops(model) * (RECOMPUTING_COST if devices is not None and devices.recompute else 1.0)
    return Cost(len(steps), 0.0, fetched + published + state, trained, evaluation, memorization)


def dataset_bytes(run: Run) -> float:
    """Bytes of the pretokenised data sets that the run downloads."""
    if run.section("dataset").get("source") == "mirror" or not run.retrains:
        return 0.0
    sizes = [run.suite.dataset(key).bin_bytes for key in run.datasets]
    return float(sum(size for size in sizes if size))


def total_cost(run: Run) -> Cost:
    """Cost of the whole run; a disk budget for checkpoints bounds what the fetched ones take together."""
    total = Cost(download_bytes=dataset_bytes(run), disk_bytes=dataset_bytes(run))
    for model in run.models:
        total = total + model_cost(run, model)
    budget = run.section("checkpoints").get("disk_budget_gb")
    if budget is None:
        return total
    fetched = sum(len(run.steps[m.name]) * float(m.parameters) * BYTES_OF[m.published_dtype] for m in run.models)
    return replace(total, disk_bytes=total.disk_bytes - max(fetched - float(budget) * 1e9, 0.0))


def memorization_jobs(run: Run, model: Model) -> int:
    """Jobs that score the memorization of ``model``; none where the run does not ask for it."""
    if "memorization" not in experiments_of(run) or model not in one_per_size(run.models):
        return 0
    return len(row_ranges(model, run.section("memorization")))


def device_of(run: Run) -> str:
    """What an hour of computing is counted in: ``core`` or ``GPU``."""
    return "GPU" if run.settings.get("device") == "cuda" else "core"


def rates(run: Run) -> tuple[float, float, float]:
    """FLOP per second of one device in training, in scoring and in memorization."""
    if device_of(run) == "core":
        return CPU_RATE, CPU_RATE, CPU_RATE
    site, dtype = read_site(), str(run.section("evaluation").get("dtype", "float32"))
    return site.rate("bfloat16"), site.rate(dtype), site.rate(memorization_dtype(run))


def hours(cost: Cost, run: Run) -> tuple[float, float, float]:
    """Hours of one device of training, evaluation and memorization."""
    training, scoring, memorizing = rates(run)
    flops = (cost.training_flops / training, cost.evaluation_flops / scoring, cost.memorization_flops / memorizing)
    return flops[0] / HOUR, flops[1] / HOUR, flops[2] / HOUR


def devices_of_training(run: Run, model: Model) -> int:
    """Devices that the training of ``model`` takes at once."""
    devices = devices_of(run, model, read_site()) if run.retrains else None
    return 1 if devices is None else devices.gpus


def usual_devices(run: Run, site: Site) -> int:
    """Devices that a run has where nobody says: the cores of this machine, or the GPUs of a job on the site."""
    if device_of(run) == "core":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return site.cluster.per_node * site.cluster.nodes if site.gpu_partitions else 1


def wall_hours(run: Run, devices: int) -> float:
    """Hours from start to end on ``devices`` devices: work and starts of jobs shared by them, downloads by one line.

    Never shorter than the longest chain of jobs: the segments of a training on its own devices, and one evaluation.
    """
    total = total_cost(run)
    starts = jobs_of(run) * JOB_SECONDS / HOUR
    longest = max((chain_hours(run, model) for model in run.models), default=0.0)
    download = total.download_bytes / DOWNLOAD_RATE / HOUR
    return max((sum(hours(total, run)) + experiment_hours(run) + starts) / devices, longest, download)


def chain_hours(run: Run, model: Model) -> float:
    """Hours that one model takes at least: its training, segment by segment, and the evaluation of its last step."""
    training, evaluation, _ = hours(model_cost(run, model), run)
    evaluations = len(run.steps[model.name]) * len(run.protocols)
    return training / devices_of_training(run, model) + evaluation / max(evaluations, 1)


def jobs_by_kind(run: Run) -> dict[str, dict[str, int]]:
    """Jobs whose number grows with the run, by the group that a profile may put them into, for each model."""
    segments = Segments(run)
    kinds: dict[str, dict[str, int]] = {
        kind: {} for kind in ("fetch_{model}", "score_{model}", "train", "memorize", LOCAL)
    }
    for model in run.models:
        checkpoints = len(run.steps[model.name])
        kinds["fetch_{model}"][model.name] = checkpoints
        kinds["score_{model}"][model.name] = len(run.protocols) * checkpoints
        kinds[LOCAL][model.name] = int(run.retrains)  # the recipe
        kinds["train"][model.name] = segments.number(model.name)
        kinds["memorize"][model.name] = memorization_jobs(run, model)
    return kinds


def jobs_of(run: Run) -> int:
    """Jobs whose number grows with the run: fetching and scoring checkpoints, training, memorization."""
    return sum(sum(models.values()) for models in jobs_by_kind(run).values())


def submissions_of(run: Run, groups: Mapping[str, int]) -> dict[str, int]:
    """Submissions to a scheduler by kind: of a group of a profile so many jobs of one model are submitted together."""
    return {
        kind: sum(math.ceil(number / max(groups.get(kind, 1), 1)) for number in models.values())
        for kind, models in jobs_by_kind(run).items()
        if kind != LOCAL
    }


def done_share(run: Run, model: Model) -> float:
    """Share of the training of ``model`` whose checkpoints are on the disk, finished or in the trainer's folder."""
    folder = Path(layout.training_folder(model.name))
    saved = (*folder.glob("step*/model.safetensors"), *folder.glob(f"{WORKING}/step*/model.safetensors"))
    steps = [int(path.parent.name.removeprefix("step")) for path in saved]
    return max(steps, default=0) / model.train_iterations if run.retrains else 0.0


def left_of(run: Run) -> Cost:
    """What is left of a run that was started: training beyond its checkpoints, and evaluations that have no scores."""
    steps = {
        model.name: tuple(
            step
            for step in run.steps[model.name]
            if not all(Path(path).is_file() for path in layout.checkpoint_scores(run, model.name, step))
        )
        for model in run.models
    }
    rest, total = replace(run, steps=steps), Cost()
    for model in run.models:
        cost = model_cost(rest, model)
        total = total + replace(cost, training_flops=cost.training_flops * (1.0 - done_share(run, model)))
    return total


def left_line(run: Run, devices: int, price: float | None) -> list[str]:
    """One line about what is left to do; none for a run that was not started."""
    cost, total = left_of(run), total_cost(run)
    scored, device = total.checkpoints - cost.checkpoints, device_of(run)
    if not scored and cost.training_flops == sum(model_cost(run, model).training_flops for model in run.models):
        return []
    spent = sum(hours(replace(cost, memorization_flops=0.0), run))
    trained = f"{1 - cost.training_flops / total.training_flops:.0%} trained, " if total.training_flops else ""
    money = "" if price is None else f", {spent * price:,.0f} in money"
    return [
        f"left to do: {trained}{scored:,} of {total.checkpoints:,} checkpoints scored; {time_text(spent, device)} of "
        f"training and evaluation to go, at least {time_text(spent / devices, 'wall')} on {devices} {device}s{money} "
        "(--jobs lists every job)"
    ]


def requests_of(run: Run) -> int:
    """Requests to a Hub; none for models that are made here."""
    checkpoints = sum(len(steps) for steps in run.steps.values())
    return 0 if run.retrains else checkpoints * REQUESTS_PER_CHECKPOINT


def check_limits(run: Run, total: Cost) -> None:
    """Refuse a run that exceeds a limit of its configuration."""
    amounts = {
        "download_gb": total.download_bytes / 1e9,
        "disk_gb": total.disk_bytes / 1e9,
        "cpu_hours" if device_of(run) == "core" else "gpu_hours": sum(hours(total, run)) + experiment_hours(run),
    }
    for key, limit in run.section("limits").items():
        if amounts.get(key, 0.0) > float(limit):
            raise ConfigError(
                f"run {run.name} would need {amounts[key]:,.1f} {key.replace('_', ' ')}, its limit is {limit}; raise "
                f"limits.{key} in the configuration, or choose fewer models or steps"
            )


def amount(number_of_bytes: float) -> str:
    """Bytes in the unit a disk is bought in."""
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if number_of_bytes >= scale:
            return f"{number_of_bytes / scale:,.2f} {unit}"
    return f"{number_of_bytes / 1e3:,.0f} kB"


def time_text(number: float, device: str) -> str:
    """Hours, or minutes and seconds when there are few."""
    if number >= 1:
        return f"{number:,.1f} {device}-h"
    return f"{number * 60:,.1f} {device}-min" if number >= 1 / 60 else f"{number * HOUR:,.1f} {device}-s"


def row(name: str, cost: Cost, run: Run, price: float | None) -> str:
    """One line of the table."""
    spent = hours(cost, run)
    times = "".join(f"{time_text(number, device_of(run)):>16}" for number in spent)
    money = "" if price is None else f"{sum(spent) * price:>12,.0f}"
    return f"{name:28}{cost.checkpoints:>8}{amount(cost.download_bytes):>14}{amount(cost.disk_bytes):>14}{times}{money}"


def table(run: Run, price: float | None = None) -> str:
    """The plan as text: a line per model and a total; with a ``price`` of an hour also what each would cost."""
    columns = f"{'download':>14}{'disk':>14}{'train':>16}{'evaluate':>16}{'memorize':>16}"
    money = "" if price is None else f"{'money':>12}"
    lines = [f"plan of run {run.name} (suite {run.suite.name})", f"{'model':28}{'steps':>8}{columns}{money}"]
    lines += [row(model.name, model_cost(run, model), run, price) for model in run.models]
    lines.append(row("total with data", total_cost(run), run, price))
    return "\n".join(lines)


def experiments_table(run: Run) -> str:
    """Every experiment, asked for or not: token-forwards, time on the run's device and on cores beside it, bytes."""
    wanted = experiments_of(run)
    lines = [f"{'experiment':28}{'tokens':>12}{'network':>16}{'cores':>16}{'reads':>14}{'keeps':>14}"]
    for name in EXPERIMENTS:
        if name in wanted:
            lines.append(f"{name:28}{experiment_columns(experiment_costs(run, [name])[0], device_of(run))}")
        else:
            lines.append(f"{name + ' (not requested)':28}{columns_if_possible(run, name)}")
    return "\n".join(lines)


def columns_if_possible(run: Run, name: str) -> str:
    """Amounts of an experiment that the run does not ask for; its settings may name steps that these models lack."""
    try:
        refuse_without_facts(run, name)
        return experiment_columns(experiment_costs(run, [name])[0], device_of(run))
    except ConfigError as error:
        return f"  could not run with these settings: {error}"


def experiment_hours(run: Run) -> float:
    """Hours on the run's device of its experiments but for memorization, which stands in the models' lines."""
    names = [name for name in experiments_of(run) if name != "memorization"]
    return sum(network_hours(cost, device_of(run)) for cost in experiment_costs(run, names))


def network_hours(cost: ExperimentCost, device: str) -> float:
    """Hours of one device that forward networks or train them."""
    return cost.gpu_hours if device == "GPU" else cost.flops / CPU_RATE / HOUR


def experiment_columns(cost: ExperimentCost, device: str) -> str:
    """Amounts of one experiment; those that read tables only take seconds."""
    if cost.reads_tables_only:
        return f"{'-':>12}{'-':>16}{'seconds':>16}{'-':>14}{'-':>14}"
    times = f"{time_text(network_hours(cost, device), device):>16}{time_text(cost.core_seconds / HOUR, 'core'):>16}"
    return f"{cost.tokens:>12.3g}{times}{amount(cost.read_bytes):>14}{amount(cost.kept_bytes):>14}"


def outlook(run: Run, devices: int, price: float | None, groups: Mapping[str, int] | None = None) -> str:
    """Jobs, submissions, requests, days and money."""
    device, spent = device_of(run), sum(hours(total_cost(run), run)) + experiment_hours(run)
    submitted = submissions_of(run, groups_of_profile() if groups is None else groups)
    scores, fetches = submitted["score_{model}"], submitted["fetch_{model}"]
    others = sum(submitted.values()) - scores - fetches
    lines = [
        f"{jobs_of(run):,} jobs plus a few dozen for data and figures; {requests_of(run):,} requests to a Hub",
        f"on Slurm {scores:,} submissions that score, each for one model, {fetches:,} that fetch (none with "
        f"slurm-offline), {others:,} others",
        f"{time_text(wall_hours(run, devices), 'wall')} on {devices} {device}s, if all are available",
    ]
    wide = [model.name for model in run.models if devices_of_training(run, model) > devices]
    if wide:
        lines.append(f"{devices} {device}s are too few to train {', '.join(wide)}: see the table of requests")
    lines.append(requests_line(run))
    if price is not None:
        lines.append(f"{spent * price:,.0f} in money at {price:g} per {device}-hour")
    return "\n".join([*lines, *left_line(run, devices, price)])


def requests_line(run: Run) -> str:
    """Whether jobs ask a scheduler for what was measured here or for what arithmetic says."""
    table = read_table()
    device = str(run.settings.get("device", "cpu"))
    known = sum(1 for _, model, on in table if on == device and model in run.steps)
    if not known:
        return "requests to a scheduler: computed (workflow.tools.refine_requests derives them from measured peaks)"
    return f"requests to a scheduler: {known} of its models' stages measured ({TABLE}), the others computed"


def jobs_left(config: Path) -> str:
    """What Snakemake would run now, rule by rule, with its reasons; an empty folder counts everything."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--nolock", "--rerun-incomplete"]
    answer = subprocess.run(
        [*command, "--configfile", str(config)], capture_output=True, text=True, check=False, timeout=600
    )
    if answer.returncode != 0:
        raise ConfigError(f"Snakemake cannot plan this run: {answer.stderr.strip().splitlines()[-1]}")
    text = answer.stdout + answer.stderr
    # The table of jobs is printed twice when anything is left; the second is followed by the reasons.
    return text[text.rindex("Job stats:") :].strip() if "Job stats:" in text else "nothing to be done"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments, print the plan, refuse what exceeds a limit."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT, help="a configuration file, e.g. from config/runs")
    parser.add_argument(
        "--devices", type=int, help="number of GPUs (default: those of a job on the site), or of cores (those here)"
    )
    parser.add_argument("--price", type=float, help="price of one hour of one of them")
    parser.add_argument(
        "--jobs", action="store_true", help="also count the remaining jobs with Snakemake, with reasons"
    )
    options = parser.parse_args(arguments)
    run = load_run_file(options.config)
    site = read_site()
    devices = usual_devices(run, site) if options.devices is None else options.devices
    if devices < 1:
        raise ConfigError(f"--devices {devices}: at least 1 is needed")
    cli.say(table(run, options.price))
    cli.say(outlook(run, devices, options.price))
    cli.say(experiments_table(run))
    asked = JobResources(run, groups=groups_of_profile())
    for line in (*request_table(run, asked), *report_of_site(run, asked), *report_of(run)):
        cli.say(line)
    check_limits(run, total_cost(run))
    if options.jobs:
        cli.say(jobs_left(options.config))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
