r"""Generate the corpora of the pocket suite from one seed.

Writes the standard corpus, the deduped corpus (one JSON object with "id", "kind" and "text" a line) and the world
file, which says what the documents contain and how often. The same seed gives the same bytes on every machine.
--documents is the number of different documents, which is the size of the deduped corpus; the standard corpus has
about 1.5 times as many lines, because some documents occur two, four or, if they are passages, up to 32 times.

Example:
  python -m workflow_scripts.pocket.generate_corpus --seed 1234 --documents 4950 \
      --output-standard results/corpus/pocket/standard.jsonl \
      --output-deduped results/corpus/pocket/deduped.jsonl \
      --world results/corpus/pocket/world.json
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.pocket.corpus import Entry, make_corpora
from workflow_scripts.pocket.world import describe
from workflow_scripts.storage.atomic import write_json, write_text
from workflow_scripts.storage.records import write_record

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--seed", type=int, required=True, help="any integer; names the world")
    parser.add_argument("--documents", type=int, required=True, help="different documents")
    parser.add_argument("--output-standard", type=Path, required=True, help="corpus with all copies (.jsonl)")
    parser.add_argument("--output-deduped", type=Path, required=True, help="corpus without exact copies (.jsonl)")
    parser.add_argument("--world", type=Path, required=True, help="world file to write (.json)")
    chosen = parser.parse_args(arguments)

    corpora = make_corpora(chosen.seed, chosen.documents)
    write_text(chosen.output_standard, lines(corpora.standard))
    write_text(chosen.output_deduped, lines(corpora.deduped))
    write_json(chosen.world, describe(chosen.seed, corpora))
    parameters = {"seed": chosen.seed, "documents": chosen.documents}
    for output in (chosen.output_standard, chosen.output_deduped, chosen.world):
        write_record(output, {}, parameters)
    log.info("standard: %d documents, deduped: %d documents", len(corpora.standard), len(corpora.deduped))


def lines(entries: Sequence[Entry]) -> str:
    """The corpus as JSON lines in plain ASCII."""
    rows = ({"id": entry.identifier, "kind": entry.document.kind, "text": entry.document.text} for entry in entries)
    return "".join(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
