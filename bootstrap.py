"""Make ``.venv`` from the hash-only locks in ``envs/``, with nothing but the standard library.

``python3 bootstrap.py`` installs what the workflow needs; ``--with dev slurm`` adds locks. Each lock is installed with
``--no-deps --require-hashes`` and leaves a stamp holding its own hash, so a second call does nothing and an
interrupted one goes on where it stopped. uv is used when it is on PATH, pip otherwise; torch always comes through
pip, because only pip sees wheel folders that a site has configured for it.

Environment: ``TORCH=auto|cpu|cuda`` picks the torch build, ``TORCH_INDEX`` the fallback index of CPU wheels.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCKS = ROOT / "envs"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = ROOT / ".venv.log"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
OLDEST = (3, 11)


def fail(message: str) -> None:
    """Stop with one line on standard error and exit code 2."""
    print(f"setup: {message}", file=sys.stderr)
    raise SystemExit(2)


def torch_build() -> str:
    """``cpu`` or ``cuda``: what TORCH asks for, or what this machine has."""
    wish = os.environ.get("TORCH", "auto")
    if wish not in ("auto", "cpu", "cuda"):
        fail(f"TORCH={wish} is not a build; use TORCH=auto, TORCH=cpu or TORCH=cuda")
    if wish != "auto":
        return wish
    probe = shutil.which("nvidia-smi")
    found = probe and subprocess.run([probe, "--list-gpus"], capture_output=True, check=False).returncode == 0
    return "cuda" if found else "cpu"


def digest(lock: Path) -> str:
    """Hash of a lock together with the interpreter it is installed for."""
    return hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()


def stamp_of(name: str) -> Path:
    """File that says which state of lock ``name`` is installed."""
    return VENV / "installed" / name


def is_current(name: str) -> bool:
    """True when lock ``name`` is installed in exactly its present state."""
    stamp = stamp_of(name)
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == digest(LOCKS / f"{name}.lock")


def run(command: list[str]) -> bool:
    """Run ``command`` with its output in the log; True when it succeeded."""
    with LOG.open("ab") as log:
        log.write(f"\n$ {' '.join(command)}\n".encode())
        log.flush()
        return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode == 0


def last_error() -> str:
    """The last line of the log that looks like the reason of a failure."""
    lines = [line.strip() for line in LOG.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "× ", "caused by"))]
    return (errors or lines or ["no output"])[-1][:300]


def installer() -> list[str]:
    """Command that installs a requirement file by hash: uv when present, else the environment's pip."""
    options = ["--no-deps", "--require-hashes", "--no-build-isolation"]
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", str(PYTHON), "--compile-bytecode", *options]
    return [*pip(), *options]


def pip() -> list[str]:
    """The environment's own pip."""
    return [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-input"]


def install(name: str) -> None:
    """Install one lock; stop in one line when it cannot be had."""
    print(f"setup: installing envs/{name}.lock", flush=True)
    lock = str(LOCKS / f"{name}.lock")
    if name.startswith("torch-"):
        install_torch(name, lock)
    elif not run([*installer(), "-r", lock]):
        fail(
            f"envs/{name}.lock could not be installed: {last_error()}; without a package index put the wheels into a "
            f"folder and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER (full output: {LOG.name})"
        )
    stamp = stamp_of(name)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(digest(LOCKS / f"{name}.lock"))


def install_torch(name: str, lock: str) -> None:
    """Install torch from the user's own sources, and failing that from PyTorch's index of CPU wheels."""
    command = [*pip(), "--no-deps", "--require-hashes", "-r", lock]
    if run(command):
        return
    first = last_error()
    index = os.environ.get("TORCH_INDEX", TORCH_CPU_INDEX)
    fallback = ["--retries", "1", "--timeout", "15", "--extra-index-url", index]
    if name == "torch-cpu" and run([*command, *fallback]):
        return
    fail(
        f"no source served the locked torch ({first}); put the wheel in a folder and set PIP_FIND_LINKS to it, "
        f"or name an index with TORCH_INDEX (full output: {LOG.name})"
    )


def make_environment() -> None:
    """Create the virtual environment; make this folder and its Snakemake plugins importable from anywhere in it."""
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True, clear=VENV.exists())
    packages = next((VENV / "lib").glob("python3*")) / "site-packages"
    plugins = ROOT / "workflow_scripts" / "snakemake_plugins"
    (packages / "pythia_workflow.pth").write_text(f"{ROOT}\n{plugins}\n")


def wanted_locks(extras: list[str]) -> list[str]:
    """Names of the locks to install, in order."""
    for extra in extras:
        if not (LOCKS / f"{extra}.lock").exists():
            fail(f"there is no envs/{extra}.lock; extras are dev and slurm")
    return ["build", "base", f"torch-{torch_build()}", *extras]


def main() -> None:
    """Bring ``.venv`` to the state of the locks."""
    if sys.version_info < OLDEST:
        fail(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; try: make PYTHON=python3.12 demo")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="extras", nargs="*", default=[], metavar="LOCK", help="extra locks: dev slurm")
    names = wanted_locks(parser.parse_args().extras)
    if all(is_current(name) for name in names):
        return
    started = time.monotonic()
    try:
        lock = (ROOT / ".venv.lock").open("w")
    except OSError as error:
        fail(f"cannot write in {ROOT}: {error.strerror}; the environment is made beside this file")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        bring_up_to_date(names)
    print(f"setup: ready in {time.monotonic() - started:.0f} s", flush=True)


def bring_up_to_date(names: list[str]) -> None:
    """Install the locks of ``names`` that are not current, then check that the packages agree with each other."""
    LOG.write_bytes(b"")
    try:
        make_environment()
    except (OSError, subprocess.CalledProcessError) as error:
        fail(f"the virtual environment could not be made ({error}); on Debian, apt-get install python3-venv helps")
    for name in names:
        if not is_current(name):
            install(name)
    if not run([str(PYTHON), "-m", "pip", "check"]):
        fail(f"the installed packages do not agree: {last_error()} (full output: {LOG.name})")


if __name__ == "__main__":
    main()
