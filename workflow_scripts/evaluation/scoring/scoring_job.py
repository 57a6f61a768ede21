"""What one scoring job is: a checkpoint, its arithmetic, its outputs and the plans of each; computes nothing.

An output holds the scores of one or more plans. A plan whose scores are there, for exactly these weights in exactly
this arithmetic, is not run again, so a job that is asked for one task more computes one task. Imports no torch: a
process with nothing to compute costs little.
"""

import functools
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import ConfigError, DataError, EvaluationError, MissingInputError, shorten
from workflow_scripts.evaluation.planning.plan_file import Plan
from workflow_scripts.evaluation.scoring.engine_choice import LM_EVAL, EngineChoice
from workflow_scripts.evaluation.scoring.model_folder import weights_identity
from workflow_scripts.evaluation.scoring.results import has_scores, read_results
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.storage.hashing import sha256_file

# Raise it when a change of the engine may move a number; scores of another version are not kept.
ENGINE_VERSION = 4
# Entries of the configuration in a results file that its plans decide.
OF_THE_PLAN = ("limit", "fewshot_seed")


@dataclass(frozen=True)
class Target:
    """A results file and the plans whose scores it holds, by the name that it has for each: the plan's file name."""

    output: Path
    plans: Mapping[str, Plan]
    paths: Mapping[str, Path]


@dataclass(frozen=True)
class Job:
    """One checkpoint, its engine, identity and arithmetic (``config`` of the results files), and what to write."""

    checkpoint: Path
    choice: EngineChoice
    config: JsonMapping
    targets: Sequence[Target]

    @functools.cached_property
    def missing(self) -> Mapping[Path, Mapping[str, Plan]]:
        """For each output that lacks scores, the plans to run."""
        found = {target.output: lacking(target, self.config) for target in self.targets}
        return {output: plans for output, plans in found.items() if plans}


def lacking(target: Target, config: JsonMapping) -> dict[str, Plan]:
    """Plans of ``target`` without sound scores for exactly this ``config``."""
    try:
        content = read_results(target.output)
    except (MissingInputError, DataError):
        return dict(target.plans)
    said = {key: value for key, value in content["config"].items() if key not in OF_THE_PLAN}
    if said != config:
        return dict(target.plans)
    return {name: plan for name, plan in target.plans.items() if not has_scores(target.output, content, name, plan)}


def make_targets(plans: Mapping[Path, Plan], outputs: Sequence[Path]) -> list[Target]:
    """Share ``plans`` out to the ``outputs`` of one checkpoint; :class:`ConfigError` when that cannot be meant.

    Either each plan has an output of its own, or the plans with equal shots share one; both in the order of the plans.
    """
    groups: dict[Any, dict[Path, Plan]] = {}
    for path, plan in plans.items():
        key = path if len(outputs) == len(plans) else plan.header["shots"]
        groups.setdefault(key, {})[path] = plan
    if len(groups) != len(outputs):
        raise ConfigError(f"{len(plans)} plans of {len(groups)} numbers of shots, but {len(outputs)} --output files")
    return [make_target(output, group) for output, group in zip(outputs, groups.values(), strict=True)]


def make_target(output: Path, plans: Mapping[Path, Plan]) -> Target:
    """One output and its plans, by file name."""
    paths = {path.stem: path for path in plans}
    if len(paths) != len(plans):
        raise ConfigError(f"{output}: two of its plans have one name; names of plans in one results file must differ")
    return Target(output, {path.stem: plan for path, plan in plans.items()}, paths)


def make_job(checkpoint: Path, choice: EngineChoice, targets: Sequence[Target], arithmetic: JsonMapping) -> Job:
    """Job of one checkpoint, once everything that can be checked without its weights is.

    ``arithmetic`` is what :func:`arithmetic` says of a command line.
    """
    for target in targets:
        for name, plan in target.plans.items():
            check_fits(checkpoint, target.paths[name], plan, choice)
    return Job(checkpoint, choice, run_config(checkpoint, choice) | dict(arithmetic), targets)


def run_config(checkpoint: Path, choice: EngineChoice) -> JsonObject:
    """What identifies a checkpoint and the engine, without paths of this machine.

    ``engine`` is the version of ours, or the name of another with the reason why it was chosen.
    """
    engine: JsonObject = {"engine": ENGINE_VERSION}
    if choice.engine == LM_EVAL:
        version = importlib.metadata.version("transformers")
        engine = {"engine": LM_EVAL, "engine_reason": choice.reason, "transformers": version}
    return {
        "model": choice.architecture,
        **engine,
        "model_name": checkpoint.parent.name,
        "revision": checkpoint.name,
        "weights_sha256": weights_identity(checkpoint),
    }


def arithmetic(dtype: str, device: str, bootstrap: int, renewal: int | None = None) -> JsonObject:
    """What of a command line decides the bits of the results; a ``renewal`` recomputes them."""
    kind = device.partition(":")[0]
    given = {} if renewal is None else {"renewal": renewal}
    return {"dtype": dtype, "softmax_dtype": "float32", "device": kind, "bootstrap_iters": bootstrap, **given}


def check_fits(checkpoint: Path, plan_path: Path, plan: Plan, choice: EngineChoice) -> None:
    """Refuse a plan whose tokenizer or context length is not the checkpoint's."""
    tokenizer = checkpoint / "tokenizer.json"
    if not tokenizer.is_file():
        raise MissingInputError(f"{checkpoint}: has no tokenizer.json, so a plan cannot be matched with it")
    digest, wanted = sha256_file(tokenizer), plan.header["tokenizer_sha256"]
    if digest != wanted:
        raise EvaluationError(
            f"{plan_path}: made for tokenizer {wanted[:12]}, but {checkpoint} has {digest[:12]}; make a plan for it"
        )
    if choice.context is not None and plan.header["max_length"] > choice.context:
        raise EvaluationError(
            f"{plan_path}: made for {plan.header['max_length']} tokens of context, but {checkpoint} takes "
            f"{choice.context}; make a plan with --max-length {choice.context}"
        )
    if choice.vocabulary is not None and plan.forest.token.max(initial=0) >= choice.vocabulary:
        raise EvaluationError(f"{plan_path}: holds token ids beyond the {choice.vocabulary} of {checkpoint}")


def check_origin(plan_path: Path, plan: Plan, folders: Sequence[Path]) -> None:
    """Refuse a plan that another lm-eval made than the installed one, or from other files than lie in ``folders``."""
    try:
        installed = importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError:
        installed = plan.header["lm_eval"]  # a machine that only scores needs no lm-eval
    if installed != plan.header["lm_eval"]:
        raise EvaluationError(
            f"{plan_path}: made by lm-eval {plan.header['lm_eval']}, but {installed} is installed; rebuild the plan"
        )
    for name, digest in plan.header["data"].items() if folders else ():
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            raise MissingInputError(
                f"{plan_path}: made from {name}, which is not under {shorten(list(map(str, folders)))}"
            )
        if sha256_file(path) != digest:
            raise EvaluationError(f"{plan_path}: made from another {name} than {path}; rebuild the plan")
