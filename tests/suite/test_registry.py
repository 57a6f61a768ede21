"""The registry against the tables of the original README and the training specification."""

import copy

import pytest

from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.suite.registry import NEEDED, SUITES, build_suite, load_suite, override, suite_names
from workflow_scripts.suite.safe_yaml import load_yaml

# Model table of the original README: size, layers, d_model, heads, d_head, batch in tokens, learning rate.
README_TABLE = """
70M  | 6  | 512  | 8  | 64  | 2M | 1.0e-3
160M | 12 | 768  | 12 | 64  | 2M | 6.0e-4
410M | 24 | 1024 | 16 | 64  | 2M | 3.0e-4
1B   | 16 | 2048 | 8  | 256 | 2M | 3.0e-4
1.4B | 24 | 2048 | 16 | 128 | 2M | 2.0e-4
2.8B | 32 | 2560 | 32 | 80  | 2M | 1.6e-4
6.9B | 32 | 4096 | 32 | 128 | 2M | 1.2e-4
12B  | 36 | 5120 | 40 | 128 | 2M | 1.2e-4
"""
# training.md section 1: parameters, and those outside the embeddings (verified there with transformers).
PARAMETERS = {
    "14m": (14_067_712, 1_189_888, 50304),
    "31m": (30_494_720, 4_739_072, 50304),
    "70m": (70_426_624, 18_915_328, 50304),
    "160m": (162_322_944, 85_056_000, 50304),
    "410m": (405_334_016, 302_311_424, 50304),
    "1b": (1_011_781_632, 805_736_448, 50304),
    "1.4b": (1_414_647_808, 1_208_602_624, 50304),
    "2.8b": (2_775_208_960, 2_517_652_480, 50304),
    "6.9b": (6_857_302_016, 6_444_163_072, 50432),
    "12b": (11_846_072_320, 11_327_027_200, 50688),
}


@pytest.fixture(scope="module")
def pythia():
    return load_suite("pythia")


def readme_row(model):
    """A model's row as the original README prints it."""
    size = model.size.upper()
    rate = f"{model.readme_learning_rate:.1e}".replace("e-0", "e-")
    batch = f"{model.batch_tokens // 2**20}M"
    shape = (model.layers, model.hidden_size, model.heads, model.head_size)
    return [size, *map(str, shape), batch, rate]


def test_the_architecture_is_the_suites_unless_a_size_or_family_has_its_own(pythia):
    assert {model.architecture for model in pythia.models.values()} == {"gpt_neox"}
    facts = copy.deepcopy(dict(load_yaml(SUITES / "pocket.yaml")))
    facts["architecture"] = "llama"
    facts["recipe"]["parameters"] = 12345  # which only those of a GPT-NeoX need not say
    assert build_suite(facts).model("pocket-90k").architecture == "llama"
    facts["sizes"]["280k"]["architecture"] = "olmo2"
    facts["families"][1]["recipe"] = {"architecture": "mistral"}
    found = build_suite(facts)
    names = ("pocket-90k", "pocket-280k", "pocket-90k-weight-seed1")
    assert [found.model(name).architecture for name in names] == ["llama", "olmo2", "mistral"]


def test_the_readme_table_is_regenerated(pythia):
    wanted = [[cell.strip() for cell in line.split("|")] for line in README_TABLE.strip().splitlines()]
    sizes = ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]
    assert [readme_row(pythia.model(f"pythia-{size}")) for size in sizes] == wanted


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameter_counts(pythia, size):
    model = pythia.model(f"pythia-{size}")
    assert (model.parameters, model.non_embedding_parameters, model.vocab_size) == PARAMETERS[size]


def test_how_many_models_of_each_kind(pythia):
    versions = [model.version for model in pythia.models.values()]
    counted = {version: versions.count(version) for version in set(versions)}
    # 16 of the suite, 14m and 31m, 16 of v0, five sizes x nine seeds + 160m x 3 + 3, four arms and a long one
    assert counted == {"v1": 16, "added": 2, "v0": 16, "polypythias": 51, "intervention": 5}


def test_steps_of_each_version(pythia):
    assert len(pythia.model("pythia-12b-deduped").steps) == 154
    assert len(pythia.model("pythia-12b-v0").steps) == 143
    assert pythia.model("pythia-410m-v0").step(143_000).iteration == 71_500
    assert pythia.model("pythia-70m-v0").step(143_000).iteration == 143_000
    assert len(pythia.model("pythia-intervention-long-1.4b-deduped").steps) == 30


@pytest.mark.parametrize(
    ("old", "new"),
    [("19m", "70m"), ("125m", "160m"), ("350m", "410m"), ("800m", "1b"), ("1.3b", "1.4b"), ("2.7b", "2.8b")]
    + [("6.7b", "6.9b"), ("13b", "12b")],
)
def test_old_names(pythia, old, new):
    assert pythia.model(f"pythia-{old}-deduped").name == f"pythia-{new}-deduped"


def test_seeds(pythia):
    assert pythia.model("pythia-70m-seed3").weight_seed == pythia.model("pythia-70m-seed3").data_seed == 3
    assert (pythia.model("pythia-160m-data-seed2").weight_seed, pythia.model("pythia-160m-data-seed2").data_seed) == (
        1234,
        2,
    )
    assert pythia.model("pythia-160m-weight-seed1").data_seed == 1234


def test_disputed_facts(pythia):
    assert pythia.model("pythia-1b").training_dtype == "bfloat16"
    assert pythia.model("pythia-1b-deduped").training_dtype == "float16"
    assert pythia.model("pythia-1b").learning_rate == 2.5e-4
    assert pythia.model("pythia-12b").initialisation == "neox_default"
    assert pythia.model("pythia-12b-v0").min_learning_rate == 0.0


def test_dataset_sizes(pythia):
    standard, deduped = pythia.dataset("standard"), pythia.dataset("deduped")
    assert (standard.bin_bytes, standard.tokens) == (664_230_651_068, 332_115_325_534)
    assert (deduped.bin_bytes, deduped.tokens) == (414_340_828_116, 207_170_414_058)
    assert deduped.shard_names[0] == "pile_0.87_deduped_text_document-00000-of-00082.bin"
    assert len(deduped.shard_names) == 83


def test_unknown_names_suggest(pythia):
    with pytest.raises(UnknownNameError, match="unknown model 'pythia-410'; did you mean 'pythia-410m'"):
        pythia.model("pythia-410")
    with pytest.raises(UnknownNameError, match="did you mean 'deduped'"):
        pythia.dataset("dedupe")
    with pytest.raises(UnknownNameError, match="did you mean 'pythia'"):
        load_suite("pithia")


def test_a_copied_suite_that_kept_its_name_is_refused(tmp_path, monkeypatch):
    """Its results would lie among those of the suite that it was copied from."""
    (tmp_path / "mine.yaml").write_bytes((SUITES / "amber.yaml").read_bytes())
    monkeypatch.setattr("workflow_scripts.suite.registry.SUITES", tmp_path)
    with pytest.raises(ConfigError, match=r"mine\.yaml: suite: 'amber' is not the name of its file"):
        load_suite("mine")


def test_overrides_change_one_model_and_only_known_numbers():
    suite = load_suite("pocket")
    name = next(iter(suite.models))
    changed = override(suite, {name: {"learning_rate": 0.5}})
    assert changed.model(name).learning_rate == 0.5
    assert changed.model(name).min_learning_rate == pytest.approx(0.05)
    assert all(changed.models[other] == suite.models[other] for other in suite.models if other != name)
    with pytest.raises(UnknownNameError, match="learning_rate"):
        override(suite, {name: {"learning_rat": 0.5}})


@pytest.mark.parametrize("name", ["pythia", "pocket", "books", "books-long"])
def test_every_suite_loads_and_its_models_are_whole(name):
    assert name in suite_names()
    suite = load_suite(name)
    for model in suite.models.values():
        assert model.hidden_size % model.heads == 0
        assert model.dataset in suite.datasets
        assert model.steps[-1] == model.train_iterations * model.hub_steps_per_iteration


@pytest.mark.parametrize("key", NEEDED)
def test_a_number_that_no_part_of_the_file_states_is_named(key):
    facts = copy.deepcopy(dict(load_yaml(SUITES / "pocket.yaml")))
    facts["recipe"].pop(key, None)
    for numbers in facts["sizes"].values():
        numbers.pop(key, None)
    facts["families"] = [{k: v for k, v in family.items() if "recipe" not in k} for family in facts["families"]]
    with pytest.raises(ConfigError, match=rf"^suite pocket: model pocket-\S+ has no {key}; set it in 'recipe'"):
        build_suite(facts)


def test_two_families_cannot_make_one_model():
    suite = load_suite("books")
    facts = {
        "suite": "x",
        "organisation": "x",
        "tokenizer": dict(suite.tokenizer),
        "datasets": {},
        "recipe": {"learning_rate": 1.0},
        "sizes": {"1m": {}},
        "families": [{"version": "v1", "name": "x-{size}", "sizes": ["2m"], "datasets": ["standard"], "steps": "0"}],
    }
    with pytest.raises(ConfigError, match="unknown size '2m'"):
        build_suite(facts)
