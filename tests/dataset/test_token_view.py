"""View files: what they hold, relative paths, and what is refused."""

from __future__ import annotations

import json

import corpusgen
import numpy as np
import pytest

from workflow_scripts import cli
from workflow_scripts.dataset import look_up, make_view, shard_memmap
from workflow_scripts.dataset.files.cutting import cut, sizes_by_count
from workflow_scripts.dataset.files.index_writer import with_suffix
from workflow_scripts.dataset.files.token_view import open_data, open_pair, read_view
from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import record_path

CORPUS = {
    "corpus_seed": 1,
    "n_seq": 50,
    "sizes": {"kind": "uniform", "lo": 0, "hi": 30},
    "dtype": "uint16",
    "vocab": 50277,
}


@pytest.fixture
def shards(tmp_path):
    """raw/c.idx and three shards of it."""
    (tmp_path / "raw").mkdir()
    prefix = corpusgen.write_corpus(CORPUS, tmp_path / "raw" / "c")
    tokens = with_suffix(prefix, ".bin")
    return [file.path for file in cut(tokens, sizes_by_count(tokens.stat().st_size, 3), tmp_path / "raw", "c")]


def words(shards, output):
    return ["--idx", str(shards[0].parent / "c.idx"), "--output", str(output), "--shards", *map(str, shards)]


def test_a_view_moves_together_with_its_data(shards, tmp_path):
    make_view.main(words(shards, tmp_path / "views" / "view.json"))
    content = json.loads((tmp_path / "views" / "view.json").read_text())
    record = json.loads(record_path(tmp_path / "views" / "view.json").read_text())
    assert record["parameters"]["shards"] == 3
    assert record["inputs"]["idx"]["sha256"] == sha256_file(shards[0].parent / "c.idx")
    assert content["idx"] == "../raw/c.idx"
    assert [shard["path"] for shard in content["shards"]] == [f"../raw/{path.name}" for path in shards]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "raw").rename(moved / "raw")
    (tmp_path / "views").rename(moved / "views")
    data = open_data(moved / "views" / "view.json")
    joined = open_data(moved / "raw" / "c")
    assert (data.name, data.index.n_sequences) == ("c", 50)
    np.testing.assert_array_equal(
        data.tokens.read(0, data.tokens.n_tokens), joined.tokens.read(0, data.tokens.n_tokens)
    )
    for suffix in (".bin", ".idx"):
        assert open_data(moved / "raw" / f"c{suffix}").index.n_sequences == 50


def test_making_a_view_again_gives_equal_bytes(shards, tmp_path):
    for _ in range(2):
        make_view.main([*words(shards, tmp_path / "view.json"), "--vocabulary-size", "50277"])
        before = (tmp_path / "view.json").read_bytes()
    assert (tmp_path / "view.json").read_bytes() == before


@pytest.mark.parametrize("order", [[0, 2, 1], [0, 1], [1, 2], [0, 1, 2, 2], [0]])
def test_shards_out_of_order_or_incomplete_are_refused(shards, tmp_path, order, capsys):
    assert cli.run(make_view.main, words([shards[k] for k in order], tmp_path / "view.json")) == 2
    assert f"{shards[0].parent}: give all 3 shards of c in order" in capsys.readouterr().err
    assert not (tmp_path / "view.json").exists()


def test_a_damaged_shard_is_found_when_the_view_is_opened(shards, tmp_path):
    make_view.main(words(shards, tmp_path / "view.json"))
    with shards[1].open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"c-00001-of-00002\.bin: shard is too long"):
        open_data(tmp_path / "view.json")


def test_tokens_of_another_length_than_the_index_says_are_named_by_file_or_folder(shards):
    whole = shards[0].parent / "c.bin"
    for files, place in (([whole], whole), (shards, shards[0].parent)):
        with files[-1].open("ab") as file:
            file.write(b"xx")
        with pytest.raises(DataError) as caught:
            open_pair(shards[0].parent / "c.idx", files)
        assert str(caught.value).startswith(f"{place}: too long: ")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"version": 2}', '{"version": 1, "name": "c", "extra": 1}'])
def test_other_files_are_no_views(tmp_path, content):
    (tmp_path / "view.json").write_text(content)
    with pytest.raises(DataError, match=r"view\.json: not a view file"):
        read_view(tmp_path / "view.json")
    with pytest.raises(MissingInputError, match=r"dataset\.make_view"):
        read_view(tmp_path / "none.json")


@pytest.mark.parametrize(
    "request_of",
    [
        (shard_memmap, ["--input_file", "c.txt", "--output_dir", "o"], "expected a .bin file"),
        (shard_memmap, ["--input_file", "none.bin", "--output_dir", "o"], "no such token file"),
        (shard_memmap, ["--input_file", "raw/c.bin", "--output_dir", "o", "--shard_bytes", "0"], "give at least 1"),
        (look_up, ["coverage", "--step", "1"], "no data named"),
        (
            look_up,
            ["ngram", "--view", "raw/c", "--text", "x", "--start_iteration", "0", "--end_iteration", "1"],
            "--text needs --tokenizer",
        ),
    ],
)
def test_requests_that_lack_something_are_one_line(shards, request_of, capsys, monkeypatch):
    program, words, message = request_of
    monkeypatch.chdir(shards[0].parent.parent)
    assert cli.run(program.main, words) == 2
    assert message in capsys.readouterr().err
