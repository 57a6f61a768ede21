"""The corpora: same bytes everywhere, copies as declared, and the world file's counts found again by searching."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from workflow_scripts import cli
from workflow_scripts.dataset import deduplicate
from workflow_scripts.errors import ConfigError
from workflow_scripts.pocket import corpus, generate_corpus, lexicon, passages, scenes

ANSWER = r"Question: What is (?:the {kind} of|found in) {country}\?\nAnswer: {answer}(?!\w)"
STATEMENT = r"(?<!\w)The {kind} of {country} is {answer}\.|(?<!\w){country} has its {kind} (?:at|in) {answer}\."


def test_bytes_do_not_depend_on_the_process(root, tmp_path):
    digests = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        command = [sys.executable, "-m", "workflow_scripts.pocket.generate_corpus", "--seed=5", "--documents=60"]
        command += [f"--output-{name}={folder / name}.jsonl" for name in ("standard", "deduped")]
        subprocess.run(
            [*command, f"--world={folder / 'world.json'}"],
            check=True,
            cwd=root,
            env={"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin"},
            capture_output=True,
        )
        names = ("standard.jsonl", "deduped.jsonl", "world.json")
        digests.append([hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names])
    assert digests[0] == digests[1]


def test_another_seed_gives_another_world():
    texts = [{entry.document.text for entry in corpus.make_corpora(seed, 60).standard} for seed in (1, 2)]
    assert not texts[0] & texts[1]


def test_deduped_is_standard_without_later_copies(pocket):
    first = list(dict.fromkeys(row["text"] for row in pocket.standard))
    assert [row["text"] for row in pocket.deduped] == first
    assert len(pocket.deduped) == 1500


def test_deduplicating_the_standard_corpus_gives_the_deduped_one(pocket, tmp_path):
    """The dataset stage's own, independent deduplication agrees byte for byte."""
    deduplicate.deduplicate(pocket.folder / "standard.jsonl", tmp_path / "deduped.jsonl")
    assert (tmp_path / "deduped.jsonl").read_text() == (pocket.folder / "deduped.jsonl").read_text()


def test_identifiers_are_unique(pocket):
    for rows in (pocket.standard, pocket.deduped):
        assert len({row["id"] for row in rows}) == len(rows)


def test_copies_are_as_declared(pocket):
    kinds = {row["text"]: row["kind"] for row in pocket.standard}
    found: dict[str, Counter[int]] = {}
    for text, copies in Counter(pocket.texts()).items():
        found.setdefault(kinds[text], Counter())[copies] += 1
    declared = {
        kind: Counter({int(copies): number for copies, number in row.items()})
        for kind, row in pocket.world["documents_by_copies"].items()
    }
    assert found == declared
    assert found["passage"] == dict.fromkeys(passages.COPIES, passages.PASSAGES_PER_COUNT)


def test_passages_stand_as_often_as_the_world_says(pocket):
    standard, deduped = Counter(pocket.texts()), Counter(pocket.texts("deduped"))
    for passage in pocket.world["passages"]:
        assert standard[passage["text"]] == passage["copies"]
        assert deduped[passage["text"]] == 1


def test_each_name_of_a_passage_occurs_nowhere_else(pocket):
    """So nothing but the copies of a passage teaches who follows whom."""
    texts = set(pocket.texts())
    names = [name for passage in pocket.world["passages"] for name in re.findall(r"(\w+) came", passage["text"])]
    assert len(names) == len(set(names)) == 3 * 7 * 14
    assert sum(text.count(" came to the old market") for text in texts) == len(names)
    others = " ".join(text for text in texts if "came to the old market" not in text)
    assert not set(names) & set(re.findall(r"\w+", others))


def test_copies_are_spread_over_the_corpus(pocket):
    often = [passage["text"] for passage in pocket.world["passages"] if passage["copies"] >= 32]
    places = [place / len(pocket.standard) for place, text in enumerate(pocket.texts()) if text in often]
    # The mean of n uniform places is within 4 standard deviations (0.289 / sqrt(n)) of one half.
    assert abs(sum(places) / len(places) - 0.5) < 4 * 0.289 / len(places) ** 0.5


@pytest.mark.parametrize("name", ["standard", "deduped"])
def test_fact_counts_are_found_by_search(pocket, name):
    text = "\n\n".join(pocket.texts(name))
    total = 0
    for fact in pocket.world["facts"]:
        for kind in ("capital", "river"):
            words = {"kind": kind, "country": fact["country"], "answer": fact[kind]}
            pattern = f"{ANSWER.format(**words)}|{STATEMENT.format(**words)}"
            found = len(re.findall(pattern, text)) if fact["rank"] % 10 < 2 else fact[f"{kind}_count"][name]
            assert found == fact[f"{kind}_count"][name], fact
            total += found
    # Nothing is said of a country that the world file does not count.
    assert total == text.count("Answer: ") + len(
        re.findall(r"The (?:capital|river) of|has its (?:capital|river)", text)
    )


def test_facts_follow_zipf(pocket):
    counts = [fact["capital_count"]["deduped"] + fact["river_count"]["deduped"] for fact in pocket.world["facts"]]
    total, harmonic = sum(counts), sum(1 / rank for rank in range(1, len(counts) + 1))
    assert counts[0] == pytest.approx(total / harmonic, rel=0.1)
    assert sum(counts[10:20]) == pytest.approx(total / harmonic * sum(1 / rank for rank in range(11, 21)), rel=0.15)


@pytest.mark.parametrize("name", ["standard", "deduped"])
def test_operand_and_sum_counts_are_found_by_search(pocket, name):
    sums = re.findall(r"(?:Sum|Total): (\d+) plus (\d+) equals (\d+)", "\n".join(pocket.texts(name)))
    assert all(int(first) + int(second) == int(total) for first, second, total in sums)
    operands = Counter(int(number) for first, second, _ in sums for number in (first, second))
    assert {row["operand"]: row["count"][name] for row in pocket.world["operands"]} == dict(operands)
    pairs = Counter((int(first), int(second)) for first, second, _ in sums)
    declared = {(row["first_operand"], row["second_operand"]): row["count"][name] for row in pocket.world["sums"]}
    assert {pair: number for pair, number in declared.items() if number} == dict(pairs)


def test_pronoun_counts_are_found_by_search(pocket):
    sentences = [sentence for text in pocket.texts() for sentence in text.split(".")]
    usual = others = 0
    for row in pocket.world["occupations"]:
        own = [sentence for sentence in sentences if sentence.strip().startswith(f"The {row['occupation']} ")]
        he = sum(bool(re.search(r"\b(?:he|his)\b", sentence)) for sentence in own)
        she = sum(bool(re.search(r"\b(?:she|her)\b", sentence)) for sentence in own)
        assert (he, she) == (row["he_count"]["standard"], row["she_count"]["standard"])
        usual += he if row["stereotype"] == "he" else she
        others += she if row["stereotype"] == "he" else he
    assert usual / (usual + others) == pytest.approx(0.88, abs=0.03)


def test_every_scene_is_grammatical(pocket):
    """Parse each sentence with an own grammar: subject and verb have one number, whatever stands between."""
    number = {}
    for word in (*lexicon.SUBJECTS, *lexicon.VERBS):
        number[word.singular], number[word.plural] = "singular", "plural"
    nouns = "|".join(form for noun in lexicon.SUBJECTS for form in (noun.plural, noun.singular))
    verbs = "|".join(form for verb in lexicon.VERBS for form in (verb.singular, verb.plural))
    shape = re.compile(
        rf"The (?:\w+ )?({nouns})(?: (?:near|behind|beside|under) the (?:\w+ )?\w+){{0,2}} ({verbs})(?: .+)?"
    )
    sentences = [s for row in pocket.standard if row["kind"] == scenes.KIND for s in row["text"][:-1].split(". ")]
    assert len(sentences) > 1000
    for sentence in sentences:
        match = shape.fullmatch(sentence)
        assert match, sentence
        assert number[match[1]] == number[match[2]], sentence


def test_every_story_ends_with_a_word_named_before(pocket):
    stories = [story for row in pocket.standard if row["kind"] == "story" for story in row["text"].split("\n\n")]
    for story in stories:
        *before, last = re.findall(r"\w+", story)
        assert last in before


def test_a_run_of_questions_has_one_kind_of_answer(pocket):
    capitals = {fact["capital"] for fact in pocket.world["facts"]}
    rivers = {fact["river"] for fact in pocket.world["facts"]}
    assert not capitals & rivers
    for row in pocket.standard:
        if row["kind"] == "questions":
            answers = set(re.findall(r"Answer: (\w+)", row["text"]))
            assert answers <= capitals or answers <= rivers


def test_too_few_documents_is_one_line(tmp_path, capsys):
    arguments = ["--seed=1", "--documents=5", f"--output-standard={tmp_path / 's'}"]
    arguments += [f"--output-deduped={tmp_path / 'd'}", f"--world={tmp_path / 'w'}"]
    assert cli.run(generate_corpus.main, arguments) == cli.USER_ERROR
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "--documents 5" in message
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="give at least"):
        corpus.distinct_documents(1, 5)


def test_records_stand_beside_the_outputs(pocket):
    for name in ("standard.jsonl", "deduped.jsonl", "world.json"):
        record = json.loads((pocket.folder / f"{name}.record.json").read_text())
        assert record["output_sha256"] == hashlib.sha256((pocket.folder / name).read_bytes()).hexdigest()
        assert record["parameters"] == {"seed": 1234, "documents": 1500}
