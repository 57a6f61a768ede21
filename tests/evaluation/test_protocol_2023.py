"""Protocol pythia-2023 on real rows: strings and draws derived again here, by other code, from the rows themselves."""

from __future__ import annotations

import random

import numpy as np
import pyarrow.parquet as pq
import pytest
from evaluation_worlds import train_tokenizer, write_parquet

from workflow_scripts.errors import ConfigError, MissingInputError
from workflow_scripts.evaluation.build_plan import build_plan
from workflow_scripts.evaluation.planning import request_descriptions
from workflow_scripts.evaluation.planning.protocols import CURRENT, PYTHIA_2023, draw_examples, name_in, select_known
from workflow_scripts.evaluation.planning.request_descriptions import build_requests, set_shots
from workflow_scripts.evaluation.planning.tasks import compiled_templates, load_tasks
from workflow_scripts.evaluation.scoring.metrics import Answers, TaskRequests, task_metrics

SAME_ZERO_SHOT = {
    "lambada_openai": 5153, "piqa": 1838, "arc_easy": 2376, "arc_challenge": 1172, "winogrande": 1267, "logiqa": 651,
    "wsc": 104, "wikitext": 62, "crows_pairs_english": 1508,
}  # fmt: skip


@pytest.fixture(scope="module")
def hub(shared):
    return shared / "hub" / "datasets"


def rows(hub, path):
    return pq.read_table(hub / f"{path}.parquet").to_pylist()


def requests_of(name, data, protocol, shots=0, limit=None):
    """(context, continuation) pairs of each document of one task."""
    task = load_tasks([name], [data], protocol).tasks[name]
    assert set_shots(task, shots, 1234, protocol) is None
    with compiled_templates():
        return [[instance.args for instance in group] for group in build_requests(task, limit).values()]


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", SAME_ZERO_SHOT)
def test_zero_shot_families_that_never_changed(hub, name):
    limit = 300
    then, now = (requests_of(name, hub, protocol, limit=limit) for protocol in (PYTHIA_2023, CURRENT))
    assert len(then) == min(limit, SAME_ZERO_SHOT[name])
    assert then == now


@pytest.mark.slow
@pytest.mark.shared
def test_zero_shot_families_have_all_documents(hub):
    names = [name for name in SAME_ZERO_SHOT if name not in ("wikitext", "lambada_openai")]
    counts = {name: len(load_tasks([name], [hub], PYTHIA_2023).tasks[name].eval_docs) for name in names}
    assert counts == {name: SAME_ZERO_SHOT[name] for name in names}


@pytest.mark.slow
@pytest.mark.shared
def test_five_shot_piqa_is_that_of_2023(hub):
    """One Random(42): shuffle the validation rows, then five training rows for each in shuffled order."""
    train = rows(hub, "baber/piqa/default/train")
    wanted = list(enumerate(rows(hub, "baber/piqa/default/validation")))
    generator = random.Random(42)
    generator.shuffle(wanted)
    expected = {}
    for number, row in wanted:
        prompt = ""
        for shot in generator.sample(train, 5):
            prompt += f"Question: {shot['goal']}\nAnswer: {shot['sol' + str(shot['label'] + 1)]}\n\n"
        prompt += f"Question: {row['goal']}\nAnswer:"
        expected[number] = [(prompt, f" {row['sol1']}"), (prompt, f" {row['sol2']}")]
    ours = requests_of("piqa", hub, PYTHIA_2023, 5)
    assert len(ours) == 1838
    assert ours == [expected[number] for number in range(1838)]
    assert ours != requests_of("piqa", hub, CURRENT, 5)


@pytest.mark.slow
@pytest.mark.shared
def test_five_shot_lambada_is_that_of_2023(hub):
    """No training rows: six of the test rows for each, less those equal to it, the first five of the rest."""
    texts = [row["text"] for row in rows(hub, "EleutherAI/lambada_openai/default/test")]
    order = list(range(len(texts)))
    generator = random.Random(42)
    generator.shuffle(order)
    expected = {}
    own_document_drawn = 0
    for number in order:
        six = generator.sample(texts, 6)
        own_document_drawn += texts[number] in six
        five = [text for text in six if text != texts[number]][:5]
        context, _, word = texts[number].rpartition(" ")
        expected[number] = [("\n\n".join([*five, context]), f" {word}")]
    ours = requests_of("lambada_openai", hub, PYTHIA_2023, 5)
    assert ours == [expected[number] for number in range(5153)]
    assert own_document_drawn  # the rule about the own document is not idle


@pytest.mark.shared
def test_the_present_five_shot_lambada_has_another_delimiter(hub):
    context = requests_of("lambada_openai", hub, CURRENT, 5, 1)[0][0][0]
    first = context.split("\n\n")[0]
    assert "  " in first[-20:]


@pytest.mark.shared
def test_five_shot_hendrycks_test(hub):
    """All five dev rows in random order, answers as text, no header."""
    dev = rows(hub, "cais/mmlu/anatomy/dev")
    test = rows(hub, "cais/mmlu/anatomy/test")

    def asked(row):
        choices = "".join(f"{letter}. {text}\n" for letter, text in zip("ABCD", row["choices"], strict=True))
        return f"Question: {row['question']}\nChoices:\n{choices}Answer:"

    order = list(enumerate(test))
    generator = random.Random(42)
    generator.shuffle(order)
    expected = {}
    for number, row in order:
        shots = "".join(f"{asked(d)} {d['choices'][d['answer']]}\n\n" for d in generator.sample(dev, 5))
        expected[number] = [(shots + asked(row), f" {choice}") for choice in row["choices"]]
    assert requests_of("mmlu_anatomy", hub, PYTHIA_2023, 5) == [expected[n] for n in range(len(test))]
    zero = requests_of("mmlu_anatomy", hub, PYTHIA_2023, limit=2)
    assert zero[1][2] == (asked(test[1]), f" {test[1]['choices'][2]}")


@pytest.mark.shared
def test_blimp_sentences_have_no_leading_space(hub):
    good = rows(hub, "nyu-mll/blimp/passive_1/train")
    pairs = requests_of("blimp_passive_1", hub, PYTHIA_2023)
    assert len(pairs) == 1000
    assert pairs == [[("", row["sentence_good"]), ("", row["sentence_bad"])] for row in good]
    assert requests_of("blimp_passive_1", hub, CURRENT, limit=1)[0][0] == ("", f" {good[0]['sentence_good']}")


@pytest.mark.shared
def test_sciq_is_stripped(hub, tmp_path):
    """Written for the test split; its validation rows stand in for it here."""
    given = rows(hub, "allenai/sciq/default/validation")
    for split in ("train", "test"):
        write_parquet(tmp_path / "allenai" / "sciq" / "default" / f"{split}.parquet", given)
    ours = [pairs[0][0] for pairs in requests_of("sciq", tmp_path, PYTHIA_2023)]
    assert ours == [f"{row['support']}\nQuestion: {row['question']}\nAnswer:".strip() for row in given]
    now = [pairs[0][0] for pairs in requests_of("sciq", tmp_path, CURRENT)]
    empty = [number for number, row in enumerate(given) if not row["support"]]
    assert empty
    assert [number for number in empty if now[number] != ours[number]] == empty
    assert now[empty[0]] == f"\n{ours[empty[0]]}"


@pytest.mark.shared
def test_wsc_examples_are_positive(hub, tmp_path):
    folder = tmp_path / "aps" / "super_glue" / "wsc.fixed"
    given = rows(hub, "aps/super_glue/wsc.fixed/validation")
    for split in ("train", "validation"):
        write_parquet(folder / f"{split}.parquet", given)
    contexts = [pairs[0][0] for pairs in requests_of("wsc", tmp_path, PYTHIA_2023, 5)]
    assert all(context.count("Answer: yes\n\n") == 5 and "Answer: no" not in context for context in contexts)
    assert any("Answer: no" in pairs[0][0] for pairs in requests_of("wsc", tmp_path, CURRENT, 5))


@pytest.mark.shared
def test_examples_whose_split_is_missing_are_not_replaced(hub):
    task = load_tasks(["logiqa"], [hub], PYTHIA_2023).tasks["logiqa"]
    with pytest.raises(
        MissingInputError, match="'logiqa': protocol pythia-2023 draws its 5 examples from the training"
    ):
        set_shots(task, 5, 1234, PYTHIA_2023)


@pytest.mark.slow
@pytest.mark.shared
def test_plan_of_2023_has_the_names_of_2023(hub, tmp_path):
    names = ["lambada_openai", "blimp_passive_1", "mmlu_humanities", "crows_pairs_english", "wikitext", "arc_easy"]
    texts = [row["text"] for row in rows(hub, "EleutherAI/lambada_openai/default/test")[:100]]
    tokenizer = train_tokenizer(tmp_path / "tokenizer.json", texts, 600)
    loaded = load_tasks([*names, "pocket_facts"], [hub], PYTHIA_2023)
    plan = build_plan(loaded, tokenizer, shots=0, max_length=2048, limit=2, seed=1234)
    metrics = {task["name"]: [metric["name"] for metric in task["metrics"]] for task in plan.header["tasks"]}
    assert metrics["lambada_openai"] == ["ppl", "acc"]
    assert metrics["crows_pairs_english"] == ["likelihood_difference", "pct_stereotype"]
    assert metrics["hendrycksTest-philosophy"] == ["acc", "acc_norm"]
    versions = {task["name"]: task["version"] for task in plan.header["tasks"]}
    assert (versions["wikitext"], versions["arc_easy"], versions["hendrycksTest-philosophy"]) == (1, 0, 0)
    assert plan.header["groups"][0]["name"] == "hendrycksTest-humanities"
    assert plan.header["protocol"] == PYTHIA_2023
    assert plan.header["left_out"] == {"pocket_facts": "was not among the published tasks of 2023"}
    one, other = (
        build_plan(load_tasks(names, [hub], PYTHIA_2023), tokenizer, shots=5, max_length=2048, limit=2, seed=seed)
        for seed in (1, 2)
    )
    assert {"blimp_passive_1", "crows_pairs_english", "wikitext"} == set(one.header["left_out"])
    assert np.array_equal(one.forest.token, other.forest.token)  # the seed is the protocol's, not the run's


def test_a_tie_was_wrong():
    document = np.array([0, 0, 1, 1, 2, 2, 3])
    blank = np.zeros(7, dtype=np.int64)
    gold = np.array([True, False, True, False, False, True, True])
    requests = TaskRequests("multiple_choice", document, gold, blank, blank, np.zeros(4), np.zeros(4))
    answers = Answers(np.array([-3.0, -3.0, -2.0, -3.0, -1.0, -4.0, -9.0]), np.zeros(7, dtype=np.bool_))
    strict = {"name": "acc", "definition": "acc_strict", "aggregation": "mean"}
    assert task_metrics(requests, [strict], answers)["acc,none"] == 0.5
    assert task_metrics(requests, [{"name": "acc", "aggregation": "mean"}], answers)["acc,none"] == 0.75


def test_draws_do_not_repeat_and_leave_the_document_out():
    documents = [{"n": number} for number in range(9)]
    drawn = draw_examples(documents, None, 5)
    assert all(document not in examples for document, examples in zip(documents, drawn, strict=True))
    assert {len(examples) for examples in drawn} == {5}
    assert len({tuple(example["n"] for example in examples) for examples in drawn}) > 3
    assert draw_examples(documents, documents, 5) != drawn


def test_names():
    assert name_in(PYTHIA_2023, "mmlu_college_biology") == "hendrycksTest-college_biology"
    assert name_in(PYTHIA_2023, "blimp_passive_1") == "blimp_passive_1"
    with pytest.raises(ConfigError, match="none of pocket_facts was among the published tasks of 2023"):
        select_known(PYTHIA_2023, ["pocket_facts"])
    assert load_tasks(["pocket_facts"], [], PYTHIA_2023).unknown.keys() == {"pocket_facts"}
    with pytest.raises(ConfigError, match="unknown protocol '2022'"):
        select_known("2022", ["piqa"])
    assert request_descriptions.as_in_2023({"name": "acc"}, {}) == {"name": "acc"}
