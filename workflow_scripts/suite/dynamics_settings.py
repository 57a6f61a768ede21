"""Declared dynamics (``config/dynamics``): which metrics are taken of every checkpoint, and of which probe."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import ROOT
from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.schema import load_named

FOLDER = ROOT / "config" / "dynamics"
RESULTS = "results/experiments/dynamics"
DEFAULT = "pocket"
EVERY_LAYER = "all"
WEIGHTS = {"exact_below": 2048, "rank": 64, "sketch": 32768, "near_zero": 0.05}
PROBE = {"iterations": [], "rows": 4, "text": None, "text_rows": 8, "cka_tokens": 256, "memory_mb": 1000}
OF_BATCH = ("gradient_norm", "noise_scale")


@dataclass(frozen=True)
class Dynamics:
    """A declaration with its defaults filled in; ``weights`` and ``probe`` are empty where it does not ask for them."""

    name: str
    layers: str | Sequence[int]
    weights: JsonMapping
    probe: JsonMapping

    @property
    def reads_training_rows(self) -> bool:
        """True when the probe holds rows of the training order, for which the data set must be there."""
        return bool(self.probe and (self.probe["iterations"] or "gradient" in self.probe))

    @property
    def text(self) -> Path | None:
        """File of held-out text, below the checkout."""
        return Path("config/dynamics", self.probe["text"]) if self.probe.get("text") else None

    def folder(self, model: str, step: int) -> str:
        """Where everything about one checkpoint lies."""
        return f"{RESULTS}/{self.name}/{model}/step{step}"

    def probe_file(self, suite: str, dataset: str) -> str:
        """Rows of tokens that every model on a data set is asked."""
        return f"{RESULTS}/{self.name}/probes/{suite}/{dataset}.safetensors"


@functools.cache
def load_dynamics(name: str) -> Dynamics:
    """The declaration called ``name``; raises UnknownNameError or ConfigError."""
    content = load_named(FOLDER, name, "declaration of dynamics", "dynamics")
    return build_dynamics(content, f"config/dynamics/{name}.yaml")


def build_dynamics(content: JsonMapping, where: str) -> Dynamics:
    """Declaration from the checked ``content`` of a file; raises ConfigError where keys contradict each other."""
    weights = {**WEIGHTS, **content["weights"]} if "weights" in content else {}
    probe = {**PROBE, **content["probe"]} if "probe" in content else {}
    if probe:
        check_probe(probe, where)
    return Dynamics(content["dynamics"], content.get("layers", EVERY_LAYER), weights, probe)


def check_probe(probe: JsonMapping, where: str) -> None:
    """Raise ConfigError for a metric without the rows that it is taken of, UnknownNameError for a text not there."""
    for metric, needed in (("induction", "repeated"), *((name, "gradient") for name in OF_BATCH)):
        if metric in probe["metrics"] and needed not in probe:
            raise ConfigError(f"{where}: probe: metric {metric} needs the key '{needed}'")
    if not probe["iterations"] and probe["text"] is None:
        raise ConfigError(f"{where}: probe: give iterations of the training order, a text, or both")
    texts = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".jsonl", ".txt"))
    if probe["text"] is not None and probe["text"] not in texts:
        raise UnknownNameError("text", probe["text"], texts, f"{where}: probe")


def chosen_layers(layers: str | Sequence[int], number: int) -> list[int]:
    """Layers of a model with ``number`` of them; those that it does not have are left out.

    >>> chosen_layers("all", 3), chosen_layers([0, -1, 7], 3)
    ([0, 1, 2], [0, 2])
    """
    if isinstance(layers, str):
        return list(range(number))
    return sorted({layer % number for layer in layers if -number <= layer < number})


def dynamics_steps(model: Model, settings: JsonMapping) -> tuple[int, ...]:
    """Hub steps of a model at which it is measured; all where the run's section says nothing else."""
    return model.select_steps(settings.get("steps", "all"))
