"""Links for profiles and what is done before a killed run's lock is removed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import StorageError
from workflow_scripts.workflow.cluster import slurm_answers
from workflow_scripts.workflow.tools import link_profiles, unlock


def test_linking_twice_changes_nothing_and_names_every_profile(root, tmp_path):
    lines = list(link_profiles.link_all(root, tmp_path))
    assert {line.split(": ")[1] for line in lines} == {"linked"}
    assert {path.name for path in tmp_path.iterdir()} == {"local", "slurm", "slurm-offline", "kubernetes"}
    assert (tmp_path / "slurm" / "profile.v9+.yaml").is_file()
    assert list(link_profiles.link_all(root, tmp_path)) == []


def test_what_somebody_else_made_is_left_alone(root, tmp_path):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "local").symlink_to(tmp_path / "elsewhere")
    lines = "\n".join(link_profiles.link_all(root, tmp_path))
    assert f"{tmp_path / 'slurm'}: not created by this project" in lines
    assert f"{tmp_path / 'local'}: not created by this project" in lines
    assert (tmp_path / "slurm").is_dir()
    assert (tmp_path / "local").resolve() == tmp_path / "elsewhere"


def test_a_link_of_another_checkout_or_to_nothing_is_turned(root, tmp_path):
    other = tmp_path / "other"
    (other / "profiles" / "slurm").mkdir(parents=True)
    (other / "workflow_scripts" / "suite").mkdir(parents=True)
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "slurm").symlink_to(other / "profiles" / "slurm")
    (folder / "local").symlink_to(tmp_path / "gone")
    lines = list(link_profiles.link_all(root, folder))
    assert sum("turned to this checkout" in line for line in lines) == 2
    assert (folder / "slurm").resolve() == root / "profiles" / "slurm"


def test_an_unwritable_place_is_one_line(root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="workflow-profile"):
        list(link_profiles.link_all(root, tmp_path / "file"))


def process(folder, number, place, *words):
    (folder / number).mkdir(parents=True)
    (folder / number / "cmdline").write_bytes(b"\0".join(word.encode() for word in words))
    (folder / number / "cwd").symlink_to(place)


def test_a_living_run_is_told_from_jobs_and_strangers(tmp_path):
    place, processes = tmp_path / "place", tmp_path / "proc"
    process(processes, "10", place, "python", "-m", "snakemake", "--target-jobs", "work:")
    process(processes, "11", tmp_path, "python", "-m", "snakemake")
    process(processes, "12", place, "vim", "snakemake.txt")
    process(processes, "14", place, "python", "-m", "snakemake", "-n")
    assert unlock.living_run(place, processes) == ""
    (processes / "15").mkdir()  # ended between the list and the look
    process(processes, "13", place, "/env/bin/python", "/env/bin/snakemake", "-c2")
    assert unlock.living_run(place, processes) == "13"
    with pytest.raises(StorageError, match=r"a run is active here .process 13 on"):
        unlock.refuse_while_alive(place, processes)
    unlock.refuse_while_alive(tmp_path / "other", processes)


def test_only_unfinished_jobs_of_this_folder_are_ours(tmp_path):
    lines = [
        f"1|pythia_ab|RUNNING|{tmp_path}",
        f"2|pythia_ab|PENDING|{tmp_path}",
        f"3|pythia_ab|COMPLETED|{tmp_path}",
        f"4|other|RUNNING|{tmp_path}",
        f"5|pythia_ab|RUNNING|{tmp_path}/below",
    ]
    assert [job.number for job in unlock.read_queue("\n".join(lines), tmp_path)] == ["1", "2"]


@pytest.mark.parametrize("other", ["", "CLUSTER: alpha", "slurm_load_jobs error", "x|pythia_ab|RUNNING|{}", "6|a|b"])
def test_lines_that_are_no_jobs_are_passed_over(other, tmp_path):
    """squeue puts an empty line between the clusters of SLURM_CLUSTERS, and older releases a heading."""
    job = f"1|pythia_ab|RUNNING|{tmp_path}"
    text = f"{job}\n{other.format(tmp_path)}\n{job}\n"
    assert [job.number for job in unlock.read_queue(text, tmp_path)] == ["1", "1"]


def test_a_job_whose_folder_is_named_through_a_link_is_ours(tmp_path):
    folder = tmp_path / "real"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    text = f"1|pythia_ab|RUNNING|{tmp_path}/link\n2|pythia_ab|RUNNING|{tmp_path}/gone\n"
    assert [job.number for job in unlock.read_queue(text, folder)] == ["1"]
    assert [job.number for job in unlock.read_queue(text, tmp_path / "link")] == ["1"]


@pytest.mark.parametrize("state", ["BOOT_FAIL", "DEADLINE", "LAUNCH_FAILED", "RECONFIG_FAIL", "REVOKED"])
def test_a_job_that_ended_in_a_rare_way_is_not_waited_for(state, tmp_path):
    assert unlock.read_queue(f"1|pythia_ab|{state}|{tmp_path}\n", tmp_path) == []


@given(st.text())
def test_no_text_of_squeue_is_a_traceback(text):
    assert unlock.read_queue(text, Path("/none/such")) == []


def test_without_slurm_there_are_no_jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert unlock.queued(tmp_path) == []
    assert unlock.end_jobs(tmp_path) == 0


def test_a_queue_that_does_not_answer_stops_the_unlocking_where_jobs_went_to_a_cluster(tmp_path, monkeypatch):
    (tmp_path / "squeue").write_text("#!/bin/sh\necho no controller >&2\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert unlock.queued(tmp_path) == []
    (tmp_path / unlock.SLURM_LOGS).mkdir(parents=True)
    with pytest.raises(StorageError, match="no controller"):
        unlock.queued(tmp_path)


def test_a_queue_that_hangs_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "squeue").write_text("#!/bin/sh\nexec sleep 30\n")
    (tmp_path / "squeue").chmod(0o755)
    (tmp_path / unlock.SLURM_LOGS).mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(slurm_answers, "LONGEST_ANSWER", 0.2)
    with pytest.raises(StorageError, match=r"squeue failed \(no answer within 0.2 s\)"):
        unlock.queued(tmp_path)


def test_a_program_that_outlived_its_run_is_named(tmp_path):
    place, processes = tmp_path / "place", tmp_path / "proc"
    process(processes, "20", place, "python", "-m", "workflow_scripts.workflow.tools.unlock")
    process(processes, "21", tmp_path, "python", "-m", "workflow_scripts.training.retrain")
    process(processes, "22", place, "python", "-m", "workflow_scripts.training.retrain")
    process(processes, "23", place, "vim", "workflow_scripts.training.retrain")
    (processes / "20" / "environ").write_bytes(b"")
    (processes / "21" / "environ").write_bytes(b"")
    (processes / "22" / "environ").write_bytes(b"HOME=/\0SLURM_JOB_ID=7\0")  # ended with its job
    (processes / "23" / "environ").write_bytes(b"")
    assert unlock.living_program(place, processes) == ""
    unlock.refuse_while_alive(place, processes)
    process(processes, "24", place, "python", "-u", "-m", "torch.distributed.run", "--module",
            "workflow_scripts.training.retrain")  # fmt: skip
    (processes / "24" / "environ").write_bytes(b"HOME=/\0")
    with pytest.raises(StorageError, match=r"active here .process 24, workflow_scripts\.training\.retrain, on"):
        unlock.refuse_while_alive(place, processes)
