"""The authors' results: the manifest of the table, and every number held to the file that it names."""

import dataclasses
import json

import pytest

from tests.provenance.release.made_release import read_manifest
from workflow_scripts.errors import MissingInputError
from workflow_scripts.provenance.release.published_results import check_published, seal_published, tables_in
from workflow_scripts.provenance.seal import main as seal_main
from workflow_scripts.provenance.verify_release import main as verify_main
from workflow_scripts.published.import_results import main as import_main

CARRIED = "config/suites/published/pythia-evals"
FILE = "pythia-v1/pythia-70m/zero-shot/70m_step1000.json"


def results(acc):
    entry = {"acc": acc, "acc_stderr": 0.01, "acc_norm": 0.3, "acc_norm_stderr": 0.01}
    config = {
        "model": "hf-causal",
        "model_args": "pretrained=EleutherAI/pythia-70m,revision=step1000",
        "num_fewshot": 0,
    }
    return json.dumps({"results": {"sciq": entry}, "versions": {"sciq": 0}, "config": config})


@pytest.fixture
def imported(tmp_path):
    """A table of a few numbers and the folder that it was imported from."""
    path = tmp_path / "evals" / FILE
    path.parent.mkdir(parents=True)
    path.write_text(results(0.25))
    other = path.with_name("70m_step2000.json")
    other.write_text(results(0.5).replace("step1000", "step2000"))
    import_main(["--source", str(tmp_path / "evals"), "--output", str(tmp_path / "published.parquet")])
    return tmp_path / "published.parquet", tmp_path


def checked(table, upstream):
    return check_published({"published.parquet": table}, ["published.parquet"], upstream)


def test_every_file_and_every_number_is_compared(imported):
    table, upstream = imported
    for folder in (upstream, upstream / "evals"):
        part = checked(table, folder)
        assert (part.right, part.wrong, part.unchecked) == (2 + 4, [], [])


def test_a_changed_number_is_found_in_the_file_and_in_the_table(imported):
    table, upstream = imported
    (upstream / "evals" / FILE).write_text(results(0.75))
    part = checked(table, upstream)
    assert [finding.subject for finding in part.wrong] == [FILE, f"{FILE}: sciq, acc"]
    assert part.wrong[1].text == "the table says 0.25, the file 0.75"
    assert part.right == 1 + 3


def test_a_table_that_was_changed_does_not_agree_with_the_files(imported):
    from workflow_scripts.published.results_table import read_table, write_table

    table, upstream = imported
    frame = read_table(table)
    frame.loc[frame["metric"].eq("acc_norm") & frame["step"].eq(2000), "value"] = 0.9
    write_table(frame, table)
    assert [finding.text for finding in checked(table, upstream).wrong] == ["the table says 0.9, the file 0.3"]
    write_table(frame.iloc[1:], table)
    assert [finding.subject for finding in checked(table, upstream).wrong] == ["rows"]


def test_without_the_files_nothing_is_claimed(imported, tmp_path):
    table, upstream = imported
    part = checked(table, None)
    assert (part.right, len(part.unchecked)) == (0, 1)
    assert "--upstream" in part.unchecked[0].text
    (upstream / "evals" / FILE).unlink()
    part = checked(table, upstream)
    assert (part.right, part.wrong, [finding.subject for finding in part.unchecked]) == (1, [], [FILE])
    with pytest.raises(MissingInputError, match="takes a checkout"):
        checked(table, tmp_path / "nowhere")
    part = check_published({}, ["published.parquet"], upstream)
    assert part.unchecked[0].text == "is not here, or is not what was sealed"


def test_the_manifest_of_the_project_is_that_of_its_table(root):
    """It is made by `pythia seal --published`, again whenever the table changes."""
    kept = read_manifest(root / f"{CARRIED}.seal.json")
    assert dataclasses.replace(seal_published(root), sealed=kept.sealed) == kept
    assert kept.settings["numbers"] == 263579
    assert kept.settings["files"] == 1830
    assert tables_in(kept) == [f"{CARRIED}.parquet"]


def test_the_programs_seal_and_verify_it(root, tmp_path, capsys):
    target = tmp_path / "config/suites/published/pythia-evals.seal.json"
    target.parent.mkdir(parents=True)
    for ending in (".parquet", ".refused.tsv", ".defects.tsv"):
        target.with_name(f"pythia-evals{ending}").write_bytes((root / f"{CARRIED}{ending}").read_bytes())
    seal_main(["--published", "--root", str(tmp_path)])
    verify_main([str(target)])
    assert "Nothing wrong found in 4 comparisons; 1 could not be checked here." in capsys.readouterr().out
    text = target.with_name("pythia-evals.defects.tsv")
    text.write_text(text.read_text().replace("five", "Five", 1))
    with pytest.raises(SystemExit) as ended:
        verify_main([str(target)])
    assert ended.value.code == 1


@pytest.mark.shared
@pytest.mark.slow
def test_all_numbers_of_the_authors_are_in_their_files(root, shared, tmp_path, capsys):
    import time

    start = time.monotonic()
    verify_main([str(root / f"{CARRIED}.seal.json"), "--upstream", str(shared / "upstream")])
    assert time.monotonic() - start < 60
    assert f"Nothing wrong found in {263579 + 1830 + 4:,} comparisons." in capsys.readouterr().out
