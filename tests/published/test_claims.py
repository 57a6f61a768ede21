"""What names and contents claim, in the three vocabularies of sizes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import DataError
from workflow_scripts.published.claims import (
    Claim,
    believe,
    claim_of_config_name,
    claim_of_hub_arguments,
    claim_of_neox,
    claim_of_path,
    size_of,
)
from workflow_scripts.published.formats.identity import hub_step, identify

PATHS = {
    "pythia-v1/pythia-1b-bf16/zero-shot/1b-bf16-5shot_step128.json": ("v1", "1b", "standard", None, 128, 0),
    "pythia-v1/pythia-6.9b-deduped/five-shot/6.9b-deduped-5shot_step3000.json": (
        "v1",
        "6.9b",
        "deduped",
        None,
        3000,
        5,
    ),
    "pythia-v0/pythia-2.8b/zero-shot/pythia-2.8b-0shot-global_step3000__eval_results_11-25-2022-03-57-52.json": (
        ("v0", "2.8b", "standard", None, 3000, 0)
    ),
    "bias-evals/long-intervention-1.3b-deduped-step57000_eval_results_01-21-2023.json": (
        (None, "1.4b", "deduped", "intervention-long", 57000, None)
    ),
    "bias-evals/winobias/intervene_21/1.4B/eval_results_1.4b-deduped-long_114000.json": (
        (None, "1.4b", None, "intervention-long", 114000, None)
    ),
    "pythia-v1/pythia-410m-0.5MtokBS/410m-0.5MtokBS_step12000.json": ("v1", "410m", "standard", None, 12000, None),
    "pythia-v1/pythia-70m-deduped/baseline/baseline-70m-deduped_step134000.json": (
        ("v1", "70m", "deduped", "baseline", 134000, None)
    ),
    "notes/readme.json": (None, None, None, None, None, None),
}


@pytest.mark.parametrize("path", PATHS)
def test_paths_of_every_scheme(path):
    claim = claim_of_path(path)
    assert (claim.version, claim.size, claim.data, claim.arm, claim.raw_step, claim.shots) == PATHS[path]


@pytest.mark.parametrize(
    ("text", "size", "version"),
    [
        ("19M_deduped", "70m", "v0"), ("125M_new", "160m", "v0"), ("350m", "410m", "v0"), ("800M", "1b", "v0"),
        ("1.3B", "1.4b", "v0"), ("2.7B_deduped_newer", "2.8b", "v0"), ("6.7B_intervened", "6.9b", "v0"),
        ("13B_deduped_new-global_step3000", "12b", "v0"), ("6.9b_deduped", "6.9b", "v1"), ("160M", "160m", "v1"),
        ("999m", None, None), ("70m-0.25MtokBS", "70m", "v1"), ("0.5MtokBS", None, None),
    ],
)  # fmt: skip
def test_sizes_of_three_vocabularies(text, size, version):
    assert size_of(text) == (size, version)


def test_content_wins_and_the_contradiction_is_noted():
    claim, notes = believe(Claim(shots=0, size="70m"), Claim(shots=5, size="70m", data="deduped"))
    assert (claim.shots, claim.size, claim.data) == (0, "70m", "deduped")
    assert notes == ["name-says-shots-5"]


def test_hub_arguments_with_and_without_accelerate():
    claim = claim_of_hub_arguments(
        "use_accelerate=True,pretrained=EleutherAI/intervention-pythia-v1.1-1.4b-deduped-long,revision=step114000"
    )
    assert (claim.size, claim.data, claim.arm, claim.raw_step) == ("1.4b", "deduped", "intervention-long", 114000)
    assert claim_of_hub_arguments("pretrained=facebook/opt-6.7b").family == "opt"
    assert claim_of_hub_arguments("pretrained=bigscience/bloom-1b7").size == "1.7b"
    assert claim_of_hub_arguments("pretrained=gpt2").name == "gpt2"


def test_neox_config_takes_the_shape_and_the_folder_of_the_weights():
    claim = claim_of_neox(
        {"load": "/x/ckpts/125M_dedup", "num_layers": 12, "hidden_size": 768, "train_iters": 71500, "iteration": 71500}
    )
    assert (claim.version, claim.size, claim.data, claim.batch) == ("v0", "160m", "deduped", "4")
    staged = claim_of_neox(
        {"load": "/x/staged_model", "eval_results_prefix": "/y/13B_deduped_new-global_step3000", "num_layers": 36,
         "hidden_size": 5120, "train_iters": 143000, "iteration": 3000}
    )  # fmt: skip
    assert (staged.version, staged.size, staged.data) == ("v0", "12b", "deduped")


def test_config_name_of_stripped_files():
    claim = claim_of_config_name({"iteration": 114000, "config_files": {"1.4b-deduped-long": None}})
    assert (claim.version, claim.size, claim.data, claim.raw_step) == ("v1", "1.4b", "deduped", 114000)


@given(st.integers(0, 71500), st.sampled_from(["0.25", "0.5", "1", "2", "4"]))
@settings(deadline=None, max_examples=60)
def test_hub_step_keeps_the_tokens(step, batch):
    tokens = step * float(batch)
    if tokens % 2:
        with pytest.raises(DataError, match="between two Hub steps"):
            hub_step(step, batch)
    else:
        assert hub_step(step, batch) * 2 == tokens


def test_what_is_nowhere_stated_is_refused():
    with pytest.raises(DataError, match="cannot tell the data set, step"):
        identify(Claim(family="pythia", version="v1", size="70m"))


@given(st.text(max_size=80))
@settings(deadline=None, max_examples=150)
def test_any_path_gives_a_claim(path):
    claim_of_path(path)
    claim_of_hub_arguments(path)
