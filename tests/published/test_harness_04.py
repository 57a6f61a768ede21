"""Results of lm-eval 0.4 as ``lm_eval --output_path`` leaves them: what is read, and whose it is."""

import json

import pytest

from workflow_scripts.published.compare import compare
from workflow_scripts.published.import_results import build_table, import_folder
from workflow_scripts.published.results_table import read_table, write_table

# As lm-eval 0.4.13 wrote them for a tiny model: a group, two filters of one task, errors that are not defined.
RESULTS = {
    "sciq": {"name": "sciq", "sample_len": 20, "acc,none": 0.5, "acc_stderr,none": 0.11470786693528086},
    "mmlu_one": {"alias": " - one", "sample_len": 20, "acc,none": 0.25, "acc_stderr,none": 0.1},
    "mmlu_two": {"alias": " - two", "sample_len": 30, "acc,none": 0.5, "acc_stderr,none": 0.1},
    "mmlu": {"alias": "mmlu", "acc,none": 0.4, "acc_stderr,none": 0.07, "sample_count": {"acc,none": 50}},
    "gsm": {"alias": "gsm", "exact_match,strict-match": 0.1, "exact_match_stderr,strict-match": 0.06,
            "exact_match,flexible-extract": 0.2, "exact_match_stderr,flexible-extract": 0.09},
    "text": {"alias": "text", "word_perplexity,none": 425680.5, "word_perplexity_stderr,none": "N/A"},
}  # fmt: skip
SAMPLES = {"sciq": 20, "mmlu_one": 20, "mmlu_two": 30, "gsm": 20, "text": 20}


def document(model_args, results=RESULTS, **changes):
    return {
        "results": results,
        "groups": {"mmlu": RESULTS["mmlu"]},
        "group_subtasks": {"mmlu": ["mmlu_one", "mmlu_two"]},
        "versions": {"sciq": 1.0, "mmlu": "2"},
        "n-shot": {"sciq": 0, "mmlu_one": 0, "mmlu_two": 0, "mmlu": 0, "gsm": 2, "text": 0},
        "n-samples": {task: {"original": 40, "effective": n} for task, n in SAMPLES.items()},
        "config": {"model": "hf", "model_args": model_args, "batch_size": "auto", "limit": None},
        "lm_eval_version": "0.4.13",
        **changes,
    }


@pytest.fixture
def imported(tmp_path):
    def read(content, path="EleutherAI__pythia-70m-deduped/results_2026-11-24T08-45-28.584636.json"):
        target = tmp_path / "out" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content))
        (target.parent / "samples_sciq_2026-11-24T08-45-28.584636.jsonl").write_text("{}\n")
        return import_folder(tmp_path / "out")

    return read


def rows_of(imported):
    return build_table(imported)[0]


HUB = {"pretrained": "EleutherAI/pythia-70m-deduped", "revision": "step3000", "dtype": "float32"}


def test_a_run_of_a_checkpoint(imported):
    done = imported(document(HUB))
    frame = rows_of(done)
    assert set(frame["model"]) == {"pythia-70m-deduped"}
    assert set(frame["step"]) == {3000}
    assert set(frame["tokens"]) == {3000 * 2048 * 1024}
    assert set(frame["harness"]) == {"lm-eval 0.4.13 hf"}
    found = {(row.task, row.metric): (row.value, row.n, row.shots) for row in frame.itertuples()}
    assert found["mmlu", "acc"] == (0.4, 50, 0)
    assert found["gsm", "exact_match,strict-match"] == (0.1, 20, 2)
    assert found["gsm", "exact_match,flexible-extract"] == (0.2, 20, 2)
    assert found["text", "word_perplexity"] == (425680.5, 20, 0)
    assert frame[frame["task"] == "text"]["stderr"].isna().all()
    assert frame["note"].astype(str).eq("").all()
    (samples,) = (file for file in done.files if file.reason)
    assert "file of single answers" in samples.reason


@pytest.mark.parametrize(
    ("arguments", "model", "step", "note"),
    [
        ("pretrained=EleutherAI/pythia-1b,revision=step512,dtype=float16", "pythia-1b", 512, ""),
        ({"pretrained": "EleutherAI/pythia-1b"}, "pythia-1b", 143000, "revision-main-taken-as-last-step"),
        ({"pretrained": "EleutherAI/pythia-1b-v0", "revision": "step13000"}, "pythia-1b-v0", 13000, ""),
        ({"pretrained": "/data/mirror/EleutherAI/pythia-12b/step1000"}, "pythia-12b", 1000, ""),
        ({"pretrained": "facebook/opt-6.7b"}, "opt-6.7b", None, ""),
        ({"pretrained": "meta-llama/Llama-2-7b-hf"}, "meta-llama/Llama-2-7b-hf", None, ""),
    ],
)
def test_models_that_runs_are_of(imported, arguments, model, step, note):
    frame = rows_of(imported(document(arguments), "any/results_2026-01-01T00-00-00.0.json"))
    assert set(frame["model"]) == {model}
    assert set(frame["step"].dropna()) == ({step} if step is not None else set())
    assert set(frame["note"].astype(str)) == {note}


def test_the_folder_is_not_believed(imported):
    frame = rows_of(imported(document(HUB), "EleutherAI__pythia-12b/results_2026-11-24T08-45-28.584636.json"))
    assert set(frame["model"]) == {"pythia-70m-deduped"}
    assert all("name-says-size-12b" in note for note in frame["note"].astype(str))


def test_a_limit_is_noted(imported):
    config = document(HUB)["config"] | {"limit": 20.0}
    assert set(rows_of(imported(document(HUB, config=config)))["note"].astype(str)) == {"limited-items"}


def test_a_second_run_replaces_the_first(imported):
    imported(document(HUB))
    later = document(HUB, RESULTS | {"sciq": RESULTS["sciq"] | {"acc,none": 0.55}})
    done = imported(later, "EleutherAI__pythia-70m-deduped/results_2026-12-01T00-00-00.000000.json")
    frame = rows_of(done)
    older = frame[frame["note"].astype(str) != ""]
    assert set(older["source_file"]) == {"EleutherAI__pythia-70m-deduped/results_2026-11-24T08-45-28.584636.json"}


def test_a_run_of_other_people_is_compared_like_our_own(imported, tmp_path, compact):
    published = compact[(compact["model"] == "pythia-70m-deduped") & (compact["step"] == 3000)]
    sciq = published[(published["task"] == "sciq") & (published["metric"] == "acc") & (published["shots"] == 0)].iloc[0]
    theirs = {"sciq": {"alias": "sciq", "acc,none": sciq["value"] + 0.001, "acc_stderr,none": sciq["stderr"]}}
    frame = rows_of(imported(document(HUB, theirs, **{"n-samples": {"sciq": {"effective": 1000}}, "groups": {}})))
    write_table(frame, tmp_path / "theirs.parquet")
    found = compare(read_table(tmp_path / "theirs.parquet"), compact)
    (row,) = found[found["value_ours"].notna()].itertuples()
    assert (row.model, row.task, row.verdict) == ("pythia-70m-deduped", "sciq", "reproduced")
    assert row.difference == pytest.approx(0.001)
