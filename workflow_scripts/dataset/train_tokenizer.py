"""Train a byte-level BPE tokenizer of the kind of the 20B tokenizer, byte-reproducibly.

    python -m workflow_scripts.dataset.train_tokenizer --corpus books.jsonl --vocab-size 1000 --output tokenizer.json

NFC normalisation, byte-level pre-tokens without a leading space, <|endoftext|> as token 0, <|padding|> as token 1, then
the 256 bytes, then merges. Any text can be encoded and decoded without loss up to NFC. A corpus with few different
words may give fewer tokens than asked for; the record and the log say so.
"""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from workflow_scripts import cli
from workflow_scripts.dataset.corpus.corpus_reader import read_documents
from workflow_scripts.dataset.corpus.tokenizer_file import END_OF_DOCUMENT, PADDING
from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.records import write_record

log = logging.getLogger(__name__)
SPECIAL = (END_OF_DOCUMENT, PADDING)
SMALLEST = len(SPECIAL) + 256  # the special tokens and every byte


def empty_tokenizer() -> Tokenizer:
    """A tokenizer with everything but a vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def train_tokenizer(corpora: Sequence[Path], vocab_size: int, output: Path) -> int:
    """Train on the texts of ``corpora`` and write ``output``; returns the size of the vocabulary."""
    if vocab_size < SMALLEST:
        raise ConfigError(f"--vocab-size {vocab_size} is too small: two special tokens and 256 bytes need {SMALLEST}")
    tokenizer = empty_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (document.text for path in corpora for document in read_documents(path))
    first = next(texts, None)
    if first is None:
        raise DataError(f"{corpora[0]}: contains no documents, so there is nothing to train on; rebuild the corpus")
    tokenizer.train_from_iterator(itertools.chain([first], texts), trainer)
    write_text(output, tokenizer.to_str(pretty=True) + "\n")
    reached = int(tokenizer.get_vocab_size(with_added_tokens=True))
    inputs = {f"corpus_{number}": path for number, path in enumerate(corpora)}
    write_record(output, inputs, {"vocab_size": vocab_size, "vocab_size_reached": reached})
    return reached


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, help=".jsonl or .txt files")
    parser.add_argument("--vocab-size", type=int, required=True, help=f"tokens, at least {SMALLEST}")
    parser.add_argument("--output", type=Path, required=True, help="tokenizer.json to write")
    options = parser.parse_args(arguments)
    reached = train_tokenizer(options.corpus, options.vocab_size, options.output)
    if reached < options.vocab_size:
        log.warning("the corpus yields only %d of the %d requested tokens", reached, options.vocab_size)
    log.info("%s: %d tokens", options.output, reached)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
