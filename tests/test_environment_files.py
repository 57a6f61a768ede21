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
