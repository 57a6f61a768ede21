"""Rate of the search for traced texts, for one text and for a thousand at once, beside a copy of the same memory.

    python benchmarks/traces.py --corpus corpus.jsonl --tokenizer tokenizer.json

The corpus is tokenised; its first tenth gives the texts, 100 tokens each at random places; the rest is repeated to
``--tokens`` tokens, written to a file and scanned as preshuffled rows through the same function that the jobs call. The
first tenth stands in front once, so each text is found. Texts and data share their language and authors, which is
harder than texts of another kind: many short runs of tokens agree. The best of several rounds in turns counts, in
tokens per CPU-second of one thread; a busy machine makes all of them slower, and the cache that a neighbour fills slows
a thousand texts more than one.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from pathlib import Path

import numpy as np

from workflow_scripts.dataset.corpus.tokenizer_file import open_tokenizer
from workflow_scripts.dataset.files.shards import VirtualTokens
from workflow_scripts.dataset.order.preshuffled_rows import PreshuffledRows
from workflow_scripts.experiments.traces.gram_table import GramTable, gram_table
from workflow_scripts.experiments.traces.placement import find_matches
from workflow_scripts.experiments.traces.scanning import scan_tokens

U2 = np.dtype("<u2")
ROW_TOKENS, TEXT_TOKENS, MIN_TOKENS = 2049, 100, 8


def corpus_tokens(corpus: Path, tokenizer: Path) -> np.ndarray:
    """Tokens of a corpus of JSON lines, one document after another."""
    encode = open_tokenizer(tokenizer).encode
    lines = corpus.read_text(encoding="utf-8").splitlines()
    return np.array([token for line in lines for token in encode(json.loads(line)["text"]).ids], U2)


def own_memory() -> float:
    """Memory of this process in MB that is no file: what a job must be given."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1e3  # type: ignore[index]


def scan_rate(rows: PreshuffledRows, table: GramTable) -> tuple[float, float]:
    """Tokens per CPU-second of one scan, and the most memory while it ran."""
    total, highest = rows.tokens.n_tokens, [0.0]
    begin = time.process_time()
    scan_tokens(rows, table, 0, total, lambda _: highest.append(own_memory()))
    return total / (time.process_time() - begin), max(highest)


def copy_rate(rows: PreshuffledRows) -> float:
    """Tokens per CPU-second of a copy of the same file from its mapping into memory that is used again."""
    target = np.empty(1 << 23, U2)
    begin = time.process_time()
    for first in range(0, rows.tokens.n_tokens - len(target), len(target)):
        target[:] = rows.tokens.read(first, first + len(target))
    return rows.tokens.n_tokens / (time.process_time() - begin)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="JSON lines with a text each")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--tokens", type=float, default=1e8, help="tokens to scan")
    parser.add_argument("--texts", type=int, nargs="+", default=[1, 1000], help="numbers of texts at once")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    tokens = corpus_tokens(options.corpus, options.tokenizer)
    source, rest = np.split(tokens, [len(tokens) // 10])
    data = np.concatenate([source, np.resize(rest, int(options.tokens) - len(source))])
    data = data[: len(data) // ROW_TOKENS * ROW_TOKENS]
    starts = np.random.default_rng(0).integers(0, len(source) - TEXT_TOKENS, max(options.texts))
    texts = [source[start : start + TEXT_TOKENS].astype(np.int32) for start in starts]
    with tempfile.TemporaryDirectory() as folder:
        data.tofile(Path(folder) / "rows.bin")
        size = len(data)
        del tokens, source, rest, data
        rows = PreshuffledRows(VirtualTokens.open([Path(folder) / "rows.bin"], U2), ROW_TOKENS)
        tables = {number: gram_table(texts[:number], MIN_TOKENS) for number in options.texts}
        scan_tokens(rows, tables[options.texts[0]], 0, 10 * ROW_TOKENS)  # compiles
        print(f"tokens scanned, in a file of {2 * size / 1e6:.0f} MB       {size / 1e6:.0f} million")
        print(f"memory before, with imports and tables      {own_memory():.0f} MB")
        rates: dict[int | str, float] = {}
        memory = 0.0
        for _ in range(options.rounds):
            for number, table in tables.items():
                rate, used = scan_rate(rows, table)
                rates[number], memory = max(rate, rates.get(number, 0.0)), max(used, memory)
            rates["copy"] = max(copy_rate(rows), rates.get("copy", 0.0))
        for number in options.texts:
            share = f"{rates[number] / rates[options.texts[0]]:.0%} of the rate for {options.texts[0]}"
            print(f"{f'{number} texts at once':<43} {rates[number] / 1e6:.0f} Mtoken per CPU-s, {share}")
        print(f"floor: a copy of the same memory            {rates['copy'] / 1e6:.0f} Mtoken per CPU-s")
        print(f"most memory while scanning                  {memory:.0f} MB")
        table = tables[options.texts[-1]]
        begin = time.process_time()
        scan = scan_tokens(rows, table, 0, size)
        matches = find_matches(rows, table, scan, 0, rows.n_rows)
        found = {int(place) for place in matches.found[matches.found[:, 3] == TEXT_TOKENS, 2]}
        print(f"texts found whole                           {len(found)} of {options.texts[-1]}")
        print(f"places looked at, scan and exact search     {len(scan.spans)}, {time.process_time() - begin:.2f} CPU-s")


if __name__ == "__main__":
    main()
