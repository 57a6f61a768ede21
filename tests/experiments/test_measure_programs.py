"""The programs of the dynamics from end to end on random checkpoints, against transformers and whole tensors."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from tests.evaluation.evaluation_worlds import TEXT, train_tokenizer
from tests.experiments.dynamics_models import save_random
from tests.training.training_runs import ArrayRows
from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, DataError, MissingInputError, UnknownNameError
from workflow_scripts.experiments.dynamics import collect_probe, join_dynamics, measure_probe, measure_weights
from workflow_scripts.experiments.dynamics.probe_file import read_probe, rows_from, training_rows
from workflow_scripts.experiments.dynamics.similarity import cka, fingerprint
from workflow_scripts.suite.dynamics_settings import load_dynamics
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml

ASKED = ["residual_norm", "logit_lens", "attention_entropy", "induction", "cka"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tokenizer, a text, the probe made of them and a checkpoint."""
    folder = tmp_path_factory.mktemp("world")
    train_tokenizer(folder / "tokenizer.json", [TEXT], 300)
    (folder / "text.txt").write_text(f"{TEXT}. " * 20)
    model = save_random(folder / "step0", "wide", vocabulary=320)
    collect_probe.main(probe_arguments(folder, folder / "probe.safetensors"))
    return folder, model


def probe_arguments(folder, output):
    text = ["--text", str(folder / "text.txt"), "--text-rows", "5", "--length", "20"]
    random = ["--repeated", "6", "4", "--output", str(output)]
    return ["--tokenizer", str(folder / "tokenizer.json"), *text, *random]


def ask(folder, output, *more, metrics=tuple(ASKED), probe="probe.safetensors"):
    measure_probe.main([
        *("--checkpoint", str(folder / "step0"), "--probe", str(folder / probe), "--metrics", *metrics),
        *("--cka-tokens", "30", "--output", str(output)),
        *("--fingerprints", str(output.with_suffix(".safetensors")), *more),
    ])  # fmt: skip
    return pd.read_parquet(output)


def test_the_probe_holds_the_text_and_repeats(world):
    from tokenizers import Tokenizer

    folder, _ = world
    rows = read_probe(folder / "probe.safetensors", 320)
    tokens = Tokenizer.from_file(str(folder / "tokenizer.json")).encode((folder / "text.txt").read_text()).ids
    assert rows["held_out"].tolist() == np.reshape(tokens[:105], (5, 21)).tolist()
    for row, control in zip(rows["repeated"], rows["unrepeated"], strict=True):
        assert (row[:6] == row[6:12]).all()
        assert row[12] == row[0]
        assert len(set(row[:6])) == 6
        assert (control[:6] == row[:6]).all()
        assert (control[6:12] != row[6:12]).any()
    assert set(rows["unrepeated"].reshape(-1)) <= set(rows["held_out"].reshape(-1))


def test_the_probe_is_the_same_every_time(world, tmp_path):
    folder, _ = world
    collect_probe.main(probe_arguments(folder, tmp_path / "again.safetensors"))
    assert (tmp_path / "again.safetensors").read_bytes() == (folder / "probe.safetensors").read_bytes()


def test_rows_of_the_order_are_those_of_their_iterations(tiny):
    tokens = np.arange(tiny.batch_rows * 10 * 25).reshape(-1, 25) % 90
    source = ArrayRows(tokens.astype(np.uint16))
    assert training_rows(source, tiny, [0, 7], 2, 10).tolist() == tokens[[0, 1, 56, 57], :11].tolist()
    assert rows_from(source, tiny, 7, 20).tolist() == tokens[56:76].tolist()
    with pytest.raises(ConfigError, match="has 80 rows"):
        rows_from(source, tiny, 9, 20)
    with pytest.raises(ConfigError, match="an iteration of tiny has 8"):
        training_rows(source, tiny, [0], 9, 10)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (["--text-rows", "500"], ConfigError, "ask for fewer rows"),
        (["--iterations", "0"], ConfigError, "give --view and --recipe"),
        (["--text", "nowhere.txt"], MissingInputError, "nowhere.txt"),
    ],
)
def test_a_probe_that_cannot_be_made_is_refused(world, tmp_path, change, error, words):
    with pytest.raises(error, match=words):
        collect_probe.main([*probe_arguments(world[0], tmp_path / "p.safetensors"), *change])
    assert not (tmp_path / "p.safetensors").exists()


@torch.inference_mode()
def test_means_and_intervals_are_those_of_transformers_states(world, tmp_path):
    folder, model = world
    table = ask(folder, tmp_path / "probe.parquet")
    rows = torch.from_numpy(read_probe(folder / "probe.safetensors", 320)["held_out"].astype(np.int64))
    wanted = model(rows[:, :-1], output_hidden_states=True).hidden_states[1].norm(dim=-1).mean(1).double().numpy()
    found = table[(table["metric"] == "residual_norm") & (table["layer"] == 1)].iloc[0]
    assert found["value"] == pytest.approx(wanted.mean(), rel=1e-5)
    half = 2.776445 * wanted.std(ddof=1) / np.sqrt(5)  # t of four degrees of freedom
    assert (found["lower"], found["upper"]) == pytest.approx((wanted.mean() - half, wanted.mean() + half), rel=1e-4)
    counts = table.groupby(["metric", "part"]).size().to_dict()
    texts = {("residual_norm", "held_out"): 3, ("logit_lens", "held_out"): 3, ("attention_entropy", "held_out"): 12}
    assert counts == {**texts, ("induction", "repeated"): 12, ("induction", "unrepeated"): 12}


def test_less_memory_and_another_run_change_no_number(world, tmp_path):
    folder, _ = world
    one = ask(folder, tmp_path / "one.parquet")
    small = ask(folder, tmp_path / "small.parquet", "--memory-mb", "1")
    pd.testing.assert_frame_equal(one, small, rtol=1e-4, atol=1e-5)
    ask(folder, tmp_path / "two.parquet")
    for kind in ("parquet", "safetensors"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
    prints = [load_file(tmp_path / f"{name}.safetensors") for name in ("one", "small")]
    assert all(cka(prints[0][layer], prints[1][layer]) == pytest.approx(1, abs=1e-4) for layer in prints[0])


@torch.inference_mode()
def test_fingerprints_are_of_tokens_spread_over_the_rows(world, tmp_path):
    folder, model = world
    ask(folder, tmp_path / "probe.parquet", "--layers", "-1", metrics=["cka"])
    prints = load_file(tmp_path / "probe.safetensors")
    assert set(prints) == {"1", "2"}  # in front of the last layer and behind it
    rows = torch.from_numpy(read_probe(folder / "probe.safetensors", 320)["held_out"].astype(np.int64))
    states = model(rows[:, :-1], output_hidden_states=True).hidden_states[1].reshape(100, -1).numpy()
    wanted = fingerprint(states[np.linspace(0, 99, 30).round().astype(int)])
    assert cka(prints["1"], wanted) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("metric", "more", "error"),
    [
        ("inductoin", [], UnknownNameError("metric", "inductoin", measure_probe.KNOWN)),
        ("cka", ["--cka-tokens", "2000"], ConfigError("--cka-tokens 2000: the probe has 100 tokens of text")),
        ("cka", ["--cka-tokens", "3"], ConfigError("--cka-tokens 3: give at least 4")),
        ("noise_scale", [], DataError("the probe has no batch for gradients")),
        ("induction", ["--probe", "nothing.safetensors"], MissingInputError("nothing.safetensors: no such probe")),
    ],
)
def test_a_question_without_an_answer_is_refused(world, tmp_path, metric, more, error):
    with pytest.raises(type(error), match=re.escape(str(error))):
        ask(world[0], tmp_path / "probe.parquet", *more, metrics=[metric])
    assert not list(tmp_path.iterdir())


def test_a_probe_of_another_tokenizer_is_refused(world, tmp_path, capsys):
    folder, _ = world
    save_random(tmp_path / "step0", "deep", vocabulary=100)
    arguments = ["--checkpoint", str(tmp_path / "step0"), "--probe", str(folder / "probe.safetensors")]
    outputs = ["--output", str(tmp_path / "a.parquet"), "--fingerprints", str(tmp_path / "a.safetensors")]
    assert cli.run(measure_probe.main, [*arguments, "--metrics", "induction", *outputs]) == 2
    assert "but the model has 100" in capsys.readouterr().err


def measure(checkpoint, output, *more):
    measure_weights.main([
        *("--checkpoint", str(checkpoint), "--metrics", *load_dynamics("pocket").weights["metrics"], *more),
        *("--output", str(output / "weights.parquet"), "--sketches", str(output / "sketches.safetensors")),
    ])  # fmt: skip
    return pd.read_parquet(output / "weights.parquet")


def test_layers_and_metrics_of_weights_can_be_chosen(world, tmp_path):
    folder, model = world
    table = measure(folder / "step0", tmp_path, "--layers", "0")
    assert set(table["layer"].dropna()) == {0}
    norms = table[table["metric"] == "norm"].set_index(["layer", "part"])["value"]
    weight = model.gpt_neox.layers[0].mlp.dense_4h_to_h.weight
    assert norms[0, "mlp.dense_4h_to_h.weight"] == pytest.approx(float(weight.detach().norm()), rel=1e-6)
    with pytest.raises(UnknownNameError, match="did you mean 'stable_rank'"):
        measure_weights.main([
            *("--checkpoint", str(folder / "step0"), "--metrics", "stablerank"),
            *("--output", str(tmp_path / "w.parquet"), "--sketches", str(tmp_path / "s.safetensors")),
        ])  # fmt: skip
    with pytest.raises(ConfigError, match="power of two"):
        measure(folder / "step0", tmp_path, "--sketch", "1000")


@pytest.fixture(scope="module")
def joined(world, tmp_path_factory, root):
    """Two sizes at three steps each, measured and joined; random models whose weights grow."""
    folder, _ = world
    results = tmp_path_factory.mktemp("results")
    settings = load_yaml(root / "config" / "config.yaml")
    settings |= {"models": ["pocket-90k", "pocket-280k"], "dynamics": {"declaration": "pocket", "steps": [0, 64, 600]}}
    run = load_run({**settings, "experiments": ["dynamics"]})
    models = {}
    for shape, model in zip(("wide", "deep"), run.models, strict=True):
        for seed, step in enumerate((0, 64, 600)):
            place = results / "experiments" / "dynamics" / "pocket" / model.name / f"step{step}"
            checkpoint = results / model.name / f"step{step}"
            models[model.name, step] = save_random(checkpoint, shape, seed, 2.0 + 2 * seed, vocabulary=320)
            measure(checkpoint, place, "--sketch", "1024")
            measure_probe.main([
                *("--checkpoint", str(checkpoint), "--probe", str(folder / "probe.safetensors"), "--metrics", *ASKED),
                *("--cka-tokens", "40", "--output", str(place / "probe.parquet")),
                *("--fingerprints", str(place / "fingerprints.safetensors")),
            ])  # fmt: skip
    resolved = run.as_json()
    for facts, layers in zip(resolved["models"], (2, 5), strict=True):
        facts["layers"] = layers
    (results / "run.json").write_text(json.dumps(resolved))
    monkeypatched = pytest.MonkeyPatch()
    shaped = [dataclasses.replace(m, layers=n) for m, n in zip(run.models, (2, 5), strict=True)]
    monkeypatched.setattr(join_dynamics, "models_of", lambda *_: shaped)
    join_dynamics.main(["--run", str(results / "run.json"), "--results", str(results), "--tables-dir", str(results)])
    monkeypatched.undo()
    return results, models


def test_distances_are_those_of_whole_models(joined):
    results, models = joined
    table = pd.read_parquet(results / "dynamics.parquet")
    whole = {key: torch.cat([p.detach().double().flatten() for p in m.parameters()]) for key, m in models.items()}
    key = table[table["part"] == "all"].set_index(["model", "step", "metric"])
    for model in ("pocket-90k", "pocket-280k"):
        for step, name, other in ((64, "first", 0), (600, "previous", 64), (0, "last", 600)):
            one, reference = whole[model, step], whole[model, other]
            found = key.loc[(model, step, f"distance_{name}")]
            wanted = float((one - reference).norm())
            assert found["lower"] - 0.01 * wanted <= wanted <= found["upper"] + 0.01 * wanted
            assert found["upper"] < 1.2 * wanted
            cosine = float(one @ reference / one.norm() / reference.norm())
            assert key.loc[(model, step, f"cosine_{name}")]["value"] == pytest.approx(cosine, abs=0.03)
        assert key.loc[(model, 0, "distance_first")]["value"] == 0
        assert (model, 0, "distance_previous") not in key.index
    small = table[(table["metric"] == "distance_last") & (table["part"] == "final_layer_norm.bias")]
    assert (small["lower"] == small["upper"]).all()  # small enough to be its own sketch


def test_the_map_of_similarities_is_complete_and_in_the_table(joined):
    results, _ = joined
    pairs = pd.read_parquet(results / "dynamics_cka.parquet")
    inside = pairs[(pairs["model"] == pairs["other_model"])]
    assert len(inside) == 6 * (3 + 6)  # six pairs of steps at three and six places
    same = inside[inside["step"] == inside["other_step"]]
    assert same["value"].to_numpy() == pytest.approx(np.ones(len(same)), abs=1e-5)
    across = pairs[pairs["model"] != pairs["other_model"]]
    assert len(across) == 3 * 6
    assert set(across["step"]) == set(across["other_step"]) == {600}
    folder = results / "experiments" / "dynamics" / "pocket"
    prints = [
        load_file(folder / name / "step600" / "fingerprints.safetensors") for name in ("pocket-90k", "pocket-280k")
    ]
    for row in across.itertuples():
        assert row.value == pytest.approx(cka(prints[0][str(row.layer)], prints[1][str(row.other_layer)]))
    table = pd.read_parquet(results / "dynamics.parquet")
    first = table[(table["metric"] == "cka_first") & (table["step"] == 600) & (table["model"] == "pocket-90k")]
    wanted = inside[(inside["model"] == "pocket-90k") & (inside["step"] == 0) & (inside["other_step"] == 600)]
    assert first.sort_values("layer")["value"].tolist() == wanted.sort_values("layer")["value"].tolist()


def test_the_table_is_tidy_and_the_sentences_have_their_numbers(joined):
    results, _ = joined
    table = pd.read_parquet(results / "dynamics.parquet")
    assert list(table.columns) == [
        *("suite", "model", "step", "layer", "head", "part", "metric", "value", "lower", "upper"),
    ]  # fmt: skip
    assert not table.duplicated(["model", "step", "layer", "head", "part", "metric"]).any()
    verdict = json.loads((results / "verdict_dynamics.json").read_text())
    assert [found["model"] for found in verdict["numbers"]["induction"]] == ["pocket-90k", "pocket-280k"]
    assert sum("induction head" in sentence for sentence in verdict["sentences"]) == 2
