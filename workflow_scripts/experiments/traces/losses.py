"""Losses of traced texts at a checkpoint: log-probability, greedy match and rank of every token, in one pass.

A text is scored as lm-eval scores a whole document: from the end-of-text token, in windows of the model's context.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional

from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.engine.output_head import Head, Predicted
from workflow_scripts.evaluation.engine.row_tensors import segments
from workflow_scripts.evaluation.planning.encode import Encoder, encode_rolling
from workflow_scripts.evaluation.planning.prefix_trees import Forest, ScoredSequence, pack
from workflow_scripts.experiments.traces.texts import TracedText

RANKED_AT_ONCE = 128  # rows of logits over the whole vocabulary: 26 MB for Pythia's


class RankingHead(Head):
    """The output matrix that also notes the rank of each wanted token: 1 + tokens with a higher logit."""

    def __init__(self, weight: torch.Tensor) -> None:
        """Nothing is noted yet."""
        super().__init__(weight)
        self.ranks: list[torch.Tensor] = []

    def predict(self, hidden: torch.Tensor, slots: torch.Tensor, targets: torch.Tensor) -> Predicted:
        """As the base class does; the ranks are appended to ``ranks``, int32 [e]."""
        found = super().predict(hidden, slots, targets)
        ranks = torch.empty(len(slots), dtype=torch.int32)
        for begin in range(0, len(hidden), RANKED_AT_ONCE):
            mine = torch.nonzero((slots >= begin) & (slots < begin + RANKED_AT_ONCE))[:, 0]
            logits = functional.linear(hidden[begin : begin + RANKED_AT_ONCE], self.weight)
            rows = logits[(slots[mine] - begin).to(logits.device)]
            chosen = rows.gather(1, targets[mine].to(logits.device)[:, None])
            ranks[mine] = (1 + (rows > chosen).sum(1)).to("cpu", torch.int32)
        self.ranks.append(ranks)
        return found


def ranked_scores(engine: Engine, forest: Forest) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int32]]:
    """Log-probability, is-the-most-likely flag and rank of each edge of ``forest``."""
    head = RankingHead(engine.head)
    engine.predictor = head
    parts = []
    for first, last in segments(forest):
        head.ranks.clear()
        values, best = engine.score_rows(forest, first, last)
        # A pass that did not fit a GPU is repeated in smaller portions: the last ranks are those of the values.
        ranks = torch.cat([torch.empty(0, dtype=torch.int32), *head.ranks]).numpy()
        parts.append((values, best, ranks[len(ranks) - len(values) :]))
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
    )


class TracedForest:
    """Texts packed for scoring; ``owner`` int64 [sequences] is the text that each scored sequence is of."""

    def __init__(self, encoder: Encoder, texts: Sequence[TracedText]) -> None:
        """Tokenise and pack."""
        sequences: list[ScoredSequence] = []
        owner: list[int] = []
        for number, text in enumerate(texts):
            windows = list(encode_rolling(encoder, text.text, number))
            sequences += windows
            owner += [number] * len(windows)
        self.texts = texts
        self.forest = pack(sequences)
        counts = np.diff(self.forest.piece_start)
        self.text = np.repeat(np.array(owner, np.int64), counts)
        ids = [sequence.tokens[sequence.start + 1 :] for sequence in sequences]
        self.token_id = np.concatenate([np.empty(0, np.int32), *ids])
        starts = np.searchsorted(self.text, np.arange(len(texts)))
        self.token = np.arange(len(self.text)) - starts[self.text]

    def token_losses(self, engine: Engine, step: int) -> pd.DataFrame:
        """A row per token: step, text, token (its place), token_id, loglikelihood in nats, is_greedy, rank."""
        values, best, ranks = ranked_scores(engine, self.forest)
        edges = self.forest.piece_edge
        names = np.array([text.name for text in self.texts], dtype=object)
        return pd.DataFrame(
            {
                "step": step,
                "text": names[self.text],
                "token": self.token,
                "token_id": self.token_id,
                "loglikelihood": values[edges],
                "is_greedy": best[edges],
                "rank": ranks[edges],
            }
        )

    def text_losses(self, tokens: pd.DataFrame) -> pd.DataFrame:
        """A row per step and text: domain, tokens, loglikelihood, loss in nats per token, greedy share and so on."""
        groups = tokens.assign(loglikelihood=tokens["loglikelihood"].astype(float)).groupby(
            ["step", "text"], sort=False
        )
        frame = groups.agg(
            tokens=("token", "size"),
            loglikelihood=("loglikelihood", "sum"),
            greedy_share=("is_greedy", "mean"),
            median_rank=("rank", "median"),
        ).reset_index()
        domains = {text.name: text.domain for text in self.texts}
        frame.insert(2, "domain", frame["text"].map(domains))
        contents = {text.name: text.text for text in self.texts}
        return frame.assign(loss=-frame["loglikelihood"] / frame["tokens"], content=frame["text"].map(contents))
