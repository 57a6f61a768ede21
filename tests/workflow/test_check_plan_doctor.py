"""The programs that speak before anything starts."""

import pytest

from workflow_scripts import cli
from workflow_scripts.errors import StorageError
from workflow_scripts.suite import layout
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.run.finished_files import WORKING
from workflow_scripts.workflow import plan
from workflow_scripts.workflow.plan import forward_flops_per_token, model_cost, total_cost
from workflow_scripts.workflow.tools import check, doctor
from workflow_scripts.workflow.tools.check import load_run_file, merge, require_writable


@pytest.fixture(autouse=True)
def in_the_checkout(root, monkeypatch):
    monkeypatch.chdir(root)


def test_merging_is_snakemakes(root):
    assert merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": 3}, "d": [2]}) == {"a": {"b": 1, "c": 3}, "d": [2]}


def test_check_describes_the_run(capsys):
    assert cli.run(check.main, []) == 0
    said = capsys.readouterr().out
    assert "suite pocket, 6 models, 48 checkpoints" in said
    assert "tasks, 0 and 5 shots: " in said


def test_check_refuses_a_duplicate_key(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("run: a\nrun: b\n")
    assert cli.run(check.main, ["--config", str(path)]) == 2
    assert "duplicate key" in capsys.readouterr().err


def test_a_run_that_is_not_finished_says_so(tmp_path, monkeypatch, capsys, root):
    (tmp_path / "config").symlink_to(root / "config")
    monkeypatch.chdir(tmp_path)
    assert cli.run(check.main, ["--finished"]) == 2
    assert "not finished" in capsys.readouterr().err


def test_an_unwritable_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be created"):
        require_writable(tmp_path / "file" / "results")


def test_the_download_of_one_real_model_by_hand():
    run = load_run_file(plan.DEFAULT.parent / "runs" / "suite.yaml")
    model = run.suite.model("pythia-12b")
    # 154 checkpoints x 11,846,072,320 parameters x 2 bytes
    assert model_cost(run, model).download_bytes == 154 * 11_846_072_320 * 2
    assert total_cost(run).checkpoints == 16 * 154
    assert 15.0e12 < total_cost(run).download_bytes < 15.4e12


def test_training_flops_follow_the_six_nd_rule():
    model = load_suite("pythia").model("pythia-6.9b")
    weights = model.non_embedding_parameters + model.vocab_size * model.hidden_size
    assert forward_flops_per_token(model) == 2 * weights
    # no overflow where int64 would: 6 N D of the largest model is above 2^63
    assert 3 * forward_flops_per_token(model) * 299_892_736_000 > 2**63


def test_hours_money_and_days_of_three_real_models_by_hand():
    run = load_run_file(plan.DEFAULT.parent / "runs" / "suite.yaml")
    # Weights outside the input embedding: 12 L d^2 + 13 L d + 2 d + V d, on paper.
    weights = {"pythia-70m": 44_670_976, "pythia-1b": 908_759_040, "pythia-12b": 11_586_549_760}
    for name, number in weights.items():
        # 154 checkpoints, 3.65e6 tokens without and twice as many with examples, 2 FLOPs per weight, 45e12 per second
        by_hand = 154 * 3 * 3.65e6 * 2 * number / 45e12 / 3600
        _, evaluation, _ = plan.hours(model_cost(run, run.suite.model(name)), run)
        assert evaluation == pytest.approx(by_hand, rel=1e-9), name
    assert plan.requests_of(run) == 16 * 154 * 6
    spent = sum(plan.hours(total_cost(run), run))
    assert f"{spent * 2.5:,.0f} in money" in plan.outlook(run, 16, 2.5)
    # One line of 50 MB per second carries 15 TB in three and a half days, however many GPUs wait.
    assert plan.wall_hours(run, 10_000) == pytest.approx(total_cost(run).download_bytes / 50e6 / 3600)


def test_a_price_gives_every_model_its_money(root):
    run = load_run_file(root / "config" / "runs" / "suite.yaml")
    lines = {line.split()[0]: line.split() for line in plan.table(run, 2.5).splitlines()[2:]}
    # The 241.2 GPU-hours by hand above, at 2.5.
    assert lines["pythia-12b"][-1] == "603"
    assert "money" not in plan.table(run)


def test_a_second_protocol_is_evaluated_and_counted_again(tmp_path, root):
    base, path = root / "config" / "runs" / "suite.yaml", tmp_path / "both.yaml"
    path.write_text(f"{base.read_text()}evaluation: {{protocols: [current, pythia-2023]}}\n")
    one, both = load_run_file(base), load_run_file(path)
    assert total_cost(both).evaluation_flops == 2 * total_cost(one).evaluation_flops
    assert plan.jobs_of(both) - plan.jobs_of(one) == 16 * 154
    model = one.suite.model("pythia-12b")
    assert plan.chain_hours(both, model) == pytest.approx(plan.chain_hours(one, model))


def test_the_suite_takes_few_submissions_each_of_one_model(root):
    """154 checkpoints are 39 allocations of four; downloads are submissions where compute nodes fetch, else none."""
    run = load_run_file(root / "config" / "runs" / "suite.yaml")
    submitted = plan.submissions_of(run, {"score_{model}": 4})
    assert submitted["score_{model}"] == 16 * 39 <= 700
    assert submitted["fetch_{model}"] == 16 * 154
    assert plan.submissions_of(run, {"fetch_{model}": 77})["fetch_{model}"] == 16 * 2
    assert "624 submissions that score, each for one model" in plan.outlook(run, 16, None, {"score_{model}": 4})


def test_a_training_takes_as_long_as_its_devices_allow(tmp_path):
    """12b on eight GPUs of 400e12 FLOP per second, activations recomputed: 100.5 days, however many GPUs there are."""
    path = tmp_path / "run.yaml"
    path.write_text(
        "suite: pythia\nmodels: [pythia-12b]\nsteps: last\ntasks: [lambada_openai]\ndevice: cuda\nfigures: []\n"
        "limits: {disk_gb: 100000, gpu_hours: 100000}\n"
    )
    run = load_run_file(path)
    days = 6 * 11_586_549_760 * 299_892_736_000 * 4 / 3 / 400e12 / 8 / 86_400
    assert days == pytest.approx(100.5, abs=0.1)
    assert plan.devices_of_training(run, run.models[0]) == 8
    for devices in (8, 64):
        assert plan.wall_hours(run, devices) / 24 == pytest.approx(days, rel=0.01)
    assert "1 GPUs are too few to train pythia-12b" in plan.outlook(run, 1, None)
    assert "too few" not in plan.outlook(run, 8, None)


def test_without_a_number_of_devices_those_of_this_machine_or_of_the_site_are_counted(root, monkeypatch, capsys):
    monkeypatch.setattr(plan.os, "sched_getaffinity", lambda _: {0, 1})
    assert cli.run(plan.main, []) == 0
    assert "on 2 cores, if all are available" in capsys.readouterr().out
    assert cli.run(plan.main, ["--config", "config/runs/suite.yaml"]) == 0
    assert "on 8 GPUs, if all are available" in capsys.readouterr().out
    assert cli.run(plan.main, ["--devices", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


def test_what_is_left_after_a_part_of_the_run(tmp_path, monkeypatch, root):
    """Checkpoints that have all their scores, and trainings as far as their checkpoints are there, are done."""
    run = load_run_file(plan.DEFAULT)
    (tmp_path / "config").symlink_to(root / "config")
    monkeypatch.chdir(tmp_path)
    assert plan.left_line(run, 2, None) == []
    whole = total_cost(run)
    model = run.models[0]
    for path in (*layout.checkpoint_scores(run, model.name, 0), layout.checkpoint_scores(run, model.name, 1)[0]):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("{}")
    half = tmp_path / layout.training_folder(model.name) / WORKING / "step300"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"")
    left = plan.left_of(run)
    assert left.checkpoints == whole.checkpoints - 1, "a checkpoint with half of its scores is scored again"
    assert whole.training_flops - left.training_flops == pytest.approx(model_cost(run, model).training_flops / 2)
    (line,) = plan.left_line(run, 2, 3.0)
    assert "1 of 48 checkpoints scored" in line
    assert "in money" in line


def test_the_table_of_requests_shows_the_sum(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(
        "suite: pythia\nmodels: [pythia-2.8b, pythia-12b]\nsteps: last\ntasks: [lambada_openai]\ndevice: cuda\n"
        "figures: []\nlimits: {disk_gb: 100000, gpu_hours: 1000000}\n"
    )
    assert cli.run(plan.main, ["--config", str(path)]) == 0
    told = capsys.readouterr().out
    assert "44.4 + 5.0 + 0.0 + 12.5 + 3.8 = 65.7" in told
    assert "= 43.1 (activations recomputed)" in told


def test_an_experiment_that_is_not_asked_for_never_stops_a_plan(root):
    run = load_run_file(plan.DEFAULT)
    run.settings["memorization"]["steps"] = [17]
    line = next(
        text for text in plan.experiments_table(run).splitlines() if text.startswith("memorization (not requested)")
    )
    assert "no checkpoint at step 17" in line


def test_plan_refuses_above_a_limit_and_names_the_key(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("limits: {disk_gb: 0.001}\n")
    assert cli.run(plan.main, ["--config", str(path)]) == 2
    outcome = capsys.readouterr()
    assert "limits.disk_gb" in outcome.err
    assert "total with data" in outcome.out


def test_doctor_never_shows_a_token(monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "s" * 30)
    assert cli.run(doctor.main, []) == 0
    outcome = capsys.readouterr()
    assert "present" in outcome.out
    assert "sss" not in outcome.out + outcome.err
