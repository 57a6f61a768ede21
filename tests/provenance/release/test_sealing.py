"""What a seal holds, which runs are refused, and that a killed seal leaves nothing that looks like one."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.provenance.release.made_release import (
    FOLDER,
    PLACES,
    RUN,
    SETTINGS,
    graph_of,
    make_release,
    read_manifest,
    seal,
)
from workflow_scripts.errors import DataError, MissingInputError, PipelineError, StorageError, UnknownNameError
from workflow_scripts.provenance import seal as seal_program
from workflow_scripts.provenance.release import file_hashes, sealing
from workflow_scripts.provenance.release.file_hashes import hash_files
from workflow_scripts.provenance.release.graph import COLUMNS, GraphOutput, State, read_summary
from workflow_scripts.provenance.release.manifest import Revision, Rule
from workflow_scripts.provenance.stale import Stale
from workflow_scripts.storage.hashing import sha256_file


def test_a_manifest_holds_every_file_with_its_hash(tmp_path, monkeypatch):
    manifest = seal(tmp_path, monkeypatch)
    listed = {file.path: (file.bytes, file.sha256) for file in manifest.files()}
    on_disk = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    del on_disk[f"{PLACES['lock']}"]
    locks = [file.path for file in manifest.locks]
    assert locks == [PLACES["lock"]]
    assert listed.keys() - set(locks) == on_disk.keys()
    for path, file in on_disk.items():
        assert listed[path] == (file.stat().st_size, sha256_file(file))
    assert [file.path for file in manifest.inputs] == [PLACES["configuration"]]


def test_a_manifest_says_what_records_and_receipts_say(tmp_path, monkeypatch):
    manifest = seal(tmp_path, monkeypatch)
    assert manifest.settings == SETTINGS
    assert manifest.rules["score_checkpoint"] == Rule(2, ("score.py",), {"dtype": "float32", "threads": 1}, ())
    assert manifest.rules["draw_figure"].parameters == {"figure": "loss"}
    assert manifest.code == ("0123456789ab",)
    assert manifest.libraries == {"python": ("3.11.7",), "numpy": ("2.4.6",)}
    commit = json.loads((tmp_path / PLACES["receipt"]).read_text())["commit"]
    assert manifest.ledger == (Revision("m", 1, "made/m", "step1", commit),)
    by_path = {output.path: output for output in manifest.outputs}
    assert by_path[PLACES["loglikelihood"]].record == PLACES["record of a score"]
    assert by_path[PLACES["weight"]].record == f"{FOLDER}/fetched.json.record.json"
    assert (manifest.partial, manifest.missing, manifest.limits) == (False, (), ())


def test_parameters_that_differ_within_a_rule_are_named_only(tmp_path, monkeypatch):
    from tests.provenance.release.made_release import write, write_record

    make_release(tmp_path)
    other = PLACES["score"].replace("step1", "step2")
    write(tmp_path, other, "{}")
    write_record(tmp_path, other, "score.py", {}, dtype="float32", threads=2)
    rule = seal(tmp_path, monkeypatch, graph_of(tmp_path)).rules["score_checkpoint"]
    assert (rule.parameters, rule.varying) == ({"dtype": "float32"}, ("threads",))


def unfinished(graph):
    return [GraphOutput(each.path, each.rule, State.TO_DO, each.inputs) for each in graph[:5]] + graph[5:]


def test_an_unfinished_run_is_refused_and_may_be_sealed_as_partial(tmp_path, monkeypatch):
    graph = unfinished(make_release(tmp_path))
    with pytest.raises(PipelineError, match=r"5 outputs are to be made: .* and 2 more; --partial"):
        seal(tmp_path, monkeypatch, graph)
    manifest = seal(tmp_path, monkeypatch, graph, partial=True)
    assert manifest.partial
    assert manifest.missing == tuple(each.path for each in graph[:5])
    assert not set(manifest.missing) & {output.path for output in manifest.outputs}


def test_a_stale_run_is_refused_and_a_partial_manifest_says_so(tmp_path, monkeypatch):
    graph = make_release(tmp_path)
    stale = [Stale(tmp_path / PLACES["score"], "evaluation.score", ("x",)), Stale(tmp_path / "other", "x", ("x",))]
    monkeypatch.setattr(sealing, "outputs_of", lambda settings, root: graph)
    monkeypatch.setattr(sealing, "stale_outputs", lambda results: stale)
    text = "stale, 1 records are of other code or locks than the present: evaluation.score"
    with pytest.raises(PipelineError, match=text):
        sealing.seal_run(RUN, tmp_path)
    manifest = sealing.seal_run(RUN, tmp_path, partial=True)
    assert (manifest.partial, manifest.limits) == (True, (f"{text}.",))


def test_what_was_deleted_after_use_is_said(tmp_path, monkeypatch):
    """Checkpoints under a disk budget: scored, and gone."""
    graph = make_release(tmp_path)
    gone = GraphOutput("results/checkpoints/m/step2/config.json", "fetch_checkpoint", State.GONE, ())
    manifest = seal(tmp_path, monkeypatch, [*graph, gone])
    assert not manifest.partial
    assert manifest.limits == (f"1 outputs were deleted after use and are not sealed, {gone.path} among them.",)


def test_a_folder_that_a_rule_made_is_sealed_file_by_file(tmp_path, monkeypatch):
    graph = [each for each in make_release(tmp_path) if not each.path.startswith(FOLDER)]
    (tmp_path / FOLDER / ".hidden").touch()
    manifest = seal(tmp_path, monkeypatch, [*graph, GraphOutput(FOLDER, "fetch_checkpoint", State.DONE, ())])
    sealed = {output.path for output in manifest.outputs if output.rule == "fetch_checkpoint"}
    assert sealed == {f"{FOLDER}/{name}" for name in ("config.json", "model.safetensors", "sha256.txt", "fetched.json")}


def test_other_runs_and_lost_inputs_are_one_line(tmp_path, monkeypatch):
    graph = make_release(tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'small'"):
        sealing.seal_run("smal", tmp_path)
    (tmp_path / PLACES["configuration"]).unlink()
    with pytest.raises(MissingInputError, match=r"made\.yaml: no such file, and the run read it"):
        seal(tmp_path, monkeypatch, graph)
    (tmp_path / PLACES["setting of the run"]).write_text("{}")
    with pytest.raises(DataError, match="not a run"):
        seal(tmp_path, monkeypatch, graph)


def test_commits_of_checkpoints_that_are_gone_come_from_the_ledger(tmp_path, monkeypatch):
    make_release(tmp_path)
    (tmp_path / PLACES["receipt"]).unlink()
    ledger = tmp_path / "config/suites/locks/checkpoints.tsv"
    ledger.parent.mkdir()
    line = f"m\t1\t{'a' * 40}\tconfig.json\t3\t{'0' * 64}\n"
    ledger.write_text(f"model\tstep\tcommit\tfile\tsize\tsha256\n{line}")
    manifest = seal(tmp_path, monkeypatch, graph_of(tmp_path))
    assert manifest.ledger == (Revision("m", 1, "made/m", "step1", "a" * 40),)
    assert ledger.relative_to(tmp_path).as_posix() in [lock.path for lock in manifest.locks]


def test_commits_are_those_of_the_revisions_as_the_suite_calls_them(tmp_path, monkeypatch):
    suite = type("Suite", (), {"ledgers": ("config/suites/locks/own.tsv",)})
    monkeypatch.setattr(sealing, "load_suite", lambda name: suite)
    line = f"Amber\tckpt_007\t{'a' * 40}\tconfig.json\t3\t{'0' * 64}\n"
    ledger = tmp_path / "config/suites/locks/own.tsv"
    ledger.parent.mkdir(parents=True)
    ledger.write_text(f"model\tstep\tcommit\tfile\tsize\tsha256\n{line}")
    model = {"name": "Amber", "repository": "LLM360/Amber", "steps": [7, 8], "revisions": ["ckpt_006", "ckpt_007"]}
    resolved = {"suite": "amber", "models": [model], "steps": {"Amber": [8]}}
    assert sealing.ledger_of(resolved, tmp_path) == (Revision("Amber", 8, "LLM360/Amber", "ckpt_007", "a" * 40),)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_text("before")

    def read(file):
        file.write_text("while it is read")
        return "0" * 64

    monkeypatch.setattr(file_hashes, "sha256_file", read)
    with pytest.raises(StorageError, match="changes while it is read"):
        hash_files([("x", path)])


def test_a_file_with_two_names_is_read_once(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    read, original = [], sha256_file
    monkeypatch.setattr(file_hashes, "sha256_file", lambda path: read.append(path) or original(path))
    found = hash_files([("a", tmp_path / "a"), ("b", tmp_path / "b"), ("c", tmp_path / "c")])
    assert [(file.path, file.sha256) for file in found] == [(name, original(tmp_path / "a")) for name in "ab"]
    assert len(read) == 1


def row(path, status, plan, inputs="-"):
    return "\t".join((path, "-", "rule", "-", inputs, "cmd", status, plan))


def test_the_summary_of_snakemake_is_read(tmp_path):
    (tmp_path / "made").touch()
    rows = [row("made", "ok", "no update", "a,b"), row("gone", "missing", "no update")]
    lines = ["some words", "\t".join(COLUMNS), *rows, row("old", "missing", "update pending", "")]
    found = list(read_summary("\n".join(lines), tmp_path))
    assert [(each.path, each.state, each.inputs) for each in found] == [
        ("gone", State.GONE, ()), ("made", State.DONE, ("a", "b")), ("old", State.TO_DO, ()),
    ]  # fmt: skip
    with pytest.raises(PipelineError, match="other columns"):
        list(read_summary("output_file\tdate\n", tmp_path))


def test_a_folder_without_a_workflow_is_refused(tmp_path):
    from workflow_scripts.provenance.release.graph import outputs_of

    with pytest.raises(MissingInputError, match="has no Snakefile"):
        outputs_of({}, tmp_path)


def test_the_program_writes_the_manifest_and_prints_the_line(tmp_path, monkeypatch, capsys):
    graph = make_release(tmp_path)
    monkeypatch.setattr(sealing, "outputs_of", lambda settings, root: graph)
    monkeypatch.setattr(sealing, "stale_outputs", lambda results: [])
    seal_program.main(["--run", RUN, "--root", str(tmp_path)])
    manifest = read_manifest(tmp_path / f"results/runs/{RUN}/seal.json")
    assert capsys.readouterr().out == f"{manifest.line}\n"


KILLED = """
import os, pathlib, signal, sys
from pathlib import Path
from tests.provenance.release.made_release import RUN, graph_of
from workflow_scripts.provenance import seal
from workflow_scripts.provenance.release import sealing
folder = Path(sys.argv[1])
sealing.outputs_of = lambda settings, root: graph_of(folder)
sealing.stale_outputs = lambda results: []
def die(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)
{moment} = die
seal.main(["--run", RUN, "--root", str(folder), "--output", str(folder / "out" / "seal.json")])
"""


@pytest.mark.parametrize("moment", ["sealing.hashed", "seal.write_manifest", "os.fsync", "pathlib.Path.replace"])
def test_a_killed_seal_leaves_no_half_file_and_the_next_one_no_rest(tmp_path, monkeypatch, root, moment):
    make_release(tmp_path)
    command = [sys.executable, "-c", KILLED.format(moment=moment), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    target = tmp_path / "out" / "seal.json"
    assert not target.exists()
    seal_program.write_manifest(target, seal(tmp_path, monkeypatch, graph_of(tmp_path)))
    assert [path.name for path in target.parent.iterdir()] == ["seal.json"]
    read_manifest(target)
