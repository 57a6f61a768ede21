"""Every way of starting says the same: each mistake gives the same line however Snakemake is started.

The profiles for Slurm are tried without the keys of its plugin, so with Snakemake's local executor: what a run says is
decided by the logger that they name. The tests in tests/cluster run them on a real Slurm.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.running import ROOT, environment, file_system, make_place

pytestmark = pytest.mark.slow

SNAKEMAKE = [sys.executable, "-m", "snakemake"]
WAYS = {
    "plain": [*SNAKEMAKE, "-c2"],
    "local": [*SNAKEMAKE, "--workflow-profile", "profiles/local"],
    "slurm": [*SNAKEMAKE, "--profile", "slurm", "--retries", "0"],
    "slurm-offline": [*SNAKEMAKE, "--workflow-profile", "slurm-offline", "--retries", "0"],
    "make": ["make", "--no-print-directory", "demo", "CONFIG=run.yaml"],
}
SMALL = """
run: small
models: [pocket-90k]
steps: [0, 1]
shots: [0]
tasks: [pocket_agreement]
figures: []
"""
CORPUS = "results/corpus/pocket"
# What is wrong in run.yaml, or None for what is wrong in the folder; the line that each way prints; and its exit codes:
# 2 for what is refused before a job starts, 1 (Snakemake's own) or make's 2 for what a job meets.
MISTAKES = {
    "missing data": (
        "suite: books\ncorpus: {path: nowhere.jsonl}\ncheckpoints: {source: retrain}\n",
        r"error: corpus nowhere\.jsonl: no such file; put the text there or set it with .*",
        {2},
    ),
    "bad key": (
        f"{SMALL}stepz: 1\n",
        r"error: config: top level: unknown key 'stepz'; did you mean 'steps'\?",
        {2},
    ),
    "bad YAML": (
        f"{SMALL}checkpoints: {{source: retrain\nexperiments: []\n",
        r"error: run\.yaml: line 9: expected ',' or '\}', but got ':'",
        {2},
    ),
    "failing job": (
        SMALL,
        rf"  error: {CORPUS}/standard\.jsonl: is a folder, expected a file",
        {1, 2},
    ),
    "full disk": (
        SMALL,
        r"error: \.snakemake: the disk is full; free some space and rerun",
        {1, 2},
    ),
}


def prepare_make(place: Path) -> None:
    """A Makefile whose targets set nothing up: the environment is the one that the tests run in."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (place / "Makefile").write_text(re.sub(r"(?m)^setup: .*\n\t.*\n", "setup:\n", text))
    (place / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "snakemake"):
        (place / ".venv" / "bin" / name).symlink_to(Path(sys.executable).parent / name)


def prepare_profile(place: Path, name: str) -> None:
    """The shipped profile ``name`` without what needs Slurm, in ``place``."""
    text = (ROOT / "profiles" / name / "profile.v9+.yaml").read_text(encoding="utf-8")
    (place / name).mkdir()
    (place / name / "profile.v9+.yaml").write_text(re.sub(r"(?m)^(executor|slurm-[a-z-]+):.*\n", "", text))


def start(place: Path, way: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Start the run of run.yaml in ``place``."""
    more = ["CONFIG=run.yaml"] if way == "make" else ["--configfile", "run.yaml"]
    command = [*WAYS[way], *more]
    return subprocess.run(
        command, cwd=place, env=environment(**changes), text=True, capture_output=True, check=False, timeout=240
    )


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """An empty folder; on a disk of its own, which has no block left when the run starts, where that is the mistake."""
    if request.node.callspec.params["mistake"] != "full disk":
        return tmp_path
    return request.getfixturevalue("small_disk")


@pytest.fixture
def small_disk(tmp_path: Path):
    with file_system(tmp_path / "disk", "size=256k") as folder:
        yield folder


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_the_same_line_in_every_way_of_starting(mistake: str, way: str, disk: Path) -> None:
    """Nothing else that looks like an error is said, and never a traceback."""
    place = make_place(disk / "place")
    content, line, codes = MISTAKES[mistake]
    (place / "run.yaml").write_text(content)
    if way == "make":
        prepare_make(place)
    if way.startswith("slurm"):
        prepare_profile(place, way)
    if mistake == "failing job":
        (place / CORPUS / "standard.jsonl" / "x").mkdir(parents=True)
    if mistake == "full disk":
        fill(disk)
    done = start(place, way)
    assert done.returncode in codes, done.stderr
    said = done.stderr.splitlines()
    assert [text for text in said if re.fullmatch(r" *error: .*", text)] == [
        text for text in said if re.fullmatch(line, text)
    ], done.stderr
    assert len([text for text in said if re.fullmatch(line, text)]) == 1, done.stderr
    assert not re.search(r"Traceback|CalledProcessError|Errno|message: None", done.stderr), done.stderr
    if mistake == "failing job":
        assert "FAILED generate_corpus suite=pocket" in said


def fill(disk: Path) -> None:
    """Write until no block is left; names of empty files can still be made."""
    with (disk / "rest").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            os.fsync(file.fileno())


def test_a_home_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    """Snakemake keeps a cache in the home: where none can be made, the line names the variable."""
    place = make_place(tmp_path / "place")
    (place / "run.yaml").write_text(SMALL)
    done = start(place, "plain", HOME="/proc/nowhere", XDG_CACHE_HOME="")
    assert done.returncode == 1
    assert "error: /proc/nowhere: no such file or folder; set HOME, which is /proc/nowhere, to a folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_number_without_a_dot_is_one_for_snakemake_too(tmp_path: Path) -> None:
    """`learning_rate: 1e-3` is text for Snakemake's reader of YAML."""
    place = make_place(tmp_path / "place")
    (place / "run.yaml").write_text(f"{SMALL}overrides: {{pocket-90k: {{learning_rate: 1e-3}}}}\n")
    command = [*SNAKEMAKE, "-n", "results/training/pocket-90k/recipe.json", "--configfile", "run.yaml"]
    done = subprocess.run(command, cwd=place, env=environment(), text=True, capture_output=True, check=False)
    assert "expected a number" not in done.stderr
    assert "error: " not in done.stderr
