"""Regenerate the hash-only locks in this folder from the .in files beside them (``make lock``).

Every lock is resolved once for all platforms and Pythons by ``uv pip compile --universal``, and keeps the hashes of the
files that fit a supported pair of platform and Python, and no others. Two tables are written beside the locks:
``wheels.tsv`` names the file behind every hash, and ``platforms.tsv`` says for each lock where it can be installed;
``bootstrap.py`` reads it before it downloads anything. With ``--keep`` the present versions stay.

The CPU builds of torch are on an index of their own that not every machine reaches, so their hashes are an input,
``torch-cpu.wheels.tsv``. CPU and CUDA hashes must never meet in one lock: given both, pip takes the larger CUDA wheel.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

HERE = Path(__file__).resolve().parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
GLIBC = (2, 28)  # what torch's own wheels need; every other package must make do with it
MACOS = (14, 0)
PLATFORMS = {
    "linux_x86_64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "linux_aarch64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    "macosx_arm64": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}
# Published as source archives only. The first four are pure Python. immutables has no wheel for Python 3.14; its C
# module is optional, and bootstrap.py installs it without (see NO_COMPILER there).
SOURCE_ONLY = ("connection-pool", "rouge-score", "sqlitedict", "word2number", "immutables")
# Packages that a lock may take in another version than base.lock, with the reason in its .in file.
APART = {"kubernetes": ("python-dateutil",)}
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
HEADER = "# Made by `make lock` from {source}; do not edit. Install with --no-deps --require-hashes.\n"
CONDA_HEAD = f"""\
# Made by `make lock`: Python from conda-forge, the rest from base.lock and torch-cpu.lock with their hashes.
# conda itself cannot be had where this was tested: a test gives the pip section below to pip, as conda would.
channels: [conda-forge, nodefaults]
dependencies:
  - python ={PYTHONS[0]}
  - pip
  - pip:
"""


@dataclass(frozen=True)
class Package:
    """One locked version: its marker (empty: everywhere) and its files as (name, sha256)."""

    name: str
    version: str
    marker: str
    files: tuple[tuple[str, str], ...]

    @property
    def pin(self) -> str:
        """``name==version ; marker``."""
        return f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")

    def wanted_on(self, platform: str, python: str) -> bool:
        """True when the marker holds on this pair, for the first or for a late patch release of the Python."""
        marker = Marker(self.marker) if self.marker else None
        return marker is None or any(marker.evaluate(environment(platform, python, patch)) for patch in (0, 99))

    def has_file_for(self, platform: str, python: str) -> bool:
        """True when a wheel fits this pair, or when the package is one that is installed from its source."""
        tags = supported_tags(platform, python)
        return any(tags & wheel_tags(name) for name, _ in self.files) or (
            self.name in SOURCE_ONLY and any(not wheel_tags(name) for name, _ in self.files)
        )


def environment(platform: str, python: str, patch: int) -> dict[str, str]:
    """Marker variables of CPython ``python.patch`` on ``platform``."""
    fixed = {"implementation_name": "cpython", "platform_python_implementation": "CPython", "os_name": "posix"}
    return {**fixed, **PLATFORMS[platform], "python_version": python, "python_full_version": f"{python}.{patch}"}


def supported_tags(platform: str, python: str) -> frozenset[Tag]:
    """Wheel tags that pip accepts for CPython ``python`` on the oldest supported system of ``platform``."""
    version = tuple(int(part) for part in python.split("."))
    machine = PLATFORMS[platform]["platform_machine"]
    if platform.startswith("macosx"):
        names = list(mac_platforms(MACOS, machine))
    else:
        names = [f"manylinux_{GLIBC[0]}_{minor}_{machine}" for minor in range(GLIBC[1], 4, -1)]
        names += [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
    return frozenset(
        {*cpython_tags(version, platforms=names), *compatible_tags(version, f"cp{version[0]}{version[1]}", names)}
    )


def wheel_tags(name: str) -> frozenset[Tag]:
    """Tags of a wheel by its file name; empty for a source archive."""
    try:
        return parse_wheel_filename(name)[3]
    except InvalidWheelFilename:
        return frozenset()


def pairs() -> Iterator[tuple[str, str]]:
    """The supported pairs of platform and Python."""
    return ((platform, python) for platform in PLATFORMS for python in PYTHONS)


def resolve(name: str, *options: str) -> list[Package]:
    """Packages of ``name``.in as uv resolves them for all platforms, each with the files that supported pairs take."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", PYTHONS[0]]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pylock.toml"
        command += ["--format", "pylock.toml", *options, f"{name}.in", "--output-file", str(output)]
        outcome = subprocess.run(command, cwd=HERE, check=False, capture_output=True, text=True)
        if outcome.returncode:
            sys.exit(f"{name}.in cannot be resolved:\n{outcome.stderr}")
        packages = tomllib.loads(output.read_text())["packages"]
    return [package for package in map(only_supported, packages) if package.files]


def only_supported(entry: dict[str, object]) -> Package:
    """A package of uv's answer with the wheels that fit a supported pair, and its source where a pair has no wheel."""
    bare = Package(str(entry["name"]), str(entry["version"]), str(entry.get("marker", "")), ())
    wanted = [pair for pair in pairs() if bare.wanted_on(*pair)]
    tags = frozenset().union(*(supported_tags(*pair) for pair in wanted))
    files = [named(wheel) for wheel in entry.get("wheels", ())]  # type: ignore[attr-defined]
    fitting = [(name, digest) for name, digest in files if tags & wheel_tags(name)]
    package = Package(bare.name, bare.version, bare.marker, tuple(fitting))
    if bare.name in SOURCE_ONLY and not all(package.has_file_for(*pair) for pair in wanted):
        fitting.append(named(entry["sdist"]))
    return Package(bare.name, bare.version, bare.marker, tuple(fitting))


def named(entry: object) -> tuple[str, str]:
    """File name and sha256 of a wheel or source archive in uv's answer."""
    assert isinstance(entry, dict)
    return str(entry.get("name") or entry["url"].rsplit("/", 1)[1]), entry["hashes"]["sha256"]


def cpu_torch() -> list[Package]:
    """CPU builds of torch: one entry for Linux and one for macOS, from the table of hashes beside its .in file."""
    rows = [line.split("\t") for line in (HERE / "torch-cpu.wheels.tsv").read_text().splitlines() if "#" not in line]
    version = (HERE / "torch-cpu.in").read_text().strip().removeprefix("torch==")
    stray = [row[0] for row in rows[1:] if not re.match(rf"torch-{re.escape(version)}(\+cpu)?-", row[0])]
    if stray:
        sys.exit(
            f"torch-cpu.in asks for {version}, but torch-cpu.wheels.tsv has {stray[0]}: put the new hashes there first"
        )
    linux = tuple((row[0], row[1]) for row in rows[1:] if "+cpu-" in row[0])
    macos = tuple((row[0], row[1]) for row in rows[1:] if "-macosx_" in row[0])
    return [
        Package("torch", version, "sys_platform == 'darwin'", macos),
        Package("torch", f"{version}+cpu", "sys_platform == 'linux'", linux),
    ]


def pins(name: str) -> list[str]:
    """Requirements of a lock with their exact versions and markers, without hashes."""
    lines = (HERE / f"{name}.lock").read_text().splitlines()
    return [line.removesuffix("\\").strip() for line in lines if "==" in line and not line.startswith((" ", "#"))]


def all_but_ours() -> list[str]:
    """Options that leave out of a lock what the workflow's own locks hold, so that its folder shadows nothing."""
    held = ["torch", *(re.split("[=;]", line)[0].strip() for line in pins("base"))]
    return [word for name in dict.fromkeys(held) for word in ("--no-emit-package", name)]


def lock_text(name: str, packages: Iterable[Package]) -> str:
    """Text of a lock: each pin with its hashes, without index addresses."""
    return HEADER.format(source=f"{name}.in") + "".join(map(lock_entry, packages))


def lock_entry(package: Package) -> str:
    """One requirement with its hashes, as pip reads it."""
    hashes = sorted(digest for _, digest in package.files)
    return " \\\n".join([package.pin, *(f"    --hash=sha256:{digest}" for digest in hashes)]) + "\n"


def conda_text(packages: Iterable[Package]) -> str:
    """Environment file for conda: Python from conda-forge, the packages with the versions and hashes of the locks.

    They are repeated here because Snakemake copies this file into a folder of its own, where ``-r`` finds nothing.
    """
    lines = ["--require-hashes", f"--extra-index-url {TORCH_CPU_INDEX}"]
    lines += [" ".join(entry.replace("\\\n", "").split()) for entry in map(lock_entry, packages)]
    return CONDA_HEAD + "".join(f"      - {json.dumps(line)}\n" for line in lines)


def gaps(packages: list[Package], platform: str, python: str) -> list[str]:
    """Packages that are wanted on this pair and have no file for it."""
    return [
        package.name
        for package in packages
        if package.wanted_on(platform, python) and not package.has_file_for(platform, python)
    ]


def platform_rows(name: str, packages: list[Package]) -> Iterator[str]:
    """Lines of ``platforms.tsv`` for one lock: platform, oldest system, Pythons for which no package lacks a file."""
    for platform in PLATFORMS:
        system = f"macOS {MACOS[0]}.{MACOS[1]}" if platform.startswith("macosx") else f"glibc {GLIBC[0]}.{GLIBC[1]}"
        wanted = [python for python in PYTHONS if any(package.wanted_on(platform, python) for package in packages)]
        lacking = {python: gaps(packages, platform, python) for python in wanted}
        for python in (python for python in wanted if lacking[python]):
            print(f"{name}.lock lacks {', '.join(lacking[python])} for Python {python} on {platform}")
        whole = [python for python in wanted if not lacking[python]]
        if whole:
            yield "\t".join((name, platform, system, " ".join(whole)))


def resolved_locks(keep: bool) -> Iterator[tuple[str, list[Package]]]:
    """Resolve the locks in the order in which they build on each other; each is written before the next is resolved."""
    with tempfile.TemporaryDirectory() as folder:

        def kept(name: str) -> list[str]:
            """Options that hold ``name`` to its present versions, or to those of base.lock but for APART."""
            lines = [*(pins("base") if name in APART else ()), *(pins(name) if keep and locked(name) else ())]
            apart = tuple(f"{package}==" for package in APART.get(name, ()))
            file = Path(folder) / f"{name}.txt"
            file.write_text("".join(f"{line}\n" for line in lines if not (apart and line.startswith(apart))))
            return ["--constraint", str(file)]

        yield "base", resolve("base", "--override", "overrides.txt", "--no-emit-package", "torch", *kept("base"))
        for name in ("build", "slurm", "dev", "kubernetes", "torch-cuda"):
            yield name, resolve(name, *kept(name))
        yield "torch-cpu", cpu_torch()
        yield "bench", resolve("bench", "--override", "bench-overrides.txt", *all_but_ours(), *kept("bench"))
        yield "hub", resolve("hub", "--override", "hub-overrides.txt", *all_but_ours(), *kept("hub"))


def locked(name: str) -> bool:
    """True when the lock is there already."""
    return (HERE / f"{name}.lock").exists()


def main() -> None:
    """Write every lock, the two tables and conda's environment file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep the present versions; add only what is missing")
    files: dict[str, str] = {}
    conda: list[Package] = []
    rows = ["lock\tplatform\tsystem\tpython"]
    for name, packages in resolved_locks(parser.parse_args().keep):
        (HERE / f"{name}.lock").write_text(lock_text(name, packages))
        files |= {file: digest for package in packages for file, digest in package.files}
        conda += packages if name in ("base", "torch-cpu") else ()
        rows += platform_rows(name, packages)
        print(f"{name}.lock: {len(packages)} packages")
    (HERE / "conda.yaml").write_text(conda_text(conda))
    (HERE / "platforms.tsv").write_text("\n".join(rows) + "\n")
    lines = ["file\tsha256", *(f"{file}\t{files[file]}" for file in sorted(files))]
    (HERE / "wheels.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
