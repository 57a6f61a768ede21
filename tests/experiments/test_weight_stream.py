"""One pass over a checkpoint's files: every tensor, every byte once, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.experiments.dynamics_models import save_random
from workflow_scripts.errors import DataError, IntegrityError, MissingInputError, ModelError
from workflow_scripts.evaluation.scoring.model_folder import read_config
from workflow_scripts.experiments.dynamics import weight_stream
from workflow_scripts.experiments.dynamics.weight_stream import read_weights


@pytest.fixture
def folder(tmp_path):
    save_random(tmp_path, "deep")
    return tmp_path


def read(folder):
    return dict(read_weights(folder, read_config(folder)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_tensors_are_those_of_the_safetensors_library(folder, dtype):
    stored = {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(stored, folder / "model.safetensors")
    found = read(folder)
    assert set(found) == set(stored)
    assert all((found[name] == tensor.float().numpy()).all() for name, tensor in stored.items())


def test_each_byte_of_the_file_is_read_once(folder, monkeypatch):
    counted = 0

    class Counting(io.FileIO):
        def readinto(self, buffer):
            nonlocal counted
            size = super().readinto(buffer)
            counted += size
            return size

        def read(self, size=-1):
            nonlocal counted
            content = super().read(size)
            counted += len(content)
            return content

    class Watched(type(Path())):
        def open(self, *arguments, **named):
            return Counting(self)

    file = folder / "model.safetensors"
    monkeypatch.setattr(weight_stream, "weight_files", lambda folder: [Watched(file)])
    read(folder)
    assert counted == file.stat().st_size


def test_the_bytes_that_are_measured_are_held_to_the_list(folder):
    file = folder / "model.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "sha256.txt").write_text(f"{digest}  model.safetensors\n")
    read(folder)
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match="changed on this disk"):
        read(folder)


def test_old_files_and_their_buffers(folder):
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**stored, "gpt_neox.layers.0.attention.bias": torch.ones(1)}, folder / "pytorch_model.bin")
    found = read(folder)
    assert set(found) == set(stored)
    assert all((found[name] == tensor.numpy()).all() for name, tensor in stored.items())


def test_shards_are_read_one_after_the_other(folder):
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(stored)
    places = {}
    for number, part in enumerate((names[:9], names[9:]), 1):
        shard = f"model-0000{number}-of-00002.safetensors"
        save_file({name: stored[name] for name in part}, folder / shard)
        places |= dict.fromkeys(part, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert set(read(folder)) == set(stored)


def change(folder, edit):
    stored = load_file(folder / "model.safetensors")
    edit(stored)
    save_file(stored, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda stored: stored.pop("embed_out.weight"), "weights missing: embed_out.weight"),
        (lambda stored: stored.update(stranger=torch.ones(2)), "does not call for"),
        (lambda stored: stored.update({"embed_out.weight": torch.ones(2, 2)}), r"is \(2, 2\)"),
        (lambda stored: stored["embed_out.weight"].mul_(torch.inf), "not finite"),
    ],
)
def test_weights_that_are_not_the_models_are_refused(folder, edit, words):
    change(folder, edit)
    with pytest.raises(ModelError, match=words):
        read(folder)


def test_damaged_files_are_refused_in_a_line(folder):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for content, words in (
        (b"", "no safetensors file"),
        (b"\xff" * 40, "no safetensors file"),
        (whole[:-5], "ends within"),
        (whole + b"x", "longer than its header"),
    ):
        file.write_bytes(content)
        with pytest.raises(DataError, match=words):
            read(folder)
    file.unlink()
    with pytest.raises(MissingInputError):
        read(folder)


def test_values_are_single_precision_whatever_is_stored(folder):
    assert {values.dtype for values in read(folder).values()} == {np.dtype(np.float32)}
