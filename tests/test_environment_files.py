"""Every lock can be installed on every supported pair of platform and Python, and the other recipes say the same."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

PLATFORMS = {
    "linux_x86_64": ("linux", "Linux", "x86_64"),
    "linux_aarch64": ("linux", "Linux", "aarch64"),
    "macosx_arm64": ("darwin", "Darwin", "arm64"),
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PAIRS = [(platform, python) for platform in PLATFORMS for python in PYTHONS]
LOCKS = ("base", "bench", "build", "dev", "hub", "kubernetes", "slurm", "torch-cpu", "torch-cuda")
# Pure Python but published as source archives only; and one whose C module is optional.
PURE_SOURCES = {"connection-pool", "rouge-score", "sqlitedict", "word2number"}
OPTIONAL_EXTENSION = {("immutables", "3.14")}
PLUGIN = "snakemake-executor-plugin-slurm"


def requirements(root, lock):
    """(requirement, hashes) for each entry of a lock."""
    text = (root / "envs" / f"{lock}.lock").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if not line.startswith("#"):
            pin, *hashes = line.split("--hash=sha256:")
            yield Requirement(pin.strip()), {digest.strip() for digest in hashes}


def files(root):
    """sha256 to file name, as envs/wheels.tsv records them."""
    rows = [line.split("\t") for line in (root / "envs" / "wheels.tsv").read_text().splitlines()]
    assert rows[0] == ["file", "sha256"]
    assert len({row[1] for row in rows}) == len(rows)
    return {digest: name for name, digest in rows[1:]}


def environment(platform, python, patch):
    sys_platform, system, machine = PLATFORMS[platform]
    return {
        "sys_platform": sys_platform,
        "platform_system": system,
        "platform_machine": machine,
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_version": python,
        "python_full_version": f"{python}.{patch}",
        "extra": "",
    }


def tags(platform, python):
    """What pip takes on glibc 2.28 or macOS 14, the oldest systems that envs/platforms.tsv promises."""
    machine = PLATFORMS[platform][2]
    names = [f"manylinux_2_{minor}_{machine}" for minor in range(5, 29)] + [f"manylinux2014_{machine}"]
    if platform == "macosx_arm64":
        names = list(mac_platforms((14, 0), "arm64"))
    version = tuple(map(int, python.split(".")))
    return {*cpython_tags(version, platforms=names), *compatible_tags(version, "cp" + python.replace(".", ""), names)}


def uninstallable(root, lock, platform, python):
    """Entries of a lock that are asked for on a pair and for which no recorded file with a locked hash fits it."""
    known, fitting, missing, wanted = files(root), tags(platform, python), [], 0
    for requirement, hashes in requirements(root, lock):
        for patch in (0, 2, 30):
            marker = requirement.marker or Marker("python_version > '3'")
            if not marker.evaluate(environment(platform, python, patch)):
                continue
            wanted += 1
            name = requirement.name
            source_is_enough = name in PURE_SOURCES or (name, python) in OPTIONAL_EXTENSION
            version = str(next(iter(requirement.specifier)).version)
            if not any(fits(known.get(digest), name, version, fitting, source_is_enough) for digest in hashes):
                missing.append(f"{name}=={version}")
    return sorted(set(missing)), wanted


def fits(file, name, version, fitting, source_is_enough):
    """True when a recorded file is this package in this version and fits the tags (or may be a source archive)."""
    if file is None:
        return False
    try:
        found, found_version, _, wheel_tags = parse_wheel_filename(file)
    except InvalidWheelFilename:
        found, found_version = parse_sdist_filename(file)
        return source_is_enough and (found, str(found_version)) == (name, version)
    return (found, str(found_version)) == (name, version) and bool(wheel_tags & fitting)


@pytest.mark.parametrize(("platform", "python"), PAIRS)
def test_every_lock_has_a_file_for_every_pair(root, platform, python):
    for lock in LOCKS:
        missing, wanted = uninstallable(root, lock, platform, python)
        assert missing == [], lock
        assert (wanted > 0) is not (lock == "torch-cuda" and platform == "macosx_arm64"), lock


def test_a_pair_without_a_wheel_is_noticed(root):
    assert "torch==2.13.0+cpu" in uninstallable(root, "torch-cpu", "linux_x86_64", "3.15")[0]
    assert "numpy==2.5.5" in uninstallable(root, "base", "linux_x86_64", "3.15")[0]


def test_every_hash_is_that_of_a_recorded_file_and_every_file_is_locked(root):
    locked = {digest for lock in LOCKS for _, hashes in requirements(root, lock) for digest in hashes}
    assert locked == set(files(root))
    assert {path.stem for path in (root / "envs").glob("*.lock")} == set(LOCKS)


def test_the_hashes_of_cpu_torch_are_those_of_the_table_they_come_from(root):
    lines = (root / "envs" / "torch-cpu.wheels.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert rows[0] == ["file", "sha256", "source"]
    assert len(rows) - 1 == len(PAIRS)
    assert {row[2] for row in rows[1:]} == {"file", "public"}
    assert {row[1] for row in rows[1:]} == {h for _, hashes in requirements(root, "torch-cpu") for h in hashes}


@pytest.mark.shared
def test_the_hashes_of_cpu_torch_are_those_that_were_handed_over(root, shared):
    given = [line.split("\t") for line in (shared / "torch-wheels.tsv").read_text().splitlines() if line[:1] != "#"][1:]
    lines = (root / "envs" / "torch-cpu.wheels.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")][1:]
    evidence = {"a": "file", "b": "public"}
    assert [(row[2], row[3], evidence[row[4]]) for row in given] == [tuple(row) for row in rows]


def test_the_table_of_platforms_promises_no_more_than_the_locks_hold(root):
    rows = [line.split("\t") for line in (root / "envs" / "platforms.tsv").read_text().splitlines()]
    assert rows[0] == ["lock", "platform", "system", "python"]
    promised = {(lock, platform, python) for lock, platform, _, pythons in rows[1:] for python in pythons.split()}
    held = {(lock, *pair) for lock in LOCKS for pair in PAIRS}
    assert promised == {one for one in held if one[:2] != ("torch-cuda", "macosx_arm64")}
    assert {row[2] for row in rows[1:]} == {"glibc 2.28", "macOS 14.0"}


def conda_requirements(root):
    """(python, lines of the pip section) of conda's environment file."""
    dependencies = yaml.safe_load((root / "envs" / "conda.yaml").read_text())["dependencies"]
    return dependencies[0], dependencies[2]["pip"]


def test_the_conda_file_is_what_the_locks_say(root):
    python, lines = conda_requirements(root)
    assert python == "python =3.11"
    assert lines[0] == "--require-hashes"
    stated = {line.split(" --hash=")[0]: set(re.findall("sha256:([0-9a-f]{64})", line)) for line in lines[2:]}
    locked = {str(pin): hashes for lock in ("base", "torch-cpu") for pin, hashes in requirements(root, lock)}
    assert {str(Requirement(pin)): hashes for pin, hashes in stated.items()} == locked, "run: make lock KEEP=1"


def test_conda_s_pip_section_is_one_that_pip_takes(root, tmp_path):
    """As conda gives it to pip: as a file of requirements. Without an index pip gets as far as the first package."""
    _, lines = conda_requirements(root)
    (tmp_path / "requirements.txt").write_text("\n".join(lines).replace("https://", "file:///nowhere/") + "\n")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-index", "-r"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    outcome = subprocess.run(
        [*command, str(tmp_path / "requirements.txt")], capture_output=True, text=True, check=False, env=environment
    )
    assert "No matching distribution found for absl-py==" in outcome.stderr
    assert "nvalid requirement" not in outcome.stderr


@pytest.mark.slow
def test_an_editable_install_brings_the_package_and_its_plugin(root, tmp_path):
    """`pip install -e .` in a fresh environment; the dependencies come from this one, for no index is asked."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, checkout)
    shutil.copytree(
        root / "workflow_scripts", checkout / "workflow_scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv/bin/python"
    lender = f"import sys; sys.path.insert(0, {sysconfig.get_path('purelib')!r})\n"
    (next((tmp_path / "venv/lib").glob("python3*")) / "site-packages" / "lender.pth").write_text(lender)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    pip = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "-e", "."]
    subprocess.run(pip, cwd=checkout, check=True, env=environment, capture_output=True)
    code = "import workflow_scripts as w, snakemake_logger_plugin_brief as b; print(w.__path__[0], b.__file__)"
    outcome = subprocess.run([python, "-c", code], cwd="/", capture_output=True, text=True, check=True, env=environment)
    package, plugin = outcome.stdout.split()
    assert package == str(checkout / "workflow_scripts")
    assert plugin.startswith(str(checkout))


def test_the_ranges_of_an_editable_install_admit_the_locked_versions(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    locked = {pin.name: next(iter(pin.specifier)).version for lock in LOCKS for pin, _ in requirements(root, lock)}
    asked = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    for requirement in map(Requirement, asked):
        name = requirement.name.lower().replace("_", "-")
        if name != "pythia-workflow":
            assert requirement.specifier.contains(locked[name].split("+")[0]), requirement


def test_the_kubernetes_profile_finds_its_plugins_in_a_lock(root):
    profile = yaml.safe_load((root / "profiles/kubernetes/profile.v9+.yaml").read_text())
    names = {pin.name for pin, _ in requirements(root, "kubernetes")}
    assert f"snakemake-executor-plugin-{profile['executor']}" in names
    assert f"snakemake-storage-plugin-{profile['default-storage-provider']}" in names
    assert f"{PLUGIN}==" in (root / "envs" / "slurm.lock").read_text()


def test_the_images_are_built_from_the_locks_by_the_same_program(root):
    for name in ("Dockerfile", "apptainer.def"):
        text = (root / "envs" / name).read_text()
        assert "bootstrap.py --with" in text
        assert "pip install" not in text
        assert (root / "workflow_scripts/snakemake_plugins").is_dir()


def docker_lines(root):
    """(instruction, arguments) of the container recipe, continued lines as one."""
    text = re.sub(r"\\\n", " ", (root / "envs" / "Dockerfile").read_text())
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line and not line.startswith("#")]


def test_everything_that_the_images_copy_and_install_exists(root):
    docker = (root / "envs" / "Dockerfile").read_text()
    apptainer = (root / "envs" / "apptainer.def").read_text()
    copied = re.findall(r"^COPY (\S+) \S+$", docker, re.MULTILINE)
    files = re.search(r"%files\n((?: +.*\n)+)", apptainer)
    copied += [line.split()[0] for line in files[1].splitlines()]
    assert len(copied) >= 6
    assert [name for name in copied if not (root / name).exists()] == []
    extras = re.findall(r"EXTRAS=(\w+)", docker + apptainer)
    builds = re.findall(r"ARG TORCH=(\w+)|^ +TORCH=(\w+)", docker + apptainer, re.M)
    locks = {*extras, *(f"torch-{a or b}" for a, b in builds), "build", "base"}
    assert [name for name in locks if not (root / "envs" / f"{name}.lock").is_file()] == []
    # Instructions that Docker knows, each line but continuations and comments.
    known = {"FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "USER", "ENTRYPOINT"}
    assert {instruction for instruction, _ in docker_lines(root)} == known


def test_the_container_s_base_can_be_a_digest_and_its_user_is_not_root(root):
    lines = docker_lines(root)
    assert lines[0][0] == "ARG"
    assert lines[0][1].startswith("BASE=python:3.11-")
    assert lines[1] == ("FROM", "${BASE}")
    users = [arguments for instruction, arguments in lines if instruction == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    assert f" {users[-1]} " in next(arguments for _, arguments in lines if "useradd" in arguments)
