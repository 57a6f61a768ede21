"""Make cheap things again, tables from scores and figures from tables, and compare them byte for byte.

A record says by which program and arguments an output was made. The program is looked up in a fixed list, its arguments
are held to the options that the list allows and to plain relative paths, and it runs in an empty folder into which
those files of the release are copied that are what was sealed. So nothing in a release names a program, and nothing
outside that folder is read or written by name: a copy shares nothing with the release, as a link would. Only outputs of
one rule are made in one run, never those of its inputs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts import ROOT
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.provenance.release.file_hashes import copied
from workflow_scripts.provenance.release.manifest import Manifest, Output
from workflow_scripts.provenance.release.release_findings import Part
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.lockfile import path_fault
from workflow_scripts.suite.layout import run_folder

SHORT = 12
LONGEST = 600  # seconds of one program
COPIED = 8 << 20  # bytes of a file that a record does not name
NOT_HERE = "is made from files that are not here"
NOT_AGAIN = "lies in the folder of the run and is not made again: its record names no program that is"
# Where a run keeps what an option names. A record that names another place tells of other numbers than those that are
# sampled; results/runs/<run> is written "own".
KEPT: Mapping[str, str] = {
    "--run": r"own/run\.json", "--run-dir": "own", "--results": "results", "--scores-dir": "results/scores",
    "--plans": r"results/plans/.+", "--tables-dir": "own/tables",
    "--tables": r"own/tables/[^/]+|results/training/[^/]+/metrics\.csv",
    "--scores": r"own/tables/[^/]+", "--logs": r"results/training/[^/]+/metrics\.csv", "--output-dir": "own/figures",
}  # fmt: skip


@dataclass(frozen=True)
class Program:
    """A program that makes cheap outputs: its module and the options it may get.

    Jobs of one rule that differ in the values of ``lists`` alone are run as one, with the values of all.
    """

    module: str
    options: frozenset[str]
    lists: frozenset[str] = frozenset()


def program(module: str, options: str, lists: str = "") -> Program:
    """A program by the words of its options."""
    return Program(f"workflow_scripts.{module}", frozenset(f"--{name}" for name in options.split()),
                   frozenset(f"--{name}" for name in lists.split()))  # fmt: skip


# By the name that records have; a name is used once in the package.
CHEAP: Mapping[str, Program] = {
    "collect.py": program("evaluation.collect", "run scores-dir plans output"),
    "audit_scores.py": program("evaluation.audit_scores", "scores output"),
    "import_results.py": program("published.import_results", "source output files refused defects"),
    "compare.py": program("published.compare", "scores published output"),
    "memorization.py": program("experiments.memorization", "run results tables-dir"),
    "predictability.py": program("experiments.predictability", "run results published tables-dir"),
    "interventions.py": program("experiments.interventions", "run results published tables-dir"),
    "term_frequency.py": program("experiments.term_frequency", "run results tables-dir"),
    "seeds.py": program("experiments.seeds", "run results plans training-map tables-dir"),
    "scaling.py": program("experiments.scaling", "run logs scores tables-dir"),
    "trace_effect.py": program("experiments.traces.trace_effect", "run results traces tables-dir"),
    "join_dynamics.py": program("experiments.dynamics.join_dynamics", "run results tables-dir"),
    "draw.py": program("report.draw", "figure run tables output-dir", lists="figure tables"),
    "build.py": program("report.build", "run run-dir figures inputs configfiles output"),
}


@dataclass
class Job:
    """One run of a program: its arguments by option, the outputs it should make, and the files it may read."""

    program: Program
    arguments: dict[str, list[str]]
    outputs: list[Output] = field(default_factory=list)
    inputs: set[str] = field(default_factory=set)

    def values(self) -> set[str]:
        """Values of all its arguments."""
        return {value for each in self.arguments.values() for value in each}

    def words(self) -> list[str]:
        """The command line behind the interpreter."""
        return ["-m", self.program.module, *(word for name, each in self.arguments.items() for word in (name, *each))]


def parsed(command: Sequence[object], allowed: Program) -> dict[str, list[str]] | None:
    """Arguments by option; None where an option is not allowed or a value is no plain relative path or name."""
    found: dict[str, list[str]] = {}
    values: list[str] | None = None
    for word in map(str, command[1:]):
        head, equals, joined = word.partition("=")
        if word.startswith("--"):
            if head not in allowed.options or head in found:
                return None
            values = found[head] = [joined] if equals else []
        elif values is None:
            return None
        else:
            values.append(word)
    return None if any(path_fault(value) for each in found.values() for value in each) else found


def misplaced(arguments: Mapping[str, Sequence[str]], run: str) -> str:
    """The first option with a value that is not where a run keeps such things, with the value; empty without one.

    >>> misplaced({"--run": ["results/runs/a/run.json"], "--scores-dir": ["results/other"]}, "a")
    '--scores-dir results/other'
    """
    own = re.escape(run_folder(run))
    places = {name: re.compile(place.replace("own", own)) for name, place in KEPT.items()}
    values = ((name, value) for name, each in arguments.items() if name in places for value in each)
    return next((f"{name} {value}" for name, value in values if not places[name].fullmatch(value)), "")


def jobs_of(manifest: Manifest, records: Mapping[str, JsonMapping], part: Part) -> list[Job]:
    """Jobs that make cheap outputs again; what cannot be asked for is entered in ``part``."""
    found: dict[str, Job] = {}
    for output in manifest.outputs:
        record = records.get(output.record or "")
        allowed = CHEAP.get(str(record["command"][0])) if record and record["command"] else None
        if record is None or allowed is None:
            continue
        arguments = parsed(record["command"], allowed)
        if arguments is None:
            part.leave(output.path, "its record has arguments that are not those of the rule")
            continue
        if elsewhere := misplaced(arguments, manifest.run):
            part.leave(output.path, f"is made from or at another place than a run's own: {elsewhere}")
            continue
        fixed = {name: each for name, each in arguments.items() if name not in allowed.lists}
        job = found.setdefault(f"{output.rule} {allowed.module} {fixed}", Job(allowed, fixed))
        job.outputs.append(output)
        for name in allowed.lists & arguments.keys():
            job.arguments[name] = list(dict.fromkeys([*job.arguments.get(name, ()), *arguments[name]]))
        job.inputs |= {str(entry["path"]) for entry in record["inputs"].values()}
    return list(found.values())


@dataclass
class Rederivation:
    """``places`` says where the files lie that are here and are what was sealed.

    Notes that ``part`` has from the start say what is other here than where it was sealed.
    """

    manifest: Manifest
    places: Mapping[str, Path]
    part: Part
    compared: set[str] = field(default_factory=set)

    def run(self, records: Mapping[str, JsonMapping]) -> Part:
        """Run every job, two at a time, and compare."""
        sealed = {file.path for file in self.manifest.files()}
        ready = []
        for job in jobs_of(self.manifest, records, self.part):
            needed = (job.inputs | (job.values() & set(self.read_by(job, sealed)))) & sealed
            if needed <= self.places.keys():
                ready.append(job)
            else:
                self.leave(job)
        small = set(self.small())
        with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
            for job, (made, last) in zip(ready, pool.map(self.made, ready), strict=True):
                if last and not set(self.read_by(job, sealed)) <= small | job.inputs | job.values():
                    self.leave(job)  # of a folder that it was given, something is not here, or too large to copy
                else:
                    self.compare(job, made, last)
        self.leave_others()
        return self.part

    def leave_others(self) -> None:
        """Enter what readers take numbers from and no job made: other tables and figures of the run."""
        own = run_folder(self.manifest.run)
        done = self.compared | {finding.subject for finding in self.part.unchecked} | {f"{own}/run.json"}
        for output in self.manifest.outputs:
            if output.path not in done and output.path.startswith(f"{own}/"):
                self.part.leave(output.path, NOT_AGAIN)

    def leave(self, job: Job) -> None:
        """Enter the outputs of a job that cannot be run."""
        for output in job.outputs:
            self.part.leave(output.path, NOT_HERE)

    def read_by(self, job: Job, paths: Iterable[str]) -> Iterator[str]:
        """Of ``paths`` those that a job may read: what its arguments name, but nothing that its own rule makes."""
        words, own = job.values(), self.made_by_rule(job)
        for path in paths:
            folders = path.split("/")
            if path not in own and any("/".join(folders[:end]) in words for end in range(1, len(folders) + 1)):
                yield path

    def made_by_rule(self, job: Job) -> set[str]:
        """Outputs of the rule of a job, with their records."""
        rules = {output.rule for output in job.outputs}
        made = [output for output in self.manifest.outputs if output.rule in rules]
        return {path for output in made for path in (output.path, output.record) if path}

    def small(self) -> list[str]:
        """Files of which a job that is given their folder gets copies, though its record does not name them."""
        return [path for path, place in self.places.items() if place.stat().st_size <= COPIED]

    def made(self, job: Job) -> tuple[dict[str, str], str]:
        """sha256 of what a job makes, by path, and what it said last if it failed."""
        read = {file.path for file in self.manifest.inputs} | job.inputs
        read |= job.values() & set(self.read_by(job, self.places))
        wanted = {*self.read_by(job, self.small()), *((read & self.places.keys()) - self.made_by_rule(job))}
        with copied({path: self.places[path] for path in wanted}) as folder:
            said = started(job.words(), folder)
            files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
            return {name: sha256_file(path) for name, path in files.items() if name not in wanted}, said

    def compare(self, job: Job, made: Mapping[str, str], said: str) -> None:
        """Hold what was made to what was sealed: the job's outputs, and others of its rule that it made too."""
        expected = {output.path: output.sha256 for output in job.outputs}
        rules = {output.rule for output in job.outputs}
        also = {each.path: each.sha256 for each in self.manifest.outputs if each.rule in rules and each.path in made}
        reason = "; code or libraries here are others than those of the seal" if self.part.notes else ""
        for path, sha256 in sorted({**also, **expected}.items()):
            self.compared.add(path)
            if path not in made:
                self.part.hold(path, False, f"cannot be made again from what was sealed: {said or 'nothing was made'}")
            else:
                text = f"made again it has sha256 {made[path][:SHORT]}, sealed is {sha256[:SHORT]}{reason}"
                self.part.hold(path, made[path] == sha256, text)


def started(words: Sequence[str], folder: Path) -> str:
    """Run Python with ``words`` in ``folder``; returns its last line of complaint, empty when it succeeded."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    environment = {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=folder, env=environment, capture_output=True, text=True, errors="replace", timeout=LONGEST, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done after {LONGEST} s"
    if not done.returncode:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
