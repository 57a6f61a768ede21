"""Fetching from a Hub: held to the ledger, no byte twice, trainer states, defects, and releasing again."""

import errno
import hashlib
import json
import logging
import os

import pytest
from checkpoint_mirror import TOKENIZER

from tests.storage.fault_hub import Fault
from workflow_scripts import cli
from workflow_scripts.checkpoints import fetch, release
from workflow_scripts.checkpoints.checkpoint_files import checkpoint_files, trainer_files
from workflow_scripts.checkpoints.content_store import Store, link
from workflow_scripts.checkpoints.defect_table import Defect, read_defects, write_defects
from workflow_scripts.checkpoints.ledger_file import Ledger, Revision, write_ledger
from workflow_scripts.errors import DataError, ModelError
from workflow_scripts.storage.lockfile import FileEntry

NAME = "org/model"
TOKEN = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ012345"


def weights(key, size=5000):
    return hashlib.shake_256(f"{key}".encode()).digest(size)


def files(key, **more):
    return {"model.safetensors": weights(key), "config.json": b"{}", "tokenizer.json": TOKENIZER * 60, **more}


def entries(content):
    return tuple(sorted(FileEntry(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in content.items()))


@pytest.fixture
def folders(tmp_path):
    return tmp_path / "checkpoints/model"


def get(hub, folders, step, *more, name=NAME):
    target = folders / f"step{step}"
    common = ["--source", "hub", "--location", hub.endpoint, "--repository", name, "--step", str(step)]
    common += ["--output-dir", str(target), "--receipt", str(target / "fetched.json"), "--attempts", "2"]
    return cli.run(fetch.main, [*common, *more])


def ledger_of(tmp_path, commits):
    ledger = Ledger(
        {("model", name): Revision(commit, entries(content)) for name, (commit, content) in commits.items()}
    )
    write_ledger(tmp_path / "ledger.tsv", ledger)
    return ["--ledger", str(tmp_path / "ledger.tsv")]


def test_a_pinned_revision_is_fetched_as_the_ledger_has_it(fault_hub, folders, tmp_path):
    commit = fault_hub.add(NAME, files(8), "step8")
    assert get(fault_hub, folders, 8, *ledger_of(tmp_path, {"step8": (commit, files(8))})) == 0
    assert (folders / "step8/model.safetensors").read_bytes() == weights(8)
    receipt = json.loads((folders / "step8/fetched.json").read_text())
    assert receipt["commit"] == commit
    assert all(file["sha256"] for file in receipt["files"])
    listed = dict(reversed(line.split("  ")) for line in (folders / "step8/sha256.txt").read_text().splitlines())
    assert listed["model.safetensors"] == hashlib.sha256(weights(8)).hexdigest()


def test_fault_20_a_moved_branch_is_refused_with_both_commits(fault_hub, folders, tmp_path, capfd):
    """The branch no longer is the pinned commit: refused, and the message names both commits."""
    old = fault_hub.add(NAME, files(8), "step8")
    pinned = ledger_of(tmp_path, {"step8": (old, files(8))})
    new = fault_hub.add(NAME, files("other"), "step8")
    assert get(fault_hub, folders, 8, *pinned) == 2
    assert f"org/model at step8: the branch has moved from commit {old}" in (error := capfd.readouterr().err)
    assert f"to {new}; nothing was fetched" in error
    assert fault_hub.count("/resolve/") == 0


def test_content_that_is_not_the_ledgers_is_refused(fault_hub, folders, tmp_path, capfd):
    commit = fault_hub.add(NAME, files(8), "step8")
    assert get(fault_hub, folders, 8, *ledger_of(tmp_path, {"step8": (commit, files("other"))})) == 2
    assert "model.safetensors has sha256" in capfd.readouterr().err
    assert not (folders / "step8/fetched.json").exists()


def test_a_revision_that_the_ledger_lacks_is_fetched_with_a_word(fault_hub, folders, tmp_path, caplog):
    fault_hub.add(NAME, files(8), "step8")
    with caplog.at_level(logging.WARNING):
        assert get(fault_hub, folders, 8, *ledger_of(tmp_path, {})) == 0
    assert "model step8: not in" in caplog.text


def test_small_files_are_fetched_once_for_all_revisions_and_lie_on_the_disk_once(fault_hub, folders):
    for step in (1, 2, 4):
        fault_hub.add(NAME, files(step), f"step{step}")
        assert get(fault_hub, folders, step) == 0
    assert fault_hub.bytes_sent("tokenizer.json") == len(TOKENIZER) * 60
    inodes = {(folders / f"step{step}/tokenizer.json").stat().st_ino for step in (1, 2, 4)}
    assert len(inodes) == 1


def test_equal_weights_of_two_branches_are_fetched_once(fault_hub, folders):
    fault_hub.add(NAME, files(1), "step1")
    fault_hub.add(NAME, files(1, **{"special_tokens_map.json": b"{}"}), "step2")
    assert get(fault_hub, folders, 1) == get(fault_hub, folders, 2) == 0
    assert fault_hub.bytes_sent("model.safetensors") == 5000
    assert (folders / "step1/model.safetensors").samefile(folders / "step2/model.safetensors")


def test_a_rotten_byte_in_the_store_is_not_passed_on(fault_hub, folders):
    fault_hub.add(NAME, files(1), "step1")
    fault_hub.add(NAME, files(1, **{"special_tokens_map.json": b"{}"}), "step2")
    assert get(fault_hub, folders, 1) == 0
    path = folders / "step1/model.safetensors"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert get(fault_hub, folders, 2) == 0
    assert (folders / "step2/model.safetensors").read_bytes() == weights(1)


def test_without_hard_links_files_are_copied(fault_hub, folders, monkeypatch):
    def refused(*arguments):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refused)
    fault_hub.add(NAME, files(1), "step1")
    assert get(fault_hub, folders, 1) == 0
    assert (folders / "step1/tokenizer.json").read_bytes() == TOKENIZER * 60
    assert (folders / "step1/model.safetensors").read_bytes() == weights(1)


def test_fault_25_one_format_and_sharded_weights_whole(fault_hub, folders):
    """Both formats are offered: only safetensors are fetched, and all of their shards."""
    shards = {f"model-0000{n}-of-00002.safetensors": weights(n) for n in (1, 2)}
    content = files(1, **shards, **{"model.safetensors.index.json": b"{}", "pytorch_model.bin": weights("b")})
    del content["model.safetensors"]
    fault_hub.add(NAME, content, "step1")
    assert get(fault_hub, folders, 1) == 0
    assert fault_hub.bytes_sent("pytorch_model.bin") == 0
    assert {path.name for path in (folders / "step1").glob("model*")} == {*shards, "model.safetensors.index.json"}


def test_a_gap_among_the_shards_is_refused():
    content = [FileEntry(f"model-0000{n}-of-00003.safetensors", 1, "0" * 64) for n in (1, 3)]
    small = [FileEntry(name, 1, "0" * 64) for name in ("config.json", "tokenizer.json")]
    with pytest.raises(ModelError, match="shard 2 of 3 is missing"):
        checkpoint_files([*content, *small], "x")


def test_fault_21_a_missing_step_names_the_nearest(fault_hub, folders, capfd):
    """A step that has no branch: the nearest steps are named."""
    fault_hub.add(NAME, files(1), "step1000")
    assert get(fault_hub, folders, 999) == 2
    assert "unknown revision 'step999'" in (error := capfd.readouterr().err)
    assert "step1000" in error


def test_fault_43_a_configuration_that_asks_for_code_is_refused(fault_hub, folders, capfd):
    """A config.json with auto_map: the checkpoint is refused, nothing of its code is fetched."""
    fault_hub.add(NAME, {**files(1), "config.json": b'{"auto_map": {"AutoModel": "x.Y"}}'}, "step1")
    assert get(fault_hub, folders, 1) == 2
    assert "auto_map" in capfd.readouterr().err
    assert not (folders / "step1/fetched.json").exists()


def test_faults_39_40_42_a_changed_byte_never_reaches_a_loader(fault_hub, folders):
    """Pickle, cut file or flipped bit: the hash differs, so no loader ever sees the bytes."""
    fault_hub.add(NAME, files(1), "step1")
    fault_hub.faults["model.safetensors"] = Fault(corrupt=True)
    assert get(fault_hub, folders, 1) == 2
    assert not (folders / "step1/model.safetensors").exists()
    assert not (folders / "step1/fetched.json").exists()


def test_optimizer_states_are_fetched_from_their_repositories(fault_hub, folders):
    name = "org/neox-ckpt-model"
    content = {
        "global_step8/layer_00-model_00-model_states.pt": weights("l"),
        "global_step8/mp_rank_00_model_states.pt": weights("m"),
        "global_step8/zero_pp_rank_0_mp_rank_00_optim_states.pt": weights("z"),
        "latest": b"global_step8",
        "README.md": b"x",
    }
    fault_hub.add(name, content, "step8")
    assert get(fault_hub, folders, 8, name=name) == 0
    got = {path.relative_to(folders / "step8").as_posix() for path in (folders / "step8").rglob("*") if path.is_file()}
    assert set(content) - {"README.md"} <= got
    assert "README.md" not in got
    with pytest.raises(ModelError, match="contains no trainer state"):
        trainer_files([FileEntry("latest", 1, "0" * 64)], "x")


def test_fault_23_the_token_is_in_no_receipt_record_or_log(fault_hub, folders, monkeypatch, caplog, capfd):
    """A token from the environment is used and written nowhere."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fault_hub.add(NAME, files(1), "step1")
    assert get(fault_hub, folders, 1) == 0
    assert any(request.token for request in fault_hub.requests)
    assert all(TOKEN.encode() not in path.read_bytes() for path in folders.rglob("*") if path.is_file())
    assert TOKEN not in caplog.text + "".join(capfd.readouterr())
    assert get(fault_hub, folders, 1, "--defects", str(folders / "none.tsv")) == 2
    assert cli.run(fetch.main, ["--source", "hub", "--location", TOKEN, "--repository", NAME, "--step", "1"]
                   + ["--output-dir", "x", "--receipt", "y"]) == 2  # fmt: skip
    assert TOKEN not in "".join(capfd.readouterr())


def test_a_defective_checkpoint_is_refused_by_name(fault_hub, folders, tmp_path, capfd):
    fault_hub.add(NAME, files(1), "step1")
    table = tmp_path / "defects.tsv"
    write_defects(table, [Defect("model", "step1", "duplicate", "same as step2"), Defect("model", "main", "x", "y")])
    assert get(fault_hub, folders, 1, "--defects", str(table)) == 2
    assert "model step1: rejected because" in (error := capfd.readouterr().err)
    assert "duplicate: same as step2" in error
    assert read_defects(table)[0].revision == "step1"
    table.write_text("something else\n")
    with pytest.raises(DataError, match="not a table of defects"):
        read_defects(table)


def free(folders, step, *scores):
    marker = folders / f"released/step{step}.json"
    arguments = ["--checkpoint", str(folders / f"step{step}"), "--scores", *map(str, scores), "--marker", str(marker)]
    return cli.run(release.main, arguments)


def test_releasing_deletes_folder_and_weights_and_keeps_what_others_share(fault_hub, folders, tmp_path):
    for step in (1, 2):
        fault_hub.add(NAME, files(step), f"step{step}")
        assert get(fault_hub, folders, step) == 0
    score = tmp_path / "0-shot.json"
    score.write_text("{}")
    assert free(folders, 1, score) == 0
    assert not (folders / "step1").exists()
    assert [path.stat().st_nlink for path in (folders / ".store/weights").iterdir()] == [2]
    assert (folders / "step2/tokenizer.json").read_bytes() == TOKENIZER * 60
    marker = (folders / "released/step1.json").read_bytes()
    assert free(folders, 1, score) == 0, "a job that was killed after the deletion runs again"
    assert (folders / "released/step1.json").read_bytes() == marker


def test_nothing_is_deleted_without_scores_or_outside_a_checkpoint(fault_hub, folders, tmp_path, capfd):
    fault_hub.add(NAME, files(1), "step1")
    assert get(fault_hub, folders, 1) == 0
    assert free(folders, 1, tmp_path / "missing.json") == 2
    assert "not released, because it is not scored" in capfd.readouterr().err
    assert (folders / "step1/fetched.json").exists()
    (tmp_path / "s.json").write_text("{}")
    (folders / "step7").symlink_to(folders / "step1")
    with pytest.raises(Exception, match="not a checkpoint folder"):
        release.release(folders, [tmp_path / "s.json"])
    with pytest.raises(Exception, match="not a checkpoint folder"):
        release.release(folders / "step7", [tmp_path / "s.json"])
    assert (folders / "step1/model.safetensors").exists()


def test_a_link_to_the_same_file_leaves_no_temporary_name(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    assert link(tmp_path / "a", tmp_path / "b")
    assert link(tmp_path / "a", tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert not link(tmp_path / "none", tmp_path / "c")


def test_sweeping_an_absent_store_frees_nothing(tmp_path):
    assert Store(tmp_path / "none").sweep() == 0
