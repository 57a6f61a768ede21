"""What results tell about checkpoints: planted oddities are named, sound curves pass, the published ones are found."""

import json
import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts import cli
from workflow_scripts.checkpoints.defect_table import read_defects
from workflow_scripts.evaluation.audit_scores import main
from workflow_scripts.evaluation.scoring.forensics import (
    behaviour,
    equal_scores,
    implied_items,
    published_at,
    score_defects,
    score_spikes,
)

STEPS = (0, 1, 2, 4, 8, 16, 32, 64)
ITEMS = {"a": 200, "b": 300, "c": 250, "d": 120, "lambada_openai": 5153}


def accuracy(task, step):
    return 0.2 + 0.05 * math.log1p(step) + 0.01 * len(task)


def row(model, step, task, metric, value, *, items):
    stderr = math.sqrt(value * (1 - value) / (items - 1)) if metric == "acc" else value / 20
    known = {"model": model, "step": step, "shots": 0, "task": task, "metric": metric}
    return {**known, "value": value, "stderr": stderr, "n": items}


def table(models=("m", "m-deduped")):
    """Smooth curves with one continuous number, different for every model and step."""
    rows = []
    for number, model in enumerate(models):
        for step in STEPS:
            for task, items in ITEMS.items():
                rows.append(
                    row(model, step, task, "acc", round(accuracy(task, step) * items + number) / items, items=items)
                )
            rows.append(row(model, step, "a", "perplexity", 100.0 / (1.37 + step + number), items=ITEMS["a"]))
    return pd.DataFrame(rows)


def place(scores, step, task="a", metric="acc", model="m"):
    return (
        (scores["model"] == model) & (scores["step"] == step) & (scores["task"] == task) & (scores["metric"] == metric)
    )


def kinds(defects):
    return {(defect.model, defect.revision, defect.kind) for defect in defects}


def copied(scores, wrong, right, model="m", origin="m"):
    """Rows in which one checkpoint has the numbers of another."""
    source = scores[(scores["model"] == origin) & (scores["step"] == right)].assign(model=model, step=wrong)
    kept = scores[(scores["model"] != model) | (scores["step"] != wrong)]
    return pd.concat([kept, source], ignore_index=True)


def test_sound_scores_have_no_defect():
    assert score_defects(table()) == []


def test_equal_numbers_of_two_steps_or_models_are_named():
    assert kinds(equal_scores(copied(table(), 16, 32))) == {("m", f"step{s}", "equal-scores") for s in (16, 32)}
    across = copied(table(), 8, 8, model="m-deduped")
    assert kinds(equal_scores(across)) == {(m, "step8", "equal-scores") for m in ("m", "m-deduped")}


def test_the_start_may_be_equal_and_accuracies_alone_prove_nothing():
    assert list(equal_scores(copied(table(), 1, 0))) == []
    only = copied(table(), 16, 32)
    assert list(equal_scores(only[only["metric"] == "acc"])) == []


def test_a_spike_on_enough_tasks_is_named():
    scores = table(("m",))
    scores.loc[place(scores, 16, "a"), "value"] += 0.5
    assert list(score_spikes(scores)) == []
    scores.loc[place(scores, 16, "b"), "value"] += 0.5
    assert kinds(score_spikes(scores)) == {("m", "step16", "score-spike")}


def test_a_wrong_number_of_items_is_named():
    scores = table(("m",))
    scores.loc[place(scores, 8, "c"), "n"] = 251
    assert kinds(score_defects(scores)) == {("m", "step8", "item-count")}


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 20_000), st.data())
def test_the_number_of_items_follows_from_accuracy_and_standard_error(items, data):
    right = data.draw(st.integers(0, items))
    value = right / items
    implied = implied_items(value, math.sqrt(value * (1 - value) / (items - 1)))
    assert implied is None if right in (0, items) else implied == pytest.approx(items, rel=1e-9)


def test_the_published_curve_is_read_between_its_steps():
    curve = {1000: 0.1, 3000: 0.3}
    assert published_at(curve, 1000) == 0.1
    assert 0.1 < published_at(curve, 2000) < 0.3
    assert published_at(curve, 500) is None
    assert published_at({}, 5) is None


def published(root):
    table = pd.read_parquet(root / "config/suites/published/pythia-evals.parquet")
    return table[(table["version"] == "v1") & table["step"].notna()]


def test_the_known_pairs_of_the_published_results_are_found_and_nothing_else(root):
    # docs of the published audit: 2.8b and 2.8b-deduped are identical at ten zero-shot and four five-shot steps.
    table = published(root)
    few = table["size"].isin(["1b", "2.8b"]) & ~table["task"].str.startswith("hendrycksTest")
    found = score_defects(table[few & table["n"].notna()])
    zero, five = {2, 4, 8, 16, 32, 64, 128, 256, 512, 1000}, {13000, 23000, 33000, 43000}
    names = ("pythia-2.8b", "pythia-2.8b-deduped")
    assert kinds(found) == {(name, f"step{step}", "equal-scores") for name in names for step in zero | five}


def probe(model, step, value):
    return pd.DataFrame([row(model, step, "lambada_openai", "acc", value, items=200)])


def test_the_gate_passes_right_weights_and_stops_wrong_ones(root):
    known = published(root)
    model = "pythia-410m"
    late = known[(known["model"] == model) & (known["task"] == "lambada_openai") & (known["shots"] == 0)]
    value = float(late[(late["step"] == 143000) & (late["metric"] == "acc")]["value"].iloc[0])
    assert value > 0.4
    assert list(behaviour(probe(model, 143000, value + 0.1), known, "lambada_openai")) == []
    assert list(behaviour(probe(model, 64000, value), known, "lambada_openai")) == []
    # Final-era weights on an early branch, and an early model's on the last one.
    assert kinds(behaviour(probe(model, 512, value), known, "lambada_openai")) == {(model, "step512", "behaviour")}
    assert kinds(behaviour(probe(model, 143000, 0.1), known, "lambada_openai")) == {(model, "step143000", "behaviour")}
    assert list(behaviour(probe("unknown", 512, value), known, "lambada_openai")) == []


def run(tmp_path, *more):
    return cli.run(main, ["--scores", str(tmp_path / "s.parquet"), "--output", str(tmp_path / "d.tsv"), *more])


def test_the_program_writes_the_table_and_refuses_on_request(tmp_path, root, capfd):
    copied(table(), 16, 32).to_parquet(tmp_path / "s.parquet")
    assert run(tmp_path) == 0
    assert kinds(read_defects(tmp_path / "d.tsv")) == {("m", f"step{s}", "equal-scores") for s in (16, 32)}
    assert json.loads((tmp_path / "d.tsv.record.json").read_text())["parameters"]["defects"] == 2
    assert run(tmp_path, "--when-found", "refuse") == 2
    assert "2 defect(s), first m step16" in capfd.readouterr().err
    probe("pythia-410m", 512, 0.5).to_parquet(tmp_path / "s.parquet")
    gate = ["--published", str(root / "config/suites/published/pythia-evals.parquet"), "--probe-task", "lambada_openai"]
    assert run(tmp_path, *gate, "--when-found", "refuse") == 2
    assert "pythia-410m step512" in capfd.readouterr().err


def test_wrong_inputs_are_one_line(tmp_path, capfd):
    assert run(tmp_path) == 2
    (tmp_path / "s.parquet").write_bytes(b"no table")
    assert run(tmp_path) == 2
    pd.DataFrame({"model": ["m"]}).to_parquet(tmp_path / "s.parquet")
    assert run(tmp_path) == 2
    assert run(tmp_path, "--probe-task", "a") == 2
    error = capfd.readouterr().err
    for text in ("no such table", "not a Parquet table", "lacks step", "go together"):
        assert text in error
    assert "Traceback" not in error
