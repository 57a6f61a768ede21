"""The ledger: its format, and filling it from a mirror, a Hub and real git over loopback."""

import hashlib
import os
import subprocess
import time

import pytest
from checkpoint_mirror import TOKENIZER, write_revision
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.fault_hub import Fault
from tests.storage.git_server import GitServer, git, pointer
from workflow_scripts import cli
from workflow_scripts.checkpoints.git_revisions import tree_entries
from workflow_scripts.checkpoints.ledger import main
from workflow_scripts.checkpoints.ledger_file import (
    EMPTY_NOTE,
    Ledger,
    Revision,
    format_ledger,
    parse_ledger,
    read_ledger,
)
from workflow_scripts.errors import DataError, PipelineError
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.suite.registry import load_suite

MODEL = load_suite("pythia").model("pythia-70m")
TOKEN = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ012345"
HEX = st.text("0123456789abcdef", min_size=40, max_size=40)
NAMES = st.from_regex(r"[a-z][a-z0-9._-]{0,10}[a-z]", fullmatch=True)
FILES = st.dictionaries(NAMES, st.tuples(st.integers(0, 10**12), HEX.map(lambda h: h + h[:24])), min_size=1, max_size=3)
KEYS = st.tuples(NAMES, st.one_of(st.just("main"), st.integers(0, 143_000).map(lambda n: f"step{n}")))


def entries(files):
    return tuple(sorted(FileEntry(path, size, sha) for path, (size, sha) in files.items()))


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(KEYS, st.tuples(HEX, FILES), max_size=6))
def test_a_ledger_survives_writing_and_reading(content):
    ledger = Ledger({key: Revision(commit, entries(files)) for key, (commit, files) in content.items()})
    assert parse_ledger(format_ledger(ledger), "x") == ledger


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=200))
def test_any_other_text_is_refused_with_one_line(text):
    try:
        assert parse_ledger(text, "x").revisions == {}
    except PipelineError as error:
        assert "x" in str(error)


GOOD = f"m\t8\t{'a' * 40}\tmodel.safetensors\t5\t{'b' * 64}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.replace("\t8\t", "\t08\t"), "neither a number nor the name"),
        (GOOD.replace("a" * 40, "abc"), "not 40 or 64 hexadecimal"),
        (GOOD.replace("model.safetensors", "../x"), "contains '..'"),
        (GOOD.replace("\t5\t", "\t-\t"), "required in a ledger"),
        (GOOD.replace("m\t8", "-m\t8"), "not the name of a model"),
        (GOOD + "\tx", "7 fields"),
        (GOOD + "\n" + GOOD, "lists model.safetensors twice"),
        (GOOD + "\n" + GOOD.replace("a" * 40, "c" * 40).replace("model.", "other."), "two commits"),
        ("\n".join([GOOD, GOOD.replace("\t8\t", "\t9\t"), GOOD]), "are not adjacent"),
    ],
)
def test_a_damaged_line_is_named(line, message):
    with pytest.raises(DataError, match=message):
        parse_ledger(format_ledger(Ledger()).replace(EMPTY_NOTE, line + "\n"), "ledger.tsv")


def test_the_ledger_of_the_suite_says_how_to_fill_it(root):
    path = root / "config/suites/locks/checkpoints.tsv"
    assert read_ledger(path).revisions or "ledger --suite" in path.read_text()


def update(path, source, location, *more):
    common = ["--suite", "pythia", "--models", MODEL.name, "--ledger", str(path), "--attempts", "3"]
    return cli.run(main, [*common, "--source", source, "--location", str(location), *more])


def files(key, size=2000):
    """Files of one revision: large weights that differ, small files that do not."""
    return {
        "model.safetensors": hashlib.shake_256(f"w{key}".encode()).digest(size),
        "config.json": b"{}",
        "tokenizer.json": TOKENIZER,
        "README.md": b"not part of a checkpoint",
    }


def expected(key):
    return {
        path: (len(content), hashlib.sha256(content).hexdigest())
        for path, content in files(key).items()
        if path != "README.md"
    }


def as_dict(revision):
    return {file.path: (file.size, file.sha256) for file in revision.files}


def test_from_a_mirror(tmp_path, caplog):
    for key in (0, 1, 143000):
        write_revision(tmp_path / "mirror", MODEL.repository, f"step{key}", files(key))
    write_revision(tmp_path / "mirror", MODEL.repository, "main", files("other"))
    assert update(tmp_path / "l.tsv", "mirror", tmp_path / "mirror") == 0
    ledger = read_ledger(tmp_path / "l.tsv")
    assert as_dict(ledger.get(MODEL.name, "step1")) == expected(1)
    assert set(ledger.of(MODEL.name)) == {"step0", "step1", "step143000", "main"}
    assert "step143000 and main differ in model.safetensors" in caplog.text
    assert "the suite lists step2, step4" in caplog.text


def publish_on_hub(hub, keys):
    for key in keys:
        hub.add(MODEL.repository, files(key), key if key == "main" else f"step{key}")


def test_from_the_hub_asks_once_for_branches_once_per_revision_and_once_per_small_content(fault_hub, tmp_path):
    publish_on_hub(fault_hub, [0, 1, 2, 4])
    assert update(tmp_path / "l.tsv", "hub", fault_hub.endpoint) == 0
    assert (fault_hub.count("/refs"), fault_hub.count("/revision/"), fault_hub.count("/resolve/")) == (1, 4, 2)
    assert as_dict(read_ledger(tmp_path / "l.tsv").get(MODEL.name, "step4")) == expected(4)
    assert update(tmp_path / "l.tsv", "hub", fault_hub.endpoint) == 0
    assert (fault_hub.count("/refs"), fault_hub.count("/revision/"), fault_hub.count("/resolve/")) == (2, 4, 2)


def test_an_interrupted_update_goes_on_where_it_stopped(fault_hub, tmp_path, monkeypatch, capfd):
    publish_on_hub(fault_hub, MODEL.steps[:40])
    fault_hub.faults["*"] = Fault(status=503, times=0)
    monkeypatch.setattr("workflow_scripts.storage.http.retry.RetryPolicy.seconds", lambda *arguments: 0.0)
    before = fault_hub.due

    def broken_later(path):
        fault_hub.faults["*"] = Fault(status=503 if fault_hub.count("/revision/") > 30 else 0)
        return before(path)

    monkeypatch.setattr(fault_hub, "due", broken_later)
    assert update(tmp_path / "l.tsv", "hub", fault_hub.endpoint) == 2
    assert "the Hub responded with 503" in capfd.readouterr().err
    assert len(read_ledger(tmp_path / "l.tsv").revisions) == 25
    monkeypatch.setattr(fault_hub, "due", lambda path: Fault())
    asked = fault_hub.count("/revision/")
    assert update(tmp_path / "l.tsv", "hub", fault_hub.endpoint) == 0
    assert fault_hub.count("/revision/") - asked == 15
    assert len(read_ledger(tmp_path / "l.tsv").revisions) == 40


def test_a_busy_hub_gets_its_pause(fault_hub, tmp_path):
    publish_on_hub(fault_hub, [0])
    fault_hub.faults["*"] = Fault(status=429, headers={"Retry-After": "1"}, times=1)
    started = time.monotonic()
    assert update(tmp_path / "l.tsv", "hub", fault_hub.endpoint) == 0
    assert time.monotonic() - started >= 0.9


def test_a_moved_branch_is_named_with_both_commits_and_taken_only_on_request(fault_hub, tmp_path, capfd, caplog):
    publish_on_hub(fault_hub, [0, 1])
    assert update(tmp_path / "l.tsv", "hub", fault_hub.endpoint) == 0
    before = (tmp_path / "l.tsv").read_bytes()
    old = read_ledger(tmp_path / "l.tsv").get(MODEL.name, "step1").commit
    new = fault_hub.add(MODEL.repository, files("changed"), "step1")
    assert update(tmp_path / "l.tsv", "hub", fault_hub.endpoint) == 2
    assert f"pythia-70m step1: moved from commit {old} to {new}" in caplog.text
    assert "1 branch(es) have moved" in capfd.readouterr().err
    assert (tmp_path / "l.tsv").read_bytes() == before
    assert update(tmp_path / "l.tsv", "hub", fault_hub.endpoint, "--when-moved", "accept") == 0
    assert as_dict(read_ledger(tmp_path / "l.tsv").get(MODEL.name, "step1")) == expected("changed")


def test_no_token_in_ledger_record_or_log(fault_hub, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    publish_on_hub(fault_hub, [0])
    assert update(tmp_path / "l.tsv", "hub", fault_hub.endpoint) == 0
    assert any(request.token for request in fault_hub.requests)
    assert all(TOKEN not in path.read_text() for path in tmp_path.iterdir() if path.is_file())
    assert TOKEN not in caplog.text + "".join(capfd.readouterr())


def import_revisions(root, revisions, repository=MODEL.repository):
    """Make a bare repository with a branch per revision by git fast-import; contents are stored once."""
    bare = root / f"{repository}.git"
    bare.mkdir(parents=True)
    git(bare, "init", "--bare", "--quiet", "--initial-branch=main")
    git(bare, "config", "uploadpack.allowFilter", "true")
    git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    stream = bytearray()
    for branch, content in revisions.items():
        stream += b"commit refs/heads/%s\ncommitter t <t@e> 0 +0000\ndata 1\nx\n" % branch.encode()
        for path, text in content.items():
            stream += b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(text), text)
    subprocess.run(["git", "-C", str(bare), "fast-import", "--quiet"], input=bytes(stream), check=True)


@pytest.fixture
def git_root(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return tmp_path / "git"


def as_pointers(key):
    content = files(key)
    large = content["model.safetensors"]
    return {**content, "model.safetensors": pointer(hashlib.sha256(large).hexdigest(), len(large))}


def test_154_revisions_of_real_git_in_less_than_five_seconds(git_root, tmp_path):
    tokenizer = hashlib.shake_256(b"t").digest(200_000)
    revisions = {f"step{step}": {**as_pointers(step), "tokenizer.json": tokenizer} for step in MODEL.steps}
    import_revisions(git_root, {**revisions, "main": revisions["step143000"], "unrelated": {"a": b"b"}})
    with GitServer(git_root) as server:
        started = time.monotonic()
        assert update(tmp_path / "l.tsv", "git-lfs", server.url + "/{repository}.git") == 0
        seconds = time.monotonic() - started
        assert server.count("/objects") == 0, "no large object is asked for"
    ledger = read_ledger(tmp_path / "l.tsv")
    assert len(ledger.revisions) == 155
    assert as_dict(ledger.get(MODEL.name, "step512"))["model.safetensors"] == expected(512)["model.safetensors"]
    assert as_dict(ledger.get(MODEL.name, "main"))["tokenizer.json"] == (
        len(tokenizer),
        hashlib.sha256(tokenizer).hexdigest(),
    )
    assert seconds < 5.0


def test_git_and_hub_and_mirror_tell_the_same_files(git_root, tmp_path, fault_hub):
    # Files of the trainer lie in a folder.
    nested = {"global_step8/configs/model.yml": b"heads: 8", "global_step8/mp_rank_00_model_states.pt": b"s" * 300}
    import_revisions(git_root, {"step8": {**as_pointers(8), **nested}})
    fault_hub.add(MODEL.repository, {**files(8), **nested}, "step8")
    write_revision(tmp_path / "mirror", MODEL.repository, "step8", {**files(8), **nested})
    with GitServer(git_root) as server:
        places = {"git-lfs": server.url + "/{repository}.git", "hub": fault_hub.endpoint, "mirror": tmp_path / "mirror"}
        for source, location in places.items():
            assert update(tmp_path / f"{source}.tsv", source, location) == 0
    told = [as_dict(read_ledger(tmp_path / f"{source}.tsv").get(MODEL.name, "step8")) for source in places]
    hashes = {path: (len(content), hashlib.sha256(content).hexdigest()) for path, content in nested.items()}
    assert told == [{**expected(8), **hashes}] * 3


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=120))
def test_a_damaged_tree_is_refused(content):
    try:
        assert all(len(blob) == 40 for _, _, blob in tree_entries(content))
    except DataError as error:
        assert "unreadable folder" in str(error)


NAMED = {"stage1-step8-tokens1B": 8, "stage1-step10-tokens1B": 10, "main": 11}
SUITE_OF_STAGES = """
suite: stages
organisation: org
tokenizer: {source: released, repository: org/big, vocab_size: 512}
recipe: {sequence_length: 128, batch_rows: 8, published_dtype: float32, layers: 1, hidden_size: 8, heads: 1}
sizes: {big: {}}
families:
  - {version: v1, name: "{size}", sizes: [big], steps: "8, 10", revision: "stage1-step{step}-tokens{tokens}B"}
"""


def test_branches_of_other_names_are_listed_by_their_names_from_every_source(
    git_root, tmp_path, fault_hub, monkeypatch, caplog
):
    (tmp_path / "stages.yaml").write_text(SUITE_OF_STAGES)
    monkeypatch.setattr("workflow_scripts.suite.registry.SUITES", tmp_path)
    load_suite.cache_clear()
    others = {"stage2-step8-tokens1B": 12, "step8": 13}
    import_revisions(git_root, {name: as_pointers(key) for name, key in {**NAMED, **others}.items()}, "org/big")
    for name, key in {**NAMED, **others}.items():
        fault_hub.add("org/big", files(key), name)
        write_revision(tmp_path / "mirror", "org/big", name, files(key))
    with GitServer(git_root) as server:
        places = {"git-lfs": server.url + "/{repository}.git", "hub": fault_hub.endpoint, "mirror": tmp_path / "mirror"}
        for source, location in places.items():
            words = ["--suite", "stages", "--source", source, "--location", str(location), "--attempts", "3"]
            assert cli.run(main, [*words, "--ledger", str(tmp_path / f"{source}.tsv")]) == 0
    load_suite.cache_clear()
    for source in places:
        found = read_ledger(tmp_path / f"{source}.tsv").of("big")
        assert {name: as_dict(revision) for name, revision in found.items()} == {
            name: expected(key) for name, key in NAMED.items()
        }
        assert list(found) == list(NAMED), "in order of their steps, main last"
    assert "stage1-step10-tokens1B and main differ in model.safetensors" in caplog.text
