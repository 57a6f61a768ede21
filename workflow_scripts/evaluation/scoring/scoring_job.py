"""What one scoring job is: checkpoint, plans, arithmetic and outputs, and whether these are done; computes nothing.

Scores that wait to be put in their place lie in the hidden folder ``.<output>.unpublished`` beside it: those of a
checkpoint that another checkpoint's process scored too (siblings.py). They are moved there only when they hold exactly
what would be computed. Imports no torch, so a process that only moves files costs little.
"""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import DataError, EvaluationError, MissingInputError, shorten
from workflow_scripts.evaluation.planning.plan_file import Plan
from workflow_scripts.evaluation.scoring.model_folder import NeoxConfig, read_config, weights_identity
from workflow_scripts.evaluation.scoring.results import loglikelihoods_path, read_answers, read_results
from workflow_scripts.storage.atomic import sync_folder
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import record_path

LOGGER = logging.getLogger(__name__)
# Raise it when a change of the engine may move a number; scores of another version are not kept.
ENGINE_VERSION = 3


@dataclass(frozen=True)
class Job:
    """One checkpoint, its identity and arithmetic (``config`` of the results files), and the plans to run it on."""

    checkpoint: Path
    config: Mapping[str, Any]
    plans: Mapping[Path, Plan]
    outputs: Sequence[Path]

    def publish(self) -> bool:
        """Put what waits in its place; True when then every output holds sound scores of exactly this."""
        published = [publish(output, plan, self.config) for _, plan, output in self.parts()]
        return all(published)

    @property
    def is_done(self) -> bool:
        """True when the scores of every output are there, in their place or waiting."""
        return all(is_done(output, plan, self.config) for _, plan, output in self.parts())

    def parts(self) -> Sequence[tuple[Path, Plan, Path]]:
        """Path of each plan, the plan, and the output that it belongs to."""
        return [(path, plan, output) for (path, plan), output in zip(self.plans.items(), self.outputs, strict=True)]


def unpublished(output: Path) -> Path:
    """Where the scores of ``output`` wait.

    >>> str(unpublished(Path("step512/0-shot.json")))
    'step512/.0-shot.json.unpublished/0-shot.json'
    """
    return output.parent / f".{output.name}.unpublished" / output.name


def is_done(output: Path, plan: Plan, config: Mapping[str, Any]) -> bool:
    """True when the scores of ``output`` are there, in their place or waiting."""
    return any(is_scored(path, plan, config) for path in (output, unpublished(output)))


def publish(output: Path, plan: Plan, config: Mapping[str, Any]) -> bool:
    """Put the scores of ``output`` in their place if they wait; True when sound scores are there then.

    Whoever was killed in here left results in their place and their record behind; it follows them.
    """
    waiting = unpublished(output)
    if not is_scored(output, plan, config) and is_scored(waiting, plan, config):
        loglikelihoods_path(waiting).replace(loglikelihoods_path(output))
        waiting.replace(output)
        LOGGER.info("%s: the scores that waited are put in its place", output)
    published = is_scored(output, plan, config)
    if published and not waiting.exists() and record_path(waiting).exists():
        record_path(waiting).replace(record_path(output))
        sync_folder(output.parent)
    if published:
        discard(output)
    return published


def discard(output: Path) -> None:
    """Remove what waits for the place of ``output``."""
    if unpublished(output).parent.is_dir():
        shutil.rmtree(unpublished(output).parent)


def is_scored(output: Path, plan: Plan, config: Mapping[str, Any]) -> bool:
    """True when ``output`` holds sound results and loglikelihoods of ``plan`` for exactly this ``config``."""
    try:
        content = read_results(output)
        read_answers(output, plan)
    except (MissingInputError, DataError, EvaluationError):
        return False
    said = content["config"]
    return content.get("plan_identity") == plan.identity and all(said.get(key) == config[key] for key in config)


def make_job(
    checkpoint: Path, plans: Mapping[Path, Plan], outputs: Sequence[Path], arithmetic: Mapping[str, Any]
) -> Job:
    """Job of one checkpoint, once everything that can be checked without its weights is.

    ``arithmetic`` is what :func:`arithmetic` says of a command line.
    """
    config = read_config(checkpoint)
    for path, plan in plans.items():
        check_fits(checkpoint, path, plan, config)
    return Job(checkpoint, run_config(checkpoint) | dict(arithmetic), plans, outputs)


def run_config(checkpoint: Path) -> dict[str, Any]:
    """What identifies a checkpoint and the engine, without paths of this machine."""
    return {
        "model": "gpt_neox",
        "engine": ENGINE_VERSION,
        "model_name": checkpoint.parent.name,
        "revision": checkpoint.name,
        "weights_sha256": weights_identity(checkpoint),
    }


def arithmetic(dtype: str, device: str, bootstrap: int) -> dict[str, Any]:
    """What of a command line decides the bits of the results."""
    kind = device.partition(":")[0]
    return {"dtype": dtype, "softmax_dtype": "float32", "device": kind, "bootstrap_iters": bootstrap}


def check_fits(checkpoint: Path, plan_path: Path, plan: Plan, config: NeoxConfig) -> None:
    """Refuse a plan whose tokenizer or context length is not the checkpoint's."""
    tokenizer = checkpoint / "tokenizer.json"
    if not tokenizer.is_file():
        raise MissingInputError(f"{checkpoint}: has no tokenizer.json, so a plan cannot be matched with it")
    digest, wanted = sha256_file(tokenizer), plan.header["tokenizer_sha256"]
    if digest != wanted:
        raise EvaluationError(
            f"{plan_path}: made for tokenizer {wanted[:12]}, but {checkpoint} has {digest[:12]}; make a plan for it"
        )
    if plan.header["max_length"] > config.context:
        raise EvaluationError(
            f"{plan_path}: made for {plan.header['max_length']} tokens of context, but {checkpoint} takes "
            f"{config.context}; make a plan with --max-length {config.context}"
        )
    if plan.forest.token.max(initial=0) >= config.vocabulary:
        raise EvaluationError(f"{plan_path}: holds token ids beyond the {config.vocabulary} of {checkpoint}")


def check_origin(plan_path: Path, plan: Plan, folders: Sequence[Path]) -> None:
    """Refuse a plan that another lm-eval made than the installed one, or from other files than lie in ``folders``."""
    try:
        installed = importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError:
        installed = plan.header["lm_eval"]  # a machine that only scores needs no lm-eval
    if installed != plan.header["lm_eval"]:
        raise EvaluationError(
            f"{plan_path}: made by lm-eval {plan.header['lm_eval']}, but {installed} is installed; make the plan again"
        )
    for name, digest in plan.header["data"].items() if folders else ():
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            raise MissingInputError(
                f"{plan_path}: made from {name}, which is not under {shorten(list(map(str, folders)))}"
            )
        if sha256_file(path) != digest:
            raise EvaluationError(f"{plan_path}: made from another {name} than {path}; make the plan again")
