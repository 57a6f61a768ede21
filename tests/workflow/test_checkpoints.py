"""What the rules of checkpoints are told about a run that trains, one from a Hub and one of a mirror."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow_scripts.errors import ConfigError
from workflow_scripts.suite import layout
from workflow_scripts.suite.models import CHECKPOINT_FILES
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow import checkpoints, training
from workflow_scripts.workflow.sweep import Sweep, plan_sweep
from workflow_scripts.workflow.tools import check


@pytest.fixture(autouse=True)
def in_the_checkout(root, monkeypatch):
    monkeypatch.chdir(root)


def run_of(file, **changes):
    settings = load_yaml(Path("config/config.yaml"))
    for one in (load_yaml(Path(file)) if file else {}, changes):
        settings = check.merge(settings, one)
    return load_run(settings)


@pytest.fixture
def trained():
    return run_of(None, models=["pocket-90k"])


@pytest.fixture
def from_hub():
    return run_of("config/runs/one-pythia-model.yaml")


class Wildcards(SimpleNamespace):
    """Stands for Snakemake's wildcards."""

    def items(self):
        return vars(self).items()


def test_only_checkpoints_from_a_hub_are_held_to_the_ledger(tmp_path, monkeypatch, trained, from_hub):
    ledger = tmp_path / "ledger.tsv"
    ledger.write_text("model\tstep\tcommit\npythia-70m-deduped\t8\tabc\npocket-90k\t8\tdef\n")
    monkeypatch.setattr(layout, "LEDGER", str(ledger))
    commit = checkpoints.commit_of(from_hub)
    assert commit(Wildcards(model="pythia-70m-deduped", step="8")) == "abc"
    assert commit(Wildcards(model="pythia-70m-deduped", step="16")) == ""
    assert checkpoints.ledger_of(from_hub) == [str(ledger)]
    assert checkpoints.ledger_arguments(from_hub) == ["--ledger", str(ledger)]
    assert checkpoints.commit_of(trained)(Wildcards(model="pocket-90k", step="8")) == ""
    assert checkpoints.ledger_of(trained) == checkpoints.ledger_arguments(trained) == []
    assert (checkpoints.audited(trained)[1:], checkpoints.audited(from_hub)[1:]) == (
        ["results/audit/pocket/ledger.tsv"],
        [],
    )


def test_only_models_that_are_trained_here_are_published_here(trained, from_hub):
    pattern = "results/mirror/models/{organisation}/{model}/{revision}/sha256.txt"
    lists = [f"results/mirror/models/pocket/pocket-90k/{name}/sha256.txt" for name in ("step0", "step1", "main")]
    assert set(lists) < set(training.each_revision(trained, pattern))
    assert training.in_mirror(trained)(pattern)(Wildcards(model="pocket-90k")) == training.each_revision(
        trained, pattern
    )
    assert training.each_revision(from_hub, pattern) == []
    assert training.in_mirror(from_hub)(pattern)(Wildcards(model="pythia-70m-deduped")) == []
    assert (checkpoints.source_of(trained), checkpoints.location_of(trained)) == ("mirror", "results/mirror")
    assert checkpoints.source_of(from_hub) == from_hub.settings["checkpoints"]["source"]


def test_an_audit_is_told_what_a_run_changes_of_its_models_and_no_more(from_hub):
    warm = {"of": "pocket-90k", "learning_rate": 0.01}
    changes = {"variants": {"warm": warm, "idle": warm}, "overrides": {"pocket-90k": {"weight_seed": 5}}}
    run = run_of(None, models=["pocket-90k-deduped", "warm"], **changes)
    both = json.dumps({"overrides": changes["overrides"], "variants": {"warm": warm}}, sort_keys=True)
    assert checkpoints.changes_of(run) == checkpoints.changes_of(run, "warm") == ["--changes", both]
    assert checkpoints.changes_of(run, "pocket-90k-deduped") == checkpoints.changes_of(from_hub) == []


def test_stock_lm_eval_scores_the_last_checkpoint_of_the_first_model_too(trained, from_hub):
    assert checkpoints.sample_checkpoint(trained) == ("pocket-90k", trained.steps["pocket-90k"][-1])
    assert checkpoints.sample_checkpoint(from_hub) == ("pythia-70m-deduped", 143_000)
    assert checkpoints.quickstarts(from_hub) == ["results/quickstart/pythia-70m-deduped/step143000.txt"]
    published = run_of("config/runs/published.yaml")
    assert checkpoints.sample_checkpoint(published) is None
    assert checkpoints.quickstarts(published) == checkpoints.audited(published) == []


def test_models_with_other_files_are_fetched_by_a_rule_of_their_own(from_hub):
    one = checkpoints.file_lists(from_hub)
    assert [(each.name, each.files) for each in one] == [("fetch_checkpoint", CHECKPOINT_FILES)]
    names = ["pythia-12b", "pythia-12b-deduped", "pythia-6.9b"]
    large = checkpoints.file_lists(run_of("config/runs/suite.yaml", models=names))
    assert [(each.name, each.models) for each in large] == [
        ("fetch_checkpoint", ("pythia-12b", "pythia-12b-deduped")),
        ("fetch_checkpoint_in_2_parts", ("pythia-6.9b",)),
    ]
    assert checkpoints.file_lists(run_of("config/runs/published.yaml")) == []


def test_a_job_reads_the_files_of_its_model_that_its_program_opens(from_hub):
    pattern = "folder/{model}/step{step}/{file}"
    names = ["config.json", "model.safetensors", "tokenizer.json"]
    assert checkpoints.each_file(from_hub, pattern) == [f"folder/{{model}}/step{{step}}/{name}" for name in names]
    assert len(checkpoints.each_file(from_hub, pattern, transformers=True)) == len(CHECKPOINT_FILES)
    both = run_of("config/runs/suite.yaml", models=["pythia-70m", "pythia-6.9b"])
    of_job = checkpoints.each_file(both, pattern)
    assert of_job(Wildcards(model="pythia-70m", step="8")) == [f"folder/pythia-70m/step8/{name}" for name in names]
    shards = [f"folder/pythia-6.9b/step8/model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert set(shards) < set(of_job(Wildcards(model="pythia-6.9b", step="8")))
    assert checkpoints.each_file(run_of("config/runs/published.yaml"), pattern) == []


def test_with_a_disk_budget_only_kept_checkpoints_are_there_in_the_end():
    settings = {"models": ["pocket-90k"], "steps": [0, 1, 2, 600]}
    whole = run_of(None, **settings)
    everything = checkpoints.stored(whole, plan_sweep(whole))
    assert [len(files) for files in everything] == 4 * [len(CHECKPOINT_FILES) + 2]
    assert "results/checkpoints/pocket-90k/step2/model.safetensors" in everything[2]
    assert checkpoints.fetched(whole, plan_sweep(whole)) == [files[-1] for files in everything], "nothing is there"
    assert checkpoints.room_for(plan_sweep(whole)) == checkpoints.released(plan_sweep(whole)) == []

    sweep = Sweep({("m", 1): (), ("m", 2): (("m", 1),), ("m", 3): ()}, frozenset({("m", 3)}))
    assert checkpoints.released(sweep) == [layout.released_marker("m", 1), layout.released_marker("m", 2)]
    room = checkpoints.room_for(sweep)
    assert room(Wildcards(model="m", step="2")) == [layout.released_marker("m", 1)]
    assert room(Wildcards(model="m", step="1")) == room(Wildcards(model="other", step="1")) == []
    cut = run_of(None, **settings, checkpoints={"disk_budget_gb": 0.01})
    kept = checkpoints.fetched(cut, plan_sweep(cut))
    assert [path for path in kept if path.endswith("fetched.json")] == [
        "results/checkpoints/pocket-90k/step600/fetched.json"
    ]
    assert sum("/released/" in path for path in kept) == 3


def test_files_that_the_ledger_pins_take_the_place_of_the_declared_ones(tmp_path, monkeypatch, from_hub, trained):
    ledger = tmp_path / "ledger.tsv"
    monkeypatch.setattr(layout, "LEDGER", str(ledger))
    assert checkpoints.hold_to_ledger(from_hub) == from_hub, "without a ledger"
    name, steps = "pythia-70m-deduped", from_hub.steps["pythia-70m-deduped"][:2]
    both = ["README.md", "config.json", "pytorch_model.bin", "tokenizer.json"]

    def pin(files):
        rows = [f"{name}\t{step}\tabc\t{file}" for step, listed in files.items() for file in listed]
        ledger.write_text("\n".join(["model\tstep\tcommit\tfile", *rows, f"{name}\tmain\tabc\tx", ""]))

    pin({steps[0]: both, steps[1]: both, 7: ["of no step of the run"]})
    assert checkpoints.hold_to_ledger(from_hub).models[0].files == (
        "config.json",
        "pytorch_model.bin",
        "tokenizer.json",
    )
    assert checkpoints.hold_to_ledger(trained) == trained, "a mirror carries its own list"
    pin({steps[0]: both, steps[1]: [*both, "model.safetensors"]})
    with pytest.raises(ConfigError, match=f"{name}: step{steps[0]} and step{steps[1]} have different files in"):
        checkpoints.hold_to_ledger(from_hub)


def test_a_suite_with_names_of_its_own_says_them_to_the_fetch_and_no_other_does(from_hub, trained):
    words = {"run": "x", "suite": "amber", "models": "all", "steps": [1, 360], "checkpoints": {"source": "hub"}}
    amber = load_run(check.merge(load_yaml(check.DEFAULT), {**words, "tasks": ["piqa"], "shots": [0]}))
    arguments = checkpoints.fetch_arguments(amber)
    assert [arguments(Wildcards(model="Amber", step=str(step)))[-2:] for step in (1, 360)] == [
        ["--revision", "ckpt_000"],
        ["--revision", "main"],
    ]
    assert checkpoints.fetch_arguments(from_hub) == checkpoints.ledger_arguments(from_hub)
    assert checkpoints.fetch_arguments(trained) == []


def test_commits_and_defects_of_other_names_are_found_by_their_names(tmp_path, monkeypatch):
    words = {"run": "x", "suite": "amber", "models": "all", "steps": [1, 2, 360], "checkpoints": {"source": "hub"}}
    settings = check.merge(load_yaml(check.DEFAULT), {**words, "tasks": ["piqa"], "shots": [0]})
    ledger, defects = tmp_path / "ledger.tsv", tmp_path / "defects.tsv"
    files = ("config.json", "model.safetensors", "tokenizer.json")
    rows = [f"Amber\t{name}\t{commit}\t{file}" for name, commit in (("ckpt_000", "a"), ("main", "b")) for file in files]
    ledger.write_text("\n".join(["model\tstep\tcommit\tfile", *rows, ""]))
    defects.write_text("model\trevision\tkind\tdetail\nAmber\tckpt_001\tduplicate\tx\nAmber\tstep1\tduplicate\tx\n")
    monkeypatch.setattr(layout, "LEDGER", str(ledger))
    run = load_run(check.merge(settings, {"checkpoints": {"defects": str(defects)}}))
    left = checkpoints.leave_out_defects(run)
    assert left.steps["Amber"] == (1, 360)
    commit = checkpoints.commit_of(left)
    assert [commit(Wildcards(model="Amber", step=str(step))) for step in (1, 2, 360)] == ["a", "", "b"]
    assert checkpoints.hold_to_ledger(left).models[0].files == files
