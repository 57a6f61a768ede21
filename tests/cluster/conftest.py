"""A Slurm for the tests of this folder, and Snakemake on it."""

import fcntl
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cluster.slurm_testbed import SlurmTestbed, reason_to_skip

PLUGIN = "snakemake_executor_plugin_slurm"
# The plugin asks scontrol when it is imported and waits ten seconds where no controller answers, so it is not part of
# the environment that everything else uses. `make setup-cluster-tests` puts it here.
PLUGIN_FOLDER = ".slurm-plugins"


@pytest.fixture(scope="session")
def plugin_folder(root):
    """Folder with the Slurm plugin; empty where the environment holds it itself."""
    if importlib.util.find_spec(PLUGIN):
        return ""
    if not (root / PLUGIN_FOLDER / PLUGIN).is_dir():
        pytest.skip(f"the Slurm plugin is not in {PLUGIN_FOLDER}: make setup-cluster-tests")
    return str(root / PLUGIN_FOLDER)


@pytest.fixture
def slurm(plugin_folder):
    """A running Slurm with partitions cpu and gpu; tests of several processes take turns, it comes up in a second."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    testbed = SlurmTestbed(Path(tempfile.mkdtemp(prefix="slurm-")))
    with (Path(tempfile.gettempdir()) / "slurm-testbed.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            testbed.start()
            yield testbed
        finally:
            testbed.stop()


@pytest.fixture
def place(root, tmp_path):
    """A working directory that sees the project by links, and a folder of the user's own with the profiles linked."""
    for name in ("config", "rules", "envs", "Snakefile", "workflow_scripts", "profiles"):
        (tmp_path / name).symlink_to(root / name)
    return tmp_path


@pytest.fixture
def snakefile(place):
    """Function that writes the Snakefile of a drill."""

    def write(text):
        (place / "Snakefile").unlink()
        (place / "Snakefile").write_text(text)

    return write


@pytest.fixture
def start_program(root, place, slurm, plugin_folder):
    """Function that starts a command in ``place``, where the profiles are linked, and returns the process."""
    started = []
    folders = [str(root), str(root / "workflow_scripts" / "snakemake_plugins"), plugin_folder]
    environment = {
        **slurm.environment,
        "XDG_CONFIG_HOME": str(place / "configuration"),
        "PYTHONPATH": os.pathsep.join(filter(None, folders)),
    }
    link = [sys.executable, "-m", "workflow_scripts.workflow.tools.link_profiles"]
    subprocess.run(link, check=True, env=environment, cwd=place)

    def start(*command):
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started.append(subprocess.Popen(command, cwd=place, env=environment, text=True, **streams))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def start_snakemake(start_program):
    """Function that starts ``snakemake --profile slurm`` with more arguments in ``place``, and returns the process."""

    def start(*arguments, program=("snakemake", "--profile", "slurm")):
        return start_program(sys.executable, "-m", *program, *arguments)

    return start
