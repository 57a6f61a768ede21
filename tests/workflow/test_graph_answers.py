"""What the rules are told about data sets and published results."""

from pathlib import Path

import pytest

from workflow_scripts.suite import layout
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.dataset import data_files
from workflow_scripts.workflow.published import PUBLISHED_TABLE, beside_source, source_arguments
from workflow_scripts.workflow.tools import check


@pytest.fixture(autouse=True)
def in_the_checkout(root, monkeypatch):
    monkeypatch.chdir(root)


def run_with(**changes):
    return load_run(check.merge(load_yaml(Path("config/config.yaml")), changes))


def test_the_joined_file_is_made_when_it_is_asked_for():
    folder = layout.dataset_folder("pocket", "standard")
    plain, joined = (
        set(data_files(run_with(models=["pocket-90k"], dataset={"joined": asked}))) for asked in (False, True)
    )
    assert {
        f"{folder}/{name}" for name in ("verified.json", "index_maps/index_maps.json", "batches/samples.jsonl")
    } <= plain
    made = {f"{folder}/joined/pocket_text_document.{end}" for end in ("bin", "idx", "joined.json")}
    assert joined - plain == made


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ({}, ["--source", PUBLISHED_TABLE]),
        ({"source": "folder"}, ["--source", "folder"]),
        (
            {"repository": "a/b"},
            ["--source", layout.UPSTREAM, "--source-name", "a/b main", "--expected", PUBLISHED_TABLE],
        ),
        (
            {"repository": "a/b", "commit": "c" * 40},
            ["--source", layout.UPSTREAM, "--source-name", f"a/b {'c' * 40}", "--expected", PUBLISHED_TABLE],
        ),
    ],
)
def test_published_results_come_from_the_table_a_folder_or_a_download(published, expected):
    assert source_arguments(run_with(published=published)) == expected


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ({}, [PUBLISHED_TABLE.replace(".parquet", end) for end in (".refused.tsv", ".defects.tsv")]),
        ({"source": "a/b.parquet"}, ["a/b.refused.tsv", "a/b.defects.tsv"]),
        ({"source": "folder"}, []),
        ({"repository": "a/b"}, [layout.UPSTREAM, PUBLISHED_TABLE]),
    ],
)
def test_an_import_waits_for_all_that_it_reads(published, expected):
    assert beside_source(run_with(published=published)) == expected
