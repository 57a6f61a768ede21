"""Tasks that the fast path refuses, through stock lm-eval: a generation task of one's own against simple_evaluate."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
from evaluation_worlds import WORDS, sentence, write_parquet

from workflow_scripts.errors import ConfigError, EvaluationError, ModelError
from workflow_scripts.evaluation import collect, stock
from workflow_scripts.evaluation.planning.request_descriptions import describe_metrics
from workflow_scripts.evaluation.planning.tasks import local_manager
from workflow_scripts.evaluation.scoring.results import read_results

TASK = """
task: next_word
dataset_path: own/next_word
output_type: generate_until
training_split: train
test_split: test
doc_to_text: "{{text}}"
doc_to_target: "{{word}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 4, do_sample: false}
filter_list:
  - name: first-letter
    filter: [{function: regex, regex_pattern: "([a-z])"}, {function: take_first}]
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 3.0}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folder of task definitions and folder of data with a generation task of the user's own."""
    root = tmp_path_factory.mktemp("own")
    (root / "definitions").mkdir()
    (root / "definitions" / "next_word.yaml").write_text(TASK)
    for split, first in (("train", 50), ("test", 0)):
        rows = [{"text": sentence(n, 6), "word": WORDS[n % 9][0]} for n in range(first, first + 8)]
        write_parquet(root / "data" / "own" / "next_word" / "default" / f"{split}.parquet", rows)
    return root / "definitions", root / "data"


def command(checkpoint, world, output, shots):
    definitions, data = world
    named = ["--tasks", "next_word", "--shots", str(shots), "--include-path", str(definitions)]
    return ["--checkpoint", str(checkpoint), *named, "--data-dir", str(data), "--output", str(output)]


@pytest.mark.slow
@pytest.mark.parametrize("shots", [0, 2])
def test_equals_simple_evaluate(checkpoint, world, tmp_path, shots):
    output = tmp_path / checkpoint.parent.name / checkpoint.name / f"{shots}-shot.stock.json"
    stock.main(command(checkpoint, world, output, shots))
    ours = read_results(output)
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    _, data = world
    places = {split: str(data / "own" / "next_word" / "default" / f"{split}.parquet") for split in ("train", "test")}
    text = TASK.replace(
        "dataset_path: own/next_word", f"dataset_path: parquet\ndataset_kwargs: {{data_files: {places}}}"
    )
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "next_word.yaml").write_text(text)
    theirs = lm_eval.simple_evaluate(
        model=HFLM(pretrained=str(checkpoint), dtype="float32", device="cpu", batch_size=2),
        tasks=["next_word"],
        num_fewshot=shots,
        task_manager=TaskManager(include_path=str(tmp_path / "theirs"), include_defaults=False),
        fewshot_random_seed=1234,
    )
    entry = ours["results"]["next_word"]
    for key in ("exact_match,first-letter", "exact_match_stderr,first-letter"):
        assert math.isclose(entry[key], theirs["results"]["next_word"][key], rel_tol=1e-9)
    assert ours["n-shot"] == {"next_word": shots}
    assert ours["versions"] == {"next_word": 3.0}
    assert str(tmp_path) not in output.read_text()
    record = json.loads(output.with_name(output.name + ".record.json").read_text())
    assert "own/next_word/default/test.parquet" in record["inputs"]
    table = tmp_path / "scores.parquet"
    collect.main(["--suite", "pocket", "--scores", str(output), "--output", str(table)])
    (row,) = pd.read_parquet(table).to_dict("records")
    assert (row["task"], row["metric"], row["shots"], row["n"]) == ("next_word", "exact_match,first-letter", shots, 8)
    assert row["engine"] == "lm-eval-hf"
    assert (row["protocol"], row["value"]) == ("current", entry["exact_match,first-letter"])


def test_the_fast_path_names_the_task_it_refuses(world):
    definitions, data = world
    manager, _ = local_manager(["next_word"], [data], include=[definitions])
    task = manager.load(["next_word"])["tasks"]["next_word"]
    with pytest.raises(EvaluationError, match="task 'next_word': filters its answers"):
        describe_metrics(task)


def test_weights_that_lack_a_tensor_are_refused_before_transformers_fills_the_gap(copy_of, world, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copy_of("step8")
    weights = load_file(folder / "model.safetensors")
    del weights["gpt_neox.layers.1.mlp.dense_h_to_4h.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing keys: gpt_neox\.layers\.1\.mlp\.dense_h_to_4h\.bias"):
        stock.main(command(folder, world, tmp_path / "0-shot.stock.json", 0))


def test_arguments(checkpoint, world, tmp_path):
    output = tmp_path / "0-shot.stock.json"
    with pytest.raises(ConfigError, match="--shots must be 0"):
        stock.main(command(checkpoint, world, output, -1))
    with pytest.raises(ConfigError, match="no such folder"):
        stock.main(command(checkpoint, (tmp_path / "none", world[1]), output, 0))
