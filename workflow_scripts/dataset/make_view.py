r"""Describe downloaded shards as one array of tokens, without copying them.

    python -m workflow_scripts.dataset.make_view --idx raw/pile.idx \
        --shards raw/pile-00000-of-00001.bin raw/pile-00001-of-00001.bin --output view.json

Shards are taken in the order given. A joined file works too: --bin raw/pile.bin. The view file holds paths relative
to its own folder, sizes, token type and counts; everything that reads tokens accepts it. With --vocabulary-size every
token is read once and must be a token of that vocabulary, which finds a wrong token type that no size betrays.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.files.indexed import check_token_range
from workflow_scripts.dataset.files.shard_names import parse_shard_name
from workflow_scripts.dataset.files.token_view import TokenData, describe, open_pair
from workflow_scripts.errors import ConfigError
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.records import write_record

log = logging.getLogger(__name__)
BLOCK = 1 << 22  # tokens checked at a time


def make_view(idx: Path, shards: Sequence[Path], output: Path, vocabulary_size: int | None = None) -> None:
    """Check sizes, and tokens where the vocabulary is given, and write the view file of ``shards`` to ``output``."""
    data = open_pair(idx, shards)
    if vocabulary_size is not None:
        check_tokens(data, vocabulary_size)
    content = describe(data, output)
    write_json(output, content)
    parameters = {key: value for key, value in content.items() if key != "shards"}
    parameters |= {"shards": len(shards), "vocabulary_size": vocabulary_size}
    write_record(output, {"idx": idx}, parameters)
    log.info("%s: %d shards, %d sequences, %d tokens", output, len(shards), content["sequences"], content["tokens"])


def check_tokens(data: TokenData, vocabulary_size: int) -> None:
    """Read all tokens; raises DataError for the first that is outside the vocabulary."""
    with Progress(f"tokens of {data.name}", data.tokens.n_tokens, "tokens") as progress:
        for start in range(0, data.tokens.n_tokens, BLOCK):
            tokens = data.tokens.read(start, min(start + BLOCK, data.tokens.n_tokens))
            check_token_range(tokens, vocabulary_size, start, data.index.path.with_suffix(".bin"))
            progress.advance(len(tokens))


def check_order(shards: Sequence[Path]) -> None:
    """Shards that are named like shards must be complete and in order."""
    parsed = [parse_shard_name(path) for path in shards]
    name, _, count = parsed[0]
    if parsed != [(name, number, count) for number in range(count)]:
        raise ConfigError(f"{shards[0].parent}: give all {count} shards of {name} in order; got {len(shards)} paths")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--idx", type=Path, required=True, help="the .idx of the data set")
    tokens = parser.add_mutually_exclusive_group(required=True)
    tokens.add_argument("--shards", type=Path, nargs="+", help="all shards, in order")
    tokens.add_argument("--bin", type=Path, help="the joined .bin")
    parser.add_argument("--output", type=Path, required=True, help="view file to write (JSON)")
    parser.add_argument("--vocabulary-size", type=int, help="read every token and check that it is below this")
    options = parser.parse_args(arguments)
    if options.shards:
        check_order(options.shards)
    make_view(options.idx, options.shards or [options.bin], options.output, options.vocabulary_size)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
