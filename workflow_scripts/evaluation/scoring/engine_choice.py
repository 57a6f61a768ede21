"""Which engine scores a checkpoint: ours where it knows the architecture, otherwise lm-eval's own Hugging Face model.

The workflow knows an architecture only by the name in its suite. What the checkpoint is, its ``config.json`` says, so
the choice is made here, for each checkpoint, and stored in its results with the reason. Imports no torch.
"""

from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import ModelError
from workflow_scripts.evaluation.scoring.llama_folder import NORMS, LlamaConfig, parse_llama
from workflow_scripts.evaluation.scoring.model_folder import NeoxConfig, checked_config, read_config
from workflow_scripts.json_values import JsonMapping, read_object
from workflow_scripts.suite import GPT_NEOX

PREFIX_TREE, LM_EVAL = "prefix-tree", "lm-eval-hf"
ENGINES = (PREFIX_TREE, LM_EVAL)
OWN_ARCHITECTURES = (GPT_NEOX, *NORMS)
# Keys of config.json in which lm-eval looks for the context length, in its order.
CONTEXT = ("n_positions", "max_position_embeddings", "n_ctx")
DEFAULT_CONTEXT = 2048  # lm-eval's, where nothing says more


def engine_of(config: JsonMapping) -> str:
    """Engine that made the results whose entry ``config`` this is."""
    engine = config.get("engine", LM_EVAL)  # stock tasks have no such entry
    return PREFIX_TREE if isinstance(engine, int) else str(engine)


@dataclass(frozen=True)
class EngineChoice:
    """The ``engine`` for a checkpoint, and the ``reason`` where it is not ours.

    ``context`` and ``vocabulary`` in tokens; None where ``config.json`` does not say.
    """

    architecture: str
    engine: str
    reason: str
    context: int | None
    vocabulary: int | None


def choose_engine(folder: Path, architecture: str = GPT_NEOX, wanted: str | None = None) -> EngineChoice:
    """Engine for the checkpoint in ``folder``, which its suite says is of ``architecture``; ``wanted`` overrides.

    Raises ModelError when ``config.json`` is of another architecture or cannot be understood.
    """
    raw = read_model_config(folder, architecture)
    if wanted == LM_EVAL:
        return by_lm_eval(architecture, "it was asked for", raw)
    try:
        config = checked_config(raw, folder / "config.json") if architecture == GPT_NEOX else parse_own(raw)
    except ValueError as error:
        if wanted == PREFIX_TREE:
            hint = "leave out --engine to score it with lm-eval's model"
            raise ModelError(f"{folder / 'config.json'}: {error}; {hint}") from error
        return by_lm_eval(architecture, str(error), raw)
    return EngineChoice(architecture, PREFIX_TREE, "", config.context, config.vocabulary)


def read_own_config(folder: Path) -> NeoxConfig | LlamaConfig:
    """Configuration of a checkpoint that our engine computes; :class:`ModelError` for any other."""
    path = folder / "config.json"
    if not path.is_file():
        return read_config(folder)
    raw = read_object(path, "model configuration", "give a Hugging Face folder of one checkpoint")
    if raw.get("model_type", GPT_NEOX) == GPT_NEOX:
        return checked_config(raw, path)
    try:
        return parse_own(raw)
    except ValueError as error:
        raise ModelError(f"{path}: {error}; the prefix-tree engine cannot compute this checkpoint") from error


def parse_own(raw: JsonMapping) -> LlamaConfig:
    """Configuration of another architecture than GPT-NeoX; ValueError says why our engine cannot compute it."""
    if raw["model_type"] not in OWN_ARCHITECTURES:
        raise ValueError(f"the prefix-tree engine does not know '{str(raw['model_type'])[:60]}'")
    return parse_llama(raw)


def read_model_config(folder: Path, architecture: str) -> JsonMapping:
    """``config.json`` of ``folder``; :class:`ModelError` when its ``model_type`` is not ``architecture``."""
    path = folder / "config.json"
    raw = read_object(path, "model configuration", "give a Hugging Face folder of one checkpoint")
    found = raw.get("model_type", GPT_NEOX)
    if found != architecture:
        raise ModelError(
            f"{path}: model_type is {str(found)[:60]!r}, but '{architecture}' was expected; correct 'architecture' in "
            "the suite (--architecture), or fetch the right checkpoint"
        )
    return raw


def by_lm_eval(architecture: str, reason: str, raw: JsonMapping) -> EngineChoice:
    """Choice of lm-eval's model for a checkpoint with the configuration ``raw``."""
    nested = raw.get("text_config")
    settings = nested if isinstance(nested, dict) else raw
    context = next((settings[key] for key in CONTEXT if isinstance(settings.get(key), int)), None)
    vocabulary = settings.get("vocab_size")
    return EngineChoice(architecture, LM_EVAL, reason, context, vocabulary if isinstance(vocabulary, int) else None)
