r"""Coverage-guided fuzzing of the readers in targets.py, by atheris; one target for some seconds, or each in its turn.

What makes a reader raise anything but our own errors, take more than 2 GB or more than 20 seconds is written to
fuzz-findings/ and ends the program with the target's name. Memory is limited by the fuzzer, time per input too.

Example:
  python -m tests.fuzz.guided --minutes 10
  python -m tests.fuzz.guided --target idx --seconds 30
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
FINDINGS = "fuzz-findings"


def seeded(name: str, seeds: Sequence[bytes], folder: Path) -> Path:
    """Folder with the seeds of a target as files."""
    corpus = folder / name
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / f"{number}").write_bytes(seed)
    return corpus


def fuzz(name: str, seconds: int, seed: int, runs: int) -> None:
    """Fuzz one target in this process with at most ``runs`` inputs (-1: any number); atheris ends the process."""
    import atheris

    with atheris.instrument_imports(include=["workflow_scripts"]):
        from tests.fuzz.targets import probe, targets

    logging.disable(logging.CRITICAL)
    Path(FINDINGS).mkdir(exist_ok=True)
    corpus = seeded(name, targets()[name].seeds, Path(tempfile.mkdtemp(prefix="corpus-")))
    limits = [
        f"-max_total_time={seconds}",
        f"-runs={runs}",
        f"-seed={seed}",
        "-rss_limit_mb=2048",
        "-timeout=20",
        "-verbosity=0",
    ]
    options = [*limits, "-max_len=20000", f"-artifact_prefix={FINDINGS}/{name}-", "-print_final_stats=1"]
    atheris.Setup(["fuzz", *options, str(corpus)], lambda data: probe(name, data))
    atheris.Fuzz()


def each(names: Sequence[str], seconds: int, seed: int) -> None:
    """Fuzz the targets one after the other, each in a process of its own; raises DataError at the first finding."""
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz.guided", "--target", name, "--seconds", str(seconds)]
        done = subprocess.run([*command, "--seed", str(seed)], check=False, capture_output=True, text=True, cwd=ROOT)
        runs = next((line for line in done.stderr.splitlines() if "number_of_executed_units" in line), "no statistics")
        if done.returncode != 0:
            raise DataError(f"target {name}: {done.stderr[-3000:]}; the input is in {FINDINGS}/")
        cli.say(f"{name:16}{runs.split(':')[-1].strip():>12} inputs")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and fuzz."""
    parser = cli.parser(__doc__)
    parser.add_argument("--target", help="only this one, in this process")
    parser.add_argument("--seconds", type=int, default=10, help="for one target")
    parser.add_argument("--minutes", type=float, help="for all targets together, instead of --seconds for each")
    parser.add_argument("--runs", type=int, default=-1, help="at most so many inputs to --target (-1: as time allows)")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer")
    options = parser.parse_args(arguments)
    if options.target:
        fuzz(options.target, options.seconds, options.seed, options.runs)
    from tests.fuzz.targets import targets

    names = list(targets())
    each(names, int(options.minutes * 60 / len(names)) if options.minutes else options.seconds, options.seed)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
