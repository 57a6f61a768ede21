"""Made-up tokenizers, task data and checkpoints for the tests of the evaluation stage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from workflow_scripts.evaluation.planning.plan_file import Plan
from workflow_scripts.evaluation.planning.tasks import local_manager

TEXT = "the old miller walks near a small river and sings of seven green hills while two farmers wait"
WORDS = TEXT.split()
TASKS = ("pocket_agreement", "pocket_last_word", "pocket_facts", "pocket_pronouns", "pocket_arithmetic")


def sentence(number: int, length: int) -> str:
    """A sentence that differs for each number."""
    return " ".join(WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(length))


def train_tokenizer(path: Path, texts: list[str], size: int) -> Path:
    """Byte-level BPE in the form of Pythia's, written to ``path``."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as one parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_task_data(folder: Path, items: int) -> Path:
    """Made-up data of the five pocket tasks, laid out like the Hub's."""
    for split, first in (("train", 1000), ("test", 0)):
        numbers = range(first, first + items)
        tables = {
            "agreement": [{"sentence_good": sentence(n, 6), "sentence_bad": sentence(n + 1, 6)} for n in numbers],
            "pronouns": [{"sent_more": sentence(n, 7), "sent_less": sentence(n + 3, 7)} for n in numbers],
            "last_word": [{"text": sentence(n, 9 + n % 7)} for n in numbers],
            "arithmetic": [{"context": f"{n} plus {n % 9} equals", "completion": f" {n + n % 9}"} for n in numbers],
            "facts": [
                {
                    "question": f"What is found in {sentence(n, 3)}?",
                    "choices": {
                        "text": [sentence(n + k, 1 + (n + k) % 3) + str(k) for k in range(2 + n % 3)],
                        "label": ["A", "B", "C", "D"][: 2 + n % 3],
                    },
                    "answerKey": ["A", "B", "C", "D"][n % (2 + n % 3)],
                }
                for n in numbers
            ],
        }
        for name, rows in tables.items():
            write_parquet(folder / "pocket" / name / "default" / f"{split}.parquet", rows)
    return folder


def save_model(folder: Path, tokenizer: Path, seed: int, **settings: Any) -> Any:
    """Random GPT-NeoX checkpoint in ``folder``, scaled up so that its predictions are not flat; returns the model."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": 512,
        "max_position_embeddings": 128,
    }
    return save_random(GPTNeoXForCausalLM, GPTNeoXConfig(**(shape | settings)), folder, tokenizer, seed)


def save_other_model(folder: Path, tokenizer: Path, seed: int, kind: str, **settings: Any) -> Any:
    """The same of any architecture that transformers knows, by its ``model_type``."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "vocab_size": 512,
        "max_position_embeddings": 128,
    }
    config = CONFIG_MAPPING[kind](**(shape | settings))
    model = save_random(AutoModelForCausalLM.from_config, config, folder, tokenizer, seed, uneven_norms=True)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": "PreTrainedTokenizerFast"}))
    return model


def save_random(make: Any, config: Any, folder: Path, tokenizer: Path, seed: int, *, uneven_norms: bool = False) -> Any:
    """Model that ``make`` gives for ``config``, scaled up, saved in ``folder`` with its tokenizer."""
    torch.manual_seed(seed)
    model = make(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.mul_(8)
            elif name.endswith("bias"):
                weight.normal_(0, 0.1)
            elif uneven_norms:
                weight.uniform_(0.5, 1.5)
    model.save_pretrained(folder)
    if tokenizer.parent != folder:
        shutil.copy(tokenizer, folder / "tokenizer.json")
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    config = {"tokenizer_class": "GPTNeoXTokenizer", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return model


def plan_arguments(tasks: tuple[str, ...], shots: int, data: Path, tokenizer: Path, output: Path) -> list[str]:
    """Command line of the planner."""
    options = ["--shots", str(shots), "--data-dir", str(data), "--tokenizer", str(tokenizer), "--max-length", "128"]
    return ["--tasks", *tasks, *options, "--output", str(output)]


def stock_evaluation(folder: Path, plan: Plan, shots: int, task_data: Path) -> dict[str, Any]:
    """Results of lm-eval as a user calls it, of the model in ``folder`` on the tasks of ``plan``."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    names = [task["name"] for task in plan.header["tasks"]]
    found: dict[str, Any] = lm_eval.simple_evaluate(
        model=HFLM(pretrained=str(folder), dtype="float32", device="cpu", batch_size=3),
        tasks=names,
        num_fewshot=shots,
        task_manager=local_manager(names, [task_data])[0],
        bootstrap_iters=0,
        fewshot_random_seed=1234,
    )
    return found
