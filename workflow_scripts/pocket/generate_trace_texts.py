r"""Write the texts that the pocket suite traces through training: excerpts of its documents, and strangers to them.

Example:
  python -m workflow_scripts.pocket.generate_trace_texts --seed 1234 --documents 4950 \
      --output results/corpus/pocket/trace_texts.jsonl

One JSON object a line: "id", "domain", "text" and "copies", the number of documents of the standard corpus that hold
it. The seed and number of documents are those of the corpus.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.pocket.trace_texts import trace_texts
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.records import write_record

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse ``arguments`` and write the file."""
    parser = cli.parser(__doc__)
    parser.add_argument("--seed", type=int, required=True, help="seed that the corpus was generated from")
    parser.add_argument("--documents", type=int, required=True, help="different documents of the corpus")
    parser.add_argument("--output", type=Path, required=True, help="file of texts to write (.jsonl)")
    chosen = parser.parse_args(arguments)
    texts = list(trace_texts(chosen.seed, chosen.documents))
    write_text(chosen.output, "".join(json.dumps(text) + "\n" for text in texts))
    write_record(chosen.output, {}, {"seed": chosen.seed, "documents": chosen.documents})
    log.info("%d texts", len(texts))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
