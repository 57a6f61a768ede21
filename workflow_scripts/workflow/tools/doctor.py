"""Say what this machine has and lacks for the workflow: one line per point, with the remedy where one is known.

Exit code 0 when the pocket suite can run here, 2 when something it needs is missing. Tokens are never shown.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import ROOT, cli
from workflow_scripts.errors import ConfigError, PipelineError
from workflow_scripts.git_process import run_git
from workflow_scripts.workflow.requests import slurm_facts
from workflow_scripts.workflow.requests.cluster_site import place_of_site, read_site
from workflow_scripts.workflow.requests.partition_fit import groups_of_profile, report_of_site
from workflow_scripts.workflow.requests.site_checks import disagreements, refused_users
from workflow_scripts.workflow.resources import JobResources
from workflow_scripts.workflow.tools.check import DEFAULT, load_run_file
from workflow_scripts.workflow.tools.link_profiles import search_folder

POCKET_DISK_GB = 2
POCKET_MEMORY_GB = 4
OLD_LOCK_DAYS = 180


@dataclass(frozen=True)
class Finding:
    """One point of the check: ``ok``, ``missing`` (needed for the pocket suite) or ``note``."""

    state: str
    subject: str
    detail: str


def check_python() -> Finding:
    """The interpreter and whether it is the pinned environment's."""
    inside = Path(sys.prefix).name == ".venv"
    detail = (
        f"{platform.python_version()} in {'the pinned environment' if inside else 'an environment other than .venv'}"
    )
    return Finding("ok" if inside else "note", "python", detail)


def check_torch() -> Finding:
    """The torch build and the GPUs it sees."""
    if importlib.util.find_spec("torch") is None:
        return Finding("missing", "torch", "is not installed; run: python3 bootstrap.py")
    import torch

    version = importlib.metadata.version("torch")
    if not torch.cuda.is_available():
        return Finding("ok", "torch", f"{version}, no GPU (enough for the pocket and books runs)")
    names = sorted({torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())})
    return Finding("ok", "torch", f"{version}, {torch.cuda.device_count()} GPU: {', '.join(names)}")


def check_cores_and_memory() -> Finding:
    """Processors and memory."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    state = "ok" if gigabytes >= POCKET_MEMORY_GB else "note"
    return Finding(state, "machine", f"{os.cpu_count()} cores, {gigabytes:.0f} GB memory")


def check_disk() -> Finding:
    """Free disk where results are written."""
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    state = "ok" if free >= POCKET_DISK_GB else "missing"
    return Finding(state, "disk", f"{free:.0f} GB free here; the pocket run takes about {POCKET_DISK_GB} GB at most")


def check_program(name: str, use: str) -> Callable[[], Finding]:
    """Check for an optional program on PATH."""

    def check() -> Finding:
        found = shutil.which(name)
        return Finding("ok" if found else "note", name, use if found else f"not on PATH; only needed for {use}")

    return check


def check_token() -> Finding:
    """Whether a Hub token is configured; its value is never read into a message."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    present = "HF_TOKEN" in os.environ or (home / "token").is_file()
    return Finding("note", "Hub token", "present" if present else "none; the Pythia repositories are public")


def check_slurm() -> Finding:
    """Whether this machine talks to a Slurm controller that remembers ended jobs long enough."""
    if not shutil.which("sinfo"):
        return Finding("note", "slurm", "not on this machine; only needed for profiles/slurm")
    settings = slurm_facts.ask(*slurm_facts.SETTINGS)
    age = slurm_facts.job_age(settings)
    if age is None:
        return Finding("note", "slurm", f"installed, but no controller answered in {slurm_facts.SILENCE:.0f} seconds")
    if age < slurm_facts.LEAST_JOB_AGE:
        advice = "squeue misses jobs that end between two looks; set slurm-status-command: sacct, or ask for 120"
        return Finding("note", "slurm", f"MinJobAge is {age} s: {advice}")
    return Finding("ok", "slurm", f"answers; MinJobAge {age} s")


def check_site() -> list[Finding]:
    """Whether the site's file says what the cluster says, where this machine belongs to one."""
    path = place_of_site()
    seen = slurm_facts.partitions_seen(slurm_facts.ask(*slurm_facts.NODES), slurm_facts.ask(*slurm_facts.PARTITIONS))
    if path is None or not seen:
        return []
    try:
        site = read_site(path)
    except PipelineError as error:
        return [Finding("note", "site", str(error))]
    lines = [*disagreements(site, {each.name: each for each in seen}), *refused_users(site, seen)]
    said = [Finding("note", "site", f"{path}: {line}") for line in lines]
    return said or [Finding("ok", "site", f"{path}: {len(site.partitions)} partitions, as the cluster has them")]


def check_requests(config: Path) -> list[Finding]:
    """Jobs of a run that no partition takes, where this machine belongs to a cluster."""
    if not shutil.which("sinfo"):
        return []
    run = load_run_file(config)
    asked = JobResources(run, groups=groups_of_profile())
    return [Finding("note", "requests", line) for line in report_of_site(run, asked)]


def check_locks() -> Finding:
    """Whether the environment is the locks' present state, and how old the locks are."""
    locks = ROOT / "envs" / "base.lock"
    answer = run_git(ROOT, "log", "-1", "--format=%ct", "--", str(locks), timeout=30)
    written = float(answer.stdout.strip() or locks.stat().st_mtime)
    days = int((time.time() - written) / 86400)
    advice = "; make lock updates them" if days > OLD_LOCK_DAYS else ""
    return Finding("note" if advice else "ok", "locks", f"{days} days old{advice}")


def check_profiles() -> Finding:
    """Whether ``snakemake --profile slurm`` finds the profiles of this checkout."""
    place = search_folder() / "slurm"
    if place.resolve() == ROOT / "profiles" / "slurm":
        return Finding("ok", "profiles", f"linked in {place.parent}")
    return Finding("note", "profiles", "not linked; run make setup-slurm, or use --workflow-profile profiles/slurm")


def check_slurm_plugin() -> Finding:
    """Whether Snakemake can submit to Slurm from this environment."""
    found = importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None
    return Finding(
        "ok" if found else "note", "slurm plugin", "installed" if found else "not installed: make setup-slurm"
    )


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_torch,
    check_cores_and_memory,
    check_disk,
    check_program("git-lfs", "data sets with source git-lfs; our own client is used instead"),
    check_program("chromium", "the browser tests"),
    check_token,
    check_locks,
    check_slurm,
    check_slurm_plugin,
    check_profiles,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every check and print what was found."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT, help="run whose requests are held to the site's file")
    options = parser.parse_args(arguments)
    findings = [check() for check in CHECKS] + check_site() + check_requests(options.config)
    for finding in findings:
        cli.say(f"{finding.state:8}{finding.subject:14}{finding.detail}")
    missing = [finding.subject for finding in findings if finding.state == "missing"]
    if missing:
        raise ConfigError(f"missing for the pocket suite: {', '.join(missing)}")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
