"""Short lists of targets: whatever is gone, the job that makes it is asked for."""

from itertools import product
from pathlib import Path

from workflow_scripts.workflow.planning_process import last_and_gone


def test_a_job_is_asked_for_exactly_when_one_of_its_files_is_gone(tmp_path):
    names = ["config.json", "model.safetensors", "fetched.json"]
    for present in product([True, False], repeat=3):
        folder = tmp_path / "-".join(map(str, present))
        files = [f"{folder}/{name}" for name in names]
        folder.mkdir()
        for path, here in zip(files, present, strict=True):
            if here:
                Path(path).touch()
        named = last_and_gone([files])
        assert named[-1] == files[-1]
        assert all(map(Path.exists, map(Path, named))) == all(present)
        if present[-1]:
            assert named[:-1] == [path for path in files if not Path(path).exists()]


def test_one_file_stands_for_each_job_of_which_nothing_is_there(tmp_path):
    jobs = [[f"{tmp_path}/step{step}/{name}" for name in ("a", "b")] for step in range(3)]
    assert last_and_gone(jobs) == [f"{tmp_path}/step{step}/b" for step in range(3)]
    assert last_and_gone([]) == []
