r"""What it costs to measure inside a checkpoint: weights and probe of a stand-in of a model's shape.

A random checkpoint of the shape of --model is measured by the programs themselves, each in a process of its own, so
that the start of Python counts. Printed are CPU-seconds, peak memory and, of the weights, bytes read beside those of
the file; then what --checkpoints of them take on --cores cores. Only rates are measured, so random weights will do.

    python benchmarks/dynamics.py --model pythia-70m --checkpoints 154
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from workflow_scripts.evaluation.scoring.model_folder import Shapes, read_config  # noqa: E402
from workflow_scripts.experiments.dynamics.probe_file import random_rows, write_probe  # noqa: E402
from workflow_scripts.storage.hashing import sha256_file  # noqa: E402
from workflow_scripts.suite.dynamics_settings import Dynamics, load_dynamics  # noqa: E402
from workflow_scripts.suite.registry import load_suite  # noqa: E402
from workflow_scripts.training.publish import model_config  # noqa: E402
from workflow_scripts.training.recipe import recipe_of  # noqa: E402
from workflow_scripts.workflow.dynamics import probe_arguments, weight_arguments  # noqa: E402

PACKAGE = "workflow_scripts.experiments.dynamics"


def stand_in(folder: Path, name: str) -> Path:
    """Random checkpoint of a model's shape in 16 bits."""
    model = load_suite("pythia" if name.startswith("pythia") else "pocket").model(name)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(model_config(recipe_of(model), "float16")))
    draws = np.random.default_rng(0)
    weights = {
        key: (0.02 * draws.standard_normal(shape, dtype=np.float32)).astype(np.float16)
        for key, shape in Shapes(read_config(folder)).items()
    }
    save_file(weights, folder / "model.safetensors")
    listed = [f"{sha256_file(folder / file)}  {file}\n" for file in ("config.json", "model.safetensors")]
    (folder / "sha256.txt").write_text("".join(listed))  # as a fetched checkpoint has it
    return folder


def probe_of(path: Path, declaration: Dynamics) -> Path:
    """Random rows in the numbers that a declaration asks for."""
    probe, repeated = declaration.probe, declaration.probe["repeated"]
    shape = (probe["text_rows"], probe["length"] + 1)
    rows = np.random.default_rng(0).integers(0, 1000, shape).astype(np.int32)
    write_probe(path, {"held_out": rows, **random_rows(rows, repeated["length"], repeated["sequences"])})
    return path


def timed(program: str, *arguments: str) -> float:
    """CPU-seconds of a program in a process of its own; prints them with its peak memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", f"{PACKAGE}.{program}", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"  {program}: {seconds:.1f} CPU-seconds, peak memory of all so far {after.ru_maxrss / 1e3:,.0f} MB")
    return seconds


def bytes_of_file(checkpoint: Path, arguments: list[str]) -> None:
    """Bytes that the program asks of the weight file, from strace where there is one."""
    if shutil.which("strace") is None:
        return
    file = checkpoint / "model.safetensors"
    command = ["strace", "-f", "-e", "trace=read,pread64,readv,mmap", "-P", str(file), sys.executable, "-m"]
    done = subprocess.run(
        [*command, f"{PACKAGE}.measure_weights", *arguments], check=True, capture_output=True, text=True, cwd=ROOT
    )
    read = sum(int(line.rpartition("= ")[2]) for line in done.stderr.splitlines() if " read(" in f" {line}")
    print(f"  bytes read of the weights: {read:,} of {file.stat().st_size:,} in the file")


def main() -> None:
    """Measure a stand-in and extrapolate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pythia-70m", help="shape (of the suites pocket or pythia)")
    parser.add_argument("--checkpoints", type=int, default=154, help="number to extrapolate to")
    parser.add_argument("--cores", type=int, default=2, help="jobs at the same time")
    parser.add_argument("--repeat", type=int, default=3, help="measurements; the quickest counts")
    options = parser.parse_args()
    declaration = load_dynamics("pythia")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        checkpoint = stand_in(folder / "step1", options.model)
        probe = probe_of(folder / "probe.safetensors", declaration)
        given = ["--checkpoint", str(checkpoint), "--output", str(folder / "table.parquet")]
        weights = [*given, "--sketches", str(folder / "sketches.safetensors"), *weight_arguments(declaration)]
        asked = ["--probe", str(probe), "--fingerprints", str(folder / "states.safetensors")]
        print(f"{options.model}, {(checkpoint / 'model.safetensors').stat().st_size:,} bytes of weights")
        bytes_of_file(checkpoint, weights)
        for program, arguments in (
            ("measure_weights", weights),
            ("measure_probe", [*given, *asked, *probe_arguments(declaration)]),
        ):
            best = min(timed(program, *arguments) for _ in range(options.repeat))
            minutes = options.checkpoints * best / options.cores / 60
            print(f"  {options.checkpoints} checkpoints on {options.cores} cores: {minutes:.1f} minutes (extrapolated)")


if __name__ == "__main__":
    main()
