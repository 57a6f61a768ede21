r"""What it costs to plan large runs: `snakemake -n` on the suite, and on 50 models x 154 steps x 4 numbers of shots.

Prints one line per run: jobs, seconds on the clock, CPU-seconds, peak memory. Nothing is made. ``suite-graph`` ends
when the graph is built, where a real run starts its first job; the others also make the lines about every job, which
`--quiet rules` does not print. The working directory is an empty one that sees the project by links, so that results of
other runs cost nothing.

    python benchmarks/planning.py            # all
    python benchmarks/planning.py --only suite
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODELS = 50
RUNS = {
    "suite": [],
    "suite-graph": ["--quiet"],
    "50x154x4": ["--config", "run=large", "shots=[0,1,2,5]", "models={models}"],
}


def many_models() -> str:
    """Fifty names of the suite: its own, its seeds and its old versions."""
    sys.path.insert(0, str(ROOT))
    from workflow_scripts.suite.registry import load_suite

    names = [name for name, model in load_suite("pythia").models.items() if len(model.steps) == 154]
    if len(names) < MODELS:
        sys.exit(f"the suite has only {len(names)} models with 154 checkpoints")
    return f"[{','.join(names[:MODELS])}]"


def plan(name: str, arguments: list[str]) -> str:
    """Plan one run and say what it cost."""
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "--scheduler", "greedy"]
    command += ["--configfile", "config/runs/suite.yaml", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        for entry in ("config", "rules", "envs", "Snakefile", "workflow_scripts"):
            (Path(folder) / entry).symlink_to(ROOT / entry)
        started = time.perf_counter()
        output = Path(folder) / "output.txt"
        with output.open("w") as stream:
            process = subprocess.Popen(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        text = output.read_text()
    if status != 0:
        sys.exit(text[-3000:])
    counted = re.findall(r"^total +(\d+)", text, re.MULTILINE)
    jobs = counted[-1] if counted else "-"
    cpu = usage.ru_utime + usage.ru_stime
    return f"{name:12}{jobs:>8} jobs {seconds:>7.1f} s {cpu:>7.1f} CPU-s {usage.ru_maxrss / 1024:>7.0f} MB"


def main() -> None:
    """Parse arguments and plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(RUNS))
    wanted = parser.parse_args().only
    for name, arguments in RUNS.items():
        if wanted in (None, name):
            print(plan(name, [text.format(models=many_models()) for text in arguments]), flush=True)


if __name__ == "__main__":
    main()
