"""Scoring that is killed half-way, weights read ahead, several checkpoints per process, and plans of another origin."""

from __future__ import annotations

import gc
import json
import shutil
import signal
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from evaluation_worlds import save_model

from workflow_scripts.errors import EvaluationError, MissingInputError, ModelError
from workflow_scripts.evaluation import score as scorer
from workflow_scripts.evaluation.engine import engine, row_tensors
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.engine.model_weights import load_weights
from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.scoring import partial_scores
from workflow_scripts.evaluation.scoring.model_folder import read_config
from workflow_scripts.evaluation.scoring.partial_scores import Unfinished
from workflow_scripts.evaluation.scoring.results import loglikelihoods_path
from workflow_scripts.evaluation.scoring.weight_prefetch import read_ahead

SEGMENT = 80
KILLED = """
import os, signal, sys
from workflow_scripts.evaluation import score
from workflow_scripts.evaluation.engine import row_tensors
from workflow_scripts.evaluation.scoring import partial_scores
row_tensors.segments.__defaults__ = (int(sys.argv.pop(1)),)
partial_scores.SECONDS = 0.0
original = partial_scores.write_bytes
written = []
def write_then_die(path, content):
    original(path, content)
    written.append(path)
    if len(written) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
partial_scores.write_bytes = write_then_die
score.main(sys.argv[1:])
"""


def arguments(checkpoint, plan, output):
    return ["--checkpoint", str(checkpoint), "--plan", str(plan), "--output", str(output)]


@pytest.fixture
def short_segments(monkeypatch):
    monkeypatch.setattr(row_tensors.segments, "__defaults__", (SEGMENT,))


@pytest.fixture
def rows_scored(monkeypatch):
    """Rows that the engine is asked to score, call by call."""
    calls = []
    original = Engine.score_rows

    def counted(self, forest, first, last, *rest):
        calls.append((first, last))
        return original(self, forest, first, last, *rest)

    monkeypatch.setattr(Engine, "score_rows", counted)
    return calls


def test_a_killed_job_goes_on_in_the_middle(checkpoint, plan_file, tmp_path, short_segments, rows_scored):
    whole, output = tmp_path / "whole" / "0-shot.json", tmp_path / "killed" / "0-shot.json"
    scorer.main(arguments(checkpoint, plan_file(0), whole))
    count, rows_scored[:] = len(rows_scored), []
    assert count > 5
    command = [sys.executable, "-c", KILLED, str(SEGMENT), *arguments(checkpoint, plan_file(0), output)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert {path.name for path in output.parent.iterdir()} == {".0-shot.json.lock", ".0-shot.json.unfinished.npz"}
    scorer.main(arguments(checkpoint, plan_file(0), output))
    assert len(rows_scored) == count - 3
    assert rows_scored[0][0] > 0
    for path in (whole, loglikelihoods_path(whole)):
        assert (output.parent / path.name).read_bytes() == path.read_bytes()
    assert not list(output.parent.glob(".*"))


@pytest.mark.parametrize("spoil", ["cut", "other weights", "no archive"])
def test_what_another_job_left_is_not_used(checkpoint, tmp_path, spoil):
    kept = Unfinished(tmp_path / "0-shot.json", {"weights": "a"}, written=-1e9)
    kept.write(4, np.ones(3, dtype=np.float32), np.ones(3, dtype=np.bool_))
    values, best = np.zeros(5, dtype=np.float32), np.zeros(5, dtype=np.bool_)
    assert kept.read(values, best) == 4
    assert values.tolist() == [1, 1, 1, 0, 0]
    other = Unfinished(kept.output, {"weights": "b"}) if spoil == "other weights" else kept
    if spoil != "other weights":
        kept.path.write_bytes(kept.path.read_bytes()[:80] if spoil == "cut" else b"")
    assert other.read(values, best) == 0


def test_nothing_is_written_in_the_first_minute(tmp_path):
    kept = Unfinished(tmp_path / "0-shot.json", {})
    kept.write(4, np.ones(3, dtype=np.float32), np.ones(3, dtype=np.bool_))
    assert not kept.path.exists()
    assert partial_scores.SECONDS <= 60


class Weights:
    """Stands for the weights of a checkpoint."""


def test_at_most_one_checkpoint_is_read_ahead():
    alive, most = weakref.WeakSet(), []
    started = [threading.Event() for _ in range(6)]

    def load(number):
        started[number].set()
        gc.collect()
        loaded = Weights()
        alive.add(loaded)
        most.append(len(alive))
        return loaded

    for number, loaded in read_ahead(range(6), load):
        assert isinstance(loaded, Weights)
        if number < 5:
            assert started[number + 1].wait(5)  # the next one is read while this one is in use
        assert not any(event.is_set() for event in started[number + 2 :])
        del loaded
    assert max(most) <= 2


def test_no_weight_is_held_twice(checkpoint):
    weights = load_weights(checkpoint, read_config(checkpoint), torch.device("cpu"), torch.float32)
    joint = weakref.ref(weights["gpt_neox.layers.0.attention.query_key_value.weight"])
    kept = weakref.ref(weights["gpt_neox.layers.0.mlp.dense_h_to_4h.weight"])
    loaded = Engine(checkpoint, weights=weights)
    assert weights == {}
    assert joint() is None
    assert kept() is loaded.network.layers[0].mlp_in[0]


def test_a_broken_checkpoint_does_not_keep_the_others_from_being_scored(checkpoint, copy_of, plan_file, tmp_path):
    broken, other = copy_of("step8"), copy_of("step16")
    save_model(other, other / "tokenizer.json", 3)
    (broken / "model.safetensors").write_bytes(b"\xff" * 64)
    folders = [checkpoint, broken, other]
    outputs = [tmp_path / folder.name / "0-shot.json" for folder in folders]
    command = ["--checkpoint", *map(str, folders), "--plan", str(plan_file(0)), "--output", *map(str, outputs)]
    with pytest.raises(ModelError, match=r"step8/model\.safetensors: damaged"):
        scorer.main(command)
    assert [output.is_file() for output in outputs] == [True, False, True]
    shutil.copy(other / "model.safetensors", broken / "model.safetensors")
    scorer.main(command)
    assert outputs[1].is_file()


def test_a_device_without_room_gets_smaller_passes(checkpoint, plan_file, monkeypatch, caplog):
    original, tried = Engine.try_rows, []

    def cramped(self, forest, *rest):
        tried.append(rest[2])
        if rest[2] > 600:
            raise torch.OutOfMemoryError
        return original(self, forest, *rest)

    plan = read_plan(plan_file(0))
    expected = Engine(checkpoint).score(plan.forest)[0]
    monkeypatch.setattr(Engine, "try_rows", cramped)
    values = Engine(checkpoint).score(plan.forest)[0]
    assert tried[:3] == [2048, 1024, 512]
    assert "continuing with 512 tokens per pass" in caplog.text
    np.testing.assert_allclose(values, expected, atol=2e-5)
    monkeypatch.setattr(engine, "FEWEST_TOKENS", 800)
    with pytest.raises(EvaluationError, match="has no room for 1024 tokens beside the weights"):
        Engine(checkpoint).score(plan.forest)


def test_a_plan_of_another_lm_eval_or_of_other_data_is_refused(checkpoint, plan_file, task_data, tmp_path, monkeypatch):
    output = tmp_path / "0-shot.json"
    command = [*arguments(checkpoint, plan_file(0), output), "--data-dir"]
    data = tmp_path / "data"
    shutil.copytree(task_data, data)
    changed = data / "pocket" / "facts" / "default" / "test.parquet"
    shutil.copy(data / "pocket" / "facts" / "default" / "train.parquet", changed)
    with pytest.raises(EvaluationError, match=r"0-shot\.plan: made from another pocket/facts/default/test\.parquet"):
        scorer.main([*command, str(data)])
    changed.unlink()
    with pytest.raises(MissingInputError, match=r"made from pocket/facts/default/test\.parquet, which is not under"):
        scorer.main([*command, str(data)])
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.4.99" if name == "lm_eval" else "1")
    with pytest.raises(EvaluationError, match=r"0-shot\.plan: made by lm-eval 0\.4\.13, but 0\.4\.99 is installed"):
        scorer.main([*command, str(task_data)])
    monkeypatch.undo()
    assert not output.exists()
    scorer.main([*command, str(task_data)])
    assert json.loads(output.read_text())["protocol"] == "current"


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_gives_the_same_numbers(checkpoint, plan_file):
    forest = read_plan(plan_file(0)).forest
    dense, flags = Engine(checkpoint).score(forest)
    values, best = Engine(checkpoint, attention="flex").score(forest)
    np.testing.assert_allclose(values, dense, atol=2e-5)
    assert (best == flags).mean() > 0.999
