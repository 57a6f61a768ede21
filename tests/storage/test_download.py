"""The download and lock programs over a mirror, and what a source's own list is worth."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from workflow_scripts import cli
from workflow_scripts.errors import (
    ConfigError,
    IntegrityError,
    MissingInputError,
    StorageError,
    TransferError,
    UnknownNameError,
)
from workflow_scripts.storage import download, make_lock, verify
from workflow_scripts.storage.fetching.fetch_files import fetch_all, fetch_file
from workflow_scripts.storage.lockfile import FileEntry, read_lock, write_lock
from workflow_scripts.storage.sources.listing import known_files
from workflow_scripts.storage.sources.source import MirrorSource, Repository

FILES = {"a-00000.bin": b"first shard" * 1000, "a-00001.bin": b"second", "sub/a.idx": b""}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def publish(folder: Path, files: dict[str, bytes], lock: bool = True) -> None:
    """Files with their list, as the publishing steps leave them."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    if lock:
        write_lock(folder / "sha256.txt", [FileEntry(p, len(c), sha256(c)) for p, c in files.items()])


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror with one data set and a model with two revisions."""
    root = tmp_path / "mirror"
    publish(root / "datasets" / "pocket" / "deduped", FILES)
    for revision in ("main", "step1"):
        publish(root / "models" / "pocket" / "tiny" / revision, {"config.json": revision.encode()})
    return root


def arguments(mirror: Path, *more: str, kind: str = "dataset", name: str = "pocket/deduped") -> list[str]:
    folder = mirror.parent
    named = ["--source", "mirror", "--location", str(mirror), "--kind", kind, "--repository", name]
    return [*named, "--output-dir", str(folder / "out"), "--receipt", str(folder / "receipt.json"), *more]


def test_whole_data_set_with_receipt_and_record(mirror: Path, tmp_path: Path) -> None:
    download.main(arguments(mirror))
    for path, content in FILES.items():
        assert (tmp_path / "out" / path).read_bytes() == content
    assert not (tmp_path / "out" / "sha256.txt").exists()
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt["files"] == [{"path": p, "size": len(c), "sha256": sha256(c)} for p, c in sorted(FILES.items())]
    assert receipt["commit"] == sha256((mirror / "datasets/pocket/deduped/sha256.txt").read_bytes())
    assert (receipt["source"], receipt["kind"], receipt["repository"]) == ("mirror", "dataset", "pocket/deduped")
    record = json.loads((tmp_path / "receipt.json.record.json").read_text())
    assert record["output_sha256"] == sha256((tmp_path / "receipt.json").read_bytes())
    before = (tmp_path / "receipt.json").read_bytes()
    download.main(arguments(mirror))
    assert (tmp_path / "receipt.json").read_bytes() == before


def test_patterns_fetch_a_part_of_the_set(mirror: Path, tmp_path: Path) -> None:
    download.main(arguments(mirror, "--include", "*-00001.bin", "*.idx"))
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == ["a-00001.bin", "a.idx"]
    with pytest.raises(UnknownNameError, match=r"did you mean 'a-00001\.bin'"):
        download.main(arguments(mirror, "--include", "a-00002.bin"))


@pytest.mark.parametrize("style", ["tsv", "sha256sum", "name first"])
def test_given_list_is_what_counts(style: str, mirror: Path, tmp_path: Path) -> None:
    (mirror / "datasets/pocket/deduped/sha256.txt").unlink()
    path, digest = "a-00000.bin", sha256(FILES["a-00000.bin"])
    text = {"tsv": f"path\tsize\tsha256\n{path}\t-\t{digest}\n", "sha256sum": f"{digest}  {path}\n"}
    (tmp_path / "lock").write_text(text.get(style, f"{path} {digest}"))
    download.main(arguments(mirror, "--lock", str(tmp_path / "lock")))
    assert [p.name for p in (tmp_path / "out").iterdir()] == [path]
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt["files"][0]["size"] == len(FILES[path])
    assert receipt["commit"] is None


def test_files_without_a_hash_are_refused(mirror: Path, tmp_path: Path) -> None:
    (mirror / "datasets/pocket/deduped/sha256.txt").unlink()
    with pytest.raises(IntegrityError, match=r"no known hash for 3 file\(s\).*make_lock"):
        download.main(arguments(mirror))
    assert not (tmp_path / "receipt.json").exists()


def test_model_revisions_are_folders(mirror: Path, tmp_path: Path) -> None:
    download.main(arguments(mirror, "--revision", "step1", kind="model", name="pocket/tiny"))
    assert (tmp_path / "out" / "config.json").read_bytes() == b"step1"
    with pytest.raises(UnknownNameError, match="unknown revision 'step2'; did you mean 'step1'"):
        download.main(arguments(mirror, "--revision", "step2", kind="model", name="pocket/tiny"))
    with pytest.raises(MissingInputError, match="no such repository in the mirror"):
        download.main(arguments(mirror, kind="model", name="pocket/other"))


def test_mirror_with_wrong_content_is_refused(mirror: Path, tmp_path: Path) -> None:
    (mirror / "datasets/pocket/deduped/a-00001.bin").write_bytes(b"secOnd")
    with pytest.raises(IntegrityError, match=r"a-00001\.bin: sha256 is .* expected .* kept as .*\.bad"):
        download.main(arguments(mirror))
    assert not (tmp_path / "out" / "a-00001.bin").exists()


@pytest.mark.parametrize("content", [b"shorter"[:3], b"second and more"])
def test_mirror_with_another_size_is_refused(content: bytes, mirror: Path) -> None:
    (mirror / "datasets/pocket/deduped/a-00001.bin").write_bytes(content)
    with pytest.raises(IntegrityError, match=rf"a-00001\.bin has size {len(content)}, .* has 6"):
        download.main(arguments(mirror))


def test_mirror_that_lacks_a_listed_file_is_refused(mirror: Path) -> None:
    (mirror / "datasets/pocket/deduped/a-00001.bin").unlink()
    with pytest.raises(MissingInputError, match=r"1 file\(s\) of .*sha256\.txt are missing, first 'a-00001\.bin'"):
        download.main(arguments(mirror))


def test_first_failure_stops_the_others(mirror: Path, tmp_path: Path) -> None:
    source = MirrorSource(mirror, Repository("dataset", "pocket/deduped", "main"))
    entries = [FileEntry("a-00000.bin", 11_000, "0" * 64), *known_files(source)[1:]]
    with pytest.raises(IntegrityError, match=r"a-00000\.bin"):
        fetch_all(source, entries, tmp_path / "out", parallel=1)


def test_wrong_file_in_the_way_is_set_aside(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a-00001.bin").write_bytes(b"secOnd")
    download.main(arguments(mirror))
    assert (tmp_path / "out" / "a-00001.bin").read_bytes() == b"second"
    assert (tmp_path / "out" / "a-00001.bin.bad").read_bytes() == b"secOnd"


def test_folder_in_the_way_is_not_moved(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "a-00001.bin").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"a-00001\.bin: is a folder, expected a file"):
        download.main(arguments(mirror))
    assert (tmp_path / "out" / "a-00001.bin").is_dir()


def test_file_in_place_of_the_folder_is_one_line(
    mirror: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_bytes(b"")
    assert cli.run(download.main, arguments(mirror)) == 2
    assert "exists and is not a folder" in capfd.readouterr().err


def test_one_file_as_a_library(mirror: Path, tmp_path: Path) -> None:
    source = MirrorSource(mirror, Repository("dataset", "pocket/deduped", "main"))
    content = FILES["a-00001.bin"]
    entry = fetch_file(source, "a-00001.bin", tmp_path / "deep" / "x.bin", 6, sha256(content))
    assert (entry.size, entry.sha256) == (6, sha256(content))
    assert (tmp_path / "deep" / "x.bin").read_bytes() == content
    assert source.read_range("a-00000.bin", 6, 5) == b"shard"
    with pytest.raises(TransferError, match="ends before byte"):
        source.read_range("a-00001.bin", 4, 3)
    with pytest.raises(IntegrityError, match="no known hash"):
        fetch_file(source, "a-00001.bin", tmp_path / "y.bin", 6, None)


def test_errors_are_one_line_and_code_2(mirror: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = cli.run(download.main, arguments(mirror, "--revision", "../main"))
    assert code == 2
    assert capfd.readouterr().err.startswith("error: revision '../main' of pocket/deduped")


def test_program_runs_and_explains_itself(mirror: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "workflow_scripts.storage.download", *arguments(mirror)],
        capture_output=True,
        text=True,
        check=True,
    )
    # A mirror needs no network library; importing one would double the time to start.
    assert "huggingface_hub" not in done.stderr
    assert "httpx2" not in done.stderr
    assert "3 file(s) present and verified" in done.stderr
    help_text = download.argument_parser().format_help()
    assert "Example:" in help_text


def test_lock_of_a_folder_and_of_a_repository_agree(mirror: Path, tmp_path: Path) -> None:
    folder, repository = tmp_path / "folder.tsv", tmp_path / "repository.tsv"
    source = ["--source", "mirror", "--location", str(mirror), "--kind", "dataset", "--repository", "pocket/deduped"]
    make_lock.main([*source, "--output", str(repository)])
    (mirror / "datasets/pocket/deduped/sha256.txt").unlink()
    make_lock.main(["--folder", str(mirror / "datasets/pocket/deduped"), "--output", str(folder)])
    assert folder.read_bytes() == repository.read_bytes()
    assert [entry.path for entry in read_lock(folder)] == sorted(FILES)


def test_lock_of_an_unlocked_mirror_reads_the_files(mirror: Path, tmp_path: Path) -> None:
    (mirror / "datasets/pocket/deduped/sha256.txt").unlink()
    source = ["--source", "mirror", "--location", str(mirror), "--kind", "dataset", "--repository", "pocket/deduped"]
    make_lock.main([*source, "--output", str(tmp_path / "lock.tsv")])
    assert [entry.sha256 for entry in read_lock(tmp_path / "lock.tsv")] == [sha256(FILES[p]) for p in sorted(FILES)]


@pytest.mark.parametrize("given", [[], ["--folder", "x", "--source", "mirror"]])
def test_lock_wants_one_thing_to_list(given: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either --folder, or --source"):
        make_lock.main([*given, "--output", str(tmp_path / "lock.tsv")])


@pytest.mark.parametrize("more", [["--attempts", "0"], ["--stall-seconds", "0"], ["--stall-seconds", "nan"]])
def test_impossible_patience_is_refused(more: list[str], mirror: Path) -> None:
    with pytest.raises(ConfigError, match="--attempts must be at least 1"):
        download.main(arguments(mirror, *more))


@pytest.mark.parametrize("name", ["pocket", "a/b/c", "../x", "-a/b", "a/..", "a/b c", "a/b\n"])
def test_unsafe_repository_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected org/name"):
        Repository("dataset", name, "main")


@pytest.mark.shared
def test_evaluation_data_of_the_hub_layout(shared: Path, tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    root.mkdir()
    (root / "datasets").symlink_to(shared / "hub" / "datasets")
    name = ["--source", "mirror", "--location", str(root), "--kind", "dataset"]
    name += ["--repository", "EleutherAI/lambada_openai"]
    make_lock.main([*name, "--include", "*.parquet", "--output", str(tmp_path / "lock.tsv")])
    download.main(
        [*name, "--lock", str(tmp_path / "lock.tsv"), "--output-dir", str(tmp_path / "out")]
        + ["--receipt", str(tmp_path / "receipt.json")]
    )
    original = shared / "hub/datasets/EleutherAI/lambada_openai/default/test.parquet"
    assert (tmp_path / "out/default/test.parquet").read_bytes() == original.read_bytes()


def test_one_file_of_a_list_gets_a_record_of_its_own(mirror: Path, tmp_path: Path) -> None:
    """What a job per file of a data set does: no receipt, and the folder verifies against the whole list."""
    lock = mirror / "datasets/pocket/deduped/sha256.txt"
    plain = arguments(mirror)[:-2]  # without --receipt
    for path, content in FILES.items():
        download.main([*plain, "--lock", str(lock), "--include", path])
        record = json.loads((tmp_path / "out" / f"{path}.record.json").read_text())
        assert record["output_sha256"] == sha256(content)
        assert record["inputs"]["lock"]["sha256"] == sha256(lock.read_bytes())
        assert record["parameters"]["repository"] == "pocket/deduped"
    verify.main(["--folder", str(tmp_path / "out"), "--lock", str(lock)])
    (tmp_path / "out" / "stranger.record.json").write_text("{}")
    with pytest.raises(IntegrityError, match="1 extra"):
        verify.main(["--folder", str(tmp_path / "out"), "--lock", str(lock)])


def test_a_list_with_all_hashes_is_taken_over_without_a_question(mirror: Path, tmp_path: Path) -> None:
    """Sizes may be missing; only a missing hash is asked for."""
    known, asked = tmp_path / "known.tsv", tmp_path / "asked.tsv"
    name = ["--source", "mirror", "--location", str(mirror), "--kind", "dataset", "--repository", "pocket/deduped"]
    write_lock(known, [FileEntry("not/there.bin", None, "a" * 64), FileEntry("b.bin", 3, "b" * 64)])
    make_lock.main([*name, "--lock", str(known), "--include", "not*", "--output", str(asked)])
    assert read_lock(asked) == [FileEntry("not/there.bin", None, "a" * 64)]
    path, content = next(iter(FILES.items()))
    write_lock(known, [FileEntry(path, None, None)])
    make_lock.main([*name, "--lock", str(known), "--output", str(asked)])
    assert read_lock(asked) == [FileEntry(path, len(content), sha256(content))]
    write_lock(known, [FileEntry("not/there.bin", None, None)])
    with pytest.raises(MissingInputError, match="not/there"):
        make_lock.main([*name, "--lock", str(known), "--output", str(asked)])


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "pytorch_model.bin"])
def test_a_pointer_in_place_of_a_models_file_is_never_a_success(name: str, tmp_path: Path) -> None:
    """A mirror that was cloned without git LFS lists the pointers' own hashes, so nothing else would tell."""
    folder, out = tmp_path / "mirror/models/org/m", tmp_path / "out"
    folder.mkdir(parents=True)
    for path in (name, "about-pointers.md"):
        (folder / path).write_bytes(POINTER)
    source = MirrorSource(tmp_path / "mirror", Repository("model", "org/m", "main"))
    entries = [
        FileEntry(path, len(POINTER), hashlib.sha256(POINTER).hexdigest()) for path in (name, "about-pointers.md")
    ]
    assert fetch_all(source, entries[1:], out)
    for _ in range(2):
        with pytest.raises(IntegrityError, match=f"{name}: the source has a git LFS pointer instead of the file"):
            fetch_all(source, entries[:1], out)
        assert not (out / name).exists()
    (out / name).write_bytes(POINTER)
    with pytest.raises(IntegrityError, match="git LFS pointer"):
        fetch_all(source, entries[:1], out)
