"""Repositories laid out as the real ones on the Hub: a model of pythia-70m's shape and lm-eval's data sets."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from tests.checkpoints.checkpoint_mirror import weight_bytes, weights
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.workflow.evaluation import DataSet, data_sets

MODEL = "pythia-70m-deduped"
STEPS = (0, 512)
# Data sets whose main branch has a loading script only; their parquet files are the Hub's own copy.
SCRIPTED = ("EleutherAI/lambada_openai", "EleutherAI/logiqa", "EleutherAI/wikitext_document_level")
IN_TWO_PARTS = ("allenai/winogrande", "train")
CONFIG = {
    "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "gelu",
    "hidden_size": 512, "initializer_range": 0.02, "intermediate_size": 2048, "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048, "model_type": "gpt_neox", "num_attention_heads": 8, "num_hidden_layers": 6,
    "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False, "torch_dtype": "float16",
    "use_cache": True, "use_parallel_residual": True, "vocab_size": 50304,
}  # fmt: skip
TOKENS = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}


class Hub(Protocol):
    """Whatever takes repositories to serve them."""

    def add(self, name: str, files: dict[str, bytes], revision: str = "main", kind: str = "models") -> str:
        """Publish files as a revision; returns the commit."""
        ...


def add_models(hub: Hub, tokenizer: bytes) -> None:
    """Branches with random weights, and the repository that the suite takes its tokenizer from."""
    companions = {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": json.dumps({**TOKENS, "tokenizer_class": "GPTNeoXTokenizer"}).encode(),
        "special_tokens_map.json": json.dumps(TOKENS).encode(),
        "README.md": b"# Pythia",
    }
    model = load_suite("pythia").model(MODEL)
    for step in STEPS:
        files = {"model.safetensors": weight_bytes(weights(model, step)), "pytorch_model.bin": b"not taken" * 500}
        hub.add(f"EleutherAI/{MODEL}", companions | files, f"step{step}")
    hub.add("EleutherAI/pythia-70m", companions)


def add_data(hub: Hub, folder: Path, names: Sequence[str] = ()) -> None:
    """Every data set, or those of ``names``, of which ``folder`` (../shared/hub/datasets) has something."""
    repositories: dict[str, dict[str, bytes]] = {}
    for data in data_sets():
        if (not names or data.repository in names) and (folder / data.repository / data.config).is_dir():
            repositories.setdefault(data.repository, {}).update(files_of(data, folder))
    for name, files in repositories.items():
        if name in SCRIPTED:
            hub.add(
                name, {"README.md": b"# A script", f"{name.split('/')[1]}.py": b"raise SystemExit"}, kind="datasets"
            )
            hub.add(name, files, "refs/convert/parquet", kind="datasets")
        else:
            hub.add(name, {"README.md": b"# Data", **files}, kind="datasets")


def files_of(data: DataSet, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Parquet files of one configuration; a split that ``folder`` lacks has the rows of one that it has."""
    have = {path.stem: path for path in sorted((folder / data.repository / data.config).glob("*.parquet"))}
    for split in data.splits:
        content = have.get(split, next(iter(have.values()))).read_bytes()
        if data.repository in SCRIPTED:
            yield f"{data.config}/{split}/0000.parquet", content
        elif (data.repository, split) == IN_TWO_PARTS:
            table = pq.read_table(io.BytesIO(content))
            for number, part in enumerate((table.slice(0, 20_000), table.slice(20_000))):
                yield f"{data.config}/{split}-{number:05d}-of-00002.parquet", parquet_bytes(part)
        else:
            place = "data" if data.config == "default" else data.config
            yield f"{place}/{split}-00000-of-00001.parquet", content


def parquet_bytes(table: pa.Table) -> bytes:
    """``table`` as a parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
