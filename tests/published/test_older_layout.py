"""The older layout of results: folders and configs as in the repository's history of early 2023, made up numbers.

Paths and config values are those of files of EleutherAI/pythia before the folder was called ``evals``.
"""

import json

import pytest

from workflow_scripts.published.import_results import build_table, import_folder

V2 = {"load": "/ckpts/pythia-v2-160M-deduped", "iteration": 3000, "train_iters": 143000, "num_layers": 12,
      "hidden_size": 768, "eval_results_prefix": "./eval-jsons/160M-deduped/160M-deduped-0shot-global_step3000",
      "train_data_paths": ["/pile_deduped/pile_0.87_deduped_text_document"]}  # fmt: skip
OLD = {"load": "/pythia/ckpts", "iteration": 16500, "train_iters": 71500, "num_layers": 24, "hidden_size": 2048,
       "eval_results_prefix": "/new-eval-jsons/1.3B_dedup/1.3B_dedup-0shot-global_step16500",
       "train_data_paths": ["/pile_deduped/pile_0.87_deduped_text_document"]}  # fmt: skip
NEWER = {"load": "/pythia/ckpts/125M", "iteration": 1500, "train_iters": 71250, "num_layers": 12, "hidden_size": 768,
         "eval_results_prefix": "./new-eval-jsons/125M_newer/125M_newer-0shot-global_step1500",
         "train_data_paths": ["/pile/pile_20B_tokenizer_text_document"]}  # fmt: skip
SMALLEST = {"load": "/pythia/ckpts/19M", "iteration": 13000, "train_iters": 143000, "num_layers": 6, "hidden_size": 512,
            "eval_results_prefix": "", "train_data_paths": ["/pile/pile_20B_tokenizer_text_document"]}  # fmt: skip
HUB = "pretrained=EleutherAI/pythia-v1.1-{},revision=step{}"

# path -> (model_args, num_fewshot, model, version, step)
FILES = {
    "json/v2/160M-deduped/160M-deduped-0shot-global_step3000_eval_results_02-16-2023-01-36-03.json": (
        V2, 0, "pythia-160m-deduped-v2", "v2", 3000),
    "json/1.3B_dedup/1.3B_dedup-0shot-global_step16500_eval_results_12-06-2022-21-07-22.json": (
        OLD, 0, "pythia-1.4b-deduped-v0", "v0", 33000),
    "json/125M/125M_newer-0shot-global_step1500_eval_results_11-29-2022-16-17-01.json": (
        NEWER, 0, "pythia-160m-v0", "v0", 3000),
    "json/19M/19M-0shot-global_step13000_eval_results_11-25-2022-06-21-35.json": (
        SMALLEST, 0, "pythia-70m-v0", "v0", 13000),
    "json/1.4b-5shot_step123000.json": (HUB.format("1.4b", 123000), 5, "pythia-1.4b", "v1", 123000),
    "json/v1.1-evals/pythia-1.4b-1MtokBS/1.4b-1MtokBS_step286000.json": (
        HUB.format("1.4b-1MtokBS", 286000), 5, "pythia-1.4b-1MtokBS", "v1", 143000),
    "json/v1.1-evals/pythia-1.4b-deduped/intervention/intervention-1.4b-deduped-long_step114000.json": (
        "pretrained=EleutherAI/intervention-pythia-v1.1-1.4b-deduped-long,revision=step114000", 0,
        "pythia-intervention-long-1.4b-deduped", "v1", 114000),
    "pythia-v1.1/70m_step63000.json": (
        "use_accelerate=True," + HUB.format("70m", 63000), 0, "pythia-70m", "v1", 63000),
    "pythia-v1.1-more/1b-bf16_step23000.json": (HUB.format("1b-bf16", 23000), 0, "pythia-1b", "v1", 23000),
}  # fmt: skip


def result_file(arguments, shots, share=0.25):
    config = {"model": "neox" if isinstance(arguments, dict) else "hf-causal", "model_args": arguments,
              "num_fewshot": shots, "batch_size": 2, "limit": None}  # fmt: skip
    results = {"sciq": {"acc": share, "acc_stderr": (share * (1 - share) / 999) ** 0.5}}
    return json.dumps({"results": results, "versions": {"sciq": 0}, "config": config})


def write(folder, path, text):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    for number, (path, (arguments, shots, *_)) in enumerate(FILES.items()):
        write(folder, path, result_file(arguments, shots, (200 + number) / 1000))
    return folder


def test_every_file_is_who_it_says(older):
    imported = import_folder(older)
    assert [file.reason for file in imported.files] == [""] * len(FILES)
    frame, _ = build_table(imported)
    assert len(frame) == len(FILES)
    for row in frame.itertuples():
        _, shots, model, version, step = FILES[row.source_file]
        assert (row.shots, row.model, row.version, row.step) == (shots, model, version, step), row.source_file
        assert row.tokens == step * 1024 * 2048
        assert row.n == 1000


def test_v1_of_the_older_layout_is_v0_of_today(tmp_path):
    name = "pythia-1b-0shot-global_step13000_eval_results_11-28-2022-15-10-08.json"
    arguments = {"load": "/ckpts/800M", "iteration": 13000, "train_iters": 143000, "num_layers": 16,
                 "hidden_size": 2048, "train_data_paths": ["/pile/text_document"]}  # fmt: skip
    write(tmp_path, f"json/v1/pythia-1b/{name}", result_file(arguments, 0))
    write(tmp_path, f"json/v1.0-evals/pythia-1b/zero-shot/{name}", result_file(arguments, 0))
    frame, defects = build_table(import_folder(tmp_path))
    assert set(frame["model"]) == {"pythia-1b-v0"}
    assert set(frame["version"]) == {"v0"}
    # The two are the same bytes: one counts.
    assert sorted(frame["note"].astype(str)) == ["", "copy-of-other-file"]
    (copied,) = (defect for defect in defects if defect.rule == "copies")
    assert copied.files == 1


def test_the_folder_is_not_believed_against_the_file(tmp_path):
    write(tmp_path, "json/v2/410M/410M-5shot-global_step3000.json", result_file(HUB.format("70m-deduped", 13000), 0))
    frame, _ = build_table(import_folder(tmp_path))
    (row,) = frame.itertuples()
    assert (row.model, row.version, row.shots, row.step) == ("pythia-70m-deduped", "v1", 0, 13000)
    for part in ("version-v2", "size-410m", "data-standard", "raw_step-3000", "shots-5"):
        assert f"name-says-{part}" in row.note


def test_a_name_of_another_family_fills_nothing_in(tmp_path):
    write(tmp_path, "pythia-v1/pythia-70m/zero-shot/70m_step3000.json", result_file("pretrained=gpt2", 0))
    frame, _ = build_table(import_folder(tmp_path))
    (row,) = frame.itertuples()
    assert (row.suite, row.model, row.size, row.note) == ("other", "gpt2", "", "name-says-family-pythia")
    assert frame["step"].isna().all()  # nothing of the folder's step 3000


def test_unknown_things_are_refused_with_words(tmp_path):
    write(tmp_path, "graphs/graph_19m_23m.svg", "<svg/>")
    write(tmp_path, "json/unknown.json", json.dumps({"scores": [1], "name": "x"}))
    write(tmp_path, "json/160M/odd.json", result_file({**V2, "train_iters": 99000}, 0))
    write(tmp_path, "json/v2/x-0shot.json", result_file({**V2, "iteration": None}, 0))
    reasons = {file.source_file: file.reason for file in import_folder(tmp_path).files}
    assert "neither a .json nor a .csv" in reasons["graphs/graph_19m_23m.svg"]
    assert "unknown shape (name, scores); known are" in reasons["json/unknown.json"]
    assert "train_iters is 99000" in reasons["json/160M/odd.json"]
    assert "cannot tell the step" in reasons["json/v2/x-0shot.json"]
