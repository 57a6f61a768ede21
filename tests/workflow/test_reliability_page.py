"""docs/reliability.md is the page that the tests of faults give now."""

from workflow_scripts import cli
from workflow_scripts.workflow.tools import reliability_page


def test_the_page_is_current(root):
    current = (root / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert current == reliability_page.page(), "run make reference"


def test_every_number_has_a_test_that_says_what_happens(root):
    shown = list(reliability_page.tests_of_faults(root / "tests"))
    numbers = {each.number for each in shown}
    assert numbers == set(range(1, max(numbers) + 1))
    assert not [each.test for each in shown if not each.happens], "a docstring says what happens"
    assert max(each.number for each in shown) >= 80


def test_the_program_writes_the_page(tmp_path):
    assert cli.run(reliability_page.main, ["--output", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == reliability_page.page()


def test_a_missing_number_and_a_bar_are_seen(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text('def test_faults_01_03_a_b():\n    """One | two."""\n')
    lines = reliability_page.page(tmp_path).splitlines()[-3:]
    assert lines[0].startswith(r"| 1 | a b | One \| two. | `tests/test_x.py`")
    assert lines[1] == f"| 2 | | {reliability_page.MISSING} | |"
    assert lines[2].startswith("| 3 | a b |")
