"""Released names are exact: the registry's, those of 2023, and the words of the authors' GPT-NeoX folders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.published.claims import claim_of_config_name, claim_of_hub_name, claim_of_neox, claim_of_old_name
from workflow_scripts.published.formats.identity import identify
from workflow_scripts.published.released_names import is_authors_folder, released
from workflow_scripts.suite.registry import load_suite

MODELS = load_suite("pythia").models.values()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_of_the_registry_is_itself_under_each_of_its_names(model):
    for name in (model.name, *model.aliases):
        for step in (model.steps[0], model.steps[-1]):
            found = identify(claim_of_hub_name(f"EleutherAI/{name}", f"step{step}"))
            assert (found.suite, found.model, found.step, found.arm) == ("pythia", model.name, step, model.arm)
            assert (found.size, found.data) == (model.size, model.dataset)


@given(st.sampled_from(sorted(released())), st.text("abz019.-_/", min_size=1, max_size=6))
def test_a_name_with_anything_more_is_another_model(name, more):
    for changed in (name + more, more + name):
        assert changed in released() or claim_of_hub_name(changed, "main").family == "other"


@pytest.mark.parametrize(
    ("folder", "known"),
    [
        *(("1.3B_dedup_genderintervention_56500start", True), ("pythia-v2-160M-deduped", True), ("125M_newer", True)),
        *(("new-pythia-350m-step66500", True), ("160m_sft", False), ("pythia-160m-lora", False), ("my160m", False)),
    ],
)
def test_folders_of_the_authors(folder, known):
    assert is_authors_folder(folder) is known


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"load": "/ckpts/160m_deduped", "num_layers": 12, "hidden_size": 768}, "pythia"),
        ({"load": "/ckpts/pythia-160m-sft", "num_layers": 12, "hidden_size": 768}, "other"),
        ({"load": "/ckpts/160m_deduped", "num_layers": 13, "hidden_size": 768}, "other"),
    ],
)
def test_a_training_of_someone_else_is_another_model(config, family):
    assert claim_of_neox(config | {"iteration": 3000, "train_iters": 143000}).family == family


def test_config_names_and_old_names_are_exact():
    assert claim_of_config_name({"config_files": {"1.4b-deduped-rlhf": None}, "iteration": 5}).family == "other"
    assert claim_of_old_name("someone/pythia-1.3b-deduped", 5).name == "someone/pythia-1.3b-deduped"
    assert claim_of_old_name("EleutherAI/pythia-1.3b-deduped-ft", 5).family == "other"
