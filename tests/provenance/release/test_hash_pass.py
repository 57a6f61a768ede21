"""Any single change of a release is found by reading its files once, whatever was changed and however well hidden."""

import json
import os
import random
import shutil

import pytest

from tests.docs.test_pages_run import FINISHED
from tests.provenance.release.made_release import PLACES, read_manifest, seal
from workflow_scripts.errors import DataError
from workflow_scripts.provenance.release import hash_pass
from workflow_scripts.provenance.release.hash_pass import check_hashes
from workflow_scripts.provenance.release.manifest import write_manifest
from workflow_scripts.provenance.release.verification import Request, check_structure
from workflow_scripts.provenance.seal import main as seal_main

CHANGES = 50


@pytest.fixture
def release(tmp_path, monkeypatch):
    folder = tmp_path / "release"
    return folder, seal(folder, monkeypatch)


def change_one_byte(path, numbers):
    """Another byte somewhere; size and times stay, as a careful forger leaves them."""
    facts, content = path.stat(), bytearray(path.read_bytes())
    place = numbers.randrange(len(content))
    content[place] ^= 1 << numbers.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def wrong_in(manifest, folder, **options):
    part, _ = check_hashes(manifest, folder, **options)
    return [finding.subject for finding in part.wrong]


def test_an_untouched_release_is_right(release):
    folder, manifest = release
    part, places = check_hashes(manifest, folder)
    assert (part.wrong, part.unchecked) == ([], [])
    assert part.right == len(places) == len(manifest.files())


@pytest.mark.parametrize("number", range(CHANGES))
def test_each_of_fifty_random_changes_is_found(release, number):
    folder, manifest = release
    numbers = random.Random(number)
    kind = sorted(PLACES)[number % len(PLACES)]
    change_one_byte(folder / PLACES[kind], numbers)
    assert wrong_in(manifest, folder) == [PLACES[kind]]


def set_at(content, path, value):
    *way, last = path
    for key in way:
        content = content[key]
    assert content[last] != value
    content[last] = value


@pytest.mark.parametrize(
    "path",
    [
        ("settings", "learning_rate"), ("rules", "score_checkpoint", "parameters", "dtype"), ("sealed",), ("code", 0),
        ("outputs", 0, "sha256"), ("outputs", 0, "bytes"), ("records", 0, "sha256"), ("ledger", 0, "commit"),
        ("libraries", "numpy", 0), ("inputs", 0, "sha256"), ("locks", 0, "bytes"),
    ],
)  # fmt: skip
def test_a_change_of_the_manifest_is_found(release, tmp_path, path):
    folder, manifest = release
    write_manifest(tmp_path / "seal.json", manifest)
    content = json.loads((tmp_path / "seal.json").read_text())
    old = manifest.as_json()
    for key in path:
        old = old[key]
    values = {int: 7, float: 0.5}
    set_at(content, path, values.get(type(old), "2000-01-01T00:00:00Z" if path == ("sealed",) else "f" * 64))
    (tmp_path / "seal.json").write_text(json.dumps(content))
    text = (tmp_path / "seal.json").read_bytes()
    from workflow_scripts.provenance.release.manifest import parse

    found, root = parse(text, "seal.json")
    part = check_structure(Request(tmp_path / "seal.json", folder, "s", 0), found, root, text)
    assert [finding.text[:21] for finding in part.wrong] == ["was changed after sea"]


def test_what_is_absent_is_not_checked_and_wrong_in_a_complete_release(release):
    folder, manifest = release
    (folder / PLACES["weight"]).unlink()
    part, places = check_hashes(manifest, folder)
    assert part.wrong == []
    assert [(finding.subject, finding.text) for finding in part.unchecked] == [(PLACES["weight"], "is not here")]
    assert PLACES["weight"] not in places
    assert wrong_in(manifest, folder, complete=True) == [PLACES["weight"]]


def test_other_sizes_other_kinds_and_dangling_links_are_wrong(release):
    folder, manifest = release
    with (folder / PLACES["score"]).open("a") as file:
        file.write(" ")
    (folder / PLACES["token"]).unlink()
    (folder / PLACES["token"]).mkdir()
    (folder / PLACES["weight"]).unlink()
    (folder / PLACES["weight"]).symlink_to("nowhere")
    (folder / PLACES["table"]).unlink()
    os.mkfifo(folder / PLACES["table"])
    part, _ = check_hashes(manifest, folder)
    texts = {finding.subject: finding.text for finding in part.wrong}
    assert texts.keys() == {PLACES[kind] for kind in ("score", "token", "weight", "table")}
    assert texts[PLACES["token"]] == texts[PLACES["table"]] == texts[PLACES["weight"]] == "is not a file"
    assert "bytes, sealed are" in texts[PLACES["score"]]


def test_a_link_inside_the_release_is_followed_and_one_out_of_it_refused(release, tmp_path):
    folder, manifest = release
    inside = folder / PLACES["weight"]
    inside.rename(folder / "results" / "moved")
    inside.symlink_to(folder / "results" / "moved")
    assert wrong_in(manifest, folder) == []
    shutil.move(folder / "results" / "moved", tmp_path / "outside")
    inside.unlink()
    inside.symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match=r"leads out of .*--root"):
        check_hashes(manifest, folder)
    inside.unlink()
    shutil.move(tmp_path / "outside", inside)
    (folder / "results" / "scores").rename(tmp_path / "scores")
    (folder / "results" / "scores").symlink_to(tmp_path / "scores")
    with pytest.raises(DataError, match="leads out of"):
        check_hashes(manifest, folder)


def test_configuration_may_be_that_of_the_checkout(release, monkeypatch, tmp_path):
    folder, manifest = release
    shutil.copytree(folder / "config", tmp_path / "checkout" / "config")
    shutil.rmtree(folder / "config")
    monkeypatch.setattr(hash_pass, "ROOT", tmp_path / "checkout")
    part, places = check_hashes(manifest, folder)
    assert (part.wrong, part.unchecked) == ([], [])
    assert places[PLACES["configuration"]] == tmp_path / "checkout" / PLACES["configuration"]
    (tmp_path / "checkout" / PLACES["configuration"]).write_text("other")
    part, _ = check_hashes(manifest, folder, complete=True)
    assert part.wrong == []
    assert [finding.subject for finding in part.unchecked] == [PLACES["configuration"]]


@pytest.mark.slow
@pytest.mark.skipif(not FINISHED, reason="FINISHED_POCKET_RUN names no finished pocket run")
def test_each_of_fifty_random_changes_of_a_pocket_run_is_found(tmp_path):
    """One change at a time in a copy, each of a kind in turn; only the changed file is wrong."""
    folder = tmp_path / "release"
    seal_main(["--run", "pocket", "--partial", "--root", FINISHED, "--output", str(tmp_path / "seal.json")])
    manifest = read_manifest(tmp_path / "seal.json")
    for file in manifest.files():
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        os.link(os.path.realpath(f"{FINISHED}/{file.path}"), folder / file.path)
    ends = (".json", ".npz", ".bin", ".safetensors", ".csv", ".svg", ".parquet", ".record.json", ".npy", ".html")
    numbers = random.Random(0)
    for number in range(CHANGES):
        chosen = [file.path for file in manifest.files() if file.path.endswith(ends[number % len(ends)]) and file.bytes]
        path = folder / numbers.choice(chosen)
        whole = path.rename(path.with_name(".whole"))
        shutil.copy2(whole, path)
        change_one_byte(path, numbers)
        assert wrong_in(manifest, folder) == [path.relative_to(folder).as_posix()]
        whole.replace(path)
    assert wrong_in(manifest, folder, complete=True) == []
