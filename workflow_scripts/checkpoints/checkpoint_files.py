"""Which files of a repository belong to a checkpoint, and which of them are fetched.

Repositories of the suite hold the same weights twice (pytorch_model.bin and model.safetensors); taking both would
double 15 TB. Safetensors are preferred because they cannot run code; an old .bin is taken only where a revision has
nothing else. Sharded weights are taken whole. Repositories of optimizer states (neox-ckpt-*) hold the trainer's own
files instead: layers, model state and the parts of the optimizer.
"""

import fnmatch
import re
from collections.abc import Sequence

from workflow_scripts.errors import ModelError
from workflow_scripts.storage.lockfile import FileEntry

# Weight formats in order of preference: the weights themselves, and the index that a sharded set carries.
FORMATS = (
    ("safetensors", "model*.safetensors", "model.safetensors.index.json"),
    ("bin", "pytorch_model*.bin", "pytorch_model.bin.index.json"),
)
COMPANIONS = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
NEEDED = ("config.json", "tokenizer.json")
SHARD = re.compile(r"(?:model|pytorch_model)-(\d{5})-of-(\d{5})\.(?:safetensors|bin)")
# What GPT-NeoX's trainer saves (DeepSpeed's names), at the top or in a folder global_step<N>.
TRAINER_FILES = ("layer_*-model_*-model_states.pt", "mp_rank_*_model_states.pt", "*zero_pp_rank_*_optim_states.pt")
TRAINER_EXTRAS = ("latest", "*.yml", "*.yaml")
TRAINER_REPOSITORY = "neox-ckpt-"


def is_weight_file(path: str) -> bool:
    """True for weights in Hugging Face's formats."""
    return any(fnmatch.fnmatchcase(path, pattern) for _, pattern, _ in FORMATS)


def is_trainer_file(path: str) -> bool:
    """True for a file that GPT-NeoX's trainer needs to go on."""
    name = path.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in (*TRAINER_FILES, *TRAINER_EXTRAS))


def is_checkpoint_file(path: str) -> bool:
    """True for everything that a ledger keeps: both weight formats, indexes, companions and trainer files.

    >>> is_checkpoint_file("model.safetensors"), is_checkpoint_file("README.md")
    (True, False)
    """
    return (
        path in COMPANIONS
        or path in [index for _, _, index in FORMATS]
        or is_weight_file(path)
        or is_trainer_file(path)
    )


def is_trainer_repository(name: str) -> bool:
    """True for ``org/name`` of a repository of optimizer states."""
    return name.rpartition("/")[2].startswith(TRAINER_REPOSITORY)


def checkpoint_files(entries: Sequence[FileEntry], where: str) -> list[FileEntry]:
    """The files to take of a revision: one weight format, its index if any, configuration and tokenizer.

    Raises ModelError when a revision has no weights, a gap among its shards, or no configuration or tokenizer.
    """
    by_path = {entry.path: entry for entry in entries}
    missing = [name for name in NEEDED if name not in by_path]
    if missing:
        raise ModelError(f"{where}: lacks {', '.join(missing)}; this is not a checkpoint in Hugging Face's format")
    companions = [by_path[name] for name in COMPANIONS if name in by_path]
    for _, pattern, index in FORMATS:
        weights = [entry for entry in entries if fnmatch.fnmatchcase(entry.path, pattern)]
        if weights:
            refuse_gaps([entry.path for entry in weights], where)
            return [*weights, *([by_path[index]] if index in by_path else []), *companions]
    known = ", ".join(pattern for _, pattern, _ in FORMATS)
    raise ModelError(f"{where}: contains no weights; expected one of {known}")


def declared_files(entries: Sequence[FileEntry], names: Sequence[str], where: str) -> list[FileEntry]:
    """The files called ``names``, which a suite declares for a model; raises ModelError when one is not served."""
    by_path = {entry.path: entry for entry in entries}
    absent = [name for name in names if name not in by_path]
    if absent:
        served = [path for path in by_path if is_checkpoint_file(path) and not is_trainer_file(path)]
        raise ModelError(
            f"{where}: does not serve {', '.join(absent)}; it serves {', '.join(sorted(served)) or 'no checkpoint'}. "
            "Write the names it serves under `files` of the model's size (or its family's by_model) in config/suites"
        )
    missing = [name for name in NEEDED if name not in names]
    if missing or not any(is_weight_file(name) for name in names):
        raise ModelError(f"{where}: `files` lacks {', '.join(missing) or 'weights'}, which a checkpoint requires")
    chosen = [by_path[name] for name in names]
    refuse_gaps(names, where)
    return chosen


def trainer_files(entries: Sequence[FileEntry], where: str) -> list[FileEntry]:
    """The files to take of a revision of optimizer states; raises ModelError when it holds none."""
    chosen = [entry for entry in entries if is_trainer_file(entry.path)]
    if not any(entry.path.endswith(".pt") for entry in chosen):
        raise ModelError(f"{where}: contains no trainer state; expected files like {', '.join(TRAINER_FILES)}")
    return chosen


def refuse_gaps(paths: Sequence[str], where: str) -> None:
    """Raise ModelError when shards say that there are more of them than are listed."""
    matches = [match for path in paths if (match := SHARD.fullmatch(path))]
    have, wanted = {int(match[1]) for match in matches}, max((int(match[2]) for match in matches), default=0)
    lost = sorted(set(range(1, wanted + 1)) - have)
    if lost:
        raise ModelError(f"{where}: shard {lost[0]} of {wanted} is missing; the revision is incomplete")
