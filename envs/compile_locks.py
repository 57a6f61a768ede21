"""Regenerate the hash-only locks in this folder from the .in files beside them (``make lock``).

Every lock but one is resolved by ``uv pip compile --universal``: all platforms, all hashes, no index host. The CPU
torch wheel is not on the public index for Linux, so its lock is made by downloading the wheel from the sources that
pip is configured with and hashing the file. CPU and CUDA hashes must never meet in one lock: given both, pip takes
the larger CUDA wheel.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON_VERSION = "3.11"
HEADER = "# Made by `make lock` from {source}; do not edit. Install with --no-deps --require-hashes.\n"


def resolve(name: str, *options: str) -> str:
    """Text of the lock for ``name``.in as uv resolves it, without comments or index addresses."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", PYTHON_VERSION]
    command += ["--generate-hashes", "--no-header", "--no-annotate", *options, f"{name}.in"]
    return subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True).stdout


def cpu_torch() -> str:
    """Lock text for the CPU wheel that pip's own sources serve for this interpreter."""
    requirement = (HERE / "torch-cpu.in").read_text().strip()
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, "--dest", folder, requirement], check=True)
        wheels = sorted(Path(folder).glob("*.whl"))
        for wheel in wheels:
            if "+cpu" not in wheel.name and "macosx" not in wheel.name:
                sys.exit(f"pip served {wheel.name}, which is not a CPU build; add a source of CPU wheels and retry")
        hashes = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels]
    lines = [requirement, *(f"    --hash=sha256:{digest}" for digest in hashes)]
    return " \\\n".join(lines) + "\n"


def all_but_peers() -> list[str]:
    """Options that leave out of bench.lock what the workflow's own locks hold, so that its folder shadows nothing."""
    held = ["torch", *(re.split("[=;]", line)[0].strip() for line in pins("base"))]
    return [word for name in dict.fromkeys(held) for word in ("--no-emit-package", name)]


def pins(name: str) -> list[str]:
    """Requirements of a lock with their exact versions and markers, without hashes."""
    lines = (HERE / f"{name}.lock").read_text().splitlines()
    return [line.removesuffix("\\").strip() for line in lines if "==" in line and not line.startswith((" ", "#"))]


def conda_file() -> str:
    """Environment file for conda users: Python from conda-forge, every package in the version of the locks.

    conda cannot hand hashes to pip, so versions are exact and bytes are not checked; `make setup` does both.
    """
    packages = "".join(f"      - {json.dumps(line)}\n" for line in (*pins("base"), *pins("torch-cpu")))
    return (
        "# Made by `make lock` from base.lock and torch-cpu.lock; do not edit. For `snakemake --sdm conda`.\n"
        "channels: [conda-forge, nodefaults]\n"
        f"dependencies:\n  - python ={PYTHON_VERSION}\n  - pip\n  - pip:\n{packages}"
    )


def main() -> None:
    """Write every lock and conda's environment file."""
    no_torch = ("--override", "overrides.txt", "--no-emit-package", "torch")
    write("base", resolve("base", *no_torch))
    write("build", resolve("build"))
    write("slurm", resolve("slurm"))
    write("dev", resolve("dev"))
    write("torch-cuda", resolve("torch-cuda"))
    write("torch-cpu", cpu_torch())
    write("bench", resolve("bench", "--override", "bench-overrides.txt", *all_but_peers()))
    (HERE / "conda.yaml").write_text(conda_file())


def write(name: str, text: str) -> None:
    """Write one lock and say so."""
    path = HERE / f"{name}.lock"
    path.write_text(HEADER.format(source=f"{name}.in") + text)
    print(f"{path.name}: {text.count('==')} packages")


if __name__ == "__main__":
    main()
