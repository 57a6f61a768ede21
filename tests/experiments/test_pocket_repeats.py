"""The real pocket corpus end to end: memorization of a uniform order, of one that repeats late, and its jobs.

A model of the middle size is trained on the standard corpus, whose repetitions are spread evenly; an arm of it goes on
at 79 % of training with rows that a function of one's own fills with four passages. It runs the programs of the rules.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.dataset import tokenize_corpus, train_tokenizer
from workflow_scripts.experiments import make_patch, memorization, score_memorization
from workflow_scripts.experiments.memory.memorization_rows import MemorizedRows
from workflow_scripts.pocket import generate_corpus
from workflow_scripts.suite.arms import load_declaration, saved_iterations, start_iteration
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training import publish, retrain
from workflow_scripts.training.recipe import recipe_of

SUITE = load_suite("pocket")
MODEL = SUITE.model("pocket-280k")
ARM = load_declaration("repeats").arm("repeats-21")
START = start_iteration(MODEL, ARM)
SEEN = MODEL.step(600).rows

pytestmark = pytest.mark.slow


def call(program, *arguments):
    program.main([str(word) for word in arguments])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Token file and tokenizer of the standard pocket corpus."""
    folder = tmp_path_factory.mktemp("corpus")
    call(generate_corpus, "--seed", SUITE.corpus["seed"], "--documents", SUITE.corpus["documents"],
         "--output-standard", folder / "standard.jsonl", "--output-deduped", folder / "deduped.jsonl",
         "--world", folder / "world.json")  # fmt: skip
    call(train_tokenizer, "--corpus", folder / "standard.jsonl", "--vocab-size", SUITE.tokenizer["vocab_size"],
         "--output", folder / "tokenizer.json")  # fmt: skip
    call(tokenize_corpus, "--corpus", folder / "standard.jsonl", "--tokenizer", folder / "tokenizer.json",
         "--append-eod", "--output-prefix", folder / "standard")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Baseline and arm of the middle size, published; and the arguments that name recipe and rows."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = json.dumps(recipe_of(MODEL).saving((0, START, 600)).to_json())
    rows = ["--recipe", recipe, "--view", corpus / "standard.idx"]
    call(retrain, *rows, "--output-dir", folder / "baseline", "--keep-optimizer", START)
    call(make_patch, *rows, "--declaration", "repeats", "--function", ARM.function, "--first-step", START,
         "--tokenizer", corpus / "tokenizer.json", "--output", folder / "patch")  # fmt: skip
    call(retrain, *rows, "--start-from", folder / "baseline" / f"step{START}", "--patch", folder / "patch",
         "--output-dir", folder / "arm")  # fmt: skip
    for name in ("baseline", "arm"):
        call(publish, "--checkpoint", folder / name / "step600", "--tokenizer", corpus / "tokenizer.json",
             "--dtype", "float32", "--output-dir", folder / "published" / name / "step600")  # fmt: skip
    return folder, rows


def scores(trained, name, ranges, *more):
    """Tables of the jobs of some ranges, joined."""
    folder, rows = trained
    parts = []
    for first, stop in ranges:
        output = folder / f"{name}-{first}-{stop}.parquet"
        call(score_memorization, *rows, "--checkpoint", folder / "published" / name / "step600", "--first-row", first,
             "--stop-row", stop, "--output", output, *more)  # fmt: skip
        parts.append(pd.read_parquet(output))
    return pd.concat(parts, ignore_index=True)


def judged(table):
    """Statistics at the default bin size, and whether uniformity is rejected."""
    rows = MemorizedRows(table["row"], table["memorized"], np.zeros(SEEN, dtype=bool), SEEN)
    line = memorization.statistics(rows, 128, seed=600)
    named = pd.Series({**line, "model": MODEL.name, "step": 600, "exposure": "all"})
    return line, memorization.verdict_line(named)[1]


@pytest.fixture(scope="module")
def uniform(trained):
    return scores(trained, "baseline", [(0, SEEN)])


def test_the_corpus_repeats_evenly_and_is_found_to(uniform):
    line, is_rejected = judged(uniform)
    assert 0.002 < line["rate"] < 0.05
    assert not is_rejected


def test_passages_that_are_repeated_late_are_found_to_be(trained):
    folder, _ = trained
    line, is_rejected = judged(scores(trained, "arm", [(0, SEEN)], "--patch", folder / "patch"))
    assert is_rejected
    assert line["p_trend"] < 1e-6
    assert line["rate_ratio"] > 5


def test_one_job_and_three_give_the_same_table(trained, uniform):
    third = SEEN // 3
    pd.testing.assert_frame_equal(
        scores(trained, "baseline", [(0, third), (third, 2 * third), (2 * third, SEEN)]), uniform
    )


def test_the_arm_starts_where_the_paper_s_long_one_does():
    assert START == 474
    assert saved_iterations(MODEL, ARM)[0] == START
