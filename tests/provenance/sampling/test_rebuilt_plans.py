"""Plans are built again from their data files: a right answer that was forged with all hashes redone is found."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.provenance.sampling.sampled_release import release_of
from workflow_scripts.evaluation.planning.plan_file import make_plan, read_plan, write_plan
from workflow_scripts.provenance.release.sampling.rebuilt_plans import RebuiltPlans
from workflow_scripts.provenance.release.sampling.sample_result import Outcome, Verdict
from workflow_scripts.provenance.release.sampling.sampler import checked
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import record_path

PLAN = "results/plans/made/0-shot/pocket_facts.plan"


@pytest.fixture
def planned(forged: Path) -> Path:
    """The made release, its records with paths below its folder as Snakemake's jobs write them."""
    for path in (forged / "results/plans").rglob("*.record.json"):
        record = json.loads(path.read_text())
        for name, entry in record["inputs"].items():
            entry["path"] = f"results/{'corpus/made/tokenizer.json' if name == 'tokenizer' else f'datasets/{name}'}"
        path.write_text(json.dumps(record))
    return forged


def change_record(root: Path, **parameters: object) -> None:
    """Give the plan's record other parameters."""
    path = record_path(root / PLAN)
    record = json.loads(path.read_text())
    record["parameters"] |= parameters
    record["output_sha256"] = sha256_file(root / PLAN)
    path.write_text(json.dumps(record))


def outcome(root: Path) -> Outcome:
    """The check of one plan."""
    sampler = RebuiltPlans(release_of(root))
    assert PLAN in [group.name for group in sampler.groups], sampler.not_checked
    (found,) = sampler.check(PLAN, [0])
    return found


def test_every_honest_plan_is_built_again_with_the_same_bytes(
    planned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampler = RebuiltPlans(release_of(planned))
    assert sampler.not_checked == []
    assert len(sampler.groups) == len(list((planned / "results/plans").rglob("*.plan")))
    found = [outcome for group in sampler.groups for outcome in sampler.check(group.name, [0])]
    assert {each.verdict for each in found} == {Verdict.EQUAL}
    assert capsys.readouterr().err == ""


def test_a_consistent_forgery_of_the_right_answers_is_found(planned: Path) -> None:
    plan = read_plan(planned / PLAN)
    gold = plan.table.gold.copy()
    gold[:2] = ~gold[:2]
    header = {name: value for name, value in plan.header.items() if name not in ("identity", "format", "counts")}
    forged = make_plan(header, plan.forest, dataclasses.replace(plan.table, gold=gold))
    write_plan(planned / PLAN, forged)
    change_record(planned, identity=forged.identity)
    assert read_plan(planned / PLAN).identity == forged.identity
    found = outcome(planned)
    assert found.verdict is Verdict.WRONG
    assert f"2 of {len(gold)} requests" in found.detail


def test_a_forged_description_of_a_task_is_found(planned: Path) -> None:
    plan = read_plan(planned / PLAN)
    header = {name: value for name, value in plan.header.items() if name not in ("identity", "format", "counts")}
    write_plan(planned / PLAN, make_plan(header | {"limit": 3}, plan.forest, plan.table))
    assert outcome(planned).detail.endswith("other limit")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"lm_eval": "0.0"}, "other lm_eval 0.0"),
        ({"definitions": "0" * 64}, "other task definitions"),
        ({"shots": 5}, "another task or number of shots"),
        ({"tasks": ["pocket_last_word"]}, "another task or number of shots"),
    ],
)
def test_what_cannot_be_built_here_is_named(planned: Path, parameters: dict[str, object], reason: str) -> None:
    change_record(planned, **parameters)
    (left,) = RebuiltPlans(release_of(planned)).not_checked
    assert left.name == PLAN
    assert reason in left.reason


def test_without_data_a_plan_is_not_checked(planned: Path) -> None:
    shutil.rmtree(planned / "results/datasets")
    assert {left.reason for left in RebuiltPlans(release_of(planned)).not_checked} == {
        "was built from data files that are not here"
    }


def test_data_at_another_place_are_not_taken(planned: Path) -> None:
    path = record_path(planned / PLAN)
    path.write_text(path.read_text().replace("results/datasets/", "results/other/"))
    (left,) = RebuiltPlans(release_of(planned)).not_checked
    assert "another place" in left.reason


def test_data_without_what_a_prompt_asks_for_are_wrong_in_one_line(planned: Path) -> None:
    inputs = json.loads(record_path(planned / PLAN).read_text())["inputs"]
    for path in (planned / entry["path"] for name, entry in inputs.items() if name != "tokenizer"):
        pq.write_table(pq.read_table(path).select([0]), path)
    (found,) = checked(RebuiltPlans(release_of(planned)), PLAN, [0])
    assert found.verdict is Verdict.WRONG
    assert "its data do not give prompts (UndefinedError: " in found.detail
