"""Faults 38 and 47 to 60, of runs and their configuration: each injected for real, most with a real Snakemake."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.faults.running import ROOT, SMALL, error_line, make_place, run, snakemake, started
from workflow_scripts.errors import ConfigError, PipelineError, UnknownNameError
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml, parse_yaml
from workflow_scripts.training.run.training_log import read_metrics
from workflow_scripts.workflow.tools import check

SLOW_RULE = """
rule all:
    input: "done.txt"
rule work:
    output: "done.txt"
    shell: "{python} -m slow_program {{output}} > work.log 2>&1"
"""
SLOW_PROGRAM = """
import sys, time
from pathlib import Path
from workflow_scripts.storage.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    Path("started.txt").write_text("")
    while not Path("go.txt").exists():
        time.sleep(0.01)
    temporary.write_text("whole")
"""
TOKENS = "results/corpus/pocket/standard.idx"


@pytest.fixture
def default() -> dict[str, object]:
    return load_yaml(ROOT / "config" / "config.yaml")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return make_place(tmp_path / "place")


def wait_until(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def wait_until_gone(process: int) -> None:
    deadline = time.monotonic() + 120
    while Path(f"/proc/{process}/cwd").exists():
        assert time.monotonic() < deadline, f"process {process} did not end"
        time.sleep(0.01)


def test_fault_38_step_names_of_the_4m_batch_models_are_not_taken_for_iterations() -> None:
    """The v0 models of 4M-token batches name twice the trainer's iterations: the suite's table says so per model, so
    step 1000 of one is iteration 500, its last iteration is 71,500, and a step between two iterations is refused."""
    suite = load_suite("pythia")
    halved = [model for model in suite.models.values() if model.hub_steps_per_iteration == 2]
    assert halved
    assert all(model.batch_rows == 2048 and model.train_iterations == 71_500 for model in halved)
    assert [halved[0].step(hub).iteration for hub in (1000, 143_000)] == [500, 71_500]
    with pytest.raises(ConfigError, match="no checkpoint at step 500"):
        halved[0].select_steps("500")


@pytest.mark.slow
def test_fault_47_kill_9_of_snakemake_alone(place: Path) -> None:
    """The job outlives its Snakemake and still writes a whole file; a second start says in one line that the folder is
    locked and that `make unlock` releases the lock; after that the same command completes."""
    (place / "Snakefile").unlink()
    (place / "Snakefile").write_text(SLOW_RULE.format(python=sys.executable))
    (place / "slow_program.py").write_text(SLOW_PROGRAM)
    with started(place, "snakemake", "-c1", "--quiet", "all") as first:
        wait_until(place / "started.txt")
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    again = snakemake(place, "--rerun-incomplete", "--logger", "brief")
    assert again.returncode == 1
    assert "`make unlock` releases the lock" in again.stderr
    assert "Error: Directory cannot be locked" not in again.stderr
    (place / "go.txt").write_text("")
    wait_until(place / "done.txt")
    assert (place / "done.txt").read_text() == "whole"
    freed = run(place, "workflow_scripts.workflow.tools.unlock")
    assert freed.returncode == 0, freed.stderr
    assert snakemake(place, "--rerun-incomplete").returncode == 0
    assert not list(place.glob(".done*"))


@pytest.mark.slow
def test_fault_47_a_training_that_outlives_its_snakemake(place: Path) -> None:
    """The trainer goes on when its Snakemake is killed: unlocking refuses and names it, a second trainer in the folder
    is refused by its lock, a lost login makes it write a checkpoint and end, and the same run then ends with every step
    once in its metrics."""
    run_json = "results/training/pocket-90k/run.json"
    settings = ("--rerun-incomplete", run_json, "--config", *SMALL)
    with started(place, "snakemake", "-c1", "--quiet", "all", *settings) as first:
        wait_until(place / "results/training/pocket-90k/.state/step16/state.json")
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        trainer = json.loads((place / "results/training/.pocket-90k.lock").read_text())["pid"]
        freed = run(place, "workflow_scripts.workflow.tools.unlock")
        assert freed.returncode == 2
        assert (
            f"a program of a run is active here (process {trainer}, workflow_scripts.training.retrain" in freed.stderr
        )
        os.kill(trainer, signal.SIGHUP)
        wait_until_gone(trainer)
    assert run(place, "workflow_scripts.workflow.tools.unlock").returncode == 0
    assert snakemake(place, *settings).returncode == 0
    assert len(read_metrics(place / "results/training/pocket-90k/metrics.csv")) == 600


@pytest.mark.slow
def test_fault_48_a_second_run_in_the_same_folder(place: Path) -> None:
    """While a run is alive a second one is refused by the process that holds the folder, and unlocking is refused too;
    the first run is not disturbed."""
    (place / "Snakefile").unlink()
    head = 'configfile: "config/config.yaml"\ninclude: "rules/common.smk"\n'
    (place / "Snakefile").write_text(head + SLOW_RULE.format(python=sys.executable))
    (place / "slow_program.py").write_text(SLOW_PROGRAM)
    with started(place, "snakemake", "-c1", "--quiet", "all") as first:
        wait_until(place / "started.txt")
        for options in (["--ask"], []):
            asked = run(place, "workflow_scripts.workflow.tools.unlock", *options)
            assert asked.returncode == 2
            assert f"a run is active here (process {first.pid} on " in asked.stderr
            assert "stop it" in asked.stderr
        second = snakemake(place)
        assert second.returncode == 2
        assert f"a run is active here (process {first.pid} on " in second.stderr
        assert ", started 20" in second.stderr
        assert "Traceback" not in second.stderr
        (place / "go.txt").write_text("")
        first.communicate(timeout=120)
        assert first.returncode == 0
    assert (place / "done.txt").read_text() == "whole"


@pytest.mark.slow
def test_fault_49_commands_in_wildcards_and_configuration(place: Path) -> None:
    """A target or a value that holds a shell command: wildcards are limited to known names and every value is quoted or
    refused by the schema, so nothing of it runs."""
    target = "results/scores/pocket-90k;touch pwned;/step0/0-shot.json"
    refused = snakemake(place, target, "--config", *SMALL)
    assert refused.returncode == 2
    assert "unknown model of run small 'pocket-90k;touch pwned;'; did you mean 'pocket-90k'?" in refused.stderr
    for setting in ("run=a;touch pwned", "models=[pocket-90k;touch pwned]", "tasks=[$(touch pwned)]"):
        assert snakemake(place, "-n", "--config", *SMALL, setting).returncode != 0, setting
    hostile = "x';touch pwned;'`touch pwned`$(touch pwned)"
    (place / "mirror" / hostile).mkdir(parents=True)
    source = f'dataset={{source: mirror, location: "mirror/{hostile}"}}'
    index = "pocket_text_document.idx"
    words = (f"results/data/pocket/standard/raw/{index}", "--config", *SMALL, source)
    asked = snakemake(place, *words)
    assert asked.returncode == 2, "there is no data set in that mirror, which is said before the first job"
    assert hostile in asked.stderr
    (place / "mirror" / hostile / "datasets" / "pocket" / "pocket_idxmaps").mkdir(parents=True)
    done = snakemake(place, *words)
    assert done.returncode == 1, "the data set is there without its files, which the job finds"
    log = (place / f"results/logs/download_dataset_file/pocket-standard-{index}.log").read_text()
    assert f"are missing, first '{index}'" in log
    assert not list(place.rglob("pwned"))


# What stands in a command without quotes: numbers, and names from lists that this project keeps.
NUMBERS = {
    "threads", "resources.gpu", "wildcards.step", "wildcards.shots", "wildcards.first", "wildcards.stop",
    "params.documents", "params.iterations", "params.seed", "params.shards", "params.vocab_size", "params.bootstrap",
    "params.length", "params.limit", "params.shots", "params.steps", "params.keep", "params.start",
}  # fmt: skip
NAMES = {
    "wildcards.model", "wildcards.suite", "wildcards.organisation", "wildcards.part", "wildcards.repository",
    "wildcards.figure", "params.engine", "params.device", "params.dtype", "params.protocol", "params.renewal",
    "params.task", "params.kind", "params.figures", "params.benchmarks", "params.training",
}  # fmt: skip


def test_fault_49_every_value_in_a_rule_is_quoted() -> None:
    """Whatever a rule puts into its command is quoted for the shell, or is a number or a name from a fixed list."""
    loose = [
        f"{path.name}: {{{field}}}"
        for path in sorted((ROOT / "rules").glob("*.smk"))
        for field in re.findall(r"\{([a-z_]+(?:\.[a-z_]+)?)(?:\[[^]]*\])?\}", command_text(path))
        if field not in NUMBERS | NAMES
    ]
    assert loose == [], "quote it with :q, or show here that it is a number or a checked name"


def command_text(path: Path) -> str:
    """The shell commands of a file of rules."""
    commands = re.findall(r"\n( +)shell:\n((?:\1    .*\n)+)", path.read_text(encoding="utf-8"))
    return "".join(text for _, text in commands)


@pytest.mark.parametrize(
    "command",
    [
        ["workflow_scripts.workflow.tools.check", "--config"],
        ["workflow_scripts.workflow.plan", "--config"],
        ["snakemake", "-n", "--configfile"],
    ],
    ids=lambda command: command[0],
)
def test_fault_50_yaml_bomb(tmp_path: Path, command: list[str]) -> None:
    """Nine aliases of nine aliases, nine deep: refused in under ten CPU-seconds and 1.5 GB, before anything is built.
    Make's targets read a configuration this way first, and so does our logger before Snakemake reads it."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("\n".join(lines))
    limits = [(resource.RLIMIT_AS, 3 << 29), (resource.RLIMIT_CPU, 20)]
    done = run(ROOT, *command, str(bomb), limits=limits)
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert "after expanding its aliases (*name)" in said[0]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shots: [0]\nshots: [5]\n", "duplicate key"),
        ("models: no\n", "models: expected a list or text, not false"),
        ("shots: [1:30]\n", "did you mean|maximum|expected|90"),
        ("steps: 12_000\n", "line 1: YAML reads 12_000 as 12000; write the number in plain decimal digits"),
        ("run: !!python/object/apply:os.system [touch pwned]\n", "could not determine a constructor"),
        ("overrides: {pocket-1m: {learning_rate: .nan}}\n", "learning_rate"),
        ("overrides: {pocket-1m: {learning_rate: .inf}}\n", "learning_rate"),
    ],
)
def test_fault_51_traps_of_yaml(default: dict[str, object], text: str, message: str) -> None:
    """Keys that stand twice, `no` for False, sexagesimal and underscored numbers, tags that run code, NaN: each is
    refused by name instead of meaning something that nobody wrote."""
    with pytest.raises(PipelineError, match=message):
        load_run({**default, **parse_yaml(text, "trap.yaml")})


def test_fault_51_a_number_with_an_exponent_is_a_number(default: dict[str, object]) -> None:
    """`1e-3` is text in YAML 1.1; here it is the number it looks like."""
    text = "overrides: {pocket-1m: {learning_rate: 1e-3}}\n"
    for changes in (parse_yaml(text, "run.yaml"), yaml.safe_load(text)):  # ours and, in this, Snakemake's
        assert load_run({**default, **changes}).suite.model("pocket-1m").learning_rate == 0.001


@pytest.mark.slow
def test_fault_52_values_on_the_command_line(place: Path) -> None:
    """Snakemake hands `--config` values over as text: lists and numbers are read as the schema wants them; a key that
    does not exist is refused in one line with the nearest right one."""
    planned = snakemake(place, "-n", "--quiet", "all", "--config", *SMALL, "steps=[0,1]", "shots=0")
    assert planned.returncode == 0, planned.stderr
    for setting, message in (("step=1", "did you mean 'steps'"), ("xyz=1", "unknown key 'xyz'")):
        wrong = snakemake(place, "-n", "--config", setting)
        assert wrong.returncode != 0
        assert "Traceback" not in wrong.stderr
        assert [line for line in wrong.stderr.splitlines() if line.startswith("error: ") and message in line], setting


def test_fault_54_a_job_that_outgrows_its_memory(tmp_path: Path) -> None:
    """Nothing here enforces a rule's `mem_mb` (Slurm does, tests/cluster): a program that is refused memory ends in one
    line that says which number to raise, and leaves no half-written output."""
    program = tmp_path / "hungry.py"
    program.write_text(
        "from pathlib import Path\nfrom workflow_scripts import cli\n"
        "from workflow_scripts.storage.atomic import atomic_path\n"
        "def main(arguments):\n"
        "    with atomic_path(Path('out.bin')) as part:\n        part.write_bytes(bytes(1 << 33))\n"
        "raise SystemExit(cli.run(main))\n"
    )
    done = run(tmp_path, "hungry", limits=[(resource.RLIMIT_AS, 1 << 30)])
    assert done.returncode == 2
    assert done.stderr.startswith("error: out of memory; ")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


@pytest.mark.parametrize(
    ("module", "option", "name"),
    [
        ("dataset.make_view", "--idx", "x.idx"),
        ("dataset.tokenize_corpus", "--corpus", "x.jsonl"),
        ("dataset.train_tokenizer", "--corpus", "x.jsonl"),
        ("evaluation.collect", "--run", "run.json"),
        ("evaluation.audit_scores", "--scores", "scores.parquet"),
        ("storage.verify", "--lock", "lock.tsv"),
        ("report.draw", "--run", "run.json"),
    ],
)
def test_fault_55_an_empty_file_where_an_output_should_be(
    tmp_path: Path, module: str, option: str, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The step before left an empty file: the next program refuses it in one line and writes nothing. Outputs are
    checked by their readers, so no rule needs Snakemake's `ensure`."""
    import importlib

    (tmp_path / name).touch()
    rest = {
        "dataset.make_view": ["--bin", "x.bin", "--output", "out"],
        "dataset.tokenize_corpus": ["--tokenizer", "t.json", "--append-eod", "--output-prefix", "out"],
        "dataset.train_tokenizer": ["--vocab-size", "300", "--output", "out"],
        "evaluation.collect": ["--scores-dir", ".", "--output", "out"],
        "evaluation.audit_scores": ["--output", "out"],
        "storage.verify": ["--folder", ".", "--receipt", "out"],
        "report.draw": [
            "--figure", "loss_over_training", "--tables", ".", "--output-dir", "out",
        ],
    }[module]  # fmt: skip
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        main = importlib.import_module(f"workflow_scripts.{module}").main
        assert error_line(main, [option, name, *rest], lambda: capfd.readouterr().err)
    finally:
        os.chdir(before)
    assert not any(path.name.startswith("out") for path in tmp_path.iterdir())


def test_fault_56_no_rule_hides_a_failure_in_a_pipe(tmp_path: Path) -> None:
    """A command that fails before a pipe fails the rule, because Snakemake's shell runs with pipefail; and no rule of
    ours has a pipe, a `;` or a `||`: each is one program whose exit code counts."""
    (tmp_path / "Snakefile").write_text('rule all:\n    output: "x"\n    shell: "false | cat > {output}"\n')
    assert snakemake(tmp_path).returncode == 1
    assert not (tmp_path / "x").exists()
    for path in (ROOT / "rules").glob("*.smk"):
        text = command_text(path)
        assert not re.search(r"[|;]|&(?!1)", text), path


def make_wheel(folder: Path) -> Path:
    """The smallest installable wheel."""
    wheel = folder / "victim-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("victim.py", "")
        archive.writestr("victim-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: victim\nVersion: 1.0\n")
        archive.writestr(
            "victim-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            "victim-1.0.dist-info/RECORD",
            "victim.py,,\nvictim-1.0.dist-info/METADATA,,\nvictim-1.0.dist-info/WHEEL,,\n",
        )
    return wheel


@pytest.mark.slow
def test_fault_57_a_package_whose_content_changed(tmp_path: Path) -> None:
    """A registry serves other bytes under a locked name and version: pip, called as bootstrap.py calls it, refuses; and
    every requirement of every lock has a hash."""
    wheel = make_wheel(tmp_path)
    good = hashlib.sha256(wheel.read_bytes()).hexdigest()
    base = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(tmp_path), "--no-deps"]
    for digest, code in ((good, 0), ("0" * 64, 1)):
        (tmp_path / "x.lock").write_text(f"victim==1.0 --hash=sha256:{digest}\n")
        target = ["--require-hashes", "-r", str(tmp_path / "x.lock"), "--target", str(tmp_path / digest[:8])]
        done = subprocess.run([*base, *target], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
    assert "do not match the hashes" in done.stderr.lower()
    assert '"--require-hashes"' in (ROOT / "bootstrap.py").read_text(encoding="utf-8")
    for lock in (ROOT / "envs").glob("*.lock"):
        wanted = re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", lock.read_text(encoding="utf-8")))
        assert all("--hash=sha256:" in each for each in wanted if "==" in each.split("\n")[0]), lock.name


def test_fault_58_no_archive_is_unpacked() -> None:
    """Archives can write outside their folder (Python 3.11's tarfile does by default): none of our programs opens one,
    so there is nothing to escape from."""
    unpackers = {"tarfile", "py7zr", "rarfile"}
    for path in (ROOT / "workflow_scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not unpackers & {name.split(".")[0] for name in names}, path
            assert not (isinstance(node, ast.Attribute) and node.attr in ("unpack_archive", "extractall", "ZipFile")), (
                path
            )


def test_fault_59_a_login_node_whose_slurm_is_dead(tmp_path: Path) -> None:
    """The Slurm plugin asks scontrol when it is imported and waits ten seconds where no controller answers: it is in no
    environment but the one made with `--with slurm`, and a default run starts no program of Slurm."""
    for name in ("base", "torch-cpu", "torch-cuda", "dev"):
        assert "slurm" not in (ROOT / "envs" / f"{name}.lock").read_text(encoding="utf-8"), name
    place, called = make_place(tmp_path / "place"), tmp_path / "called"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("scontrol", "squeue", "sbatch", "sacct", "sinfo"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >> {called}\nsleep 10\nexit 1\n")
        (programs / name).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = snakemake(place, "-n", "--quiet", "all", "--config", *SMALL, PATH=path)
    assert done.returncode == 0, done.stderr
    assert not called.exists()


@pytest.mark.slow
def test_fault_60_spaces_quotes_and_other_alphabets_in_the_path(tmp_path: Path) -> None:
    """The working directory is called `it's a "däta" 数据 $HOME`: the stages up to the tokens run there, and the bytes
    are those made elsewhere. The crash matrix runs the rest of a run in such a folder."""
    odd = make_place(tmp_path / 'it\'s a "däta" 数据 $HOME')
    done = snakemake(odd, TOKENS, "--config", *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    plain = make_place(tmp_path / "plain")
    assert snakemake(plain, TOKENS, "--config", *SMALL).returncode == 0
    for name in ("standard.idx", "standard.bin", "standard.jsonl", "tokenizer.json"):
        made = [folder / "results/corpus/pocket" / name for folder in (odd, plain)]
        assert made[0].read_bytes() == made[1].read_bytes(), name


def test_fault_60_a_configuration_in_another_alphabet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration file with a name and comments in other alphabets is read; a wrong key in it is named."""
    path = tmp_path / "конфигурация ü.yaml"
    path.write_text("# 配置\nschritte: 1\n", encoding="utf-8")
    with pytest.raises(UnknownNameError, match="schritte"):
        check.load_run_file(path)
