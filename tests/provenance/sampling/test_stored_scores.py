"""Scores follow from the stored loglikelihoods, or the file is wrong."""

from __future__ import annotations

import json
from math import inf, nan
from pathlib import Path

import pytest

from tests.provenance.sampling.forgeries import forge_documents
from tests.provenance.sampling.sampled_release import SCORES, release_of
from workflow_scripts.provenance.release.sampling.evaluated_files import Evaluations
from workflow_scripts.provenance.release.sampling.sample_result import Outcome, Verdict
from workflow_scripts.provenance.release.sampling.stored_scores import StoredScores, differing


def outcome(root: Path) -> Outcome:
    """The check of the only scores file."""
    (found,) = StoredScores(Evaluations(release_of(root))).check(SCORES, [0])
    return found


def test_an_honest_file_is_equal(release_folder: Path) -> None:
    assert outcome(release_folder).verdict is Verdict.EQUAL


def test_a_consistent_forgery_is_not_found_here(forged: Path) -> None:
    """Which is why documents are run again."""
    before = (forged / SCORES).read_bytes()
    forge_documents(forged, "pocket_last_word", [1, 2, 3], flip_greedy=True)
    assert (forged / SCORES).read_bytes() != before
    assert outcome(forged).verdict is Verdict.EQUAL


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("results", "pocket_facts", "acc,none"), 0.999),
        (("results", "pocket_facts", "acc_stderr,none"), 0.1),
        (("n-samples", "pocket_facts", "effective"), 13),
        (("versions", "pocket_facts"), 7.5),
    ],
)
def test_a_changed_number_is_named(forged: Path, place: tuple[str, ...], value: float) -> None:
    content = json.loads((forged / SCORES).read_text())
    entry = content
    for key in place[:-1]:
        entry = entry[key]
    entry[place[-1]] = value
    (forged / SCORES).write_text(json.dumps(content))
    found = outcome(forged)
    assert found.verdict is Verdict.WRONG
    assert "/".join(place) in found.detail


def test_a_file_without_its_plans_is_listed(forged: Path) -> None:
    (forged / "results/plans/made/0-shot/pocket_facts.plan").unlink()
    sampler = StoredScores(Evaluations(release_of(forged)))
    assert sampler.groups == []
    assert {each.reason for each in sampler.not_checked} == {"its plan is not in the release", "a plan is not here"}


def test_no_number_hides_behind_a_small_difference() -> None:
    found = dict(differing({"a": 1.0, "b": 0.5, "c": nan}, {"a": 1.0 + 1e-15, "b": nan, "c": nan}))
    assert found == {"a": pytest.approx(1e-15, rel=0.2), "b": inf}
