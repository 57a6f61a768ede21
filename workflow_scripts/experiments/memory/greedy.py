"""Does a model continue a row as the row itself continues? Teacher forcing and greedy generation, with their costs.

Greedy generation of c tokens reproduces the row if and only if the most likely token at each of the c places, given the
row's own tokens before it, is the row's next token: by induction the generated prefix is the row's as long as every
token before was right. So one forward pass over prompt + continuation - 1 tokens decides exact memorization, and finds
the first miss, on which generation must agree. Past the first miss the two differ; a partial score needs generation.
A tie for the highest logit counts for the lowest token id, in both. It must not look at a token after the
continuation.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from workflow_scripts.errors import ConfigError
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.engine.row_tensors import Batch
from workflow_scripts.evaluation.planning.prefix_trees import Forest

Tokens = NDArray[np.integer]
Integers = NDArray[np.int64]


def chains(rows: Tokens, prompt: int) -> Forest:
    """Rows without shared prefixes as a plan: each token from place ``prompt`` on is scored given all before it.

    ``rows`` is [n, prompt + continuation]; its last column is a target only.
    """
    count, width = rows.shape
    inputs, scored = width - 1, width - prompt
    begin = np.arange(count, dtype=np.int64)[:, None] * inputs
    return Forest(
        row_start=np.arange(count + 1, dtype=np.int64) * inputs,
        token=rows[:, :-1].astype(np.int32).ravel(),
        depth=np.tile(np.arange(inputs, dtype=np.int32), count),
        end=np.full(count * inputs, inputs, dtype=np.int32),
        slot_node=(begin + np.arange(prompt - 1, inputs)).ravel(),
        edge_slot=np.arange(count * scored, dtype=np.int32),
        edge_token=rows[:, prompt:].astype(np.int32).ravel(),
        piece_start=np.arange(count + 1, dtype=np.int64) * scored,
        piece_edge=np.arange(count * scored, dtype=np.int32),
    )


def check_widths(rows: Tokens, prompt: int, continuation: int, context: int) -> None:
    """Raise ConfigError where rows are too short for prompt + continuation or the model's context is."""
    check_context(prompt, continuation, context)
    wanted = prompt + continuation
    if rows.shape[1] < wanted:
        raise ConfigError(
            f"prompt {prompt} + continuation {continuation} are {wanted} tokens, the rows have {rows.shape[1]}"
        )


def check_context(prompt: int, continuation: int, context: int) -> None:
    """Raise ConfigError for lengths below 1 or beyond the model's context."""
    if prompt < 1 or continuation < 1:
        raise ConfigError(f"prompt {prompt} and continuation {continuation}: both must be at least 1")
    if prompt + continuation - 1 > context:
        raise ConfigError(f"prompt {prompt} + continuation {continuation} do not fit the model's {context} tokens")


def first_misses(
    engine: Engine,
    rows: Tokens,
    prompt: int,
    continuation: int,
    advance: Callable[[float], None] = lambda _: None,
) -> Integers:
    """Place of the first wrong token of the greedy continuation of each row, int64 [n]; ``continuation`` if none is.

    Only the first ``prompt + continuation`` columns of ``rows`` are read. ``advance`` is told the tokens done.
    """
    check_widths(rows, prompt, continuation, engine.config.context)
    forest = chains(rows[:, : prompt + continuation], prompt)
    _, right = engine.score(forest, advance=advance)
    return first_false(right.reshape(len(rows), continuation))


def first_false(right: NDArray[np.bool_]) -> Integers:
    """Column of the first False of each row, the number of columns where all are True.

    >>> first_false(np.array([[True, False, True], [True, True, True]])).tolist()
    [1, 3]
    """
    wrong = ~right
    return np.asarray(np.where(wrong.any(axis=1), wrong.argmax(axis=1), right.shape[1]), dtype=np.int64)


@torch.inference_mode()
def generate(engine: Engine, prompts: Tokens, continuation: int) -> Integers:
    """Greedy continuations, int64 [n, continuation], by growing forward passes without a cache.

    This is the original procedure (``generate`` with ``use_cache=False``); it costs ``generated_tokens`` per row.
    """
    check_context(prompts.shape[1], continuation, engine.config.context)
    rows_at_once = max(1, engine.tokens_per_pass() // (prompts.shape[1] + continuation))
    parts = [
        grow(engine, torch.from_numpy(prompts[begin : begin + rows_at_once].astype(np.int64)), continuation)
        for begin in range(0, len(prompts), rows_at_once)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, continuation), dtype=np.int64)


def grow(engine: Engine, tokens: torch.Tensor, continuation: int) -> Integers:
    """Extend ``tokens`` [n, length] by their most likely next token, ``continuation`` times."""
    length = tokens.shape[1]
    for _ in range(continuation):
        logits = (engine.hidden(last_places(tokens)) @ engine.head.t()).float()
        tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True).cpu()], dim=1)
    return np.asarray(tokens[:, length:].numpy(), dtype=np.int64)


def last_places(tokens: torch.Tensor) -> Batch:
    """Rows of one length as a batch of the engine, plain causal attention, whose slots are the last places."""
    rows, length = tokens.shape
    depth = torch.arange(length).expand(rows, length)
    slots = torch.arange(1, rows + 1) * length - 1
    return Batch(tokens, depth, torch.full_like(tokens, length), slots, 0, rows * length)


def matched_tokens(engine: Engine, rows: Tokens, prompt: int, continuation: int, first_miss: Integers) -> Integers:
    """Places at which the greedy continuation agrees with the row, int64 [n]: the memorization score times its length.

    Rows whose first miss is ``continuation`` are known to agree everywhere; only the others are generated.
    """
    matched = np.full(len(rows), continuation, dtype=np.int64)
    rest = np.flatnonzero(first_miss < continuation)
    made = generate(engine, rows[rest, :prompt], continuation)
    matched[rest] = (made == rows[rest, prompt : prompt + continuation]).sum(axis=1)
    return matched


def teacher_forced_tokens(prompt: int, continuation: int) -> int:
    """Token-forwards per row of one pass.

    >>> teacher_forced_tokens(32, 32)
    63
    """
    return prompt + continuation - 1


def generated_tokens(prompt: int, continuation: int) -> int:
    """Token-forwards per row of greedy generation without a cache: passes of prompt, prompt + 1 ... tokens.

    >>> generated_tokens(32, 32)
    1520
    """
    return sum(range(prompt, prompt + continuation))
