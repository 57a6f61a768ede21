"""The requests of a run's models beside the arithmetic that they come from, and what was measured where it was."""

from __future__ import annotations

from collections.abc import Mapping

from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import Run
from workflow_scripts.workflow.requests.training_requests import Devices
from workflow_scripts.workflow.resources import JobResources, Need, retrain
from workflow_scripts.workflow.training_segments import expected_seconds

GIGABYTE = 1e9


def request_table(run: Run, asked: JobResources) -> list[str]:
    """Lines about the evaluation of each model, and about its training where it is trained; memory in GB.

    Models with equal numbers share a line.
    """
    columns = f"{'GPUs':>5}{'GB each':>9}{'host GB':>9}{'measured':>9}{'minutes':>9}"
    evaluations = {
        model.name: line_of(asked.needs[model.name]["evaluate"], peak(asked, model, "evaluate")) for model in run.models
    }
    lines = [f"{'requests: evaluate':36}{columns}", *merged(evaluations)]
    if not run.retrains:
        return lines
    why = "   state + copies + gathered + activations + head = GB on each GPU" if asked.device == "cuda" else ""
    trainings = {model.name: training_line(run, model, asked) for model in run.models}
    return [*lines, f"{'requests: train':36}{columns}{'jobs':>6}{'days':>7}{why}", *merged(trainings)]


def training_line(run: Run, model: Model, asked: JobResources) -> str:
    """The longest segment of a model's training, how many there are, and days of all of them."""
    need = retrain(run, model, asked.site, asked.segments.longest_share(model.name))
    days = expected_seconds(run, model, asked.site) / 86400
    numbers = f"{asked.segments.number(model.name):>6}{days:>7.1f}{terms(asked.training(model))}"
    return line_of(need, peak(asked, model, "retrain")) + numbers


def merged(lines: Mapping[str, str]) -> list[str]:
    """A line per text, after the first model that it is about and the number of others."""
    names: dict[str, list[str]] = {}
    for name, text in lines.items():
        names.setdefault(text, []).append(name)
    return [f"{found[0] + (f' (+{len(found) - 1})' if found[1:] else ''):36}{text}" for text, found in names.items()]


def line_of(need: Need, measured: str) -> str:
    """One request."""
    gpus = f"{need.gpus}" if need.nodes == 1 else f"{need.nodes}x{need.gpus // need.nodes}"
    each = f"{need.gpu_memory_mb / 1000:,.1f}" if need.gpus else "-"
    return f"{gpus:>5}{each:>9}{need.memory_mb / 1000:>9,.1f}{measured:>9}{need.minutes:>9,}"


def peak(asked: JobResources, model: Model, stage: str) -> str:
    """Largest resident size of such jobs here in GB, ``-`` where none was measured."""
    found = asked.measured.get((stage, model.name, asked.device))
    return "-" if found is None else f"{found.peak_mb / 1000:,.1f}"


def terms(devices: Devices | None) -> str:
    """The sum behind the memory of each GPU."""
    if devices is None:
        return ""
    each = devices.memory
    parts = (each.state, each.copies, each.gathered, each.activations, each.head)
    numbers = " + ".join(f"{part / GIGABYTE:.1f}" for part in parts)
    notes = [*(["activations recomputed"] if devices.recompute else []), *([] if devices.fits else ["DOES NOT FIT"])]
    return f"   {numbers} = {each.total / GIGABYTE:.1f}{' (' + ', '.join(notes) + ')' if notes else ''}"
