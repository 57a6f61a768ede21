"""A suite of somebody else, from its branches on a Hub to the report: Llama's architecture, revisions like OLMo 2's.

The suite's file names a ledger instead of steps, and knows nothing of data, training or published results.
"""

import json

import pyarrow as pa
import pytest

from tests.evaluation.evaluation_worlds import save_other_model, sentence, train_tokenizer
from tests.storage.fault_hub import FaultHub
from tests.workflow.bare_clone import Clone
from tests.workflow.evaluation_hub import parquet_bytes

pytestmark = pytest.mark.slow

NAME, REPOSITORY = "Tiny-Llama-1k", "someone/Tiny-Llama-1k"
ARCHITECTURE = "llama"
REVISIONS = {0: "stage1-step0-tokens0B", 1000: "stage1-step1000-tokens2B", 2500: "stage1-step2500-tokens3B"}
OTHERS = ("stage2-ingredient1-step10-tokens1B", "step7", "main")
TASKS = ("lambada_openai", "arc_easy")
SUITE = """
suite: someone
organisation: someone
architecture: llama
tokenizer: {source: released, repository: someone/Tiny-Llama-1k, vocab_size: 512}
recipe: {sequence_length: 128, batch_rows: 8192, published_dtype: float32}
sizes:
  1k: {layers: 2, hidden_size: 32, heads: 4, padded_vocab_size: 512, parameters: 48288}
families:
  - version: v1
    name: "Tiny-Llama-{size}"
    sizes: [1k]
    ledger: config/suites/locks/someone.tsv
    revision: "stage1-step{step}-tokens{tokens}B"
tasks:
  lambada_openai: {repository: EleutherAI/lambada_openai, chance: 0.0, metric: acc, title: LAMBADA}
  arc_easy: {repository: allenai/ai2_arc, chance: 0.25, metric: acc, title: ARC-easy}
"""
RUN = """
run: someone
suite: someone
models: all
steps: all
shots: [0, 2]
tasks: all
checkpoints: {source: hub, location: null}
evaluation: {crosscheck_documents: 2}
experiments: []
"""
RUN_SNAKEMAKE = ("snakemake", "-c2", "--configfile", "config/runs/someone.yaml")


def add_model(hub, folder, tokenizer):
    """A branch for each checkpoint, and branches of other names."""
    for seed, name in enumerate([*REVISIONS.values(), *OTHERS]):
        place = folder / name
        place.mkdir()
        save_other_model(place, tokenizer, seed, ARCHITECTURE)
        hub.add(REPOSITORY, {path.name: path.read_bytes() for path in place.iterdir()}, name)


def add_tasks(hub):
    """The two data sets, with a few made-up rows each."""
    texts = [{"text": f"{sentence(n, 9)} {sentence(n + 1, 1)}"} for n in range(6)]
    questions = [
        {
            "question": f"What is found in {sentence(n, 3)}?",
            "choices": {"text": [sentence(n + k, 2) for k in range(4)], "label": ["A", "B", "C", "D"]},
            "answerKey": "ABCD"[n % 4],
        }
        for n in range(6)
    ]
    hub.add(
        "EleutherAI/lambada_openai",
        {"data/test-00000-of-00001.parquet": parquet_bytes(pa.Table.from_pylist(texts))},
        kind="datasets",
    )
    content = parquet_bytes(pa.Table.from_pylist(questions))
    arc = {f"ARC-Easy/{split}-00000-of-00001.parquet": content for split in ("test", "train", "validation")}
    hub.add("allenai/ai2_arc", arc, kind="datasets")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer(folder / "tokenizer.json", [sentence(n, 12) for n in range(50)], 400)
    with FaultHub() as served:
        add_model(served, folder, tokenizer)
        add_tasks(served)
        yield served


@pytest.fixture(scope="module")
def clone(root, hub, tmp_path_factory):
    """The clone after what docs/how-to/my-suite.md says: a suite, a run, the ledger, snakemake."""
    made = Clone(root, tmp_path_factory.mktemp("own"))
    (made.folder / "config" / "suites" / "someone.yaml").write_text(SUITE)
    (made.folder / "config" / "runs" / "someone.yaml").write_text(RUN)
    made.early = made.python(hub.endpoint, *RUN_SNAKEMAKE, "-n")
    words = ["--suite", "someone", "--source", "hub", "--location", hub.endpoint]
    made.ledger = made.folder / "config" / "suites" / "locks" / "someone.tsv"
    filled = made.python(hub.endpoint, "workflow_scripts.checkpoints.ledger", *words, "--ledger", str(made.ledger))
    assert filled.returncode == 0, filled.stderr
    done = made.python(hub.endpoint, *RUN_SNAKEMAKE)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_without_the_ledger_one_line_says_how_to_fill_it(clone):
    assert clone.early.returncode == 2
    (line,) = [line for line in clone.early.stderr.splitlines() if line.startswith("error: ")]
    assert "takes its steps from the ledger config/suites/locks/someone.tsv, which has none of them" in line
    assert "checkpoints.ledger --suite someone --models Tiny-Llama-1k --source hub --ledger config/" in line


def test_the_ledger_lists_the_branches_of_the_family_and_main(clone):
    lines = clone.ledger.read_text().splitlines()[1:]
    assert list(dict.fromkeys(line.split("\t")[1] for line in lines)) == [*REVISIONS.values(), "main"]


def test_every_checkpoint_comes_from_its_own_branch(clone, hub):
    for step, revision in REVISIONS.items():
        folder = clone.folder / "results" / "checkpoints" / NAME / f"step{step}"
        assert json.loads((folder / "fetched.json").read_text())["revision"] == revision
        served = hub.find(f"models/{REPOSITORY}", revision)
        assert (folder / "model.safetensors").read_bytes() == served["model.safetensors"]


def test_tables_figures_and_the_report_show_it(clone):
    run = clone.folder / "results" / "runs" / "someone"
    header, *rows = [line.split(",") for line in (run / "tables" / "scores.csv").read_text().splitlines()]
    column = {name: [row[header.index(name)] for row in rows] for name in ("step", "tokens", "task")}
    assert set(zip(column["step"], column["tokens"], strict=True)) == {
        (str(step), str(step * 8192 * 128)) for step in REVISIONS
    }
    assert set(column["task"]) == set(TASKS)
    assert {path.stem for path in (run / "figures").glob("*.svg")} == {"scores_over_training"}
    page = (run / "report.html").read_text()
    assert NAME in page
    assert "published by the authors" not in page.lower()


def test_what_the_suite_does_not_know_is_absent(clone):
    made = {path.name for path in (clone.folder / "results").iterdir()}
    assert not made & {"data", "training", "mirror", "neox"}
    assert not list((clone.folder / "results" / "runs" / "someone" / "tables").glob("published*"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--", "data"], "data is not possible for suite someone: it does not say which pretokenised data"),
        (["--", "published"], "published is not possible for suite someone: it names no results"),
        (["--", "notebook"], "notebook is not possible for suite someone"),
        (["--config", "experiments=[memorization]"], "memorization is not possible for suite someone"),
        (["--config", "checkpoints={source: retrain}"], "does not say its datasets"),
    ],
)
def test_who_asks_for_it_is_told_which_fact_is_missing(clone, hub, words, line):
    refused = clone.python(hub.endpoint, *RUN_SNAKEMAKE, "-n", *words)
    assert refused.returncode == 2
    (error,) = [text for text in refused.stderr.splitlines() if text.startswith("error: ")]
    assert line in error


@pytest.mark.parametrize("shots", [0, 2])
def test_the_scores_are_those_of_stock_lm_eval(clone, shots, tmp_path):
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    from workflow_scripts.suite.task_facts import tasks_below

    def pointed(name):
        (facts,) = tasks_below(name)
        folder = clone.folder / "results" / "datasets" / facts.dataset / facts.config
        files = {split: str(folder / f"{split}.parquet") for split in facts.splits}
        more = {"data_files": files, "cache_dir": str(tmp_path / "cache")}
        return {"task": name, "dataset_path": "parquet", "dataset_name": None, "dataset_kwargs": more}

    for step in REVISIONS:
        model = HFLM(
            pretrained=str(clone.folder / "results" / "checkpoints" / NAME / f"step{step}"),
            dtype="float32", softmax_dtype="float32", device="cpu", batch_size=1, max_length=128,
        )  # fmt: skip
        theirs = lm_eval.simple_evaluate(
            model=model,
            tasks=[{"group": "all", "task": [pointed(name) for name in TASKS]}],
            num_fewshot=shots,
            bootstrap_iters=0,
            log_samples=False,
        )["results"]
        path = clone.folder / "results" / "scores" / NAME / f"step{step}" / f"{shots}-shot.json"
        ours = json.loads(path.read_text())["results"]
        for name in TASKS:
            metrics = [key for key in theirs[name] if key.endswith(",none") and "stderr" not in key]
            assert metrics
            for key in metrics:
                assert ours[name][key] == pytest.approx(theirs[name][key], rel=1e-5), (step, name, key)
