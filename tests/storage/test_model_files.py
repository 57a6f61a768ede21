"""Which files hold the weights: one file before shards, safetensors before .bin, and no file outside the folder."""

import json

import pytest

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.storage.model_files import weight_files

INDEX = "model.safetensors.index.json"


def write_index(folder, *names):
    (folder / INDEX).write_text(json.dumps({"weight_map": {f"tensor{i}": name for i, name in enumerate(names)}}))


def test_the_first_form_that_is_there_counts(tmp_path):
    forms = ["pytorch_model.bin.index.json", "pytorch_model.bin", INDEX, "model.safetensors"]
    (tmp_path / "a.bin").touch()
    for name, found in zip(forms, ["a.bin", "pytorch_model.bin", "a.bin", "model.safetensors"], strict=True):
        (tmp_path / name).write_text('{"weight_map": {"x": "a.bin"}}')
        assert [path.name for path in weight_files(tmp_path)] == [found]


def test_shards_are_listed_once_and_in_order(tmp_path):
    write_index(tmp_path, "b.safetensors", "a.safetensors", "b.safetensors")
    with pytest.raises(MissingInputError, match=r"shards a\.safetensors, b\.safetensors are missing"):
        weight_files(tmp_path)
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).touch()
    assert weight_files(tmp_path) == [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [("{", "not JSON"), ("{}", "lacks weight_map"), ('{"weight_map": [1]}', "names no shards"),
     ('{"weight_map": {}}', "names no shards"), ('{"weight_map": {"x": "../y"}}', "shard '../y' is no file name"),
     ('{"weight_map": {"x": null}}', None)],
)  # fmt: skip
def test_an_index_that_is_none_is_refused(tmp_path, content, fault):
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(DataError if fault else MissingInputError, match=fault):
        weight_files(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(MissingInputError, match=r"has neither model\.safetensors nor pytorch_model\.bin"):
        weight_files(tmp_path)
