"""Batches as files: names, modes, ends, ledgers, configuration files, ranges from a source."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import corpusgen
import numpy as np
import pytest

from workflow_scripts import cli
from workflow_scripts.dataset import (
    build_index_maps,
    make_view,
    publish_shards,
    sample_batches,
    train_tokenizer,
    view_batches,
)
from workflow_scripts.dataset.files.cutting import cut, sizes_by_count
from workflow_scripts.dataset.files.index_writer import indexed_writer, with_suffix
from workflow_scripts.dataset.files.indexed import open_index
from workflow_scripts.dataset.order.batches import read_ledger
from workflow_scripts.dataset.order.finished_data import use_finished_data
from workflow_scripts.dataset.order.set_plan import KINDS
from workflow_scripts.dataset.order.training_order import TrainingRows

NUMBERS = ["--seq-length", "16", "--seed", "3", "--train-iters", "30", "--batch-size", "8"]
FUNCTIONS = """
def count(batch, iteration):
    return {"iteration": iteration, "sum": int(batch.sum()), "dtype": str(batch.dtype), "shape": batch.shape}
value = 3
"""


@pytest.fixture
def prefix(tmp_path):
    params = {
        "corpus_seed": 5,
        "n_seq": 120,
        "sizes": {"kind": "uniform", "lo": 0, "hi": 70},
        "dtype": "uint16",
        "vocab": 250,
    }
    return corpusgen.write_corpus(params, tmp_path / "c")


@pytest.fixture
def rows(prefix):
    return TrainingRows.open(prefix, None, 16, 3, 30, 8)


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": "a b c"}\n')
    train_tokenizer.main(
        ["--corpus", str(tmp_path / "t.jsonl"), "--vocab-size", "258", "--output", str(tmp_path / "tokenizer.json")]
    )
    return tmp_path / "tokenizer.json"


def view(prefix, tmp_path, *words):
    out = tmp_path / "out"
    view_batches.main(["--view", str(prefix), *NUMBERS, "--save_path", str(out), *map(str, words)])
    return out


def test_save_writes_the_originals_files_for_start_inclusive_to_end_exclusive(prefix, rows, tmp_path):
    out = view(prefix, tmp_path, "--mode", "save", "--start_iteration", 2, "--end_iteration", 5)
    assert sorted(path.name for path in out.glob("*.npy")) == [f"batch{k}_bs8.npy" for k in (2, 3, 4)]
    for k in (2, 3, 4):
        batch = np.load(out / f"batch{k}_bs8.npy")
        assert (batch.dtype, batch.shape) == (np.int64, (8, 17))
        np.testing.assert_array_equal(batch, rows.rows(8 * k, 8 * k + 8))
        assert read_ledger(out / "ledger.tsv")[k] == hashlib.sha256(batch.astype("<u2").tobytes()).hexdigest()


def test_help_says_which_ends_are_inclusive(capsys):
    with pytest.raises(SystemExit):
        view_batches.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--start-iteration is inclusive, --end-iteration is exclusive" in text


def test_custom_writes_one_line_per_batch(prefix, rows, tmp_path, monkeypatch):
    (tmp_path / "my_statistics.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    out = view(prefix, tmp_path, "--mode", "custom", "--batch_function", "my_statistics:count", "--end_iteration", 4)
    lines = [json.loads(line) for line in (out / "stats.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1, 2, 3]
    assert [line["sum"] for line in lines] == [int(rows.rows(8 * k, 8 * k + 8).sum()) for k in range(4)]
    assert {(line["dtype"], tuple(line["shape"])) for line in lines} == {("int64", (8, 17))}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mode", "custom", "--batch_function", "nothing"], "expected module:function"),
        (["--mode", "custom", "--batch_function", "no_such_module_here:f"], "no module no_such_module_here"),
        (["--mode", "custom", "--batch_function", "my_statistics:value"], "has no function value"),
        (["--mode", "text"], "needs --tokenizer"),
        (["--start_iteration", "3", "--end_iteration", "3"], "3 (inclusive) to 3 (exclusive)"),
        (["--end_iteration", "1000"], "available are 0 to"),
        (["--seq-length", "0"], "seq-length 0 must be a positive"),
    ],
)
def test_impossible_requests_are_one_line(prefix, words, message, monkeypatch, capsys):
    (prefix.parent / "my_statistics.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(prefix.parent)
    start = ["--view", str(prefix), *NUMBERS, "--save_path", str(prefix.parent / "out"), "--end_iteration", "2"]
    assert cli.run(view_batches.main, [*start, *words]) == 2
    assert message in capsys.readouterr().err


def test_custom_without_a_function_is_the_originals_statistic(prefix, tmp_path):
    """The seed's own function notes the iteration and no text; it opened the file anew for each line."""
    out = view(prefix, tmp_path, "--mode", "custom", "--start_iteration", 2, "--end_iteration", 4)
    assert (out / "stats.jsonl").read_text() == '{"iteration": 2, "text": null}\n{"iteration": 3, "text": null}\n'


@pytest.fixture
def finished(prefix, tmp_path, tokenizer, monkeypatch):
    """A folder in which a run has made the data and the maps of the pocket suite."""
    folder = tmp_path / "place" / "results" / "data" / "pocket" / "standard"
    publish_shards.main(["--prefix", str(prefix), "--num-shards", "2", "--output-dir", str(tmp_path / "raw")])
    shards = map(str, sorted((tmp_path / "raw").glob("*.bin")))
    make_view.main(["--idx", f"{prefix}.idx", "--shards", *shards, "--output", str(folder / "view.json")])
    words = ["--prefix", str(prefix), *NUMBERS, "--output-dir", str(folder / "index_maps")]
    build_index_maps.main(words)
    place = tmp_path / "place" / "results" / "corpus" / "pocket" / "tokenizer.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(tokenizer.read_bytes())
    monkeypatch.chdir(tmp_path / "place")
    return folder


POCKET = ["--suite", "pocket", "--data", "standard"]


@pytest.mark.usefixtures("finished")
def test_the_data_of_a_finished_run_need_only_a_name(rows):
    view_batches.main([*POCKET, "--iteration", "7"])
    assert sorted(path.name for path in Path("token_indices").glob("*.npy")) == ["batch7_bs8.npy"]
    np.testing.assert_array_equal(np.load("token_indices/batch7_bs8.npy"), rows.rows(56, 64))
    view_batches.main([*POCKET, "--iteration", "7", "--mode", "text"])
    assert len(Path("token_indices/batch7_bs8.jsonl").read_text("utf-8").splitlines()) == 8


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*POCKET, "--iteration", "1000"], "available are 0 to 34 (exclusive)"),
        ([*POCKET, "--iteration", "1", "--end_iteration", "4"], "leave out --start-iteration and --end-iteration"),
        ([*POCKET, "--view", "x"], "leave out --view"),
        ([*POCKET, "--conf_dir", "x"], "leave out --conf-dir"),
        (["--suite", "pocket"], "--suite and --data belong together"),
        (["--suite", "pockt", "--data", "standard"], "did you mean 'pocket'?"),
        (["--suite", "pocket", "--data", "dedupped"], "did you mean 'deduped'?"),
        (["--suite", "pocket", "--data", "deduped"], "no run has made the data of suite pocket here"),
        ([*POCKET, "--iteration", "1", "--seed", "5"], "index_maps"),
    ],
)
def test_names_that_lead_nowhere_are_one_line(words, message, capsys):
    assert cli.run(view_batches.main, words) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path("token_indices").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"seq_length": null}'])
def test_maps_that_are_none_are_one_line(finished, content, capsys):
    (finished / "index_maps" / "index_maps.json").write_text(content)
    assert cli.run(view_batches.main, [*POCKET, "--iteration", "7"]) == 2
    assert "not a list of index maps" in capsys.readouterr().err


def test_released_data_that_no_run_has_made_are_read_from_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = view_batches.arguments_parser().parse_args(["--suite", "pythia", "--data", "deduped", "--iteration", "9"])
    use_finished_data(options)
    assert (options.preshuffled, options.start_iteration) == ("document-00000-of-00020.bin", 9)
    assert options.repository == "EleutherAI/pile-deduped-pythia-preshuffled"
    assert options.revision == "4647773ea142ab1ff5694602fa104bbf49088408"


def test_text_decodes_row_by_row(prefix, rows, tmp_path, tokenizer):
    from tokenizers import Tokenizer

    out = view(
        prefix, tmp_path, "--mode", "text", "--tokenizer", tokenizer, "--start_iteration", 1, "--end_iteration", 2
    )
    lines = [json.loads(line) for line in (out / "batch1_bs8.jsonl").read_text(encoding="utf-8").splitlines()]
    decoder = Tokenizer.from_file(str(tokenizer))
    assert [line["row"] for line in lines] == list(range(8, 16))
    expected = [decoder.decode(row.tolist(), skip_special_tokens=False) for row in rows.rows(8, 16)]
    assert [line["text"] for line in lines] == expected


def test_stored_maps_give_the_same_ledger_and_another_seed_does_not(prefix, tmp_path, capsys):
    maps = tmp_path / "maps"
    build_index_maps.main(["--prefix", str(prefix), *NUMBERS, "--output-dir", str(maps)])
    first = view(prefix, tmp_path, "--index-maps", maps, "--end_iteration", 3)
    ledger = (first / "ledger.tsv").rename(tmp_path / "known.tsv")
    view(prefix, tmp_path, "--check_ledger", ledger, "--end_iteration", 3)
    words = ["--view", str(prefix), *NUMBERS, "--seed", "4", "--check_ledger", str(ledger), "--end_iteration", "3"]
    assert cli.run(view_batches.main, [*words, "--save_path", str(tmp_path / "no")]) == 2
    assert "iteration 0: tokens have sha256" in capsys.readouterr().err


def test_configuration_files_of_the_original_decide_the_numbers(prefix, rows, tmp_path):
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "a.yml").write_text('{"seq-length": 16, "train-iters": 30, "train_micro_batch_size_per_gpu": 4, "seed": 3}')
    (conf / "b.yml").write_text(json.dumps({"train-data-paths": [str(prefix)], "seq_length": 16}))
    words = ["--conf_dir", str(conf), "--batch-size", "8", "--save_path", str(tmp_path / "o"), "--end_iteration", "1"]
    view_batches.main(words)
    np.testing.assert_array_equal(np.load(tmp_path / "o" / "batch0_bs8.npy"), rows.rows(0, 8))


@pytest.mark.parametrize("stored", [False, True])
def test_fault_35_a_data_path_that_is_split(prefix, tmp_path, stored):
    """A GPT-NeoX file cuts its data-path by a split: only the rows that it trained on are shown, by both programs."""
    conf = tmp_path / "c.yml"
    numbers = {"seq-length": 16, "train-iters": 30, "seed": 3, "train_batch_size": 8}
    conf.write_text(json.dumps({"data-path": str(prefix), "split": "50,30,20", **numbers}))
    maps, out = tmp_path / "maps", tmp_path / "o"
    build_index_maps.main(["--conf_dir", str(conf), "--output-dir", str(maps)])
    words = ["--conf_dir", str(conf), "--save_path", str(out), "--end_iteration", "30"]
    view_batches.main([*words, *(["--index-maps", str(maps)] if stored else [])])
    index = open_index(with_suffix(prefix, ".idx"))
    summary = json.loads((maps / "index_maps.json").read_text())
    assert [item["label"] for item in summary["sets"]] == ["train", "valid", "test"]
    assert (summary["batch_rows"], summary["eval_iterations"]) == (8, 100)
    stem = summary["sets"][0]["stem"]
    doc_idx, _, shuffle_idx = (np.load(maps / f"{stem}_{name}.npy") for name in KINDS)
    assert doc_idx.max() == index.n_sequences // 2 - 1
    tokens = np.fromfile(with_suffix(prefix, ".bin"), index.dtype)
    stream = np.concatenate(
        [tokens[p // 2 : p // 2 + s] for p, s in zip(index.pointers[doc_idx], index.sizes[doc_idx], strict=True)]
    )
    for iteration in (0, 29):
        samples = shuffle_idx[8 * iteration : 8 * iteration + 8]
        expected = [stream[16 * sample : 16 * sample + 17] for sample in samples]
        np.testing.assert_array_equal(np.load(out / f"batch{iteration}_bs8.npy"), expected)


@pytest.mark.shared
def test_the_case_of_a_split_data_path(shared, tmp_path, monkeypatch):
    """Documents 0 to 49 of 100 are trained on, and token n is in document n // 3."""
    monkeypatch.chdir(shared / "cases")
    words = ["--conf_dir", "view/data-path-split.yml", "--batch-size", "4", "--end_iteration", "10"]
    view_batches.main([*words, "--save_path", str(tmp_path)])
    assert max(int(np.load(tmp_path / f"batch{k}_bs4.npy").max()) for k in range(10)) < 150


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "give it with --batch-size"),
        ({"train_batch_size": 8, "train-data-paths": ["p"]}, "both data-path and train-data-paths"),
        ({"train_batch_size": 8, "pack-impl": "unpacked"}, "pack_impl is 'unpacked'; only 'packed'"),
        ({"train_batch_size": 8, "weight_by_num_documents": True}, "weight_by_num_documents is True"),
        ({"train_batch_size": 8, "datta-path": "x"}, "unknown key 'datta-path'"),
        ({"train_batch_size": 8, "train-iters": None}, "'train-iters' is missing"),
    ],
)
def test_what_a_file_leaves_open_or_asks_otherwise_is_refused(prefix, tmp_path, more, message, capsys):
    """Both programs refuse the same files in the same words."""
    conf = tmp_path / "c.yml"
    conf.write_text(json.dumps({"data-path": str(prefix), "seq-length": 16, "train-iters": 30, **more}))
    for program, words in ((view_batches, ["--save_path", "o"]), (build_index_maps, ["--output-dir", "m"])):
        assert cli.run(program.main, ["--conf_dir", str(conf), words[0], str(tmp_path / words[1])]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"seq-length": 32}', "another file of"),
        ('{"train-data-paths": ["a", "b"]}', "only one data set"),
        ('{"seed": "x"}', "seed 'x' must be"),
        ("{}", "no data named"),
    ],
)
def test_configurations_that_do_not_decide_are_refused(tmp_path, text, message, capsys):
    (tmp_path / "a.yml").write_text('{"seq-length": 16}')
    (tmp_path / "b.yml").write_text(text)
    assert cli.run(view_batches.main, ["--conf_dir", str(tmp_path), "--save_path", str(tmp_path / "o")]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def preshuffled(rows, tmp_path):
    """The first 30 iterations written out in order, in 4 awkward shards, in a mirror laid out like the Hub."""
    content = rows.rows(0, 240)
    with indexed_writer(tmp_path / "document", np.dtype("<u2")) as writer:
        for row in content:
            writer.add(row)
            writer.end_document()
    folder = tmp_path / "mirror" / "datasets" / "org" / "preshuffled"
    words = ["--prefix", str(tmp_path / "document"), "--num-shards", "4", "--output-dir", str(folder)]
    publish_shards.main(words)
    return folder / "document-00000-of-00003.bin"


def test_raw_and_preshuffled_near_and_far_have_one_ledger(prefix, preshuffled, tmp_path):
    raw = view(prefix, tmp_path, "--end_iteration", 30)
    words = ["--save_path", str(tmp_path / "out2"), "--end_iteration", "30", *NUMBERS]
    view_batches.main([*words, "--preshuffled", str(preshuffled)])
    assert (tmp_path / "out2" / "ledger.tsv").read_bytes() == (raw / "ledger.tsv").read_bytes()
    far = ["--source", "mirror", "--location", str(tmp_path / "mirror"), "--repository", "org/preshuffled"]
    view_batches.main([*words, "--preshuffled", preshuffled.name, *far, "--save_path", str(tmp_path / "out3")])
    assert (tmp_path / "out3" / "ledger.tsv").read_bytes() == (raw / "ledger.tsv").read_bytes()
    joined = tmp_path / "document.bin"
    view_batches.main([*words, "--preshuffled", str(joined), "--save_path", str(tmp_path / "out4")])
    assert (tmp_path / "out4" / "ledger.tsv").read_bytes() == (raw / "ledger.tsv").read_bytes()


def test_a_split_cannot_cut_rows_that_are_in_order(preshuffled, tmp_path, capsys):
    conf = tmp_path / "c.yml"
    conf.write_text(json.dumps({"data-path": "p", "seq-length": 16, "train-iters": 30, "train_batch_size": 8}))
    where = ["--preshuffled", str(preshuffled), "--save_path", str(tmp_path / "no")]
    for words in (["--split", "9,1,0", *NUMBERS], ["--conf_dir", str(conf)]):
        assert cli.run(view_batches.main, [*words, *where]) == 2
        assert "cannot cut them" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_the_viewers_file_to_edit_is_read(prefix, rows, root, tmp_path):
    """As shipped it says Pythia's numbers; edited, those of this data."""
    text = (root / "config" / "neox" / "viewer.yml").read_text()
    numbers = view_batches.numbers_of(
        view_batches.arguments_parser().parse_args(["--conf_dir", str(root / "config" / "neox" / "viewer.yml")])
    )
    assert (numbers.seq_length, numbers.seed, numbers.train_iterations, numbers.batch_rows) == (
        2048,
        1234,
        143000,
        1024,
    )
    changes = {"results/data/pythia/deduped/view.json": str(prefix), "2048": "16", "1024": "8", "143000": "30"}
    for old, new in {**changes, '"seed": 1234': '"seed": 3'}.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "viewer.yml").write_text(text)
    words = ["--conf_dir", str(tmp_path / "viewer.yml"), "--save_path", str(tmp_path / "o"), "--end_iteration", "1"]
    view_batches.main(words)
    np.testing.assert_array_equal(np.load(tmp_path / "o" / "batch0_bs8.npy"), rows.rows(0, 8))


def test_the_hub_is_asked_for_one_range_per_iteration(prefix, preshuffled, tmp_path, fault_hub):
    """Two where an iteration crosses shards; no byte more than the tokens is sent."""
    folder = preshuffled.parent
    files = {path.name: path.read_bytes() for path in folder.glob("document*")}
    commit = fault_hub.add("org/preshuffled", files, kind="datasets")
    far = ["--source", "hub", "--location", fault_hub.endpoint, "--repository", "org/preshuffled", "--revision", commit]
    words = ["--preshuffled", preshuffled.name, *far, *NUMBERS, "--end_iteration", "30"]
    view_batches.main([*words, "--save_path", str(tmp_path / "far")])
    near = view(prefix, tmp_path, "--end_iteration", 30)
    assert (tmp_path / "far" / "ledger.tsv").read_bytes() == (near / "ledger.tsv").read_bytes()
    names = [name for name in files if name.endswith(".bin")]
    assert sum(fault_hub.bytes_sent(name) for name in names) == 240 * 17 * 2
    # The Hub sends each shard's first request on to where its bytes are; that address is kept.
    ranges = [request for request in fault_hub.requests if request.range and "X-Signature" in request.path]
    assert len(ranges) == 30 + 3


def test_a_repository_without_the_shards_is_one_line(preshuffled, tmp_path, capsys):
    far = ["--source", "mirror", "--location", str(tmp_path / "mirror"), "--repository", "org/preshuffled"]
    words = ["--preshuffled", "other-00000-of-00003.bin", *far, *NUMBERS, "--end_iteration", "1"]
    assert cli.run(view_batches.main, [*words, "--save_path", str(tmp_path / "o")]) == 2
    assert "no other-00000-of-00003.bin" in capsys.readouterr().err


def test_samples_are_decoded_with_the_hash_of_the_batch(prefix, rows, tmp_path, tokenizer):
    out = tmp_path / "samples.jsonl"
    words = ["--view", str(prefix), *NUMBERS, "--tokenizer", str(tokenizer), "--iterations", "0", "29", "--rows", "2"]
    sample_batches.main([*words, "--output", str(out)])
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(line["iteration"], line["first_row"], len(line["texts"])) for line in lines] == [(0, 0, 2), (29, 232, 2)]
    assert lines[1]["sha256"] == hashlib.sha256(rows.rows(232, 240).tobytes()).hexdigest()


@pytest.mark.parametrize("content", ["", "x\n", "iteration\tfirst_row\trows\tsha256\n1\t2\n"])
def test_files_that_are_no_ledger_are_refused(prefix, tmp_path, content, capsys):
    (tmp_path / "l.tsv").write_text(content)
    words = ["--view", str(prefix), *NUMBERS, "--check_ledger", str(tmp_path / "l.tsv")]
    assert cli.run(view_batches.main, words) == 2
    assert "l.tsv" in capsys.readouterr().err


def test_shards_of_raw_data_may_be_cut_anywhere(prefix, tmp_path):
    tokens = with_suffix(prefix, ".bin")
    ledgers = []
    for count in (1, 3, 40):
        files = cut(tokens, sizes_by_count(tokens.stat().st_size, count), tmp_path / f"s{count}", "c")
        place = tmp_path / f"view{count}.json"
        make_view.main(["--idx", f"{prefix}.idx", "--output", str(place), "--shards", *(str(f.path) for f in files)])
        out = view(place, tmp_path, "--end_iteration", 30)
        ledgers.append((out / "ledger.tsv").read_bytes())
    assert len(set(ledgers)) == 1
