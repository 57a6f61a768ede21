"""Names of tasks: lm-eval's, patterns, names of 2023, and what they stand for."""

import pytest

from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.suite import task_facts
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.task_facts import all_groups, select_tasks, tasks_below

PYTHIA = load_suite("pythia")


def names(*wanted, suite=PYTHIA):
    return [task.name for task in select_tasks(suite, wanted)[0]]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (["blimp_*"], ["blimp"]),
        (["mmlu_*"], ["mmlu"]),
        (["hendrycksTest-*"], ["mmlu"]),
        (["hendrycksTest*", "mmlu"], ["mmlu"]),
        (["hendrycksTest-anatomy"], ["mmlu_anatomy"]),
        (["mmlu_college_bio*", "piqa"], ["mmlu_college_biology", "piqa"]),
        (["arc_*"], ["arc_challenge", "arc_easy"]),
        (["blimp_adjunct_island", "blimp"], ["blimp"]),
        (["mmlu_stem", "mmlu"], ["mmlu"]),
        (["mmlu_stem", "mmlu_anatomy"], ["mmlu_stem"]),
        (["sciq_validation"], ["sciq_validation"]),
        (["piqa", "piqa"], ["piqa"]),
    ],
)
def test_a_name_stands_for_tasks_and_each_is_asked_once(wanted, meant):
    assert names(*wanted) == meant


def test_a_line_of_names_is_split_at_commas():
    assert [task.name for task in select_tasks(PYTHIA, "piqa, blimp_*")[0]] == ["piqa", "blimp"]


def test_all_are_the_tasks_of_the_suite():
    pocket = load_suite("pocket")
    assert select_tasks(pocket, "all") == (tuple(pocket.tasks.values()), ())
    assert names("pocket_a*", suite=pocket) == ["pocket_agreement", "pocket_arithmetic"]


def test_a_name_of_2023_is_said_to_be_one():
    _, said = select_tasks(PYTHIA, ["hendrycksTest-*", "piqa"])
    assert said == (
        "task hendrycksTest-*: lm-eval calls it mmlu today; evaluation.protocols: [pythia-2023] asks it as in 2023",
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("piqqa", "unknown task 'piqqa'; did you mean 'piqa'?"),
        ("hendryksTest", "did you mean 'hendrycksTest"),
        ("mmlu_anatomi", "did you mean 'mmlu_anatomy'?"),
        ("blimq_*", "unknown task pattern 'blimq_*'; did you mean 'blimp"),
    ],
)
def test_a_wrong_name_gets_the_nearest(name, hint):
    with pytest.raises(UnknownNameError) as error:
        names(name)
    assert hint in str(error.value)


def test_generated_answers_are_for_stock_lm_eval():
    with pytest.raises(ConfigError, match=r"evaluation.stock_tasks: \{triviaqa: \[0\]\}"):
        names("triviaqa")
    assert tasks_below("triviaqa")[0].dataset == "mandarjoshi/trivia_qa"


def test_a_subtask_is_described_like_the_suites_task_on_its_data():
    (task,), _ = select_tasks(PYTHIA, ["blimp_passive_1"])
    assert (task.repository, task.metric, task.chance, task.title) == ("nyu-mll/blimp", "acc", 0.5, "blimp_passive_1")
    (other,), _ = select_tasks(PYTHIA, ["lambada_standard"])
    assert (other.repository, other.metric, other.chance) == ("cimec/lambada", "acc", None)


def test_groups_are_listed_from_large_to_small():
    sizes = [len(members) for members in all_groups().values()]
    assert sizes == sorted(sizes, reverse=True)
    assert (len(all_groups()["blimp"]), len(all_groups()["mmlu"])) == (67, 57)


def test_the_evaluated_split_comes_first():
    assert [tasks_below(name)[0].splits for name in ("arc_easy", "piqa", "blimp_passive_1", "sciq_validation")] == [
        ("test", "train", "validation"),
        ("validation", "train"),
        ("train",),
        ("validation", "train"),
    ]


def test_a_table_with_other_columns_is_refused(tmp_path, monkeypatch):
    table = tmp_path / "tasks.tsv"
    table.write_text("task\tdataset\n")
    monkeypatch.setattr(task_facts, "TABLE", table)
    task_facts.all_facts.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"its columns are not task, dataset, config, splits"):
            task_facts.all_facts()
    finally:
        monkeypatch.undo()
        task_facts.all_facts.cache_clear()
