"""benchmarks/gpu.sh: a rehearsal on a CPU fills every part, and a part that cannot run says so in its place."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from workflow_scripts.evaluation.planning.prefix_trees import pack

# Rows that a rehearsal cannot fill, by how they begin; every other one has a value.
EMPTY = ("vLLM", "ours, flex", "stock lm_eval run")


@pytest.fixture(scope="module")
def benchmark(root):
    """The modules gpu and gpu_parts."""
    sys.path.insert(0, str(root / "benchmarks"))
    try:
        yield importlib.import_module("gpu"), importlib.import_module("gpu_parts")
    finally:
        sys.path.remove(str(root / "benchmarks"))


def run(root, *arguments, **environment):
    command = [str(root / "benchmarks" / "gpu.sh"), *map(str, arguments)]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_rehearsal_fills_every_part(root, tmp_path, benchmark):
    gpu, _ = benchmark
    output = tmp_path / "gpu.json"
    done = run(root, "--rehearse", "--output", output, "--work", tmp_path / "work")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text())
    assert report["schema"] == gpu.SCHEMA
    assert report["rehearsal"] is True
    assert report["requests"] == "made up"
    assert report["machine"]["device"] == "cpu"
    assert [part["name"] for part in report["parts"]] == list(gpu.PARTS)
    for part in report["parts"]:
        assert part["state"] == "done", part
        assert part["rows"], part["name"]
        for row in part["rows"]:
            empty = row["value"] is None
            expected = row["what"].startswith(EMPTY) or row["what"].endswith("most memory allocated")
            assert empty == expected, row
            assert row["what"] in done.stdout
    by_name = {part["name"]: {row["what"]: row["value"] for row in part["rows"]} for part in report["parts"]}
    for name in ("sdpa", "flex"):
        assert by_name["agreement"][f"scorer, {name}, float32: largest difference"] < 1e-4
    assert by_name["agreement"]["trainer, float32: largest difference of a loss"] == 0
    assert by_name["evaluation-70m"]["stock and ours, float32: largest difference"] < 1e-3
    assert by_name["ranks"]["ddp, gloo, two processes: largest difference of a loss"] < 1e-5
    assert by_name["ranks"]["fsdp, gloo, two processes: largest difference of a loss"] < 1e-5


def test_a_part_that_fails_or_lasts_too_long_does_not_end_the_others(benchmark, tmp_path, monkeypatch):
    gpu, _ = benchmark
    program = tmp_path / "gpu_parts.py"
    program.write_text(
        "import json, sys, time\n"
        "rows = open(sys.argv[sys.argv.index('--rows') + 1], 'a')\n"
        "rows.write(''.join(json.dumps({'what': 'a', 'value': value}) + chr(10) for value in (1, 2)))\n"
        "rows.write('{' + chr(34) + 'what')\n"
        "rows.close()\n"
        "if sys.argv[1] == 'start':\n    raise ValueError('no such thing')\n"
        "if sys.argv[1] == 'ranks':\n    time.sleep(60)\n"
    )
    monkeypatch.setattr(gpu, "__file__", str(tmp_path / "gpu.py"))
    options = gpu.parse(["--rehearse"])
    parts = {name: gpu.Part(name, "") for name in ("set-up", "start", "ranks")}
    for part in parts.values():
        gpu.run_part(part, tmp_path, options, 3.0)
        assert part.rows == [{"what": "a", "value": 2}]  # written twice, then cut off in the middle
    assert [part.state for part in parts.values()] == ["done", "failed", "timed out"]
    assert parts["start"].reason == "ValueError: no such thing"
    assert parts["ranks"].seconds < 10


def test_what_is_missing_is_one_line(root, tmp_path):
    done = run(root, "--rehearse", PYTHON=str(tmp_path / "python"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "make setup" in done.stderr
    done = run(root, "--output", tmp_path / "gpu.json", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert done.stderr.startswith("error: torch")
    assert "--rehearse" in done.stderr
    done = run(root, "--rehearse", "--data-dir", tmp_path)
    assert done.returncode == 2
    assert "--data-dir and --tokenizer go together" in done.stderr


def test_requests_of_a_plan_are_what_was_packed(benchmark, tmp_path):
    _, parts = benchmark
    made = parts.make_up(parts.ZERO_SHOT, 1e-3, 500, 128, 1 / 16)
    plan = type("Plan", (), {"forest": pack(made)})
    tokens = parts.requests_of(plan, tmp_path / "requests.npz")
    with np.load(tmp_path / "requests.npz") as file:
        bounds, lines = file["bounds"], file["lines"]
        assert len(lines) == len(made)
        for number, sequence in enumerate(made):
            assert file["tokens"][bounds[number] : bounds[number + 1]].tolist() == sequence.tokens.tolist()
            assert lines[number] - bounds[number] == sequence.start + 1
    assert tokens == sum(len(sequence.tokens) - 1 for sequence in made)


def test_made_up_documents_are_as_long_as_the_real_ones(benchmark):
    _, parts = benchmark
    made = parts.make_up({"mmlu": parts.ZERO_SHOT["mmlu"]}, 0.1, 50254, 2048, 1.0)
    assert len(made) == 4 * 1404
    contexts = [sequence.start + 1 for sequence in made]
    assert np.mean(contexts) == pytest.approx(122.7, rel=0.05)
    assert np.log(contexts).std() == pytest.approx(0.57, rel=0.1)


def test_peaks_are_those_of_the_device(benchmark):
    gpu, _ = benchmark
    assert gpu.peaks_of("NVIDIA H200")["bfloat16"] == 989e12
    assert gpu.peaks_of("NVIDIA A100-SXM4-80GB")["float32"] == 19.5e12
    assert gpu.peaks_of("NVIDIA H100 PCIe")["bfloat16"] == 756e12
    assert gpu.peaks_of("Tesla T4") is None
