"""Texts that are traced: as many copies as they say, and strangers that no document holds."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from workflow_scripts.pocket import generate_trace_texts
from workflow_scripts.pocket.corpus import make_corpora
from workflow_scripts.pocket.trace_texts import trace_texts

SEED, DOCUMENTS = 7, 600


@pytest.fixture(scope="module")
def texts():
    return list(trace_texts(SEED, DOCUMENTS))


def test_each_text_has_the_copies_that_it_says(texts):
    documents = [entry.document.text for entry in make_corpora(SEED, DOCUMENTS).standard]
    for text in texts:
        assert sum(text["text"] in document for document in documents) == text["copies"], text["id"]


def test_each_domain_has_texts_that_are_seen_and_strangers(texts):
    counts = Counter((text["domain"], text["copies"] > 0) for text in texts)
    assert len(counts) == 4
    assert min(counts.values()) >= 10
    assert len({text["id"] for text in texts}) == len(texts)


def test_the_program_writes_them_as_lines(texts, tmp_path):
    output = tmp_path / "texts.jsonl"
    generate_trace_texts.main(["--seed", str(SEED), "--documents", str(DOCUMENTS), "--output", str(output)])
    assert [json.loads(line) for line in output.read_text().splitlines()] == texts
    assert (tmp_path / "texts.jsonl.record.json").is_file()
