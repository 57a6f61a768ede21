"""Fetching a checkpoint from a mirror: one weight format, verified, refused when it is not whole."""

import hashlib
import json

import pytest

from workflow_scripts import cli
from workflow_scripts.checkpoints.checkpoint_files import declared_files
from workflow_scripts.checkpoints.fetch import checkpoint_files, main
from workflow_scripts.errors import ModelError
from workflow_scripts.storage.lockfile import FileEntry

COMPANIONS = {"config.json": b"{}", "tokenizer.json": b"{}", "tokenizer_config.json": b"{}"}


def entries(*names):
    return [FileEntry(name, 1, "0" * 64) for name in names]


def names(chosen):
    return sorted(entry.path for entry in chosen)


@pytest.fixture
def mirror(tmp_path):
    """A mirror with one revision that holds the weights in both formats."""
    folder = tmp_path / "mirror/models/org/model/step8"
    folder.mkdir(parents=True)
    contents = {**COMPANIONS, "model.safetensors": b"s" * 1000, "pytorch_model.bin": b"b" * 1000, "README.md": b"x"}
    lines = ["path\tsize\tsha256"]
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        lines.append(f"{name}\t{len(content)}\t{hashlib.sha256(content).hexdigest()}")
    (folder / "sha256.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "mirror"


def fetch(mirror, target, step=8, files=()):
    return cli.run(
        main,
        ["--source", "mirror", "--location", str(mirror), "--repository", "org/model", "--step", str(step)]
        + ["--output-dir", str(target), "--receipt", str(target / "fetched.json"), "--attempts", "1"]
        + (["--files", *files] if files else []),
    )


def test_one_format_is_taken_and_safetensors_is_preferred():
    both = entries("config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin", "README.md")
    assert names(checkpoint_files(both, "x")) == ["config.json", "model.safetensors", "tokenizer.json"]
    old = entries("config.json", "tokenizer.json", "pytorch_model.bin", "optimizer.pt")
    assert names(checkpoint_files(old, "x")) == ["config.json", "pytorch_model.bin", "tokenizer.json"]


def test_sharded_weights_are_taken_whole_with_their_index():
    shards = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    chosen = checkpoint_files(entries("config.json", "tokenizer.json", "model.safetensors.index.json", *shards), "x")
    assert set(shards) | {"model.safetensors.index.json"} <= set(names(chosen))


def test_what_is_no_checkpoint_is_refused():
    with pytest.raises(ModelError, match="contains no weights"):
        checkpoint_files(entries("config.json", "tokenizer.json"), "x")
    with pytest.raises(ModelError, match=r"lacks tokenizer.json"):
        checkpoint_files(entries("config.json", "model.safetensors"), "x")


def test_fetch_takes_the_bytes_once_and_writes_a_receipt(mirror, tmp_path):
    target = tmp_path / "out"
    assert fetch(mirror, target) == 0
    receipt = json.loads((target / "fetched.json").read_text())
    assert [file["path"] for file in receipt["files"]] == sorted(["model.safetensors", *COMPANIONS])
    assert not (target / "pytorch_model.bin").exists()
    before = (target / "model.safetensors").stat().st_mtime_ns
    assert fetch(mirror, target) == 0
    assert (target / "model.safetensors").stat().st_mtime_ns == before


def test_fault_42_a_flipped_weight_bit_is_refused(mirror, tmp_path, capfd):
    """One bit of a weight differs: the hash tells, the checkpoint is refused."""
    path = mirror / "models/org/model/step8/model.safetensors"
    path.write_bytes(b"t" + path.read_bytes()[1:])
    assert fetch(mirror, tmp_path / "out") == 2
    assert not (tmp_path / "out/model.safetensors").exists()
    assert not (tmp_path / "out/fetched.json").exists()
    error = capfd.readouterr().err
    assert "model.safetensors" in error
    assert "Traceback" not in error


def test_a_missing_step_names_the_nearest(mirror, tmp_path, capfd):
    assert fetch(mirror, tmp_path / "out", step=9) == 2
    assert "step8" in capfd.readouterr().err


def test_declared_files_are_fetched_and_others_are_refused_by_name(mirror, tmp_path, capfd):
    declared = ["config.json", "pytorch_model.bin", "tokenizer.json"]
    target = tmp_path / "out"
    assert fetch(mirror, target, files=declared) == 0
    kept = {"fetched.json", "fetched.json.record.json", "sha256.txt"}
    assert {path.name for path in target.iterdir()} == {*declared, *kept}

    assert fetch(mirror, tmp_path / "other", files=[*declared, "special_tokens_map.json"]) == 2
    error = capfd.readouterr().err
    assert "does not serve special_tokens_map.json; it serves config.json, model.safetensors, pytorch" in error
    assert not (tmp_path / "other").exists()
    with pytest.raises(ModelError, match="`files` lacks weights"):
        declared_files(entries("config.json", "tokenizer.json"), ["config.json", "tokenizer.json"], "x")


def test_a_failed_fetch_leaves_no_output_and_keeps_what_it_had(mirror, tmp_path, capfd):
    """What the workflow would delete after a failure must not be the only copy of a finished file."""
    folder, target = mirror / "models/org/model/step8", tmp_path / "out"
    tokenizer = (folder / "tokenizer.json").read_bytes()
    shard = "model-00002-of-00002.safetensors"
    for name, content in (("model-00001-of-00002.safetensors", b"1" * 500), (shard, b"2" * 500)):
        (folder / name).write_bytes(content)
        with (folder / "sha256.txt").open("a") as lines:
            lines.write(f"{name}\t{len(content)}\t{hashlib.sha256(content).hexdigest()}\n")
    names_of = ["config.json", "model-00001-of-00002.safetensors", shard, "tokenizer.json"]
    (folder / shard).write_bytes(b"x" * 500)
    good = target / ".incoming/model-00001-of-00002.safetensors"
    # The two are fetched at once, and the wrong one may stop the other before it is there.
    for _ in range(50):
        assert fetch(mirror, target, files=names_of) == 2
        assert [path.name for path in target.iterdir() if not path.name.startswith(".")] == []
        if good.exists():
            break
    first = good.stat()

    (folder / shard).write_bytes(b"2" * 500)
    assert fetch(mirror, target, files=names_of) == 0
    again = (target / "model-00001-of-00002.safetensors").stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert not (target / ".incoming").exists()
    assert (target / "tokenizer.json").read_bytes() == tokenizer
