"""One, two and four processes, replicated and sharded: the same loss curve; checkpoints know nothing of it."""

from __future__ import annotations

import dataclasses
import socket
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_runs import Bench

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, DataError, ModelError
from workflow_scripts.training import retrain
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run import processes, sharded_state, warm_start
from workflow_scripts.training.run.finished_files import WORKING


def same_bits(folder: Path, other: Path) -> bool:
    return (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_all_ways_give_the_same_curve(recipe: Recipe, tmp_path: Path) -> None:
    """Tolerance 1e-5 relative on losses and norms of 10 steps, for whole runs and for those that change their size.

    Sizes: 4 -> 2 -> 1 and 1 -> 2, replicated and sharded, and from one of these to the other. A run that is stopped
    and goes on with as many processes ends in the bits of the whole run.
    """
    short = dataclasses.replace(recipe, train_iterations=10, lr_decay_iterations=10, checkpoint_steps=(5, 10))
    bench = Bench(tmp_path, short)
    ddp, fsdp, half = ("--parallel", "ddp"), ("--parallel", "fsdp"), ("--stop-at", "5")
    keep = ("--keep-optimizer", "10")
    retrain.main(bench.command("one", *keep))
    for run in ("ddp12", "fsdp12"):
        retrain.main(bench.command(run, *half))
    ways = {"ddp": ddp, "fsdp": fsdp}
    four = bench.together(
        4,
        *(bench.command(f"{name}4", *way, *keep) for name, way in ways.items()),
        *(bench.command(f"{name}44", *way, *more) for name, way in ways.items() for more in (half, ())),
        *(bench.command(f"{name}421", *way, "--stop-at", "3") for name, way in ways.items()),
        bench.command("moved", *fsdp, *half),
    )
    assert four.returncode == 0, four.stderr
    assert sorted(path.name for path in (tmp_path / "moved" / WORKING / "step5" / "optimizer").iterdir()) == [
        f"shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2, 3, 4)
    ]
    two = bench.together(
        2,
        *(bench.command(f"{name}2", *way) for name, way in ways.items()),
        *(bench.command(f"{name}12", *way) for name, way in ways.items()),
        *(bench.command(f"{name}421", *way, "--stop-at", "7") for name, way in ways.items()),
        *(bench.command(f"{name}2-recomputed", *way, "--recompute-activations") for name, way in ways.items()),
        bench.command("moved", *ddp),
    )
    assert two.returncode == 0, two.stderr
    for name in ways:
        retrain.main(bench.command(f"{name}421"))
        assert same_bits(tmp_path / f"{name}2-recomputed" / "step10", tmp_path / f"{name}2" / "step10"), name
        assert same_bits(tmp_path / f"{name}44" / "step10", tmp_path / f"{name}4" / "step10"), name
        assert bench.curve(f"{name}44").tolist() == bench.curve(f"{name}4").tolist(), name
    for run in ("ddp4", "fsdp4", "ddp2", "fsdp2", "ddp12", "fsdp12", "ddp421", "fsdp421", "moved"):
        assert bench.curve(run) == pytest.approx(bench.curve("one"), rel=1e-5), run
    assert (tmp_path / "fsdp4" / "run.json").is_file()
    whole = load_file(tmp_path / "one" / "step10" / "optimizer.safetensors")
    assert not (tmp_path / "fsdp4" / "step10" / "optimizer").exists()
    joined = warm_start.read_moments(tmp_path / "fsdp4" / "step10")
    pieces = warm_start.read_moments(tmp_path / "fsdp4" / WORKING / "step10")
    assert joined.keys() == pieces.keys()
    assert all(torch.equal(joined[name], pieces[name]) for name in pieces)
    assert {name: tensor.shape for name, tensor in whole.items() if "random" not in name} == {
        name: tensor.shape for name, tensor in pieces.items()
    }
    for name, tensor in pieces.items():
        assert torch.allclose(tensor, whole[name], rtol=1e-3, atol=1e-9), name
    check_damage(bench, tmp_path / "fsdp4" / WORKING / "step10")


def check_damage(bench: Bench, folder: Path) -> None:
    """Pieces that are cut short, of another model, or gone, are one line; so is a pickle in their place."""
    piece = next((folder / "optimizer").iterdir())
    content = piece.read_bytes()
    piece.write_bytes(content[:40])
    with pytest.raises(DataError, match="not whole safetensors files"):
        warm_start.read_moments(folder)
    piece.write_bytes(b"\x80\x04cposix\nsystem\n")
    with pytest.raises(DataError, match="not whole safetensors files"):
        warm_start.read_moments(folder)
    piece.write_bytes(content)
    with pytest.raises(ModelError, match="tensor exp_avg/nothing is missing"):
        sharded_state.load_pieces(folder / "optimizer", {"exp_avg/nothing": torch.zeros(3)})
    with pytest.raises(ModelError, match=r"embed_in.weight has shape \(96, 32\), not \(3,\)"):
        sharded_state.load_pieces(folder / "optimizer", {"exp_avg/gpt_neox.embed_in.weight": torch.zeros(3)})


def test_torchrun_and_options_must_fit(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, recipe)
    assert cli.run(retrain.main, bench.command("x", "--parallel", "ddp")) == cli.USER_ERROR
    assert "needs torchrun" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.run(retrain.main, bench.command("x")) == cli.USER_ERROR
    assert "torchrun started 2 processes" in capsys.readouterr().err


def test_the_group_outlives_its_last_collective(monkeypatch: pytest.MonkeyPatch) -> None:
    """DDP as the last owner of a group of processes waits for a thread that waits for DDP's thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    held: list[object] = []
    monkeypatch.setattr(processes.atexit, "register", lambda function, *arguments: held.extend(arguments))
    with processes.joined("ddp", "cpu"):
        group = torch.distributed.group.WORLD
    assert group is not None
    assert held == [group]
    assert not torch.distributed.is_initialized()


def test_a_device_or_precision_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch sees no CUDA device"):
        processes.chosen_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old card")
    with pytest.raises(ConfigError, match="an old card lacks it"):
        processes.check_dtype("bfloat16", torch.device("cuda"))
    processes.check_dtype("float16", torch.device("cuda"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match="no no-such-compiler here"):
        processes.check_compiler(torch.device("cpu"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", sys.executable)
    processes.check_compiler(torch.device("cuda"))  # Triton wants one for C
    monkeypatch.delenv("CC")
    with pytest.raises(ConfigError, match="no gcc or clang here; install a C compiler"):
        processes.check_compiler(torch.device("cuda"))


def test_sharded_gradients_are_reduced_in_every_micro_batch() -> None:
    """FSDP2 keeps whole gradients in each process while it is told not to; nobody tells it."""

    class Sharded(torch.nn.Module):
        def set_requires_gradient_sync(self, _on: bool) -> None:
            raise AssertionError("gradients would be whole")

    with processes.last_only(Sharded(), False):
        pass
