"""Set-up: nothing to do in under a second, and one clear line for each thing that can be wrong."""

import ast
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import venv

import pytest


def bootstrap(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, str(folder / "bootstrap.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=300,
    )


@pytest.fixture
def checkout(root, tmp_path):
    """A copy of what the set-up needs, with locks that hold nothing."""
    shutil.copy(root / "bootstrap.py", tmp_path)
    (tmp_path / "envs").mkdir()
    for name in ("build", "base", "torch-cpu", "torch-cuda", "dev", "slurm"):
        (tmp_path / "envs" / f"{name}.lock").write_text(f"# nothing, for {name}\n")
    return tmp_path


def bootstrap_as(version, folder, **environment):
    """Set-up as an interpreter of another version would run it, with no other interpreter on PATH."""
    code = "import runpy, sys; sys.version_info = tuple(map(int, sys.argv.pop(1).split('.'))) + (0, 'final', 0); "
    code += "sys.argv[:] = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, version, str(folder / "bootstrap.py")]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TORCH": "cpu", "PATH": "/nowhere", **environment},
        timeout=60,
    )


def table(folder, pythons, system=None, machine=None):
    """Write envs/platforms.tsv: every lock is for these Pythons on this platform, or on the one that is named."""
    here = ("macosx" if sys.platform == "darwin" else sys.platform) + "_" + platform.machine()
    floor = system or ("macOS 11.0" if sys.platform == "darwin" else "glibc 2.17")
    rows = [f"{name}\t{machine or here}\t{floor}\t{pythons}" for name in ("build", "base", "torch-cpu", "dev")]
    (folder / "envs" / "platforms.tsv").write_text("\n".join(["lock\tplatform\tsystem\tpython", *rows]) + "\n")


def nothing_was_made(folder):
    return not any((folder / name).exists() for name in (".venv", ".venv.log", ".venv.lock"))


def one_line(outcome):
    lines = outcome.stderr.strip().splitlines()
    assert outcome.returncode == 2
    assert len(lines) == 1, outcome.stderr
    assert lines[0].startswith("setup: ")
    return lines[0]


@pytest.mark.slow
def test_set_up_makes_an_environment_once_and_then_does_nothing(checkout):
    first = bootstrap(checkout, TORCH="cpu")
    assert first.returncode == 0, first.stderr
    assert "ready in" in first.stdout
    started = time.monotonic()
    second = bootstrap(checkout, TORCH="cpu")
    assert (second.returncode, second.stdout) == (0, "")
    assert time.monotonic() - started < 1.0
    (checkout / "envs" / "base.lock").write_text("# changed\n")
    third = bootstrap(checkout, TORCH="cpu")
    assert third.stdout.count("installing") == 1
    assert "base.lock" in third.stdout
    moved = checkout / "moved"
    moved.mkdir()
    for name in ("bootstrap.py", "envs", ".venv"):
        shutil.move(checkout / name, moved / name)
    fourth = bootstrap(moved, TORCH="cpu", PIP_NO_INDEX="1")
    assert (fourth.returncode, fourth.stdout.count("installing")) == (0, 0), fourth.stderr
    assert "its programs are adapted" in fourth.stdout
    subprocess.run([moved / ".venv/bin/pip", "--version"], check=True, capture_output=True)
    checkout = moved
    python = checkout / ".venv/bin/python"
    where = subprocess.run([python, "-c", "import sys; print(sys.path)"], capture_output=True, text=True, cwd="/")
    assert str(checkout) in where.stdout
    settings = checkout / ".venv/pyvenv.cfg"
    settings.write_text(settings.read_text().replace("version = 3.", "version = 2."))
    (checkout / "envs" / "base.lock").write_text("# changed again\n")
    fourth = bootstrap(checkout, TORCH="cpu")
    assert fourth.stdout.count("installing") == 3, "an environment of another Python is made anew"
    assert "version = 3." in settings.read_text()


@pytest.mark.slow
def test_a_package_with_another_hash_is_refused(checkout):
    wrong = "six==1.17.0 --hash=sha256:" + "0" * 64 + "\n"
    (checkout / "envs" / "base.lock").write_text(wrong)
    (checkout / "wheels").mkdir()
    outcome = bootstrap(checkout, TORCH="cpu", PATH="/usr/bin:/bin")
    assert "base.lock could not be installed" in one_line(outcome)
    assert not (checkout / ".venv/installed/base").exists()


def module(folder):
    """``bootstrap.py`` of a checkout, in this process."""
    spec = importlib.util.spec_from_file_location("bootstrap", folder / "bootstrap.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def said_by(program):
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.strip()


PROGRAM = "import sys\nprint(sys.prefix)\n"


@pytest.fixture
def with_programs(root, tmp_path):
    """A checkout with an environment without pip: one program as pip writes it, one as it does for odd paths."""
    folder = tmp_path / "first"
    folder.mkdir()
    shutil.copy(root / "bootstrap.py", folder)
    venv.create(folder / ".venv")
    programs = folder / ".venv/bin"
    (programs / "plain").write_text(f"#!{programs}/python\n{PROGRAM}")
    (programs / "odd").write_text(f"#!/bin/sh\n'''exec' '{programs}/python' \"$0\" \"$@\"\n' '''\n{PROGRAM}")
    (programs / "path").write_text(f"#!{programs}/python\nimport json, sys\nprint(json.dumps(sys.path))\n")
    (programs / "other").write_text("#!/bin/sh\necho other\n")
    for name in ("plain", "odd", "path", "other"):
        (programs / name).chmod(0o755)
    module(folder).make_environment()
    return folder


@pytest.mark.parametrize("name", ["second", 'it\'s a "$HOME" `chéckout` 数据', "x" * 100])
@pytest.mark.parametrize("copy", [shutil.move, lambda old, new: shutil.copytree(old, new, copy_function=os.link)])
def test_a_checkout_that_was_moved_or_copied_repairs_itself(with_programs, tmp_path, capsys, copy, name):
    capsys.readouterr()
    second = tmp_path / name
    copy(with_programs, second)
    moved = module(second)
    assert moved.made_for() == with_programs
    moved.make_environment()
    assert capsys.readouterr().out == (
        f"setup: .venv was made in {with_programs} and is here now; its programs are adapted\n"
    )
    programs = second / ".venv/bin"
    assert [said_by(programs / each) for each in ("plain", "odd", "other")] == [*[str(second / ".venv")] * 2, "other"]
    assert (programs / "plain").stat().st_mode & 0o777 == 0o755
    assert str(with_programs) not in (programs / "activate").read_text()
    seen = json.loads(said_by(programs / "path"))
    assert str(second) in seen
    assert str(with_programs) not in seen
    moved.make_environment()
    assert capsys.readouterr().out == ""
    if with_programs.exists():  # what was copied is as before, also where both have hard links to one file
        assert said_by(with_programs / ".venv/bin/plain") == str(with_programs / ".venv")
        assert str(with_programs / ".venv") in (with_programs / ".venv/bin/activate").read_text()
        assert module(with_programs).made_for() == with_programs


def test_an_environment_of_another_checkout_is_used_but_never_changed(checkout, with_programs):
    (checkout / ".venv").symlink_to(with_programs / ".venv")
    assert f".venv is a link to {with_programs / '.venv'}" in one_line(bootstrap(checkout, TORCH="cpu"))
    for name in ("build", "base", "torch-cpu"):
        stamp = checkout / ".venv/installed" / name
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(module(checkout).digest(checkout / "envs" / f"{name}.lock"))
    done = bootstrap(checkout, TORCH="cpu")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert module(with_programs).made_for() == with_programs


def test_a_folder_that_no_environment_can_be_in(root, tmp_path):
    folder = tmp_path / "a:b"
    shutil.copytree(root / "envs", folder / "envs")
    shutil.copy(root / "bootstrap.py", folder)
    assert "could not be made" in one_line(bootstrap(folder, TORCH="cpu"))


@pytest.mark.parametrize("version", ["3.10", "3.15"])
def test_a_python_without_wheels_is_refused_before_anything_is_made(checkout, root, version):
    shutil.copy(root / "envs" / "platforms.tsv", checkout / "envs")
    line = one_line(bootstrap_as(version, checkout))
    assert f"no wheels for Python {version} on " in line
    assert "it has those for Python 3.11, 3.12, 3.13, 3.14 on " in line
    assert "make PYTHON=python3.11 demo" in line
    assert "uv venv --python 3.11" in line
    assert nothing_was_made(checkout)


def test_a_platform_without_wheels_is_refused_before_anything_is_made(checkout):
    table(checkout, "3.11 3.12 3.13 3.14", machine="linux_riscv64")
    line = one_line(bootstrap(checkout, TORCH="cpu"))
    assert "Python 3.11, 3.12, 3.13, 3.14 on linux_riscv64" in line
    assert "use one of these systems, or a container" in line
    assert nothing_was_made(checkout)


def test_a_system_that_is_too_old_is_refused_before_anything_is_made(checkout):
    table(checkout, "3.11 3.12 3.13 3.14", system="macOS 99.0" if sys.platform == "darwin" else "glibc 2.999")
    line = one_line(bootstrap(checkout, TORCH="cpu"))
    assert "2.999 or newer" in line or "99.0 or newer" in line
    assert nothing_was_made(checkout)


def test_a_supported_python_on_path_takes_over(checkout, tmp_path):
    table(checkout, "3.98 3.99")
    programs = tmp_path / "programs"
    programs.mkdir()
    scripts = {
        "python3.98": "exit 127",  # a shim that stands for no interpreter
        "python3.99": '[ "$1" = -c ] && { echo 3.99; exit; }; echo started "$@"',
    }
    for name, body in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    outcome = bootstrap(checkout, "--with", "dev", TORCH="cpu", PATH=str(programs))
    assert (outcome.returncode, outcome.stderr) == (0, "")
    first, second = outcome.stdout.splitlines()
    assert first.endswith(f"which has no wheels; using {programs}/python3.99")
    assert second == f"started {checkout}/bootstrap.py --with dev"


def test_an_old_python_gets_as_far_as_the_line_that_refuses_it(root):
    text = (root / "bootstrap.py").read_text()
    tree = ast.parse(text, feature_version=(3, 7))
    assert "__future__" not in text  # annotations of generic types are strings, which Python 3.6 takes too
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {name.name for node in top if isinstance(node, ast.Import) for name in node.names}
    assert modules.isdisjoint({"tomllib", "fcntl", "dataclasses", "graphlib", "zoneinfo"})
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            hints = [node.returns, *(argument.annotation for argument in node.args.args)]
            assert not any(isinstance(hint, ast.Subscript | ast.BinOp) for hint in hints), node.name


@pytest.mark.slow
def test_without_an_index_set_up_says_so_in_one_line(checkout):
    (checkout / "envs" / "build.lock").write_text("six==1.17.0 --hash=sha256:" + "0" * 64 + "\n")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": "/dev/null"}
    outcome = bootstrap(
        checkout, TORCH="cpu", PATH="/usr/bin:/bin", PIP_EXTRA_INDEX_URL="", PIP_FIND_LINKS="", **nowhere
    )
    assert "build.lock could not be installed: no package index can be reached; " in one_line(outcome)


def test_wrong_torch_build(checkout):
    assert "use TORCH=auto, TORCH=cpu or TORCH=cuda" in one_line(bootstrap(checkout, TORCH="gpu"))


def test_unknown_extra(checkout):
    assert "extras are dev, slurm and kubernetes" in one_line(bootstrap(checkout, "--with", "devel", TORCH="cpu"))


def test_the_real_locks_keep_their_promises(root):
    envs = root / "envs"
    base, cpu, cuda = ((envs / f"{name}.lock").read_text() for name in ("base", "torch-cpu", "torch-cuda"))
    assert "\ntorch==" not in base
    assert "nvidia" not in base + cpu
    assert "torch==2.13.0" in cpu
    assert "torch==2.13.0" in cuda
    # CPU and CUDA hashes must never be in one lock: pip would take the larger wheel.
    assert not set(hashes(cpu)) & set(hashes(cuda))
    for lock in envs.glob("*.lock"):
        text = lock.read_text()
        assert "http" not in text.replace("httpx", "").replace("httpcore", "").replace("aiohttp", "")
        entries = [line for line in text.replace("\\\n", " ").splitlines() if not line.startswith("#")]
        assert entries
        assert all("==" in entry and list(hashes(entry)) for entry in entries), lock.name


def hashes(text):
    return [word for word in text.replace("\\", " ").split() if word.startswith("--hash=sha256:")]
