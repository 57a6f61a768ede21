"""A release sampled from end to end: an honest one, and consistent forgeries that no hash gives away."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.provenance.sampling.forgeries import forge_documents
from tests.provenance.sampling.sampled_release import TRAINING, release_of, sealed
from tests.workflow.real_run import RealRun
from workflow_scripts.provenance.release.sampling.sample_result import SampleResult
from workflow_scripts.provenance.release.sampling.sampled_checks import sample, samplers_of, sizes_of
from workflow_scripts.provenance.release.verification import Request, verify
from workflow_scripts.storage.hashing import sha256_file

BUDGET = 600.0  # far more than a made release takes, on a busy machine too
KINDS = [
    "stored-scores",
    "plans",
    "documents",
    "scores",
    "rows",
    "published-weights",
    "losses",
    "updates",
    "memorized-rows",
]


def sampled(root: Path, seed: str = "seed") -> dict[str, SampleResult]:
    """All kinds of a release that was sealed as it lies there."""
    return {each.kind: each for each in sample(sealed(root), root, seed, BUDGET, lambda _: None)}


def test_an_honest_release_has_every_kind_and_nothing_wrong(release_folder: Path) -> None:
    results = sampled(release_folder)
    assert list(results) == KINDS
    assert not any(each.wrong or each.not_checked for each in results.values())
    assert all(each.checked == each.population > 0 for each in results.values())


def test_forged_documents_are_found_though_every_hash_is_right(forged: Path) -> None:
    """Three of 60 documents: loglikelihoods, scores and root are made anew."""
    forge_documents(forged, "pocket_facts", [1, 4, 9], loglikelihood=3.0)
    wrong = {kind: len(each.wrong) for kind, each in sampled(forged).items() if each.wrong}
    assert wrong == {"documents": 3, "scores": 1}


def test_a_forged_training_log_is_found(forged: Path) -> None:
    path = forged / TRAINING / "metrics.csv"
    *lines, last = path.read_text().splitlines()
    numbers = last.split(",")
    numbers[2] = str(float(numbers[2]) * 0.9)
    path.write_text("\n".join([*lines, ",".join(numbers)]) + "\n")
    assert {kind: len(each.wrong) for kind, each in sampled(forged).items() if each.wrong} == {"updates": 2}


def test_a_release_without_anything_to_recompute_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    assert [each.population for each in sampled(tmp_path).values()] == [0] * len(KINDS)


def test_files_that_were_not_sealed_are_not_looked_at(release_folder: Path) -> None:
    release = release_of(release_folder)
    partial = type(release)(release.folder, frozenset(path for path in release.paths if "scores" not in path))
    assert [each.kind for each in samplers_of(partial) if each.groups] == ["plans", *KINDS[4:]]
    assert sizes_of(release) == {"tiny": 0}


@pytest.mark.slow
def test_a_forged_run_whose_tables_follow_is_found_by_samples_alone(root: Path, tmp_path: Path) -> None:
    """Five per cent of the scores of a pocket run, one document each, and then everything that follows from them.

    Snakemake itself makes tables and page from the forged scores, so all records and hashes are right.
    """
    small = {"models": ["pocket-90k"], "steps": [0, 64, 600], "experiments": [], "figures": ["scores_over_training"]}
    run = RealRun(tmp_path / "run", root, run="small", **small)
    assert verified(run) == (0, set())
    paths = sorted(path.relative_to(run.folder).as_posix() for path in run.folder.glob("results/scores/*/*/*.json"))
    scores = [path for path in paths if not path.endswith(".record.json")]
    cells = [(path, task) for path in scores for task in json.loads((run.folder / path).read_text())["results"]]
    for path, task in cells[:: len(cells) // math.ceil(0.05 * len(cells))]:
        plan = f"results/plans/pocket/{Path(path).stem}/{task}.plan"
        forge_documents(run.folder, task, [0], path=path, plan=plan, loglikelihood=5.0, flip_greedy=True)
        record = run.folder / f"{path}.record.json"
        content = json.loads(record.read_text()) | {"output_sha256": sha256_file(run.folder / path)}
        record.write_text(json.dumps(content))
    again = run.snakemake()
    assert again.returncode == 0, again.stderr
    faults, kinds = verified(run)
    assert faults > 0
    assert kinds <= {"documents", "scores"}
    assert "scores" in kinds


def verified(run: RealRun) -> tuple[int, set[str]]:
    """Seal a run and verify it: differences found, and the kinds of samples that found them; no hash may differ."""
    # A copy without git is of code that nobody can name, which a whole manifest does not allow.
    done = run.start("workflow_scripts.provenance.seal", "--run", "small", "--partial")
    assert done.returncode == 0, done.stderr
    manifest = run.folder / "results/runs/small/seal.json"
    found = verify(Request(manifest, run.folder, "seed", BUDGET), lambda _: None)
    assert [part.wrong for part in found.parts] == [[]] * len(found.parts)
    return found.faults, {each.kind for each in found.samples if each.wrong}
