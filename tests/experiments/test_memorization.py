"""From rows and weights to tables and verdict, on orders that are uniform and on one that is not."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
from experiment_models import model_folder, random_folder, random_rows, train

from tests.training.training_runs import ArrayRows
from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.experiments import certify_generation, memorization
from workflow_scripts.experiments.memory.greedy import generate
from workflow_scripts.experiments.memory.memorization_rows import MemorizedRows, read_rows
from workflow_scripts.experiments.outputs import read_verdict
from workflow_scripts.experiments.score_memorization import batches_of_range, row_table, score_rows
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.records import record_path
from workflow_scripts.suite.experiment_files import exposures_file, row_ranges
from workflow_scripts.suite.registry import load_suite

PORTION = 2000
SETTINGS = {"steps": "600", "prompt": 32, "continuation": 32, "bin_rows": 128, "rows_per_job": PORTION, "every": 1}
MODEL = load_suite("pocket").model("pocket-90k")
SEEN = MODEL.step(600).rows
LATE = SEEN // 6
BINS = SEEN // 128


def write_scores(root, memorized, settings=SETTINGS, model=MODEL):
    """Tables of every job as the scoring program leaves them; flags of all steps, or by step."""
    for job in row_ranges(model, settings):
        flags = memorized[job.step] if isinstance(memorized, dict) else memorized
        path = root / job.path.removeprefix("results/")
        path.parent.mkdir(parents=True, exist_ok=True)
        miss = np.where(flags[job.first : job.stop], 32, 3)
        row_table(np.arange(job.first, job.stop), model.batch_rows, miss, 32).to_parquet(path)
        made = {key: settings[key] for key in ("prompt", "continuation", "every")}
        write_json(record_path(path), {"parameters": made})
    exposures = root / exposures_file(model.suite, model.dataset).removeprefix("results/")
    exposures.parent.mkdir(parents=True, exist_ok=True)
    np.savez(exposures, repeated=np.packbits(np.zeros(SEEN, dtype=bool)))


def resolved(settings=SETTINGS):
    return {
        "run": "test",
        "suite": "pocket",
        "models": [{"name": MODEL.name}],
        "steps": {},
        "shots": [],
        "tasks": [],
        "settings": {"memorization": dict(settings)},
    }


def run_program(tmp_path, memorized):
    write_scores(tmp_path, memorized)
    write_json(tmp_path / "run.json", resolved())
    arguments = ["--run", tmp_path / "run.json", "--results", tmp_path, "--tables-dir", tmp_path / "tables"]
    memorization.main([str(argument) for argument in arguments])
    return pd.read_parquet(tmp_path / "tables" / "memorization.parquet")


def uniform(rate=0.02, seed=0):
    return np.random.default_rng(seed).random(SEEN) < rate


def test_uniform_order_is_not_rejected(tmp_path):
    table = run_program(tmp_path, uniform())
    verdict = read_verdict(tmp_path / "tables" / "verdict_memorization.json")
    assert verdict["numbers"]["rejected"] == 0
    assert "compatible with uniform" in verdict["sentences"][1]
    assert sorted(table["bin_rows"]) == [32, 64, 128, 256, 1024]
    assert table["memorized"].tolist() == [int(uniform().sum())] * 5


def test_late_order_is_rejected(tmp_path):
    memorized = uniform()
    memorized[-LATE:] |= uniform(0.06, seed=1)[-LATE:]
    run_program(tmp_path, memorized)
    verdict = read_verdict(tmp_path / "tables" / "verdict_memorization.json")
    assert verdict["numbers"]["rejected"] == 1
    assert "is not uniform" in verdict["sentences"][1]


def test_tables_hold_every_row_once(tmp_path):
    memorized = uniform()
    run_program(tmp_path, memorized)
    deciles = pd.read_parquet(tmp_path / "tables" / "memorization_deciles.parquet")
    quantiles = pd.read_parquet(tmp_path / "tables" / "memorization_quantiles.parquet")
    assert deciles["rows"].sum() == SEEN
    assert deciles["memorized"].tolist() == [int(part.sum()) for part in np.split(memorized, 10)]
    assert quantiles["multiplicity"].sum() == BINS
    assert (quantiles["observed"] * quantiles["multiplicity"]).sum() == memorized[: BINS * 128].sum()


def test_repetitions_are_analysed_apart(tmp_path):
    memorized = uniform()
    repeated = np.arange(SEEN) >= SEEN - LATE
    memorized[repeated] |= uniform(0.2, seed=2)[repeated]
    parts = memorization.exposures_of(MemorizedRows(np.arange(SEEN), memorized, repeated, SEEN))
    assert list(parts) == ["all", "first", "second"]
    assert len(parts["first"].row) == SEEN - LATE
    assert memorization.statistics(parts["all"], 128, seed=0)["p_dispersion"] < 0.01
    assert memorization.statistics(parts["first"], 128, seed=0)["p_dispersion"] > 0.01


def test_nothing_memorized_is_said(tmp_path):
    run_program(tmp_path, np.zeros(SEEN, dtype=bool))
    verdict = read_verdict(tmp_path / "tables" / "verdict_memorization.json")
    assert f"0 of {SEEN} rows memorized, too few to test" in verdict["sentences"][1]


def test_missing_job_is_named(tmp_path):
    write_scores(tmp_path, uniform())
    (tmp_path / "experiments/memorization/pocket-90k/step600/rows-2000-4000.parquet").unlink()
    with pytest.raises(MissingInputError, match="rows-2000-4000"):
        read_rows(MODEL, 600, SETTINGS, tmp_path)


def test_scores_of_other_lengths_are_refused(tmp_path):
    write_scores(tmp_path, uniform())
    with pytest.raises(DataError, match="continuation 32"):
        read_rows(MODEL, 600, {**SETTINGS, "continuation": 16}, tmp_path)


def test_jobs_cover_the_rows_that_a_checkpoint_has_seen():
    jobs = list(row_ranges(MODEL, {**SETTINGS, "steps": "256, last"}))
    for step in (256, 600):
        ranges = [(job.first, job.stop) for job in jobs if job.step == step]
        covered = [row for first, stop in ranges for row in range(first, stop)]
        assert covered == list(range(step * MODEL.batch_rows))
        assert max(stop - first for first, stop in ranges) <= PORTION


def test_every_second_batch():
    ranges = batches_of_range(0, 64, batch_rows=16, every=2)
    assert ranges == [(0, 16), (32, 48)]


def late_and_even(recipe, share=0.18):
    """Rows of random tokens with one sequence at places that are even, and the same rows with all of it at the end."""
    count = recipe.batch_rows * recipe.train_iterations
    noise = random_rows(count, recipe.sequence_length + 1, recipe.vocab_size, seed=1)
    known = random_rows(1, recipe.sequence_length + 1, recipe.vocab_size, seed=2)
    number = int(share * count)
    even = np.random.default_rng(3).permutation(count)[:number]
    late = np.random.default_rng(4).choice(np.arange(count - 2 * number, count), number, replace=False)
    orders = {}
    for name, places in {"even": even, "late": late}.items():
        tokens = noise.copy()
        tokens[places] = known
        orders[name] = tokens
    return orders


@pytest.mark.slow
def test_a_corpus_that_repeats_late_is_told_from_one_that_repeats_evenly(tiny, tmp_path):
    verdicts = {}
    for name, tokens in late_and_even(tiny).items():
        rows = ArrayRows(tokens)
        model = train(tiny, rows, tmp_path / name)
        engine = Engine(model_folder(tmp_path / name / "hf", model, tiny))
        options = argparse.Namespace(prompt=8, continuation=8, scores="exact")
        table = score_rows(engine, rows, tiny, [(0, rows.n_rows)], options)
        part = MemorizedRows(table["row"], table["memorized"], np.zeros(rows.n_rows, dtype=bool), rows.n_rows)
        verdicts[name] = memorization.statistics(part, 64, seed=0)
    assert verdicts["even"]["memorized"] == verdicts["late"]["memorized"] == int(0.18 * rows.n_rows)
    assert verdicts["even"]["p_trend"] > 0.01
    assert verdicts["even"]["p_envelope"] > 0.01
    assert verdicts["late"]["p_trend"] < 1e-6
    assert verdicts["late"]["rate_ratio"] > 5


@pytest.fixture
def scored(tiny, tmp_path, monkeypatch):
    """Rows that a random model partly goes on with, their scores as a file, and the arguments of both programs."""
    from workflow_scripts.experiments import score_memorization

    folder = random_folder(tmp_path / "m" / "step1", tiny)
    tokens = random_rows(48, 25, 96)
    own = generate(Engine(folder), tokens[:, :4], 6)
    kept = np.arange(6) < (np.arange(48) % 7)[:, None]
    tokens[:, 4:10] = np.where(kept, own, tokens[:, 4:10])
    rows = ArrayRows(tokens)
    for program in (certify_generation, score_memorization):
        monkeypatch.setattr(program, "open_rows", lambda *_: rows)
    (tmp_path / "view.json").write_text("{}")
    common = ["--checkpoint", folder, "--view", tmp_path / "view.json", "--recipe", json.dumps(tiny.to_json())]
    lengths = ["--stop-row", 48, "--prompt", 4, "--continuation", 6, "--output", tmp_path / "rows.parquet"]
    score_memorization.main([str(word) for word in [*common, *lengths]])
    certificate = ["--scores", tmp_path / "rows.parquet", "--output", tmp_path / "certificate.json"]
    return tmp_path, rows, [str(word) for word in [*common, *lengths[2:6], *certificate]]


def test_certificate_counts_both_costs(scored, capsys):
    folder, _, arguments = scored
    certify_generation.main(arguments)
    found = json.loads((folder / "certificate.json").read_text())
    assert (found["rows"], found["different"]) == (48, 0)
    assert found["memorized"] >= 6
    assert found["token_forwards_teacher_forced"] == 48 * 9
    assert found["token_forwards_generated"] == 48 * (4 + 5 + 6 + 7 + 8 + 9)
    assert re.search(r"agree on all of them; .* times faster \([0-9.]+ s against [0-9.]+ s\)", capsys.readouterr().out)
    certify_generation.main([*arguments[:-1], str(folder / "again.json")])
    assert (folder / "again.json").read_bytes() == (folder / "certificate.json").read_bytes()


def test_a_certificate_of_other_lengths_is_refused(scored):
    folder, _, arguments = scored
    place = arguments.index("--prompt") + 1
    with pytest.raises(DataError, match="of a prompt of 4 and a continuation of 6 tokens, asked for are 5 and 6"):
        certify_generation.main([*arguments[:place], "5", *arguments[place + 1 :]])
    assert not (folder / "certificate.json").exists()


@pytest.mark.parametrize(("column", "value"), [("first_miss", 2), ("memorized", True)])
def test_a_table_that_generation_contradicts_gets_no_certificate(scored, column, value):
    folder, _, arguments = scored
    table = pd.read_parquet(folder / "rows.parquet")
    place = int(np.flatnonzero(table["first_miss"] == 3)[0])
    table[column] = table[column].where(table.index != place, value).astype(table[column].dtype)
    table.to_parquet(folder / "rows.parquet")
    with pytest.raises(DataError, match=f"row {place}: first miss"):
        certify_generation.main(arguments)
    assert not (folder / "certificate.json").exists()


def test_program_scores_a_range_and_counts_what_it_saves(tiny, tmp_path, monkeypatch):
    from workflow_scripts.experiments import score_memorization as program

    recipe = dataclasses.replace(tiny, train_iterations=6, checkpoint_steps=(0, 6))
    rows = ArrayRows(random_rows(48, 25, 96))
    from workflow_scripts.training.run.model import GPTNeoX

    model = GPTNeoX(recipe)
    for parameter in model.parameters():
        parameter.data.fill_(0.0)
    folder = model_folder(tmp_path / "m" / "step1", model, recipe)
    view = tmp_path / "view.json"
    view.write_text("{}")
    monkeypatch.setattr(program, "open_rows", lambda *_: rows)
    output = tmp_path / "rows.parquet"
    arguments = ["--checkpoint", folder, "--view", view, "--recipe", json.dumps(recipe.to_json()), "--stop-row", 48]
    arguments += ["--every", 2, "--prompt", 4, "--continuation", 3, "--scores", "partial", "--output", output]
    program.main([str(argument) for argument in arguments])
    table = pd.read_parquet(output)
    # A model of zeros finds every token equally likely and takes token 0.
    assert table["row"].tolist() == [r for r in range(48) if (r // 8) % 2 == 0]
    matched = (rows.tokens[table["row"], 4:7] == 0).sum(axis=1)
    assert table["matched"].tolist() == matched.tolist()
    parameters = json.loads(record_path(output).read_text())["parameters"]
    assert parameters["token_forwards"] == 24 * 6
    assert parameters["token_forwards_of_generation"] == 24 * (4 + 5 + 6)
