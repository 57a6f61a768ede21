r"""Kill a pocket run again and again, each time another of its jobs, and show that nothing but time is lost.

A whole run is made undisturbed first. Then, round after round in a fresh folder, every job of the run is killed once:
SIGKILL to Snakemake's whole process group at a random moment of the job, so programs get no chance to tidy up. After
each kill the folder is freed as a user frees it (``suite.unlock``) and the same command goes on. At the end of a round
every file must be there, byte-equal to the undisturbed run; what may differ is listed in ``MAY_DIFFER`` with reasons.
The moments come from ``--seed``, so a failure can be asked for again, as far as a machine repeats itself.

Example:
  python -m tests.faults.crash_matrix --kills 100 --seed 0 --folder crash-matrix
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import DataError, PipelineError
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.hashing import sha256_file

ROOT = Path(__file__).resolve().parents[2]
LINKED = ("config", "rules", "envs", "Snakefile", "workflow_scripts", "profiles", "notebooks")
RUN = {
    "run": "small",
    "models": ["pocket-90k"],
    "steps": [0, 4],
    "shots": [0],
    "tasks": ["pocket_agreement"],
    "figures": ["scores_over_training", "loss_over_training"],
}
# The report says whether an audit was made, so the audit comes first: then two runs say the same.
EVERYTHING = (("audit", "quickstart", "results/data/pocket/standard/joined/pocket_text_document.bin"), ("all",))
TABLE = (("results/runs/small/tables/scores.csv",),)
PATIENCE = 3600.0  # seconds that one start of Snakemake may take on a loaded machine
POLL = 0.005


def drop_speeds(content: bytes) -> bytes:
    """Metrics of training without the columns that hold speeds."""
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    kept = [{key: value for key, value in row.items() if not key.endswith("_per_second")} for row in rows]
    return json.dumps(kept).encode()


def drop_costs(content: bytes) -> bytes:
    """A record without what the work cost, and without hashes and sizes of files that hold such numbers."""
    record = json.loads(content)
    for key in ("seconds", "peak_memory_bytes"):
        record.pop(key)
    for made in record["inputs"].values():
        if made["path"].startswith("results/") and exception(made["path"].removeprefix("results/")):
            made.pop("sha256")
    if record["output"] == "report.html":
        record.pop("output_sha256")
        record["parameters"].pop("bytes")
    return json.dumps(record, sort_keys=True).encode()


def drop_seconds(content: bytes) -> bytes:
    """The report without the column of seconds in its table of origins."""
    return re.sub(rb"<td>[\d.,]+ s</td>", b"", content)


# Everything below results/ must be byte-equal, but for these.
MAY_DIFFER: dict[str, tuple[str, Callable[[bytes], bytes] | None]] = {
    r"logs/.*": ("what was seen on the way, with speeds and retries", None),
    r"timings/.*": ("seconds and memory of each job", None),
    r".*\.record\.json": ("seconds and peak memory, and hashes of files listed here; the rest is compared", drop_costs),
    r"training/.*/metrics\.csv": ("tokens and FLOPs per second; the rest is compared", drop_speeds),
    r"\.run\.lock": ("names the run that used the folder last", None),
    r"training/\.[^/]+\.lock": ("left by a trainer that was killed while it held its folder", None),
    r"runs/[^/]*/report\.html": ("prints the seconds of the records; the rest is compared", drop_seconds),
}


class RunFailedError(PipelineError):
    """A run that was not killed ended with an error, or left something that differs."""


@dataclass
class Kill:
    """One kill: what was waited for, how long after its start it came, and which jobs were running then."""

    round: int
    job: str
    after: float
    running: list[str]


@dataclass
class Place:
    """A working directory that sees the project by links and has results of its own."""

    folder: Path
    durations: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the folder."""
        self.folder.mkdir(parents=True)
        for name in LINKED:
            (self.folder / name).symlink_to(ROOT / name)

    @property
    def results(self) -> Path:
        """Where everything is made."""
        return self.folder / "results"

    def start(self, targets: Sequence[str]) -> subprocess.Popen[bytes]:
        """Snakemake in a process group of its own; what it says is appended to ``snakemake.log``."""
        settings = [f"{key}={json.dumps(value)}" for key, value in RUN.items()]
        options = ["-c1", "--scheduler", "greedy", "--rerun-incomplete", "--show-failed-logs", "--config", *settings]
        with (self.folder / "snakemake.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "snakemake", *targets, *options],
                cwd=self.folder,
                env=environment(),
                start_new_session=True,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def unlock(self) -> None:
        """Give the folder free as ``make unlock`` does."""
        command = [sys.executable, "-m", "workflow_scripts.workflow.tools.unlock"]
        done = subprocess.run(command, cwd=self.folder, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RunFailedError(f"unlocking failed: {done.stderr}")

    def finish(self, targets: Sequence[str]) -> None:
        """Run undisturbed until the end; raises RunFailedError."""
        self.require_success(self.start(targets))

    def require_success(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a run that nobody kills."""
        if process.wait(timeout=PATIENCE) != 0:
            said = (self.folder / "snakemake.log").read_text(errors="replace")[-3000:]
            raise RunFailedError(f"{self.folder}: Snakemake ended with {process.returncode}: {said}")

    def jobs(self) -> dict[str, float]:
        """Jobs that have run, by the path of their log, and the seconds each took."""
        logs = self.results / "logs"
        return {str(path.relative_to(logs)): self.seconds(path.relative_to(logs)) for path in logs.rglob("*.log")}

    def seconds(self, job: Path) -> float:
        """What Snakemake's benchmark of a job says; one second where a rule has none."""
        table = (self.results / "timings" / job).with_suffix(".tsv")
        return float(table.read_text().splitlines()[-1].split("\t")[0]) if table.is_file() else 1.0


def environment() -> dict[str, str]:
    """One thread a program, so that a loaded machine changes no bit."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def running_jobs(group: int, logs: Path) -> list[str]:
    """Jobs in the process group whose log is open: their standard output is the log of their rule."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(entry.name)) == group:
                found.add((entry / "fd" / "1").readlink())
        except OSError:
            continue  # it ended meanwhile
    return sorted(str(path.relative_to(logs)) for path in found if path.is_relative_to(logs) and path.suffix == ".log")


def wait_for(process: subprocess.Popen[bytes], logs: Path, wanted: set[str]) -> str | None:
    """The first of ``wanted`` that runs, or None when the run ended."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None:
        if found := [job for job in running_jobs(process.pid, logs) if job in wanted]:
            return found[0]
        if time.monotonic() > deadline:
            raise RunFailedError(f"no job started within {PATIENCE:.0f} s")
        time.sleep(POLL)
    return None


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the whole process group, and wait until all of it is gone."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    try:
        while True:
            os.killpg(process.pid, 0)
            time.sleep(POLL)
    except ProcessLookupError:
        return


def killed_round(number: int, place: Place, reference: Place, stages: Sequence[Sequence[str]], plan: Plan) -> None:
    """Make everything in ``place`` while each job of ``plan`` is killed once."""
    wanted = set(plan.jobs)
    for targets in stages:
        while True:
            process = place.start(targets)
            job = wait_for(process, place.results / "logs", wanted)
            if job is None:
                place.require_success(process)
                break
            after = plan.random.uniform(0.0, reference.durations[job])
            time.sleep(after)
            running = running_jobs(process.pid, place.results / "logs")
            kill(process)
            wanted.discard(job)
            plan.kills.append(Kill(number, job, round(after, 3), running))
            place.unlock()


@dataclass
class Plan:
    """Which jobs are killed in a round, the random numbers, and the kills so far."""

    jobs: list[str]
    random: random.Random
    kills: list[Kill]


def differences(reference: Path, other: Path) -> Iterator[str]:
    """Files that are missing, extra or different; those of ``MAY_DIFFER`` are compared as it says there."""
    ours, theirs = files_of(reference), files_of(other)
    yield from (f"missing: {path}" for path in sorted(ours - theirs))
    yield from (f"extra: {path}" for path in sorted(theirs - ours))
    yield from (f"differs: {path}" for path in sorted(ours & theirs) if not equal(path, reference, other))


def files_of(results: Path) -> set[str]:
    """Paths of all files below ``results`` that are compared."""
    paths = (str(path.relative_to(results)) for path in results.rglob("*") if path.is_file())
    return {path for path in paths if exception(path) is None or exception(path)[1] is not None}


def exception(path: str) -> tuple[str, Callable[[bytes], bytes] | None] | None:
    """Reason why a file may differ, and how it is compared all the same."""
    return next((value for pattern, value in MAY_DIFFER.items() if re.fullmatch(pattern, path)), None)


def equal(path: str, reference: Path, other: Path) -> bool:
    """True when a file is the same in both, but for what may differ."""
    if sha256_file(reference / path) == sha256_file(other / path):
        return True
    listed = exception(path)
    if listed is None or listed[1] is None:
        return False
    return listed[1]((reference / path).read_bytes()) == listed[1]((other / path).read_bytes())


def matrix(folder: Path, kills: int, seed: int, stages: Sequence[Sequence[str]]) -> list[Kill]:
    """Kill ``kills`` times; raises RunFailedError when a rerun does not complete or an output is another one."""
    reference = Place(folder / "undisturbed")
    for targets in stages:
        reference.finish(targets)
    reference.durations = reference.jobs()
    plan = Plan([], random.Random(seed), [])
    while len(plan.kills) < kills:
        number = 1 + max((each.round for each in plan.kills), default=0)
        names = sorted(reference.durations)
        plan.jobs = plan.random.sample(names, min(len(names), kills - len(plan.kills)))
        place = Place(folder / f"round{number}")
        before = len(plan.kills)
        killed_round(number, place, reference, stages, plan)
        if len(plan.kills) == before:
            raise RunFailedError(f"round {number} ended before anything could be killed")
        if wrong := list(differences(reference.results, place.results)):
            raise RunFailedError(f"round {number}: {len(wrong)} files are not as in the undisturbed run: {wrong[:20]}")
        cli.say(f"round {number}: {len(plan.kills) - before} kills, all {len(files_of(place.results))} files equal")
        shutil.rmtree(place.folder)
    return plan.kills


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments, kill, and write what was killed when."""
    parser = cli.parser(__doc__)
    parser.add_argument("--kills", type=int, default=100, help="kills in all")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--folder", type=Path, required=True, help="a new folder to work in, of about 60 MB")
    parser.add_argument("--only-table", action="store_true", help="stop at the table of scores, which is faster")
    options = parser.parse_args(arguments)
    if options.folder.exists():
        raise DataError(f"{options.folder}: is there already; choose a new folder")
    stages = TABLE if options.only_table else EVERYTHING
    kills = matrix(options.folder.resolve(), options.kills, options.seed, stages)
    write_json(options.folder / "kills.json", [vars(each) for each in kills])
    rules = Counter(each.job.split("/")[0] for each in kills)
    cli.say("\n".join(f"{rule:24}{count:>4}" for rule, count in sorted(rules.items())))
    inside = sum(each.job in each.running for each in kills)
    cli.say(f"{len(kills)} kills of {len(rules)} rules, {inside} inside the job; all reruns equal the undisturbed run")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
