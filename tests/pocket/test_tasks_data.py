"""The evaluation items: disjoint from examples and corpus, right answers, usable by lm-eval as they lie."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

import pytest

from tests.pocket.conftest import TASKS, generate
from workflow_scripts import cli
from workflow_scripts.pocket import generate_tasks, lexicon


def asked(task, row):
    """The text that must not have been seen before."""
    field = {"agreement": "sentence_good", "last_word": "text", "facts": "question", "pronouns": "sent_more"}
    return row[field.get(task, "context")]


@pytest.mark.parametrize("task", TASKS)
def test_sizes(pocket, task):
    assert 130 <= len(pocket.rows(task)) <= 300
    assert len(pocket.rows(task, "train")) >= 25


@pytest.mark.parametrize("task", TASKS)
def test_items_are_different_and_not_among_the_examples(pocket, task):
    test = [asked(task, row) for row in pocket.rows(task)]
    assert len(set(test)) == len(test)
    assert not set(test) & {asked(task, row) for row in pocket.rows(task, "train")}


@pytest.mark.parametrize("task", ["agreement", "last_word", "pronouns", "arithmetic"])
def test_no_test_item_stands_in_the_corpus(pocket, task):
    text = "\n\n".join(pocket.texts())
    for row in pocket.rows(task):
        sentence = row["context"] + row["completion"] if task == "arithmetic" else asked(task, row)
        assert sentence not in text
        if task == "pronouns":
            assert row["sent_less"] not in text


def test_held_out_subjects_and_verbs_never_meet(pocket):
    forms = {form: noun for noun in lexicon.SUBJECTS for form in (noun.singular, noun.plural)}
    forms |= {form: verb for verb in lexicon.VERBS for form in (verb.singular, verb.plural)}

    def pair(sentence):
        words = [forms[word] for word in re.findall(r"\w+", sentence) if word in forms]
        return words[0], words[-1]

    trained = {
        pair(sentence) for row in pocket.standard if row["kind"] == "scene" for sentence in row["text"][:-1].split(". ")
    }
    assert len(trained) == 96
    assert not trained & {pair(row["sentence_good"]) for row in pocket.rows("agreement")}


def test_agreement_items_are_minimal_and_balanced(pocket):
    rows = pocket.rows("agreement")
    assert Counter(row["distance"] for row in rows) == {0: 80, 1: 80, 2: 80}
    numbers = Counter()
    for row in rows:
        good, bad = row["sentence_good"].rstrip(".").split(), row["sentence_bad"].rstrip(".").split()
        assert good[:-1] == bad[:-1]
        assert {good[-1], bad[-1]} == {good[-1].removesuffix("s"), good[-1].removesuffix("s") + "s"}
        assert good[-1].endswith("s") is (row["number"] == "singular")
        numbers[good[-1].removesuffix("s"), row["number"]] += 1
        between = re.findall(r"the (?:\w+ )?(\w+)(?= (?:near|behind|beside|under|\w+$))", " ".join(good))
        assert len(between) == row["distance"]
        assert all(noun.endswith("s") is (row["number"] == "singular") for noun in between)
    assert all(numbers[verb, "singular"] == numbers[verb, "plural"] for verb, _ in numbers)


def test_last_words_were_named_before(pocket):
    rows = pocket.rows("last_word")
    for row in rows:
        *before, last = re.findall(r"\w+", row["text"])
        assert last in before
        assert (last in lexicon.OBJECTS) is (row["plot"] == "object")
        persons = {word for word in before if word in lexicon.PERSONS}
        assert len(persons) == (1 if row["plot"] == "person" else 2)
    assert min(Counter(row["plot"] for row in rows).values()) > 60


def test_heroes_and_objects_of_the_test_never_meet(pocket):
    def pair(story):
        words = re.findall(r"\w+", story)
        thing = next(word for word in words if word in lexicon.OBJECTS)
        hero = words[-1] if words[-1] in lexicon.PERSONS else next(w for w in words[1:] if w in lexicon.PERSONS)
        return hero, thing

    trained = {pair(s) for row in pocket.standard if row["kind"] == "story" for s in row["text"].split("\n\n")}
    assert 390 <= len(trained) <= 400  # five sixths of 24 persons x 20 objects, nearly all of them met
    assert not trained & {pair(row["text"]) for row in pocket.rows("last_word")}


def test_facts_ask_what_the_world_knows(pocket):
    facts = {fact["country"]: fact for fact in pocket.world["facts"]}
    for split in ("test", "train"):
        for row in pocket.rows("facts", split):
            fact = facts[row["country"]]
            assert fact["split"] == split
            choices = row["choices"]["text"]
            assert len(set(choices)) == 4
            assert choices[row["choices"]["label"].index(row["answerKey"])] == fact["capital"]
            assert fact["river"] in choices
    keys = Counter(row["answerKey"] for row in pocket.rows("facts"))
    assert min(keys.values()) > 25


def test_pronoun_pairs_differ_in_the_pronoun_only(pocket):
    swap = {"he": "she", "she": "he", "his": "her", "her": "his"}
    usual = Counter()
    for row in pocket.rows("pronouns"):
        more, less = row["sent_more"].split(), row["sent_less"].split()
        changed = [(a, b) for a, b in zip(more, less, strict=True) if a != b]
        assert len(changed) == 1
        assert swap[changed[0][0]] == changed[0][1]
        assert changed[0][0] in {"he": ("he", "his"), "she": ("she", "her")}[row["stereotype"]]
        usual[row["stereotype"]] += 1
    assert usual["he"] == usual["she"]


def test_sums_are_right(pocket):
    pairs = []
    for split in ("train", "test"):
        for row in pocket.rows("arithmetic", split):
            operands = (row["first_operand"], row["second_operand"])
            assert row["context"] in [f"{word}: {operands[0]} plus {operands[1]} equals" for word in ("Sum", "Total")]
            assert int(row["completion"]) == sum(operands)
            pairs.append(operands)
    assert sorted(pairs) == [(first, second) for first in range(16) for second in range(16)]


def test_a_sum_keeps_to_one_wording_in_documents_and_to_the_other_in_the_test(pocket):
    text = "\n".join(pocket.texts())
    seen = set(re.findall(r"(Sum|Total): (\d+) plus (\d+) equals", text))
    asked_lines = {
        tuple(re.findall(r"\w+", row["context"])[:2] + re.findall(r"\d+", row["context"])[1:])
        for split in ("train", "test")
        for row in pocket.rows("arithmetic", split)
    }
    assert not seen & asked_lines
    words = Counter(row["context"].split(":")[0] for row in pocket.rows("arithmetic"))
    assert min(words.values()) > 80


def test_the_world_of_another_seed_is_refused(pocket, tmp_path, capsys):
    arguments = ["--seed=99", f"--world={pocket.folder / 'world.json'}", f"--output-dir={tmp_path}"]
    assert cli.run(generate_tasks.main, arguments) == cli.USER_ERROR
    assert "has seed 1234, but --seed is 99" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "no such world file"), ("{", "not JSON"), ('{"format": 3}', "not a world file of format")],
)
def test_a_bad_world_file_is_one_line(tmp_path, capsys, content, expected):
    world = tmp_path / "world.json"
    if content is not None:
        world.write_text(content)
    arguments = ["--seed=1", f"--world={world}", f"--output-dir={tmp_path / 'out'}"]
    assert cli.run(generate_tasks.main, arguments) == cli.USER_ERROR
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1


def test_rows_are_reproducible(pocket, tmp_path):
    generate(tmp_path)
    for task in TASKS:
        for split in ("train", "test"):
            name = f"datasets/pocket/{task}/default/{split}.parquet"
            assert (tmp_path / name).read_bytes() == (pocket.folder / name).read_bytes()
    digest = hashlib.sha256(json.dumps({task: pocket.rows(task) for task in TASKS}).encode()).hexdigest()
    assert len(digest) == 64
