"""Arguments of an lm-eval run: each one of the installed lm-eval is classified, and what a class does to a result."""

import inspect
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.published.claims import claim_of_hub_arguments
from workflow_scripts.published.import_results import build_table, import_folder
from workflow_scripts.published.model_arguments import (
    ASKED,
    NAMING,
    NEUTRAL,
    REMAKING,
    asking_notes,
    given_arguments,
    remade_by,
)

GROUPS = (NAMING, NEUTRAL, frozenset(ASKED), frozenset(REMAKING))


def test_every_argument_of_lm_evals_model_is_in_one_group():
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    parameters = inspect.signature(huggingface.HFLM.__init__).parameters.values()
    named = {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD} - {"self"}
    assert named - frozenset().union(*GROUPS) == set()
    assert sum(map(len, GROUPS)) == len(frozenset().union(*GROUPS))


def test_the_defaults_of_lm_evals_model_say_nothing():
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    parameters = inspect.signature(huggingface.HFLM.__init__).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty}
    found = given_arguments({"pretrained": "EleutherAI/pythia-70m", **defaults})
    assert remade_by(found) == []
    assert asking_notes(found) == ()


@pytest.mark.parametrize(
    "argument",
    ["peft=someone/lora-x", "delta=x/y", "autogptq=True", "gptqmodel=True", "gguf_file=a.gguf", "subfolder=step5"]
    + ["load_in_4bit=True", "load_in_8bit=True", "quantization_config={'bits': 4}", "unheard_of=1"],
)
def test_what_makes_another_model_is_another_model(argument):
    claim = claim_of_hub_arguments(f"pretrained=EleutherAI/pythia-160m,revision=step3000,{argument}")
    assert (claim.family, claim.name, claim.raw_step) == ("other", f"EleutherAI/pythia-160m+{argument}", 3000)


@given(st.text(max_size=30), st.sampled_from([*NEUTRAL, *ASKED]))
@settings(deadline=None, max_examples=80)
def test_notes_can_be_joined_and_models_stay_what_they_are(value, key):
    arguments = {"pretrained": "EleutherAI/pythia-70m", "revision": "step0", key: value}
    assert claim_of_hub_arguments(arguments).name == "pythia-70m"
    for note in asking_notes(given_arguments(arguments)):
        assert note.startswith(f"asked-with-{key}-")
        assert not set(note) & set(";\t\n ")


PLAIN = "pretrained=EleutherAI/pythia-160m,revision=step3000"
# model_args -> suite, model, step, note
CASES = {
    "pretrained=EleutherAI/pythia-160m-seed3,revision=step3000": ("pythia", "pythia-160m-seed3", 3000, ""),
    "pretrained=EleutherAI/pythia-160m-data-seed1,revision=step3000": ("pythia", "pythia-160m-data-seed1", 3000, ""),
    "pretrained=EleutherAI/pythia-14m": ("pythia", "pythia-14m", 143000, "revision-main-taken-as-last-step"),
    "pretrained=EleutherAI/pythia-125m-deduped,revision=step512": ("pythia", "pythia-160m-deduped", 512, ""),
    "pretrained=EleutherAI/pythia-160m-step3000": ("pythia", "pythia-160m", 3000, ""),
    "pretrained=/mirror/EleutherAI/pythia-160m-step3000": ("pythia", "pythia-160m", 3000, ""),
    "pretrained=someone/pythia-160m-sft-tldr,revision=main": ("other", "someone/pythia-160m-sft-tldr", None, ""),
    "pretrained=someone/pythia-160m,revision=step3000": ("other", "someone/pythia-160m", 3000, ""),
    "pretrained=EleutherAI/pythia-160m-hh,revision=step3000": ("other", "EleutherAI/pythia-160m-hh", 3000, ""),
    "pretrained=/scratch/u/pythia-160m-step3000": ("other", "u/pythia-160m", 3000, ""),
    "pretrained=/scratch/EleutherAI/pythia-160m": ("other", "EleutherAI/pythia-160m", None, ""),
    "pretrained=./pythia-160m": ("other", "pythia-160m", None, ""),
    "pretrained=someone/opt-1.3b-lora": ("other", "someone/opt-1.3b-lora", None, ""),
    "pretrained=EleutherAI/pythia-160m,peft=someone/lora-x,dtype=float16": (
        "other", "EleutherAI/pythia-160m+peft=someone/lora-x", None, ""),
    f"{PLAIN},load_in_4bit=True": ("other", "EleutherAI/pythia-160m+load_in_4bit=True", 3000, ""),
    f"{PLAIN},max_length=128": ("pythia", "pythia-160m", 3000, "asked-with-max_length-128"),
    f"{PLAIN},tokenizer=gpt2": ("pythia", "pythia-160m", 3000, "asked-with-tokenizer-gpt2"),
    'pretrained="EleutherAI/pythia-160m",revision="step3000",dtype="float"': ("pythia", "pythia-160m", 3000, ""),
    PLAIN: ("pythia", "pythia-160m", 3000, ""),
}  # fmt: skip


def run_of(arguments, results=None, **changes):
    results = results or {"piqa": {"acc,none": 0.6, "acc_stderr,none": 0.0114, "alias": "piqa"}}
    return {
        "results": results,
        "n-shot": dict.fromkeys(results, 0),
        "versions": {},
        "config": {"model": "hf", "model_args": arguments, "limit": None},
        **changes,
    }


def imported_from(folder, document):
    (folder / "results_2024-01-01T00-00-00.json").write_text(json.dumps(document))
    return import_folder(folder)


@pytest.mark.parametrize("arguments", CASES)
def test_whose_result_it_is(tmp_path, arguments):
    frame, _ = build_table(imported_from(tmp_path, run_of(arguments)))
    suite, model, step, note = CASES[arguments]
    (row,) = frame.itertuples()
    assert (row.suite, row.model, row.note, row.value) == (suite, model, note, 0.6)
    assert frame["step"].dropna().tolist() == ([] if step is None else [step])


def test_a_step_that_was_never_released_is_refused(tmp_path):
    (file,) = imported_from(tmp_path, run_of("pretrained=EleutherAI/pythia-70m,revision=step700")).files
    assert (file.rows, file.reason) == (0, "EleutherAI/pythia-70m has no checkpoint at step 700")


def test_a_run_that_names_no_model_is_refused(tmp_path):
    (tmp_path / "pythia-v1").mkdir()
    (file,) = imported_from(tmp_path / "pythia-v1", run_of("dtype=float32")).files
    assert file.reason == "config.model_args names no model (pretrained=...)"


def test_what_stands_around_the_prompts_is_noted(tmp_path):
    document = run_of(PLAIN, system_instruction="Be brief.", chat_template=None, fewshot_as_multiturn=True)
    frame, _ = build_table(imported_from(tmp_path, document))
    assert set(frame["note"]) == {"asked-with-system_instruction; asked-with-fewshot_as_multiturn"}


def test_members_of_a_group_lose_their_indent(tmp_path):
    results = {"mmlu": {"acc,none": 0.25, "acc_stderr,none": 0.01},
               " - mmlu_anatomy": {"acc,none": 0.2, "acc_stderr,none": 0.03, "alias": " - anatomy"}}  # fmt: skip
    frame, _ = build_table(imported_from(tmp_path, run_of(PLAIN, results)))
    assert dict(zip(frame["task"], frame["value"], strict=True)) == {"mmlu": 0.25, "mmlu_anatomy": 0.2}
    assert set(frame["shots"]) == {0}


def test_a_bad_number_refuses_its_metric_only(tmp_path):
    results = {"piqa": {"acc,none": float("nan"), "acc_stderr,none": 0.1, "acc_norm,none": 0.6},
               "sciq": {"acc,none": 0.8, "acc_stderr,none": 0.01},
               "wsc": {"acc,none": "N/A", "acc_stderr,none": "N/A"}}  # fmt: skip
    collected = imported_from(tmp_path, run_of(PLAIN, results))
    (file,) = collected.files
    assert (file.rows, file.reason) == (2, "piqa acc is nan: not a finite number")
    frame, _ = build_table(collected)
    found = {(row.task, row.metric): row.value for row in frame.itertuples()}
    assert found == {("piqa", "acc_norm"): 0.6, ("sciq", "acc"): 0.8}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("case", "model", "step", "note"),
    [
        *(("seed3", "pythia-160m-seed3", 3000, ""), ("dataseed", "pythia-160m-data-seed1", 3000, "")),
        *(("finetune", "someone/pythia-160m-sft-tldr", None, ""), ("tmpfolder", "u/pythia-160m", 3000, "")),
        ("peft", "EleutherAI/pythia-160m+peft=someone/lora-x", None, ""),
        ("4bit", "EleutherAI/pythia-160m+load_in_4bit=True", 3000, ""),
        ("maxlen", "pythia-160m", 3000, "asked-with-max_length-128"),
        ("othertok", "pythia-160m", 3000, "asked-with-tokenizer-gpt2"),
        *((name, "pythia-160m", 3000, "") for name in ("quoted", "plain", "na", "indent-alias")),
        ("limit0", "pythia-160m", 3000, "limited-items"),
    ],
)
def test_the_shared_cases(shared, case, model, step, note):
    frame, _ = build_table(import_folder(shared / "cases" / "harness" / case))
    assert set(frame["model"]) == {model}
    assert frame["step"].dropna().unique().tolist() == ([] if step is None else [step])
    assert set(frame["note"]) == {note}
    assert set(frame["suite"]) == {"pythia" if model.startswith("pythia-") else "other"}
