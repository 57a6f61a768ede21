"""Signatures of a manifest with the user's own key, by the programs that people have: ssh-keygen, gpg and gpgv.

A signature of an ssh key is in ``<manifest>.sig`` (``ssh-keygen -Y``, name space ``pythia-seal``), one of a gpg key in
``<manifest>.asc``. What is signed are the bytes of the manifest.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from workflow_scripts.errors import ConfigError, MissingInputError, PipelineError
from workflow_scripts.storage.atomic import write_bytes

NAMESPACE = "pythia-seal"
SSH, GPG = ".sig", ".asc"
LARGEST_SIGNATURE = 1 << 16  # bytes


class Trust(Enum):
    """What is known of a signature."""

    GOOD = "good"
    BAD = "bad"
    UNCHECKED = "not checked"


@dataclass(frozen=True)
class Signature:
    """What was found about one signature, in a sentence."""

    trust: Trust
    text: str


def signature_path(manifest: Path, ending: str) -> Path:
    """Where the signature of ``manifest`` lies."""
    return manifest.with_name(manifest.name + ending)


def sign(manifest: Path, key: str) -> Path:
    """Sign with an ssh key (the path of its file) or a gpg key (its name); returns the signature's path.

    Raises PipelineError with what the program said when it refuses.
    """
    is_file = Path(key).is_file()
    if not is_file and ("/" in key or key.endswith(".pub")):
        raise MissingInputError(f"{key}: no such key; give the file of an ssh key, or the name of a gpg key")
    command = (
        ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", key]
        if is_file
        else ["gpg", "--armor", "--detach-sign", f"--local-user={key}", "--output", "-"]
    )
    done = run(command, manifest.read_bytes())
    if done.returncode:
        raise PipelineError(f"{manifest}: not signed; {command[0]} says: {last_line(done)}")
    target = signature_path(manifest, SSH if is_file else GPG)
    write_bytes(target, done.stdout)
    return target


def check(manifest: Path, content: bytes, signers: Path | None, keyring: Path | None) -> list[Signature]:
    """Every signature beside ``manifest``, whose bytes are ``content``, against the keys that are trusted.

    ``signers`` is a file of allowed signers (ssh-keygen(1)), ``keyring`` one of gpg. Raises MissingInputError.
    """
    for file in (signers, keyring):
        if file is not None and not file.is_file():
            raise MissingInputError(f"{file}: no such file of keys")
    checks = ((SSH, check_ssh, signers), (GPG, check_gpg, keyring))
    found = []
    for ending, check_one, keys in checks:
        path = signature_path(manifest, ending)
        if path.is_file():
            if path.stat().st_size > LARGEST_SIGNATURE:
                raise ConfigError(f"{path}: larger than {LARGEST_SIGNATURE} bytes, so not a signature")
            found.append(check_one(path, content, keys))
        elif keys is not None:
            found.append(Signature(Trust.BAD, f"{path.name} is not there, and {keys} was given to check it with"))
    return found


def check_ssh(path: Path, content: bytes, signers: Path | None) -> Signature:
    """A signature by ssh-keygen."""
    if signers is None:
        done = run(["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(path)], content)
        if done.returncode:
            return Signature(Trust.BAD, f"{path.name} is not a signature of this manifest: {last_line(done)}")
        key = done.stdout.decode(errors="replace").strip().rpartition(" ")[2]
        return Signature(
            Trust.UNCHECKED, f"{path.name} is by the key {key}; whose key that is was not checked: --allowed-signers"
        )
    finding = run(["ssh-keygen", "-Y", "find-principals", "-s", str(path), "-f", str(signers)], b"")
    for who in finding.stdout.decode(errors="replace").splitlines():
        command = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-f", str(signers), "-I", who, "-s", str(path)]
        if run(command, content).returncode == 0:
            return Signature(Trust.GOOD, f"{path.name} is by {who}, whom {signers} allows")
    return Signature(Trust.BAD, f"{path.name} is not a signature of this manifest by anyone whom {signers} allows")


def check_gpg(path: Path, content: bytes, keyring: Path | None) -> Signature:
    """A signature by gpg."""
    if keyring is None:
        return Signature(Trust.UNCHECKED, f"{path.name} was not checked; --gpg-keyring FILE checks it")
    with tempfile.TemporaryDirectory() as home:
        done = run(["gpgv", "--homedir", home, "--keyring", str(keyring.resolve()), str(path), "-"], content)
    if done.returncode:
        return Signature(Trust.BAD, f"{path.name} is not a signature of this manifest by a key of {keyring}")
    said = [line for line in done.stderr.decode(errors="replace").splitlines() if "Good signature" in line]
    return Signature(Trust.GOOD, f"{path.name}: {said[0].removeprefix('gpgv: ') if said else 'good signature'}")


def run(command: Sequence[str], content: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run a program with ``content`` on its standard input; raises MissingInputError where it is not installed."""
    try:
        return subprocess.run(command, input=content, capture_output=True, check=False)
    except FileNotFoundError:
        raise MissingInputError(f"{command[0]} is not installed; signatures need it") from None


def last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a program that failed said last."""
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
