r"""Generate the evaluation data of the pocket suite, laid out like a data set on the Hugging Face Hub.

Writes <output-dir>/pocket/<task>/default/{train,test}.parquet for the tasks agreement, last_word, facts, pronouns and
arithmetic. "train" holds the examples for few-shot prompts, "test" what is scored; no item is in both, and no test
sentence stands in the corpus of the same seed (facts stand there in other sentences too: how often is in the world
file). The same seed gives the same rows.

Example:
  python -m workflow_scripts.pocket.generate_tasks --seed 1234 --world results/corpus/pocket/world.json \
      --output-dir results/mirror/datasets
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.pocket import arithmetic, facts, occupations, scenes, stories
from workflow_scripts.pocket.facts import Fact
from workflow_scripts.pocket.random_stream import RandomStream
from workflow_scripts.pocket.world import read_facts
from workflow_scripts.storage.atomic import atomic_path
from workflow_scripts.storage.records import write_record

log = logging.getLogger(__name__)

ORGANISATION = "pocket"
CONFIGURATION = "default"
AGREEMENT_PER_DISTANCE = 80
LAST_WORD_TEST = 240
LAST_WORD_EXAMPLES = 40
PRONOUNS_PER_OCCUPATION = 12
EXAMPLES_PER_OCCUPATION = 2

Rows = list[JsonObject]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--seed", type=int, required=True, help="seed that the corpus was generated from")
    parser.add_argument("--world", type=Path, required=True, help="world file written by generate_corpus")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for <org>/<name>/<config>/")
    chosen = parser.parse_args(arguments)

    seed, known = read_facts(chosen.world)
    if seed != chosen.seed:
        raise ConfigError(f"{chosen.world}: has seed {seed}, but --seed is {chosen.seed}; they must be equal")
    for task, splits in make_tasks(seed, known).items():
        for split, rows in splits.items():
            output = chosen.output_dir / ORGANISATION / task / CONFIGURATION / f"{split}.parquet"
            write_parquet(output, rows)
            write_record(output, {"world": chosen.world}, {"seed": seed, "task": task, "split": split})
            log.info("%s %s: %d items", task, split, len(rows))


def make_tasks(seed: int, known: Sequence[Fact]) -> dict[str, Mapping[str, Rows]]:
    """Rows of every task and split."""

    def stream(task: str, split: str) -> RandomStream:
        return RandomStream(seed, "task", task, split)

    return {
        "agreement": disjoint(
            scenes.items(stream("agreement", "test"), AGREEMENT_PER_DISTANCE),
            scenes.items(stream("agreement", "train"), 20),
            "sentence_good",
        ),
        "last_word": disjoint(
            stories.items(stream("last_word", "test"), LAST_WORD_TEST),
            stories.items(stream("last_word", "train"), LAST_WORD_EXAMPLES),
            "text",
        ),
        "facts": disjoint(
            facts.items(stream("facts", "test"), known, "test"),
            facts.items(stream("facts", "train"), known, "train"),
            "id",
        ),
        "pronouns": disjoint(
            occupations.items(stream("pronouns", "test"), PRONOUNS_PER_OCCUPATION),
            occupations.items(stream("pronouns", "train"), EXAMPLES_PER_OCCUPATION),
            "sent_more",
        ),
        "arithmetic": disjoint(arithmetic.items("test"), arithmetic.items("train"), "context"),
    }


def disjoint(test: Sequence[JsonObject], train: Sequence[JsonObject], key: str) -> dict[str, Rows]:
    """Both splits, without examples that are asked in the test too."""
    asked = {row[key] for row in test}
    return {"train": [row for row in train if row[key] not in asked], "test": list(test)}


def write_parquet(output: Path, rows: Rows) -> None:
    """Write ``rows`` atomically as one parquet file."""
    import pyarrow
    import pyarrow.parquet

    with atomic_path(output) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), temporary)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
