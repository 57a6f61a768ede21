"""Architectures that our engine does not know: lm-eval's model runs the same plans, and nothing foreign is executed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_worlds import TASKS, save_other_model, stock_evaluation
from safetensors.torch import load_file, save_file
from test_stock_parity import equal_metrics

from workflow_scripts import cli
from workflow_scripts.errors import EvaluationError, IntegrityError, ModelError
from workflow_scripts.evaluation import collect, crosscheck
from workflow_scripts.evaluation import score as scorer
from workflow_scripts.evaluation.engine import stock_engine
from workflow_scripts.evaluation.engine.stock_engine import StockEngine
from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.scoring import partial_scores
from workflow_scripts.evaluation.scoring.results import read_answers, read_results
from workflow_scripts.storage.hashing import sha256_file

OTHER = "mistral"


@pytest.fixture(scope="module")
def other(tmp_path_factory, tokenizer_file):
    """Random checkpoint of an architecture that only transformers knows, under a name of the pocket suite."""
    folder = tmp_path_factory.mktemp("other") / "pocket-90k" / "step4"
    save_other_model(folder, tokenizer_file, 0, OTHER)
    return folder


@pytest.fixture
def broken(other, tmp_path):
    """A copy of it whose config.json or weights may be changed."""
    import shutil

    return shutil.copytree(other, tmp_path / "pocket-90k" / "step8")


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def arguments(folder, plans, outputs, architecture=OTHER):
    return [
        *("--checkpoint", str(folder), "--plan", *map(str, plans), "--output", *map(str, outputs)),
        *("--architecture", architecture),
    ]


@pytest.fixture(scope="module")
def scored(other, plan_file, tmp_path_factory):
    """Results of it for 0 and 5 shots."""
    folder = tmp_path_factory.mktemp("scores") / "pocket-90k" / "step4"
    outputs = {shots: folder / f"{shots}-shot.json" for shots in (0, 5)}
    scorer.main(arguments(other, map(plan_file, outputs), outputs.values()))
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("shots", [0, 5])
def test_scores_equal_stock_lm_evals(other, plan_file, task_data, scored, shots):
    """lm-eval as a user calls it: its own evaluator, its tokens, its batches, the folder given by name."""
    plan = read_plan(plan_file(shots))
    stock = stock_evaluation(other, plan, shots, task_data)
    assert equal_metrics(read_results(scored[shots]), stock) >= 4
    ours = read_answers(scored[shots], plan)
    for task in plan.header["tasks"]:
        theirs = crosscheck.stock_answers(task, sorted(stock["samples"][task["name"]], key=lambda one: one["doc_id"]))
        part = ours.of_task(task)
        np.testing.assert_allclose(part.loglikelihood, theirs.loglikelihood, atol=1e-4, rtol=1e-6)
        assert part.greedy.tolist() == theirs.greedy.tolist()


def test_results_say_which_engine_made_them_and_why(scored, tmp_path):
    content = read_results(scored[0])
    assert (content["config"]["model"], content["config"]["engine"]) == (OTHER, "lm-eval-hf")
    assert content["config"]["engine_reason"] == f"the prefix-tree engine does not know '{OTHER}'"
    record = json.loads(scored[0].with_name("0-shot.json.record.json").read_text())
    assert record["inputs"]["weights"]["sha256"] == content["config"]["weights_sha256"]
    table = tmp_path / "scores.parquet"
    collect.main(["--suite", "pocket", "--scores", str(scored[0]), "--output", str(table)])
    assert set(pd.read_parquet(table)["engine"]) == {"lm-eval-hf"}


def test_gpt_neox_may_be_given_to_it_and_both_agree(checkpoint, plan_file, tmp_path):
    plan = read_plan(plan_file(0))
    outputs = [tmp_path / name / "0-shot.json" for name in ("stock", "ours")]
    both = [arguments(checkpoint, [plan_file(0)], [output], "gpt_neox") for output in outputs]
    scorer.main([*both[0], "--engine", "lm-eval-hf"])
    scorer.main(both[1])
    theirs, ours = (read_answers(output, plan) for output in outputs)
    np.testing.assert_allclose(ours.loglikelihood, theirs.loglikelihood, atol=1e-4)
    assert read_results(outputs[0])["config"]["engine_reason"] == "it was asked for"


def test_a_killed_job_resumes_with_the_same_numbers(other, plan_file, tmp_path, monkeypatch):
    monkeypatch.setattr(stock_engine, "CHUNK", 20)
    monkeypatch.setattr(partial_scores, "SECONDS", 0.0)
    plain, output = tmp_path / "plain" / "0-shot.json", tmp_path / "killed" / "0-shot.json"
    scorer.main(arguments(other, [plan_file(0)], [plain]))
    original, calls = StockEngine.score_pieces, []

    def counted(self, plan, first, last):
        if len(calls) == 3:
            calls.append(first)
            raise KeyboardInterrupt
        calls.append(first)
        return original(self, plan, first, last)

    monkeypatch.setattr(StockEngine, "score_pieces", counted)
    with pytest.raises(KeyboardInterrupt):
        scorer.main(arguments(other, [plan_file(0)], [output]))
    calls[:] = []
    monkeypatch.setattr(StockEngine, "score_pieces", lambda *args: calls.append(args[2]) or original(*args))
    scorer.main(arguments(other, [plan_file(0)], [output]))
    assert calls[0] == 60
    assert output.read_bytes() == plain.read_bytes()


def refused(folder, plan, tmp_path, capfd, architecture=OTHER):
    """The one line that the program ends with, by exit code 2 and without results."""
    output = tmp_path / "refused" / "0-shot.json"
    assert cli.run(scorer.main, arguments(folder, [plan], [output], architecture)) == 2
    assert not output.exists()
    error = capfd.readouterr().err
    assert "Traceback" not in error
    return error


def test_another_architecture_than_the_suites_is_refused(other, checkpoint, plan_file, tmp_path, capfd):
    said = refused(other, plan_file(0), tmp_path, capfd, "gpt_neox")
    assert "model_type is 'mistral', but 'gpt_neox' was expected" in said
    assert "model_type is 'gpt_neox', but 'llama' was expected" in refused(
        checkpoint, plan_file(0), tmp_path, capfd, "llama"
    )


def test_code_of_a_checkpoint_is_never_run(broken, plan_file, tmp_path, capfd):
    (broken / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    change_config(broken, model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    said = refused(broken, plan_file(0), tmp_path, capfd, "evil")
    assert "model_type 'evil' is no language model of the installed transformers; its auto_map names code" in said
    assert not (tmp_path / "ran").exists()
    # A type that transformers knows is computed by transformers, whatever auto_map says.
    change_config(broken, model_type=OTHER, attn_implementation="someone/kernel")
    scorer.main(arguments(broken, [plan_file(0)], [tmp_path / "0-shot.json"]))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 3}, "missing keys: model.layers.2."),
        ({"num_hidden_layers": 1}, "unexpected keys: model.layers.1."),
        ({"intermediate_size": 40}, "mismatched"),
        ({"num_hidden_layers": 10**9}, "config.json calls for"),
        ({"intermediate_size": 10**7}, "config.json calls for"),
        ({"hidden_size": "wide"}, "transformers cannot load it"),
    ],
)
def test_a_configuration_that_does_not_fit_the_weights(broken, changes, message):
    change_config(broken, **changes)
    with pytest.raises(ModelError, match=message):
        stock_engine.load_network(broken, "float32", "cpu")


def test_weights_that_are_damaged_changed_or_not_numbers(broken, other, plan_file, tmp_path, capfd):
    file = broken / "model.safetensors"
    weights = load_file(file)
    (broken / "sha256.txt").write_text(f"{sha256_file(other / 'config.json')}  model.safetensors\n")
    with pytest.raises(IntegrityError, match="the file changed on this disk"):
        stock_engine.load_network(broken, "float32", "cpu")
    (broken / "sha256.txt").unlink()
    weights["model.norm.weight"][:] = torch.nan
    save_file(weights, file, metadata={"format": "pt"})
    assert "not finite" in refused(broken, plan_file(0), tmp_path, capfd)
    file.write_bytes(b"\x00" * 100)
    assert "transformers cannot load it" in refused(broken, plan_file(0), tmp_path, capfd)


def test_a_plan_that_begins_texts_otherwise_than_lm_eval_is_refused(broken, plan_file):
    path = broken / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "bos_token": "<|padding|>"}))
    with pytest.raises(EvaluationError, match=r"set tokenizer.prefix_token in the suite to '<\|padding\|>'"):
        StockEngine(broken).score_plans([read_plan(plan_file(0))])


def test_the_cross_check_compares_whatever_engine_was_chosen(other, task_data, tmp_path):
    output = tmp_path / "crosscheck.json"
    crosscheck.main(
        [
            *("--checkpoint", str(other), "--architecture", OTHER, "--tasks", *TASKS, "--data-dir", str(task_data)),
            *("--limit", "3", "--max-length", "100", "--output", str(output)),
        ]
    )
    assert json.loads(output.read_text())["largest_difference"] <= 1e-4


def test_no_gpu_is_one_line(other):
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="finds no CUDA device"):
            StockEngine(other, "cuda")
