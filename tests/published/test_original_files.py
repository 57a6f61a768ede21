"""The import of the original 1,831 files: nothing lost, counts per set, every known defect found.

The numbers are those of published-results-formats.md and published-results-audit.md, counted there by other scripts.
"""

import json
import random
from collections import Counter

import pytest

from workflow_scripts.published.import_results import main

pytestmark = pytest.mark.shared


def test_every_file_is_in_the_table_or_refused(imported, evals, built):
    on_disk = {path.relative_to(evals).as_posix() for path in evals.rglob("*") if path.is_file()}
    refused = {file.source_file for file in imported.files if file.reason}
    in_table = set(built[0]["source_file"].astype(str))
    assert in_table | refused == on_disk
    assert not in_table & refused
    assert refused == {"bias-evals/winobias/winobias_plots/winobias_scale_final.pdf"}
    assert sum(name.startswith("pythia-v1/") for name in in_table) == 876


def test_counts_of_each_set(imported):
    tasks_of = {
        result.source_file: len(result.tasks) for result in imported.results if "winobias" not in result.source_file
    }
    counts = Counter(tasks_of[name] for name in tasks_of if name.endswith(".json"))
    assert counts == {87: 511, 65: 479, 133: 150, 132: 91, 66: 90, 30: 99, 29: 47, 23: 41, 22: 10}
    shapes = Counter(result.content.harness for result in imported.results if result.source_file.endswith(".json"))
    assert shapes["bigscience lm-eval neox"] == 245
    assert shapes["not stated"] == 60
    assert sum(shapes.values()) == 1823


def test_item_counts_of_the_benchmarks(built):
    frame = built[0]
    counts = frame[frame["metric"] == "acc"].groupby("task", observed=True)["n"].agg(lambda n: set(n.dropna()))
    expected = {"lambada_openai": 5153, "piqa": 1838, "winogrande": 1267, "wsc": 104, "arc_easy": 2376,
                "arc_challenge": 1172, "sciq": 1000, "logiqa": 651}  # fmt: skip
    assert {task: counts[task] for task in expected} == {task: {n} for task, n in expected.items()}
    mmlu = [next(iter(n)) for task, n in counts.items() if task.startswith("hendrycksTest-")]
    assert (len(mmlu), sum(mmlu)) == (57, 14042)
    gender = frame[(frame["task"] == "crows_pairs_english_gender") & (frame["metric"] == "pct_stereotype")]
    assert set(gender["n"].dropna()) == {320}


def test_numbers_are_those_in_the_files(built, evals):
    rows = built[0][built[0]["source_file"].astype(str).str.endswith(".json")]
    for row in rows.iloc[random.Random(5).sample(range(len(rows)), 300)].itertuples():
        document = json.loads((evals / row.source_file).read_text())
        results = document.get("results", document.get("table_results"))
        if isinstance(results, list):
            results = document["table_results"]
        assert results[row.task][row.metric] == row.value
        stderr = results[row.task].get(f"{row.metric}_stderr")
        assert stderr == row.stderr or (stderr is None and row.stderr != row.stderr)


def test_shots_and_steps_are_those_in_the_config(built, evals):
    files = built[0].drop_duplicates("source_file")
    for row in files[files["harness"].astype(str).str.contains("hf-causal|neox")].itertuples():
        config = json.loads((evals / row.source_file).read_text())["config"]
        assert config["num_fewshot"] == row.shots
        if config["model"] == "neox":
            arguments = config["model_args"]
            assert arguments["iteration"] * (143000 // arguments["train_iters"]) == row.step
            assert row.tokens == int(row.step) * 1024 * 2048


def test_step_grids(built):
    frame = built[0]
    suite = frame[(frame["version"] == "v1") & (frame["arm"] == "baseline") & (frame["task"] == "lambada_openai")]
    late = {3000, *range(13000, 143001, 10000)}
    early = {0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000}
    for model in ("pythia-1b", "pythia-12b-deduped", "pythia-70m"):
        of_model = suite[suite["model"] == model]
        assert set(of_model[of_model["shots"] == 0]["step"]) == early | late
        assert set(of_model[of_model["shots"] == 5]["step"]) == late
    assert set(suite[suite["model"] == "pythia-160m-0.5MtokBS"]["step"]) == late


EXPECTED = {  # rule -> (findings, files)
    "five-shot-that-is-zero-shot": (6, 90),  # A1, audit 1
    "identical-across-data": (2, 28),  # A2
    "identical-to-step-0": (1, 16),  # A3
    "duplicate-files": (3, 3),  # A4, audit 6
    "misleading-file-name": (2, 4 + 15),  # A6
    "equal-results": (1, 66),  # A9
    "winobias-harness": (3, 60),  # audit 4
    "winobias-measure": (1, 305),  # audit 5
    "mixed-metrics": (1, 1),  # audit 17
}


@pytest.mark.parametrize("rule", EXPECTED)
def test_known_defects_are_found(built, rule):
    found = [defect for defect in built[1] if defect.rule == rule]
    assert (len(found), sum(defect.files for defect in found)) == EXPECTED[rule]


def test_evidence_of_the_mislabelled_five_shot_files(built):
    evidence = [d.evidence.split(" of 975")[0] for d in built[1] if d.rule == "five-shot-that-is-zero-shot"]
    assert (min(map(int, evidence)), max(map(int, evidence))) == (937, 967)


def test_identical_steps_of_2_8b(built):
    steps = {d.what.split("identical ")[1][:6]: d.evidence for d in built[1] if d.rule == "identical-across-data"}
    assert steps["5-shot"].startswith("steps 13000, 23000, 33000, 43000;")
    assert steps["0-shot"].startswith("steps 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000;")


def test_gaps(built):
    gaps = {d.what: d.evidence for d in built[1] if d.rule == "missing-steps"}
    assert len(gaps) == 4  # A5, audit 7
    assert any("70m-0.25MtokBS" in what and "step 133000 " in evidence for what, evidence in gaps.items())
    assert any("intervention-1.4b" in what and "step 142000 " in evidence for what, evidence in gaps.items())
    assert any("intervene_21" in what and "19 of 30" in what for what in gaps)
    tasks = [d.what for d in built[1] if d.rule == "missing-tasks"]
    assert any("v0 zero-shot: no wikitext for pythia-1b-deduped-v0" in what for what in tasks)  # audit 8
    assert "v1 zero-shot: no blimp, wikitext for all models" in tasks
    assert "v1 baseline: no lambada_openai for pythia-410m-deduped" in tasks


def test_interventions(built):
    (defect,) = (d for d in built[1] if d.rule == "interventions-without-effect")  # audit 3
    for text in (
        "v0 410m intervention -3.1",
        "v0 1.4b intervention -3.3",
        "v0 1.4b intervention-long -3.4",
        "v1 410m intervention +0.0",
    ):
        assert text in defect.evidence


def test_names_recipes_and_trainer_steps(built):
    rules = Counter(d.rule for d in built[1])
    assert rules["size-vocabularies"] == 1  # A7
    assert rules["varying-batch-size"] == 1  # A7
    assert rules["recipe"] == 2  # A8: 1b's learning rate, mixed spellings
    converted = [d.what for d in built[1] if d.rule == "trainer-steps"]  # audit 9
    assert sorted(what[:40] for what in converted)[0].startswith("v0: step numbers count batches of 4M")
    assert len(converted) == 4


def test_the_compact_table_is_what_the_importer_makes(evals, compact_path, tmp_path):
    output = tmp_path / "pythia-evals.parquet"
    main(["--source", str(evals), "--source-name", "EleutherAI/pythia@a19eecb8 evals/", "--output", str(output)])
    assert output.read_bytes() == compact_path.read_bytes()
    for kind in ("refused.tsv", "defects.tsv"):
        assert output.with_suffix(f".{kind}").read_bytes() == compact_path.with_suffix(f".{kind}").read_bytes()
