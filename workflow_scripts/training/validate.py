r"""Loss of checkpoints on held-out text, in nats per token and in bits per byte.

    python -m workflow_scripts.training.validate --checkpoints results/training/books-1m/step0 \
        results/training/books-1m/step2200 --view data/books/validation/view.json --bytes 731234 --output validation.csv
    python -m workflow_scripts.training.validate --checkpoints results/training/books-1m/step* \
        --view data/books/validation/view.json --text validation.jsonl --output validation.csv

The held-out tokens are one stream, cut into windows of the model's length that share one token, so that each token but
the first is predicted exactly once; end-of-document tokens count. --bytes is the size of the held-out text in UTF-8:
bits per byte = nats per token x tokens / bytes / ln 2, the only figure that may be compared between tokenizers.
--text counts the bytes of JSON lines. Everything is computed in float32.
"""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workflow_scripts import cli
from workflow_scripts.dataset.corpus.corpus_reader import read_documents
from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.records import write_record
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.retrain import set_threads
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.checkpoint import RunState
from workflow_scripts.training.run.loss import chunked_cross_entropy
from workflow_scripts.training.run.model import GPTNeoX
from workflow_scripts.training.run.starting_point import load_weights
from workflow_scripts.training.run.training_rows import check_tokens

LOG = logging.getLogger(__name__)
WINDOW_TOKENS = 4096
COLUMNS = ("checkpoint", "step", "tokens_seen", "validation_tokens", "validation_bytes", "loss", "bits_per_byte")


@dataclass(frozen=True)
class Validation:
    """Result of one checkpoint; ``loss`` in nats per token over ``tokens`` - 1 predictions."""

    folder: Path
    step: int
    tokens_seen: int
    tokens: int
    loss: float

    def bits_per_byte(self, text_bytes: int) -> float:
        """Bits that the model needs per byte of the text."""
        return self.loss * self.tokens / text_bytes / math.log(2)


def windows(tokens: Tensor, length: int, rows: int) -> Iterator[Tensor]:
    """Batches ``[at most rows, length + 1]`` of windows that share one token; the last may be one shorter window."""
    full = (len(tokens) - 1) // length
    if full:
        whole = tokens[: full * length + 1].unfold(0, length + 1, length)
        yield from whole.split(rows)  # type: ignore[no-untyped-call]
    if full * length < len(tokens) - 1:
        yield tokens[full * length :][None]


@torch.inference_mode()
def mean_loss(model: GPTNeoX, tokens: Tensor, length: int) -> float:
    """Mean loss in nats over all tokens of the stream but the first."""
    total, count = 0.0, 0
    for batch in windows(tokens, length, max(1, WINDOW_TOKENS // length)):
        inputs, targets = batch[:, :-1], batch[:, 1:].reshape(-1)
        hidden = model.hidden(inputs)
        loss = chunked_cross_entropy(hidden.reshape(len(targets), -1), model.embed_out.weight, targets)
        total, count = total + float(loss) * len(targets), count + len(targets)
    return total / count


def validate(folder: Path, tokens: np.ndarray) -> Validation:
    """Validate the checkpoint in ``folder`` on ``tokens``, a 1-D integer array."""
    state_path = folder / checkpoint.STATE
    if not state_path.is_file():
        raise MissingInputError(f"{folder}: no checkpoint of a run ({checkpoint.STATE} is not there)")
    state = RunState.read(state_path)
    recipe = Recipe.from_json(state.recipe, str(state_path))
    check_tokens(tokens[None], 0, recipe.vocab_size)
    model = GPTNeoX(recipe)
    load_weights(model, checkpoint.read_tensors(folder / checkpoint.WEIGHTS), folder / checkpoint.WEIGHTS)
    loss = mean_loss(model, torch.from_numpy(tokens.astype(np.int64)), recipe.sequence_length)
    return Validation(folder, state.step, state.step * recipe.batch_tokens, len(tokens), loss)


def read_stream(view: Path) -> tuple[np.ndarray, list[Path]]:
    """All tokens of a data set, one after another, and the files they are in."""
    from workflow_scripts.dataset.files.token_view import open_data

    data = open_data(view)
    if data.tokens.n_tokens < 2:
        raise DataError(f"{view}: {data.tokens.n_tokens} tokens; at least two are needed to predict one")
    return np.asarray(data.tokens.read(0, data.tokens.n_tokens)), [file.path for file in data.tokens.files]


def table(results: Sequence[Validation], text_bytes: int) -> str:
    """CSV of the results."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item in results:
        figures = (f"{item.loss:.9g}", f"{item.bits_per_byte(text_bytes):.9g}")
        writer.writerow((item.folder, item.step, item.tokens_seen, item.tokens, text_bytes, *figures))
    return text.getvalue()


def text_bytes(path: Path) -> int:
    """Size of a corpus in UTF-8 bytes, document ends not counted."""
    return sum(len(document.text.encode("utf-8")) for document in read_documents(path))


def main(arguments: Sequence[str] | None = None) -> None:
    """Validate the given checkpoints."""
    parser = cli.parser(__doc__)
    parser.add_argument("--checkpoints", type=Path, nargs="+", required=True, help="step<N> folders of a run")
    parser.add_argument("--view", type=Path, required=True, help="view.json (or prefix) of the held-out tokens")
    extent = parser.add_mutually_exclusive_group(required=True)
    extent.add_argument("--bytes", type=int, help="size of the held-out text in UTF-8 bytes")
    extent.add_argument("--text", type=Path, help="the held-out text itself (.jsonl or .txt), to take its size from")
    parser.add_argument("--output", type=Path, required=True, help="CSV to write")
    parser.add_argument("--threads", type=int, default=1, help="threads of matrix products")
    options = parser.parse_args(arguments)
    size = text_bytes(options.text) if options.text else options.bytes
    if size < 1:
        raise ConfigError(f"held-out text of {size} bytes: give its size with --bytes, or a text that is not empty")
    set_threads(options.threads)
    tokens, files = read_stream(options.view)
    results = []
    with Progress("validate", len(options.checkpoints), unit="checkpoints") as progress:
        for folder in options.checkpoints:
            results.append(validate(folder, tokens))
            progress.advance(1, f"{folder.name}: {results[-1].loss:.4f} nats per token")
    write_text(options.output, table(results, size))
    inputs = {path.name: path for path in files}
    inputs |= {str(folder): folder / checkpoint.WEIGHTS for folder in options.checkpoints}
    write_record(options.output, inputs, {"bytes": size})


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
