"""Where each output of the workflow is, and which outputs a run asks for.

Paths are relative to the working directory and made for people: names, never hashes. The rules take their paths from
here, so that a path is spelt in one place.
"""

from collections.abc import Iterator, Sequence

from workflow_scripts.suite.models import CHECKPOINT_FILES, Model
from workflow_scripts.suite.run import CURRENT, Run

RESULTS = "results"
MIRROR = f"{RESULTS}/mirror"
TASK_DATA = f"{MIRROR}/datasets"
FETCHED_DATA = f"{RESULTS}/datasets"  # evaluation data from the Hub
HASH_LIST = "sha256.txt"
FETCHED = "fetched.json"
LOGLIKELIHOODS = ".loglikelihoods.npz"
# Original result files and configs of EleutherAI/pythia, as downloaded.
UPSTREAM = f"{RESULTS}/published/upstream"
UPSTREAM_RECEIPT = f"{RESULTS}/published/downloaded.json"
LEDGER = "config/suites/locks/checkpoints.tsv"
WINOBIAS_LOCK = "config/suites/locks/winobias.tsv"
TASK_LOCK = "config/suites/locks/tasks.tsv"


def tokenizer_file(suite: str) -> str:
    """Tokenizer that is trained here."""
    return f"{RESULTS}/corpus/{suite}/tokenizer.json"


def dataset_folder(suite: str, key: str) -> str:
    """Everything about one downloaded data set."""
    return f"{RESULTS}/data/{suite}/{key}"


def training_folder(model: str) -> str:
    """Checkpoints and metrics of a model that is trained here."""
    return f"{RESULTS}/training/{model}"


def checkpoint_folder(model: str, step: int) -> str:
    """A fetched checkpoint."""
    return f"{RESULTS}/checkpoints/{model}/step{step}"


def checkpoint_files(folder: str, names: Sequence[str] = CHECKPOINT_FILES) -> list[str]:
    """Everything that is in the ``folder`` of a fetched checkpoint: its files, their hashes, the receipt."""
    return [f"{folder}/{name}" for name in (*names, HASH_LIST, FETCHED)]


def released_marker(model: str, step: int) -> str:
    """Says that a checkpoint was scored and deleted; only runs with a disk budget make it."""
    return f"{RESULTS}/checkpoints/{model}/released/step{step}.json"


def audit_folder(suite: str) -> str:
    """What the audit saw of a suite's checkpoints, and the defects that it found."""
    return f"{RESULTS}/audit/{suite}"


def kind_suffix(kind: str) -> str:
    """Part of a file name that says under which protocol it was made, or that stock lm-eval made it.

    >>> kind_suffix("current"), kind_suffix("pythia-2023")
    ('', '.pythia-2023')
    """
    return "" if kind == CURRENT else f".{kind}"


def plan_file(suite: str, shots: int, task: str, protocol: str = CURRENT) -> str:
    """Evaluation plan of one task of a suite for a number of shots."""
    return f"{RESULTS}/plans/{suite}/{shots}-shot{kind_suffix(protocol)}/{task}.plan"


def score_file(model: str, step: int, shots: int, kind: str = CURRENT) -> str:
    """Results of one checkpoint; ``kind`` is a protocol, or ``stock`` for tasks that stock lm-eval runs."""
    return f"{RESULTS}/scores/{model}/step{step}/{shots}-shot{kind_suffix(kind)}.json"


def loglikelihoods_file(scores: str) -> str:
    """Loglikelihoods of each request beside a results file."""
    return f"{scores}{LOGLIKELIHOODS}"


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
    return [path for model, step in checkpoints_of(run) for path in checkpoint_scores(run, model.name, step)]


def checkpoint_scores(run: Run, model: str, step: int) -> list[str]:
    """All result files of one checkpoint."""
    return [score_file(model, step, shots, kind) for kind, shots in run.score_kinds]
