"""Faults 91 to 100, of files that were damaged, edited or made to do harm, that the first list forgot."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from tests.faults.fetching import BIG, lock_of, names
from tests.faults.running import error_line
from tests.report.synthetic_run import build_arguments, draw_arguments, scores_frame, write_run
from workflow_scripts import cli
from workflow_scripts.errors import DataError, IntegrityError, PipelineError
from workflow_scripts.evaluation.audit_scores import read_scores
from workflow_scripts.experiments.outputs import read_frame
from workflow_scripts.published.formats.older_layouts import read_result
from workflow_scripts.published.results_table import read_table, write_table
from workflow_scripts.report.build import main as build
from workflow_scripts.report.draw import main as draw
from workflow_scripts.report.report_tables import read_run
from workflow_scripts.storage.lockfile import checked_path, parse_lock
from workflow_scripts.storage.verify import verify
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml, parse_yaml

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
Reader = Callable[[Path], object]


@pytest.fixture
def default(root: Path) -> dict[str, object]:
    return load_yaml(root / "config" / "config.yaml")


@pytest.mark.parametrize("read", [read_table, read_scores, lambda path: read_frame(path, ())])
@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "text"])
def test_fault_91_a_damaged_table(read: Reader, damage: str, tmp_path: Path) -> None:
    """A Parquet table that was cut, zeroed, emptied or is something else: one line that names it."""
    path = tmp_path / "scores.parquet"
    write_table(scores_frame(), path)
    size = path.stat().st_size
    if damage == "zeros":
        path.write_bytes(path.read_bytes()[:-200] + bytes(200))
    elif damage == "text":
        path.write_text("model,step\n")
    else:
        os.truncate(path, 0 if damage == "empty" else size // 2)
    with pytest.raises(DataError, match=r"scores\.parquet") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_fault_92_a_receipt_that_was_edited(tmp_path: Path) -> None:
    """Somebody wrote another size or hash into a receipt: the files are read and do not fit it; what is no receipt
    is refused by its name."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "big.bin").write_bytes(BIG)
    lock_of(tmp_path)
    for field, value in (("size", len(BIG) - 1), ("sha256", "0" * 64)):
        entry = {"path": "big.bin", "size": len(BIG), "sha256": "0" * 64, field: value}
        (tmp_path / "receipt.json").write_text(json.dumps({"files": [entry]}))
        with pytest.raises(IntegrityError, match=r"big\.bin"):
            verify(folder, tmp_path / "receipt.json", jobs=1)
    (tmp_path / "receipt.json").write_text('{"files": 3}')
    with pytest.raises(DataError, match=r"receipt\.json"):
        verify(folder, tmp_path / "receipt.json", jobs=1)


@pytest.mark.parametrize(
    ("content", "models"),
    [(b"", "all"), (b"\xef\xbb\xbfmodels: pocket-1m\r\n", "pocket-1m"), (b"# x\r\nmodels: pocket-1m\r\n", "pocket-1m")],
    ids=["empty", "byte order mark", "line ends of Windows"],
)
def test_fault_93_configurations_of_other_editors(
    content: bytes, models: str, default: dict[str, object], tmp_path: Path
) -> None:
    """An empty file changes nothing; a byte order mark and Windows' line ends are read over."""
    (tmp_path / "run.yaml").write_bytes(content)
    assert {**default, **load_yaml(tmp_path / "run.yaml")}["models"] == models


@pytest.mark.parametrize(
    "steps",
    ["9" * 5000, 10**30, -0.0, "1..9" + "9" * 400, "0..1000000000000:1", [True], ["1"] * 20_000, "-0", "0x10", "٣"],
    ids=lambda steps: repr(steps)[:20],
)
def test_fault_94_steps_that_no_training_has(steps: object, default: dict[str, object]) -> None:
    """Numbers of thousands of digits, negative zero, other alphabets' digits, a hundred thousand entries: one line, at
    once, or the steps that were meant."""
    try:
        run = load_run({**default, "models": ["pocket-1m"], "steps": steps})
    except PipelineError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 500
    else:
        assert set(run.steps["pocket-1m"]) <= {0, 1}


def test_fault_95_the_same_name_twice(default: dict[str, object]) -> None:
    """A model or a task that is asked for twice, or by its name and by a pattern, is made once."""
    run = load_run(
        {**default, "models": ["pocket-1m", "pocket-1m", "pocket-1*"], "tasks": "pocket_facts, pocket_facts"}
    )
    assert [model.name for model in run.models].count("pocket-1m") == 1
    assert [task.name for task in run.tasks].count("pocket_facts") == 1


class Tags(HTMLParser):
    """Start tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.slow
def test_fault_96_markup_in_names_and_notes(root: Path, tmp_path: Path) -> None:
    """A foreign result brings HTML and scripts as names of tasks, notes and files: the report shows them as text, with
    not one element or script more than without them."""
    published = root / "config" / "suites" / "published" / "pythia-evals.parquet"
    pages = []
    for hostile in (False, True):
        run = write_run(tmp_path / str(hostile), published)
        if hostile:
            frame = scores_frame()
            for column in ("note", "source_file", "harness"):
                frame[column] = pd.Categorical([HOSTILE] * len(frame))
            write_table(frame, run["tables"] / "scores.parquet")
            (run["tables"] / "score_defects.tsv").write_text(
                f"model\trevision\tkind\tdetail\n{HOSTILE}\t{HOSTILE}\t{HOSTILE}\t{HOSTILE}\n"
            )
        draw(draw_arguments(run, ["scores_over_training"], run["run_dir"] / "figures"))
        build(build_arguments(run, ["scores_over_training"], run["run_dir"] / "report.html"))
        pages.append(Tags((run["run_dir"] / "report.html").read_text(encoding="utf-8")).found)
    plain, marked = pages
    handlers = [[tag for tag in page if any(name.startswith("on") for name in tag[1])] for page in pages]
    assert handlers[0] == handlers[1]
    assert [tag for tag, _ in marked].count("script") == [tag for tag, _ in plain].count("script")
    assert ("img", {"src": "x", "onerror": "alert(1)"}) not in marked


def test_fault_97_formulas_in_tables(default: dict[str, object]) -> None:
    """A spreadsheet runs what starts with `=`, `+`, `-` or `@`: no name of a run, model or task can, because names are
    limited; and paths in lists of files may not start with `-`."""
    for name in ("=cmd|'/c calc'!A1", "@x", "+x", "-x"):
        for key in ("run", "models", "tasks"):
            with pytest.raises(PipelineError):
                load_run({**default, key: name if key == "run" else [name]})
    with pytest.raises(DataError):
        checked_path("-x", "list")


def test_fault_98_terminal_commands_in_names(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A name with escape sequences, line ends or direction marks: messages show them as text on one line, so nobody's
    terminal is driven and no log line is forged."""
    path = tmp_path / "x\x1b[2Jy\nerror: all is well\u202e.yaml"

    def main(arguments: object) -> None:
        load_yaml(path)

    line = error_line(main, [], lambda: capfd.readouterr().err)
    assert not re.search(r"[\x00-\x1f\u202a-\u202e]", line)
    assert "\\x1b[2Jy" in line
    assert cli.one_line("a\nb") == "a b"
    assert names(tmp_path) == set()


@pytest.mark.parametrize("depth", [200, 100_000])
def test_fault_99_json_that_is_nested_without_end(depth: int, tmp_path: Path) -> None:
    """Results, receipts and runs nested a hundred thousand deep: refused in one line instead of an exhausted stack."""
    text = "[" * depth + "]" * depth
    readers: list[Callable[[], object]] = [
        lambda: read_result("x.json", text.encode()),
        lambda: parse_lock(('{"files":' + text + "}").encode(), "x"),
        lambda: read_run(tmp_path / "run.json"),
        lambda: parse_yaml(text[: 2 * 5000], "x.yaml"),
    ]
    (tmp_path / "run.json").write_text('{"run":' + text + "}")
    for read in readers:
        with pytest.raises(PipelineError) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 5000, "1E400", "true", '"0.5"', "null"])
def test_fault_100_numbers_that_are_no_results(number: str) -> None:
    """Infinite, not a number, five thousand digits, or no number at all where an accuracy should be: refused, never
    taken over."""
    text = f'{{"results": {{"arc_easy": {{"acc": {number}}}}}, "versions": {{}}, "config": {{"model_args": ""}}}}'
    with pytest.raises(DataError):
        read_result("pythia-v1/x/zero-shot/x_step1.json", text.encode())
