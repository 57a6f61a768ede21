"""Ours against published on the page: a scoreboard that counts right, what differs, and nothing for other runs."""

import json
import shutil

import pandas as pd
import pytest
from synthetic_run import build_arguments

from workflow_scripts.published.compare import compare
from workflow_scripts.published.results_table import read_table
from workflow_scripts.published.summary import suite_rows
from workflow_scripts.report.build import main as build
from workflow_scripts.report.page.comparison_section import comparison_sentence, comparison_tables


@pytest.fixture(scope="module")
def comparison(compact_path):
    """70m scored as published, except for LAMBADA at the end, and for WSC, which was not scored."""
    published = read_table(compact_path)
    rows = suite_rows(published, 0)
    rows = rows[(rows["model"] == "pythia-70m") & rows["task"].isin(["lambada_openai", "piqa", "sciq"])]
    off = (rows["task"] == "lambada_openai") & (rows["step"] == 143000) & (rows["metric"] == "acc")
    return compare(rows.assign(value=rows["value"].where(~off, rows["value"] + 0.1)), published)


def test_scoreboard_counts_per_figure(comparison):
    board, differences = comparison_tables(comparison)
    rows = {row[0]: [int(cell) for cell in row[1:]] for row in board.rows}
    # numbers, reproduced, differs, not comparable, doubtful, missing: 27 checkpoints, and 8 tasks at the last one
    assert rows["Figure 10: LAMBADA over training"] == [27, 26, 1, 0, 0, 0]
    assert rows["Figure 14: SciQ over training"] == [27, 27, 0, 0, 0, 0]
    assert rows["Figure 11: WSC over training"] == [27, 0, 0, 0, 0, 27]
    assert rows["Figure 8: final scores against parameters"] == [8, 2, 1, 0, 0, 5]
    assert rows["Tables 11 and 12: final five-shot scores"] == [8, 0, 0, 0, 0, 8]
    (row,) = differences.rows
    assert row[:6] == ["pythia-70m", "143000", "0", "lambada_openai", "acc", ".185"]
    assert row[6:8] == [".285", "+0.1000"]
    assert len(row) == len(differences.head)


def test_sentence_and_nothing_for_runs_that_are_not_compared(comparison):
    sentence = comparison_sentence(comparison)
    assert f"Of {len(comparison):,} published numbers" in sentence
    assert "1 differs" in sentence
    assert comparison_tables(pd.DataFrame()) == []


def test_the_page_shows_it(run_on_disk, drawn, comparison, tmp_path):
    run = {"run": "published", "suite": "pythia", "models": [], "steps": {}, "shots": [], "tasks": []}
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "tables").mkdir()
    shutil.copy(run_on_disk["tables"] / "published.parquet", tmp_path / "tables")
    paths = {"run": tmp_path / "run.json", "run_dir": tmp_path, "root": tmp_path}
    build(build_arguments(paths, [], tmp_path / "without.html"))
    comparison.to_parquet(tmp_path / "tables" / "comparison.parquet")
    build(build_arguments(paths, [], tmp_path / "with.html"))
    assert "comparison" not in (tmp_path / "without.html").read_text()
    page = (tmp_path / "with.html").read_text()
    assert '<section id="comparison"' in page
    assert "Reproduction" in page
    assert "comparison" in json.loads((tmp_path / "with.html.record.json").read_text())["inputs"]
