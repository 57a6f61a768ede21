"""What a stranger's config.json may say: numbers that no model has are refused before anything is made of them."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts import cli
from workflow_scripts.errors import ModelError
from workflow_scripts.evaluation import quickstart
from workflow_scripts.evaluation import score as scorer
from workflow_scripts.evaluation.engine.model_weights import load_weights
from workflow_scripts.evaluation.scoring.model_folder import HEAD, Shapes, parse_config, read_config
from workflow_scripts.evaluation.scoring.weight_prefetch import read_ahead

FACTS = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 11,
    "max_position_embeddings": 8,
    "rotary_pct": 0.25,
}
NAN, INFINITE = float("nan"), float("inf")


def written(folder: Path, **changes: object) -> Path:
    """Folder with a configuration."""
    (folder / "config.json").write_text(json.dumps({**FACTS, **changes}))
    return folder


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("num_hidden_layers", (0, -1, 1 << 31, 2.0, True, None)),
        ("num_attention_heads", (0, -2, 7, "2")),
        ("hidden_size", (0, "64", [64], 15)),
        ("vocab_size", (0, 10**12)),
        ("max_position_embeddings", (0, 10**15)),
        ("rotary_pct", (-1, 9.0, 0, 1.2, NAN, INFINITE, "0.25", 0.4)),
        ("rotary_emb_base", (0, -1, NAN, INFINITE)),
        ("layer_norm_eps", (-1.0, 0, NAN)),
        ("use_parallel_residual", ("false", 0, None)),
        ("tie_word_embeddings", ("true", 1)),
        ("rope_parameters", ([1], "default", {"rope_type": "default", "rope_theta": INFINITE})),
    ],
)
def test_numbers_that_no_model_has_are_one_line(key: str, values: tuple[object, ...], tmp_path: Path) -> None:
    for value in values:
        with pytest.raises(ModelError, match="not a GPT-NeoX configuration") as caught:
            read_config(written(tmp_path, **{key: value}))
        assert len(str(caught.value).removeprefix(str(tmp_path))) < 250


def test_numbers_that_models_have_are_taken(tmp_path: Path) -> None:
    for changes in ({}, {"rotary_pct": 1}, {"rope_parameters": {"rope_theta": 10000, "partial_rotary_factor": 0.5}}):
        assert read_config(written(tmp_path, **changes)).layers == 3


@given(st.integers(1, 9), st.booleans())
def test_shapes_are_a_mapping_of_all_weights(layers: int, tied: bool) -> None:
    shapes = Shapes(parse_config({**FACTS, "num_hidden_layers": layers, "tie_word_embeddings": tied}))
    listed = {name: shapes[name] for name in shapes}
    assert len(shapes) == len(listed) == 12 * layers + (3 if tied else 4)
    assert shapes.elements == sum(math.prod(shape) for shape in listed.values())
    assert (HEAD in shapes) != tied
    for name in ("x", f"gpt_neox.layers.{layers}.attention.dense.bias", "gpt_neox.layers.00.attention.dense.bias"):
        assert name not in shapes


def absurd(folder: Path) -> Path:
    """A checkpoint whose configuration calls for a billion layers."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**9}))
    return folder


def test_a_billion_layers_are_refused_at_once(plan_file, copy_of, tmp_path, capfd) -> None:
    """They are counted and not listed: the names alone would be five gigabytes."""
    folder, started = absurd(copy_of("step21")), time.monotonic()
    with pytest.raises(ModelError, match=r"layers\.2\.input_layernorm\.weight, .* and 11,999,999,9\d\d more"):
        load_weights(folder, read_config(folder), torch.device("cpu"), torch.float32)
    arguments = ["--checkpoint", str(folder), "--plan", str(plan_file(0)), "--output", str(tmp_path / "0-shot.json")]
    assert cli.run(scorer.main, arguments) == 2
    assert "tensors missing from the weights" in capfd.readouterr().err
    assert cli.run(quickstart.main, ["--checkpoint", str(folder), "--output", str(tmp_path / "q.txt")]) == 2
    assert "config.json calls for" in capfd.readouterr().err
    assert time.monotonic() - started < 30


def test_who_reads_ahead_stops_with_the_process(checkpoint) -> None:
    """A process that is told to end waits for its thread, which ends after the tensor that it is reading."""
    stop = threading.Event()
    ahead, started = read_ahead(range(2), lambda number: number == 0 or stop.wait(60), stop), time.monotonic()
    next(ahead)
    ahead.close()
    assert stop.is_set()
    assert time.monotonic() - started < 10
    with pytest.raises(ModelError, match="reading was interrupted"):
        load_weights(checkpoint, read_config(checkpoint), torch.device("cpu"), torch.float32, stop)


SLOWLY = """
import sys, time
from workflow_scripts import cli
from workflow_scripts.evaluation import score
from workflow_scripts.evaluation.engine import model_weights
original = model_weights.read_tensors
def read_slowly(path):
    print("reading", file=sys.stderr, flush=True)
    for item in original(path):
        time.sleep(2)
        yield item
model_weights.read_tensors = read_slowly
raise SystemExit(cli.run(score.main, sys.argv[1:]))
"""


def test_sigterm_while_weights_are_read_is_obeyed(plan_file, checkpoint, tmp_path) -> None:
    arguments = [
        "--checkpoint",
        str(checkpoint),
        "--plan",
        str(plan_file(0)),
        "--output",
        str(tmp_path / "0-shot.json"),
    ]
    program = subprocess.Popen([sys.executable, "-c", SLOWLY, *arguments], stderr=subprocess.PIPE, text=True)
    assert program.stderr is not None
    assert program.stderr.readline() == "reading\n"
    started = time.monotonic()
    program.send_signal(signal.SIGTERM)
    said = program.communicate(timeout=50)[1]
    assert program.returncode == cli.TERMINATED
    assert "Traceback" not in said
    assert time.monotonic() - started < 25  # of the minute that the tensors would take
