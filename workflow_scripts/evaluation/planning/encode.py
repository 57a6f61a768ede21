"""Requests turned into token sequences exactly as lm-eval 0.4.13's Hugging Face model does it.

The rules are those of ``TemplateLM.loglikelihood`` / ``_encode_pair`` (api/model.py), ``get_rolling_token_windows``
(utils.py) and the truncation in ``HFLM._loglikelihood_tokens``: trailing spaces of the context move to the
continuation, context and context + continuation are tokenised apart and the rest is the continuation, an empty context
becomes the prefix token, and what is too long loses tokens on the left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workflow_scripts.errors import DataError, EvaluationError
from workflow_scripts.evaluation.planning.prefix_trees import ScoredSequence

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

PREFIX_TOKEN = "<|endoftext|>"  # noqa: S105


class UnscorableError(EvaluationError):
    """A request of document number ``document`` of the plan cannot be scored by any model of this context."""

    def __init__(self, message: str, document: int) -> None:
        super().__init__(message)
        self.document = document


@dataclass(frozen=True)
class Piece:
    """A scored sequence and the request it belongs to (a long rolling text has several pieces)."""

    request: int
    sequence: ScoredSequence


class Encoder:
    """A tokenizer.json with the token that stands in for an empty context."""

    def __init__(self, path: Path, max_length: int, prefix_token: str = PREFIX_TOKEN) -> None:
        """``max_length``: the model's context length in tokens."""
        from workflow_scripts.dataset.corpus.tokenizer_file import open_tokenizer

        self.tokenizer = open_tokenizer(path)
        self.max_length = max_length
        prefix = self.tokenizer.token_to_id(prefix_token)
        if prefix is None:
            raise DataError(
                f"{path}: has no token '{prefix_token}' to stand in for an empty context; set tokenizer.prefix_token "
                "in the suite (--prefix-token)"
            )
        self.prefix_id: int = prefix
        self.splits_at_spaces = splits_at_spaces(path)
        self.prefix_token, self.leading_ids = prefix_token, self.find_leading_ids(path)

    def find_leading_ids(self, path: Path) -> list[int]:
        """Tokens that the tokenizer puts before every text by itself; :class:`DataError` if it adds others.

        Context and whole text are tokenised apart, which goes wrong when something follows the text.
        """
        whole = self.tokenizer.encode("a").ids
        plain = self.tokenizer.encode("a", add_special_tokens=False).ids
        if whole[len(whole) - len(plain) :] != plain:
            raise DataError(f"{path}: adds special tokens at the end of every text; continuations cannot be told apart")
        return whole[: len(whole) - len(plain)]

    def begin(self, text: str, ids: list[int]) -> list[int]:
        """Token ids of ``text`` with what lm-eval has before them: nothing more where the text begins so itself."""
        return ids if not self.leading_ids or text.startswith(self.prefix_token) else self.leading_ids + ids

    def splits(self, context: str, continuation: str) -> bool:
        """True when the tokens of both together are surely the tokens of each, one after the other.

        A byte-level tokenizer cuts its text before a space that follows a word and begins another, whatever is
        around it; so a long context need not be tokenised again for each of its continuations.
        """
        return (
            self.splits_at_spaces
            and bool(context)
            and not context[-1].isspace()
            and continuation[:1] == " "
            and not continuation[1:2].isspace()
            and len(continuation) > 1
        )

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def splits_at_spaces(path: Path) -> bool:
    """True for a tokenizer.json with GPT-2's byte-level splitting rule and no token that holds a space and more."""
    content = json.loads(path.read_text(encoding="utf-8"))
    splitter, normalizer = content.get("pre_tokenizer") or {}, content.get("normalizer") or {"type": "NFC"}
    added = [token["content"] for token in content.get("added_tokens", [])]
    return (
        splitter.get("type") == "ByteLevel"
        and not splitter.get("add_prefix_space")
        and bool(splitter.get("use_regex", True))
        and normalizer.get("type") == "NFC"
        and all(not text.strip() or " " not in text for text in added)
        and not any(token.get("lstrip") or token.get("rstrip") for token in content.get("added_tokens", []))
    )


def encode_pairs(encoder: Encoder, pairs: Sequence[tuple[str, str]], families: Sequence[int]) -> list[ScoredSequence]:
    """Sequences of (context, continuation) ``pairs``; each distinct text is tokenised once."""
    moved = [move_spaces(context, continuation) for context, continuation in pairs]
    wanted = {
        text: None
        for context, continuation in moved
        for text in (context, continuation if encoder.splits(context, continuation) else context + continuation)
        if text
    }
    ids = dict(zip(wanted, encoder.texts(list(wanted)), strict=True))
    return [
        make_sequence(*split_pair(encoder, ids, context, continuation), encoder.max_length, family)
        for (context, continuation), family in zip(moved, families, strict=True)
    ]


def move_spaces(context: str, continuation: str) -> tuple[str, str]:
    """Move white space at the end of the context to the front of the continuation.

    >>> move_spaces("Answer: ", "yes")
    ('Answer:', ' yes')
    """
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def split_pair(
    encoder: Encoder, ids: dict[str, list[int]], context: str, continuation: str
) -> tuple[list[int], list[int]]:
    """Token ids of context and continuation."""
    first = encoder.begin(context, ids[context]) if context else []
    if encoder.splits(context, continuation):
        return first, ids[continuation]
    whole = ids.get(context + continuation, [])
    if context:
        return first, encoder.begin(context + continuation, whole)[len(first) :]
    if whole[:1] == [encoder.prefix_id]:
        return whole[:1], whole[1:]
    return [encoder.prefix_id], whole


def make_sequence(context: list[int], continuation: list[int], max_length: int, family: int) -> ScoredSequence:
    """Join, cut on the left to ``max_length`` inputs, and mark where scoring starts."""
    if not continuation:
        raise UnscorableError("a continuation has no tokens, so it cannot be scored", family)
    if len(continuation) > max_length:
        raise UnscorableError(
            f"a continuation of {len(continuation)} tokens is longer than the model's {max_length}", family
        )
    tokens = np.array((context + continuation)[-(max_length + 1) :], dtype=np.int32)
    return ScoredSequence(tokens, len(tokens) - 1 - len(continuation), family)


def encode_rolling(encoder: Encoder, text: str, family: int) -> Iterator[ScoredSequence]:
    """Disjoint windows of ``max_length`` predicted tokens over a whole text; nothing for an empty one.

    The first window starts from the prefix token; later ones from the last token of the window before. The last window
    reaches back for more context, as far as ``max_length`` allows.
    """
    ids = encoder.begin(text, encoder.texts([text])[0])
    shifted = [encoder.prefix_id, *ids]
    for first in range(0, len(ids), encoder.max_length):
        last = min(first + encoder.max_length, len(ids))
        begin = 0 if first == 0 else last - encoder.max_length
        yield make_sequence(shifted[begin : first + 1], ids[first:last], encoder.max_length, family)


def encode_requests(encoder: Encoder, instances: Sequence[Instance], families: Sequence[int]) -> list[Piece]:
    """Pieces of lm-eval ``instances`` (loglikelihood or loglikelihood_rolling), in the order of the instances."""
    plain = [number for number, instance in enumerate(instances) if instance.request_type == "loglikelihood"]
    sequences = encode_pairs(encoder, [instances[number].args for number in plain], [families[n] for n in plain])
    by_request = {number: [sequence] for number, sequence in zip(plain, sequences, strict=True)}
    for number, instance in enumerate(instances):
        if number not in by_request:
            by_request[number] = list(encode_rolling(encoder, instance.args[0], families[number]))
    return [Piece(number, sequence) for number in range(len(instances)) for sequence in by_request[number]]
