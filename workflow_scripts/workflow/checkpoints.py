"""What rules/checkpoints.smk looks up: where checkpoints come from, which files they have, which wait for which.

Functions of a run; a function that answers for one job is made from the run once and takes that job's wildcards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workflow_scripts.checkpoints.checkpoint_files import checkpoint_files
from workflow_scripts.checkpoints.defect_table import known_defects
from workflow_scripts.checkpoints.ledger_file import pinned_commits, revision_of
from workflow_scripts.errors import ConfigError
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.suite import GPT_NEOX, layout
from workflow_scripts.suite.models import CHECKPOINT_FILES
from workflow_scripts.suite.revision_names import ledger_text
from workflow_scripts.suite.run import CHANGES, Run
from workflow_scripts.table_columns import read_columns
from workflow_scripts.workflow.planning_process import last_and_gone
from workflow_scripts.workflow.snakemake_types import Wildcards
from workflow_scripts.workflow.sweep import Sweep

# Settings of a tokenizer that only transformers reads.
OF_TRANSFORMERS = ("special_tokens_map.json", "tokenizer_config.json")
Paths = list[str] | Callable[[Wildcards], list[str]]


def leave_out_defects(run: Run) -> Run:
    """``run`` without the checkpoints that its table of defects lists, and a line for each that is left out.

    Raises ConfigError when no step of a model is left, MissingInputError or DataError for the table itself.
    """
    table = run.section("checkpoints").get("defects")
    defects = known_defects(table) if table else {}
    listed = {
        (model.name, step): kinds
        for model, step in (layout.checkpoints_of(run) if defects else ())
        if (kinds := defects.get((model.name, model.step(step).revision)))
    }
    good = {name: tuple(step for step in wanted if (name, step) not in listed) for name, wanted in run.steps.items()}
    empty = [name for name, wanted in good.items() if not wanted]
    if empty:
        raise ConfigError(f"{empty[0]}: every step of the run is listed as defective in {table}; choose other steps")
    lines = (
        f"{name} step{step}: excluded, {table} lists it: {', '.join(kinds)}" for (name, step), kinds in listed.items()
    )
    return replace(run, steps=good, left_out=tuple(lines))


def hold_to_ledger(run: Run) -> Run:
    """``run`` with the files that its ledger has of a model's checkpoints in place of those that the suite declares.

    Raises ConfigError for a model whose pinned steps have different files: one rule fetches all of them.
    """
    chosen = layout.checkpoints_of(run) if ledger_of(run) else ()
    wanted = {(model.name, ledger_text(model.step(step).revision)) for model, step in chosen}
    listed: dict[str, dict[str, list[FileEntry]]] = {}
    for path in filter(os.path.exists, ledger_of(run)):
        for name, step, _, file in read_columns(Path(path), ("model", "step", "commit", "file")):
            if (name, step) in wanted:
                listed.setdefault(name, {}).setdefault(step, []).append(FileEntry(file, None, None))
    models = [
        replace(model, files=pinned_files(model.name, listed[model.name], *ledger_of(run)))
        if model.name in listed
        else model
        for model in run.models
    ]
    return replace(run, models=tuple(models))


def pinned_files(model: str, steps: Mapping[str, Sequence[FileEntry]], ledger: str) -> tuple[str, ...]:
    """The files to fetch of every one of ``steps``, of which ``ledger`` lists what a revision holds."""
    chosen: dict[tuple[str, ...], str] = {}
    for text, entries in steps.items():
        revision = revision_of(text, ledger)
        files = tuple(sorted(entry.path for entry in checkpoint_files(entries, f"{model} {revision}, {ledger}")))
        chosen.setdefault(files, revision)
    if len(chosen) > 1:
        one, other = list(chosen.values())[:2]
        raise ConfigError(f"{model}: {one} and {other} have different files in {ledger}; run them apart")
    return next(iter(chosen))


def source_of(run: Run) -> str:
    """Where checkpoints are fetched from: models trained here come from the local mirror."""
    return "mirror" if run.retrains else str(run.section("checkpoints")["source"])


def location_of(run: Run) -> str:
    """Folder or endpoint that checkpoints are fetched from; empty for the public Hub."""
    return layout.MIRROR if run.retrains else str(run.section("checkpoints").get("location") or "")


def ledger_of(run: Run) -> list[str]:
    """The ledger that fetches from a Hub are held to; a mirror carries its own list."""
    own = filter(os.path.exists, run.suite.ledgers)
    return [next(own, layout.LEDGER)] if source_of(run) == "hub" else []


def ledger_arguments(run: Run) -> list[str]:
    """The ledger as an argument."""
    return [text for path in ledger_of(run) for text in ("--ledger", path)]


def changes_of(run: Run, *names: str) -> list[str]:
    """What the run changes of the models ``names``, by default of all, as an argument; nothing of a Hub's models."""
    wanted = names or tuple(model.name for model in run.models)
    overrides, variants = (run.section(key) or {} for key in CHANGES)
    added = {name: numbers for name, numbers in variants.items() if name in wanted}
    bases = {run.suite.model(name).name for name in (*wanted, *(str(numbers["of"]) for numbers in added.values()))}
    changed = {name: numbers for name, numbers in overrides.items() if run.suite.model(name).name in bases}
    changes = {key: value for key, value in zip(CHANGES, (changed, added), strict=True) if value}
    return ["--changes", json.dumps(changes, sort_keys=True)] if changes and source_of(run) == "mirror" else []


def fetch_arguments(run: Run) -> list[str] | Callable[[Wildcards], list[str]]:
    """The ledger, and the revision of a job's checkpoint where its suite does not call it ``step<N>``."""
    ledger, models = ledger_arguments(run), {model.name: model for model in run.models if model.revisions}

    def with_revision(wildcards: Wildcards) -> list[str]:
        model = models.get(wildcards.model)
        return ledger if model is None else [*ledger, "--revision", model.step(int(wildcards.step)).revision]

    return with_revision if models else ledger


def commit_of(run: Run) -> Callable[[Wildcards], str]:
    """Commit of a job's checkpoint in the ledger, so that a new commit fetches it anew; empty when it is not pinned."""
    pins = pinned_commits(*ledger_of(run)) if ledger_of(run) else {}
    models = {model.name: model for model in run.models}

    def pinned(wildcards: Wildcards) -> str:
        revision = models[wildcards.model].step(int(wildcards.step)).revision if pins else ""
        return pins.get((wildcards.model, ledger_text(revision)), "")

    return pinned


@dataclass(frozen=True)
class FileList:
    """Models whose checkpoints have the same ``files``, and the ``name`` of the rule that fetches them."""

    name: str
    files: tuple[str, ...]
    models: tuple[str, ...]


def file_lists(run: Run) -> list[FileList]:
    """The few distinct lists of files among the models of ``run``: outputs must be the same for all jobs of a rule.

    The most common one belongs to the rule called fetch_checkpoint.
    """
    models: dict[tuple[str, ...], list[str]] = {}
    for model in run.models:
        models.setdefault(model.files, []).append(model.name)
    common = max(models, key=lambda files: (files == CHECKPOINT_FILES, len(models[files])), default=())
    names: dict[str, int] = {}
    lists = []
    for files, members in models.items():
        parts = sum(name.endswith((".safetensors", ".bin")) for name in files)
        name = "fetch_checkpoint" if files == common else f"fetch_checkpoint_in_{parts}_parts"
        names[name] = names.get(name, 0) + 1
        lists.append(FileList(name if names[name] == 1 else f"{name}_{names[name]}", files, tuple(members)))
    return lists


def each_file(run: Run, pattern: str, *, transformers: bool = False) -> Paths:
    """``pattern`` for each ``{file}`` that a program reads of the checkpoint of a job's model.

    Programs that load a checkpoint with transformers, as all may that is not GPT-NeoX, read two files more. A list of
    patterns where all models of the run have the same files, which Snakemake resolves faster than a function.
    """
    lists = {
        model.name: [
            pattern.replace("{file}", name)
            for name in model.files
            if transformers or model.architecture != GPT_NEOX or name not in OF_TRANSFORMERS
        ]
        for model in run.models
    }
    distinct = list({tuple(paths): paths for paths in lists.values()}.values())
    if len(distinct) < 2:
        return distinct[0] if distinct else []
    return lambda wildcards: [path.format(**dict(wildcards.items())) for path in lists[wildcards.model]]


def room_for(sweep: Sweep) -> Paths:
    """Markers of the checkpoints that must be gone before a job may fetch its own; nothing without a disk budget."""
    if not sweep.waits:
        return []
    waits: Mapping[Any, Sequence[Any]] = sweep.waits
    return lambda wildcards: [
        layout.released_marker(*key) for key in waits.get((wildcards.model, int(wildcards.step)), ())
    ]


def released(sweep: Sweep) -> list[str]:
    """Markers of all checkpoints that the run deletes once they are scored; none without a disk budget."""
    return [layout.released_marker(*key) for key in sweep.waits if key not in sweep.kept]


def stored(run: Run, sweep: Sweep) -> list[list[str]]:
    """Files of each checkpoint of the run that stays on the disk."""
    return [
        layout.checkpoint_files(layout.checkpoint_folder(model.name, step), model.files)
        for model, step in layout.checkpoints_of(run)
        if not sweep.waits or (model.name, step) in sweep.kept
    ]


def fetched(run: Run, sweep: Sweep) -> list[str]:
    """What a target names for the checkpoints that stay on the disk, and markers of those that are gone by then."""
    return [*last_and_gone(stored(run, sweep)), *released(sweep)]


def sample_checkpoint(run: Run) -> tuple[str, int] | None:
    """Model and step that stock lm-eval evaluates too: the last step of the first model."""
    if not run.models:
        return None
    name = run.models[0].name
    return name, run.steps[name][-1]


def audited(run: Run) -> list[str]:
    """The table of defects, and the ledger of a mirror; nothing for a run without models."""
    folder = layout.audit_folder(run.suite.name)
    names = ["defects.tsv"] if ledger_of(run) else ["defects.tsv", "ledger.tsv"]
    return [f"{folder}/{name}" for name in names] if run.models else []


def quickstarts(run: Run) -> list[str]:
    """Text that the sample checkpoint generates."""
    sample = sample_checkpoint(run)
    return [f"{layout.RESULTS}/quickstart/{sample[0]}/step{sample[1]}.txt"] if sample else []
