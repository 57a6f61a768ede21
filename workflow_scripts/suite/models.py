"""What a model, a data set, a task and a suite are.

All are frozen: facts that are read once from ``config/suites/<suite>.yaml`` and never change during a run. Derived
numbers (parameters, tokens, padded vocabulary) are computed here and typed nowhere.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite import GPT_NEOX
from workflow_scripts.suite.revision_names import DEFAULT, step_named
from workflow_scripts.suite.steps import Step, parse_steps

# Files of one published checkpoint where a suite says nothing else: small weights lie in one file.
CHECKPOINT_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


@dataclass(frozen=True)
class TrainingFacts:
    """What must be known of a model to train it: see :class:`Model`."""

    learning_rate: float
    min_learning_rate: float
    warmup_fraction: float
    lr_schedule: str
    initialisation: str
    training_dtype: str
    weight_seed: int
    data_seed: int


@dataclass(frozen=True)
class Model:
    """One model of a suite and everything that decides how it was trained.

    ``learning_rate`` is the peak, ``min_learning_rate`` the floor of the cosine; ``batch_rows`` is the global batch in
    rows of ``sequence_length`` predicted tokens; ``vocab_size`` is padded. ``dataset`` is a key of the suite's data
    sets, ``steps`` are the Hub steps with a checkpoint, ``arm`` is ``baseline`` or the name of an intervention.
    ``files`` are those of a checkpoint that are fetched: configuration, tokenizer, one format of weights.
    ``architecture`` is the ``model_type`` of their config.json. What a suite does not know of the training is None.
    ``revision_pattern`` is how its branches are named, ``revisions`` are the names of ``steps`` where they are not
    ``step<N>``, ``ledger`` is the table that they come from, if any; ``given_parameters`` counts the parameters of a
    model that is no GPT-NeoX, ``tied`` says that its two embedding matrices are one.
    """

    name: str
    suite: str
    version: str
    size: str
    dataset: str
    arm: str
    repository: str
    aliases: tuple[str, ...]
    layers: int
    hidden_size: int
    heads: int
    vocab_size: int
    sequence_length: int
    batch_rows: int
    train_iterations: int
    hub_steps_per_iteration: int
    learning_rate: float | None
    readme_learning_rate: float | None
    min_learning_rate: float | None
    warmup_fraction: float | None
    lr_schedule: str | None
    initialisation: str | None
    training_dtype: str | None
    published_dtype: str
    weight_seed: int | None
    data_seed: int | None
    tensor_parallel: int
    steps: tuple[int, ...] = field(repr=False)
    files: tuple[str, ...] = field(default=CHECKPOINT_FILES, repr=False)
    architecture: str = GPT_NEOX
    revision_pattern: str = DEFAULT
    revisions: tuple[str, ...] = field(default=(), repr=False)
    ledger: str = field(default="", repr=False)
    given_parameters: int | None = None
    tied: bool = False

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads

    @property
    def parameters(self) -> int:
        """All parameters: 12 L d^2 + 13 L d + 2 d + 2 V d of a GPT-NeoX (embeddings are untied), else as stated."""
        if self.given_parameters is not None:
            return self.given_parameters
        layers, width = self.layers, self.hidden_size
        return 12 * layers * width**2 + 13 * layers * width + 2 * width + self.embedding_parameters

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding matrices."""
        return (1 if self.tied else 2) * self.vocab_size * self.hidden_size

    @property
    def non_embedding_parameters(self) -> int:
        """Parameters without the embedding matrices."""
        return self.parameters - self.embedding_parameters

    @property
    def unknown_of_training(self) -> tuple[str, ...]:
        """Facts without which the model cannot be trained."""
        return tuple(name for name in TrainingFacts.__dataclass_fields__ if getattr(self, name) is None)

    @property
    def training_facts(self) -> TrainingFacts:
        """All that the training depends on; raises ConfigError for a model of which the suite does not know it."""
        if unknown := self.unknown_of_training:
            raise ConfigError(f"{self.name}: suite {self.suite} does not say its {', '.join(unknown)}")
        return TrainingFacts(**{name: getattr(self, name) for name in TrainingFacts.__dataclass_fields__})

    @property
    def batch_tokens(self) -> int:
        """Predicted tokens of one optimizer iteration."""
        return self.batch_rows * self.sequence_length

    def step(self, hub: int) -> Step:
        """The given Hub step of this model."""
        place = bisect_left(self.steps, hub)
        index = place if self.steps[place : place + 1] == (hub,) else None
        named = self.revisions[index] if self.revisions and index is not None else ""
        return Step(hub, self.batch_rows, self.sequence_length, self.hub_steps_per_iteration, named, index)

    def step_of(self, revision: str) -> int | None:
        """Hub step of a revision; None for one that is no checkpoint of this model, such as ``main`` of most."""
        if revision in self.revisions:
            return self.steps[self.revisions.index(revision)]
        step = step_named(self.revision_pattern, revision)
        return None if step == -1 else step

    def select_steps(self, expression: str | int | Sequence[str | int]) -> tuple[int, ...]:
        """Hub steps that ``expression`` names, see ``parse_steps``.

        Raises ConfigError for those that are not there, and for a grid that is to come from a ledger that has none.
        """
        if not self.steps:
            raise ConfigError(
                f"{self.name}: suite {self.suite} takes its steps from the ledger {self.ledger}, which has none of "
                f"them yet; fill it with python -m workflow_scripts.checkpoints.ledger --suite {self.suite} --models "
                f"{self.name} --source hub --ledger {self.ledger}"
            )
        return parse_steps(expression, self.steps)


@dataclass(frozen=True)
class Dataset:
    """A pretokenised data set: where it is, how it is cut, what is known about it.

    ``shard_bytes`` and ``last_shard_bytes`` are None for data sets that are made here. ``lock`` is a TSV of sizes and
    hashes known beforehand, or None where the source carries its own list.
    """

    key: str
    repository: str
    prefix: str
    shards: int
    shard_bytes: int | None = None
    last_shard_bytes: int | None = None
    documents: int | None = None
    lock: str | None = None
    preshuffled: JsonMapping | None = None

    @property
    def shard_names(self) -> tuple[str, ...]:
        """File names of the shards; the count in the name is the index of the last shard, as on the Hub."""
        last = self.shards - 1
        return tuple(f"{self.prefix}-{index:05d}-of-{last:05d}.bin" for index in range(self.shards))

    @property
    def index_name(self) -> str:
        """File name of the index."""
        return f"{self.prefix}.idx"

    @property
    def file_names(self) -> tuple[str, ...]:
        """All files of the data set."""
        return (*self.shard_names, self.index_name)

    @property
    def bin_bytes(self) -> int | None:
        """Size of the joined ``.bin``, where the sizes of the shards are known."""
        if self.shard_bytes is None or self.last_shard_bytes is None:
            return None
        return (self.shards - 1) * self.shard_bytes + self.last_shard_bytes

    @property
    def tokens(self) -> int | None:
        """Tokens in the data set (uint16), where its size is known."""
        return None if self.bin_bytes is None else self.bin_bytes // 2


@dataclass(frozen=True)
class Task:
    """An evaluation task: lm-eval's name, the Hub data set behind it and how its headline number is read."""

    name: str
    repository: str
    metric: str
    title: str
    chance: float | None = None
    splits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """A family of models with its data sets and tasks.

    ``published`` is the table of results that its authors published, ``ledgers`` are the tables that grids come from.
    """

    name: str
    organisation: str
    tokenizer: JsonMapping
    corpus: JsonMapping | None
    datasets: Mapping[str, Dataset]
    models: Mapping[str, Model]
    tasks: Mapping[str, Task]
    published: str | None = None
    ledgers: tuple[str, ...] = ()

    @property
    def is_made_here(self) -> bool:
        """True when the corpus and the models of this suite are made by the workflow itself."""
        return self.corpus is not None

    @property
    def made_tasks(self) -> tuple[Task, ...]:
        """Tasks whose documents the workflow makes itself."""
        return tuple(task for task in self.tasks.values() if task.splits)

    def knows(self, name: str) -> bool:
        """True for the name or old name of a model."""
        return name in self.models or any(name in model.aliases for model in self.models.values())

    def model(self, name: str) -> Model:
        """Model by name or old name; raises UnknownNameError with the nearest name."""
        found = self.models.get(name) or next((m for m in self.models.values() if name in m.aliases), None)
        if found is None:
            raise UnknownNameError("model", name, self.models)
        return found

    def dataset(self, key: str) -> Dataset:
        """Data set by key; raises UnknownNameError."""
        if key not in self.datasets:
            raise UnknownNameError("data set", key, self.datasets)
        return self.datasets[key]

    def task(self, name: str) -> Task:
        """Task by name; raises UnknownNameError."""
        if name not in self.tasks:
            raise UnknownNameError("task", name, self.tasks)
        return self.tasks[name]
