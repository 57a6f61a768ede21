"""The recipes for other kinds of environments say the same as the locks."""

import importlib.util
import re

import yaml

PLUGIN = "snakemake-executor-plugin-slurm"


def test_the_conda_file_is_what_the_locks_say(root):
    spec = importlib.util.spec_from_file_location("compile_locks", root / "envs" / "compile_locks.py")
    compile_locks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compile_locks)
    text = (root / "envs" / "conda.yaml").read_text()
    assert text == compile_locks.conda_file(), "run: make lock"
    packages = yaml.safe_load(text)["dependencies"][2]["pip"]
    locked = re.findall(r"^([a-z0-9-]+==[^ ]+)", (root / "envs" / "base.lock").read_text(), re.MULTILINE)
    assert [line.split(" ")[0] for line in packages[: len(locked)]] == locked
    assert any(line.startswith("torch==") for line in packages)


def test_the_images_are_built_from_the_locks_by_the_same_program(root):
    for name in ("Dockerfile", "apptainer.def"):
        text = (root / "envs" / name).read_text()
        assert "bootstrap.py --with" in text
        assert "pip install" not in text
        assert (root / "workflow_scripts/snakemake_plugins").is_dir()
    assert f"{PLUGIN}==" in (root / "envs" / "slurm.lock").read_text()


def test_everything_that_the_images_copy_and_install_exists(root):
    docker = (root / "envs" / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (\S+) \S+$", docker, re.MULTILINE)
    files = re.search(r"%files\n((?: +.*\n)+)", (root / "envs" / "apptainer.def").read_text())
    copied += [line.split()[0] for line in files[1].splitlines()]
    assert len(copied) >= 7
    assert [name for name in copied if not (root / name).exists()] == []
    extras = re.findall(r"EXTRAS=(\w+)", docker + (root / "envs" / "apptainer.def").read_text())
    builds = re.findall(r"ARG TORCH=(\w+)|^ +TORCH=(\w+)", docker + (root / "envs" / "apptainer.def").read_text(), re.M)
    locks = {*extras, *(f"torch-{a or b}" for a, b in builds), "build", "base"}
    assert [name for name in locks if not (root / "envs" / f"{name}.lock").is_file()] == []
    # Instructions that Docker knows, each line but continuations and comments.
    known = {"FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "ENTRYPOINT"}
    lines = re.sub(r"\\\n", " ", docker).splitlines()
    assert {line.split()[0] for line in lines if line and not line.startswith("#")} == known
