"""Which parquet files of a repository hold a split: by README, by name, and never a part of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import DataError
from workflow_scripts.evaluation.planning.hub_layout import declared_configs, default_config, find_split_files

README = """---
configs:
- config_name: ARC-Easy
  data_files:
  - split: test
    path: easy/test-*
  - split: train
    path: [easy/train-0.parquet, easy/train-1.parquet]
- config_name: other
  default: true
  data_files: other/*.parquet
---
# A data set
"""
CONFIGS = declared_configs(README, "README.md")


@pytest.mark.parametrize(
    ("path", "config", "split"),
    [
        ("data/test-00000-of-00001.parquet", "default", "test"),
        ("test.parquet", "default", "test"),
        ("data/test-00000-of-00001-0a1b2c3d.parquet", "default", "test"),
        ("default/test/0000.parquet", "default", "test"),
        ("plain_text/test-00000-of-00001.parquet", "default", "test"),
        ("anatomy/test-00000-of-00001.parquet", "anatomy", "test"),
        ("anatomy/dev.parquet", "anatomy", "dev"),
        ("data/anatomy/dev-00000-of-00001.parquet", "anatomy", "dev"),
        ("wsc.fixed/validation/0000.parquet", "wsc.fixed", "validation"),
    ],
)
def test_a_split_is_found_by_its_name(path, config, split):
    others = [
        "README.md",
        "anatomy2/test.parquet",
        "data/testing.parquet",
        "x/wscxfixed/validation.parquet",
        "test.json",
    ]
    assert find_split_files([path, *others], [], config, split) == [path]
    assert find_split_files(others, [], config, split) == []


def test_a_readme_that_declares_files_is_followed():
    paths = ["easy/test-a.parquet", "easy/train-1.parquet", "easy/train-0.parquet", "other/x.parquet"]
    assert find_split_files(paths, CONFIGS, "ARC-Easy", "test") == ["easy/test-a.parquet"]
    assert find_split_files(paths, CONFIGS, "ARC-Easy", "train") == ["easy/train-0.parquet", "easy/train-1.parquet"]
    assert find_split_files(paths, CONFIGS, "default", "train") == ["other/x.parquet"]
    assert default_config(CONFIGS) == "other"


def test_the_shared_layout_declares_its_files(shared):
    folder = shared / "hub" / "datasets" / "cais" / "mmlu"
    configs = declared_configs((folder / "README.md").read_text(), "README.md")
    paths = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    assert find_split_files(paths, configs, "anatomy", "dev") == ["anatomy/dev.parquet"]


@pytest.mark.parametrize("text", ["", "# no front matter", "---\n: [\n---\n", "---\nconfigs: 3\n---\n", "---\na: 1"])
def test_a_readme_that_declares_nothing_is_no_error(text):
    assert declared_configs(text, "README.md") == []
    assert default_config([]) == "default"


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_split_with_a_missing_part_is_refused(missing):
    paths = [f"a/test-{number:05d}-of-00003.parquet" for number in range(3)]
    assert find_split_files(paths[::-1], [], "a", "test") == paths
    with pytest.raises(DataError, match="not all parts of one split"):
        find_split_files([path for path in paths if path != paths[missing]], [], "a", "test")


@given(st.text(max_size=200))
def test_no_readme_raises(text):
    declared_configs(f"---\n{text}\n---\n", "README.md")
