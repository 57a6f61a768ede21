"""Set-up: nothing to do in under a second, and one clear line for each thing that can be wrong."""

import os
import shutil
import subprocess
import sys
import time

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
    python = checkout / ".venv/bin/python"
    where = subprocess.run([python, "-c", "import sys; print(sys.path)"], capture_output=True, text=True, cwd="/")
    assert str(checkout) in where.stdout


@pytest.mark.slow
def test_a_package_with_another_hash_is_refused(checkout):
    wrong = "six==1.17.0 --hash=sha256:" + "0" * 64 + "\n"
    (checkout / "envs" / "base.lock").write_text(wrong)
    (checkout / "wheels").mkdir()
    outcome = bootstrap(checkout, TORCH="cpu", PATH="/usr/bin:/bin")
    assert "base.lock could not be installed" in one_line(outcome)
    assert not (checkout / ".venv/installed/base").exists()


def test_wrong_torch_build(checkout):
    assert "use TORCH=auto, TORCH=cpu or TORCH=cuda" in one_line(bootstrap(checkout, TORCH="gpu"))


def test_unknown_extra(checkout):
    assert "extras are dev and slurm" in one_line(bootstrap(checkout, "--with", "devel", TORCH="cpu"))


def test_the_real_locks_keep_their_promises(root):
    envs = root / "envs"
    base, cpu, cuda = ((envs / f"{name}.lock").read_text() for name in ("base", "torch-cpu", "torch-cuda"))
    assert "\ntorch==" not in base
    assert "nvidia" not in base + cpu
    assert "torch==2.13.0" in cpu
    assert "torch==2.13.0" in cuda
    # CPU and CUDA hashes must never stand in one lock: pip would take the larger wheel.
    assert not set(hashes(cpu)) & set(hashes(cuda))
    for lock in envs.glob("*.lock"):
        text = lock.read_text()
        assert "http" not in text.replace("httpx", "").replace("httpcore", "").replace("aiohttp", "")
        assert text.count("==") <= len(list(hashes(text)))


def hashes(text):
    return [word for word in text.replace("\\", " ").split() if word.startswith("--hash=sha256:")]
