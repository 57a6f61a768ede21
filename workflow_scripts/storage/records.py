"""A small record beside each output says what it was made from: ``<output>.record.json``.

A record holds the inputs with their sha256, the parameters, the version of the code and of the main libraries, the
hash of the environment's lock, the seconds taken and the peak memory. It is written after the output itself, so a
record without an output cannot exist. The time of day is left out: equal work gives records that differ only in
``seconds`` and ``peak_memory_bytes``.
"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from workflow_scripts import ROOT
from workflow_scripts.git_process import run_git
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.credentials import hide_secrets
from workflow_scripts.storage.hashing import sha256_file

RECORD_SUFFIX = ".record.json"
OUTPUT = ""  # stands for the output among known hashes; no input is called so
LIBRARIES = ("numpy", "torch", "lm_eval", "snakemake", "pandas", "tokenizers", "transformers")
STARTED = time.monotonic()


def record_path(output: Path) -> Path:
    """Where the record of ``output`` lives."""
    return output.with_name(output.name + RECORD_SUFFIX)


def write_record(
    output: Path,
    inputs: Mapping[str, Path],
    parameters: JsonMapping,
    known_hashes: Mapping[str, str] | None = None,
) -> None:
    """Write the record of ``output``.

    ``inputs`` maps a name to a file; each is hashed unless ``known_hashes`` already gives its sha256 (for files that
    are too large to read again, whose hash was verified when they were fetched), which under OUTPUT is that of the
    output itself. ``parameters`` must be JSON values.
    """
    known = known_hashes or {}
    listed = {
        name: {"path": str(path), "sha256": known[name] if name in known else sha256_file(path)}
        for name, path in sorted(inputs.items())
    }
    write_json(
        record_path(output),
        {
            "output": output.name,
            "output_sha256": known.get(OUTPUT) or (sha256_file(output) if output.is_file() else None),
            "inputs": listed,
            "parameters": dict(parameters),
            "command": [Path(sys.argv[0]).name, *map(hide_secrets, sys.argv[1:])],
            "code_version": code_version(),
            "lock_sha256": lock_hashes(),
            "versions": library_versions(),
            "seconds": round(time.monotonic() - STARTED, 3),
            "peak_memory_bytes": peak_memory_bytes(),
        },
    )


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far, in bytes (Linux counts it in KiB)."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


@functools.cache
def code_version() -> str:
    """Commit of this checkout, with ``-dirty`` when files differ from it; ``unknown`` outside git."""
    try:
        answer = run_git(ROOT, "describe", "--always", "--dirty", "--abbrev=12", "--match=v[0-9]*", timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return answer.stdout.decode().strip() if answer.returncode == 0 else "unknown"


@functools.cache
def lock_hashes() -> dict[str, str]:
    """sha256 of each environment lock in ``envs/``."""
    return {path.name: sha256_file(path) for path in sorted((ROOT / "envs").glob("*.lock"))}


@functools.cache
def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a number."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
