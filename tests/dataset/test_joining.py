"""Cutting and joining: round trips, resume after kill -9, two at once, full disks."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import corpusgen
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts import cli
from workflow_scripts.dataset import publish_shards, shard_memmap, unshard_memmap
from workflow_scripts.dataset.files.cutting import cut, sizes_by_bytes, sizes_by_count
from workflow_scripts.dataset.files.index_writer import with_suffix
from workflow_scripts.dataset.files.joining import join, plan_join, write_journal
from workflow_scripts.dataset.files.shard_names import shard_paths
from workflow_scripts.errors import ConfigError, DataError, IntegrityError, MissingInputError
from workflow_scripts.storage import verify
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.lockfile import read_lock
from workflow_scripts.suite.models import Dataset
from workflow_scripts.suite.registry import load_suite

CORPUS = {
    "corpus_seed": 9,
    "n_seq": 500,
    "sizes": {"kind": "uniform", "lo": 0, "hi": 200},
    "dtype": "uint16",
    "vocab": 50277,
}


@pytest.fixture
def prefix(tmp_path):
    return corpusgen.write_corpus(CORPUS, tmp_path / "pile")


@pytest.fixture
def published(prefix, tmp_path):
    publish_shards.main(["--prefix", str(prefix), "--num-shards", "4", "--output-dir", str(tmp_path / "mirror")])
    return tmp_path / "mirror"


def first_of(folder, count):
    return folder / f"pile-00000-of-{count - 1:05d}.bin"


@given(total=st.integers(1, 10**6), count=st.integers(1, 60))
@settings(deadline=None)
def test_sizes_by_count_cover_all_and_are_odd(total, count):
    if count > total:
        with pytest.raises(ConfigError):
            sizes_by_count(total, count)
        return
    sizes = sizes_by_count(total, count)
    assert (len(sizes), sum(sizes)) == (count, total)
    assert all(size > 0 for size in sizes)
    assert all(size % 2 for size in sizes[:-1])


@given(total=st.integers(1, 10**4), size=st.integers(1, 10**4))
@settings(deadline=None)
def test_sizes_by_bytes_never_end_with_an_empty_shard(total, size):
    sizes = sizes_by_bytes(total, size)
    assert sum(sizes) == total
    assert set(sizes[:-1]) <= {size}
    assert 0 < sizes[-1] <= size


def test_publish_is_laid_out_like_the_hub(prefix, published):
    entries = {entry.path: entry for entry in read_lock(published / "sha256.txt")}
    assert sorted(entries) == [*(f"pile-0000{k}-of-00003.bin" for k in range(4)), "pile.idx"]
    for name, entry in entries.items():
        content = (published / name).read_bytes()
        assert (entry.size, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    joined = b"".join(path.read_bytes() for path in shard_paths(first_of(published, 4)))
    assert joined == with_suffix(prefix, ".bin").read_bytes()


def test_publishing_again_leaves_no_old_shards(prefix, published):
    words = ["--prefix", str(prefix), "--name", "pile", "--output-dir", str(published)]
    publish_shards.main([*words, "--shard-bytes", "20000"])
    names = sorted(path.name for path in published.glob("*.bin"))
    assert names == [path.name for path in shard_paths(published / names[0])]
    assert len(names) == len(read_lock(published / "sha256.txt")) - 1


def test_the_originals_command_lines_round_trip(prefix, tmp_path):
    """Also when the file is an exact multiple of the shard size, where the original wrote an empty last shard."""
    tokens = with_suffix(prefix, ".bin")
    size = tokens.stat().st_size
    divisor = next(d for d in range(3, 100) if size % d == 0)
    shards = tmp_path / "shards"
    words = ["--input_file", str(tokens), "--output_dir", str(shards), "--shard_bytes", str(size // divisor)]
    shard_memmap.main(words)
    assert len(list(shards.glob("*.bin"))) == divisor
    words = ["--input_file", str(first_of(shards, divisor)), "--num_shards", str(divisor)]
    unshard_memmap.main([*words, "--output_dir", str(tmp_path / "joined")])
    for suffix in (".bin", ".idx"):
        assert (tmp_path / "joined" / f"pile{suffix}").read_bytes() == with_suffix(prefix, suffix).read_bytes()
    receipt = json.loads((tmp_path / "joined" / "joined.json").read_text())
    assert receipt["files"][0]["sha256"] == sha256_file(tokens)
    assert [shard["sha256"] for shard in receipt["shards"]] == [
        sha256_file(path) for path in shard_paths(first_of(shards, divisor))
    ]


def test_tokens_without_an_index_go_both_ways_with_a_warning(tmp_path, caplog):
    content = np.random.RandomState(4).bytes(1000)
    (tmp_path / "lone.bin").write_bytes(content)
    words = ["--input_file", str(tmp_path / "lone.bin"), "--output_dir", str(tmp_path / "s"), "--shard_bytes", "300"]
    shard_memmap.main(words)
    first = tmp_path / "s" / "lone-00000-of-00003.bin"
    words = ["--input_file", str(first), "--num_shards", "4", "--output_dir", str(tmp_path / "j")]
    unshard_memmap.main(words)
    assert (tmp_path / "j" / "lone.bin").read_bytes() == content
    assert caplog.text.count("only the tokens are") == 2


@pytest.mark.shared
def test_a_real_pair_round_trips_through_shards(shared, tmp_path):
    source = shared / "megatron" / "meg-gpt2-openwebtext_text_document"
    for turn in range(2):
        folder = tmp_path / f"shards{turn}"
        publish_shards.main(
            ["--prefix", str(source), "--name", "web", "--shard-bytes", "500001", "--output-dir", str(folder)]
        )
        first = folder / "web-00000-of-00005.bin"
        words = ["--input_file", str(first), "--num_shards", "6", "--output_dir", str(tmp_path / f"joined{turn}")]
        unshard_memmap.main(words)
        source = tmp_path / f"joined{turn}" / "web"
    original = shared / "megatron" / "meg-gpt2-openwebtext_text_document"
    for suffix in (".bin", ".idx"):
        assert with_suffix(source, suffix).read_bytes() == with_suffix(original, suffix).read_bytes()
    assert (tmp_path / "shards0" / "sha256.txt").read_bytes() == (tmp_path / "shards1" / "sha256.txt").read_bytes()


def test_tokens_that_do_not_fit_the_index_are_not_published(prefix, tmp_path):
    with with_suffix(prefix, ".bin").open("ab") as file:
        file.write(b"xx")
    with pytest.raises(DataError, match="too long"):
        publish_shards.publish(prefix, "pile", [10], tmp_path / "mirror")
    assert not (tmp_path / "mirror").exists()


def test_cut_refuses_sizes_that_do_not_add_up(prefix, tmp_path):
    with pytest.raises(DataError, match="expected 10"):
        cut(with_suffix(prefix, ".bin"), [10], tmp_path, "pile")
    with pytest.raises(MissingInputError):
        cut(tmp_path / "none.bin", [10], tmp_path, "pile")


def test_the_number_of_shards_is_checked_against_the_names(published, capsys):
    for claimed in (3, 5):
        words = ["--input_file", str(first_of(published, 4)), "--num_shards", str(claimed), "--output_dir", "x"]
        assert cli.run(unshard_memmap.main, words) == 2
        assert f"the name says 4 shards (00000 to 00003), --num-shards says {claimed}" in capsys.readouterr().err


def test_without_an_index_only_evenly_cut_sets_are_joined(published, tmp_path):
    (published / "pile.idx").unlink()
    assert plan_join(first_of(published, 4), tmp_path, {}).idx is None
    shards = shard_paths(first_of(published, 4))
    with shards[1].open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="all but the last must be equal"):
        plan_join(first_of(published, 4), tmp_path, {})


def test_without_an_index_the_last_shard_of_two_may_be_shorter(tmp_path):
    for number, size in enumerate((10, 4)):
        (tmp_path / f"two-{number:05d}-of-00001.bin").write_bytes(bytes(size))
    assert plan_join(tmp_path / "two-00000-of-00001.bin", tmp_path / "out", {}).total == 14


def test_a_join_says_how_far_it_is(published, tmp_path, capsys):
    join(plan_join(first_of(published, 4), tmp_path / "out", {}))
    said = capsys.readouterr().err
    assert "join pile:" in said
    assert "100" in said.splitlines()[-1]


def test_shards_that_are_in_the_part_are_not_read_again(published, tmp_path):
    plan = plan_join(first_of(published, 4), tmp_path / "out", {})
    expected = join(plan)
    sizes = [shard.size for shard in plan.shards]
    plan.target.rename(plan.part)
    with plan.part.open("rb+") as file:
        file.truncate(sum(sizes[:2]))
    write_journal(plan, list(expected.shard_sha256[:2]))
    for shard in plan.shards[:2]:
        shard.path.write_bytes(bytes(shard.size))
    assert join(plan) == expected


def test_a_wrong_shard_stops_and_a_right_one_goes_on(published, tmp_path):
    lock = {entry.path: (entry.size, entry.sha256) for entry in read_lock(published / "sha256.txt")}
    second = shard_paths(first_of(published, 4))[2]
    good = second.read_bytes()
    second.write_bytes(good[:5] + bytes([good[5] ^ 1]) + good[6:])
    plan = plan_join(first_of(published, 4), tmp_path / "out", lock)
    with pytest.raises(IntegrityError, match=r"pile-00002-of-00003\.bin: sha256"):
        join(plan)
    assert not plan.target.exists()
    assert len(json.loads(plan.journal.read_text())["shards"]) == 2
    second.write_bytes(good)
    assert join(plan).sha256 == sha256_file(plan.target)
    assert sorted(path.name for path in plan.target.parent.iterdir()) == ["pile.bin"]


def test_a_part_with_a_damaged_tail_is_found_out(published, tmp_path):
    """Power cut: the journal says two shards are done, the second one's bytes never reached the disk."""
    plan = plan_join(first_of(published, 4), tmp_path / "out", {})
    expected = join(plan)
    whole = plan.target.read_bytes()
    sizes = [shard.size for shard in plan.shards]
    plan.part.write_bytes(whole[: sizes[0]] + bytes(len(whole) - sizes[0]))
    done = [
        {"name": shard.path.name, "size": shard.size, "sha256": sha256}
        for shard, sha256 in zip(plan.shards[:2], expected.shard_sha256, strict=False)
    ]
    plan.journal.write_text(json.dumps({"shards": done}))
    plan.target.unlink()
    assert join(plan) == expected
    assert plan.target.read_bytes() == whole


def test_a_part_of_another_set_is_not_used(published, tmp_path):
    plan = plan_join(first_of(published, 4), tmp_path / "out", {})
    plan.target.parent.mkdir()
    plan.part.write_bytes(b"z" * (plan.total + 10))
    plan.journal.write_text(json.dumps({"shards": [{"name": "other", "size": 3, "sha256": "0" * 64}]}))
    assert join(plan).sha256 == sha256_file(with_suffix(published.parent / "pile", ".bin"))


def call(published, out, *more):
    words = ["--input_file", first_of(published, 4), "--num_shards", "4", "--output_dir", out, *more]
    return cli.run(unshard_memmap.main, [str(word) for word in words])


def swap(shards):
    first, second = shards[0].read_bytes(), shards[1].read_bytes()
    shards[0].write_bytes(second)
    shards[1].write_bytes(first)


def flip(shards):
    content = bytearray(shards[2].read_bytes())
    content[100] ^= 1
    shards[2].write_bytes(content)


def move_two_bytes(shards):
    """One shard is two bytes short and the next two bytes long: the .idx sees only their sum."""
    shards[1].write_bytes(shards[0].read_bytes()[-2:] + shards[1].read_bytes())
    shards[0].write_bytes(shards[0].read_bytes()[:-2])


FAULTS = [swap, flip, move_two_bytes]


@pytest.fixture
def known_to_a_suite(published, tmp_path, monkeypatch):
    """The list of hashes belongs to a suite and does not lie beside the shards."""
    lock = tmp_path / "suite.tsv"
    (published / "sha256.txt").rename(lock)
    dataset = Dataset("standard", "org/pile", "pile", 4, lock=str(lock))
    suite = replace(load_suite("pocket"), datasets={"standard": dataset})
    monkeypatch.setattr(unshard_memmap, "suite_names", lambda: ["made-up"])
    monkeypatch.setattr(unshard_memmap, "load_suite", lambda name: suite)
    return published


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("known_to_a_suite")
def test_names_that_a_suite_knows_are_held_to_its_list(published, tmp_path, fault, capsys):
    fault(shard_paths(first_of(published, 4)))
    assert call(published, tmp_path / "out") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"error: .*pile-0000\d-of-00003\.bin: .*the list of hashes says.*", error)
    seen = list((tmp_path / "out").glob("[!.]*")) if (tmp_path / "out").exists() else []
    assert not seen


@pytest.mark.usefixtures("known_to_a_suite")
def test_what_a_suite_knows_is_verified(published, tmp_path, caplog):
    assert call(published, tmp_path / "out") == 0
    assert "not verified" not in caplog.text
    assert json.loads((tmp_path / "out" / "joined.json").read_text())["verified"] is True


@pytest.mark.usefixtures("known_to_a_suite")
def test_a_wrong_index_is_refused_and_leaves_nothing(published, tmp_path, capsys):
    index = published / "pile.idx"
    content = bytearray(index.read_bytes())
    content[-1] ^= 1
    index.write_bytes(content)
    assert call(published, tmp_path / "out") == 2
    assert "pile.idx: " in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_the_real_lists_are_found_by_the_names_of_the_shards(tmp_path, root):
    for name in (
        "pile_0.87_deduped_text_document-00000-of-00082.bin",
        "pile_20B_tokenizer_text_document-00000-of-00132.bin",
    ):
        assert unshard_memmap.suite_lock(tmp_path / name).parent == root / "config" / "suites" / "locks"
    known = unshard_memmap.known_files(tmp_path / "pile_0.87_deduped_text_document-00000-of-00082.bin", None)
    assert len(known) == 84
    assert known["pile_0.87_deduped_text_document-00000-of-00082.bin"][0] == 5_000_000_000
    assert unshard_memmap.suite_lock(tmp_path / "pile_0.87_deduped_text_document-00000-of-00083.bin") is None


def test_a_suite_has_the_last_word_over_the_list_beside_the_shards(published, known_to_a_suite, tmp_path, capsys):
    """Someone who changes a shard can also change the list beside it."""
    flip(shard_paths(first_of(published, 4)))
    lines = [f"{sha256_file(path)}  {path.name}" for path in sorted(published.iterdir())]
    (published / "sha256.txt").write_text("\n".join(lines) + "\n")
    assert call(published, tmp_path / "out") == 2
    assert "pile-00002-of-00003.bin: sha256" in capsys.readouterr().err.splitlines()[-1]


def test_without_any_list_sizes_must_be_even_beside_an_index_too(published, tmp_path, capsys):
    (published / "sha256.txt").unlink()
    move_two_bytes(shard_paths(first_of(published, 4)))
    assert call(published, tmp_path / "out") == 2
    assert "all but the last must be equal" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", [None, swap, flip])
def test_without_any_list_the_result_says_that_it_is_not_verified(published, tmp_path, fault, caplog):
    (published / "sha256.txt").unlink()
    if fault:
        fault(shard_paths(first_of(published, 4)))
    caplog.set_level("INFO")
    assert call(published, tmp_path / "out") == 0
    assert "pile.bin: not verified, no list has the hashes of its shards" in caplog.text
    assert f"4 shards joined, sha256 {sha256_file(tmp_path / 'out' / 'pile.bin')}" in caplog.text
    assert json.loads((tmp_path / "out" / "joined.json").read_text())["verified"] is False


def test_a_finished_join_is_recognised(published, tmp_path, caplog, monkeypatch):
    out = tmp_path / "out"
    caplog.set_level("INFO")
    assert call(published, out) == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    caplog.clear()
    with monkeypatch.context() as patched:
        patched.setattr(unshard_memmap, "assembled", None)
        assert call(published, out) == 0
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert "joined before" in caplog.text
    assert f"sha256 {sha256_file(out / 'pile.bin')}" in caplog.text


def later(path):
    seconds = time.time() + 5
    os.utime(path, (seconds, seconds))


@pytest.mark.parametrize(
    "change",
    [
        lambda published, out: (out / "joined.json").write_text("{"),
        lambda published, out: (out / "joined.json").unlink(),
        lambda published, out: (out / "pile.idx").unlink(),
        lambda published, out: (out / "pile.bin").write_bytes(b"x"),
        lambda published, out: later(out / "pile.bin"),
        lambda published, out: later(first_of(published, 4)),
    ],
    ids=["no JSON", "no receipt", "no index", "another size", "a later date", "a later shard"],
)
def test_a_join_that_changed_is_made_again(published, tmp_path, change, caplog):
    caplog.set_level("INFO")
    out = tmp_path / "out"
    assert call(published, out) == 0
    content = (out / "pile.bin").read_bytes()
    change(published, out)
    assert call(published, out) == 0
    assert (out / "pile.bin").read_bytes() == content
    assert "joined before" not in caplog.text
    assert (out / "pile.idx").read_bytes() == (published / "pile.idx").read_bytes()
    assert json.loads((out / "joined.json").read_text())["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_receipt_of_shards_that_the_list_does_not_know_is_no_proof(published, tmp_path, capsys):
    """Joined without a list, and then a list says that a shard was wrong."""
    lock = (published / "sha256.txt").rename(tmp_path / "lock.tsv")
    flip(shard_paths(first_of(published, 4)))
    assert call(published, tmp_path / "out") == 0
    assert call(published, tmp_path / "out", "--lock", lock) == 2
    assert "pile-00002-of-00003.bin: sha256" in capsys.readouterr().err.splitlines()[-1]


def test_verify_takes_the_receipt_as_a_list(published, tmp_path, capsys):
    out = tmp_path / "out"
    assert call(published, out) == 0
    words = ["--folder", str(out), "--lock", str(out / "joined.json")]
    assert cli.run(verify.main, words) == 0
    flip([out / "pile.bin"] * 3)
    assert cli.run(verify.main, words) == 2
    assert "1 wrong (first pile.bin)" in capsys.readouterr().err


@pytest.fixture
def large(tmp_path):
    """60 MB in 6 shards without an index: enough to be killed in the middle."""
    block = np.random.RandomState(0).bytes(10_000_001)
    for number in range(6):
        (tmp_path / f"big-{number:05d}-of-00005.bin").write_bytes(bytes([number]) + block[1:])
    return tmp_path / "big-00000-of-00005.bin"


def started(first, out):
    code = "import sys; from workflow_scripts import cli; from workflow_scripts.dataset import unshard_memmap as u; "
    code += "raise SystemExit(cli.run(u.main, sys.argv[1:]))"
    words = ["--input_file", str(first), "--num_shards", "6", "--output_dir", str(out)]
    return subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, cwd=first.parent)


@pytest.mark.slow
def test_a_run_killed_in_the_middle_goes_on_at_a_shard_border(large, tmp_path, monkeypatch, root):
    monkeypatch.setenv("PYTHONPATH", str(root))
    out = tmp_path / "out"
    journal = out / ".big.bin.part.json"
    process = started(large, out)
    while not journal.exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "big.bin").exists()
    assert len(json.loads(journal.read_text())["shards"]) >= 1
    again = started(large, out)
    assert again.wait(60) == 0, again.communicate()
    whole = hashlib.sha256(b"".join(path.read_bytes() for path in shard_paths(large))).hexdigest()
    assert sha256_file(out / "big.bin") == whole
    assert sorted(path.name for path in out.iterdir()) == ["big.bin", "joined.json", "joined.json.record.json"]
    again.stderr.close()


@pytest.mark.slow
def test_two_at_once_give_one_right_file(large, tmp_path, monkeypatch, root):
    monkeypatch.setenv("PYTHONPATH", str(root))
    processes = [started(large, tmp_path / "out") for _ in range(2)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    whole = hashlib.sha256(b"".join(path.read_bytes() for path in shard_paths(large))).hexdigest()
    assert sha256_file(tmp_path / "out" / "big.bin") == whole


MEASURE = """
import sys
from pathlib import Path
from workflow_scripts.dataset.files.joining import join, plan_join

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far, which a child inherits
before = peak()
join(plan_join(Path(sys.argv[1]), Path(sys.argv[2]), {}))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc to measure memory")
def test_memory_stays_at_a_few_blocks(tmp_path, root, monkeypatch):
    """Joining 80 MB must not hold 80 MB."""
    monkeypatch.setenv("PYTHONPATH", str(root))
    for number in range(2):
        (tmp_path / f"big-{number:05d}-of-00001.bin").write_bytes(bytes(40_000_001))
    words = [sys.executable, "-c", MEASURE, str(tmp_path / "big-00000-of-00001.bin"), str(tmp_path / "out")]
    grown_kib = int(subprocess.run(words, capture_output=True, check=True).stdout)
    assert grown_kib < 25_000
