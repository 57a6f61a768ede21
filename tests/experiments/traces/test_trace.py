"""``pythia trace`` from end to end: rows on the disk and by ranges, interrupted scans, a run with checkpoints."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest

from tests.experiments.traces.conftest import SUITE, call
from workflow_scripts import cli
from workflow_scripts.dataset import build_index_maps
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.experiments.traces import place_texts, scan_texts, scanning, score_texts, trace, trace_effect
from workflow_scripts.pocket import generate_trace_texts
from workflow_scripts.training import publish, retrain
from workflow_scripts.training.recipe import recipe_of
from workflow_scripts.workflow.tools.check import DEFAULT, load_run_file

MODEL = SUITE.model("pocket-280k")
STEPS = (0, 1, 16, 64, 128, 256, 384, 600)
ORDER = ["--seq-length", 128, "--seed", 1234, "--train-iters", 600, "--batch-size", 8]


@pytest.fixture(scope="module")
def order(pocket_corpus):
    return TrainingRows.open(pocket_corpus / "standard-shards" / "view.json", None, 128, 1234, 600, 8)


@pytest.fixture(scope="module")
def passage(pocket_corpus):
    """Two lines of a passage that has 16 copies."""
    world = json.loads((pocket_corpus / "world.json").read_text())
    text = next(entry["text"] for entry in world["passages"] if entry["copies"] == 16)
    return " ".join(f"{line}." for line in text.split(". ")[:2])


@pytest.fixture(scope="module")
def preshuffled(pocket_corpus, order, tmp_path_factory):
    """The rows of the run in the order of training, as a data set on a mirror."""
    folder = tmp_path_factory.mktemp("mirror")
    place = folder / "datasets" / "org" / "rows"
    place.mkdir(parents=True)
    order.rows(0, 4800).astype("<u2").tofile(place / "document-00000-of-00000.bin")
    return folder


def view(corpus):
    return ["--view", corpus / "standard-shards" / "view.json", "--tokenizer", corpus / "tokenizer.json"]


def test_raw_shards_preshuffled_rows_and_ranges_of_a_mirror_agree(pocket_corpus, passage, preshuffled, tmp_path):
    rows = ["--preshuffled", preshuffled / "datasets/org/rows/document-00000-of-00000.bin"]
    remote = ["--preshuffled", "document-00000-of-00000.bin", "--repository", "org/rows", "--source", "mirror",
              "--location", preshuffled]  # fmt: skip
    common = ["--text", passage, "--min-tokens", 20, *ORDER]
    tokenizer = ["--tokenizer", pocket_corpus / "tokenizer.json"]
    call(trace, *common, *view(pocket_corpus), "--output-dir", tmp_path / "raw")
    call(trace, *common, *tokenizer, *rows, "--output-dir", tmp_path / "rows")
    call(trace, *common, *tokenizer, *remote, "--first-step", 100, "--last-step", 400, "--output-dir", tmp_path / "far")
    raw, near, far = (pd.read_parquet(tmp_path / name / "exposures.parquet") for name in ("raw", "rows", "far"))
    places = ["text", "step", "row", "position", "length", "whole"]
    pd.testing.assert_frame_equal(raw[places], near[places])
    assert 10 <= raw["whole"].sum() <= 16
    between = raw[(raw["step"] > 100) & (raw["step"] <= 400)]
    pd.testing.assert_frame_equal(between[places].reset_index(drop=True), far[places])
    assert 0 < len(far) < len(raw)


def test_exposures_are_printed(pocket_corpus, passage, capsys):
    call(trace, "--text", passage, "--min-tokens", 20, *ORDER, *view(pocket_corpus))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("text-1: ")
    assert "exposures of the whole text" in lines[0]
    assert all(line.startswith("  step ") for line in lines[1:])


def test_an_interrupted_scan_goes_on(pocket_corpus, passage, tmp_path, monkeypatch):
    monkeypatch.setattr(trace, "PART_TOKENS", 100_000)
    arguments = ["--text", passage, "--min-tokens", 20, *ORDER, *view(pocket_corpus), "--output-dir", tmp_path]
    scanned = []

    def scan(stored, table, first, stop, advance):
        if len(scanned) == 3:
            raise KeyboardInterrupt
        scanned.append((first, stop))
        return scanning.scan_tokens(stored, table, first, stop, advance)

    monkeypatch.setattr(trace, "scan_tokens", scan)
    with pytest.raises(KeyboardInterrupt):
        call(trace, *arguments)
    assert len(list(tmp_path.glob("scan-*.npz"))) == 3
    assert not (tmp_path / "exposures.parquet").exists()
    monkeypatch.setattr(trace, "scan_tokens", lambda *rest: scanned.append(rest[2:4]) or scanning.scan_tokens(*rest))
    call(trace, *arguments)
    assert len(scanned) == len(set(scanned)) == len(list(tmp_path.glob("scan-*.npz")))
    assert [stop for _, stop in scanned[:-1]] == [first for first, _ in scanned[1:]]
    assert len(pd.read_parquet(tmp_path / "exposures.parquet")) > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "The end."], "give --run"),
        (["--text", "The end.", "VIEW"], "at least 8"),
        (["VIEW"], "no texts"),
        (["--texts", "none.txt", "VIEW"], "none.txt: no such file"),
        (["TEXT", "VIEW", "--last-step", "900"], "requested, but there are"),
        (["TEXT", "VIEW", "--min-tokens", "4"], "give at least 8"),
        (["--text", "The end.", "--run", "none.json"], "none.json"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(pocket_corpus, capsys, arguments, message):
    words: list[object] = []
    for word in arguments:
        text = ["--text", "The cat under the wells waits in the rain."]
        words += {"VIEW": [*view(pocket_corpus), *ORDER], "TEXT": text}.get(word, [word])
    assert cli.run(trace.main, [str(word) for word in words]) == cli.USER_ERROR
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_a_scan_for_other_texts_is_refused(pocket_corpus, passage, tmp_path):
    recipe = json.dumps(recipe_of(MODEL).to_json())
    call(scan_texts, "--text", passage, *view(pocket_corpus), "--output", tmp_path / "scan.npz")
    arguments = ["--text", f"{passage} Again.", *view(pocket_corpus), "--recipe", recipe, "--scans",
                 tmp_path / "scan.npz", "--output", tmp_path / "exposures.parquet"]  # fmt: skip
    assert cli.run(place_texts.main, [str(word) for word in arguments]) == cli.USER_ERROR
    assert not (tmp_path / "exposures.parquet").exists()


@pytest.fixture(scope="module")
def results(pocket_corpus, tmp_path_factory):
    """A folder of results with the data, the checkpoints and run.json of one model of the pocket suite."""
    folder = tmp_path_factory.mktemp("traced") / "results"
    data, corpus = folder / "data" / "pocket", folder / "corpus" / "pocket"
    data.mkdir(parents=True)
    corpus.mkdir(parents=True)
    (data / "standard").symlink_to(pocket_corpus / "standard-shards")
    (corpus / "tokenizer.json").symlink_to(pocket_corpus / "tokenizer.json")
    call(build_index_maps, "--view", data / "standard" / "view.json", "--output-dir", data / "standard" / "index_maps",
         *ORDER)  # fmt: skip
    call(generate_trace_texts, "--seed", SUITE.corpus["seed"], "--documents", SUITE.corpus["documents"],
         "--output", corpus / "trace_texts.jsonl")  # fmt: skip
    recipe = json.dumps(recipe_of(MODEL).saving(STEPS).to_json())
    call(retrain, "--recipe", recipe, "--view", data / "standard" / "view.json", "--output-dir", folder / "training")
    for step in STEPS:
        call(publish, "--checkpoint", folder / "training" / f"step{step}", "--tokenizer", corpus / "tokenizer.json",
             "--dtype", "float32", "--output-dir", folder / "checkpoints" / MODEL.name / f"step{step}")  # fmt: skip
    run = dataclasses.replace(load_run_file(DEFAULT), models=(MODEL,), steps={MODEL.name: STEPS})
    (folder / "run.json").write_text(json.dumps(run.as_json()))
    return folder


@pytest.mark.slow
def test_the_effect_is_found_on_the_pocket_suite_and_the_placebo_s_is_not(results, tmp_path, capsys):
    texts = results / "corpus" / "pocket" / "trace_texts.jsonl"
    call(trace, "--run", results / "run.json", "--results", results, "--texts", texts, "--min-tokens", 24,
         "--output-dir", tmp_path)  # fmt: skip
    effect = pd.read_parquet(tmp_path / "traces.parquet").iloc[0]
    assert effect["texts"] > 80
    assert effect["lower"] < effect["effect"] < effect["upper"] < 0
    assert effect["placebo_lower"] < 0 < effect["placebo_upper"]
    assert effect["placebo_p"] < 0.05
    copies = pd.read_json(texts, lines=True).set_index("id")["copies"]
    seen = pd.read_parquet(tmp_path / "traces_texts.parquet").set_index("text")["whole"]
    assert (seen[copies[copies == 0].index] == 0).all()
    # A text is cut by the border of a row now and then, and some rows are not trained on; none is seen more often.
    assert (seen <= copies[seen.index]).all()
    assert seen.sum() > 0.6 * copies.sum()
    verdict = json.loads((tmp_path / "verdict_traces.json").read_text())
    assert "lowers the loss on a text" in verdict["sentences"][0]
    assert f"passage-00-0, {MODEL.name}, loss in nats per token by step: 0: " in capsys.readouterr().out


@pytest.mark.slow
def test_the_jobs_of_the_graph_agree_with_the_command(results, tmp_path):
    """Three parts of a scan, placed, scored and judged as the rules do it."""
    declaration = tmp_path / "pocket.yaml"
    texts = results / "corpus" / "pocket" / "trace_texts.jsonl"
    declaration.write_text(f"traces: pocket\nmin_tokens: 24\ntexts: [{{file: {texts}}}]\n")
    data, tokenizer = results / "data/pocket/standard", results / "corpus/pocket/tokenizer.json"
    what = ["--declaration", declaration, "--view", data / "view.json", "--tokenizer", tokenizer]
    scans = [tmp_path / f"part-{part}.npz" for part in range(3)]
    for part, scan in enumerate(scans):
        call(scan_texts, *what, "--part", part, "--parts", 3, "--output", scan)
    made = results / "experiments" / "traces" / "mine"
    recipe = json.dumps(recipe_of(MODEL).to_json())
    call(place_texts, *what, "--recipe", recipe, "--index-maps", data / "index_maps", "--scans", *scans,
         "--output", made / "pocket-standard" / "exposures.parquet")  # fmt: skip
    checkpoints = [results / "checkpoints" / MODEL.name / f"step{step}" for step in STEPS]
    call(score_texts, "--declaration", declaration, "--checkpoint", *checkpoints, "--output",
         made / MODEL.name / "losses.parquet", "--tokens", made / MODEL.name / "tokens.parquet")  # fmt: skip
    tables = tmp_path / "tables"
    call(trace_effect, "--run", results / "run.json", "--results", results, "--traces", "mine", "--tables-dir", tables)
    call(trace, "--run", results / "run.json", "--results", results, "--declaration", declaration,
         "--output-dir", tmp_path / "command")  # fmt: skip
    for name in ("traces", "traces_forgetting", "traces_events", "traces_texts", "traces_losses", "traces_exposures"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(tables / f"{name}.parquet"), pd.read_parquet(tmp_path / "command" / f"{name}.parquet")
        )
