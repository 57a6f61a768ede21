"""The one reader of GPT-NeoX configuration files: settings of one or several files, held to the list of known keys.

What a recipe, a conversion and the order of the rows need is taken from here, so that no two of them can read the same
file differently. GPT-NeoX merges the files it is given; so does this. Keys may be written with hyphens or underscores.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import ConfigError, MissingInputError, ModelError
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.suite.neox_keys import ERAS, FIXED, UNDERSTOOD, is_neutral
from workflow_scripts.suite.safe_yaml import load_yaml

DEFAULT_SPLIT = "969, 30, 1"


@dataclass(frozen=True)
class Settings:
    """Values under names with underscores; ``where`` names the files in messages."""

    values: JsonMapping
    where: str

    def get(self, name: str, default: Any = None) -> Any:
        """Value of a key; ``default`` where the files do not have it, or say null, as GPT-NeoX takes both."""
        value = self.values.get(name)
        return default if value is None else value

    def whole(self, name: str, default: int | None = None) -> int:
        """Value that must be a whole number; raises ConfigError for another, and where it is missing."""
        value = self.get(name, default)
        if value is None:
            raise ConfigError(f"{self.where}: '{hyphens(name)}' is missing")
        if type(value) is not int:
            raise ConfigError(f"{self.where}: {hyphens(name)} {value!r} must be a whole number")
        return value


def hyphens(name: str) -> str:
    """Name as most files write it.

    >>> hyphens("num_layers")
    'num-layers'
    """
    return name.replace("_", "-")


def read_settings(paths: Path | Sequence[Path]) -> Settings:
    """Settings of ``paths``: a file, several that belong together, or a folder of .yml files.

    A key may be in two files when both say the same. Raises MissingInputError, or ConfigError with a likely cause.
    """
    files = [file for path in ([paths] if isinstance(paths, Path) else paths) for file in files_of(path)]
    merged: JsonObject = {}
    places: dict[str, Path] = {}
    for file in files:
        for name, value in read_file(file).items():
            if name in merged and merged[name] != value:
                raise ConfigError(
                    f"{file}: {hyphens(name)} is {value!r}, but {merged[name]!r} in another file of the run "
                    f"({places[name]})"
                )
            merged[name], places[name] = value, file
    return Settings(merged, ", ".join(map(str, files)))


def files_of(path: Path) -> list[Path]:
    """The file itself, or the .yml files of a folder."""
    files = sorted(path.glob("*.yml")) if path.is_dir() else [path]
    if not files:
        raise MissingInputError(f"{path}: contains no .yml file")
    return files


def read_file(path: Path) -> JsonObject:
    """Settings of one file."""
    try:
        raw = load_yaml(path)
    except ConfigError as error:
        raise ConfigError(f"{error}{comma_hint(path)}") from None
    settings: JsonObject = {}
    for key, value in raw.items():
        name = str(key).replace("-", "_")
        if name in settings:
            raise ConfigError(f"{path}: duplicate key '{key}', once with hyphens and once with underscores")
        settings[name] = value
    return settings


def comma_hint(path: Path) -> str:
    """Name the first entry that lacks the comma after it, as pythia-12b.yml does (pythia#162); empty if none does."""
    lines = [line.split("#")[0].rstrip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    filled = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    for (number, line), (_, following) in itertools.pairwise(filled):
        if following.startswith(('"', "'")) and not line.endswith((",", "{", "[")):
            return f"; a comma seems to be missing at the end of line {number}: {line}"
    return ""


def check_keys(settings: Settings, areas: frozenset[str], era: str = ERAS[0]) -> None:
    """Refuse unknown keys, and values of ``areas`` that ask for something else than is done here.

    ``era`` is the version of GPT-NeoX's code, whose defaults hold where the files are silent. Raises ConfigError or
    ModelError.
    """
    for name in settings.values:
        if name not in UNDERSTOOD and name not in FIXED and not is_neutral(name):
            raise ConfigError(
                f"{settings.where}: unknown key '{hyphens(name)}', which might affect the result; correct its name, or "
                "remove it if it has no effect"
            )
    for name, entry in FIXED.items():
        if entry.areas & areas:
            check_fixed(settings, name, era)


def check_fixed(settings: Settings, name: str, era: str) -> None:
    """Refuse another value of a fixed key; raises ModelError."""
    entry, value = FIXED[name], settings.values.get(name)
    wanted = " or ".join(repr(item) for item in entry.allowed)
    if value is None and entry.silent:
        value = entry.silent[ERAS.index(era)] if len(entry.silent) > 1 else entry.silent[0]
        if value is None:
            raise ModelError(
                f"{settings.where}: '{hyphens(name)}' is missing, and its default changed within the versions of "
                f"{era}; add it ({wanted})"
            )
        if not entry.permits(value):
            raise ModelError(
                f"{settings.where}: {name} is {value!r}; only {wanted} is supported (not in the file, so GPT-NeoX's "
                "default applies)"
            )
    elif value is not None and not entry.permits(value):
        raise ModelError(f"{settings.where}: {name} is {value!r}; only {wanted} is supported")


def parallel_sizes(settings: Settings) -> tuple[int, int]:
    """Tensor-parallel and pipeline-parallel size; 0 means 1."""
    sizes = tuple(settings.whole(name, 1) for name in ("model_parallel_size", "pipe_parallel_size"))
    return max(1, sizes[0]), max(1, sizes[1])


def batch_rows(settings: Settings, gpus: int | None) -> int | None:
    """Rows of the global batch as GPT-NeoX computes them, or None where neither the files nor ``gpus`` decide it.

    ``gpus`` is the number of the launch; global_num_gpus of a file must agree with it. The batch is micro-batch x
    accumulation x data-parallel ranks, and there are GPUs / (tensor x pipeline) of these. Raises ConfigError for
    numbers that GPT-NeoX itself refuses.
    """
    told = None if settings.get("global_num_gpus") is None else settings.whole("global_num_gpus")
    if told is not None and gpus not in {None, told}:
        raise ConfigError(f"{settings.where}: global-num-gpus is {told}, --gpus is {gpus}; they must agree")
    launch = gpus if told is None else told
    names = ("train_batch_size", "train_micro_batch_size_per_gpu")
    batch, micro = (None if settings.get(name) is None else settings.whole(name) for name in names)
    accumulation = settings.whole("gradient_accumulation_steps", 1)
    if launch is None:
        return batch
    tensor, pipeline = parallel_sizes(settings)
    ranks, rest = divmod(launch, tensor * pipeline)
    if rest or not ranks:
        raise ConfigError(
            f"{settings.where}: {launch} GPUs are not divisible by model-parallel-size {tensor} x pipe-parallel-size "
            f"{pipeline}"
        )
    if batch is not None and micro is None:
        micro = batch // ranks // accumulation if accumulation > 0 else 0
    if micro is None:
        return None
    rows = micro * accumulation * ranks
    if rows < 1 or batch not in {None, rows}:
        raise ConfigError(
            f"{settings.where}: train_batch_size {batch} is not {micro} rows x {accumulation} steps of accumulation x "
            f"{ranks} data-parallel ranks, which GPT-NeoX rejects"
        )
    return rows


def data_location(settings: Settings) -> tuple[list[str], str | None]:
    """Prefixes of the training data, and the split by documents where there is one data set for all three parts.

    GPT-NeoX cuts ``data-path`` by ``split`` and reads each of ``train-data-paths`` whole. Raises ConfigError where a
    file names both.
    """
    whole, path = settings.get("train_data_paths"), settings.get("data_path")
    if whole is not None and path is not None:
        raise ConfigError(
            f"{settings.where}: has both data-path and train-data-paths; GPT-NeoX accepts only one of them"
        )
    if path is not None:
        split = settings.get("split", DEFAULT_SPLIT)
        if not isinstance(path, str) or not isinstance(split, str):
            raise ConfigError(f"{settings.where}: data-path {path!r} and split {split!r} must be strings")
        return [path], split
    if whole is not None and not (isinstance(whole, list) and all(isinstance(item, str) for item in whole)):
        raise ConfigError(f"{settings.where}: train-data-paths {whole!r} must be a list of paths")
    return list(whole or []), None
