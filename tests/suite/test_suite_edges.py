"""What the registry, the configuration and their programs refuse, and what they say, away from the beaten path."""

import subprocess
from dataclasses import replace

import pytest

from workflow_scripts import cli
from workflow_scripts.checkpoints.defect_table import known_defects
from workflow_scripts.checkpoints.ledger_file import pinned_commits
from workflow_scripts.errors import ConfigError, DataError, MissingInputError, StorageError, UnknownNameError
from workflow_scripts.suite import arms
from workflow_scripts.suite.arms import Arm, iteration_at, start_iteration
from workflow_scripts.suite.experiment_files import experiments_of, models_of
from workflow_scripts.suite.registry import build_suite, load_suite
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.suite.schema import check_schema, coerce_text
from workflow_scripts.suite.steps import nearest
from workflow_scripts.workflow import plan
from workflow_scripts.workflow.checkpoints import leave_out_defects
from workflow_scripts.workflow.requests import slurm_facts
from workflow_scripts.workflow.tools import check, doctor, link_profiles, reference_page, unlock
from workflow_scripts.workflow.tools.check import load_run_file


@pytest.fixture(autouse=True)
def in_the_checkout(root, monkeypatch):
    monkeypatch.chdir(root)


@pytest.fixture
def settings(root):
    return load_yaml(root / "config" / "config.yaml")


def run_with(settings, **changes):
    return leave_out_defects(load_run(check.merge(settings, changes)))


# What the programs say


def test_a_finished_run_says_where_its_report_is(tmp_path, monkeypatch, capsys, root):
    (tmp_path / "config").symlink_to(root / "config")
    figures = tmp_path / "results/runs/pocket/figures"
    figures.mkdir(parents=True)
    for name in ("a.svg", "b.svg", "b.png"):
        (figures / name).touch()
    (figures.parent / "report.html").write_bytes(b"x" * 1_250_000)
    monkeypatch.chdir(tmp_path)
    assert cli.run(check.main, ["--finished"]) == 0
    said = capsys.readouterr().out
    assert "results/runs/pocket/report.html (1.2 MB" in said
    assert "2 figures" in said


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(check.os, "access", lambda path, mode: False)
    with pytest.raises(StorageError, match="read-only"):
        check.require_writable(tmp_path)


def test_a_run_without_models_is_described_by_its_figures(root):
    said = check.describe(load_run_file(root / "config/runs/published.yaml"))
    assert "0 models" in said
    assert "tasks" not in said


def test_the_doctor_names_what_is_missing_and_ends_with_2(monkeypatch, capsys):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert doctor.check_torch() == doctor.Finding("missing", "torch", "is not installed; run: python3 bootstrap.py")
    monkeypatch.setattr(doctor, "CHECKS", (doctor.check_torch,))
    assert cli.run(doctor.main, []) == 2
    said = capsys.readouterr()
    assert "missing for the pocket suite: torch" in said.err
    assert said.out.startswith("missing torch")


def test_the_doctor_counts_gpus_by_name(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "H100")
    assert doctor.check_torch().detail.endswith("2 GPU: H100")


@pytest.mark.parametrize(
    ("script", "state", "words"),
    [
        ("echo 'MinJobAge               = 300 sec'", "ok", "MinJobAge 300 s"),
        ("echo 'MinJobAge               = 30 sec'", "note", "MinJobAge is 30 s"),
        ("echo 'gone' >&2; exit 1", "note", "no controller"),
        (None, "note", "not on this machine"),
    ],
)
def test_the_doctor_asks_slurm(tmp_path, monkeypatch, script, state, words):
    for name in ("sinfo", "scontrol") if script else ():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor.check_slurm()
    assert (found.state, words in found.detail) == (state, True)


def test_the_doctor_does_not_wait_for_ever(tmp_path, monkeypatch):
    def silent(*words, **named):
        raise subprocess.TimeoutExpired("sinfo", 20)

    (tmp_path / "sinfo").write_text("")
    (tmp_path / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(slurm_facts.subprocess, "run", silent)
    assert "no controller answered" in doctor.check_slurm().detail


def test_the_doctor_finds_a_token_in_the_environment_or_in_its_file(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert doctor.check_token().detail.startswith("none")
    (tmp_path / "token").write_text("secret")
    assert doctor.check_token() == doctor.Finding("note", "Hub token", "present")
    (tmp_path / "token").unlink()
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert doctor.check_token() == doctor.Finding("note", "Hub token", "present")


def test_the_doctor_tells_whether_snakemake_can_submit_to_slurm(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert doctor.check_slurm_plugin() == doctor.Finding("note", "slurm plugin", "not installed: make setup-slurm")
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: name)
    assert doctor.check_slurm_plugin() == doctor.Finding("ok", "slurm plugin", "installed")


def test_linking_the_profiles_is_what_the_doctor_looks_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert doctor.check_profiles().state == "note"
    assert cli.run(link_profiles.main, []) == 0
    assert "slurm: linked" in capsys.readouterr().out
    assert doctor.check_profiles().state == "ok"
    assert cli.run(link_profiles.main, []) == 0
    assert capsys.readouterr().out == ""


def test_the_reference_program_writes_its_page(tmp_path):
    assert cli.run(reference_page.main, ["--output", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text() == reference_page.page()


# The plan


def test_the_plan_counts_memorization_once_per_size(root):
    run = load_run_file(root / "config/runs/experiments.yaml")
    jobs = {model.name: plan.memorization_jobs(run, model) for model in run.models}
    assert jobs["pocket-1m"] > 0
    assert jobs["pocket-90k-weight-seed1"] == 0
    assert plan.memorization_jobs(load_run_file(plan.DEFAULT), run.models[0]) == 0


def test_the_disk_of_a_trained_model_on_paper(root):
    # pocket-1m is kept four times: fetched at the run's steps and published at all in 16 or 32 bits, in float32 as
    # the trainer saves it at all, and once two float32 moments.
    run = load_run_file(plan.DEFAULT)
    model = run.suite.model("pocket-1m")
    width = {"float16": 2, "float32": 4}[model.published_dtype]
    wanted, every = len(run.steps["pocket-1m"]), len(model.steps)
    cost = plan.model_cost(run, model)
    assert cost.disk_bytes == model.parameters * (width * (wanted + every) + 4 * every + 8)
    assert cost.download_bytes == 0


def test_the_plan_downloads_the_tokens_of_the_data_sets_that_are_trained_on(root):
    settings = dict(load_run_file(root / "config/runs/one-pythia-model.yaml").settings)
    retraining = check.merge(settings, {"checkpoints": {"source": "retrain"}})
    # The deduplicated Pile: 207,170,414,058 tokens of two bytes (tested against its shards below).
    assert plan.dataset_bytes(load_run(retraining)) == 2 * 207_170_414_058
    assert plan.dataset_bytes(load_run(settings)) == 0
    mirrored = check.merge(retraining, {"dataset": {"source": "mirror", "location": "folder"}})
    assert plan.dataset_bytes(load_run(mirrored)) == 0


def test_a_budget_bounds_the_disk_and_not_the_download(settings, root):
    whole = load_run_file(root / "config/runs/suite.yaml")
    text = (root / "config/runs/suite.yaml").read_text()
    assert "disk_budget_gb" not in text
    cut = load_run(check.merge(dict(whole.settings), {"checkpoints": {"disk_budget_gb": 500}}))
    assert plan.total_cost(cut).download_bytes == plan.total_cost(whole).download_bytes
    assert plan.total_cost(cut).disk_bytes < plan.total_cost(whole).disk_bytes / 10


def test_the_plan_counts_the_jobs_that_are_left_when_asked(monkeypatch, capsys):
    monkeypatch.setattr(plan, "jobs_left", lambda config: f"jobs of {config}")
    assert cli.run(plan.main, ["--jobs"]) == 0
    assert capsys.readouterr().out.endswith(f"jobs of {plan.DEFAULT}\n")
    assert cli.run(plan.main, []) == 0
    assert "jobs of" not in capsys.readouterr().out


def test_a_limit_that_is_exceeded_is_named_with_its_key(settings, capsys, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("run: small\nlimits: {cpu_hours: 0.0001}\n")
    assert cli.run(plan.main, ["--config", str(path), "--price", "3"]) == 2
    said = capsys.readouterr()
    assert "limits.cpu_hours" in said.err
    assert "in money" in said.out


def test_a_plan_that_snakemake_cannot_make_says_its_last_line(monkeypatch, tmp_path):
    def failed(command, **named):
        return subprocess.CompletedProcess(command, 1, "", "first\nlast\n")

    monkeypatch.setattr(plan.subprocess, "run", failed)
    with pytest.raises(ConfigError, match="cannot plan this run: last"):
        plan.jobs_left(tmp_path)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [("Job stats:\nold\nJob stats:\nnew 1\n", "Job stats:\nnew 1"), ("all is there\n", "nothing to be done")],
)
def test_the_second_table_of_snakemake_is_the_one_with_reasons(monkeypatch, tmp_path, printed, expected):
    def planned(command, **named):
        return subprocess.CompletedProcess(command, 0, printed, "")

    monkeypatch.setattr(plan.subprocess, "run", planned)
    assert plan.jobs_left(tmp_path) == expected


# What a run may not ask for


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experiments": ["predictability"]}, "request both"),
        ({"experiments": ["interventions"], "checkpoints": {"source": "mirror"}}, "set checkpoints.source to retrain"),
    ],
)
def test_experiments_that_cannot_be_made(settings, changes, words):
    with pytest.raises(ConfigError, match=words):
        experiments_of(run_with(settings, **changes))


def test_an_unknown_experiment_is_refused_by_name(settings):
    run = replace(run_with(settings), settings={**settings, "experiments": ["memorisation"]})
    with pytest.raises(UnknownNameError, match="did you mean 'memorization'"):
        experiments_of(run)


def test_a_mirror_needs_a_place(settings):
    with pytest.raises(ConfigError, match=r"checkpoints\.location"):
        run_with(settings, checkpoints={"source": "mirror", "location": None})


def test_a_run_whose_steps_are_all_defective_says_so(settings, tmp_path):
    table = tmp_path / "defects.tsv"
    table.write_text("model\trevision\tkind\npocket-1m\tstep600\tnan\n")
    with pytest.raises(ConfigError, match="every step of the run is listed"):
        run_with(settings, models=["pocket-1m"], steps=[600], checkpoints={"defects": str(table)})
    run = run_with(settings, models=["pocket-1m"], steps=[0, 600], checkpoints={"defects": str(table)})
    assert run.steps["pocket-1m"] == (0,)
    assert "nan" in run.left_out[0]


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, MissingInputError, "no such table"),
        ("step\tmodel\n", DataError, "does not start with the columns"),
        ("model\trevision\tkind\nonly\ttwo\n", DataError, "a line has 2 fields"),
        ("", DataError, "does not start"),
        (b"model\xff", DataError, "is not UTF-8 text at byte 5"),
    ],
)
def test_tables_that_are_none(tmp_path, content, error, words):
    table = tmp_path / "defects.tsv"
    if content is not None:
        table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=words):
        known_defects(str(table))


def test_without_a_ledger_nothing_is_pinned(tmp_path):
    assert pinned_commits(str(tmp_path / "absent.tsv")) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"terms": "x", "numbers": {"first": 0, "last": 1}}, "key 'facts' is missing"),
        ({"terms": "x", "numbers": {"first": 0, "last": 1}, "facts": "yes"}, 'expected true or false, not "yes"'),
        (
            {"terms": "X!", "numbers": {"first": 0, "last": 1}, "facts": True},
            "write lower-case letters, digits and dashes",
        ),
    ],
)
def test_what_a_schema_refuses(content, words):
    with pytest.raises(ConfigError, match=words):
        check_schema(content, "terms", "file")


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("[1, 2", {"type": "integer"}, "[1, 2"),
        ("1.5", {"type": "integer"}, "1.5"),
        ("true", {"type": "boolean"}, True),
        ("[1]", {"type": "integer"}, "[1]"),
        ("null", {"type": ["integer", "null"]}, None),
        ("null", {"type": "string"}, "null"),
        ("a, b", {"type": "array"}, ["a", "b"]),
        ("{a: 1}", {"type": "object"}, {"a": 1}),
        ("1e-3", {"type": "number"}, 0.001),
        ("1e3", {"type": ["integer", "null"]}, "1e3"),
        ("1e-3", {"type": "integer"}, "1e-3"),
    ],
)
def test_text_from_the_command_line_becomes_what_the_schema_asks_for_or_stays(text, kind, value):
    assert coerce_text(text, kind) == value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [1", "a.yaml"),
        ("- 1\n", "contains a list"),
        ("1", "contains a int"),
        ("a: 1\n? [b]\n: 2\n", "line 2: keys must be plain values"),
        ("a: 1\nb: c: d\n", "line 2: mapping values are not allowed"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, content, words):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ConfigError, match=words):
        load_yaml(tmp_path / "a.yaml")


def test_a_configuration_must_be_text_and_not_huge(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_yaml(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_bytes(b"#" * 20_000_000)
    with pytest.raises(ConfigError, match="larger than"):
        load_yaml(tmp_path / "b.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_yaml(tmp_path)


def test_an_empty_configuration_says_nothing(tmp_path):
    (tmp_path / "a.yaml").write_text("# only a comment\n")
    assert load_yaml(tmp_path / "a.yaml") == {}


def test_a_model_without_steps_has_no_nearest():
    assert nearest(5, set()) == "the model has none"
    assert nearest(5, {1, 8, 100}) == "nearest are 1 and 8"


# The suite


@pytest.fixture
def facts(root):
    return load_yaml(root / "config/suites/books.yaml")


def test_two_families_with_one_name_are_refused(facts):
    facts["families"] *= 2
    with pytest.raises(ConfigError, match="two families define a model called books-1m"):
        build_suite(facts)


@pytest.mark.parametrize("name", ["b-{size", "b-size}", "b-{size.__class__}", "b-{0}", "b-{size:9}"])
def test_a_name_pattern_knows_size_suffix_and_seed_only(facts, name):
    facts["families"][0]["name"] = name
    with pytest.raises(ConfigError, match=r"families\.0\.name: .* such as pythia-\{size\}\{suffix\}"):
        check_schema(facts, "suite", "a suite file")


@pytest.mark.parametrize(("key", "value"), [("sizes", "2m"), ("datasets", "deduped")])
def test_a_family_of_what_is_not_there_is_refused(facts, key, value):
    facts["families"][0][key] = [value]
    with pytest.raises(UnknownNameError, match=value):
        build_suite(facts)


def test_sizes_of_data_sets_are_known_for_the_real_suite_only():
    assert load_suite("pocket").dataset("standard").bin_bytes is None
    # shards of one size and a shorter last one; two bytes a token
    data = load_suite("pythia").dataset("deduped")
    assert data.bin_bytes == (data.shards - 1) * data.shard_bytes + data.last_shard_bytes
    assert data.bin_bytes // 2 == 207_170_414_058


def test_models_of_a_resolved_run_are_the_suites(settings):
    run = run_with(settings)
    assert models_of(run.suite, run.as_json()) == list(run.models)


# Interventions


def test_unknown_declarations_and_arms_are_refused_by_name():
    with pytest.raises(UnknownNameError, match="did you mean 'pronouns'"):
        arms.load_declaration("pronoun")
    with pytest.raises(UnknownNameError, match="did you mean 'swap-7'"):
        arms.chosen_arms(arms.load_declaration("pronouns"), "swap-8")


def test_an_arm_must_leave_something_to_train():
    model = load_suite("pythia").model("pythia-70m")
    with pytest.raises(ConfigError, match="nothing to train"):
        start_iteration(model, Arm("late", "swap", 100.0))
    with pytest.raises(ConfigError, match="not a valid start"):
        iteration_at(model, 150.0)
    assert start_iteration(model, Arm("seven", "swap", 93)) == 133_000
    # nothing is published near 0.4 % of a pocket model's 600 iterations except step 2
    assert iteration_at(load_suite("pocket").model("pocket-1m"), 50.0) == 300


# Unlocking


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A squeue that shows one job of this folder until scancel was called as often as ``patience`` says."""

    def make(patience):
        queue = tmp_path / "queue"
        queue.write_text(f"7|pythia_ab|RUNNING|{tmp_path}\n")
        (tmp_path / "squeue").write_text(f"#!/bin/sh\ncat {queue}\n")
        (tmp_path / "scancel").write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/cancelled\n" + f": > {queue}\n" * patience)
        for name in ("squeue", "scancel"):
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return tmp_path

    return make


def test_jobs_of_a_killed_run_are_cancelled_and_waited_for(slurm):
    folder = slurm(patience=1)
    assert unlock.end_jobs(folder) == 1
    assert (folder / "cancelled").read_text() == "7\n"
    assert unlock.end_jobs(folder) == 0


def test_a_job_that_does_not_end_keeps_the_lock(slurm, monkeypatch):
    monkeypatch.setattr(unlock, "LONGEST_WAIT", -1.0)
    with pytest.raises(StorageError, match="Slurm job 7 is still RUNNING"):
        unlock.end_jobs(slurm(patience=0))


def test_unlocking_ends_jobs_first_and_asking_changes_nothing(monkeypatch, capsys, slurm):
    folder = slurm(patience=1)
    monkeypatch.chdir(folder)
    calls = []
    real = subprocess.run
    monkeypatch.setattr(
        unlock.subprocess,
        "run",
        lambda command, **named: calls.append(command) if "snakemake" in command else real(command, **named),
    )
    assert cli.run(unlock.main, ["--ask"]) == 0
    assert calls == []
    assert cli.run(unlock.main, ["--keep-jobs"]) == 0
    assert calls.pop()[2:] == ["snakemake", "--unlock", "--quiet", "all"]
    assert not (folder / "cancelled").exists()
    assert cli.run(unlock.main, []) == 0
    assert calls[0][2:] == ["snakemake", "--unlock", "--quiet", "all"]
    assert "1 Slurm jobs" in capsys.readouterr().out
