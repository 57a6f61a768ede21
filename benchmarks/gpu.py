r"""Evaluation, training and memorization on one GPU beside their best peers: one table, one JSON file, nine minutes.

    benchmarks/gpu.sh --output gpu.json
    benchmarks/gpu.sh --data-dir results/datasets --tokenizer results/corpus/pythia/tokenizer.json
    benchmarks/gpu.sh --only start evaluation-410m
    benchmarks/gpu.sh --rehearse                  # the same code at tiny size on a CPU; its times mean nothing

Each part (gpu_parts.py says what it measures) runs in a process of its own with its own share of the time. A part that
fails, has no time left or lacks a package says so in the table and does not end the others; the JSON file is written
after each part. Needs torch with CUDA and this project's packages without Snakemake. lm-eval (a peer, and what makes
requests of real documents), transformers (a peer) and vLLM (a peer) are left out where they cannot be imported. Without
--data-dir, requests are made up: the numbers of documents and choices and the lengths of the real tasks, random tokens.

Sides alternate (ours, peer, ours, peer ...) with a bare matrix product between them. A row is the median of its count;
where the product's own rate moved by more than a fifth within a part, the part is marked as too noisy for ratios. Peaks
are dense rates from NVIDIA's data sheets (H100 SXM and H200: 989 and 67 TFLOP/s in bfloat16 and float32; A100: 312 and
19.5). Operations of training: 6 (N - V d) + 12 L d T per token (PaLM, appendix B, without a causal discount, as in
training/recipe.py); of evaluation: the products that the plan cannot do without (evaluation.py).

The JSON file, one object::

    schema      "pythia-workflow gpu benchmark 1"
    started     UTC, ISO 8601;  seconds: of the whole;  rehearsal: bool;  commit: of this checkout, or null
    machine     processor, cores, memory_gb, device, device_memory_gb, driver, cuda, clock_mhz {sm, sm_max, memory},
                python, and the versions of torch, numpy, triton, transformers, lm_eval, vllm (null where absent)
    peaks       {"bfloat16": FLOP/s, "float32": FLOP/s} of the data sheet, null for a device that is not listed
    requests    "real" or "made up"
    parts       in order: {name, says, state, reason, seconds, limit, rows}; state is "done", "failed", "timed out" or
                "not run"; reason is null or one line
    rows        {what, value, unit, low, high, count, note}; value is the median of count measurements from low to high;
                value null: could not be measured, and note says why
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = "pythia-workflow gpu benchmark 1"
PACKAGES = ("torch", "numpy", "triton", "transformers", "lm_eval", "vllm")
NEEDED = ("torch", "numpy", "safetensors", "tokenizers", "yaml", "jsonschema")
# Dense FLOP/s by a part of the device's name, the first that fits: NVIDIA's data sheets (SXM parts; half of the figure
# "with sparsity").
PEAKS = {
    "H200": {"bfloat16": 989e12, "float32": 67e12},
    "H100 PCIe": {"bfloat16": 756e12, "float32": 51e12},
    "H100": {"bfloat16": 989e12, "float32": 67e12},
    "A100": {"bfloat16": 312e12, "float32": 19.5e12},
}
LEAST_SECONDS = 12.0  # a part with less than that left is not started
REHEARSAL_FACTOR = 4  # a CPU that others use is slower than tiny sizes make up for
TIDY_SECONDS = 3.0  # kept for ending a part and writing the file


@dataclass(frozen=True)
class Share:
    """What a part shows, and the seconds it may take; a part gets less where less is left."""

    says: str
    seconds: float


# In this order: what would make every other figure worthless first, then what is asked most.
PARTS = {
    "set-up": Share("checkpoints, requests, rate of bare matrix products", 40),
    "agreement": Share("the GPU's numbers beside the CPU's", 35),
    "start": Share("one start of the scoring process by parts", 25),
    "evaluation-410m": Share("all zero-shot groups and five-shot ARC, SciQ, PIQA", 80),
    "training-410m": Share("a training step at the recipe's batch, by gradient accumulation", 80),
    "memorization": Share("rows of 32 + 32 tokens by teacher forcing, beside generation", 25),
    "evaluation-1.4b": Share("as at 410m", 80),
    "training-1.4b": Share("as at 410m", 80),
    "evaluation-70m": Share("as at 410m", 45),
    "ranks": Share("two processes on one GPU: gloo, since NCCL takes one process per GPU", 30),
    "commands": Share("the commands that a user types, with planning and metrics", 80),
}


@dataclass
class Part:
    """What came of one part."""

    name: str
    says: str
    state: str = "not run"
    reason: str | None = None
    seconds: float = 0.0
    limit: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), help="JSON file to write")
    parser.add_argument("--minutes", type=float, default=9.0, help="most that everything may take (rehearsal: 4 x)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run, after set-up")
    parser.add_argument("--data-dir", type=Path, help="evaluation data in the Hub's layout; made up if omitted")
    parser.add_argument("--tokenizer", type=Path, help="Pythia's tokenizer.json; goes with --data-dir")
    parser.add_argument("--share", type=float, default=0.05, help="share of each task's documents")
    parser.add_argument("--work", type=Path, help="folder for checkpoints and plans (default: a temporary one)")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU")
    options = parser.parse_args(arguments)
    if (options.data_dir is None) != (options.tokenizer is None):
        parser.error("--data-dir and --tokenizer go together")
    for path in (options.data_dir, options.tokenizer):
        if path is not None and not path.exists():
            parser.error(f"{path}: no such file or folder")
    return options


def refuse(reason: str) -> NoReturn:
    """End with one line and exit code 2."""
    print(f"error: {reason}", file=sys.stderr)
    sys.exit(2)


def check_packages(rehearse: bool) -> None:
    """End with one line unless what every part needs is there."""
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        refuse(
            f"{sys.executable} lacks {', '.join(lacking)}; install envs/base.lock and envs/torch-cuda.lock "
            "(make setup), or name another interpreter: PYTHON=..."
        )
    import torch

    if not rehearse and not torch.cuda.is_available():
        refuse(f"torch {torch.__version__} sees no CUDA device here; --rehearse runs on a CPU")


def version(package: str) -> str | None:
    """Installed version, None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def asked(command: list[str]) -> str | None:
    """First line that a command prints; None where it cannot run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


def commit() -> str | None:
    """The commit of this code; None where no git is, or no repository."""
    from run_all import git

    try:
        return git("describe", "--always", "--dirty", "--abbrev=12") or None
    except OSError:
        return None


def machine(rehearse: bool) -> dict[str, Any]:
    """What the figures belong to."""
    from run_all import processor

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    facts: dict[str, Any] = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
    if rehearse:
        return facts | dict.fromkeys(("driver", "cuda", "device_memory_gb", "clock_mhz")) | {"device": "cpu"}
    import torch

    asking = ["nvidia-smi", "--format=csv,noheader,nounits", "--query-gpu"]
    clocks = asked([*asking[:2], f"{asking[2]}=clocks.sm,clocks.max.sm,clocks.mem"])
    names = ("sm", "sm_max", "memory")
    return facts | {
        "device": torch.cuda.get_device_name(0),
        "device_memory_gb": round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1),
        "driver": asked([*asking[:2], f"{asking[2]}=driver_version"]),
        "cuda": torch.version.cuda,
        "clock_mhz": dict(zip(names, clocks.split(", "), strict=False)) if clocks else None,
    }


def peaks_of(device: str) -> dict[str, float] | None:
    """Rates of the data sheet; None for a device that is not listed."""
    return next((rates for name, rates in PEAKS.items() if name in device), None)


def run_part(part: Part, work: Path, options: argparse.Namespace, limit: float) -> None:
    """Run one part in a process group of its own and take what it wrote, however it ended."""
    rows, log = work / f"{part.name}.rows", work / f"{part.name}.log"
    command = [sys.executable, str(Path(__file__).with_name("gpu_parts.py")), part.name, "--work", str(work)]
    command += [
        "--rows",
        str(rows),
        "--seconds",
        f"{max(1.0, limit - TIDY_SECONDS):.1f}",
        "--share",
        str(options.share),
    ]
    command += ["--rehearse"] if options.rehearse else []
    if options.data_dir is not None:
        command += ["--data-dir", str(options.data_dir), "--tokenizer", str(options.tokenizer)]
    part.limit, started = round(limit, 1), time.monotonic()
    with log.open("w") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, cwd=ROOT)
        try:
            code: int | None = child.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):  # whatever it started, too
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    part.seconds = round(time.monotonic() - started, 1)
    part.state = "timed out" if code is None else "failed" if code else "done"
    if code:
        lines = log.read_text(errors="replace").strip().splitlines()
        part.reason = (lines[-1] if lines else f"exit code {code}")[:300]
    elif code is None:
        part.reason = f"ended after {limit:.0f} s; the rows until then are here"
    found: dict[str, dict[str, Any]] = {}  # a row that is written again replaces itself
    for line in rows.read_text().splitlines() if rows.exists() else []:
        with contextlib.suppress(ValueError):  # cut off by the kill
            row = json.loads(line)
            found[row["what"]] = row
    part.rows = list(found.values())


def show(part: Part) -> str:
    """The lines of a part in the table."""
    head = f"\n{part.name}: {part.says} ({part.state}, {part.seconds:.0f} of {part.limit:.0f} s)"
    lines = [head + (f"\n  {part.reason}" if part.reason else "")]
    for row in part.rows:
        if row["value"] is None:
            lines.append(f"  {row['what']:58} {row['note']}")
            continue
        spread = f" [{row['low']:,.4g} .. {row['high']:,.4g}, n={row['count']}]" if row["count"] > 1 else ""
        lines.append(f"  {row['what']:58} {row['value']:>12,.5g} {row['unit']}{spread}  {row['note']}".rstrip())
    return "\n".join(lines)


def write(path: Path, report: dict[str, Any]) -> None:
    """Write the report whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


@contextlib.contextmanager
def work_folder(chosen: Path | None) -> Iterator[Path]:
    """The folder asked for, which stays, or a temporary one."""
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="gpu-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the parts; exit code 1 when one of them failed."""
    options = parse(arguments)
    check_packages(options.rehearse)
    began, minutes = time.monotonic(), options.minutes * (REHEARSAL_FACTOR if options.rehearse else 1)
    facts = machine(options.rehearse)
    chosen = [name for name in PARTS if name in options.only or name == "set-up"]
    parts = [Part(name, PARTS[name].says) for name in chosen]
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": 0.0,
        "rehearsal": options.rehearse,
        "commit": commit(),
        "machine": facts,
        "peaks": peaks_of(facts["device"]),
        "requests": "real" if options.data_dir is not None and facts["lm_eval"] else "made up",
        "parts": [],
    }
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    with work_folder(options.work) as work:
        for part in parts:
            left = minutes * 60 - (time.monotonic() - began) - TIDY_SECONDS
            if left < LEAST_SECONDS:
                part.reason = "no time left"
            else:
                share = PARTS[part.name].seconds * (REHEARSAL_FACTOR if options.rehearse else 1)
                run_part(part, work, options, min(left, share))
            print(show(part), flush=True)
            report |= {"seconds": round(time.monotonic() - began, 1), "parts": [asdict(each) for each in parts]}
            write(options.output, report)
    print(f"\n{options.output}: {report['seconds']:.0f} s", flush=True)
    sys.exit(int(any(part.state == "failed" for part in parts)))


if __name__ == "__main__":
    main()
