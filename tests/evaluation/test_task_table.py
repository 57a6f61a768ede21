"""The table of what lm-eval's tasks read is that of the installed lm-eval."""

from workflow_scripts.evaluation.planning.tasks import QUICK_FOLDERS
from workflow_scripts.evaluation.task_table import facts_of_tasks, format_table, main
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.task_facts import TABLE, tasks_below


def test_the_table_says_what_lm_evals_own_files_say():
    assert TABLE.read_text(encoding="utf-8") == format_table(facts_of_tasks())


def test_every_task_of_a_suite_is_in_the_table_or_made_here():
    for name in ("pythia", "books", "books-long", "pocket"):
        for task in load_suite(name).tasks.values():
            assert task.splits or {facts.dataset for facts in tasks_below(task.name)} == {task.repository}, task.name


def test_the_program_writes_the_table(tmp_path):
    main(["--output", str(tmp_path / "table.tsv")])
    assert (tmp_path / "table.tsv").read_bytes() == TABLE.read_bytes()
    assert "blimp" in QUICK_FOLDERS
