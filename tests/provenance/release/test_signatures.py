"""Signatures by real keys of ssh-keygen and gpg: good, of other content, of other people, unchecked, absent."""

import shutil
import subprocess

import pytest

from workflow_scripts.errors import ConfigError, MissingInputError, PipelineError
from workflow_scripts.provenance.release import signatures
from workflow_scripts.provenance.release.signatures import Trust, check, sign

needs_ssh = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
needs_gpg = pytest.mark.skipif(not (shutil.which("gpg") and shutil.which("gpgv")), reason="gpg is not installed")


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "seal.json"
    path.write_bytes(b"{}\n")
    return path


def ssh_key(folder, name):
    """A key without passphrase and the line that allows it."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
    subprocess.run(command, check=True)
    return folder / name, f"{name}@example.org {(folder / f'{name}.pub').read_text()}"


@needs_ssh
def test_ssh_signatures_are_good_bad_or_not_checked(manifest, tmp_path):
    key, line = ssh_key(tmp_path, "author")
    _, other = ssh_key(tmp_path, "other")
    signers = tmp_path / "allowed"
    signers.write_text(line)
    assert sign(manifest, str(key)) == tmp_path / "seal.json.sig"
    content = manifest.read_bytes()

    (found,) = check(manifest, content, signers, None)
    assert (found.trust, found.text) == (Trust.GOOD, f"seal.json.sig is by author@example.org, whom {signers} allows")
    (found,) = check(manifest, content, None, None)
    assert found.trust is Trust.UNCHECKED
    assert "SHA256:" in found.text
    (found,) = check(manifest, content + b" ", signers, None)
    assert found.trust is Trust.BAD
    (found,) = check(manifest, content + b" ", None, None)
    assert found.trust is Trust.BAD
    signers.write_text(other)
    (found,) = check(manifest, content, signers, None)
    assert found.trust is Trust.BAD


@needs_ssh
def test_a_signature_for_another_purpose_is_bad(manifest, tmp_path):
    """As of a git commit or a letter: the name space is part of what is signed."""
    key, line = ssh_key(tmp_path, "author")
    (tmp_path / "allowed").write_text(line)
    with manifest.open("rb") as file:
        done = subprocess.run(
            ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", str(key)], stdin=file, capture_output=True
        )
    (tmp_path / "seal.json.sig").write_bytes(done.stdout)
    for keys in (tmp_path / "allowed", None):
        assert [found.trust for found in check(manifest, b"{}\n", keys, None)] == [Trust.BAD]


@pytest.fixture
def gpg_home(tmp_path_factory, monkeypatch):
    """Short, because the socket of gpg's agent lies in it."""
    home = tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    yield home
    subprocess.run(["gpgconf", "--kill", "all"], check=False)


@needs_gpg
def test_gpg_signatures_are_good_bad_or_not_checked(manifest, tmp_path, gpg_home):
    for name in ("author", "other"):
        made = ["gpg", "--batch", "--passphrase", "", "--quick-generate-key", f"{name}@example.org", "ed25519", "sign"]
        subprocess.run(made, check=True, capture_output=True)
        done = subprocess.run(["gpg", "--export", f"{name}@example.org"], check=True, capture_output=True)
        (tmp_path / name).write_bytes(done.stdout)
    assert sign(manifest, "author@example.org") == tmp_path / "seal.json.asc"
    (found,) = check(manifest, b"{}\n", None, tmp_path / "author")
    assert found.trust is Trust.GOOD
    assert "author@example.org" in found.text
    assert [each.trust for each in check(manifest, b"{}\n", None, None)] == [Trust.UNCHECKED]
    assert [each.trust for each in check(manifest, b"{ }\n", None, tmp_path / "author")] == [Trust.BAD]
    assert [each.trust for each in check(manifest, b"{}\n", None, tmp_path / "other")] == [Trust.BAD]


def test_without_a_signature_there_is_none_unless_keys_were_given(manifest, tmp_path):
    assert check(manifest, b"{}\n", None, None) == []
    (tmp_path / "keys").touch()
    found = check(manifest, b"{}\n", tmp_path / "keys", tmp_path / "keys")
    assert [each.trust for each in found] == [Trust.BAD, Trust.BAD]


@needs_ssh
@pytest.mark.parametrize("content", [b"", b"no signature", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n"])
def test_what_is_no_signature_is_bad(manifest, tmp_path, content):
    (tmp_path / "keys").write_text("a@example.org ssh-ed25519 AAAA\n")
    (tmp_path / "seal.json.sig").write_bytes(content)
    for keys in (tmp_path / "keys", None):
        assert [each.trust for each in check(manifest, b"{}\n", keys, None)] == [Trust.BAD]


@needs_ssh
def test_what_ssh_keygen_refuses_is_its_line(manifest, tmp_path):
    (tmp_path / "key").write_text("no key")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(PipelineError, match="not signed; ssh-keygen says"):
        sign(manifest, str(tmp_path / "key"))
    assert not (tmp_path / "seal.json.sig").exists()


def test_mistakes_are_one_line(manifest, tmp_path, monkeypatch):
    with pytest.raises(MissingInputError, match="no such key"):
        sign(manifest, str(tmp_path / "nowhere"))
    with pytest.raises(MissingInputError, match="no such file of keys"):
        check(manifest, b"", tmp_path / "nowhere", None)
    (tmp_path / "seal.json.sig").write_bytes(b"x" * (signatures.LARGEST_SIGNATURE + 1))
    with pytest.raises(ConfigError, match="so not a signature"):
        check(manifest, b"", None, None)
    (tmp_path / "seal.json.sig").write_bytes(b"no signature")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingInputError, match="ssh-keygen is not installed"):
        check(manifest, b"", None, None)
    with pytest.raises(MissingInputError, match="is not installed"):
        sign(manifest, "author@example.org")
    assert not (tmp_path / "seal.json.asc").exists()
