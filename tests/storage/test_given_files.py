"""Files are found by the end of their path, one of each, and only among those that were given."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError, MissingInputError
from workflow_scripts.storage.given_files import GivenFiles

parts = st.lists(st.sampled_from(["a", "b", "c.csv"]), min_size=1, max_size=4)


@given(parts, parts)
def test_a_path_is_found_by_each_of_its_ends_and_by_no_other(path, end):
    found = GivenFiles([Path(*path)]).find("/".join(end))
    assert (found == Path(*path)) == (path[-len(end) :] == end)


def test_part_of_a_name_is_no_end():
    assert GivenFiles([Path("x/own_scores.parquet")]).find("scores.parquet") is None


def test_two_of_one_name_are_refused_and_one_given_twice_is_not():
    files = GivenFiles([Path("a/m.csv"), Path("b/m.csv"), Path("b/m.csv")])
    assert files.find("b/m.csv") == Path("b/m.csv")
    with pytest.raises(ConfigError, match=r"more than one m\.csv given: a/m\.csv, b/m\.csv"):
        files.find("m.csv")


def test_what_was_not_given_is_not_looked_for_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.csv").touch()
    with pytest.raises(MissingInputError, match=r"m\.csv: not among the given files; train first"):
        GivenFiles([]).need("m.csv", "train first")
    with pytest.raises(MissingInputError, match=r"away/n\.csv: no such file"):
        GivenFiles([Path("away/n.csv")]).need("n.csv", "train first")
