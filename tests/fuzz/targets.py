"""Everything that reads bytes of strangers, as functions of bytes that may raise nothing but our own errors.

A target returns normally or raises PipelineError; anything else is a finding. Each has seeds, which are good inputs, so
that a fuzzer starts where the format is understood.
"""

from __future__ import annotations

import argparse
import functools
import json
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from workflow_scripts.checkpoints.defect_table import read_defects
from workflow_scripts.checkpoints.ledger_file import parse_ledger
from workflow_scripts.checkpoints.safetensors_header import read_header
from workflow_scripts.dataset.corpus.corpus_reader import read_documents
from workflow_scripts.dataset.files.indexed import open_index
from workflow_scripts.dataset.order.batch_options import configured, read_configuration
from workflow_scripts.errors import PipelineError
from workflow_scripts.published.formats.older_layouts import read_result
from workflow_scripts.storage.http.http_reader import HttpReader, retry_after
from workflow_scripts.storage.http.retry import RetryPolicy
from workflow_scripts.storage.lockfile import parse_lock
from workflow_scripts.storage.sources.git_objects import GitFile, resolved
from workflow_scripts.storage.sources.hub import HubSource
from workflow_scripts.storage.sources.lfs_client import parse_answer
from workflow_scripts.storage.sources.source import Repository
from workflow_scripts.suite.arms import build_declaration
from workflow_scripts.suite.registry import build_suite, load_suite
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml, parse_yaml
from workflow_scripts.suite.schema import check_schema
from workflow_scripts.training.neox.neox_recipe import network_from_config
from workflow_scripts.training.neox_config import config_text, recipe_from_config
from workflow_scripts.training.recipe import recipe_of

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"
OID = "a" * 64
# Orders of rows in GPT-NeoX files, one for each of its two modes.
ORDERS = (
    b'{"data-path": "p", "split": "9,1", "seq-length": 8, "train-iters": 3, "train_batch_size": 4}',
    b'{"train-data-paths": ["p"], "seq-length": 8, "train-iters": 3, "train_micro_batch_size_per_gpu": 2, '
    b'"global-num-gpus": 4, "pipe-parallel-size": 2, "seed": 7, "eval-iters": 10}',
)


@dataclass(frozen=True)
class Target:
    """A reader as a function of bytes, and good inputs of it."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


@functools.cache
def scratch() -> Path:
    """A folder for readers that want a file."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def as_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """``read`` of a path as a function of the file's bytes."""

    def of_bytes(data: bytes) -> object:
        path = scratch() / name
        path.write_bytes(data)
        return read(path)

    return of_bytes


@dataclass
class InMemory:
    """A source of ranges over bytes."""

    data: bytes

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """The range; readers may ask for no byte beyond the end."""
        assert offset + length <= len(self.data), "asked beyond the end"
        return self.data[offset : offset + length]


@functools.cache
def default_run() -> Mapping[str, Any]:
    """The default configuration."""
    return load_yaml(CONFIG / "config.yaml")


def read_run_text(data: bytes) -> object:
    """A run on top of the default, as check.py reads one; a suite that reads a text gets one that is always there."""
    changes = parse_yaml(data.decode("utf-8", "replace"), "run.yaml")
    return load_run({**default_run(), "corpus": {"path": __file__}, **changes})


def read_suite_text(data: bytes) -> object:
    """A suite file."""
    facts = parse_yaml(data.decode("utf-8", "replace"), "suite.yaml")
    check_schema(facts, "suite", "suite.yaml")
    return build_suite(facts)


def read_declaration_text(data: bytes) -> object:
    """A declaration of interventions."""
    facts = parse_yaml(data.decode("utf-8", "replace"), "arms.yaml")
    check_schema(facts, "interventions", "arms.yaml")
    return build_declaration(facts)


def read_terms_text(data: bytes) -> None:
    """A list of terms."""
    check_schema(parse_yaml(data.decode("utf-8", "replace"), "terms.yaml"), "terms", "terms.yaml")


ASKED = httpx2.Request("GET", "http://127.0.0.1:9/api")


def read_hub_answer(data: bytes) -> object:
    """What the Hub's API says of a repository."""
    policy = RetryPolicy(attempts=1, first_wait=0.0)
    with HttpReader(1.0, "denied") as reader:
        source = HubSource("http://127.0.0.1:9", Repository("model", "org/model", "main"), policy, reader)
        source.response = lambda question: httpx2.Response(200, content=data, request=ASKED)  # type: ignore[method-assign]
        return source.files(), source.commit()


def read_batch_answer(data: bytes) -> object:
    """What an LFS server says of an object; its body is JSON or nothing."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return parse_answer(answer, OID, "fuzz")


def read_neox(path: Path) -> object:
    """A GPT-NeoX file."""
    return recipe_from_config(path, gpus=1, vocab_entries=1000, compute_dtype="float32", lr_schedule="neox_v1")


def read_neox_order(path: Path) -> object:
    """A GPT-NeoX file as the programs that look at batches and build index maps read it."""
    names = ("seq_length", "seed", "train_iters", "batch_size", "split", "view")
    options = argparse.Namespace(**dict.fromkeys(names))
    return configured(read_configuration(path), options)


def neox_text() -> bytes:
    """A GPT-NeoX file as this project writes it."""
    recipe = recipe_of(load_suite("pocket").model("pocket-90k"))
    return config_text(recipe, gpus=1, micro_batch=8, data_path="data", save="out").encode()


def small_index() -> bytes:
    """An .idx of three sequences in two documents."""
    sizes, pointers, documents = (3, 0, 5), (0, 6, 6), (0, 2, 3)
    head = struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 1, 8, len(sizes), len(documents))
    return head + struct.pack("<3i", *sizes) + struct.pack("<3q", *pointers) + struct.pack("<3q", *documents)


def small_header() -> bytes:
    """A safetensors file of one tensor."""
    text = json.dumps({"a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


def hub_answer() -> bytes:
    """What a good Hub says."""
    files = [
        {"rfilename": "a.bin", "size": 9, "blobId": "b" * 40, "lfs": {"sha256": OID, "size": 9, "pointerSize": 130}},
        {"rfilename": "config.json", "size": 2, "blobId": "c" * 40},
    ]
    return json.dumps({"id": "org/model", "sha": "d" * 40, "siblings": files, "tags": [], "downloads": 1}).encode()


def results() -> Iterator[bytes]:
    """Result files of each published shape."""
    config = {"model": "gpt2", "model_args": "pretrained=EleutherAI/pythia-70m,revision=step1000", "num_fewshot": 0}
    score = {"acc": 0.5, "acc_stderr": 0.01, "acc_norm": 0.4, "acc_norm_stderr": 0.01}
    yield json.dumps({"results": {"arc_easy": score}, "versions": {"arc_easy": 0}, "config": config}).encode()
    modern = {"acc,none": 0.5, "acc_stderr,none": 0.01, "alias": "x"}
    yield json.dumps({"results": {"piqa": modern}, "n-shot": {"piqa": 0}, "versions": {}, "config": config}).encode()
    entry = {"task_name": "wino_bias", "prompt_name": "p", "em": 0.5, "em_stderr": 0.1}
    yield json.dumps({"results": [entry], "versions": {}, "config": config}).encode()
    table = {"wino+p": {"em": 0.5, "em_stderr": 0.1}}
    yield json.dumps({"table_results": table, "model_args": {"config": "pythia/70m.yml"}}).encode()


def config_texts(folder: str) -> tuple[bytes, ...]:
    """Files of a folder of ``config/``."""
    return tuple(path.read_bytes() for path in sorted((CONFIG / folder).glob("*.yaml")))


@functools.cache
def targets() -> Mapping[str, Target]:
    """All readers by name."""
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"
    file = GitFile("a.bin", "b" * 40, 126)
    lock = f"path\tsize\tsha256\na.bin\t3\t{OID}\n".encode()
    ledger = f"model\tstep\tcommit\tfile\tsize\tsha256\npythia-70m\t0\t{'b' * 40}\tconfig.json\t3\t{OID}\n"
    batch = {"objects": [{"oid": OID, "actions": {"download": {"href": "https://h/x", "header": {"a": "b"}}}}]}
    csv = b"model,checkpoint,task,fewshot,acc,acc_stderr\npythia-70m,1000,arithmetic,2,0.5,0.01\n"
    defects = b"model\trevision\tkind\tdetail\npythia-70m\tstep0\tduplicate\tequal to step1\n"
    return {
        "idx": Target(as_file("x.idx", open_index), (small_index(),)),
        "result": Target(lambda data: read_result("pythia-v1/x/zero-shot/70m_step1000.json", data), tuple(results())),
        "term_csv": Target(lambda data: read_result("x.csv", data), (csv,)),
        "run": Target(read_run_text, (b"models: [pocket-1m]\nsteps: 0..64\n", *config_texts("runs"))),
        "suite": Target(read_suite_text, config_texts("suites")),
        "interventions": Target(read_declaration_text, config_texts("interventions")),
        "terms": Target(read_terms_text, config_texts("terms")),
        "lfs_pointer": Target(lambda data: resolved(file, data), (pointer,)),
        "lfs_batch": Target(read_batch_answer, (json.dumps(batch).encode(),)),
        "safetensors": Target(lambda data: read_header(InMemory(data), "x", len(data)), (small_header(),)),
        "hub": Target(read_hub_answer, (hub_answer(),)),
        "neox": Target(as_file("x.yml", read_neox), (neox_text(),)),
        "neox_order": Target(as_file("x.yml", read_neox_order), ORDERS),
        "neox_network": Target(as_file("x.yml", lambda path: network_from_config([path], 100)), (neox_text(),)),
        "lock": Target(
            lambda data: parse_lock(data, "lock"),
            (
                lock,
                f"{OID}  a.bin\n".encode(),
                f"a.bin {OID}".encode(),
                b'{"files": [{"path": "a", "size": 1, "sha256": "-"}]}',
            ),
        ),
        "ledger": Target(lambda data: parse_ledger(data.decode("utf-8", "replace"), "ledger"), (ledger.encode(),)),
        "defects": Target(as_file("defects.tsv", read_defects), (defects,)),
        "corpus": Target(as_file("x.jsonl", lambda path: list(read_documents(path))), (b'{"text": "one", "id": 7}\n',)),
        "retry_after": Target(
            lambda data: retry_after({"Retry-After": data.decode("latin-1")}),
            (b"120", b"Sun, 06 Nov 1994 08:49:37 GMT"),
        ),
    }


def probe(name: str, data: bytes) -> None:
    """Read ``data`` with target ``name``; our own errors are answers, everything else passes through."""
    try:
        targets()[name].read(data)
    except PipelineError as error:
        assert "\n" not in str(error), f"{name}: a message of several lines"
