"""From a bare clone to scores, tables, figures and report, with everything from a Hub; the same without network after
the fetch rules; and the scores are those of stock lm-eval on the same files."""

import json

import pytest

from tests.storage.fault_hub import FaultHub
from tests.workflow.bare_clone import FIGURES, NOWHERE, RUN, Clone
from tests.workflow.evaluation_hub import MODEL, STEPS, add_data, add_models

pytestmark = [pytest.mark.slow, pytest.mark.shared]

GROUPS = {
    *("lambada_openai", "piqa", "winogrande", "wsc", "arc_easy", "arc_challenge", "sciq", "logiqa", "wikitext"),
    *("blimp", "mmlu"),
}
# What stock lm-eval is asked too; one of each kind of request, and one whose train split came in two files.
COMPARED = {
    0: ["lambada_openai", "wikitext", "winogrande", "blimp_passive_1"],
    5: ["arc_easy", "winogrande", "mmlu_anatomy"],
}


@pytest.fixture(scope="module")
def hub(shared):
    with FaultHub() as served:
        add_models(served, (shared / "tokenizer" / "20B_tokenizer.json").read_bytes())
        add_data(served, shared / "hub" / "datasets")
        yield served


@pytest.fixture(scope="module")
def clone(root, hub, tmp_path_factory):
    """The clone after ``snakemake fetch`` with the Hub and the whole run with the network cut."""
    made = Clone(root, tmp_path_factory.mktemp("bare"))
    fetched = made.snakemake(hub.endpoint, "fetch")
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    made.asked = len(hub.requests)
    done = made.snakemake(NOWHERE)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_nothing_is_asked_for_after_the_fetch_rules(clone, hub):
    assert len(hub.requests) == clone.asked > 0
    assert not any(clone.home.rglob("hub"))


def test_every_group_is_scored_and_five_shots_where_a_task_takes_them(clone):
    for step in STEPS:
        zero, five = (set(clone.scores(step, shots)["results"]) for shots in (0, 5))
        assert zero >= GROUPS
        assert five >= GROUPS - {"blimp", "wikitext"}
        assert not any(name.startswith(("blimp", "wikitext")) for name in five)


def test_tables_figures_and_the_report_are_there(clone):
    run = clone.folder / "results" / "runs" / RUN
    table = (run / "tables" / "scores.csv").read_text()
    assert all(f",{name}," in table for name in GROUPS)
    assert sorted(path.stem for path in (run / "figures").glob("*.svg")) == list(FIGURES)
    assert (run / "report.html").stat().st_size > 100_000


def test_data_of_every_layout_is_fetched_at_a_commit(clone):
    folder = clone.folder / "results" / "datasets"
    receipts = {
        name: json.loads((folder / name / "fetched.json").read_text())
        for name in ("EleutherAI/logiqa/logiqa", "allenai/winogrande/winogrande_xl", "baber/piqa/default")
    }
    assert [receipt["revision"] for receipt in receipts.values()] == ["refs/convert/parquet", "main", "main"]
    assert all(len(receipt["commit"]) == 40 for receipt in receipts.values())
    train = [file["rows"] for file in receipts["allenai/winogrande/winogrande_xl"]["files"] if file["split"] == "train"]
    assert train == [20_000, 20_398]
    assert len(list(folder.glob("cais/mmlu/*/test.parquet"))) == 57


@pytest.mark.parametrize("shots", [0, 5])
def test_the_scores_are_those_of_stock_lm_eval_on_the_same_files(clone, shots, tmp_path):
    """Stock lm-eval's own task definitions, pointed at the fetched files in the way its documentation says."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    from workflow_scripts.suite.task_facts import tasks_below

    def pointed(name):
        (facts,) = tasks_below(name)
        folder = clone.folder / "results" / "datasets" / facts.dataset / facts.config
        files = {split: str(folder / f"{split}.parquet") for split in facts.splits}
        cache = str(tmp_path / "cache")
        return {
            "task": name,
            "dataset_path": "parquet",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": files, "cache_dir": cache},
        }

    model = HFLM(
        pretrained=str(clone.folder / "results" / "checkpoints" / MODEL / f"step{STEPS[-1]}"),
        dtype="float32", softmax_dtype="float32", device="cpu", batch_size=1, max_length=2048,
    )  # fmt: skip
    theirs = lm_eval.simple_evaluate(
        model=model, tasks=[{"group": "all", "task": [pointed(name) for name in COMPARED[shots]]}],
        num_fewshot=shots, limit=1, bootstrap_iters=0, log_samples=False,
    )["results"]  # fmt: skip
    ours = clone.scores(STEPS[-1], shots)["results"]
    for name in COMPARED[shots]:
        metrics = [key for key in theirs[name] if key.endswith(",none") and "stderr" not in key]
        assert metrics
        for key in metrics:
            assert ours[name][key] == pytest.approx(theirs[name][key], rel=1e-5), (name, key)


def test_without_network_or_data_the_first_line_says_so_in_seconds(root, tmp_path):
    fresh = Clone(root, tmp_path)
    refused = fresh.snakemake(NOWHERE)
    assert refused.returncode == 2
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "no connection" in errors[0]
    assert "docs/how-to/offline-cluster.md" in errors[0]
    assert not (fresh.folder / "results" / "checkpoints").exists()
