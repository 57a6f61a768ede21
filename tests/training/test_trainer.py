"""The trainer against an independent loop, and against itself: rerun, stop, kill, other portions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from training_runs import ArrayRows, digest, make_rows, make_trainer, timeless, train
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from workflow_scripts.errors import ConfigError, DataError, ModelError
from workflow_scripts.training.publish import model_config
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.checkpoint import RunState
from workflow_scripts.training.run.initialisation import initialise
from workflow_scripts.training.run.model import GPTNeoX
from workflow_scripts.training.run.optimizer import build_optimizer, clip_gradients, has_decay
from workflow_scripts.training.run.schedule import learning_rate
from workflow_scripts.training.run.starting_point import begin, fresh_state
from workflow_scripts.training.run.trainer import Objective
from workflow_scripts.training.run.training_log import read_metrics
from workflow_scripts.training.run.training_rows import check_source, micro_batch_rows


def independent_losses(recipe: Recipe, rows: ArrayRows, start: dict[str, torch.Tensor]) -> list[float]:
    """Losses of transformers' model trained with torch's AdamW (for-loop form) and torch's clipping."""
    settings = {**model_config(recipe, "float32"), "hidden_act": "gelu_pytorch_tanh"}
    net = GPTNeoXForCausalLM(GPTNeoXConfig(**settings, attn_implementation="eager"))
    head = "lm_head.weight" if "lm_head.weight" in net.state_dict() else "embed_out.weight"
    net.load_state_dict({head if name == "embed_out.weight" else name: value for name, value in start.items()})
    norms = {id(p) for m in net.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
    plain = [p for n, p in net.named_parameters() if id(p) in norms or n.endswith(".bias")]
    decayed = [p for n, p in net.named_parameters() if id(p) not in norms and not n.endswith(".bias")]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-8, foreach=False)
    losses = []
    for iteration in range(recipe.train_iterations):
        tokens = torch.from_numpy(rows.tokens[iteration * 8 : iteration * 8 + 8].astype(np.int64))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, iteration)
        logits = net(tokens[:, :-1]).logits
        loss = nn.functional.cross_entropy(logits.reshape(-1, recipe.vocab_size), tokens[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_twenty_steps_equal_transformers_and_torch(recipe: Recipe, rows: ArrayRows, tmp_path: Path) -> None:
    train(recipe, rows, tmp_path)
    ours = [line["loss"] for line in read_metrics(tmp_path / "metrics.csv")]
    theirs = independent_losses(recipe, rows, load_file(tmp_path / "step0" / "model.safetensors"))
    assert len(ours) == 20
    assert ours[-1] < ours[0] - 0.5
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_step_1_has_the_weights_of_step_0(recipe: Recipe, rows: ArrayRows, tmp_path: Path) -> None:
    train(recipe, rows, tmp_path, stop_at=2)
    assert digest(tmp_path, 1) == digest(tmp_path, 0)
    assert digest(tmp_path, 2) != digest(tmp_path, 1)


def test_the_newest_schedule_moves_in_the_first_step(
    variant: Callable[..., Recipe], rows: ArrayRows, tmp_path: Path
) -> None:
    train(variant(lr_schedule="neox_2026_05"), rows, tmp_path, stop_at=1)
    assert digest(tmp_path, 1) != digest(tmp_path, 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rerun_gives_the_same_bits(variant: Callable[..., Recipe], rows: ArrayRows, tmp_path: Path, dtype: str) -> None:
    recipe = variant(compute_dtype=dtype)
    for name in ("a", "b"):
        train(recipe, rows, tmp_path / name)
    assert [digest(tmp_path / "a", s) for s in (0, 8, 20)] == [digest(tmp_path / "b", s) for s in (0, 8, 20)]
    assert timeless(tmp_path / "a") == timeless(tmp_path / "b")


@pytest.mark.parametrize("stops", [(1,), (7,), (8, 9), (3, 4, 19)])
def test_stop_and_resume_gives_the_same_bits(
    recipe: Recipe, rows: ArrayRows, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    train(recipe, rows, tmp_path / "whole")
    for stop in (*stops, 20):
        train(recipe, rows, tmp_path / "parts", stop_at=stop)
    grid = recipe.checkpoint_steps
    assert checkpoint.saved_steps(tmp_path / "parts") == list(grid)
    assert [digest(tmp_path / "parts", s) for s in grid] == [digest(tmp_path / "whole", s) for s in grid]
    assert timeless(tmp_path / "parts") == timeless(tmp_path / "whole")


def test_a_request_to_stop_writes_a_checkpoint(recipe: Recipe, rows: ArrayRows, tmp_path: Path) -> None:
    asked = iter([False] * 5 + [True])
    state = make_trainer(recipe, rows, tmp_path).run(lambda: next(asked))
    assert state.step == 5
    assert checkpoint.saved_steps(tmp_path) == [0, 1, 2, 4, 5]
    assert checkpoint.resumable_step(tmp_path) == 5


def test_only_the_newest_and_the_kept_steps_hold_moments(recipe: Recipe, rows: ArrayRows, tmp_path: Path) -> None:
    train(recipe, rows, tmp_path, keep=(4,))
    holding = [s for s in recipe.checkpoint_steps if (tmp_path / f"step{s}" / "optimizer.safetensors").exists()]
    assert holding == [4], "nothing continues from the last step"
    train(recipe, rows, tmp_path / "all", keep=(4, 20))
    holding = [s for s in recipe.checkpoint_steps if (tmp_path / "all" / f"step{s}" / "optimizer.safetensors").exists()]
    assert holding == [4, 20]


def test_resume_may_start_from_a_kept_step(recipe: Recipe, rows: ArrayRows, tmp_path: Path) -> None:
    train(recipe, rows, tmp_path, keep=(4,))
    last = digest(tmp_path, 20)
    for step in (8, 16, 20):
        for path in (tmp_path / f"step{step}").iterdir():
            path.unlink()
        (tmp_path / f"step{step}").rmdir()
    trainer = make_trainer(recipe, rows, tmp_path)
    assert trainer.state.step == 4
    trainer.run()
    assert digest(tmp_path, 20) == last


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_portions_change_only_last_bits(recipe: Recipe, rows: ArrayRows, tmp_path: Path, micro_batch: int) -> None:
    """Tolerance 1e-5 relative on the losses of 20 steps."""
    train(recipe, rows, tmp_path / "whole")
    train(recipe, rows, tmp_path / "parts", micro_batch=micro_batch)
    whole, parts = timeless(tmp_path / "whole"), timeless(tmp_path / "parts")
    assert np.array(parts) == pytest.approx(np.array(whole), rel=1e-5)


def test_metrics_are_consistent(recipe: Recipe, rows: ArrayRows, tmp_path: Path) -> None:
    train(recipe, rows, tmp_path)
    lines = read_metrics(tmp_path / "metrics.csv")
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert lines[-1]["tokens"] == 20 * 8 * 16
    assert [line["learning_rate"] for line in lines] == pytest.approx([learning_rate(recipe, n) for n in range(20)])
    assert all(line["tokens_per_second"] > 0 for line in lines)


def test_half_precision_scales_the_loss_and_records_skipped_steps(
    variant: Callable[..., Recipe], rows: ArrayRows, tmp_path: Path
) -> None:
    recipe = variant(compute_dtype="float16")
    trainer = make_trainer(recipe, rows, tmp_path)
    enormous = dataclasses.replace(trainer.state.loss_scale, scale=2.0**26, hysteresis=1)
    trainer.state = dataclasses.replace(trainer.state, loss_scale=enormous)
    before = trainer.model.embed_out.weight.detach().clone()
    first = trainer.iterate()
    assert first.skipped
    assert torch.equal(before, trainer.model.embed_out.weight)
    assert (trainer.state.step, trainer.state.steps_taken, trainer.state.skipped_steps) == (1, 0, (1,))
    assert trainer.state.loss_scale.scale == 2.0**25
    state = trainer.run()
    assert state.steps_taken == state.step - len(state.skipped_steps)
    lines = read_metrics(tmp_path / "metrics.csv")
    taken = [line for line in lines if not line["skipped"]]
    assert taken[0]["learning_rate"] == 0.0
    assert RunState.read(tmp_path / "step20" / "state.json") == state


def test_half_precision_learns_like_single_precision(
    variant: Callable[..., Recipe], recipe: Recipe, rows: ArrayRows, tmp_path: Path
) -> None:
    for dtype in ("float32", "float16", "bfloat16"):
        train(variant(compute_dtype=dtype), rows, tmp_path / dtype)
    losses = {d: [line[2] for line in timeless(tmp_path / d)] for d in ("float32", "float16", "bfloat16")}
    assert losses["float16"] == pytest.approx(losses["float32"], rel=2e-3)
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=1e-2)


def test_divergence_is_told_and_not_saved(variant: Callable[..., Recipe], rows: ArrayRows, tmp_path: Path) -> None:
    trainer = make_trainer(variant(), rows, tmp_path, stop_at=4)
    with torch.no_grad():
        trainer.model.embed_out.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="step 1: loss is nan"):
        trainer.run()
    assert checkpoint.saved_steps(tmp_path) == [0]


def test_another_recipe_is_refused_by_name(
    recipe: Recipe, variant: Callable[..., Recipe], rows: ArrayRows, tmp_path: Path
) -> None:
    train(recipe, rows, tmp_path, stop_at=4)
    with pytest.raises(ModelError, match=r"step4 belongs to another run \(recipe: learning_rate: 0.004 -> 0.005\)"):
        train(variant(learning_rate=0.005), rows, tmp_path)
    with pytest.raises(ModelError, match="data fingerprint"):
        train(recipe, make_rows(recipe, seed=9), tmp_path)


def test_another_recipe_starts_over_when_asked(
    recipe: Recipe, variant: Callable[..., Recipe], rows: ArrayRows, tmp_path: Path
) -> None:
    train(recipe, rows, tmp_path, stop_at=4)
    other = variant(learning_rate=0.005)
    model = GPTNeoX(other)
    state = begin(
        tmp_path,
        fresh_state(other, rows.fingerprint, 1, 8),
        other,
        model=model,
        optimizer=build_optimizer(model, other),
        when_different="restart",
    )
    assert state.step == 0
    assert checkpoint.saved_steps(tmp_path) == []


def test_a_new_grid_is_no_new_run(
    recipe: Recipe, variant: Callable[..., Recipe], rows: ArrayRows, tmp_path: Path
) -> None:
    train(recipe, rows, tmp_path, stop_at=4)
    train(variant(checkpoint_steps=(0, 1, 2, 4, 10, 20)), rows, tmp_path)
    assert checkpoint.saved_steps(tmp_path) == [0, 1, 2, 4, 10, 20]


def test_a_token_outside_the_vocabulary_is_named_before_the_first_step(recipe: Recipe, rows: ArrayRows) -> None:
    rows.tokens[100, 7] = 96
    with pytest.raises(DataError, match="row 100, position 7: token 96 is outside the vocabulary of 96"):
        check_source(rows, recipe, 0, 20)
    check_source(rows, recipe, 0, 12)  # iterations that do not see it


def test_too_few_rows_and_rows_of_another_length_are_refused(recipe: Recipe, rows: ArrayRows) -> None:
    with pytest.raises(DataError, match="hold 159 rows in training order and iteration 20 needs 160"):
        check_source(ArrayRows(rows.tokens[:-1]), recipe, 0, 20)
    with pytest.raises(DataError, match="rows have 16 tokens"):
        check_source(ArrayRows(rows.tokens[:, :-1]), recipe, 0, 20)


def test_portions_that_do_not_divide_are_refused(recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match="--micro-batch 3 does not divide the 8 rows"):
        micro_batch_rows(recipe, 3)
    with pytest.raises(ConfigError, match="cannot be divided among 3 processes"):
        micro_batch_rows(recipe, None, processes=3)
    assert micro_batch_rows(recipe, None) == 8
    assert micro_batch_rows(dataclasses.replace(recipe, sequence_length=2048, batch_rows=1024), None) == 2


def test_decay_groups(recipe: Recipe) -> None:
    names = [name for name, _ in GPTNeoX(recipe).named_parameters()]
    decayed = {name for name in names if has_decay(name)}
    assert all(name.endswith("weight") and "norm" not in name for name in decayed)
    assert {"gpt_neox.embed_in.weight", "embed_out.weight"} <= decayed
    assert len(names) - len(decayed) == 2 * (4 + 4) + 2


def test_clipping_follows_deepspeed() -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert clip_gradients(gradients, 1.0).item() == 5.0
    assert gradients[0][0].item() == pytest.approx(3 / (5 + 1e-6), rel=1e-6)
    small = [torch.tensor([0.3, 0.4])]
    assert clip_gradients(small, 1.0).item() == pytest.approx(0.5)
    assert small[0].tolist() == pytest.approx([0.3, 0.4])
    scaled = [torch.tensor([30.0, 40.0])]
    assert clip_gradients(scaled, 1.0, divisor=100.0).item() == pytest.approx(0.5)
    assert scaled[0].tolist() == pytest.approx([0.3, 0.4])


@pytest.mark.parametrize("damage", ["ahead", "gone"])
def test_metrics_go_on_from_the_checkpoint_whatever_became_of_the_file(
    recipe: Recipe, rows: ArrayRows, tmp_path: Path, damage: str
) -> None:
    """A killed run may have written lines of iterations that are run again; a workflow may have deleted the file."""
    train(recipe, rows, tmp_path / "whole")
    train(recipe, rows, tmp_path / "parts", stop_at=8)
    metrics = tmp_path / "parts" / "metrics.csv"
    if damage == "ahead":
        metrics.write_text(metrics.read_text() + "9,1152,4.4,1,0.001,1,1,1,0\n")
    else:
        metrics.unlink()
    train(recipe, rows, tmp_path / "parts")
    assert timeless(tmp_path / "parts") == timeless(tmp_path / "whole")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_recomputed_activations_give_the_same_bits_from_less_memory(variant: Callable[..., Recipe], dtype: str) -> None:
    """Loss and every gradient; what autograd saves for two layers is less than their activations."""
    recipe = variant(compute_dtype=dtype, rotary_precision=dtype)
    tokens = torch.from_numpy(make_rows(recipe).rows(0, 8).astype(np.int64))
    outcomes, saved = [], []
    for recompute in (False, True):
        model = GPTNeoX(recipe, recompute=recompute)
        initialise(model, recipe)
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor, kept: dict[int, Tensor] = kept) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = Objective(model, recipe)(tokens[:, :-1], tokens[:, 1:])
        saved.append(sum(tensor.untyped_storage().nbytes() for tensor in kept.values()))
        loss.backward()
        outcomes.append([loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert all(torch.equal(one, other) for one, other in zip(*outcomes, strict=True))
    assert saved[1] < 0.6 * saved[0]
