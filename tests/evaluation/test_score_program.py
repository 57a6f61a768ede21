"""Scoring: equal bytes on repetition, refusals by name, nothing half-written, and a light process."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from evaluation_worlds import TASKS, plan_arguments, save_model
from safetensors.torch import load_file, save_file

from workflow_scripts.errors import ConfigError, DataError, EvaluationError, MissingInputError
from workflow_scripts.evaluation import build_plan as planner
from workflow_scripts.evaluation import score as scorer
from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.scoring import scoring_job
from workflow_scripts.evaluation.scoring.model_folder import weights_identity
from workflow_scripts.evaluation.scoring.results import check_results, read_answers, read_results


def run(checkpoints, plans, outputs, *more):
    arguments = ["--checkpoint", *checkpoints, "--plan", *plans, "--output", *outputs]
    scorer.main([str(argument) for argument in (*arguments, *more)])


def test_two_plans_two_checkpoints_one_process(plan_file, checkpoint, copy_of, tmp_path):
    other = copy_of("step8")
    save_model(other, other / "tokenizer.json", 3)
    plans = [plan_file(0), plan_file(5)]
    outputs = [tmp_path / f"{folder.name}-{shots}.json" for folder in (checkpoint, other) for shots in (0, 5)]
    run([checkpoint, other], plans, outputs)
    for folder, first in ((checkpoint, 0), (other, 2)):
        alone = tmp_path / "alone.json"
        run([folder], [plans[1]], [alone])
        assert alone.read_bytes() == outputs[first + 1].read_bytes()
        assert read_results(outputs[first])["config"]["revision"] == folder.name
    values = [read_answers(output, read_plan(plans[1])).loglikelihood for output in (outputs[1], outputs[3])]
    assert not np.allclose(*values)


def test_equal_bytes_again(plan_file, checkpoint, tmp_path):
    for name in ("a", "b"):
        run([checkpoint], [plan_file(0)], [tmp_path / name / "0-shot.json"])
    for file in ("0-shot.json", "0-shot.json.loglikelihoods.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    record = json.loads((tmp_path / "a" / "0-shot.json.record.json").read_text())
    assert record["inputs"]["weights"]["sha256"] == weights_identity(checkpoint)


def test_what_is_scored_is_kept_and_what_changed_is_not(plan_file, copy_of, tmp_path, monkeypatch):
    folder, output = copy_of("step13"), tmp_path / "0-shot.json"
    run([folder], [plan_file(0)], [output])
    first = output.stat().st_ino
    run([folder], [plan_file(0)], [output])
    assert output.stat().st_ino == first
    content = json.loads(output.read_text())
    other = {"plans": {"0-shot": content["plans"]["0-shot"] | {"identity": "other"}}}
    for change in (other, {"config": content["config"] | {"dtype": "float16"}}):
        output.write_text(json.dumps(content | change))
        run([folder], [plan_file(0)], [output])
        assert json.loads(output.read_text()) == content
    side = tmp_path / "0-shot.json.loglikelihoods.npz"
    side.write_bytes(b"cut")
    run([folder], [plan_file(0)], [output])
    assert len(side.read_bytes()) > 100
    weights = load_file(folder / "model.safetensors")
    weights["embed_out.weight"] *= 2
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    run([folder], [plan_file(0)], [output])
    assert json.loads(output.read_text())["config"]["weights_sha256"] != content["config"]["weights_sha256"]
    changed = output.read_text()
    monkeypatch.setattr(scoring_job, "ENGINE_VERSION", 99)
    run([folder], [plan_file(0)], [output])
    assert output.read_text() != changed


def test_results_have_lm_evals_shape(plan_file, checkpoint, tmp_path):
    output = tmp_path / "0-shot.json"
    run([checkpoint], [plan_file(0)], [output])
    content = read_results(output)
    facts = content["results"]["pocket_facts"]
    assert {"alias", "acc,none", "acc_stderr,none", "acc_norm,none", "acc_norm_stderr,none"} < set(facts)
    assert facts["sample_len"] == 12
    assert content["n-samples"]["pocket_facts"] == {"original": 12, "effective": 12}
    assert content["n-shot"]["pocket_agreement"] == 0
    assert content["versions"]["pocket_facts"] == 1.0
    assert content["higher_is_better"]["pocket_last_word"] == {"perplexity": False, "acc": True}
    names = sorted(content["results"])
    assert content["plans"] == {"0-shot": {"identity": read_plan(plan_file(0)).identity, "names": names}}
    assert str(tmp_path) not in output.read_text()


def test_the_process_is_light(plan_file, checkpoint, tmp_path):
    program = (
        "import sys\n"
        "from workflow_scripts.evaluation import score\n"
        "score.main(sys.argv[1:])\n"
        "heavy = {'lm_eval', 'transformers', 'datasets', 'pandas', 'pyarrow', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    output = tmp_path / "0-shot.json"
    arguments = ["--checkpoint", checkpoint, "--plan", plan_file(0), "--output", output]
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True, capture_output=True)
    assert output.is_file()


def test_a_plan_for_another_tokenizer_is_refused(plan_file, copy_of, tmp_path):
    folder = copy_of("step9")
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()), indent=7))
    output = tmp_path / "0-shot.json"
    with pytest.raises(EvaluationError, match=r"0-shot\.plan: made for tokenizer .* but .*step9 has"):
        run([folder], [plan_file(0)], [output])
    tokenizer.unlink()
    with pytest.raises(MissingInputError, match=r"step9: has no tokenizer\.json"):
        run([folder], [plan_file(0)], [output])
    assert not list(tmp_path.glob("*.json*"))


def test_a_plan_for_a_longer_context_is_refused(plan_file, copy_of, tokenizer_file, tmp_path):
    folder = copy_of("step10")
    save_model(folder, tokenizer_file, 0, max_position_embeddings=64)
    with pytest.raises(EvaluationError, match=r"made for 128 tokens of context, but .*step10 takes 64"):
        run([folder], [plan_file(0)], [tmp_path / "0.json"])


def test_a_plan_with_other_token_ids_is_refused(plan_file, copy_of, tokenizer_file, tmp_path):
    folder = copy_of("step10")
    save_model(folder, tokenizer_file, 0, vocab_size=258)
    with pytest.raises(EvaluationError, match="token ids beyond the 258"):
        run([folder], [plan_file(0)], [tmp_path / "0.json"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_broken_checkpoint_leaves_no_output(plan_file, copy_of, tmp_path, value):
    folder = copy_of("step11")
    weights = load_file(folder / "model.safetensors")
    weights["gpt_neox.layers.0.mlp.dense_4h_to_h.bias"][3] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EvaluationError, match="step11: logits that are not finite, first in layer 0 of 2"):
        run([folder], [plan_file(0)], [tmp_path / "out" / "0-shot.json"])
    assert not list((tmp_path / "out").iterdir())


def test_wrong_numbers_of_outputs_or_threads(plan_file, checkpoint, tmp_path):
    with pytest.raises(ConfigError, match="2 plans of 2 numbers of shots, but 1 --output files"):
        run([checkpoint], [plan_file(0), plan_file(5)], [tmp_path / "a.json"])
    with pytest.raises(ConfigError, match="3 --output files cannot be shared out to 2 checkpoints"):
        run([checkpoint, checkpoint], [plan_file(0)], [tmp_path / name for name in "abc"])
    with pytest.raises(ConfigError, match="--threads is 0"):
        run([checkpoint], [plan_file(0)], [tmp_path / "a.json"], "--threads", "0")


def test_answers_of_another_plan_are_refused(plan_file, checkpoint, tmp_path):
    output = tmp_path / "0-shot.json"
    run([checkpoint], [plan_file(0)], [output])
    with pytest.raises(EvaluationError, match="scored on plan"):
        read_answers(output, read_plan(plan_file(5)))
    side = tmp_path / "0-shot.json.loglikelihoods.npz"
    side.write_bytes(side.read_bytes()[:100])
    with pytest.raises(DataError, match="not a file of loglikelihoods"):
        read_answers(output, read_plan(plan_file(0)))
    side.unlink()
    with pytest.raises(MissingInputError, match="no such file"):
        read_answers(output, read_plan(plan_file(0)))


def good_results():
    entry = {"alias": "t", "sample_len": 3, "acc,none": 0.5, "acc_stderr,none": "N/A"}
    rest = {key: {"t": 1} for key in ("versions", "n-shot", "n-samples", "higher_is_better", "config")}
    return {"results": {"t": entry}, "lm_eval_version": "0.4.13", **rest}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "0.5", True, "N/A"])
def test_results_with_bad_numbers_are_refused(tmp_path, value):
    content = good_results()
    check_results(tmp_path, content)
    content["results"]["t"]["acc,none"] = value
    with pytest.raises(DataError, match="task 't': acc,none is"):
        check_results(tmp_path, content)


def test_results_with_missing_parts_are_refused(tmp_path):
    path = tmp_path / "0-shot.json"
    for key in good_results():
        content = good_results()
        del content[key]
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match=f"lacks {key}"):
            read_results(path)
    for text, message in (
        ("", "not JSON"),
        ("[]", "no JSON object"),
        (json.dumps(good_results() | {"results": {}}), "no task"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_results(path)
    with pytest.raises(MissingInputError, match="no such results file; rescore the checkpoint"):
        read_results(tmp_path / "none.json")


def test_listed_hashes_are_believed(copy_of):
    folder = copy_of("step12")
    before = weights_identity(folder)
    listed = [f"{'0' * 64}  model.safetensors"]
    (folder / "sha256.txt").write_text("\n".join(listed) + "\n")
    assert weights_identity(folder) != before


def test_threads_do_not_change_much(plan_file, checkpoint, tmp_path):
    run([checkpoint], [plan_file(0)], [tmp_path / "one.json"])
    run([checkpoint], [plan_file(0)], [tmp_path / "two.json"], "--threads", "2")
    torch.set_num_threads(1)
    plan = read_plan(plan_file(0))
    one, two = (read_answers(tmp_path / name, plan) for name in ("one.json", "two.json"))
    np.testing.assert_allclose(one.loglikelihood, two.loglikelihood, atol=1e-4)


def test_a_limited_plan_scores_its_documents_alike(plan_file, checkpoint, task_data, tokenizer_file, tmp_path):
    small = tmp_path / "small.plan"
    planner.main([*plan_arguments(TASKS, 0, task_data, tokenizer_file, small), "--limit", "3"])
    run([checkpoint], [small, plan_file(0)], [tmp_path / "small.json", tmp_path / "whole.json"])
    part, whole = read_plan(small), read_plan(plan_file(0))
    ours, all_ours = read_answers(tmp_path / "small.json", part), read_answers(tmp_path / "whole.json", whole)
    for cut, full in zip(part.header["tasks"], whole.header["tasks"], strict=True):
        begin, count = full["requests"][0], cut["requests"][1] - cut["requests"][0]
        np.testing.assert_allclose(
            ours.loglikelihood[slice(*cut["requests"])], all_ours.loglikelihood[begin : begin + count], atol=2e-5
        )
