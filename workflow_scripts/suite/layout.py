"""Where each output of the workflow lies, and which outputs a run asks for.

Paths are relative to the working directory and made for people: names, never hashes. The rules take their paths from
here, so that a path is spelt in one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.suite.models import Dataset, Model
from workflow_scripts.suite.run import Run

RESULTS = "results"
MIRROR = f"{RESULTS}/mirror"
TASK_DATA = f"{MIRROR}/datasets"
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
HASH_LIST = "sha256.txt"
# Original result files and configs of EleutherAI/pythia, as downloaded.
UPSTREAM = f"{RESULTS}/published/upstream"
UPSTREAM_RECEIPT = f"{RESULTS}/published/downloaded.json"
LEDGER = "config/suites/locks/checkpoints.tsv"


def corpus_file(suite: str, dataset: str) -> str:
    """Documents of a data set that is made here."""
    return f"{RESULTS}/corpus/{suite}/{dataset}.jsonl"


def tokenizer_file(suite: str) -> str:
    """Tokenizer that is trained here."""
    return f"{RESULTS}/corpus/{suite}/tokenizer.json"


def dataset_folder(suite: str, key: str) -> str:
    """Everything about one downloaded data set."""
    return f"{RESULTS}/data/{suite}/{key}"


def mirrored_dataset(dataset: Dataset) -> str:
    """Folder of a data set in the local mirror."""
    return f"{MIRROR}/datasets/{dataset.repository}"


def training_folder(model: str) -> str:
    """Checkpoints and metrics of a model that is trained here."""
    return f"{RESULTS}/training/{model}"


def checkpoint_folder(model: str, step: int) -> str:
    """A fetched checkpoint."""
    return f"{RESULTS}/checkpoints/{model}/step{step}"


def released_marker(model: str, step: int) -> str:
    """Says that a checkpoint was scored and deleted; only runs with a disk budget make it."""
    return f"{RESULTS}/checkpoints/{model}/released/step{step}.json"


def audit_folder(suite: str) -> str:
    """What the audit saw of a suite's checkpoints, and the defects that it found."""
    return f"{RESULTS}/audit/{suite}"


def plan_file(suite: str, shots: int) -> str:
    """Evaluation plan of a suite for a number of shots."""
    return f"{RESULTS}/plans/{suite}/{shots}-shot.plan"


def score_file(model: str, step: int, shots: int) -> str:
    """Results of one checkpoint."""
    return f"{RESULTS}/scores/{model}/step{step}/{shots}-shot.json"


def report_code() -> list[str]:
    """Code of the report: figures are cheap, so an edit draws them again; Snakemake compares contents, not dates."""
    return sorted(str(path) for path in Path("workflow_scripts/report").glob("*.py"))


def run_folder(run: str) -> str:
    """Tables, figures and report of a run."""
    return f"{RESULTS}/runs/{run}"


def checkpoints_of(run: Run) -> Iterator[tuple[Model, int]]:
    """Every (model, step) of a run, models in the run's order, steps ascending."""
    for model in run.models:
        for step in run.steps[model.name]:
            yield model, step


def score_files(run: Run) -> list[str]:
    """All result files of a run."""
    return [score_file(model.name, step, shots) for model, step in checkpoints_of(run) for shots in run.shots]
