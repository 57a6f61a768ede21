"""Every program that fetches, against a Hub that others wrote: it lists names only, has no ranges, takes no slash."""

import hashlib
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.checkpoints.checkpoint_mirror import files_of, weight_bytes, weights
from workflow_scripts import cli
from workflow_scripts.checkpoints import fetch, ledger
from workflow_scripts.checkpoints.ledger_file import read_ledger
from workflow_scripts.dataset import view_batches
from workflow_scripts.evaluation import fetch_data
from workflow_scripts.evaluation.planning.task_lock import write_task_lock
from workflow_scripts.storage import download, make_lock
from workflow_scripts.storage.leftovers import part_path
from workflow_scripts.storage.lockfile import FileEntry, read_lock
from workflow_scripts.suite.registry import load_suite

MODEL = load_suite("pocket").model("pocket-90k")
STEPS = (0, 512)
DATA, PRESHUFFLED = "org/questions", "org/preshuffled"
ROW, BATCH, ROWS = 17, 8, 240
SHARDS = [f"document-{number:05d}-of-00002.bin" for number in range(3)]
TOKENS = np.arange(ROW * ROWS, dtype="<u2")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def parquet(*texts):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": list(texts)}), buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def served(olah):
    """The files of two steps of a model by revision, and data sets in both of the Hub's layouts."""
    steps = {
        f"step{step}": {**files_of(MODEL, weight_bytes(weights(MODEL, step))), "README.md": b"# A model", "empty": b""}
        for step in STEPS
    }
    for revision, files in {**steps, "main": steps["step512"]}.items():
        olah.add(MODEL.repository, files, revision)
    olah.add(DATA, {"README.md": b"# Q", "data/test-00000-of-00001.parquet": parquet("a", "b")}, kind="datasets")
    olah.add(DATA, {"other/test/0000.parquet": parquet("c")}, "refs/convert/parquet", kind="datasets")
    cut = [TOKENS[:1000], TOKENS[1000:2501], TOKENS[2501:]]
    shards = {name: part.tobytes() for name, part in zip(SHARDS, cut, strict=True)}
    olah.add(PRESHUFFLED, {**shards, "README.md": b"# Rows"}, kind="datasets")
    return steps, shards


def place(olah, name):
    return ["--source", "hub", "--location", olah.endpoint, "--repository", name, "--attempts", "2"]


@pytest.mark.parametrize("step", STEPS)
def test_a_checkpoint_is_fetched_and_held_to_its_hashes(olah, served, tmp_path, step):
    out = tmp_path / "out"
    words = [*place(olah, MODEL.repository), "--step", str(step), "--output-dir", str(out)]
    fetch.main([*words, "--receipt", str(out / "fetched.json")])
    files = served[0][f"step{step}"]
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (out / name).read_bytes() == files[name]
    assert not (out / "README.md").exists()
    receipt = json.loads((out / "fetched.json").read_text())
    assert {file["path"]: file["sha256"] for file in receipt["files"]}["model.safetensors"] == sha256(
        files["model.safetensors"]
    )


def test_what_is_not_served_is_one_line(olah, served, tmp_path, capsys):
    for repository, message in (
        (MODEL.repository, "unknown revision 'step513'; did you mean 'step512'?"),
        ("org/none", "no such repository, or access denied"),
    ):
        words = [*place(olah, repository), "--step", "513", "--output-dir", str(tmp_path / "out")]
        assert cli.run(fetch.main, [*words, "--receipt", str(tmp_path / "r.json")]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
        assert not any((tmp_path / "out").glob("[!.]*"))


def test_an_interrupted_file_is_fetched_again_from_its_start_and_said(olah, served, tmp_path, caplog):
    caplog.set_level("INFO")
    name, content = SHARDS[1], served[1][SHARDS[1]]
    part_path(tmp_path / name).write_bytes(content[:500])
    words = [*place(olah, PRESHUFFLED), "--kind", "dataset", "--include", name, "--output-dir", str(tmp_path)]
    assert cli.run(download.main, words) == 0
    assert (tmp_path / name).read_bytes() == content
    assert "ignores range requests; starting over after 500 bytes" in caplog.text


def test_a_lock_is_made_and_downloads_are_held_to_it(olah, served, tmp_path):
    words = [*place(olah, PRESHUFFLED), "--kind", "dataset"]
    make_lock.main([*words, "--include", "*.bin", "README.md", "--output", str(tmp_path / "lock.tsv")])
    files = {**served[1], "README.md": b"# Rows"}
    expected = [FileEntry(name, len(content), sha256(content)) for name, content in files.items()]
    assert read_lock(tmp_path / "lock.tsv") == sorted(expected)
    download.main([*words, "--lock", str(tmp_path / "lock.tsv"), "--output-dir", str(tmp_path / "out")])
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files} == files


def test_the_ledger_is_filled(olah, served, tmp_path):
    path = tmp_path / "ledger.tsv"
    words = ["--suite", "pocket", "--models", MODEL.name, "--source", "hub", "--location", olah.endpoint]
    ledger.main([*words, "--ledger", str(path)])
    found = read_ledger(path).of(MODEL.name)
    assert set(found) == {*served[0], "main"}
    for revision, files in served[0].items():
        kept = {name: content for name, content in files.items() if name not in ("README.md", "empty")}
        entries = [FileEntry(name, len(content), sha256(content)) for name, content in kept.items()]
        assert list(found[revision].files) == sorted(entries)


@pytest.mark.parametrize(("config", "texts"), [("default", ["a", "b"]), ("other", ["c"])])
def test_evaluation_data_of_both_layouts_is_fetched(olah, served, tmp_path, config, texts):
    write_task_lock(tmp_path / "tasks.tsv", [])
    words = [*place(olah, DATA), "--config", config, "--splits", "test", "--lock", str(tmp_path / "tasks.tsv")]
    fetch_data.main([*words, "--output-dir", str(tmp_path), "--receipt", str(tmp_path / "fetched.json")])
    assert pq.read_table(tmp_path / "test.parquet")["text"].to_pylist() == texts
    assert len(json.loads((tmp_path / "fetched.json").read_text())["commit"]) == 40


def test_the_batch_viewer_reads_rows_without_ranges_and_says_so(olah, served, tmp_path, caplog):
    caplog.set_level("INFO")
    words = ["--preshuffled", SHARDS[0], "--source", "hub", "--location", olah.endpoint, "--repository", PRESHUFFLED]
    words += ["--seq-length", str(ROW - 1), "--train-iters", str(ROWS // BATCH), "--batch-size", str(BATCH)]
    words += ["--start_iteration", "7", "--end_iteration", "9", "--mode", "save", "--save_path", str(tmp_path)]
    assert cli.run(view_batches.main, words) == 0
    saved = [np.load(path).reshape(-1) for path in sorted(tmp_path.glob("*.npy"))]
    assert np.array_equal(np.concatenate(saved), TOKENS[7 * BATCH * ROW : 9 * BATCH * ROW])
    assert caplog.text.count("ignores range requests; reading files from their start") == 1
