"""The format: written and read back, its root after two other descriptions of it, and every hostile content refused."""

import dataclasses
import hashlib
import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.provenance.release.made_release import read_manifest, seal
from workflow_scripts import cli
from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.provenance import verify_release
from workflow_scripts.provenance.release import manifest as format_of
from workflow_scripts.provenance.release.manifest import (
    Manifest,
    Output,
    canonical,
    tree_hash,
    write_manifest,
)

PAGE = "docs/how-to/verify-a-release.md"


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    return seal(tmp_path / "release", monkeypatch)


@pytest.fixture
def written(manifest, tmp_path):
    write_manifest(tmp_path / "seal.json", manifest)
    return tmp_path / "seal.json"


def test_what_is_written_is_read_back(manifest, written):
    assert read_manifest(written) == manifest
    assert manifest.line == f"pythia-seal-1 sha256:{json.loads(written.read_text())['root']}"


def rfc_6962(leaves):
    """Merkle tree hash of RFC 6962, section 2.1, from its recursive definition; ``leaves`` are hashed already."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + rfc_6962(leaves[:k]) + rfc_6962(leaves[k:])).digest()


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70))
def test_the_tree_is_that_of_rfc_6962(leaves):
    assert tree_hash(leaves) == rfc_6962(leaves)


def test_the_twenty_lines_of_the_page_give_the_same_root(manifest, written, root, tmp_path):
    """A reader of the page needs nothing of this project."""
    program = next(
        block for block in re.findall(r"```python\n(.*?)```", (root / PAGE).read_text(), re.S) if "hashlib" in block
    )
    assert len(program.splitlines()) <= 20
    (tmp_path / "root.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-I", "root.py", str(written)], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip() == manifest.line


def test_every_field_and_every_file_is_in_the_root(manifest):
    roots = {manifest.root}
    changes = [
        {"run": "other"}, {"suite": "other"}, {"sealed": "2000-01-01T00:00:00Z"}, {"partial": True}, {"limits": ("x",)},
        {"missing": ("results/x",), "partial": True}, {"settings": {**manifest.settings, "seed": 1}}, {"code": ("x",)},
        {"libraries": {}}, {"rules": {}}, {"inputs": ()}, {"locks": ()}, {"ledger": ()}, {"kind": "published"},
        {"outputs": manifest.outputs[1:]}, {"records": manifest.records[1:]},
    ]  # fmt: skip
    first = manifest.outputs[0]
    for name, value in [("path", "x"), ("bytes", 1), ("sha256", "0" * 64), ("rule", None), ("record", None)]:
        changes.append({"outputs": (dataclasses.replace(first, **{name: value}), *manifest.outputs[1:])})
    for change in changes:
        roots.add(dataclasses.replace(manifest, **change).root)
    assert len(roots) == 1 + len(changes)
    assert {name for change in changes for name in change} == {field.name for field in dataclasses.fields(Manifest)}


def test_a_file_cannot_pass_for_the_header_or_for_a_node(manifest):
    """Equal bytes under another role give another hash."""
    entry = canonical(dataclasses.asdict(manifest.outputs[0]))
    assert (
        len({hashlib.sha256(role + entry).digest() for role in (format_of.LEAF, format_of.NODE, format_of.HEADER)}) == 3
    )


def test_the_order_of_the_lists_does_not_matter(manifest):
    assert dataclasses.replace(manifest, outputs=manifest.outputs[::-1]).root == manifest.root


def hostile(content):
    """Contents that no seal writes, each with a word of the refusal."""
    outputs = content["outputs"]

    def with_file(**change):
        return {**content, "outputs": [{**outputs[0], **change}, *outputs[1:]]}

    yield from ((with_file(path=path), "path") for path in (
        "../x", "/etc/passwd", "results/../../x", "a//b", "results/\u202ex", "-rf", "a\\b", "", "results/" + "x" * 300,
    ))  # fmt: skip
    yield from ((with_file(bytes=size), "whole number") for size in (-1, 2**63, 10**400, 1.5, True, "1", None))
    yield from ((with_file(sha256=sha256), "hexadecimal") for sha256 in ("", "0" * 63, "Z" * 64, "A" * 64, 5, None))
    yield with_file(rule="no_such_rule"), "rule"
    yield with_file(rule="x" * 301), "at most"
    yield with_file(rule="a\nb"), "characters"
    yield with_file(record="results/nowhere"), "not listed"
    yield with_file(extra=1), "unknown key"
    yield with_file(path=outputs[1]["path"]), "listed twice"
    yield {**content, "records": [*content["records"], content["records"][0]]}, "listed twice"
    yield {**content, "format": "zip"}, "format"
    yield {**content, "version": 2}, "version"
    yield {**content, "version": True}, "version"
    yield {**content, "kind": "other"}, "kind"
    yield {**content, "partial": 1}, "partial"
    yield {**content, "missing": ["results/x"]}, "partial"
    yield {**content, "sealed": "yesterday"}, "sealed"
    yield {**content, "limits": ["x" * 301]}, "limits"
    yield {**content, "limits": "x"}, "not a list"
    yield {**content, "settings": []}, "settings"
    yield {**content, "rules": {"x": {}}}, "lacks"
    yield {**content, "ledger": [{}]}, "lacks"
    yield {**content, "outputs": {}}, "not a list"
    yield {**content, "outputs": [[]]}, "not a JSON object"
    yield {**content, "command": "rm"}, "unknown key"
    yield {name: value for name, value in content.items() if name != "code"}, "lacks code"


def test_hostile_content_is_one_line_and_exit_code_2(manifest, tmp_path, capsys):
    path, seen = tmp_path / "seal.json", 0
    for content, word in hostile(json.loads(json.dumps(manifest.as_json()))):
        path.write_text(json.dumps(content))
        assert cli.run(verify_release.main, [str(path), "--budget", "0"]) == 2, word
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith(f"error: {path}: ")
        assert word in err
        seen += 1
    assert seen == 45


@pytest.mark.parametrize(
    "text",
    [
        "", "[", "[]", "7", '{"a": 1, "a": 2}', '{"format": NaN}', '{"format": Infinity}', '{"format": 1e999}',
        '{"format": "\\ud800"}', "[" * 100_000, '{"format": ' + "9" * 5000 + "}", "\x00", "PK\x03\x04",
    ],
)  # fmt: skip
def test_what_is_no_json_of_ours_is_refused(text, tmp_path):
    path = tmp_path / "seal.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"not a manifest|manifest is not"):
        read_manifest(path)


def test_bytes_that_are_no_text_and_files_that_are_none(tmp_path, monkeypatch, written):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not a manifest"):
        read_manifest(tmp_path / "bytes")
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(MissingInputError, match="no such manifest"):
            read_manifest(path)
    monkeypatch.setattr(format_of, "LARGEST_MANIFEST", 100)
    with pytest.raises(DataError, match="larger than"):
        read_manifest(written)


def test_a_duplicate_key_is_named(manifest, tmp_path):
    text = json.dumps(manifest.as_json())
    (tmp_path / "seal.json").write_text(text.replace('"kind": ', '"kind": "run", "kind": ', 1))
    with pytest.raises(DataError, match="duplicate key 'kind'"):
        read_manifest(tmp_path / "seal.json")


def test_a_root_that_is_not_of_the_content_is_told_apart(manifest):
    content = {**manifest.as_json(), "run": "other"}
    found, root = format_of.parse(json.dumps(content).encode(), "here")
    assert root == manifest.root != found.root


def test_nothing_is_written_that_could_not_be_read(manifest, tmp_path):
    broken = dataclasses.replace(manifest, outputs=(Output("../x", 1, "0" * 64, None, None),))
    with pytest.raises(DataError, match="only plain relative paths"):
        write_manifest(tmp_path / "seal.json", broken)
    assert not list(tmp_path.glob("*seal*"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_any_value_in_any_place_is_read_or_refused(data):
    """Whatever a stranger writes: a manifest or one DataError, nothing else."""
    empty = Manifest("run", "r", "s", "2026-01-01T00:00:00Z", False, (), (), {}, (), {}, {}, (), (), (), (
        Output("a", 1, "0" * 64, None, None),), ())  # fmt: skip
    content = json.loads(json.dumps(empty.as_json()))
    place = data.draw(st.sampled_from(sorted(content)))
    if place == "outputs" and data.draw(st.booleans()):
        content["outputs"][0][data.draw(st.sampled_from(sorted(content["outputs"][0])))] = data.draw(JSON)
    else:
        content[place] = data.draw(JSON)
    try:
        found, root = format_of.parse(json.dumps(content).encode(), "here")
    except DataError as error:
        assert str(error).startswith("here: ")
    else:
        assert isinstance(found, Manifest)
        assert len(root) == 64
