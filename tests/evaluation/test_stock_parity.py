"""The fast path against stock lm-eval (simple_evaluate with its Hugging Face model) on the same folder and data."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from evaluation_worlds import TASKS, plan_arguments, save_model, train_tokenizer

from workflow_scripts.errors import ConfigError, EvaluationError, UnknownNameError
from workflow_scripts.evaluation import build_plan as planner
from workflow_scripts.evaluation import crosscheck
from workflow_scripts.evaluation import score as scorer
from workflow_scripts.evaluation.build_plan import build_plan
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.planning.tasks import load_tasks, local_manager
from workflow_scripts.evaluation.scoring import score_plan
from workflow_scripts.evaluation.scoring.results import loglikelihoods_path, make_results

FAMILIES = ("blimp_passive_1", "lambada_openai", "arc_easy", "piqa", "wsc", "winogrande", "logiqa", "wikitext")
FAMILIES += ("mmlu_anatomy", "crows_pairs_english")


@pytest.fixture(scope="module")
def scored(checkpoint, plan_file, tmp_path_factory):
    """Results files of the checkpoint for 0 and 5 shots."""
    folder = tmp_path_factory.mktemp("scores")
    outputs = {shots: folder / f"{shots}-shot.json" for shots in (0, 5)}
    plans = [str(plan_file(shots)) for shots in outputs]
    scorer.main(["--checkpoint", str(checkpoint), "--plan", *plans, "--output", *map(str, outputs.values())])
    return outputs


def equal_metrics(ours, stock):
    """Every metric of ``ours`` is lm-eval's to 1e-6 relative, standard errors of means too."""
    compared = 0
    for task, entry in ours["results"].items():
        for key, value in entry.items():
            if "," not in key or key.startswith("perplexity_stderr"):  # delta method here, bootstrap there
                continue
            expected = stock["results"][task][key]
            if "_stderr" in key and expected == "N/A":
                assert value == "N/A" or not math.isnan(value)
                continue
            # A difference of two loglikelihoods near -200 is as exact as these are, 1e-6 of them.
            allowed = 2e-4 if key.startswith("likelihood_diff") else 1e-9
            assert math.isclose(value, expected, rel_tol=1e-6, abs_tol=allowed), (task, key, value, expected)
            compared += 1
    return compared


@pytest.mark.parametrize("shots", [0, 5])
def test_pocket_tasks(checkpoint, plan_file, task_data, scored, shots):
    plan = read_plan(plan_file(shots))
    names = [task["name"] for task in plan.header["tasks"]]
    stock = crosscheck.run_stock(checkpoint, plan, names, local_manager(names, [task_data])[0], 12)
    assert equal_metrics(json.loads(scored[shots].read_text()), stock) >= 4


@pytest.mark.parametrize("switch", ["truncation", "padding"])
def test_a_tokenizer_that_truncates_or_pads_changes_no_score(copy_of, task_data, tmp_path, switch):
    """transformers writes what its last call asked for into tokenizer.json; stock lm-eval ignores it."""
    folder = copy_of("step6")
    path = folder / "tokenizer.json"
    settings = {
        "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 60}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1,
                    "pad_type_id": 0, "pad_token": "<|padding|>"},
    }  # fmt: skip
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), switch: settings[switch]}), encoding="utf-8")
    plan_path, output = tmp_path / "0-shot.plan", tmp_path / "0-shot.json"
    planner.main(plan_arguments(TASKS, 0, task_data, path, plan_path))
    scorer.main(["--checkpoint", str(folder), "--plan", str(plan_path), "--output", str(output)])
    stock = crosscheck.run_stock(folder, read_plan(plan_path), list(TASKS), local_manager(TASKS, [task_data])[0], 12)
    assert equal_metrics(json.loads(output.read_text()), stock) >= 4


def test_crosscheck_program_by_both_doors(checkpoint, plan_file, task_data, scored, tmp_path):
    output = tmp_path / "crosscheck.json"
    common = ["--checkpoint", str(checkpoint), "--data-dir", str(task_data), "--limit", "4", "--output", str(output)]
    crosscheck.main([*common, "--plan", str(plan_file(5)), "--scores", str(scored[5])])
    verdict = json.loads(output.read_text())
    assert verdict["largest_difference"] < 1e-4
    assert [item["documents"] for item in verdict["tasks"]] == [4, 4, 4]
    crosscheck.main([*common, "--tasks", "pocket_agreement", "pocket_facts", "--shots", "0", "5"])
    verdict = json.loads(output.read_text())
    assert [(item["task"], item["shots"]) for item in verdict["tasks"]] == [
        ("pocket_agreement", 0),
        ("pocket_facts", 0),
        ("pocket_facts", 5),
    ]


def test_crosscheck_finds_wrong_scores(checkpoint, plan_file, task_data, scored, tmp_path):
    copy = tmp_path / "0-shot.json"
    copy.write_bytes(scored[0].read_bytes())
    with np.load(loglikelihoods_path(scored[0])) as file:
        arrays = dict(file)
    arrays["0-shot/loglikelihood"] = arrays["0-shot/loglikelihood"].copy()
    arrays["0-shot/loglikelihood"][3] += 2e-4
    arrays["0-shot/greedy"] = ~arrays["0-shot/greedy"]
    np.savez(loglikelihoods_path(copy), **arrays)
    output = tmp_path / "crosscheck.json"
    with pytest.raises(EvaluationError, match="differences from lm-eval: pocket_agreement: request 3: loglikelihood"):
        crosscheck.main(
            ["--checkpoint", str(checkpoint), "--plan", str(plan_file(0)), "--scores", str(copy)]
            + ["--data-dir", str(task_data), "--limit", "2", "--tasks", "pocket_agreement", "--output", str(output)]
        )
    assert not output.exists()
    assert (tmp_path / "crosscheck.json.failed").is_file()


def test_crosscheck_arguments(checkpoint, plan_file, task_data, scored, tmp_path):
    common = ["--checkpoint", str(checkpoint), "--data-dir", str(task_data), "--output", str(tmp_path / "c.json")]
    with pytest.raises(ConfigError, match="either --plan with --scores"):
        crosscheck.main(common)
    with pytest.raises(UnknownNameError, match="plan: unknown task 'pocket_fact'"):
        crosscheck.main([*common, "--plan", str(plan_file(0)), "--scores", str(scored[0]), "--tasks", "pocket_fact"])
    with pytest.raises(ConfigError, match="--limit must be 1"):
        crosscheck.main([*common, "--tasks", *TASKS, "--limit", "0"])


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """Random checkpoint with a small vocabulary made for the real evaluation data."""
    import pyarrow.parquet as pq

    data = shared / "hub" / "datasets"
    texts = pq.read_table(data / "EleutherAI" / "lambada_openai" / "default" / "test.parquet")["text"].to_pylist()
    folder = tmp_path_factory.mktemp("real") / "pythia-tiny" / "step0"
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer(folder.parent / "tokenizer.json", texts[:300], 1500)
    save_model(folder, tokenizer, 5, vocab_size=1536, max_position_embeddings=512)
    return folder, data


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("shots", [0, 5])
@pytest.mark.parametrize(("weights_seed", "draws_seed"), [(5, 1234), (6, 7), (7, 42)])
def test_ten_families_on_real_data(real, tmp_path, shots, weights_seed, draws_seed):
    original, data = real
    folder = tmp_path / "pythia-tiny" / "step0"
    folder.mkdir(parents=True)
    save_model(folder, original / "tokenizer.json", weights_seed, vocab_size=1536, max_position_embeddings=512)
    engine = Engine(folder)
    names = list(FAMILIES) if shots == 0 else [name for name in FAMILIES if name not in ("blimp_passive_1", "wikitext")]
    plan = build_plan(
        load_tasks(FAMILIES, [data]), folder / "tokenizer.json", shots=shots, max_length=512, limit=3, seed=draws_seed
    )
    assert {task["name"] for task in plan.header["tasks"]} | set(plan.header["left_out"]) == set(FAMILIES)
    answers = score_plan.score_plan(engine, plan)
    stock = crosscheck.run_stock(folder, plan, names, local_manager(names, [data])[0], 3)
    checked = [task for task in plan.header["tasks"] if task["name"] in names]
    for task in checked:
        assert crosscheck.compare_task(plan, task, answers, stock["samples"][task["name"]]).failures == []
    ours = make_results(plan, answers, {})
    ours["results"] = {name: ours["results"][name] for name in (task["name"] for task in checked)}
    assert equal_metrics(ours, stock) >= 8
    for key in ("versions", "n-shot", "n-samples", "higher_is_better"):
        for name in ours["results"]:
            assert ours[key][name] == stock[key][name]


@pytest.mark.slow
@pytest.mark.shared
def test_group_means_on_real_data(real):
    folder, data = real
    loaded = load_tasks(["mmlu_humanities"], [data])
    plan = build_plan(loaded, folder / "tokenizer.json", shots=0, max_length=512, limit=2, seed=1234)
    results = make_results(plan, score_plan.score_plan(Engine(folder), plan), {})
    assert set(results["groups"]) == {"mmlu_humanities"}
    group = results["groups"]["mmlu_humanities"]
    members = [entry["acc,none"] for name, entry in results["results"].items() if name != "mmlu_humanities"]
    assert len(members) == 13
    assert math.isclose(group["acc,none"], sum(members) / 13, rel_tol=1e-12)
    assert (group["alias"], group["sample_len"], results["n-shot"]["mmlu_humanities"]) == ("humanities", 26, 0)
