"""Make ``.venv`` from the hash-only locks in ``envs/``, with nothing but the standard library.

``python3 bootstrap.py`` installs what the workflow needs; ``--with dev slurm`` adds locks. ``envs/platforms.tsv`` tells
before anything is downloaded whether the locks have wheels for this Python and this machine. Where the running Python
is not supported and another on PATH is, that one is used. Each lock is installed with ``--no-deps --require-hashes``
and leaves a stamp holding its own hash, so a second call does nothing and an interrupted one resumes.
uv is used when it is on PATH, pip otherwise; torch always comes through pip, because only pip sees wheel folders that
a site has configured for it.

Environment: ``TORCH=auto|cpu|cuda`` picks the torch build, ``TORCH_INDEX`` the fallback index of CPU wheels.
"""

# An old Python must get as far as the one line that refuses it: no syntax or import here that Python 3.6 does not have.

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCKS = ROOT / "envs"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = ROOT / ".venv.log"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# A program's first line, or the three that stand for it where the interpreter's path has a space or is long.
FIRST_LINES = re.compile(rb"#!(?:/bin/sh\n'''exec' [^\n]*\n' '''|[^\n]*)\n")
LONGEST_SHEBANG = 120  # bytes that all kernels read
# The compiler for the few source archives in the locks. Only immutables, which has no wheel for Python 3.14, has
# something to compile: a C module with a pure-Python twin that is imported in its absence. A compiler that writes
# nothing leaves the module out, so no machine needs a real one and all get the same files.
NO_COMPILER = {"CC": "true"}
# Lines of pip and uv that say that the network, not the package, is the matter.
UNREACHABLE = re.compile(
    "NewConnectionError|ConnectTimeoutError|ProxyError|NameResolutionError|ReadTimeoutError|name resolution"
    "|dns error|tcp connect error|error sending request|Failed to fetch"
)


def fail(message: str) -> None:
    """Stop with one line on standard error and exit code 2."""
    print(f"setup: {message}", file=sys.stderr)
    raise SystemExit(2)


class Row:
    """A line of ``envs/platforms.tsv``: a lock, a platform, its oldest system and the Pythons with wheels there."""

    def __init__(self, line: str) -> None:
        """Take the line apart."""
        self.lock, self.platform, self.system, pythons = line.split("\t")
        self.pythons = pythons.split()

    def __str__(self) -> str:
        """``Python 3.11, 3.12 on linux_x86_64 (glibc 2.28 or newer)``."""
        return f"Python {', '.join(self.pythons)} on {self.platform} ({self.system} or newer)"

    def is_for_this_machine(self) -> bool:
        """True for this platform, when its system is not too old."""
        library, version = self.system.split(" ")
        name, ours = system_here()
        return self.platform == platform_here() and name == library and numbers(ours) >= numbers(version)


def platform_rows(names: "list[str]") -> "list[Row]":
    """What ``envs/platforms.tsv`` says of these locks."""
    table = LOCKS / "platforms.tsv"
    lines = table.read_text().splitlines()[1:] if table.exists() else []
    return [row for row in map(Row, lines) if row.lock in names]


def numbers(version: str) -> "list[int]":
    """``2.36`` as numbers that compare."""
    return [int(part) for part in re.findall("[0-9]+", version)]


def platform_here() -> str:
    """``linux_x86_64`` and the like."""
    system = "macosx" if sys.platform == "darwin" else sys.platform
    return f"{system}_{platform.machine()}"


def system_here() -> "tuple[str, str]":
    """The C library of a Linux, or macOS, with its version."""
    if sys.platform == "darwin":
        return "macOS", platform.mac_ver()[0]
    library, version = platform.libc_ver()
    return library or "another C library than glibc", version


def python_here() -> str:
    """``3.12``; with a prefix or suffix where the interpreter takes other wheels than CPython with its lock."""
    version = "{}.{}".format(*sys.version_info[:2])
    kind = "" if sys.implementation.name == "cpython" else sys.implementation.name + " "
    return kind + version + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "")


def check_wheels(names: "list[str]") -> None:
    """Stop in one line, before any download, when a lock has no wheel for this Python on this machine."""
    for name in names:
        rows = platform_rows([name])
        usable = [row for row in rows if row.is_for_this_machine()]
        if not rows or any(python_here() in row.pythons for row in usable):
            continue
        remedy = "use one of these systems, or a container (envs/Dockerfile)"
        if usable:
            wheel = usable[0].pythons[0]
            remedy = (
                f"take another interpreter (make PYTHON=python{wheel} demo), or let uv bring one "
                f"(uv venv --python {wheel}, then make demo)"
            )
        fail(
            f"envs/{name}.lock has no wheels for Python {python_here()} on {platform_here()} "
            f"({' '.join(system_here()).strip()}); it has those for {'; '.join(map(str, usable or rows))}: {remedy}"
        )


def use_a_supported_python(names: "list[str]") -> None:
    """Start over with a Python that all locks support, where this one is none and another is found."""
    rows = [row for row in platform_rows(names) if row.is_for_this_machine()]
    served = [python for python in rows[0].pythons if all(python in row.pythons for row in rows)] if rows else []
    if not served or python_here() in served:
        return
    for candidate in (str(PYTHON), *(f"python{python}" for python in served)):
        path = shutil.which(candidate)
        if path and version_of(path) in served:
            print(f"setup: {sys.executable} is Python {python_here()}, which has no wheels; using {path}", flush=True)
            os.execv(path, [path, *sys.argv])


def version_of(path: str) -> str:
    """What ``python_here`` is for another interpreter; empty when it cannot run or cannot make environments."""
    code = "import runpy, sys, ensurepip; print(runpy.run_path(sys.argv[1])['python_here']())"
    command = [path, "-c", code, str(ROOT / "bootstrap.py")]
    outcome = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return outcome.stdout.decode().strip() if outcome.returncode == 0 else ""


def torch_build() -> str:
    """``cpu`` or ``cuda``: what TORCH asks for, or what this machine has."""
    wish = os.environ.get("TORCH", "auto")
    if wish not in ("auto", "cpu", "cuda"):
        fail(f"TORCH={wish} is not a build; use TORCH=auto, TORCH=cpu or TORCH=cuda")
    if wish != "auto":
        return wish
    probe = shutil.which("nvidia-smi")
    found = probe and subprocess.run([probe, "--list-gpus"], stdout=-1, stderr=-1, check=False).returncode == 0
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


def run(command: "list[str]") -> bool:
    """Run ``command`` with its output in the log; True when it succeeded."""
    with LOG.open("ab") as log:
        log.write(f"\n$ {' '.join(command)}\n".encode())
        log.flush()
        environment = {**os.environ, **NO_COMPILER}
        outcome = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False, env=environment)
        return outcome.returncode == 0


def last_error() -> str:
    """The reason of the last command's failure: that no index answers, or the last line that looks like a reason."""
    output = LOG.read_text(errors="replace").rpartition("\n$ ")[2]
    if UNREACHABLE.search(output) and "DO NOT MATCH THE HASHES" not in output:
        return "no package index can be reached"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "× ", "caused by"))]
    return (errors or lines or ["no output"])[-1][:300]


def installer() -> "list[str]":
    """Command that installs a requirement file by hash: uv when present, else the environment's pip.

    uv does not read pip's settings, so pip is used where they say that there is no index.
    """
    options = ["--no-deps", "--require-hashes", "--no-build-isolation"]
    uv = shutil.which("uv")
    if uv and "PIP_NO_INDEX" not in os.environ:
        return [uv, "pip", "install", "--quiet", "--python", str(PYTHON), "--compile-bytecode", *options]
    return [*pip(), *options]


def pip() -> "list[str]":
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
        f"no source served the torch of envs/{name}.lock ({first}); put the wheel that envs/wheels.tsv names into a "
        f"folder and set PIP_FIND_LINKS to it, name an index with TORCH_INDEX, or set TORCH=cuda: 3 GB from the "
        f"ordinary index, which runs without a GPU too (full output: {LOG.name})"
    )


def environment_python() -> str:
    """``3.12`` for a ``.venv`` that was made with it, empty where there is none that works."""
    settings = VENV / "pyvenv.cfg"
    found = (
        re.search("^version(?:_info)? *= *([0-9]+[.][0-9]+)", settings.read_text(), re.M) if settings.exists() else None
    )
    return found.group(1) if found and PYTHON.exists() else ""


def make_environment() -> None:
    """Create the virtual environment; make this folder and its Snakemake plugins importable from anywhere in it."""
    if VENV.is_symlink():
        fail(f".venv is a link to {VENV.resolve()}, which has other packages; remove the link and run this again")
    if environment_python() != "{}.{}".format(*sys.version_info[:2]):
        venv.create(VENV, with_pip=True, clear=VENV.exists())
    old = made_for()
    if old is not None and old != ROOT:
        print(f"setup: .venv was made in {old} and is here now; its programs are adapted", flush=True)
        adapt_programs(old)
    if not (path_file().parent / "pip").exists():
        subprocess.run([str(PYTHON), "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
    plugins = ROOT / "workflow_scripts" / "snakemake_plugins"
    replace_content(path_file(), f"{ROOT}\n{plugins}\n".encode())
    make_front_door()


def make_front_door() -> None:
    """Write ``.venv/bin/pythia``, which ``pip install -e .`` would make from pyproject.toml."""
    program = VENV / "bin" / "pythia"
    body = b"from workflow_scripts.front_door import start\n\nraise SystemExit(start())\n"
    if not program.exists() or not program.read_bytes().endswith(body):
        program.write_bytes(first_lines() + body)
        program.chmod(0o755)


def path_file() -> Path:
    """File of the virtual environment that makes this folder importable; its first line is the folder."""
    return next((VENV / "lib").glob("python3*"), VENV) / "site-packages" / "pythia_workflow.pth"


def made_for() -> "Path | None":
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


def wanted_locks(extras: "list[str]") -> "list[str]":
    """Names of the locks to install, in order: torch early, since it is what a machine's sources lack most often."""
    for extra in extras:
        if not (LOCKS / f"{extra}.lock").exists():
            fail(f"there is no envs/{extra}.lock; extras are dev, slurm and kubernetes")
    return ["build", f"torch-{torch_build()}", "base", *extras]


def main() -> None:
    """Bring ``.venv`` to the state of the locks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    extras = "extra locks: dev slurm kubernetes"
    parser.add_argument("--with", dest="extras", nargs="*", default=[], metavar="LOCK", help=extras)
    names = wanted_locks(parser.parse_args().extras)
    if VENV.is_symlink() and all(is_current(name) for name in names):
        return  # that of another checkout, as it should be: it is used and never changed
    use_a_supported_python(names)
    check_wheels(names)
    if all(is_current(name) for name in names) and made_for() == ROOT:
        return
    started = time.monotonic()
    try:
        lock = (ROOT / ".venv.lock").open("w")
    except OSError as error:
        fail(f"cannot write in {ROOT}: {error.strerror}; the environment is made beside this file")
    import fcntl  # here and not above, so that a system without it gets the line of check_wheels

    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        bring_up_to_date(names)
    print(f"setup: ready in {time.monotonic() - started:.0f} s", flush=True)


def bring_up_to_date(names: "list[str]") -> None:
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
