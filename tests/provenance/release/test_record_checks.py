"""Records are held to files, to each other and to the manifest: hashes that are all redone still contradict them."""

import json

import pytest

from tests.provenance.release.made_release import FOLDER, PLACES, graph_of, seal, write
from workflow_scripts.provenance.release.hash_pass import check_hashes
from workflow_scripts.provenance.release.record_checks import RecordChecks
from workflow_scripts.provenance.release.release_findings import Part


@pytest.fixture
def release(tmp_path, monkeypatch):
    """A function that seals the made-up run after a change, as somebody does who redoes all hashes."""
    folder = tmp_path / "release"
    before = seal(folder, monkeypatch)

    def sealed_after(change=None):
        if change is None:
            return folder, before
        change(folder)
        return folder, seal(folder, monkeypatch, graph_of(folder))

    return sealed_after


def checked(folder, manifest):
    files, places = check_hashes(manifest, folder)
    assert files.wrong == []
    return RecordChecks(manifest, places, Part("Records", "")).run()


def edit(path, **changes):
    """Change a record of the release."""

    def change(folder):
        record = json.loads((folder / path).read_text())
        write(folder, path, {**record, **changes})

    return change


def test_records_of_an_untouched_release_agree(release):
    part = checked(*release())
    assert (part.wrong, part.unchecked) == ([], [])
    # Outputs: tokens, receipt, score, table, 2 of the figure. Inputs: suite, weights, tokens, score, table. Parameters:
    # vocabulary, revision (6 files), dtype and threads (2 files), rows, figure (2 files). The list: 2. The summary: 3.
    # The settings: 1. The weights that the scores file names: 1.
    assert part.right == 6 + 5 + (1 + 4 + 4 + 1 + 2) + 2 + 3 + 1 + 1


def test_scores_that_name_other_weights_than_the_sealed_ones_are_wrong(release):
    def forge(folder):
        scores = {"config": {"weights_sha256": "0" * 64}, "results": {"task": {"acc,none": 0.9}}}
        sha256 = write(folder, PLACES["score"], scores)
        edit(PLACES["record of a score"], output_sha256=sha256)(folder)

    found = [finding for finding in checked(*release(forge)).wrong if "weights 000000000000" in finding.text]
    assert [finding.subject for finding in found] == [PLACES["score"]]


@pytest.mark.parametrize(
    ("kind", "content", "named"),
    [
        ("score", '{"results": {}}\n', "its output"),
        ("token", b"other tokens", "its output"),
        ("weight", b"other weights", "the file"),
        ("point of a figure", "step,loss\n0,6.9\n1,5.8\n", "its output"),
        ("stroke of a figure", "<svg/>", "its output"),
        ("table", b"other table", "its output"),
        ("configuration", "name: other\n", "its input suite"),
    ],
)
def test_a_changed_file_contradicts_the_records_when_all_hashes_are_redone(release, kind, content, named):
    part = checked(*release(lambda folder: write(folder, PLACES[kind], content)))
    assert any(PLACES[kind] in finding.text and named in finding.text for finding in part.wrong)


def test_weights_that_the_scores_were_not_made_from_are_found(release):
    """The list of hashes is redone too; what scored them called them otherwise."""

    def change(folder):
        sha256 = write(folder, PLACES["weight"], b"other weights")
        lines = (folder / PLACES["list of hashes"]).read_text().splitlines()
        write(folder, PLACES["list of hashes"], f"{lines[0]}\n{sha256}  model.safetensors\n")

    part = checked(*release(change))
    assert [finding.subject for finding in part.wrong] == [PLACES["record of a score"], PLACES["score"]]
    assert f"in {FOLDER}" in part.wrong[0].text


def test_a_parameter_of_a_record_against_the_manifest(release):
    folder, manifest = release()
    edit(PLACES["record of a score"], parameters={"dtype": "float64", "threads": 1})(folder)
    places = {file.path: folder / file.path for file in manifest.files()}
    part = RecordChecks(manifest, places, Part("Records", "")).run()
    assert {finding.subject for finding in part.wrong} == {PLACES["record of a score"], "rules"}


@pytest.mark.parametrize(
    ("field", "value"), [("code", ("other",)), ("libraries", {"numpy": ("1",)}), ("settings", {"run": "other"})]
)
def test_what_the_manifest_says_of_all_records_is_compared(release, field, value):
    import dataclasses

    folder, manifest = release()
    part = checked(folder, dataclasses.replace(manifest, **{field: value}))
    assert [finding.subject for finding in part.wrong] == [
        PLACES["setting of the run"] if field == "settings" else field
    ]


def test_absent_records_are_not_compared(release):
    folder, manifest = release()
    (folder / PLACES["record of a score"]).unlink()
    part = checked(folder, manifest)
    assert part.wrong == []


def test_an_input_that_is_not_sealed_is_said(release):
    part = checked(
        *release(edit(PLACES["record of a score"], inputs={"x": {"path": "elsewhere/x", "sha256": "0" * 64}}))
    )
    assert [(finding.subject, finding.text) for finding in part.unchecked] == [
        ("elsewhere/x", "is an input of a record and is not sealed")
    ]


@pytest.mark.parametrize("content", ["{}", "[]", "", '{"inputs": {}, "command": 5, "parameters": {}}',
                                     '{"inputs": {"x": 5}, "command": [], "parameters": {}}',
                                     '{"inputs": {}, "command": [], "parameters": []}'])  # fmt: skip
def test_a_record_that_is_none_is_wrong_and_no_traceback(release, content):
    folder, manifest = release()
    write(folder, PLACES["record of a score"], content)
    places = {file.path: folder / file.path for file in manifest.files()}
    part = RecordChecks(manifest, places, Part("Records", "")).run()
    assert PLACES["record of a score"] in [finding.subject for finding in part.wrong]


def test_a_list_of_hashes_and_a_run_that_are_none(release):
    folder, manifest = release()
    write(folder, PLACES["list of hashes"], "no list")
    write(folder, PLACES["setting of the run"], "{}")
    places = {file.path: folder / file.path for file in manifest.files()}
    part = RecordChecks(manifest, places, Part("Records", "")).run()
    assert [finding.subject for finding in part.wrong] == [PLACES["list of hashes"], PLACES["setting of the run"]]
