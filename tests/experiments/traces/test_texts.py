"""Texts from files, their two forms, and the tokens at their ends that what stands around them may change."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.dataset.corpus.tokenizer_file import open_tokenizer
from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.experiments.traces.texts import (
    GIVEN,
    TOGGLED,
    TracedText,
    check_texts,
    declared_texts,
    forms_of,
    read_texts,
)
from workflow_scripts.suite.traces import FOLDER, load_traces, read_traces

SENTENCE = "The capital of Toravia is Begrad. Sordia has its river in Dovess."


@pytest.fixture(scope="module")
def tokenizer(pocket_corpus):
    return open_tokenizer(pocket_corpus / "tokenizer.json")


def contains(tokens, part):
    return any(np.array_equal(tokens[k : k + len(part)], part) for k in range(len(tokens) - len(part) + 1))


@pytest.mark.parametrize("around", ["{}", " {}", "X{}", "7{}", "\n{}", "{} and", "{}7", "{}\n\nThe", "He said: {}."])
@pytest.mark.parametrize("text", [SENTENCE, SENTENCE[:-1], SENTENCE[4:50], "12 plus 7 equals 19 and 3 plus 4 equals"])
def test_the_core_of_one_form_is_found_whatever_stands_around(tokenizer, text, around):
    forms = forms_of(tokenizer, [TracedText("a", text)])
    whole = np.array(tokenizer.encode(around.format(text)).ids)
    assert any(contains(whole, form.tokens[form.first : form.stop]) for form in forms)
    assert all(form.stop - form.first > len(form.tokens) / 2 for form in forms)


def test_a_text_that_begins_and_ends_within_words_is_found_by_its_core_alone(tokenizer):
    """Whole words have other tokens than their parts, so neither form as a whole is in the sentence."""
    forms = forms_of(tokenizer, [TracedText("a", SENTENCE[2:-4])])
    whole = np.array(tokenizer.encode(SENTENCE).ids)
    assert not any(contains(whole, form.tokens) for form in forms)
    assert any(contains(whole, form.tokens[form.first : form.stop]) for form in forms)


def test_forms_are_the_text_and_the_text_with_its_space_toggled(tokenizer):
    given, toggled = forms_of(tokenizer, [TracedText("a", SENTENCE)])
    assert (given.kind, toggled.kind) == (GIVEN, TOGGLED)
    assert tokenizer.decode(given.tokens.tolist()).strip() == tokenizer.decode(toggled.tokens.tolist()).strip()
    assert given.tokens.tolist() == tokenizer.encode(SENTENCE).ids
    assert toggled.tokens.tolist() == tokenizer.encode(f" {SENTENCE}").ids


def test_a_short_text_is_refused_by_name(tokenizer):
    with pytest.raises(ConfigError, match=r"'tiny'.*at least 8"):
        forms_of(tokenizer, [TracedText("tiny", "The cat")])


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "parquet"])
def test_files_of_texts(tmp_path, kind):
    frame = pd.DataFrame({"id": ["a", "b"], "words": ["One.", "Two."], "domain": ["x", "y"]})
    path = tmp_path / f"mine.{kind}"
    if kind == "txt":
        path.write_text("One.\n\nTwo.\n")
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path) if kind == "csv" else frame.to_parquet(path)
    texts = read_texts(path, "words")
    assert [text.text for text in texts] == ["One.", "Two."]
    assert [text.name for text in texts] == (["mine-1", "mine-3"] if kind == "txt" else ["a", "b"])
    assert [text.domain for text in texts] == (["text", "text"] if kind == "txt" else ["x", "y"])


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(MissingInputError, match="no such file"):
        read_texts(tmp_path / "none.txt")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\nnothing\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        read_texts(tmp_path / "bad.jsonl")
    (tmp_path / "list.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match=r"list\.jsonl:1"):
        read_texts(tmp_path / "list.jsonl")
    (tmp_path / "other.jsonl").write_text('{"words": "a"}\n')
    with pytest.raises(DataError, match="'text'; it has words"):
        read_texts(tmp_path / "other.jsonl")


def test_no_texts_and_equal_names_are_refused():
    with pytest.raises(ConfigError, match="no texts"):
        check_texts([])
    with pytest.raises(ConfigError, match="called 'a'"):
        check_texts([TracedText("a", "one"), TracedText("b", "two"), TracedText("a", "three")])


def test_a_declaration_lists_files_and_single_texts(tmp_path):
    (tmp_path / "more.txt").write_text("Three.\n")
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"traces: mine\nmin_tokens: 9\ntexts:\n  - {{id: one, text: One., domain: d}}\n  - file: {tmp_path}/more.txt\n"
    )
    declaration = read_traces(path)
    assert (declaration.min_tokens, declaration.scan_jobs, declaration.files) == (9, 1, [f"{tmp_path}/more.txt"])
    assert declared_texts(declaration) == [TracedText("one", "One.", "d"), TracedText("more-1", "Three.")]


@pytest.mark.parametrize("entry", ["{text: no name}", "{file: a.txt, text: both, id: c}", "{file: a.txt, colum: x}"])
def test_bad_declarations_are_refused(tmp_path, entry):
    (tmp_path / "bad.yaml").write_text(f"traces: bad\nmin_tokens: 9\ntexts: [{entry}]\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        read_traces(tmp_path / "bad.yaml")


def test_shipped_declarations_are_valid():
    for path in FOLDER.glob("*.yaml"):
        assert load_traces(path.stem).name == path.stem
