"""Validation: each token predicted once, equal to a loop written anew, bits per byte by hand."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from training_runs import ArrayRows, train

from workflow_scripts import cli
from workflow_scripts.dataset.files.index_writer import indexed_writer
from workflow_scripts.training import validate
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.model import GPTNeoX
from workflow_scripts.training.run.starting_point import load_weights


@given(st.integers(2, 90), st.integers(1, 20), st.integers(1, 5))
@settings(deadline=None, max_examples=80)
def test_windows_predict_every_token_but_the_first_once(count: int, length: int, rows: int) -> None:
    stream = torch.arange(count)
    predicted = [
        token for batch in validate.windows(stream, length, rows) for token in batch[:, 1:].reshape(-1).tolist()
    ]
    assert predicted == list(range(1, count))
    assert all(
        batch.shape[0] <= rows and batch.shape[1] <= length + 1 for batch in validate.windows(stream, length, rows)
    )


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    prefix = tmp_path / "held_out"
    with indexed_writer(prefix, np.dtype("uint16")) as writer:
        for seed in range(3):
            writer.add(np.random.RandomState(seed).randint(0, 96, 31))
            writer.end_document()
    return prefix


def test_program_gives_loss_and_bits_per_byte(recipe: Recipe, rows: ArrayRows, held_out: Path, tmp_path: Path) -> None:
    run, output = tmp_path / "run", tmp_path / "v.csv"
    train(recipe, rows, run)
    folders = [str(run / "step0"), str(run / "step20")]
    validate.main(["--checkpoints", *folders, "--view", f"{held_out}.bin", "--bytes", "400", "--output", str(output)])
    with output.open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["step"]) for line in lines] == [0, 20]
    assert [int(line["tokens_seen"]) for line in lines] == [0, 20 * 128]
    tokens = np.fromfile(f"{held_out}.bin", np.uint16).astype(np.int64)
    for line, folder in zip(lines, folders, strict=True):
        loss = by_hand(recipe, Path(folder), tokens)
        assert float(line["loss"]) == pytest.approx(loss, rel=1e-6)
        assert float(line["bits_per_byte"]) == pytest.approx(loss * 93 / 400 / math.log(2), rel=1e-6)
    assert (tmp_path / "v.csv.record.json").is_file()


def test_the_size_may_be_counted_from_the_text(recipe: Recipe, rows: ArrayRows, held_out: Path, tmp_path: Path) -> None:
    train(recipe, rows, tmp_path / "run", stop_at=1)
    text = tmp_path / "held_out.jsonl"
    text.write_text('{"text": "caf\u00e9"}\n{"text": "' + "x" * 395 + '"}\n', encoding="utf-8")
    asked = ["--checkpoints", str(tmp_path / "run" / "step1"), "--view", str(held_out)]
    validate.main([*asked, "--text", str(text), "--output", str(tmp_path / "a.csv")])
    validate.main([*asked, "--bytes", "400", "--output", str(tmp_path / "b.csv")])
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def by_hand(recipe: Recipe, folder: Path, tokens: np.ndarray) -> float:
    """Mean loss, window by window, with torch's own cross-entropy."""
    model = GPTNeoX(recipe)
    load_weights(model, checkpoint.read_tensors(folder / "model.safetensors"), folder)
    losses: list[float] = []
    for start in range(0, len(tokens) - 1, 16):
        window = torch.from_numpy(tokens[start : start + 17])
        with torch.no_grad():
            logits = model(window[None, :-1])[0]
        losses += functional.cross_entropy(logits, window[1:], reduction="none").tolist()
    assert len(losses) == len(tokens) - 1
    return sum(losses) / len(losses)


def test_bad_input_is_one_line(
    recipe: Recipe, rows: ArrayRows, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipe, rows, tmp_path / "run", stop_at=1)
    step, output = str(tmp_path / "run" / "step0"), str(tmp_path / "v.csv")

    def told(folder: str, size: str) -> str:
        options = ["--checkpoints", folder, "--view", f"{held_out}.bin", "--bytes", size, "--output", output]
        assert cli.run(validate.main, options) == cli.USER_ERROR
        return capsys.readouterr().err

    assert "held-out text of 0 bytes" in told(step, "0")
    assert "no checkpoint of a run" in told(str(tmp_path), "9")
    with indexed_writer(held_out, np.dtype("uint16")) as writer:
        writer.add([1, 2, 96])
        writer.end_document()
    assert "position 2: token 96 is outside the vocabulary of 96" in told(step, "9")
    assert not Path(output).exists()
