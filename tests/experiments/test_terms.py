"""Counting terms: hand-made texts, a second implementation, and counts over a training order against the documents."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.dataset.files.index_writer import indexed_writer
from workflow_scripts.errors import ConfigError, DataError, MissingInputError, UnknownNameError
from workflow_scripts.evaluation.planning.encode import Encoder
from workflow_scripts.experiments import term_frequency
from workflow_scripts.experiments.count_terms import count
from workflow_scripts.experiments.frequency.questions import Question, Task, pythia_arithmetic
from workflow_scripts.experiments.frequency.terms import Term, WordCounter, count_windows, load_terms
from workflow_scripts.experiments.outputs import read_verdict
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.run.training_rows import open_rows

NUMBERS = frozenset(str(number) for number in range(100))


def windows(text):
    return dict(count_windows([text], NUMBERS))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 cats and 12 dogs and 7", {"3": 1, "12": 2, "7": 1}),  # 12 is in both windows
        ("3 cats. 7 dogs", {"3": 1, "7": 1}),
        ("see 7. Then 8", {}),  # a number before a full stop opens no window
        ("3 one two three 7", {"3": 1, "7": 1}),
        ("3 one two three four 7", {}),
        ("3 7", {}),
        ("x3 cats 7", {}),
        ("3 cats 7.", {"3": 1, "7": 1}),
    ],
)
def test_windows_by_hand(text, expected):
    assert windows(text) == expected


def test_long_numbers_are_cut_to_five_digits():
    assert dict(count_windows(["3 cats 123456"], frozenset({"12345", "123456"}))) == {"12345": 1}


TERMS = [Term("3", "number", ("3",)), Term("7", "number", ("7",)), Term("France", "fact", ("France", "Paris"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 and 3 and 7.", {"3": 2, "7": 1}),
        ("13, 3.5, 3,000 and 3rd", {}),
        ("(3) 7!", {"3": 1, "7": 1}),
        ("Paris is in France. Paris", {"France": 1}),
        ("Paris. France", {}),
        ("Question: capital of France?\nAnswer: Paris\n\nParis", {"France": 1}),
        ("Paris<|endoftext|>France", {}),
        ("3<|endoftext|>3", {"3": 2}),
    ],
)
def test_words_by_hand(text, expected):
    assert dict(WordCounter(TERMS)([text])) == expected


@settings(deadline=None, max_examples=80)
@given(st.lists(st.sampled_from(["3", "7", "13", "cat", "3.5", "7,"]), max_size=15))
def test_whole_numbers_as_a_regular_expression_would(words):
    text = " ".join(words)
    expected = Counter(re.findall(r"(?<![\d.,])(?:3|7)(?![.,]?\d)", text))
    assert WordCounter(TERMS)([text]) == expected


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Documents about numbers and facts, tokenised, with a tokenizer that knows every byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("world")
    random = np.random.default_rng(0)
    texts = []
    for _ in range(150):
        a, b = random.integers(0, 8, 2)
        texts.append(f"Sum: {a} plus {b} equals {a + b}\nThe capital of Land{a} is Town{a}.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    with indexed_writer(folder / "text", np.dtype("<u2")) as writer:
        for text in texts:
            writer.add([*tokenizer.encode(text).ids, 0])
            writer.end_document()
    facts = [{"rank": n, "country": f"Land{n}", "capital": f"Town{n}", "river": f"Brook{n}"} for n in range(8)]
    (folder / "world.json").write_text(json.dumps({"format": "pocket-world-1", "seed": 1, "facts": facts}))
    return folder, texts, tokenizer


def counted(source, recipe, folder, terms, steps, *, jobs=1):
    """Cumulative counts at ``steps`` by so many jobs of like size."""
    bounds = np.linspace(0, steps[-1] * recipe.batch_rows, jobs + 1).astype(int).tolist()
    encoder = Encoder(folder / "tokenizer.json", 24)
    ranges = itertools.pairwise(bounds)
    return term_frequency.cumulative(
        [count(source, recipe, encoder, terms, steps=steps, first=first, stop=stop) for first, stop in ranges]
    )


def test_counts_over_one_pass_are_those_of_the_documents(world, tiny):
    """Rows of 24 tokens cut some words (Land7 may leave a 7): the counts are near those of the documents."""
    folder, texts, tokenizer = world
    tokens = sum(len(tokenizer.encode(text).ids) + 1 for text in texts)
    iterations = tokens // (24 * 8)
    recipe = dataclasses.replace(tiny, vocab_size=384, train_iterations=iterations, checkpoint_steps=(iterations,))
    source = open_rows(folder / "text.idx", None, recipe)
    terms = [Term(str(n), "number", (str(n),)) for n in range(8)] + load_terms("pocket", folder / "world.json")[20:]
    half = iterations // 2
    frame = counted(source, recipe, folder, terms, [half, iterations])
    final = frame[(frame["iteration"] == iterations) & (frame["mode"] == "word")].set_index("term")["count"]
    halfway = frame[(frame["iteration"] == half) & (frame["mode"] == "word")].set_index("term")["count"]
    expected = Counter(number for text in texts for number in re.findall(r"(?<!\w)\d(?!\w)", text))
    for number in range(8):
        assert 0.75 * expected[str(number)] <= final[str(number)] <= 1.35 * expected[str(number)]
        facts = sum(f"Land{number} is" in text for text in texts)
        assert 0.4 * facts <= final[f"Land{number}"] <= facts
    assert (halfway <= final).all()
    assert 0.3 < halfway.sum() / final.sum() < 0.7


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_each_row_is_counted_once(world, tiny, jobs):
    """Counts are exactly those of the decoded rows, and cumulative, over however many jobs."""
    folder, _, tokenizer = world
    recipe = dataclasses.replace(tiny, vocab_size=384, train_iterations=6, checkpoint_steps=(6,))
    source = open_rows(folder / "text.idx", None, recipe)
    terms = [Term(str(n), "number", (str(n),)) for n in range(8)]
    frame = counted(source, recipe, folder, terms, [2, 6], jobs=jobs)
    for step in (2, 6):
        rows = source.rows(0, step * 8)
        texts = [tokenizer.decode(row[:-1].tolist(), skip_special_tokens=False) for row in rows]
        expected = Counter(n for text in texts for n in re.findall(r"(?<!\w)\d(?!\w)", text))
        found = frame[(frame["iteration"] == step) & (frame["mode"] == "word")]
        assert dict(zip(found["term"], found["count"], strict=True)) == {str(n): expected[str(n)] for n in range(8)}
        whole = [tokenizer.decode(row.tolist(), skip_special_tokens=False) for row in rows]
        original = count_windows(whole, frozenset(str(n) for n in range(8)))
        found = frame[(frame["iteration"] == step) & (frame["mode"] == "window")]
        assert dict(zip(found["term"], found["count"], strict=True)) == {str(n): original[str(n)] for n in range(8)}


def test_lists_of_terms(world):
    folder, _, _ = world
    assert len(load_terms("pythia")) == 100
    terms = load_terms("pocket", folder / "world.json")
    assert [term.kind for term in terms] == ["number"] * 20 + ["fact"] * 8
    with pytest.raises(ConfigError, match="--world"):
        load_terms("pocket")
    with pytest.raises(MissingInputError):
        load_terms("pocket", folder / "nowhere.json")
    with pytest.raises(UnknownNameError, match="did you mean 'pocket'"):
        load_terms("pockets")


def test_examples_never_share_the_term_and_never_change():
    task = pythia_arithmetic("multiplication")
    assert len(task.questions) == 5000
    few = Task(task.name, task.questions[:60], task.pool[:400], task.separator)
    prompts = few.prompts(4)
    assert prompts == few.prompts(4)
    for question, prompt in zip(few.questions, prompts, strict=True):
        *examples, asked = prompt.split("\n")
        assert asked == question.prompt
        assert len(examples) == 4
        assert all(f"What is {question.term} " not in example for example in examples)
    assert few.questions[7].solved == "Q:What is 0 times 8? A: 0"


def answers_and_counts(partial):
    """Twenty terms of forty questions; accuracy follows count alone, or size alone."""
    random = np.random.default_rng(0)
    size = np.arange(20)
    count = (1000 / (size + 1)).astype(int) if not partial else random.permutation(1000 // (size + 1))
    strength = count / count.max() if partial else 1 - size / 20
    rows = [
        {"step": 600, "task": "arithmetic", "shots": 0, "item": f"{t}-{k}", "term": str(t), "control": float(t)}
        | {"is_right": bool(random.random() < strength[t])}
        for t in size
        for k in range(40)
    ]
    counts = [
        {"term": str(t), "kind": "number", "mode": mode, "iteration": 600, "count": int(count[t])}
        for t in size
        for mode in ("word", "window")
    ]
    return pd.DataFrame(rows), pd.DataFrame(counts)


@pytest.mark.parametrize("partial", [True, False])
def test_frequency_is_told_from_operand_size(partial):
    model = load_suite("pocket").model("pocket-90k")
    answers, counts = answers_and_counts(partial)
    terms = term_frequency.joined(model, term_frequency.accuracy_by_term(answers), counts)
    line = next(term_frequency.statistics(terms))
    assert line["rho"] > 0.6
    assert line["gap"] > 0.3
    assert (line["partial_rho_lower"] > 0) is partial
    # Where the count follows from the size alone, the sentence says that they cannot be told apart.
    assert ("can hardly be distinguished from size" in term_frequency.sentence(pd.Series(line))) is not partial


def test_terms_that_were_not_counted_are_named():
    model = load_suite("pocket").model("pocket-90k")
    answers, counts = answers_and_counts(True)
    with pytest.raises(DataError, match="term '5' was not counted"):
        term_frequency.joined(model, term_frequency.accuracy_by_term(answers), counts[counts["term"] != "5"])


def test_program_joins_answers_and_counts(tmp_path):
    answers, counts = answers_and_counts(True)
    (tmp_path / "experiments/answers").mkdir(parents=True)
    (tmp_path / "experiments/terms/pocket/standard").mkdir(parents=True)
    answers.to_parquet(tmp_path / "experiments/answers/pocket-90k.parquet")
    for first, stop, share in ((0, 3000, counts["count"] // 3), (3000, 4800, counts["count"] - counts["count"] // 3)):
        part = counts.assign(count=share)
        part.to_parquet(tmp_path / f"experiments/terms/pocket/standard/rows-{first}-{stop}.parquet")
    run = {"run": "t", "suite": "pocket", "models": [{"name": "pocket-90k"}], "steps": {}, "shots": [], "tasks": []}
    write_json(tmp_path / "run.json", {**run, "settings": {"term_frequency": {"steps": "last", "rows_per_job": 3000}}})
    arguments = ["--run", tmp_path / "run.json", "--results", tmp_path, "--tables-dir", tmp_path / "tables"]
    term_frequency.main([str(argument) for argument in arguments])
    table = pd.read_parquet(tmp_path / "tables/term_frequency.parquet")
    assert set(table["mode"]) == {"word", "window"}
    terms = pd.read_parquet(tmp_path / "tables/term_frequency_terms.parquet")
    merged = terms[terms["mode"] == "word"].merge(counts[counts["mode"] == "word"], on="term", suffixes=("", "_made"))
    assert (merged["count"] == merged["count_made"]).all()
    assert table["questions"].tolist() == [800, 800]
    assert "operand size held fixed" in read_verdict(tmp_path / "tables/verdict_term_frequency.json")["sentences"][0]


def test_a_question_without_control_has_no_partial_correlation():
    question = Question("facts", "a", "Land", "?", (" x", " y"))
    assert math.isnan(question.control)
