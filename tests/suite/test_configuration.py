"""Configurations: strict YAML, schema errors in one line, coercion of command-line values, resolution."""

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError, MissingInputError, PipelineError, UnknownNameError
from workflow_scripts.suite import layout
from workflow_scripts.suite.figure_names import figure_names, figure_needs
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.run import load_run, suite_of
from workflow_scripts.suite.safe_yaml import load_yaml, parse_yaml
from workflow_scripts.workflow.tools.check import merge


@pytest.fixture
def default(root):
    return load_yaml(root / "config" / "config.yaml")


def refused(default, **changes):
    with pytest.raises(PipelineError) as caught:
        load_run({**default, **changes})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_default_run_is_the_whole_pocket_suite(default):
    run = load_run(default)
    assert run.suite.name == "pocket"
    assert len(run.models) == 6
    assert run.datasets == ("standard", "deduped")
    assert run.retrains


@pytest.mark.parametrize("name", ["books", "books-full", "one-model", "one-pythia-model", "published", "suite"])
def test_every_shipped_run_resolves(root, default, name):
    changes = load_yaml(root / "config" / "runs" / f"{name}.yaml")
    merged = {
        key: {**default[key], **changes.get(key, {})} if isinstance(default[key], dict) else default[key]
        for key in default
    }
    merged |= {key: value for key, value in changes.items() if not isinstance(value, dict)}
    run = load_run(merged)
    assert run.name == name
    if name == "suite":
        assert len(run.models) == 16
        assert sum(len(steps) for steps in run.steps.values()) == 16 * 154


def test_wrong_names_suggest_the_right_one(default):
    assert "did you mean 'pocket-1m'?" in refused(default, models=["pocket-1n"])
    assert "unknown key 'step'; did you mean 'steps'?" in refused(default, step="all")
    assert "did you mean 'pocket_facts'?" in refused(default, tasks=["pocket_fact"])
    assert "did you mean 'retrain'?" in refused(default, checkpoints={"source": "retrian"})
    assert "unknown figure" in refused_figure(default)


def test_a_key_without_a_value_is_refused_where_it_has_a_meaning(default):
    assert refused(default, models=None) == ("config: models has no value (null); write [] for none, or remove the key")
    assert "own_tasks has no value (null); write {} for none, or" in refused(default, own_tasks=None)
    assert "run has no value (null); write text, or" in refused(default, run=None)
    assert load_run({**default, "of_somebody_else": None}).settings == load_run(default).settings


def test_a_model_of_another_suite_names_that_suite(default):
    message = refused(default, models=["pythia-70m"])
    assert "belongs to suite pythia" in message
    assert "config/runs/one-pythia-model.yaml" in message
    assert "belongs to suite pythia" in refused(default, models=["pythia-19m"])


def refused_figure(default):
    with pytest.raises(UnknownNameError) as caught:
        figure_names(load_run({**default, "figures": ["published_lambda"]}))
    return str(caught.value)


def test_values_from_the_command_line_are_coerced(default):
    run = load_run({**default, "shots": "0", "models": "pocket-1m,pocket-90k", "steps": "0,1"})
    assert run.shots == (0,)
    assert [model.name for model in run.models] == ["pocket-1m", "pocket-90k"]
    assert run.steps["pocket-1m"] == (0, 1)
    assert load_run({**default, "shots": "[0, 5]"}).shots == (0, 5)


def test_overrides_from_the_command_line_become_numbers(default):
    run = load_run({**default, "overrides": {"pocket-1m": {"learning_rate": "0.001"}}})
    assert run.suite.model("pocket-1m").learning_rate == 0.001
    assert "learning_rate" in refused(default, overrides={"pocket-1m": {"learning_rat": 1}})
    assert "learning_rate" in refused(default, overrides={"pocket-1m": {"learning_rate": "fast"}})


def test_types_are_named(default):
    assert "shots" in refused(default, shots="many")
    assert "expected" in refused(default, evaluation={"data": "x", "limit": "few"})
    assert "run" in refused(default, run="../etc")


def test_missing_corpus_names_the_file_and_the_remedy(default):
    message = refused(default, suite="books", run="books", corpus={"path": "nowhere.jsonl"})
    assert "nowhere.jsonl" in message
    assert "--config" in message


def test_a_suite_of_text_without_a_text_is_refused(default, monkeypatch):
    books = load_suite("books")
    bare = replace(books, corpus={"source": "jsonl", "held_out": []})
    monkeypatch.setattr("workflow_scripts.suite.run.load_suite", lambda name: bare)
    assert "neither a path nor texts" in refused(default, suite="books", run="books")


@pytest.mark.parametrize("token", ["hf_" + "a" * 30, "ghp_" + "b" * 36])
def test_tokens_are_refused_and_not_repeated(default, token):
    message = refused(default, dataset={"source": "hub", "location": f"https://user:{token}@host"})
    assert token not in message
    assert "HF_TOKEN" in message


@pytest.mark.parametrize("scheme", ["http", "https", "ssh"])
def test_passwords_in_addresses_are_refused_and_not_repeated(default, scheme, tmp_path):
    address = f"{scheme}://me:s3cretpw@127.0.0.1:9/pythia.git"
    message = refused(default, published={"source": None, "repository": address})
    assert "the value at 'published.repository' looks like a password in an address" in message
    assert "PYTHIA_GIT_PASSWORD" in message
    assert "s3cretpw" not in message
    (tmp_path / "run.yaml").write_text(f'run: urlpw\npublished: {{source: null, repository: "{address}"}}\n')
    with pytest.raises(ConfigError, match="password in an address") as caught:
        load_yaml(tmp_path / "run.yaml")
    assert "s3cretpw" not in str(caught.value)


@pytest.mark.parametrize("address", ["https://me@host:8080/x.git", "git@host:x.git", "https://host/a:b@c", "file:///a"])
def test_addresses_without_a_password_are_not_secrets(address):
    assert parse_yaml(f'a: "{address}"\n', "x.yaml") == {"a": address}


def test_patterns_select_models(default):
    assert len(load_run({**default, "models": ["pocket-*-deduped"]}).models) == 3
    assert "unknown model pattern" in refused(default, models=["pythia-*"])


def test_duplicate_keys_are_refused():
    with pytest.raises(ConfigError, match="duplicate key 'a', repeated in line 2"):
        parse_yaml("a: 1\na: 2\n", "x.yaml")


def test_duplicate_keys_in_a_config_file_stop_the_run(default, tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("models: all\nmodels: all\n")
    with pytest.raises(ConfigError, match="duplicate key"):
        load_run(default, [path])


@pytest.mark.parametrize("levels", [9, 29])
def test_an_alias_bomb_costs_nothing(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels + 1)]
    started = time.process_time()
    with pytest.raises(ConfigError, match="aliases"):
        parse_yaml("\n".join(lines), "bomb.yaml")
    assert time.process_time() - started < 1


def test_an_alias_that_contains_itself_is_refused_and_a_plain_one_is_not():
    with pytest.raises(ConfigError, match="aliases"):
        parse_yaml("a: &a [*a]\n", "loop.yaml")
    assert parse_yaml("a: &a [1]\nb: *a\n", "plain.yaml") == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n- 2\n", "a mapping of keys"),
        ("a: !!python/object/apply:os.system [true]\n", "could not determine a constructor"),
        ("a: [1\n", "line"),
        ("a: " + "[" * 60 + "]" * 60 + "\n", "levels deep"),
        ("? [a, b]\n: 1\n", "keys must be plain values|unhashable"),
        ("a: 2020-13-45\n", "month"),
    ],
)
def test_yaml_that_no_configuration_needs(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_yaml(text, "x.yaml")
    assert "\n" not in str(caught.value)


def test_exponents_without_a_dot_are_numbers():
    assert parse_yaml("a: 1e-3\nb: 6.0e-4\n", "x.yaml") == {"a": 0.001, "b": 0.0006}


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(MissingInputError, match=r"none.yaml"):
        load_yaml(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_yaml(tmp_path / "b.yaml")


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=200))
def test_any_text_gives_a_mapping_or_one_line(text):
    try:
        assert isinstance(parse_yaml(text, "fuzz.yaml"), dict)
    except ConfigError as error:
        assert str(error)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["models", "steps", "shots", "tasks", "dataset", "evaluation", "run", "overrides"]), json_like)
def test_any_value_gives_a_run_or_our_own_error(key, value):
    try:
        load_run({**DEFAULT, key: value})
    except PipelineError as error:
        assert str(error)


DEFAULT = parse_yaml(
    """
run: pocket
suite: pocket
models: all
steps: all
shots: [0]
tasks: all
dataset: {source: mirror, location: x}
checkpoints: {source: retrain, location: x}
evaluation: {data: [x]}
figures: all
""",
    "default",
)


def test_figures_follow_what_the_run_makes(default):
    assert "bits_per_byte" not in figure_names(load_run(default))
    assert "agreement_over_training" in figure_names(load_run(default))
    only_published = load_run({**default, "models": [], "checkpoints": {"source": "hub"}})
    assert all(name.startswith("published_") for name in figure_names(only_published))


def test_figures_that_are_named_are_those_in_that_order(default):
    named = {**default, "figures": "agreement_over_training, published_lambda"}
    with pytest.raises(UnknownNameError, match="published_lambda"):
        figure_names(load_run(named))
    wanted = ["bits_per_byte", "agreement_over_training"]
    assert figure_names(load_run({**default, "figures": wanted})) == tuple(wanted)
    assert figure_names(load_run({**default, "figures": " , ".join(wanted)})) == tuple(wanted)


def test_a_suite_with_held_out_text_has_a_figure_of_its_validation(root, tmp_path):
    settings = merge(load_yaml(root / "config/config.yaml"), load_yaml(root / "config/runs/books.yaml"))
    (tmp_path / "texts.jsonl").touch()
    settings = merge(settings, {"corpus": {"path": str(tmp_path / "texts.jsonl")}})
    run = load_run(merge(settings, {"figures": "all"}))
    needs = {need for name in figure_names(run) for need in figure_needs(name)}
    assert "validation" in needs
    scored = load_run(merge(settings, {"figures": "all", "checkpoints": {"source": "hub"}}))
    assert "validation" not in {need for name in figure_names(scored) for need in figure_needs(name)}


def test_paths_are_distinct(default):
    run = load_run(default)
    files = layout.score_files(run)
    assert len(set(files)) == len(files) == sum(len(steps) for steps in run.steps.values()) * 2


OWN = {"mine": {"repository": "me/mine", "chance": 0.5, "metric": "acc", "title": "Mine"}}
WARM = {"pocket-90k-warm": {"of": "pocket-90k", "learning_rate": 0.01}}


def test_a_variant_lives_beside_the_model_it_is_made_of(default):
    run = load_run({**default, "models": ["pocket-90k", "pocket-90k-warm"], "variants": WARM})
    base, warm = run.models
    assert (base.name, base.learning_rate) == ("pocket-90k", 0.008)
    assert (warm.name, warm.learning_rate, warm.repository) == ("pocket-90k-warm", 0.01, "pocket/pocket-90k-warm")
    assert warm.min_learning_rate == pytest.approx(0.001)
    assert (warm.layers, warm.steps, warm.dataset) == (base.layers, base.steps, base.dataset)
    assert "pocket-90k-warm" not in {model.name for model in load_run({**default, "variants": WARM}).models}


def test_what_a_run_adds_is_known_to_programs_that_read_it(default):
    run = load_run({**default, "models": ["pocket-90k-warm"], "variants": WARM, "tasks": ["mine"], "own_tasks": OWN})
    again = suite_of(json.loads(json.dumps(run.as_json())))
    assert again.model("pocket-90k-warm") == run.models[0]
    assert again.task("mine") == run.tasks[0]
    assert not load_suite("pocket").knows("pocket-90k-warm")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"variants": {"pocket-1m": {"of": "pocket-90k"}}}, "variants.pocket-1m: a suite has a model of this name"),
        ({"variants": {"pythia-70m": {"of": "pocket-90k"}}}, "variants.pythia-70m: a suite has a model of this name"),
        ({"variants": {"Pocket-1M": {"of": "pocket-90k"}}}, "variants.Pocket-1M: a suite has a model of this name"),
        ({"variants": {"all": {"of": "pocket-90k"}}}, "variants.all: a suite has a model of this name"),
        ({"variants": {"warm": {"of": "pocket-9k"}}}, "unknown model 'pocket-9k'; did you mean 'pocket-90k'?"),
        ({"variants": {"../warm": {"of": "pocket-90k"}}}, "variants"),
        ({"variants": {"warm": {"learning_rate": 0.1}}}, "of"),
        ({"own_tasks": {"pocket_facts": OWN["mine"]}}, "own_tasks.pocket_facts: a suite has a task of this name"),
        ({"suite": "books", "own_tasks": {"pocket_facts": OWN["mine"]}}, "own_tasks.pocket_facts: a suite has a task"),
        ({"own_tasks": {"piqa": OWN["mine"]}}, "own_tasks.piqa: a suite has a task of this name"),
        ({"own_tasks": {"mmlu": OWN["mine"]}}, "own_tasks.mmlu: a suite has a task of this name"),
        (
            {"own_tasks": {"arc_challenge_chat": OWN["mine"]}},
            "own_tasks.arc_challenge_chat: lm-eval has a task of this name",
        ),
        ({"own_tasks": {"hendrycksTest-x": OWN["mine"]}}, "own_tasks.hendrycksTest-x: lm-eval has a task of this name"),
        (
            {"variants": WARM, "models": "pocket-90k-warm", "checkpoints": {"source": "hub"}},
            "checkpoints.source: hub is not possible for pocket-90k-warm, a variant of this run only",
        ),
        (
            {"own_tasks": {"mine": {**OWN["mine"], "title": "Facts"}}},
            "own_tasks.mine.title: another task has this title",
        ),
        ({"own_tasks": {"a": OWN["mine"], "b": OWN["mine"]}}, "own_tasks.a.title: another task has this title"),
        ({"own_tasks": {"mine": {"repository": "me/mine"}}}, "own_tasks"),
        ({"own_tasks": {"mine": {**OWN["mine"], "repository": "../mine"}}}, "own_tasks"),
    ],
)
def test_what_a_run_cannot_add_is_refused_by_name(default, changes, word):
    assert word in refused(default, **changes)


def test_a_task_whose_guessing_scores_nothing_known_needs_no_chance(default):
    facts = {key: value for key, value in OWN["mine"].items() if key != "chance"}
    assert load_run({**default, "own_tasks": {"mine": facts}}).suite.task("mine").chance is None
