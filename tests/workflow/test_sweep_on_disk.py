"""A sweep of 40 checkpoints with room for 4, through the real Snakemake, watched from outside and killed half-way."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from workflow_scripts.suite.registry import load_suite
from workflow_scripts.workflow.sweep import checkpoint_bytes

MODEL = load_suite("pythia").model("pythia-70m")
STEPS = MODEL.steps[:40]
ROOM = 4
# The real rules for fetching and releasing; scoring is a checksum that takes a moment.
SNAKEFILE = """
configfile: "{root}/config/config.yaml"
include: "{root}/rules/common.smk"
include: "{root}/rules/checkpoints.smk"

rule score_checkpoint:
    input:
        checkpoint=ancient(each_file("results/checkpoints/{{model}}/step{{step}}/{{file}}")),
        hashes="results/checkpoints/{{model}}/step{{step}}/sha256.txt",
    output: scores="results/scores/{{model}}/step{{step}}/0-shot.json"
    shell: "sha256sum {{input.checkpoint:q}} > {{output.scores:q}} && sleep 0.05"

rule sweep:
    input: layout.score_files(RUN), checkpoints.released(SWEEP)
"""


class Watcher(threading.Thread):
    """Counts the checkpoints on the disk again and again, and remembers which file each one was."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.most, self.over = folder, 0, threading.Event()
        # By inode alone: Snakemake sets the time of a job's outputs when it has ended.
        self.seen: dict[str, set[int]] = {}

    def scan(self) -> set[str]:
        found = set()
        for path in self.folder.glob("step*"):
            try:
                files = [*path.iterdir(), *path.glob(".incoming/*")]
            except FileNotFoundError:
                continue  # the folder was released since it was listed
            for weights in (file for file in files if file.name.startswith("model.safetensors")):
                found.add(path.name)
                try:
                    facts = weights.stat()
                except FileNotFoundError:
                    continue
                if weights.suffix == ".safetensors":
                    self.seen.setdefault(path.name, set()).add(facts.st_ino)
        return found

    def run(self) -> None:
        while not self.over.is_set():
            # What two scans in a row have seen was there in the moment between them.
            self.most = max(self.most, len(self.scan() & self.scan()))
            time.sleep(0.002)


@pytest.fixture
def place(root, tmp_path):
    """Working directory with a Snakefile and a mirror of 40 checkpoints."""
    from tests.checkpoints.checkpoint_mirror import TOKENIZER, write_revision

    for step in STEPS:
        files = {"model.safetensors": os.urandom(30_000), "config.json": b"{}", "tokenizer.json": TOKENIZER}
        files |= dict.fromkeys(("special_tokens_map.json", "tokenizer_config.json"), b"{}")
        write_revision(tmp_path / "mirror", MODEL.repository, f"step{step}", files)
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(root=root))
    return tmp_path


def start(place, root, *targets):
    budget = (ROOM + 0.5) * checkpoint_bytes(MODEL) / 1e9
    settings = ["suite=pythia", f"models=[{MODEL.name}]", f"steps=[{','.join(map(str, STEPS))}]", "shots=[0]"]
    settings += [
        "tasks=[]",
        "figures=[]",
        f"checkpoints={{source: mirror, location: mirror, disk_budget_gb: {budget}}}",
    ]
    command = [
        sys.executable,
        "-m",
        "snakemake",
        *targets,
        "sweep",
        "-c4",
        "--scheduler",
        "greedy",
        "--rerun-incomplete",
    ]
    command += ["--nolock", "--resources", "downloads=2", "--quiet", "all", "--config", *settings]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(
        command, cwd=place, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def scored(place):
    return list((place / "results/scores").rglob("0-shot.json"))


@pytest.mark.slow
def test_fault_53_a_sweep_keeps_its_budget_survives_a_kill_and_leaves_nothing_behind(place, root):
    """Forty checkpoints with room for four: never more are there, also across a kill, and none is fetched twice."""
    folder = place / f"results/checkpoints/{MODEL.name}"
    watcher = Watcher(folder)
    watcher.start()
    first = start(place, root)
    deadline = time.monotonic() + 120
    while len(scored(place)) < 15 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert first.poll() is None, first.stdout.read().decode()
    complete = {path.parent.name for path in folder.glob("step*/fetched.json")}
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert len(scored(place)) < len(STEPS)

    second = start(place, root)
    output, _ = second.communicate(timeout=180)
    watcher.over.set()
    watcher.join()

    assert second.returncode == 0, output.decode()
    assert len(scored(place)) == len(STEPS)
    assert 2 <= watcher.most <= ROOM
    kept = [f"step{STEPS[-1]}"]
    assert [path.name for path in folder.glob("step*")] == kept, "only the kept checkpoint is left"
    assert {path.stat().st_nlink for path in (folder / ".store/weights").iterdir()} == {2}
    assert complete, "the kill came while checkpoints were there"
    assert all(len(watcher.seen[name]) == 1 for name in complete), "none that was complete was fetched again"

    deleted, *others = sorted(scored(place))
    times = {path: path.stat().st_mtime_ns for path in others}
    deleted.unlink()
    third = start(place, root, str(deleted.relative_to(place)))
    output, _ = third.communicate(timeout=120)
    assert third.returncode == 0, output.decode()
    assert deleted.is_file()
    assert {path: path.stat().st_mtime_ns for path in others} == times, "a checkpoint scored anew drags no other along"
    assert [path.name for path in folder.glob("step*")] == kept
