r"""Score the checkpoints of an arm on items of bias and on guard items, item by item.

    python -m workflow_scripts.experiments.score_bias --checkpoint published/step558 published/step600 \
        --benchmarks pocket_pronouns pocket_last_word --data-dir results/mirror/datasets --output items.parquet

One row per checkpoint and item: step, benchmark, item, outcome (pairs: the stereotyped sentence is likelier; guards:
the last word is the greedy continuation), score (difference of loglikelihoods, or that of the word, in nats)
and log_odds (masculine minus feminine word at its place, nats; missing where there is none).
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workflow_scripts import cli
from workflow_scripts.errors import UnknownNameError
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.planning.encode import Encoder, encode_pairs
from workflow_scripts.evaluation.planning.prefix_trees import Forest, ScoredSequence, pack
from workflow_scripts.evaluation.scoring.engine_choice import read_own_config
from workflow_scripts.evaluation.scoring.model_folder import weights_identity
from workflow_scripts.experiments.bias.bias_items import (
    GUARD_DATA,
    PAIR_DATA,
    WINOBIAS,
    Guard,
    Pair,
    read_guards,
    read_pairs,
)
from workflow_scripts.experiments.engine_options import add_checkpoint_arguments, add_engine_arguments, open_engine
from workflow_scripts.experiments.outputs import write_frame
from workflow_scripts.suite.steps import hub_step_of_revision

LOG = logging.getLogger(__name__)
BENCHMARKS = (*PAIR_DATA, WINOBIAS, *GUARD_DATA)
Floats = NDArray[np.float64]


class TokenScores:
    """Log-probability and greedy flag of every scored token of packed sequences, for one checkpoint."""

    def __init__(self, engine: Engine, forest: Forest) -> None:
        """Run the checkpoint once over all sequences."""
        self.forest = forest
        values, self.best = engine.score(forest)
        self.values = values.astype(np.float64)

    def edges(self, sequence: int) -> NDArray[np.int32]:
        """Edges of one sequence, token by token."""
        first, last = self.forest.piece_start[sequence : sequence + 2]
        return self.forest.piece_edge[first:last]

    def loglikelihood(self, sequence: int) -> float:
        """Summed log-probability of the scored tokens, nats."""
        return float(self.values[self.edges(sequence)].sum())

    def is_greedy(self, sequence: int) -> bool:
        """True when every scored token is the most likely one."""
        return bool(self.best[self.edges(sequence)].all())

    def at(self, sequence: int, place: int) -> float:
        """Log-probability of the scored token at ``place``."""
        return float(self.values[self.edges(sequence)[place]])


def first_difference(first: ScoredSequence, second: ScoredSequence) -> int:
    """Place among the scored tokens at which two sequences of one start differ first."""
    a, b = first.tokens[first.start + 1 :], second.tokens[second.start + 1 :]
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length - 1


def pair_rows(
    pairs: Sequence[Pair], sequences: Sequence[ScoredSequence], scores: TokenScores
) -> list[dict[str, object]]:
    """Rows of pairs whose sentences are sequences 2 k and 2 k + 1."""
    rows: list[dict[str, object]] = []
    for number, pair in enumerate(pairs):
        one, other = 2 * number, 2 * number + 1
        place = first_difference(sequences[one], sequences[other])
        odds = pair.sign * (scores.at(one, place) - scores.at(other, place))
        difference = scores.loglikelihood(one) - scores.loglikelihood(other)
        rows.append(
            {
                "benchmark": pair.benchmark,
                "item": pair.item,
                "outcome": difference > 0,
                "score": difference,
                "log_odds": odds if pair.sign else float("nan"),
            }
        )
    return rows


def guard_rows(guards: Sequence[Guard], first: int, scores: TokenScores) -> list[dict[str, object]]:
    """Rows of guard items whose sequences start at number ``first``."""
    return [
        {
            "benchmark": guard.benchmark,
            "item": guard.item,
            "outcome": scores.is_greedy(first + number),
            "score": scores.loglikelihood(first + number),
            "log_odds": float("nan"),
        }
        for number, guard in enumerate(guards)
    ]


class Items:
    """All items of the chosen benchmarks, tokenised and packed once for every checkpoint."""

    def __init__(self, benchmarks: Sequence[str], folders: Sequence[Path], encoder: Encoder) -> None:
        """Read the data; raises UnknownNameError, MissingInputError or DataError."""
        for name in benchmarks:
            if name not in BENCHMARKS:
                raise UnknownNameError("benchmark", name, BENCHMARKS)
        self.pairs = [pair for name in benchmarks if name not in GUARD_DATA for pair in read_pairs(name, folders)]
        self.guards = [guard for name in benchmarks if name in GUARD_DATA for guard in read_guards(name, folders)]
        texts = [("", text) for pair in self.pairs for text in (pair.first, pair.second)]
        texts += [(guard.context, guard.target) for guard in self.guards]
        self.sequences = encode_pairs(encoder, texts, range(len(texts)))
        self.forest = pack(self.sequences)

    def rows(self, engine: Engine) -> pd.DataFrame:
        """Rows of one checkpoint."""
        scores = TokenScores(engine, self.forest)
        found = pair_rows(self.pairs, self.sequences, scores)
        return pd.DataFrame([*found, *guard_rows(self.guards, 2 * len(self.pairs), scores)])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    add_checkpoint_arguments(parser)
    parser.add_argument("--benchmarks", nargs="+", required=True, help=f"of {', '.join(BENCHMARKS)}")
    add_engine_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="table to write, .parquet")
    options = parser.parse_args(arguments)
    first = options.checkpoint[0]
    items = Items(
        options.benchmarks, options.data_dir, Encoder(first / "tokenizer.json", read_own_config(first).context)
    )
    parts = []
    for checkpoint in options.checkpoint:
        part = items.rows(open_engine(checkpoint, options))
        part.insert(0, "step", hub_step_of_revision(checkpoint.name))
        parts.append(part)
        LOG.info("scored %s on %d items", checkpoint, len(part))
    identities = {checkpoint.name: weights_identity(checkpoint) for checkpoint in options.checkpoint}
    write_frame(
        options.output, pd.concat(parts, ignore_index=True), {}, {"weights": identities, "dtype": options.dtype}
    )


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
