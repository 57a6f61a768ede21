"""The whole verification of a made-up release: verdict, exit code, page and findings."""

import html
import json
import re
import shutil
import subprocess

import pytest

from tests.provenance.release.made_release import PLACES, RUN, seal
from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.provenance import verify_release
from workflow_scripts.provenance.release import verification
from workflow_scripts.provenance.release.manifest import write_manifest
from workflow_scripts.provenance.release.release_findings import Part
from workflow_scripts.provenance.release.sampling.sample_result import Item, NotChecked, Outcome, SampleResult, Verdict
from workflow_scripts.provenance.release.signatures import sign

NO_TIME = ("--budget", "0")


@pytest.fixture
def release(tmp_path, monkeypatch):
    """Manifest of a made-up run at its place in the folder of the release."""
    folder = tmp_path / "release"
    path = folder / f"results/runs/{RUN}/seal.json"
    write_manifest(path, seal(folder, monkeypatch))
    return path


@pytest.fixture
def verified(release, tmp_path, capsys):
    """A function that runs the program; returns exit code, what it printed, findings and page."""

    def run(*arguments):
        written = [tmp_path / "findings.json", tmp_path / "page.html"]
        for path in written:
            path.unlink(missing_ok=True)
        command = [str(release), *NO_TIME, "--json", str(written[0]), "--page", str(written[1]), *arguments]
        try:
            status = cli.run(verify_release.main, command)
        except SystemExit as ended:
            status = ended.code
        text = capsys.readouterr()
        found = json.loads(written[0].read_text()) if written[0].exists() else None
        return status, text.out + text.err, found, written[1].read_text() if written[1].exists() else None

    return run


def wrong(found):
    return [finding["subject"] for part in found["parts"] for finding in part["wrong"]]


def test_an_untouched_release_has_nothing_wrong(verified, release):
    status, out, found, page = verified()
    assert status == 0
    assert found["faults"] == 0
    assert found["line"] in out
    assert found["line"] in page
    assert f"seed {found['seed']}" in out
    assert re.fullmatch(r"[0-9a-f]{32}", found["seed"])
    assert "Nothing wrong found" in page
    assert [part["title"] for part in found["parts"]] == ["Manifest", "Files", "Records", "Made again"]
    assert f"--seed {found['seed']}" in page


def test_a_seed_that_is_given_is_used_and_another_is_drawn_each_time(verified):
    assert verified("--seed", "abc")[2]["seed"] == "abc"
    assert verified()[2]["seed"] != verified()[2]["seed"]


@pytest.mark.parametrize("kind", ["score", "weight", "token", "stroke of a figure", "record of a score", "lock"])
def test_a_changed_file_is_named_and_the_exit_code_is_1(verified, release, kind):
    path = release.parents[3] / PLACES[kind]
    path.write_bytes(b"x" + path.read_bytes()[1:])
    status, out, found, page = verified()
    assert status == 1
    assert wrong(found) == [PLACES[kind]]
    assert PLACES[kind] in out
    assert f"<code>{PLACES[kind]}</code>" in page
    assert 'class="verdict wrong"' in page


def test_a_changed_manifest_is_a_difference(verified, release):
    content = json.loads(release.read_text())
    release.write_text(json.dumps({**content, "settings": {**content["settings"], "seed": 5}}))
    status, _, found, _ = verified()
    assert status == 1
    assert wrong(found) == ["seal.json", f"results/runs/{RUN}/run.json"]


def test_a_manifest_that_is_not_that_of_the_paper_is_a_difference(verified, release):
    line = verified()[2]["line"]
    assert verified("--line", line)[0] == 0
    assert verified("--line", line.split(":")[1])[0] == 0
    status, _, found, _ = verified("--line", line[:-1] + ("0" if line[-1] != "0" else "1"))
    assert (status, wrong(found)) == (1, ["seal.json"])


def test_a_release_without_its_large_files_can_be_verified(verified, release):
    (release.parents[3] / PLACES["weight"]).unlink()
    status, _, found, page = verified()
    assert status == 0
    assert [finding["subject"] for finding in found["parts"][1]["unchecked"]] == [PLACES["weight"]]
    # The weights, two files of a figure and a table that no program of the list makes, and all samples.
    assert "5 could not be checked here" in page
    assert "no time was left" in page
    assert "does not end these checks" in page
    assert "the author's word" in html.unescape(page)
    assert "--complete" not in page
    status, _, found, page = verified("--complete", "--line", found["line"], "--fetch", "else where")
    assert status == 1
    again = f"--line '{found['line']}' --fetch 'else where' --complete --seed {found['seed']}"
    assert again in html.unescape(page)


def test_a_manifest_apart_from_its_release(verified, release, tmp_path):
    moved = shutil.move(release, tmp_path / "seal.json")
    assert cli.run(verify_release.main, [str(moved), *NO_TIME, "--root", str(tmp_path / "release")]) == 0
    assert cli.run(verify_release.main, [str(moved), *NO_TIME, "--root", str(tmp_path / "nowhere")]) == 2


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
def test_a_signature_is_checked_or_said_to_be_unchecked(verified, release, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    sign(release, str(key))
    status, _, found, page = verified()
    assert status == 0
    assert "was not checked" in found["parts"][0]["unchecked"][0]["text"]
    assert "was not checked" in page
    (tmp_path / "allowed").write_text(f"author@example.org {key.with_suffix('.pub').read_text()}")
    status, _, found, page = verified("--allowed-signers", str(tmp_path / "allowed"))
    assert (status, found["parts"][0]["unchecked"]) == (0, [])
    assert "is by author@example.org" in page
    (tmp_path / "allowed").write_text("")
    assert verified("--allowed-signers", str(tmp_path / "allowed"))[0] == 1


def test_a_link_out_of_the_release_is_one_line_and_exit_code_2(verified, release, tmp_path):
    path = release.parents[3] / PLACES["weight"]
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    status, out, found, page = verified()
    assert (status, found, page) == (2, None, None)
    assert out.count("\n") == 1
    assert "leads out of" in out


def test_an_absent_manifest_is_one_line(tmp_path, capsys):
    assert cli.run(verify_release.main, [str(tmp_path / "seal.json")]) == 2
    assert "no such manifest" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "ten", "-1", "1d", "10 m", "1e9", "9" * 9, "\u0663m"])
def test_a_budget_that_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match="not a length of time"):
        verify_release.seconds(text)


SAMPLE = SampleResult(
    "documents", "Documents", "nats", 100,
    (Outcome(Item("results/a", 1), Verdict.EQUAL), Outcome(Item("results/a", 2), Verdict.WITHIN, 1e-6),
     Outcome(Item("results/b", 3), Verdict.WRONG, 2.0, "says 1, recomputed 3")),
    (NotChecked("results/c", 7, "its weights are not here"),), 1.5,
)  # fmt: skip


def test_samples_are_on_the_page_and_count(verified, monkeypatch):
    monkeypatch.setattr(verification, "sampled", lambda *given: [SAMPLE])
    status, _, found, page = verified()
    assert status == 1
    assert found["faults"] == 1
    assert found["samples"] == [SAMPLE.to_json()]
    for text in ("says 1, recomputed 3", "its weights are not here", "1e-06 nats", "<code>results/b 3</code>"):
        assert text in page


def test_samples_that_cannot_be_drawn_are_a_difference(verified, monkeypatch):
    """A forger who redoes all hashes may leave nonsense behind; that is no reason to stop."""

    def broken(*given):
        raise DataError("results/x: not a results file")

    monkeypatch.setattr(verification, "sampled", broken)
    status, _, found, _ = verified()
    assert (status, wrong(found)) == (1, ["samples"])


def test_what_a_stranger_wrote_does_not_become_part_of_the_page(verified, release, tmp_path, monkeypatch):
    from workflow_scripts.provenance.release import verification_page

    part = Part("Files", "asked")
    part.hold("<script>alert(1)</script>", False, "<b>x</b>")
    monkeypatch.setattr(verification, "check_hashes", lambda *given, **named: (part, {}))
    page = verified()[3]
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S).replace("https://", "http")
    assert verification_page.NOT_PROVED[0] in page


@pytest.mark.parametrize("option", ["--page", "--json"])
def test_a_page_that_cannot_be_written_is_refused_before_the_work(release, tmp_path, capsys, monkeypatch, option):
    monkeypatch.setattr(verify_release, "verify", lambda *_: pytest.fail("began"))
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file/page.html"):
        assert cli.run(verify_release.main, [str(release), option, str(place)]) == 2
        assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["", " ", "a\nb", "\udcff"])
def test_a_seed_that_cannot_be_repeated_is_one_line(release, capsys, seed):
    assert cli.run(verify_release.main, [str(release), "--seed", seed]) == 2
    assert capsys.readouterr().err.startswith("error: --seed: ")


def test_a_page_says_that_its_seed_was_given(verified):
    assert "The seed was given" in verified("--seed", "mine")[3]
    assert "The seed was given" not in verified()[3]
