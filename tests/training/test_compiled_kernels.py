"""Compiled kernels: the curve of the eager ones, alone and on two processes, in float32 and bfloat16; exact resume."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from training_runs import Bench, digest

from workflow_scripts.training import retrain
from workflow_scripts.training.recipe import Recipe, read_recipe
from workflow_scripts.training.run.checkpoint import STATE, RunState, step_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++"),
]
COMPILED, HALF = ("--kernels", "compiled"), ("--stop-at", "4")


@pytest.fixture(scope="module", autouse=True)
def _compiler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled code, and the compiler's headers, are kept for this file and no longer: seven seconds a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
        yield


@pytest.fixture
def bench(recipe: Recipe, tmp_path: Path) -> Bench:
    """Eight steps, a checkpoint in the middle."""
    short = dataclasses.replace(recipe, train_iterations=8, lr_decay_iterations=8, checkpoint_steps=(4, 8))
    return Bench(tmp_path, short)


def test_compiled_kernels_give_the_same_curve_alone_replicated_and_sharded(bench: Bench, tmp_path: Path) -> None:
    """Losses and norms of 8 float32 steps within 1e-5 of the eager run of one process.

    Alone; DDP and FSDP2 with two; stopped on two, replicated, and going on sharded..
    """
    alone = bench.together(1, bench.command("eager"), bench.command("alone", *COMPILED))
    assert alone.returncode == 0, alone.stderr
    assert bench.compiled("eager") == [0]
    ddp, fsdp = ("--parallel", "ddp", *COMPILED), ("--parallel", "fsdp", *COMPILED)
    two = bench.together(
        2,
        bench.command("ddp", *ddp),
        bench.command("fsdp", *fsdp),
        bench.command("recomputed", *fsdp, "--recompute-activations"),
        bench.command("moved", *ddp, *HALF),
        bench.command("moved", *fsdp),
    )
    assert two.returncode == 0, two.stderr
    assert digest(tmp_path / "recomputed", 8) == digest(tmp_path / "fsdp", 8)
    for run in ("alone", "ddp", "fsdp", "moved"):
        assert bench.curve(run) == pytest.approx(bench.curve("eager"), rel=1e-5), run
        assert min(bench.compiled(run)) > 0, f"{run} was not compiled"
        assert RunState.read(step_folder(tmp_path / run, 8) / STATE).kernels == "compiled"


def test_compiled_bfloat16_follows_the_eager_one_and_goes_on_to_the_same_bits(bench: Bench, tmp_path: Path) -> None:
    """Losses of 8 steps within 5e-4 of eager bfloat16, norms within 5e-3; a number of bfloat16 is rounded by 4e-3.

    The run that stops half way goes on in another process, and ends in the bits of the one that does not stop.
    """
    half_precision = dataclasses.replace(read_recipe(str(bench.recipe)), compute_dtype="bfloat16")
    bench.recipe.write_text(json.dumps(half_precision.to_json()))
    retrain.main(bench.command("eager"))
    first = [bench.command("parts", *COMPILED, *HALF), bench.command("whole", *COMPILED)]
    for commands in (first, [bench.command("parts", *COMPILED)]):
        done = bench.together(1, *commands)
        assert done.returncode == 0, done.stderr
    seen, wanted = bench.curve("whole"), bench.curve("eager")
    assert seen[:, 2] == pytest.approx(wanted[:, 2], rel=5e-4)
    assert seen[:, 3] == pytest.approx(wanted[:, 3], rel=5e-3)
    assert min(bench.compiled("whole") + bench.compiled("parts")) > 0, "it was not compiled"
    assert digest(tmp_path / "parts", 8) == digest(tmp_path / "whole", 8)
    assert bench.curve("parts").tolist() == seen.tolist()
