r"""Losses of traced texts at the checkpoints of a model: of each text, and of each of its tokens.

    python -m workflow_scripts.experiments.traces.score_texts --declaration config/traces/pocket.yaml \
        --checkpoint results/checkpoints/pocket-1m/step0 results/checkpoints/pocket-1m/step600 \
        --output losses.parquet --tokens tokens.parquet

--output has a row per step and text: step, text, domain, tokens, loglikelihood, greedy_share (of tokens that are the
most likely one), median_rank, loss (nats per token), content (the text itself). --tokens has a row per step, text and
token: loglikelihood, is_greedy and rank. A text is scored from the end-of-text token on, as a document of lm-eval is.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from workflow_scripts import cli
from workflow_scripts.evaluation.planning.encode import Encoder
from workflow_scripts.evaluation.scoring.engine_choice import read_own_config
from workflow_scripts.evaluation.scoring.model_folder import weights_identity
from workflow_scripts.experiments.engine_options import add_engine_arguments, open_engine
from workflow_scripts.experiments.outputs import write_frame
from workflow_scripts.experiments.traces.losses import TracedForest
from workflow_scripts.experiments.traces.trace_options import add_text_arguments, named_texts
from workflow_scripts.storage.atomic import atomic_path
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.steps import hub_step_of_revision

LOG = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    parser = cli.parser(__doc__)
    add_text_arguments(parser)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, help="Hugging Face folders called step<N>")
    add_engine_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="table of texts to write, .parquet")
    parser.add_argument("--tokens", type=Path, required=True, help="table of tokens to write, .parquet")
    options = parser.parse_args(arguments)
    texts, _, files = named_texts(options)
    first = options.checkpoint[0]
    forest = TracedForest(Encoder(first / "tokenizer.json", read_own_config(first).context), texts)
    parts = [
        forest.token_losses(open_engine(checkpoint, options), hub_step_of_revision(checkpoint.name))
        for checkpoint in options.checkpoint
    ]
    tokens = pd.concat(parts, ignore_index=True)
    identities = {checkpoint.name: weights_identity(checkpoint) for checkpoint in options.checkpoint}
    with atomic_path(options.tokens) as temporary:
        tokens.to_parquet(temporary, index=False)
    write_record(options.tokens, files, {"rows": len(tokens), "weights": identities})
    write_frame(options.output, forest.text_losses(tokens), files, {"weights": identities})
    LOG.info("%d texts at %d checkpoints", len(texts), len(options.checkpoint))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
