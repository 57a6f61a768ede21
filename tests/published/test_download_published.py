"""The original results from a git server on loopback: downloaded at a commit, imported, held to what is known."""

import json
import os
import shutil

import pytest

from tests.storage.git_server import GitServer, publish
from workflow_scripts.published.import_results import main as import_results
from workflow_scripts.published.results_table import read_table
from workflow_scripts.storage.download import main as download
from workflow_scripts.suite.layout import UPSTREAM, UPSTREAM_RECEIPT
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.published import published_source, source_arguments, upstream_arguments

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
RECIPE = b'{"num-layers": 6, "hidden-size": 512, "num-attention-heads": 7}\n'


def result(step, right):
    share = right / 1000
    config = {"model": "hf-causal", "model_args": f"pretrained=EleutherAI/pythia-v1.1-70m,revision=step{step}",
              "num_fewshot": 0, "batch_size": 2, "limit": None}  # fmt: skip
    results = {"sciq": {"acc": share, "acc_stderr": (share * (1 - share) / 999) ** 0.5}}
    return json.dumps({"results": results, "versions": {"sciq": 0}, "config": config}).encode()


FOLDER = "evals/pythia-v1/pythia-70m/zero-shot"
FIRST = {f"{FOLDER}/70m_step{step}.json": result(step, 200 + step // 1000) for step in (0, 1000, 3000)}
FILES = FIRST | {"models/70M/pythia-70m.yml": RECIPE, "README.md": b"not asked for\n"}


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "git").mkdir()
    with GitServer(tmp_path / "git") as server:
        yield server


def arguments_of_the_rule(root, location, commit):
    """What the rules would pass, from a run's configuration."""
    config = load_yaml(root / "config" / "config.yaml") | load_yaml(root / "config" / "runs" / "published.yaml")
    run = load_run(config | {"published": {"repository": location, "commit": commit}})
    assert published_source(run) == UPSTREAM_RECEIPT
    return upstream_arguments(run), source_arguments(run)


def test_results_are_downloaded_at_a_commit_and_imported(server, root, tmp_path, monkeypatch):
    commit = publish(server.root, "EleutherAI/pythia", {}, FILES)
    changed = {f"{FOLDER}/70m_step1000.json": result(1000, 999)}
    publish(server.root, "EleutherAI/pythia", {}, changed)  # main moves on; the pinned commit is what counts
    where, imported = arguments_of_the_rule(root, f"{server.url}/EleutherAI/pythia.git", commit)
    monkeypatch.chdir(tmp_path)
    download(["--source", "git-lfs", *where, "--kind", "dataset", "--repository", "EleutherAI/pythia", "--include",
              "evals/*", "models/*.yml", "--output-dir", UPSTREAM, "--receipt", UPSTREAM_RECEIPT])  # fmt: skip
    receipt = json.loads((tmp_path / UPSTREAM_RECEIPT).read_text())
    assert receipt["commit"] == commit
    assert {file["path"] for file in receipt["files"]} == set(FILES) - {"README.md"}
    known = imported.index("--expected") + 1
    imported[known] = str(root / imported[known])
    import_results([*imported, "--output", "published.parquet"])
    frame = read_table(tmp_path / "published.parquet")
    assert {(row.model, row.step): round(row.value * 1000) for row in frame.itertuples()} == {
        ("pythia-70m", 0): 200, ("pythia-70m", 1000): 201, ("pythia-70m", 3000): 203}  # fmt: skip
    defects = (tmp_path / "published.defects.tsv").read_text()
    assert "70M/pythia-70m.yml: num-attention-heads 7, the model has 8" in defects
    assert "not-the-known-files\t3 of 1830 known files are changed" in defects
    assert "not-the-known-files\t1827 of 1830 known files are missing" in defects


def test_a_folder_that_is_a_mirror_works_without_a_server(server, root, tmp_path, monkeypatch):
    publish(server.root, "EleutherAI/pythia", {}, FILES)
    where, _ = arguments_of_the_rule(root, str(server.root / "EleutherAI" / "pythia.git"), None)
    monkeypatch.chdir(tmp_path)
    download(["--source", "git-lfs", *where, "--kind", "dataset", "--repository", "EleutherAI/pythia", "--include",
              "evals/*", "models/*.yml", "--output-dir", UPSTREAM, "--receipt", UPSTREAM_RECEIPT])  # fmt: skip
    assert (tmp_path / UPSTREAM / FOLDER / "70m_step0.json").read_bytes() == FIRST[f"{FOLDER}/70m_step0.json"]
    assert not server.requests


def test_a_whole_checkout_is_known_as_one(tmp_path, root):
    for path, content in FILES.items():
        (tmp_path / "pythia" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pythia" / path).write_bytes(content)
    import_results(["--source", str(tmp_path / "pythia"), "--output", str(tmp_path / "p.parquet")])
    assert len(read_table(tmp_path / "p.parquet")) == 3
    assert "num-attention-heads 7" in (tmp_path / "p.defects.tsv").read_text()
