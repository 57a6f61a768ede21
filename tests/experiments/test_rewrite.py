"""Exchanging words: against a rewriting of the text by regular expressions, and by hand on awkward rows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from workflow_scripts.errors import ConfigError, DataError, UnknownNameError
from workflow_scripts.evaluation.planning.encode import Encoder
from workflow_scripts.experiments.bias.rewrite import (
    Exchange,
    Identity,
    UserFunction,
    make_forms,
    make_rewriter,
    read_vocabulary,
    word_counts,
)

PAIRS = (("he", "she"), ("him", "her"), ("his", "her"), ("himself", "herself"))
WORDS = [
    "he",
    "she",
    "He",
    "She",
    "his",
    "her",
    "him",
    "the",
    "hero",
    "sheep",
    "ship",
    "hers",
    "here",
    "7",
    "it's",
    "a",
]
SEPARATORS = [" ", " ", " ", "\n", ". ", '"', " (", "-", "<|endoftext|>"]
END = "<|endoftext|>"
EXCHANGED = {"he": "she", "him": "her", "his": "her", "himself": "herself", "He": "She", "Him": "Her", "His": "Her"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Byte-level BPE in the manner of the 20B tokenizer, which knows the pronouns as single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = " ".join([*WORDS, "Him", "Her", "His", "himself", "herself", "ship", "the sheep"] * 20)
    lines = "\n".join(["he", "she", "He", "She", "his", "her", "Her", "His", "him", "Him"] * 20)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text, lines], trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return Encoder(path, 64)


@pytest.fixture(scope="module")
def exchange(encoder):
    return make_rewriter(encoder, PAIRS, "first_to_second")


def row_of(encoder, text):
    """One row that ends with a token which is no word."""
    return np.array([[*encoder.texts([text])[0], *encoder.texts([" ."])[0]]])


def text_of(encoder, row):
    return encoder.tokenizer.decode(row.tolist(), skip_special_tokens=False)


def rewritten(encoder, exchange, text):
    return text_of(encoder, exchange(row_of(encoder, text))[0][0]).removesuffix(" .")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("then he went", "then she went"),
        ("saw him. He left", "saw her. She left"),
        ("took his hat himself", "took her hat herself"),
        ("the hero here", "the hero here"),
        ("as he's said", "as she's said"),
        ("if he2 says", "if he2 says"),
        ('said "He is', 'said "She is'),
        ("line\nHe is", "line\nShe is"),
        (f"end{END}He is", f"end{END}She is"),
        ("she and her", "she and her"),
        ("t-he is", "t-he is"),
    ],
)
def test_whole_words_only(encoder, exchange, text, expected):
    assert rewritten(encoder, exchange, text) == expected


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(SEPARATORS)), min_size=1, max_size=10))
def test_as_a_regular_expression_would(encoder, exchange, parts):
    text = "a " + "".join(word + separator for word, separator in parts)
    opened = r"(?:(?<= )|(?<=[\n\"(])|(?<=<\|endoftext\|>))"
    pattern = re.compile(opened + r"(" + "|".join(EXCHANGED) + r")(?![A-Za-z0-9])")
    expected = pattern.sub(lambda match: EXCHANGED[match[1]], text)
    row = row_of(encoder, text)
    made, counts = exchange(row)
    assert text_of(encoder, made[0]).removesuffix(" .") == expected
    assert counts["changed"] == int((made != row).sum())
    assert made.shape == row.shape


def test_edges_are_left_alone_and_counted(encoder, exchange):
    ids = [encoder.texts([text])[0][0] for text in ("He", " he", " he")]
    row = np.array([ids])
    made, counts = exchange(row)
    assert made[0].tolist() == [ids[0], encoder.texts([" she"])[0][0], ids[2]]
    assert counts == {"changed": 1, "inside_word": 0, "at_row_edge": 2}


def test_swap_goes_both_ways(encoder):
    swap = make_rewriter(encoder, PAIRS, "swap")
    assert rewritten(encoder, swap, "then he saw her and she him") == "then she saw him and he her"


def test_back_again(encoder):
    back = make_rewriter(encoder, PAIRS, "second_to_first")
    assert rewritten(encoder, back, "a She and her sheep") == "a He and him sheep"


def test_identity_changes_nothing(encoder):
    row = row_of(encoder, "then he went")
    made, counts = make_rewriter(encoder, PAIRS, "identity")(row)
    assert isinstance(make_rewriter(encoder, PAIRS, "identity"), Identity)
    assert np.array_equal(made, row)
    assert counts == {"changed": 0}


def test_retokenize_keeps_text_and_length(encoder):
    again = make_rewriter(encoder, PAIRS, "retokenize")
    # The word is cut in pieces that the tokenizer itself would not make.
    pieces = [token for part in ("s", "h", "ip", " he", " a") for token in encoder.texts([part])[0]]
    row = np.array([pieces, [encoder.texts([" a"])[0][0]] * len(pieces)])
    made, counts = again(row)
    assert made.shape == row.shape
    assert [token for token in made[0] if token != encoder.prefix_id] == encoder.texts(["ship he a"])[0]
    assert np.array_equal(made[1], row[1])
    assert counts["rows_made_again"] == 1
    assert counts["changed"] > 0


def test_counts_of_both_kinds(encoder):
    vocabulary, forms = read_vocabulary(encoder), make_forms(encoder, PAIRS)
    rows = row_of(encoder, "then he and she and her")
    assert word_counts(rows, vocabulary, forms) == {"first": 1, "second": 2}


def test_unknown_direction_is_refused(encoder):
    with pytest.raises(UnknownNameError, match="did you mean 'swap'"):
        Exchange(read_vocabulary(encoder), make_forms(encoder, PAIRS), "swop")


def test_pairs_that_are_no_tokens_are_refused(encoder):
    with pytest.raises(ConfigError, match="one token"):
        make_rewriter(encoder, (("zyzzyva", "quixotry"),), "swap")


@pytest.mark.shared
def test_ids_of_the_20b_tokenizer(shared):
    """Ids that the published intervention code lists (gpt-neox branch intervention)."""
    path = next((shared / "tokenizer").glob("*okenizer.json"))
    forms = {(form.first, form.second): form for form in make_forms(Encoder(path, 64), PAIRS)}
    known = {
        (" he", " she"): (344, 703),
        (" him", " her"): (779, 617),
        (" his", " her"): (521, 617),
        (" himself", " herself"): (2994, 5972),
        (" He", " She"): (754, 1500),
        (" His", " Her"): (3032, 4058),
        ("He", "She"): (1328, 2993),
        ("His", "Her"): (8389, 10759),
    }
    assert {pair: (forms[pair].first_id, forms[pair].second_id) for pair in known} == known
    assert not forms[" Himself", " Herself"].is_single


FUNCTION = """
def rewrite(rows, first_row, tokenizer):
    {body}
"""


@pytest.fixture
def function(encoder, tmp_path, monkeypatch):
    """Function that makes a rewriting of the user's from the lines of its body."""
    monkeypatch.setattr("workflow_scripts.suite.arms.FOLDER", tmp_path)

    def make(body, name="mine"):
        (tmp_path / f"{name}.py").write_text(FUNCTION.format(body=body))
        return UserFunction(name, encoder)

    return make


def test_a_users_function_is_given_rows_their_number_and_the_tokenizer(function):
    rewrite = function("rows[:, 0] = first_row + len(tokenizer.encode('he').ids); return rows")
    rows = np.full((3, 4), 7, dtype=np.uint16)
    made, counts = rewrite(rows, 20)
    assert made[:, 0].tolist() == [21] * 3
    assert made.dtype == rows.dtype
    assert (rows == 7).all()
    assert counts == {"changed": 3, "rows_changed": 3}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return rows[:, :2]", "same shape"),
        ("return rows * 1.5", "integers"),
        ("return rows.astype('int64') - 8", "outside 0"),
        ("return rows.astype('int64') + 100000", "outside 0"),
    ],
)
def test_a_users_function_must_give_rows_that_can_be_trained_on(function, body, message):
    with pytest.raises(DataError, match=message):
        function(body)(np.full((3, 4), 7, dtype=np.uint16), 0)


def test_a_function_that_is_not_there_is_named(function, tmp_path, encoder):
    function("return rows")
    with pytest.raises(UnknownNameError, match="did you mean 'mine'"):
        UserFunction("mime", encoder)
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ConfigError, match="defines no function rewrite"):
        UserFunction("empty", encoder)


@pytest.mark.parametrize("portion", [1, 7, 40])
def test_repeated_passages_do_not_depend_on_the_portions(encoder, portion):
    rewrite = UserFunction("repeat_late", encoder)
    rows = np.full((40, 20), 7, dtype=np.uint16)
    parts = [rewrite(rows[begin : begin + portion], 101 + begin)[0] for begin in range(0, 40, portion)]
    made = np.concatenate(parts)
    changed = np.flatnonzero((made != rows).any(axis=1))
    assert ((101 + changed) % 4 == 0).all()
    assert len(changed) == 10
    assert len(np.unique(made[changed], axis=0)) == 4
