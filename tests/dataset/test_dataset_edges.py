"""What the data programs refuse, and small cases of what they do, away from the beaten path."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from workflow_scripts import cli
from workflow_scripts.dataset import build_index_maps, look_up, suite_lock, tokenize_corpus
from workflow_scripts.dataset.corpus.corpus_reader import Document, write_documents
from workflow_scripts.dataset.corpus.tokenizer_file import open_tokenizer, set_threads
from workflow_scripts.dataset.files.index_writer import write_index
from workflow_scripts.dataset.files.shards import ShardFile, VirtualTokens
from workflow_scripts.dataset.order import batches, mersenne
from workflow_scripts.dataset.order.batch_options import read_configuration
from workflow_scripts.dataset.order.index_maps import read_map_record
from workflow_scripts.dataset.order.patched_rows import Patch, PatchedRows, read_patch, write_patch
from workflow_scripts.errors import ConfigError, DataError, MissingInputError, ModelError
from workflow_scripts.storage.lockfile import read_lock
from workflow_scripts.suite.registry import load_suite


def test_the_lock_of_a_suite_has_every_file_with_what_is_known(tmp_path):
    data = load_suite("pythia").dataset("deduped")
    hashes = tmp_path / "hashes.txt"
    hashes.write_text(f"{data.shard_names[0]} {'a' * 64}\n")
    output = tmp_path / "lock.tsv"
    arguments = ["--dataset", "deduped", "--hashes", str(hashes), "--output", str(output)]
    assert cli.run(suite_lock.main, arguments) == 0
    entries = {entry.path: entry for entry in read_lock(output)}
    assert set(entries) == set(data.file_names)
    assert entries[data.shard_names[0]].sha256 == "a" * 64
    assert entries[data.shard_names[1]].sha256 is None
    assert sum(entries[name].size for name in data.shard_names) == data.bin_bytes
    assert entries[data.index_name].size is None
    assert cli.run(suite_lock.main, ["--dataset", "deduped", "--output", str(output)]) == 0
    assert {entry.sha256 for entry in read_lock(output)} == {None}


def test_a_hash_of_a_stranger_is_refused():
    with pytest.raises(DataError, match="which is no file of"):
        suite_lock.entries(load_suite("pythia").dataset("deduped"), {"other.bin": "a" * 64})


def test_more_entries_than_the_original_generator_can_shuffle_are_refused(monkeypatch):
    monkeypatch.setattr(mersenne, "MAX_LENGTH", 4)
    shuffle = mersenne.LegacyShuffle(0)
    shuffle.shuffle(np.arange(4, dtype=np.int32))
    with pytest.raises(ConfigError, match="more than 4 are not supported"):
        shuffle.shuffle(np.arange(5, dtype=np.int32))


def test_numpy_draws_64_bit_numbers_above_2_to_the_32(monkeypatch):
    monkeypatch.setattr(mersenne, "shuffle_in_place", lambda values, *state: len(values))
    shuffle = mersenne.LegacyShuffle(0)
    shuffle.shuffle(np.broadcast_to(np.int8(0), 2**32))  # an array of one byte
    with pytest.raises(ConfigError, match="more than 4294967296 are not supported"):
        shuffle.shuffle(np.broadcast_to(np.int8(0), 2**32 + 1))


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("exposures", {"--document": "0", "--token": "0"}),
        ("documents", {"--iteration": "0"}),
        ("coverage", {"--step": "1"}),
        ("ngram", {"--tokens": "1", "--start_iteration": "0", "--end_iteration": "1"}),
    ],
)
def test_no_part_of_a_question_may_be_left_out(question, words):
    complete = [text for pair in words.items() for text in pair]
    look_up.arguments_parser().parse_args([question, *complete])
    for name in words:
        others = [text for pair in words.items() if pair[0] != name for text in pair]
        with pytest.raises(SystemExit):
            look_up.arguments_parser().parse_args([question, *others])


@pytest.mark.parametrize("content", ["{", "[]", '{"parameters": {"key": 1}}', '{"parameters": null}', "{}"])
def test_a_record_of_index_maps_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "stem.record.json").write_text(content)
    with pytest.raises(DataError, match="not a record of index maps"):
        read_map_record(tmp_path, "stem")
    assert read_map_record(tmp_path, "other") is None


def test_documents_are_grouped_by_number_and_by_length(monkeypatch):
    monkeypatch.setattr(tokenize_corpus, "BATCH_DOCUMENTS", 3)
    monkeypatch.setattr(tokenize_corpus, "BATCH_CHARACTERS", 10)
    texts = ["a", "b", "c", "d", "e" * 20, "f"]
    groups = [
        [document.text for document in group]
        for group in tokenize_corpus.batches(Document(None, 1, text, {}) for text in texts)
    ]
    assert groups == [["a", "b", "c"], ["d", "e" * 20], ["f"]]


def test_tokenising_needs_at_least_one_process(tmp_path, capsys):
    arguments = [
        "--corpus",
        "c.jsonl",
        "--tokenizer",
        "t.json",
        "--output-prefix",
        str(tmp_path / "x"),
        "--no-eod",
        "--jobs",
        "0",
    ]
    assert cli.run(tokenize_corpus.main, arguments) == 2
    assert "--jobs 0 must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "error"), [(None, MissingInputError), ("{", DataError), ("[]", DataError), ('{"model": 1}', DataError)]
)
def test_a_tokenizer_that_is_none(tmp_path, content, error):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match="tokenizer"):
        open_tokenizer(path)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, MissingInputError, "no such ledger"),
        ("", DataError, "not a ledger"),
        ("iteration\n", DataError, "not a ledger"),
        (f"{batches.HEADER}\n1\t2\n", DataError, ":2: expected iteration"),
        (f"{batches.HEADER}\nx\t0\t8\tabc\n", DataError, ":2: expected iteration"),
    ],
)
def test_a_ledger_that_is_none(tmp_path, content, error, words):
    path = tmp_path / "ledger.tsv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=words):
        batches.read_ledger(path)


def test_a_folder_of_configurations_must_hold_one(tmp_path):
    with pytest.raises(MissingInputError, match=r"contains no \.yml file"):
        read_configuration(tmp_path)


@pytest.mark.parametrize(("jobs", "parallel"), [(1, "false"), (3, "true")])
def test_the_tokenizer_library_takes_the_threads_that_were_asked_for(monkeypatch, jobs, parallel):
    for name in ("TOKENIZERS_PARALLELISM", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "")
    set_threads(jobs)
    assert (os.environ["TOKENIZERS_PARALLELISM"], os.environ["RAYON_NUM_THREADS"]) == (parallel, str(jobs))


def test_text_is_looked_up_with_its_tokenizer(capsys, tmp_path):
    arguments = ["ngram", "--view", str(tmp_path), "--text", "a", "--start_iteration", "0", "--end_iteration", "1"]
    assert cli.run(look_up.main, arguments) == 2
    assert "--text needs --tokenizer" in capsys.readouterr().err


def test_shards_that_hold_half_a_token_or_are_absent_are_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    with pytest.raises(DataError, match="not a whole number"):
        VirtualTokens.open([tmp_path / "a"], np.dtype("<u2"))
    with pytest.raises(MissingInputError, match="token file is missing"):
        VirtualTokens.open([tmp_path / "a", tmp_path / "b"], np.dtype("<u2"))
    (tmp_path / "empty").touch()
    assert ShardFile(tmp_path / "empty", 0).open().size == 0


class Order:
    """Rows 0..: token = place in the order; a stand-in for a training order."""

    n_rows = 6
    fingerprint = "f" * 64

    def rows(self, start, stop):
        return np.arange(start * 5, stop * 5, dtype=np.uint16).reshape(-1, 5)


def patch_of(positions, tokens, **changes):
    facts = {"base_fingerprint": "f" * 64, "row_tokens": 5, "first_row": 1, "stop_row": 3} | changes
    return Patch(np.array(positions, np.int64), np.array(tokens, np.int32), **facts)


def test_a_patch_exchanges_its_places_and_nothing_else(tmp_path):
    write_patch(tmp_path / "p", patch_of([5, 14], [700, 800]))
    rows = PatchedRows(Order(), read_patch(tmp_path / "p"))
    expected = np.arange(30, dtype=np.uint16).reshape(6, 5)
    expected[1, 0], expected[2, 4] = 700, 800
    for start in range(6):
        for stop in range(start + 1, 7):
            assert np.array_equal(rows.rows(start, stop), expected[start:stop])
    assert rows.n_rows == 6
    assert rows.fingerprint != Order.fingerprint


def test_an_empty_patch_changes_not_even_the_fingerprint():
    assert PatchedRows(Order(), patch_of([], [])).fingerprint == Order.fingerprint


@pytest.mark.parametrize(
    ("positions", "tokens"), [([5, 5], [1, 1]), ([6, 5], [1, 1]), ([4], [1]), ([15], [1]), ([5, 6], [1])]
)
def test_places_that_do_not_rise_within_the_rows_are_refused(tmp_path, positions, tokens):
    write_patch(tmp_path / "p", patch_of(positions, tokens))
    with pytest.raises(DataError):
        read_patch(tmp_path / "p")


@pytest.mark.parametrize("changes", [{"base_fingerprint": "0" * 64}, {"row_tokens": 4}])
def test_a_patch_of_another_order_is_refused(changes):
    with pytest.raises(ModelError, match="the patch was made for data"):
        PatchedRows(Order(), patch_of([], [], **changes))


def test_files_that_are_no_patch(tmp_path):
    with pytest.raises(MissingInputError, match="no such patch"):
        read_patch(tmp_path / "absent")
    (tmp_path / "p").write_bytes(b"x" * 20)
    with pytest.raises(DataError, match="not a patch"):
        read_patch(tmp_path / "p")
    save_file({"positions": np.zeros(0, np.int64), "tokens": np.zeros(0, np.int32)}, tmp_path / "p")
    with pytest.raises(DataError, match="not a patch of format"):
        read_patch(tmp_path / "p")


def test_a_token_file_of_another_length_than_its_index_says_is_refused(tmp_path, capsys):
    write_index(tmp_path / "x.idx", np.dtype("<u2"), np.array([3, 5], np.int32), range(3))
    arguments = [
        "--prefix",
        str(tmp_path / "x"),
        "--seq-length",
        "2",
        "--seed",
        "1",
        "--train-iters",
        "2",
        "--batch-size",
        "1",
    ]
    arguments += ["--output-dir", str(tmp_path / "maps")]
    (tmp_path / "x.bin").write_bytes(b"\0" * 14)
    assert cli.run(build_index_maps.main, arguments) == 2
    assert "x.bin" in capsys.readouterr().err
    (tmp_path / "x.bin").write_bytes(b"\0" * 16)
    assert cli.run(build_index_maps.main, arguments) == 0
    assert cli.run(build_index_maps.main, arguments) == 0, "the folder may be there already"
    assert json.loads((tmp_path / "maps/index_maps.json").read_text())["version"] == 1


def test_written_documents_are_readable_as_they_are(tmp_path):
    assert write_documents(tmp_path / "a.jsonl", [{"text": "Ägypten"}]) == 1
    assert (tmp_path / "a.jsonl").read_bytes() == '{"text": "Ägypten"}\n'.encode()
    assert write_documents(tmp_path / "a.jsonl", []) == 0
