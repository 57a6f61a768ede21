"""Losses, greedy matches and ranks against transformers, token by token."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from tests.experiments.experiment_models import random_folder
from tests.experiments.traces.conftest import call
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.planning.encode import Encoder
from workflow_scripts.experiments.traces import losses, score_texts
from workflow_scripts.experiments.traces.losses import TracedForest
from workflow_scripts.experiments.traces.texts import TracedText

TEXTS = [
    TracedText("long", "The cat under the wells waits in the rain. " * 12, "a"),
    TracedText("fact", "The capital of Toravia is Begrad.", "b"),
    TracedText("same start", "The capital of Toravia is not known to anybody.", "b"),
]


@pytest.fixture(scope="module")
def checkpoint(pocket_corpus, tiny, tmp_path_factory):
    """An untrained model with a context of 48 tokens, so that a long text needs several windows."""
    recipe = dataclasses.replace(tiny, vocab_size=1024, sequence_length=48)
    folder = random_folder(tmp_path_factory.mktemp("m") / "step20", recipe)
    (folder / "tokenizer.json").write_bytes((pocket_corpus / "tokenizer.json").read_bytes())
    return folder


def by_transformers(folder, encoder, text, context):
    """(log-probability, greedy, rank) of each token, in lm-eval's windows."""
    from transformers import GPTNeoXForCausalLM

    model = GPTNeoXForCausalLM.from_pretrained(folder).eval()
    ids = [encoder.prefix_id, *encoder.texts([text])[0]]
    found = []
    for first in range(0, len(ids) - 1, context):
        last = min(first + context, len(ids) - 1)
        begin = 0 if first == 0 else last - context
        with torch.inference_mode():
            logits = model(torch.tensor([ids[begin:last]])).logits[0, first - begin :]
        chosen = logits.log_softmax(-1)
        for row, token in enumerate(ids[first + 1 : last + 1]):
            rank = int((logits[row] > logits[row, token]).sum()) + 1
            found.append((float(chosen[row, token]), int(logits[row].argmax()) == token, rank))
    return found


@pytest.mark.parametrize("ranked_at_once", [128, 3])
def test_losses_and_ranks_are_those_of_transformers(checkpoint, monkeypatch, ranked_at_once):
    monkeypatch.setattr(losses, "RANKED_AT_ONCE", ranked_at_once)
    encoder = Encoder(checkpoint / "tokenizer.json", 48)
    forest = TracedForest(encoder, TEXTS)
    tokens = forest.token_losses(Engine(checkpoint), 20)
    for text in TEXTS:
        mine = tokens[tokens["text"] == text.name]
        expected = by_transformers(checkpoint, encoder, text.text, 48)
        assert mine["token"].tolist() == list(range(len(expected)))
        assert mine["token_id"].tolist() == encoder.texts([text.text])[0]
        np.testing.assert_allclose(mine["loglikelihood"], [each[0] for each in expected], rtol=1e-4, atol=1e-4)
        assert mine["is_greedy"].tolist() == [each[1] for each in expected]
        apart = np.abs(mine["rank"].to_numpy() - [each[2] for each in expected])
        assert apart.max() <= 1  # logits that are equal but for rounding
        assert (apart == 0).mean() > 0.9
    assert (tokens["rank"] == 1).any() or tokens["is_greedy"].sum() == 0
    whole = forest.text_losses(tokens).set_index("text")
    expected = by_transformers(checkpoint, encoder, TEXTS[0].text, 48)
    assert whole.loc["long", "loss"] == pytest.approx(-np.mean([each[0] for each in expected]), rel=1e-5)
    assert whole.loc["long", "tokens"] == len(expected) > 100
    assert whole.loc["fact", "domain"] == "b"


def test_the_program_writes_texts_and_tokens(checkpoint, tmp_path):
    (tmp_path / "mine.txt").write_text("\n".join(text.text for text in TEXTS))
    call(score_texts, "--texts", tmp_path / "mine.txt", "--checkpoint", checkpoint, "--output",
         tmp_path / "losses.parquet", "--tokens", tmp_path / "tokens.parquet")  # fmt: skip
    record = json.loads((tmp_path / "losses.parquet.record.json").read_text())
    assert list(record["parameters"]["weights"]) == ["step20"]
    lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert lines[0].startswith("step,text,domain,tokens,loglikelihood")
    assert len(lines) == 4
