"""Declared interventions (``config/interventions``): what is changed in the data, from which point of training on."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import ROOT
from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.schema import load_named

FOLDER = ROOT / "config" / "interventions"
# A starting or saved iteration moves to a published checkpoint that is at most this share of all iterations away, so
# that 93 % of 143000 is 133000, as in the paper.
NEAR = 0.005
# Checkpoints of an arm lie on a common grid of this share of all iterations, counted back from the end.
GRID_PERCENT = 3.5
IDENTITY = "identity"
FUNCTION = "function"


@dataclass(frozen=True)
class Arm:
    """A continuation of training on changed data: ``direction`` of the exchange and where it leaves the baseline.

    The start is a share of training or a Hub step, one of the two; ``function`` is the name of the user's rewriting
    where the direction is ``function``.
    """

    name: str
    direction: str
    start_percent: float | None = None
    start_step: int | None = None
    function: str | None = None

    @property
    def start(self) -> str:
        """Where it starts, in words."""
        return f"start_step {self.start_step}" if self.start_percent is None else f"start_percent {self.start_percent}"


@dataclass(frozen=True)
class Declaration:
    """Pairs of words (first, second), none where only functions rewrite, and the arms."""

    name: str
    pairs: tuple[tuple[str, str], ...]
    arms: Mapping[str, Arm]

    def arm(self, name: str) -> Arm:
        """Arm by name; raises UnknownNameError."""
        if name not in self.arms:
            raise UnknownNameError("arm", name, self.arms, f"interventions {self.name}")
        return self.arms[name]


@functools.cache
def load_declaration(name: str) -> Declaration:
    """The declaration called ``name``; raises UnknownNameError or ConfigError."""
    return build_declaration(load_named(FOLDER, name, "declaration of interventions", "interventions"))


def build_declaration(facts: JsonMapping) -> Declaration:
    """Declaration from the checked content of a file."""
    pairs = tuple((first, second) for first, second in facts.get("pairs", []))
    arms = {name: Arm(name, **values) for name, values in facts["arms"].items()}
    for arm in arms.values():
        check_arm(arm, pairs)
    return Declaration(facts["declaration"], pairs, arms)


def check_arm(arm: Arm, pairs: Sequence[tuple[str, str]]) -> None:
    """Raise ConfigError where keys of an arm contradict each other, UnknownNameError for a function without a file."""
    if (arm.start_percent is None) == (arm.start_step is None):
        raise ConfigError(f"arm {arm.name}: set exactly one of start_percent and start_step")
    if (arm.direction == FUNCTION) != (arm.function is not None):
        raise ConfigError(f"arm {arm.name}: key 'function' and direction: {FUNCTION} must be used together")
    if arm.function is not None:
        function_path(arm.function)
    elif not pairs and arm.direction != IDENTITY:
        raise ConfigError(f"arm {arm.name}: {arm.direction} needs pairs of words, but the declaration has none")


def function_path(name: str) -> Path:
    """File of a user's rewriting, ``config/interventions/<name>.py``; raises UnknownNameError."""
    known = sorted(path.stem for path in FOLDER.glob("*.py"))
    if name not in known:
        raise UnknownNameError("rewriting function", name, known)
    return FOLDER / f"{name}.py"


def chosen_arms(declaration: Declaration, wanted: str | list[str]) -> tuple[Arm, ...]:
    """Arms by name, or all of them."""
    names = list(declaration.arms) if wanted == "all" else [wanted] if isinstance(wanted, str) else wanted
    return tuple(declaration.arm(name) for name in names)


def iteration_at(model: Model, percent: float) -> int:
    """Iteration at a share of training; that of a published checkpoint where one is near.

    Raises ConfigError for a share at which nothing is left to train.
    """
    exact = percent * model.train_iterations / 100
    published = [model.step(hub).iteration for hub in model.steps]
    nearest = min(published, key=lambda iteration: abs(iteration - exact))
    found = nearest if abs(nearest - exact) <= NEAR * model.train_iterations else round(exact)
    if not 0 <= found <= model.train_iterations:
        raise ConfigError(f"{model.name}: {percent} % of its {model.train_iterations} iterations is not a valid start")
    return found


def start_iteration(model: Model, arm: Arm) -> int:
    """Iteration of the baseline from which an arm continues; raises ConfigError when nothing is left to train."""
    if arm.start_percent is None:
        start = model.step(int(arm.start_step or 0)).iteration
    else:
        start = iteration_at(model, arm.start_percent)
    if start >= model.train_iterations:
        raise ConfigError(f"arm {arm.name}: {arm.start} leaves {model.name} nothing to train")
    return start


def saved_iterations(model: Model, arm: Arm) -> tuple[int, ...]:
    """Iterations of an arm that are saved and evaluated: a grid that all arms share, from the start on.

    >>> from workflow_scripts.suite.registry import load_suite
    >>> saved_iterations(load_suite("pythia").model("pythia-410m-deduped"), Arm("a", "swap", 93))
    (133000, 138000, 143000)
    """
    start, percent, found = start_iteration(model, arm), 100.0, [model.train_iterations]
    while percent - GRID_PERCENT > 0:
        percent -= GRID_PERCENT
        iteration = iteration_at(model, percent)
        if iteration <= start:
            break
        found.append(iteration)
    return (start, *reversed(found))
