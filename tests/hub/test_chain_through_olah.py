"""The shipped run of one Pythia model from a bare clone, with everything from a Hub that others wrote."""

import json

import pytest

from tests.workflow.bare_clone import FIGURES, NOWHERE, RUN, Clone
from tests.workflow.evaluation_hub import MODEL, STEPS, add_data, add_models

pytestmark = [pytest.mark.slow, pytest.mark.shared]

# Data on the main branch, on the converted branch only, and in several files a split.
TASKS = ("lambada_openai", "arc_easy", "winogrande")
DATA = {
    "EleutherAI/lambada_openai": ("default", "refs/convert/parquet"),
    "allenai/ai2_arc": ("ARC-Easy", "main"),
    "allenai/winogrande": ("winogrande_xl", "main"),
}


def test_the_run_reaches_its_report_and_needs_the_hub_for_the_fetch_rules_only(root, olah, shared, tmp_path):
    add_models(olah, (shared / "tokenizer" / "20B_tokenizer.json").read_bytes())
    add_data(olah, shared / "hub" / "datasets", list(DATA))
    clone, tasks = Clone(root, tmp_path), [f"tasks={list(TASKS)}"]
    fetched = clone.snakemake(olah.endpoint, "fetch", more=tasks)
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    olah.stop()
    done = clone.snakemake(NOWHERE, more=tasks)
    assert done.returncode == 0, done.stdout + done.stderr
    for step in STEPS:
        assert set(clone.scores(step, 0)["results"]) == set(TASKS)
    folder = clone.folder / "results"
    for name, (config, revision) in DATA.items():
        receipt = json.loads((folder / "datasets" / name / config / "fetched.json").read_text())
        assert (receipt["revision"], receipt["location"]) == (revision, olah.endpoint)
    weights = (folder / "checkpoints" / MODEL / f"step{STEPS[-1]}" / "model.safetensors").stat().st_size
    assert weights > 100_000_000
    assert sorted(path.stem for path in (folder / "runs" / RUN / "figures").glob("*.svg")) == list(FIGURES)
    assert (folder / "runs" / RUN / "report.html").stat().st_size > 100_000
