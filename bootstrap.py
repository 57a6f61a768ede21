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
import re
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
# A program's first line, or the three that stand for it where the interpreter's path has a space or is long.
FIRST_LINES = re.compile(rb"#!(?:/bin/sh\n'''exec' [^\n]*\n' '''|[^\n]*)\n")
LONGEST_SHEBANG = 120  # bytes that all kernels read


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
    if VENV.is_symlink():
        fail(f".venv is a link to {VENV.resolve()}, which has other packages; remove the link and run this again")
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True, clear=VENV.exists())
    old = made_for()
    if old is not None and old != ROOT:
        print(f"setup: .venv was made in {old} and is here now; its programs are adapted", flush=True)
        adapt_programs(old)
    plugins = ROOT / "workflow_scripts" / "snakemake_plugins"
    replace_content(path_file(), f"{ROOT}\n{plugins}\n".encode())


def path_file() -> Path:
    """File of the virtual environment that makes this folder importable; its first line is the folder."""
    return next((VENV / "lib").glob("python3*"), VENV) / "site-packages" / "pythia_workflow.pth"


def made_for() -> Path | None:
    """The folder that ``.venv`` was made in; not this one after a move or a copy, None where nothing says it."""
    lines = path_file().read_text().splitlines() if path_file().is_file() else []
    return Path(lines[0]) if lines else None


def adapt_programs(old: Path) -> None:
    """Make the programs in ``.venv/bin`` start with the interpreter here instead of that of the checkout ``old``."""
    before = str(old / VENV.name / "bin").encode()
    for program in sorted(path for path in (VENV / "bin").iterdir() if path.is_file() and not path.is_symlink()):
        content = program.read_bytes()
        head = FIRST_LINES.match(content)
        if head and before in head[0]:
            replace_content(program, first_lines() + content[head.end() :])
    for script in (VENV / "bin").glob("[Aa]ctivate*"):
        script.unlink()  # it may be a hard link too, and would be written in place
    builder = venv.EnvBuilder()
    builder.setup_scripts(builder.ensure_directories(str(VENV)))


def first_lines() -> bytes:
    """First lines of a program that starts with this environment's interpreter, whatever is in its path."""
    python = str(PYTHON)
    if " " not in python and len(python) < LONGEST_SHEBANG:
        return f"#!{python}\n".encode()
    # The shell takes the first word for exec, Python takes all of it for a string.
    quoted = python.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
    return f"#!/bin/sh\n'''exec' \"{quoted}\" \"$0\" \"$@\"\n' '''\n".encode()


def replace_content(path: Path, content: bytes) -> None:
    """Write a file that may be a hard link to that of the checkout this one was copied from; its mode stays."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    if path.exists():
        shutil.copymode(path, new)
    new.replace(path)


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
    if all(is_current(name) for name in names) and (VENV.is_symlink() or made_for() == ROOT):
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
    except (OSError, ValueError, subprocess.CalledProcessError) as error:  # ValueError: a ':' in the path
        fail(f"the virtual environment could not be made ({error}); on Debian, apt-get install python3-venv helps")
    for name in names:
        if not is_current(name):
            install(name)
    if not run([str(PYTHON), "-m", "pip", "check"]):
        fail(f"the installed packages do not agree: {last_error()} (full output: {LOG.name})")


if __name__ == "__main__":
    main()
