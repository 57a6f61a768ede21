r"""Ask the training order: which document was seen when, and what is where. Answers are JSON lines on standard output.

    python -m workflow_scripts.dataset.look_up exposures --view view.json --document 17 --token 5
    python -m workflow_scripts.dataset.look_up documents --view view.json --iteration 71234
    python -m workflow_scripts.dataset.look_up ngram --view view.json --tokenizer tokenizer.json \
        --text "It was a bright cold day" --start-iteration 0 --end-iteration 1000
    python -m workflow_scripts.dataset.look_up coverage --view view.json --step 98000

exposures lists every row (from 0), iteration (from 0; step k+1 trains on iteration k) and position that held a token;
documents the content of the rows of an iteration; ngram where tokens occur (--start-iteration inclusive,
--end-iteration exclusive; preshuffled sets and repositories work too); coverage the share of tokens that were
predicted never, once, twice ... when a step was done. "within_run" says whether the run went that far.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.corpus.tokenizer_file import open_tokenizer
from workflow_scripts.dataset.order.batch_options import (
    RunNumbers,
    add_number_options,
    add_source_options,
    numbers_of,
    opened_order,
    opened_rows,
)
from workflow_scripts.dataset.order.batches import check_iterations
from workflow_scripts.dataset.order.lookups import OrderLookup, find_ngram
from workflow_scripts.errors import ConfigError
from workflow_scripts.json_values import JsonObject

Answers = Iterator[JsonObject]


def exposures(options: argparse.Namespace, numbers: RunNumbers) -> Answers:
    """Every place of a token."""
    lookup = OrderLookup(opened_order(options, numbers), numbers.batch_rows)
    for exposure in lookup.exposures(options.document, options.token):
        yield asdict(exposure) | {"within_run": exposure.iteration < numbers.train_iterations}


def documents(options: argparse.Namespace, numbers: RunNumbers) -> Answers:
    """The content of an iteration."""
    lookup = OrderLookup(opened_order(options, numbers), numbers.batch_rows)
    yield from (asdict(run) for run in lookup.documents(options.iteration))


def ngram(options: argparse.Namespace, numbers: RunNumbers) -> Answers:
    """Where tokens occur."""
    tokens = options.tokens
    if options.text is not None:
        if not options.tokenizer:
            raise ConfigError("--text needs --tokenizer tokenizer.json")
        tokens = open_tokenizer(options.tokenizer).encode(options.text, add_special_tokens=False).ids
    with opened_rows(options, numbers) as rows:
        wanted = check_iterations(options.start_iteration, options.end_iteration, rows, numbers.batch_rows)
        found = find_ngram(rows, tokens, numbers.batch_rows, wanted.start, wanted.stop)
        yield from (asdict(occurrence) for occurrence in found)


def coverage(options: argparse.Namespace, numbers: RunNumbers) -> Answers:
    """How often tokens were predicted."""
    shares = OrderLookup(opened_order(options, numbers), numbers.batch_rows).coverage(options.step)
    yield {"step": options.step, "share_predicted": dict(enumerate(shares))}


def arguments_parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    questions = parser.add_subparsers(dest="question", required=True)
    parsers = {}
    for name, answer in {"exposures": exposures, "documents": documents, "ngram": ngram, "coverage": coverage}.items():
        parsers[name] = questions.add_parser(name, help=answer.__doc__, formatter_class=cli.HelpFormatter)
        parsers[name].set_defaults(answer=answer)
        add_number_options(parsers[name])
        add_source_options(parsers[name])
    parsers["exposures"].add_argument("--document", type=int, required=True, help="document, from 0")
    parsers["exposures"].add_argument("--token", type=int, required=True, help="token within the document, from 0")
    parsers["documents"].add_argument("--iteration", type=int, required=True, help="iteration, from 0")
    parsers["coverage"].add_argument("--step", type=int, required=True, help="steps done")
    what = parsers["ngram"].add_mutually_exclusive_group(required=True)
    what.add_argument("--tokens", type=int, nargs="+", help="token numbers")
    what.add_argument("--text", help="text, tokenised verbatim: note a leading space")
    parsers["ngram"].add_argument("--tokenizer", type=Path, help="tokenizer.json for --text")
    parsers["ngram"].add_argument("--start-iteration", type=int, required=True, help="first iteration, inclusive")
    parsers["ngram"].add_argument("--end-iteration", type=int, required=True, help="end of the iterations, exclusive")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_parser().parse_args(arguments)
    try:
        for answer in options.answer(options, numbers_of(options)):
            sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough; what Python still wants to flush at its end must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
