"""The page of table columns against the tables themselves: names, order and types."""

import csv
import re
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_own_points import own_rows

from workflow_scripts.checkpoints.defect_table import HEADER as DEFECT_HEADER
from workflow_scripts.checkpoints.ledger_file import HEADER as LEDGER_HEADER
from workflow_scripts.evaluation.collect import COLUMNS as SCORE_COLUMNS
from workflow_scripts.published.compare import compare
from workflow_scripts.published.import_results import SourceFile
from workflow_scripts.published.results_table import SCHEMA, read_table
from workflow_scripts.published.rules.findings import Defect
from workflow_scripts.published.scoreboard import scoreboard
from workflow_scripts.report.drawing.curve_panels import PLOTTED
from workflow_scripts.suite.experiment_files import TABLES

ROOT = Path(__file__).resolve().parents[2]
TYPES = {"text", "whole", "float", "flag"}


def documented():
    """Columns and types of each table of the page, in order."""
    text = (ROOT / "docs" / "data-format-tables.md").read_text(encoding="utf-8")
    tables = {}
    for part in text.split("\n## `")[1:]:
        name = part.split("`", 1)[0]
        rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| (.+) \|$", part, re.MULTILINE)
        tables[name] = {column: kind for column, kind, meaning in rows if meaning.strip()}
        assert len(tables[name]) == part.count("\n| `"), name
    return tables


DOCUMENTED = documented()


def kind_of(field):
    """How the page calls a type of Arrow."""
    plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    checks = {"whole": pa.types.is_integer, "float": pa.types.is_floating, "flag": pa.types.is_boolean}
    return next((name for name, check in checks.items() if check(plain)), "text")


def test_every_type_is_explained():
    assert {kind for table in DOCUMENTED.values() for kind in table.values()} <= TYPES


def test_every_table_of_the_experiments_is_on_the_page():
    assert {f"{name}.parquet" for names in TABLES.values() for name in names} <= set(DOCUMENTED)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("published.files.tsv", [field.name for field in fields(SourceFile)]),
        ("published_defects.tsv", [field.name for field in fields(Defect)]),
        ("score_defects.tsv", list(DEFECT_HEADER)),
        ("ledger.tsv", LEDGER_HEADER.split("\t")),
        ("figures/<name>.csv", PLOTTED),
    ],
)
def test_columns_of_lists(name, columns):
    assert list(DOCUMENTED[name]) == columns


def test_published_table(root):
    path = root / "config" / "suites" / "published" / "pythia-evals.parquet"
    assert {field.name: kind_of(field) for field in SCHEMA} == DOCUMENTED["published.parquet"]
    assert pq.read_schema(path).names == list(DOCUMENTED["published.parquet"])


def test_our_scores():
    kinds = {"str": "text", "int64": "whole", "float64": "float"}
    assert {name: kinds[kind] for name, kind in SCORE_COLUMNS.items()} == DOCUMENTED["scores.parquet"]
    assert list(SCORE_COLUMNS) == list(DOCUMENTED["scores.parquet"])


def test_comparison(compact_path):
    published = read_table(compact_path)
    found = compare(own_rows(published), published)
    schema = pa.Table.from_pandas(found, preserve_index=False).schema
    assert {field.name: kind_of(field) for field in schema} == DOCUMENTED["comparison.parquet"]
    assert schema.names == list(DOCUMENTED["comparison.parquet"])
    assert list(scoreboard(found).columns) == list(DOCUMENTED["comparison.scoreboard.csv"])


MADE = sorted((ROOT / "results").glob("runs/*/tables/*.parquet"))


@pytest.mark.skipif(not MADE, reason="no run has been made in this checkout")
@pytest.mark.parametrize("path", MADE, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_tables_of_runs_that_were_made_here(path):
    assert path.name in DOCUMENTED
    schema = pq.read_schema(path)
    assert {field.name: kind_of(field) for field in schema} == DOCUMENTED[path.name]
    if not path.with_suffix(".csv").is_file():
        return  # the importer of published results writes one on request only
    with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    assert header == list(DOCUMENTED[path.name]) == list(pd.Index(schema.names))
