"""Graph and jobs run the code of the Snakefile's folder; any other start is refused in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.checkout import require_place, use_code_of

PARTS = ("config", "rules", "workflow_scripts", "envs", "notebooks")
PLUGINS = "workflow_scripts/snakemake_plugins"
# What the graph has loaded is printed; a job says what it would load with nothing but PYTHONPATH to go by.
WHOSE = """
sys.stderr.write(f"graph: {workflow_scripts.workflow.planning_process.__file__}\\n")


rule whose:
    output:
        "whose.txt",
    shell:
        "python -P -c 'import workflow_scripts; print(workflow_scripts.__file__)' > {output:q}"
"""


@pytest.fixture(scope="module")
def copied(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second checkout, in a folder with spaces and other alphabets."""
    folder = tmp_path_factory.mktemp("second") / "it's a chéckout 数据"
    for name in PARTS:
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "rules/report.smk").open("a", encoding="utf-8") as last:
        last.write(WHOSE)
    shutil.copy(root / "Snakefile", folder / "Snakefile")
    (folder / "below").mkdir()
    return folder


def snakemake(folder: Path, *arguments: str, python: tuple[str, ...] = ("-m", "snakemake"), first: Path):
    """Snakemake started in ``folder`` by an environment whose package is that of ``first``; that of ``folder`` is last.

    Where the folder is on the path already, Snakemake does not put it first.
    """
    return subprocess.run(
        [sys.executable, "-P", *python, *arguments, "--quiet", "rules"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (first, first / PLUGINS, folder)))},
        capture_output=True,
        text=True,
        check=False,
    )


def one_line(outcome: subprocess.CompletedProcess[str]) -> str:
    """The only line that was said, of a start that was refused."""
    assert outcome.returncode == 2, outcome.stderr
    assert outcome.stderr.count("\n") == 1, outcome.stderr
    return outcome.stderr


def test_graph_and_jobs_are_those_of_the_folder_of_the_snakefile(root: Path, copied: Path) -> None:
    outcome = snakemake(copied, "whose.txt", "-c1", first=root)
    assert outcome.returncode == 0, outcome.stderr
    assert f"graph: {copied / 'workflow_scripts/workflow/planning_process.py'}\n" in outcome.stderr
    assert (copied / "whose.txt").read_text() == f"{copied / 'workflow_scripts/__init__.py'}\n"


def test_code_that_was_loaded_before_is_refused(root: Path, copied: Path) -> None:
    start = ("-c", "import sys, workflow_scripts, snakemake.cli; snakemake.cli.main(sys.argv[1:])")
    said = one_line(snakemake(copied, "-n", python=start, first=root))
    assert f"loaded the code in {root / 'workflow_scripts'}, not that of {copied}" in said


def test_from_elsewhere_and_from_below_it_is_one_line(copied: Path, tmp_path: Path) -> None:
    for folder, name in ((tmp_path, str(copied / "Snakefile")), (copied / "below", "../Snakefile")):
        said = one_line(snakemake(folder, "-n", "-s", name, first=copied))
        assert said.startswith(f"error: started in {folder}, but the paths of this workflow are relative to {copied};")
    done = snakemake(tmp_path, "-n", "-s", str(copied / "Snakefile"), "--directory", str(copied), first=copied)
    assert done.returncode == 0, done.stderr
    without = snakemake(copied / "below", "-n", first=copied)
    assert without.returncode == 1
    assert (without.stdout + without.stderr).startswith("Error: No Snakefile found")
    assert (without.stdout + without.stderr).count("\n") == 1


def test_a_link_to_the_checkout_will_do(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(copied)
    outcome = snakemake(tmp_path / "link", "-n", first=copied)
    assert outcome.returncode == 0, outcome.stderr


def test_a_folder_that_sees_code_and_configuration_by_links_will_do(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="started in"):
        require_place(tmp_path, root)
    (tmp_path / "config").symlink_to(root / "config")
    (tmp_path / "workflow_scripts").mkdir()  # Python would import this one
    with pytest.raises(ConfigError, match="started in"):
        require_place(tmp_path, root)
    (tmp_path / "workflow_scripts").rmdir()
    (tmp_path / "workflow_scripts").symlink_to(root / "workflow_scripts")
    require_place(tmp_path, root)


def test_a_folder_with_an_unchanged_copy_of_the_configuration_will_do(root: Path, tmp_path: Path) -> None:
    """As in the unit tests that Snakemake generates; code comes from the checkout."""
    shutil.copytree(root / "config", tmp_path / "config")
    require_place(tmp_path, root)
    suite = tmp_path / "config/suites/pocket.yaml"
    suite.write_text(suite.read_text().replace("seed: ", "seed: 1", 1))
    with pytest.raises(ConfigError, match="started in"):
        require_place(tmp_path, root)
    suite.unlink()
    with pytest.raises(ConfigError, match="started in"):
        require_place(tmp_path, root)


def test_own_code_comes_first_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"/a{os.pathsep}/own{os.pathsep}{os.pathsep}/b")
    use_code_of(Path("/own"))
    assert os.environ["PYTHONPATH"].split(os.pathsep) == ["/own", "/a", "/b"]
    with pytest.raises(ConfigError, match="rename the folder"):
        use_code_of(Path("/o:wn"))
