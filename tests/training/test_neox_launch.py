"""What the original is given and how it is started: names and contents of its maps, its checkpoint, its refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_runs import write_data

from workflow_scripts import cli
from workflow_scripts.dataset import build_index_maps
from workflow_scripts.training import launch_neox, prepare_neox
from workflow_scripts.training.convert import neox_to_hugging_face
from workflow_scripts.training.neox.neox_files import load
from workflow_scripts.training.neox_config import recipe_from_config
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run.initialisation import initialise
from workflow_scripts.training.run.model import GPTNeoX


class Prepared:
    """A data set with its maps, and the program that prepares a launch on it."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        write_data(folder)
        self.joined, self.maps = folder / "text_document", folder / "maps"
        self.build(recipe)
        self.tokenizer = folder / "tokenizer.json"
        self.tokenizer.write_text("{}")
        self.output = folder / "neox"

    def build(self, recipe: Recipe) -> None:
        numbers = {
            "--seq-length": recipe.sequence_length,
            "--seed": recipe.data_seed,
            "--train-iters": recipe.train_iterations,
            "--batch-size": recipe.batch_rows,
        }
        arguments = ["--prefix", str(self.joined), *(str(x) for pair in numbers.items() for x in pair)]
        build_index_maps.main([*arguments, "--output-dir", str(self.maps)])

    def arguments(self, *more: str) -> list[str]:
        return [
            *("--recipe", json.dumps(self.recipe.to_json()), "--joined", str(self.joined)),
            *("--index-maps", str(self.maps), "--tokenizer", str(self.tokenizer)),
            *("--gpus", "2", "--micro-batch", "2", "--output-dir", str(self.output), *more),
        ]

    def prepare(self, *more: str) -> dict:
        prepare_neox.main(self.arguments(*more))
        return json.loads((self.output / "prepared.json").read_text())


@pytest.fixture
def bench(recipe: Recipe, tmp_path: Path) -> Prepared:
    return Prepared(tmp_path, recipe)


def test_the_original_finds_every_map_under_the_name_it_looks_for(bench: Prepared) -> None:
    """Names by the rule of gpt-neox v1.0's data_utils and gpt2_dataset, from the numbers in its own file."""
    prepared = bench.prepare()
    config = json.loads((bench.output / "config.yml").read_text())
    prefix = config["train-data-paths"][0]
    assert prefix == prepared["data_prefix"]
    rows = config["train_batch_size"]
    evaluations = (config["train-iters"] // config["eval-interval"] + 1) * config["eval-iters"]
    wanted = {"train_0": config["train-iters"], "valid_0": evaluations, "test_0": config["eval-iters"]}
    for name, iterations in wanted.items():
        samples = math.ceil(iterations * rows * 1.005)
        stem = f"{prefix}_{name}_indexmap_{samples}ns_{config['seq-length']}sl_{config['seed']}s"
        for kind in ("doc_idx", "sample_idx", "shuffle_idx"):
            assert np.load(f"{stem}_{kind}.npy", allow_pickle=False).size
    assert Path(f"{prefix}.bin").read_bytes() == bench.joined.with_name("text_document.bin").read_bytes()
    assert Path(f"{prefix}.idx").is_file()
    assert "finetune" not in config
    assert bench.prepare() == prepared  # again, over what is there


@pytest.mark.shared
def test_maps_are_those_that_the_original_built(
    shared: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    """Names and contents equal those that gpt-neox v1.0 itself has cached for the same data and numbers."""
    monkeypatch.syspath_prepend(root / "tests" / "dataset")
    from tests.dataset.vectors import Vector

    vector = Vector.load(shared, "p06_two_epochs", tmp_path)
    options = vector.facts["options"]
    numbers = dataclasses.replace(
        recipe, sequence_length=options["seq_length"], data_seed=options["seed"], weight_seed=options["seed"],
        train_iterations=options["train_iters"], batch_rows=options["batch_size"], checkpoint_steps=(0,),
        lr_decay_iterations=options["train_iters"], vocab_size=65536,
    )  # fmt: skip
    bench = Prepared.__new__(Prepared)
    bench.folder, bench.recipe, bench.joined, bench.maps = tmp_path, numbers, vector.prefixes[0], tmp_path / "maps"
    bench.tokenizer, bench.output = tmp_path / "tokenizer.json", tmp_path / "neox"
    bench.tokenizer.write_text("{}")
    bench.build(numbers)
    prepare_neox.main([*bench.arguments(), "--gpus", "1", "--micro-batch", str(options["batch_size"])])
    assert vector.facts["index_files"]
    for name, facts in vector.facts["index_files"].items():
        seen = np.load(bench.output / "data" / name, allow_pickle=False)
        assert [list(seen.shape), seen.dtype.name] == [facts["shape"], facts["dtype"]]
        assert hashlib.sha256(np.ascontiguousarray(seen).tobytes()).hexdigest() == facts["sha256"]


def test_the_file_says_the_recipe(bench: Prepared) -> None:
    bench.prepare()
    back = recipe_from_config(
        bench.output / "config.yml", gpus=2, vocab_entries=90, compute_dtype="float32", lr_schedule="neox_v1"
    )
    assert back.differences(dataclasses.replace(bench.recipe, compute_dtype="float32")) == []
    assert back.checkpoint_steps == bench.recipe.checkpoint_steps


@pytest.mark.parametrize("step", [0, 4])
def test_weights_come_back_bit_equal_from_the_checkpoint_of_a_start(bench: Prepared, step: int) -> None:
    """Loss-free way into DeepSpeed's layout, with the keys that its loader asks for by name."""
    source = bench.folder / "hf"
    source.mkdir()
    model = GPTNeoX(bench.recipe)
    initialise(model, bench.recipe)
    save_file({name: p.detach() for name, p in model.named_parameters()}, source / "model.safetensors")
    prepared = bench.prepare("--start-from", str(source), "--start-step", str(step))
    checkpoints = Path(prepared["start"])
    assert (checkpoints / "latest").read_text() == f"global_step{step}"
    state = load(checkpoints / f"global_step{step}" / "mp_rank_00_model_states.pt")
    assert (state["global_steps"], state["iteration"], state["csr_tensor_module_names"]) == (step, step, [])
    assert state["lr_scheduler"] == {
        "start_lr": 0.004, "warmup_iter": 2.0, "num_iters": step, "decay_style": "cosine", "end_iter": 20,
        "min_lr": 0.0004,
    }  # fmt: skip
    config = json.loads((bench.output / "config.yml").read_text())
    assert ("finetune" in config, "no-load-rng" in config) == (step == 0, step > 0)
    neox_to_hugging_face(bench.recipe, checkpoints, bench.folder / "back")  # type: ignore[arg-type]
    back, there = (load_file(bench.folder / name / "model.safetensors") for name in ("back", "hf"))
    assert back.keys() == there.keys()
    assert all(torch.equal(back[name], there[name]) for name in there)


def test_what_does_not_fit_is_refused_before_anything_is_written(
    bench: Prepared, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        assert cli.run(prepare_neox.main, bench.arguments(*arguments)) == cli.USER_ERROR
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "no such tokenizer" in refused("--tokenizer", "nowhere.json")
    assert "no such hostfile" in refused("--hostfile", "nowhere")
    assert "3 GPUs x 2 rows do not divide" in refused("--gpus", "3")
    other = json.dumps(dataclasses.replace(bench.recipe, data_seed=7, weight_seed=7).to_json())
    assert "the maps are for another run (seed 1234 instead of 7)" in refused("--recipe", other)
    assert not bench.output.exists()
    assert "--start-from needs --start-step" in refused("--start-from", str(bench.folder))
    changed = next(bench.maps.glob("*train_0*shuffle_idx.npy"))
    changed.write_bytes(changed.read_bytes()[:-4] + b"\0\0\0\0")
    assert "not the map that was built" in refused()
    changed.unlink()
    assert "no such file, which GPT-NeoX would look for" in refused()


FAKE = """
import json, pathlib, sys
config = json.loads(pathlib.Path(sys.argv[2]).read_text())
pathlib.Path(config["save"], "latest").write_text("global_step%d" % {step})
"""


class Checkout:
    """A git repository that claims to be GPT-NeoX; its deepy.py writes the file that names a checkpoint."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "deepy.py").write_text(FAKE.replace("{step}", str(step)))
        (folder / "train.py").write_text("")
        for arguments in (
            ["init", "-q"],
            ["add", "."],
            ["-c", "user.name=t", "-c", "user.email=t", "commit", "-qm", "x"],
        ):
            subprocess.run(["git", *arguments], cwd=folder, check=True)
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
        self.commit = answer.stdout.strip()


def launched(bench: Prepared, checkout: Path) -> int:
    receipt = bench.folder / "trained.json"
    arguments = ["--prepared", str(bench.output / "prepared.json"), "--checkout", str(checkout)]
    arguments += ["--output-dir", str(bench.output / "checkpoints")]
    return cli.run(launch_neox.main, [*arguments, "--python", sys.executable, "--receipt", str(receipt)])


def test_the_launch_is_refused_in_one_line(
    bench: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(checkout: Path) -> str:
        assert launched(bench, checkout) == cli.USER_ERROR
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "create it with workflow_scripts.training.prepare_neox" in refused(bench.folder)
    bench.prepare()
    assert "not a checkout of GPT-NeoX" in refused(bench.folder / "nowhere")
    checkout = Checkout(bench.folder / "checkout", 20)
    assert f"is {checkout.commit[:15]}, not GPT-NeoX v1.0 (71df4d501)" in refused(checkout.folder)
    monkeypatch.setattr(launch_neox, "VERSION", checkout.commit)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert "prepared for 2 GPUs, but 1 are available" in refused(checkout.folder)
    (bench.output / "config.yml").write_text("{}")
    assert "missing or changed since it was prepared" in refused(checkout.folder)
    (bench.output / "prepared.json").write_text('{"config": "x"}')
    assert "not a prepared run (lacks config_sha256" in refused(checkout.folder)


@pytest.mark.parametrize(("reached", "is_done"), [(20, True), (8, False)])
def test_a_receipt_follows_the_last_checkpoint_only(
    bench: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reached: int, is_done: bool
) -> None:
    bench.prepare()
    checkout = Checkout(bench.folder / "checkout", reached)
    monkeypatch.setattr(launch_neox, "VERSION", checkout.commit)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert launched(bench, checkout.folder) == (0 if is_done else cli.USER_ERROR)
    assert (bench.folder / "trained.json").is_file() == is_done
    assert is_done or "its newest checkpoint is global_step8, not global_step20" in capsys.readouterr().err
    finished = bench.output / "checkpoints" / "latest"
    assert finished.is_file() == is_done
    assert not is_done or not finished.samefile(bench.output / ".checkpoints" / "latest"), "GPT-NeoX writes in place"


def test_a_launch_begins_with_the_converted_weights_and_resumes_from_its_own(
    bench: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start is linked into GPT-NeoX's folder once; later its own newest checkpoint counts."""
    prepared = bench.prepare()
    start, working = bench.folder / "start", Path(prepared["checkpoints"])
    (start / "global_step0").mkdir(parents=True)
    (start / "global_step0" / "weights.pt").write_text("weights")
    (start / "latest").write_text("global_step0")
    (bench.output / "prepared.json").write_text(json.dumps({**prepared, "start": str(start)}))
    checkout = Checkout(bench.folder / "checkout", 20)
    monkeypatch.setattr(launch_neox, "VERSION", checkout.commit)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert launched(bench, checkout.folder) == 0
    assert (bench.output / "checkpoints" / "global_step0" / "weights.pt").samefile(start / "global_step0/weights.pt")
    assert (start / "latest").read_text() == "global_step0", "what GPT-NeoX writes in place is a copy"
    (working / "global_step0" / "weights.pt").unlink()
    assert launched(bench, checkout.folder) == 0
    assert not (working / "global_step0" / "weights.pt").exists()


def test_hosts_are_counted(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("node1 slots=8\nnode2 slots=4\n")
    assert launch_neox.gpus_here(str(hosts)) == 12
