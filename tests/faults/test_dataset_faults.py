"""Faults 26 to 37 of the data plane: each is found, named in one line, and leaves nothing half made."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from workflow_scripts import cli
from workflow_scripts.dataset import make_view, publish_shards, unshard_memmap, view_batches
from workflow_scripts.dataset.files.index_writer import indexed_writer
from workflow_scripts.dataset.order.training_order import TrainingRows

SHARDS = 4
FIRST = "pile-00000-of-00003.bin"


@pytest.fixture
def pair(tmp_path):
    """pile.bin and pile.idx: 400 documents of uint16 tokens below 50277, some above 32767."""
    rng = np.random.RandomState(0)
    with indexed_writer(tmp_path / "pile", np.dtype("<u2")) as writer:
        for _ in range(400):
            writer.add(rng.randint(0, 50277, rng.randint(1, 120)).astype(np.uint16))
            writer.end_document()
    return tmp_path / "pile"


@pytest.fixture
def raw(pair, tmp_path):
    """Four shards, the .idx and the list of hashes, as downloaded."""
    folder = tmp_path / "raw"
    publish_shards.main(["--prefix", str(pair), "--num-shards", str(SHARDS), "--output-dir", str(folder)])
    return folder


@pytest.fixture
def refused(raw, tmp_path, capsys):
    """Joins ``raw``, which must be refused in one line that contains the given words and leave no output."""

    def check(*words, shards=SHARDS, lock=True):
        if not lock:
            (raw / "sha256.txt").unlink(missing_ok=True)
        arguments = ["--input_file", str(raw / FIRST), "--num_shards", str(shards)]
        assert cli.run(unshard_memmap.main, [*arguments, "--output_dir", str(tmp_path / "joined")]) == 2
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(error) == 1
        for word in words:
            assert word in error[0]
        assert not (tmp_path / "joined" / "pile.bin").exists()
        assert not (tmp_path / "joined" / "joined.json").exists()

    return check


@pytest.fixture
def view_refused(pair, tmp_path, capsys):
    """Makes a view of ``pair``, which must be refused in one line that contains the given words."""

    def check(*words, extra=()):
        arguments = ["--idx", f"{pair}.idx", "--bin", f"{pair}.bin", "--output", str(tmp_path / "view.json")]
        assert cli.run(make_view.main, [*arguments, *extra]) == 2
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(error) == 1
        for word in words:
            assert word in error[0]
        assert not (tmp_path / "view.json").exists()

    return check


def cut_file(path: Path, size: int) -> None:
    os.truncate(path, path.stat().st_size + size if size < 0 else size)


def patch(path: Path, offset: int, content: bytes) -> None:
    with path.open("rb+") as file:
        file.seek(offset)
        file.write(content)


@pytest.mark.parametrize("lock", [True, False], ids=["list of hashes", "index alone"])
def test_fault_26_last_shard_truncated(raw, refused, lock):
    """Ten bytes are missing: the list of hashes names the shard, the .idx alone still tells how many are missing."""
    shard = raw / "pile-00003-of-00003.bin"
    cut_file(shard, -10)
    refused("pile-00003-of-00003.bin" if lock else "too short", "fetch" if lock else "damaged, incomplete", lock=lock)


def test_fault_27_two_shards_swapped(raw, refused):
    """Two shards of equal size have each other's content: only their hashes can tell, and do."""
    one, two = raw / "pile-00001-of-00003.bin", raw / "pile-00002-of-00003.bin"
    assert one.stat().st_size == two.stat().st_size
    one.rename(raw / "x")
    two.rename(one)
    (raw / "x").rename(two)
    refused("pile-00001-of-00003.bin: sha256", "swapped")


def test_fault_27_one_shard_copied_over_another(raw, refused):
    """A copy in place of a shard is found by its hash."""
    shutil.copy(raw / "pile-00001-of-00003.bin", raw / "pile-00002-of-00003.bin")
    refused("pile-00002-of-00003.bin: sha256")


@pytest.mark.parametrize("known", ["hashes", "index", "nothing"])
def test_fault_28_shard_of_one_byte(raw, refused, known):
    """A middle shard of one byte is found whatever is known: the original filled 5 GB with that byte."""
    cut_file(raw / "pile-00001-of-00003.bin", 1)
    if known == "nothing":
        (raw / "pile.idx").unlink()
    words = {"hashes": "pile-00001-of-00003.bin: 1 bytes", "index": "too short", "nothing": "must be equal"}
    refused(words[known], lock=known == "hashes")


def test_fault_29_middle_shard_missing(raw, refused):
    """A missing shard is named before anything is written."""
    (raw / "pile-00002-of-00003.bin").unlink()
    refused("1 of 4 shards are missing: pile-00002-of-00003.bin")


@pytest.mark.parametrize("claimed", [SHARDS - 1, SHARDS + 1])
def test_fault_29_number_of_shards_off_by_one(refused, claimed):
    """--num-shards must be what the names say."""
    refused("the name says 4 shards (00000 to 00003)", f"--num-shards says {claimed}", shards=claimed)


LIMITED = """
import resource, sys
from workflow_scripts import cli
from workflow_scripts.dataset import unshard_memmap
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
raise SystemExit(cli.run(unshard_memmap.main, sys.argv[1:]))
"""


def test_fault_30_no_room_for_the_joined_file(raw, tmp_path, root, monkeypatch):
    """The space is asked for at once, so too little of it is a message, not a killed process or a file of zeros."""
    monkeypatch.setenv("PYTHONPATH", str(root))
    words = ["--input_file", str(raw / FIRST), "--num_shards", "4", "--output_dir", str(tmp_path / "joined")]
    done = subprocess.run([sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"needs {sum(p.stat().st_size for p in raw.glob('*.bin'))} bytes" in done.stderr
    assert "free some space" in done.stderr
    assert sorted(path.name for path in (tmp_path / "joined").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 48 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a tmpfs needs root; the case with a limited file size runs everywhere")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=48k", "none", str(place)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_fault_30_disk_full(raw, small_disk, capsys):
    """A real full disk: needed and free bytes are told, and the disk is as before but for the small index."""
    words = ["--input_file", str(raw / FIRST), "--num_shards", "4", "--output_dir", str(small_disk)]
    (raw / "pile.idx").unlink()  # the tokens alone are larger than this disk
    assert cli.run(unshard_memmap.main, words) == 2
    assert "free some space" in capsys.readouterr().err
    assert list(small_disk.iterdir()) == []


def test_fault_31_bin_truncated(pair, view_refused):
    """A short .bin is found when it is opened, not at the document that happens to be cut."""
    cut_file(Path(f"{pair}.bin"), -2)
    view_refused("pile.bin: too short")


def test_fault_32_bin_too_long(pair, view_refused):
    """Extra bytes are not accepted: they belong to another data set."""
    with Path(f"{pair}.bin").open("ab") as file:
        file.write(b"\0\0")
    view_refused("pile.bin: too long")


@pytest.mark.parametrize("size", [0, 9, 33, 34, 1000, -1])
def test_fault_33_idx_truncated(pair, view_refused, size):
    """A cut .idx says how many bytes it has and how many it needs."""
    cut_file(Path(f"{pair}.idx"), size)
    view_refused("pile.idx: ", " bytes, ")


@pytest.mark.parametrize(
    ("offset", "content", "message"),
    [
        (0, b"MMIDIDY", "an .idx file starts with"),
        (9, struct.pack("<Q", 7), "version 7 of the format, only version 1 is known"),
        (17, bytes([77]), "unknown token type code 77; known are 1 uint8"),
    ],
    ids=["magic", "version", "code"],
)
def test_fault_34_idx_header_wrong(pair, view_refused, offset, content, message):
    """Each field of the header has its own message."""
    patch(Path(f"{pair}.idx"), offset, content)
    view_refused(message)


def test_fault_35_idx_says_int32(pair, view_refused):
    """Another token width contradicts the pointers; the original returned wrong tokens without a word."""
    patch(Path(f"{pair}.idx"), 17, bytes([4]))
    view_refused("wrong token type", "int32")


def test_fault_35_idx_says_int16(pair, view_refused):
    """A type of the same width fits all sizes: reading the tokens against the vocabulary finds it."""
    patch(Path(f"{pair}.idx"), 17, bytes([3]))
    view_refused("token -", "is outside the vocabulary of 50277", extra=["--vocabulary-size", "50277"])


@pytest.mark.parametrize("pointer", [-2, 10**12])
def test_fault_36_pointer_outside(pair, view_refused, pointer):
    """Pointers must be the cumulative sizes."""
    patch(Path(f"{pair}.idx"), 34 + 4 * 400 + 8 * 17, struct.pack("<q", pointer))
    view_refused(f"pointer of sequence 17 is {pointer}")


def test_fault_37_flipped_token_in_a_shard(raw, refused):
    """One changed bit is found by the hash of its shard while joining."""
    patch(raw / "pile-00002-of-00003.bin", 1000, b"\xff")
    refused("pile-00002-of-00003.bin: sha256")


def test_fault_37_flipped_token_in_a_batch(pair, tmp_path, capsys):
    """One changed bit is found by the ledger of the batches."""
    words = ["--view", str(pair), "--seq-length", "16", "--train-iters", "20", "--batch-size", "8"]
    words += ["--start_iteration", "0", "--end_iteration", "20"]
    view_batches.main([*words, "--save_path", str(tmp_path / "a")])
    first_token = TrainingRows.open(pair, None, 16, 1234, 20, 8).pieces(np.arange(40, 48))[0, 0]
    content = bytearray(Path(f"{pair}.bin").read_bytes())
    content[2 * first_token] ^= 1
    Path(f"{pair}.bin").write_bytes(content)
    words += ["--check_ledger", str(tmp_path / "a" / "ledger.tsv"), "--save_path", str(tmp_path / "b")]
    assert cli.run(view_batches.main, words) == 2
    assert "iteration 5: tokens have sha256" in capsys.readouterr().err
