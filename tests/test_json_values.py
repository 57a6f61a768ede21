"""A JSON object is read, or one line says what is wrong with the file and what to do."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.json_values import read_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("json") / "x.json"


@given(VALUES)
def test_an_object_is_read_and_nothing_else(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
    if isinstance(value, dict):
        assert read_object(path, "receipt", "make it again", *value) == value
        return
    with pytest.raises(DataError, match=r"x\.json: not a receipt \(holds no JSON object\); make it again$"):
        read_object(path, "receipt", "make it again")


@given(st.binary(max_size=40))
def test_any_bytes_are_an_object_or_an_error_of_one_line(path, content):
    path.write_bytes(content)
    try:
        assert isinstance(read_object(path, "receipt", "make it again"), dict)
    except DataError as error:
        assert "make it again" in str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize("content", ["", "{", '{"a": 1} {}', "[" * 100_000])
def test_what_is_not_json_is_called_so(path, content):
    path.write_text(content)
    with pytest.raises(DataError, match=r"x\.json: not a receipt \(not JSON: .*\); make it again$"):
        read_object(path, "receipt", "make it again")


def test_missing_keys_and_files_are_named(path, tmp_path):
    path.write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"not a receipt \(lacks b, c\); make it again$"):
        read_object(path, "receipt", "make it again", "b", "a", "c")
    with pytest.raises(MissingInputError, match=r"none\.json: no such receipt; make it again$"):
        read_object(tmp_path / "none.json", "receipt", "make it again")
