r"""Look at the batches of a training run: what iteration k contained.

    python -m workflow_scripts.dataset.view_batches --suite pocket --data standard --iteration 7
    python -m workflow_scripts.dataset.view_batches --start-iteration 71234 --end-iteration 71235 --mode save \
        --save-path batches --preshuffled document-00000-of-00020.bin \
        --repository EleutherAI/pile-deduped-pythia-preshuffled

--start-iteration is inclusive, --end-iteration is exclusive, counted from 0: iteration k is what step k+1 trained on.
Modes: save writes batch{k}_bs{rows}.npy (int64 [rows, tokens], as the original); custom calls --batch-function
module:function with (batch, iteration) and writes what it returns as one line of stats.jsonl, without a function the
original's {"iteration": k, "text": null}; text decodes with --tokenizer to batch{k}_bs{rows}.jsonl. Every mode writes
ledger.tsv, the sha256 of each iteration's tokens.
Rows come from the data of a finished run (--suite and --data), from raw shards (--view, with or without --index-maps),
from preshuffled shards on this machine, or by range requests from a repository: one request per iteration, two where it
crosses shards. No GPT-NeoX is needed.
"""

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from workflow_scripts import cli
from workflow_scripts.dataset.corpus.tokenizer_file import open_tokenizer
from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.dataset.order.batch_options import add_number_options, add_source_options, numbers_of, opened_rows
from workflow_scripts.dataset.order.batches import (
    Batch,
    batches,
    check_batch,
    check_iterations,
    load_function,
    read_ledger,
    write_ledger,
)
from workflow_scripts.dataset.order.finished_data import END, FIRST, add_finished_options, use_finished_data
from workflow_scripts.errors import ConfigError
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import atomic_path
from workflow_scripts.storage.records import write_record

log = logging.getLogger(__name__)
Writer = Callable[[Batch], None]
LEDGER = "ledger.tsv"


@contextmanager
def save_writer(options: argparse.Namespace) -> Iterator[Writer]:
    """Writes each batch as the original's .npy file."""

    def write(batch: Batch) -> None:
        name = f"batch{batch.iteration}_bs{len(batch.tokens)}.npy"
        with atomic_path(options.save_path / name) as temporary, temporary.open("wb") as file:
            np.save(file, batch.tokens.astype(np.int64), allow_pickle=False)

    yield write


@contextmanager
def custom_writer(options: argparse.Namespace) -> Iterator[Writer]:
    """Appends what the user's function says of each batch; the file appears when the last one is done."""
    function = load_function(options.batch_function) if options.batch_function else original_statistic
    with atomic_path(options.save_path / "stats.jsonl") as temporary, temporary.open("w", encoding="utf-8") as file:

        def write(batch: Batch) -> None:
            file.write(json.dumps(function(batch.tokens.astype(np.int64), batch.iteration)) + "\n")
            file.flush()

        yield write


def original_statistic(_batch: Array, iteration: int) -> dict[str, int | None]:
    """What the original viewer writes for a batch unless its user supplies a function."""
    return {"iteration": iteration, "text": None}


@contextmanager
def text_writer(options: argparse.Namespace) -> Iterator[Writer]:
    """Writes each batch decoded, one row a line."""
    if not options.tokenizer:
        raise ConfigError("--mode text needs --tokenizer tokenizer.json")
    tokenizer = open_tokenizer(options.tokenizer)

    def write(batch: Batch) -> None:
        texts = tokenizer.decode_batch(batch.tokens.tolist(), skip_special_tokens=False)
        name = f"batch{batch.iteration}_bs{len(batch.tokens)}.jsonl"
        with atomic_path(options.save_path / name) as temporary, temporary.open("w", encoding="utf-8") as file:
            for number, text in enumerate(texts, batch.first_row):
                line = {"iteration": batch.iteration, "row": number, "text": text}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

    yield write


WRITERS = {"save": save_writer, "custom": custom_writer, "text": text_writer}


def arguments_parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--start-iteration", type=int, default=FIRST, help="first iteration, inclusive, from 0")
    parser.add_argument("--end-iteration", type=int, default=END, help="end of the iterations, exclusive")
    parser.add_argument("--mode", choices=sorted(WRITERS), default="save", help="what to write")
    parser.add_argument("--save-path", type=Path, default=Path("token_indices"), help="folder to write to")
    parser.add_argument("--batch-function", metavar="MODULE:FUNCTION", help="called for each batch by --mode custom")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json for mode text")
    parser.add_argument("--check-ledger", type=Path, help="ledger whose hashes the batches must have")
    add_finished_options(parser)
    add_number_options(parser)
    add_source_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_parser().parse_args(arguments)
    use_finished_data(options)
    numbers = numbers_of(options)
    expected = read_ledger(options.check_ledger) if options.check_ledger else {}
    lines = []
    with opened_rows(options, numbers) as rows:
        wanted = check_iterations(options.start_iteration, options.end_iteration, rows, numbers.batch_rows)
        with WRITERS[options.mode](options) as write, Progress("batches", len(wanted), "iterations") as progress:
            for batch in batches(rows, numbers.batch_rows, wanted):
                check_batch(batch, expected, options.check_ledger)
                write(batch)
                lines.append(batch.ledger_line)
                progress.advance()
        fingerprint = rows.fingerprint
    write_ledger(options.save_path / LEDGER, lines)
    parameters = {
        "mode": options.mode,
        "start_iteration": options.start_iteration,
        "end_iteration": options.end_iteration,
        "batch_rows": numbers.batch_rows,
        "order": fingerprint,
    }
    write_record(options.save_path / LEDGER, {"view": options.view} if is_file(options.view) else {}, parameters)
    hint = "; --mode text writes the words too" if options.mode == "save" else ""
    log.info("%s: %d iteration(s)%s", options.save_path, len(lines), hint)


def is_file(path: Path | None) -> bool:
    """True for a view file, False for a prefix or nothing."""
    return path is not None and path.is_file()


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
