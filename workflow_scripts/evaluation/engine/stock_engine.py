"""lm-eval's own Hugging Face model (``HFLM``) as an engine for plans: any architecture that transformers knows.

It runs each scored sequence of a plan as a padded row, as stock lm-eval does, so it is as slow, and equal by
construction. No code from a checkpoint is ever run: what needs ``trust_remote_code`` is refused.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from workflow_scripts.errors import EvaluationError, ModelError, shorten
from workflow_scripts.evaluation.planning.plan_file import Plan
from workflow_scripts.evaluation.planning.prefix_trees import ScoredSequence
from workflow_scripts.evaluation.planning.tasks import offline
from workflow_scripts.evaluation.scoring.metrics import Answers
from workflow_scripts.evaluation.scoring.model_folder import elements, listed_hashes, refuse_changed
from workflow_scripts.evaluation.scoring.partial_scores import Unfinished
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.progress import Progress
from workflow_scripts.storage.model_files import weight_files
from workflow_scripts.training.tensor_shapes import BUFFERS

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

# Keys of config.json that say how to compute and not what. A name of the Hub as attention would be fetched and run.
HOW_TO_COMPUTE = ("attn_implementation", "dtype", "torch_dtype", "auto_map")
# Sequences between two places where scores may be put aside.
CHUNK = 2048
MOST_ROWS = 16


def stock_batch(length: int, vocabulary: int) -> int:
    """Rows per forward pass of lm-eval so that its [batch, length, vocabulary] logits stay near half a gigabyte.

    >>> stock_batch(2048, 50304), stock_batch(128, 1024)
    (1, 16)
    """
    return max(1, min(MOST_ROWS, 2**27 // (length * vocabulary)))


def network_settings(folder: Path) -> JsonObject:
    """What ``config.json`` says of the network; how to compute it is ours to choose, private keys included."""
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {key: value for key, value in settings.items() if key not in HOW_TO_COMPUTE and not key.startswith("_")}


def refuse_incomplete(folder: Path, loading: JsonMapping) -> None:
    """Raise ModelError when transformers found tensors missing, unexpected or misshapen."""
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(str(name) for name in loading.get(what) or () if not str(name).endswith(BUFFERS))
        if names:
            raise ModelError(f"{folder}: {what.replace('_', ' ')}: {shorten(names, 3)}; fetch the checkpoint again")


def load_config(folder: Path) -> Any:
    """Transformers' configuration of the checkpoint; :class:`ModelError` for one that only foreign code could read."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    path, settings = folder / "config.json", network_settings(folder)
    kind = str(settings.pop("model_type", "gpt_neox"))
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or kind not in CONFIG_MAPPING:
        code = "auto_map" in json.loads(path.read_text(encoding="utf-8"))
        own = "; its auto_map names code of its own, which is never run" if code else ""
        raise ModelError(f"{path}: model_type '{kind[:60]}' is no language model of the installed transformers{own}")
    return CONFIG_MAPPING[kind].from_dict(settings)


def refuse_absurd_model(folder: Path, config: Any) -> None:
    """Raise ModelError when ``config`` calls for more than twice the weights that there are, before any is allocated.

    The first numbers bound what is built without memory (on torch's meta device) to count the rest.
    """
    from transformers import AutoModelForCausalLM

    held = sum(map(elements, weight_files(folder)))
    width = config.hidden_size
    wanted = max(config.num_hidden_layers, config.vocab_size) * width
    if wanted <= 2 * held:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
        wanted = sum(weight.numel() for weight in model.parameters())
    if wanted > 2 * held:
        raise ModelError(
            f"{folder}: config.json calls for {wanted:,} parameters, the weight files hold {held:,}; fetch the "
            "checkpoint again"
        )


def load_network(folder: Path, dtype: str, device: str) -> Any:
    """Transformers' model of the checkpoint in ``folder``, whole and of the bytes that were fetched.

    Raises ModelError, MissingInputError or IntegrityError.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    listed = listed_hashes(folder)
    for file in (folder / "config.json", *weight_files(folder)):
        refuse_changed(file, listed)
    try:
        config = load_config(folder)
        refuse_absurd_model(folder, config)
        found: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (
        *(SafetensorError, StrictDataclassError, ImportError),
        *(OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError),
    ) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ModelError(f"{folder}: transformers cannot load it ({lines[0]})") from error
    model, loading = found
    refuse_incomplete(folder, loading)
    return model.to(device)


def load_stock_model(checkpoint: Path, dtype: str, device: str, length: int | None = None) -> "HFLM":
    """lm-eval's Hugging Face model of the folder ``checkpoint``; ``length``: tokens of context, by default its own."""
    from lm_eval.models.huggingface import HFLM

    network = load_network(checkpoint, dtype, device)
    try:
        model = HFLM(
            pretrained=network,
            tokenizer=str(checkpoint),
            max_length=length,
            softmax_dtype="float32",
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ModelError(f"{checkpoint}: transformers cannot load its tokenizer ({lines[0]})") from error
    model.batch_size_per_gpu = stock_batch(model.max_length, network.config.vocab_size)
    return model


class StockEngine:
    """One checkpoint in lm-eval's model, ready to score plans."""

    def __init__(self, folder: Path, device: str = "cpu", dtype: str = "float32") -> None:
        """Load the checkpoint in ``folder``; the softmax runs in float32, everything else in ``dtype``."""
        self.folder, self.device = folder, torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise ModelError(f"{folder}: device '{device}' was asked for, but torch finds no CUDA device here")
        with offline():
            self.model = load_stock_model(folder, dtype, device)
        self.vocabulary = int(self.model.config.vocab_size)

    def score_plans(self, plans: Sequence[Plan], unfinished: Unfinished | None = None) -> list[Answers]:
        """Loglikelihood and greedy flag of each request of each plan; continues from what ``unfinished`` holds."""
        counts = [len(plan.forest.piece_start) - 1 for plan in plans]
        values, best = np.empty(sum(counts), dtype=np.float32), np.empty(sum(counts), dtype=np.bool_)
        done = unfinished.read(values, best) if unfinished else 0
        ends = np.cumsum(counts)
        with Progress(f"score {self.folder.parent.name}/{self.folder.name}", len(values), "sequences") as progress:
            for plan, count, end in zip(plans, counts, ends, strict=True):
                self.refuse_other_tokenizer(plan)
                for first in range(0, count, CHUNK):
                    last = min(first + CHUNK, count)
                    place = slice(int(end) - count + first, int(end) - count + last)
                    if place.stop > done:
                        values[place], best[place] = self.score_pieces(plan, first, last)
                        if unfinished:
                            unfinished.write(place.stop, values[: place.stop], best[: place.stop])
                    progress.advance(float(last - first))
        parts = [slice(int(end) - count, int(end)) for end, count in zip(ends, counts, strict=True)]
        return [join_pieces(plan, values[part], best[part]) for plan, part in zip(plans, parts, strict=True)]

    def score_pieces(self, plan: Plan, first: int, last: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Loglikelihood and greedy flag of the sequences ``first`` to ``last`` of ``plan``."""
        sequences = [plan.forest.sequence(number) for number in range(first, last)]
        longest = max(len(sequence.tokens) for sequence in sequences)
        self.model._max_length = plan.header["max_length"]
        self.model.batch_size_per_gpu = stock_batch(longest, self.vocabulary)
        try:
            found = self.model._loglikelihood_tokens([split(sequence) for sequence in sequences], disable_tqdm=True)
        except torch.OutOfMemoryError as error:
            raise EvaluationError(
                f"{self.folder}: {self.device} has no room for {longest} tokens beside the weights; use a larger "
                "device or --dtype bfloat16"
            ) from error
        values = np.array([value for value, _ in found], dtype=np.float32)
        if not np.isfinite(values).all():
            raise EvaluationError(f"{self.folder}: loglikelihoods that are not finite; the checkpoint is broken")
        return values, np.array([greedy for _, greedy in found], dtype=np.bool_)

    def refuse_other_tokenizer(self, plan: Plan) -> None:
        """:class:`EvaluationError` when lm-eval would begin texts with other tokens than ``plan`` does."""
        plain = self.model.tok_encode("a", add_special_tokens=False)
        whole = self.model.tok_encode("a")
        ours = (plan.header["prefix_token_id"], plan.header.get("leading_token_ids", []))
        theirs = (self.model.prefix_token_id, whole[: len(whole) - len(plain)])
        if ours != theirs:
            raise EvaluationError(
                f"{self.folder}: lm-eval begins an empty context with token {theirs[0]} and every text with "
                f"{theirs[1]}, the plan with {ours[0]} and {ours[1]}; set tokenizer.prefix_token in the suite to "
                f"{self.model.tokenizer.decode([theirs[0]])!r}"
            )


def split(sequence: ScoredSequence) -> tuple[None, list[int], list[int]]:
    """A request as ``HFLM._loglikelihood_tokens`` takes it: no text to remember, context, continuation."""
    tokens = sequence.tokens.tolist()
    return None, tokens[: sequence.start + 1], tokens[sequence.start + 1 :]


def join_pieces(plan: Plan, values: NDArray[np.float32], best: NDArray[np.bool_]) -> Answers:
    """Loglikelihood (float64) and greedy flag of each request from those of its pieces."""
    owner = plan.table.piece_request
    loglikelihood = np.bincount(owner, weights=values.astype(np.float64), minlength=plan.requests)
    wrong = np.bincount(owner[~best], minlength=plan.requests)
    return Answers(np.asarray(loglikelihood, dtype=np.float64), wrong == 0)
