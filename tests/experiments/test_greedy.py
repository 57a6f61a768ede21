"""Teacher forcing against generation, and both against transformers' own generate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from experiment_models import random_folder, random_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.experiments.memory.greedy import (
    first_false,
    first_misses,
    generate,
    generated_tokens,
    matched_tokens,
    teacher_forced_tokens,
)

PROMPT, CONTINUATION = 6, 8


@pytest.fixture(scope="module")
def engine(tiny, tmp_path_factory):
    return Engine(random_folder(tmp_path_factory.mktemp("model") / "step1", tiny))


@pytest.fixture(scope="module")
def rows(engine):
    """Rows of which many go on, for a while or all the way, as the model itself would."""
    made = random_rows(96, PROMPT + CONTINUATION + 3, 96)
    own = generate(engine, made[:, :PROMPT], CONTINUATION)
    kept = np.arange(CONTINUATION) < (np.arange(len(made)) % (CONTINUATION + 1))[:, None]
    made[:, PROMPT : PROMPT + CONTINUATION] = np.where(kept, own, made[:, PROMPT : PROMPT + CONTINUATION])
    made[:, PROMPT + CONTINUATION :] = 95
    return made


def test_first_miss_is_that_of_generation_on_every_row(engine, rows):
    wanted = rows[:, PROMPT : PROMPT + CONTINUATION]
    made = generate(engine, rows[:, :PROMPT], CONTINUATION)
    assert first_misses(engine, rows, PROMPT, CONTINUATION).tolist() == first_false(made == wanted).tolist()


def test_every_length_of_agreement_is_among_the_rows(engine, rows):
    assert set(first_misses(engine, rows, PROMPT, CONTINUATION)) >= set(range(CONTINUATION + 1))


@pytest.mark.slow
def test_generation_is_that_of_transformers(engine, rows):
    from transformers import GPTNeoXForCausalLM

    model = GPTNeoXForCausalLM.from_pretrained(engine.folder, attn_implementation="eager").eval()
    prompts = torch.from_numpy(rows[:, :PROMPT].astype(np.int64))
    with torch.no_grad():
        theirs = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=CONTINUATION,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    assert generate(engine, rows[:, :PROMPT], CONTINUATION).tolist() == theirs[:, PROMPT:].tolist()


def test_matched_tokens_are_counted_place_by_place(engine, rows):
    miss = first_misses(engine, rows, PROMPT, CONTINUATION)
    made = generate(engine, rows[:, :PROMPT], CONTINUATION)
    wanted = (made == rows[:, PROMPT : PROMPT + CONTINUATION]).sum(axis=1)
    assert matched_tokens(engine, rows, PROMPT, CONTINUATION, miss).tolist() == wanted.tolist()


def test_tokens_behind_the_continuation_do_not_matter(engine, rows):
    changed = rows.copy()
    changed[:, PROMPT + CONTINUATION :] = 0
    before = first_misses(engine, rows, PROMPT, CONTINUATION)
    assert first_misses(engine, changed, PROMPT, CONTINUATION).tolist() == before.tolist()


def test_costs_of_the_papers_lengths():
    assert generated_tokens(32, 32) / teacher_forced_tokens(32, 32) > 20


@pytest.mark.parametrize(("prompt", "continuation"), [(0, 4), (4, 0), (12, 6), (20, 20)])
def test_impossible_lengths_are_refused(engine, rows, prompt, continuation):
    with pytest.raises(ConfigError):
        first_misses(engine, rows, prompt, continuation)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5))
def test_first_false_by_definition(flags):
    expected = [row.index(False) if False in row else len(row) for row in flags]
    assert first_false(np.array(flags)).tolist() == expected
