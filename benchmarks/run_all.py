r"""All benchmarks of this project with short settings, written with the machine and the versions into one page.

Every benchmark prints ratios and floors beside its times: CPU-seconds against another program on the same input, bytes
against the measured memory bandwidth, operations against the measured rate of matrix products. Ratios hold on a busy
machine, times do not. It must never turn a time into a test.

    python benchmarks/run_all.py --output benchmarks/RESULTS.md
    python benchmarks/run_all.py --only dataset planning --output /tmp/results.md

Another run of the same benchmark replaces its section only, so that long ones can be run one at a time.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.git_process import run_git

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
LIBRARIES = ("torch", "numpy", "numba", "snakemake", "lm_eval", "transformers")
LIMIT_SECONDS = 3600


@dataclass(frozen=True)
class Benchmark:
    """One call of a benchmark program: what it shows, its arguments, and whether it reads ../shared."""

    title: str
    says: str
    arguments: tuple[str, ...]
    needs_shared: bool = False


DATA = ("--data-dir", str(SHARED / "hub/datasets"), "--tokenizer", str(SHARED / "tokenizer/20B_tokenizer.json"))
BENCHMARKS = {
    "dataset": Benchmark(
        "Data plane",
        "Floors: bytes touched over the measured copy bandwidth; cat, fsync and the hashes alone. Index maps at a "
        "twentieth of the deduplicated Pile.",
        ("benchmarks/dataset.py", "open", "bandwidth", "join", "preshuffled", "gather", "maps", "--scale", "0.05",
         "--join-bytes", "5e8"),
    ),
    "training": Benchmark(
        "A training step",
        "Tokens per CPU-second of one thread, and the share of the float32 (or 16-bit) matrix products' own rate, "
        "measured between the steps of the same process.",
        ("benchmarks/training.py", "--shapes", "pocket-1m", "books-1m", "pythia-14m", "--steps", "3"),
    ),
    "evaluation-zero-shot": Benchmark(
        "Evaluation, zero-shot",
        "CPU-seconds of the stock `lm_eval` command and of the fast path on the same folder and documents; all "
        "metrics are compared.",
        ("benchmarks/evaluation.py", *DATA, "--model", "14m", "--share", "0.01", "--shots", "0"),
        needs_shared=True,
    ),
    "evaluation-five-shot": Benchmark(
        "Evaluation, five-shot",
        "The same with five examples in each prompt.",
        ("benchmarks/evaluation.py", *DATA, "--model", "14m", "--share", "0.01", "--shots", "5"),
        needs_shared=True,
    ),
    "evaluation-whole-list": Benchmark(
        "Evaluation, the whole zero-shot list",
        "All documents of all zero-shot groups, one group after the other, both sides in turns with the rate of the "
        "machine's matrix products around them; CPU-seconds.",
        ("benchmarks/evaluation_whole_list.py", *DATA, "--model", "14m"),
        needs_shared=True,
    ),
    "experiments": Benchmark(
        "Experiments",
        "Rates behind the plan: tokens per CPU-second of counting, rewriting and scoring memorization.",
        ("benchmarks/experiments.py",),
    ),
    "traces": Benchmark(
        "Search for traced texts",
        "Tokens per CPU-second of one thread for one text and a thousand at once, beside a copy of the same memory.",
        ("benchmarks/traces.py", "--corpus", str(SHARED / "corpora/gutenberg31_pd.jsonl"), *DATA[2:]),
        needs_shared=True,
    ),
    "dynamics": Benchmark(
        "Dynamics",
        "Measuring inside a stand-in of 70m: CPU-seconds with the start of Python, bytes read, minutes for 154 steps.",
        ("benchmarks/dynamics.py", "--repeat", "1"),
    ),
    "planning": Benchmark(
        "Planning",
        "`snakemake -n` of the real suite: jobs, clock, CPU-seconds, memory.",
        ("benchmarks/planning.py", "--only", "suite"),
    ),
}  # fmt: skip


def machine(code: str) -> list[str]:
    """What the figures belong to; ``code`` is the commit."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    return [
        f"- processor: {processor()}, {os.cpu_count()} cores, {gigabytes:.0f} GB memory, {platform.system()}",
        f"- Python {platform.python_version()}; {versions}",
        f"- code: {code}",
        f"- date: {time.strftime('%Y-%m-%d')}; load average at the start {os.getloadavg()[0]:.1f} (idle: 0)",
    ]


def processor() -> str:
    """Name of the processor, as the system tells it."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def git(*words: str) -> str:
    """Answer of one git command in this checkout."""
    return run_git(ROOT, *words).stdout.decode().strip()


def shown(arguments: tuple[str, ...]) -> str:
    """The command as a reader would type it."""
    return shlex.join(["python", *(word.replace(str(SHARED), "../shared") for word in arguments)])


def section(name: str, benchmark: Benchmark, code: str) -> str:
    """Run one benchmark and return its section of the page."""
    head = [
        f"## {benchmark.title}",
        "",
        f"<!-- {name} -->",
        benchmark.says,
        "",
        "```text",
        f"$ {shown(benchmark.arguments)}",
    ]
    if benchmark.needs_shared and not SHARED.is_dir():
        return "\n".join([*head, "not run: ../shared is absent", "```", ""])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *benchmark.arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    printed = done.stdout.strip().replace(str(SHARED), "../shared")
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    return "\n".join([*head, printed, "```", "", *machine(code), ""])


def sections_of(page: str) -> dict[str, str]:
    """Sections of an older page by the name in their comment."""
    parts = re.split(r"(?=^## )", page, flags=re.MULTILINE)
    return {found[1]: part.rstrip() + "\n" for part in parts if (found := re.search(r"<!-- ([\w-]+) -->", part))}


def main() -> None:
    """Run what was asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="benchmarks to run")
    parser.add_argument("--output", type=Path, required=True, help="Markdown page to write")
    options = parser.parse_args()
    found = sections_of(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
    head = (
        "# Benchmarks\n\nMade by `make bench`; do not edit. Ratios and floors say more than times: see the programs.\n"
    )
    code = git("describe", "--always", "--dirty", "--abbrev=12")  # before the page itself makes the tree dirty
    for name in options.only:
        found[name] = section(name, BENCHMARKS[name], code)
        ordered = [found[key] for key in BENCHMARKS if key in found]
        options.output.write_text("\n".join([head, *ordered]), encoding="utf-8")


if __name__ == "__main__":
    main()
