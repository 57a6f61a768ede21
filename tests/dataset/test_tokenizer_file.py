"""What a tokenizer.json may switch on has no effect on tokens; ids with holes are ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts import cli
from workflow_scripts.dataset import tokenize_corpus, train_tokenizer
from workflow_scripts.dataset.corpus.tokenizer_file import id_bound, open_tokenizer
from workflow_scripts.dataset.files.indexed import open_index
from workflow_scripts.errors import DataError

TEXTS = ["one two three four five six seven eight nine ten eleven twelve", "a b"]
TRUNCATION = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
PADDING = {
    "strategy": "BatchLongest",
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 1,
    "pad_type_id": 0,
    "pad_token": "<|padding|>",
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Content of a byte-level tokenizer.json."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    train_tokenizer.train_tokenizer([folder / "t.jsonl"], 262, folder / "tokenizer.json")
    content: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return content


def written(folder: Path, content: dict[str, Any], **changes: Any) -> Path:
    """tokenizer.json with ``changes`` at its top level."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return path


def ids(path: Path, texts: list[str]) -> list[list[int]]:
    """Tokens of ``texts`` as one batch."""
    return [encoding.ids for encoding in open_tokenizer(path).encode_batch(texts, add_special_tokens=False)]


@given(
    texts=st.lists(st.text(max_size=30), min_size=1, max_size=4),
    truncation=st.none() | st.builds(lambda n, d: {**TRUNCATION, "max_length": n, "direction": d},
                                     st.integers(1, 9), st.sampled_from(["Left", "Right"])),
    padding=st.none() | st.builds(lambda s, d: {**PADDING, "strategy": s, "direction": d},
                                  st.sampled_from(["BatchLongest", {"Fixed": 40}]), st.sampled_from(["Left", "Right"])),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_fault_43_a_tokenizer_file_that_truncates_or_pads(
    tmp_path_factory: pytest.TempPathFactory,
    plain: dict[str, Any],
    texts: list[str],
    truncation: dict[str, Any] | None,
    padding: dict[str, Any] | None,
) -> None:
    """A tokenizer.json switches on truncation or padding: both are switched off, every text gives all its tokens."""
    folder = tmp_path_factory.mktemp("t")
    expected = ids(written(folder, plain), texts)
    assert ids(written(folder, plain, truncation=truncation, padding=padding), texts) == expected


@pytest.mark.parametrize("name", ["plain", "truncation", "padding"])
def test_a_corpus_has_the_tokens_of_its_texts_whatever_the_file_switches_on(
    tmp_path: Path, plain: dict[str, Any], name: str
) -> None:
    changes = {"plain": {}, "truncation": {"truncation": TRUNCATION}, "padding": {"padding": PADDING}}[name]
    corpus, tokenizer = tmp_path / "c.jsonl", written(tmp_path, plain, **changes)
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    counts = tokenize_corpus.tokenize_corpus([corpus], tokenizer, tmp_path / "x", "<|endoftext|>")
    (tmp_path / "bare").mkdir()
    alone = [len(ids(written(tmp_path / "bare", plain), [text])[0]) + 1 for text in TEXTS]
    assert counts.tokens == sum(alone)
    assert open_index(tmp_path / "x.idx").sizes.tolist() == alone


@pytest.mark.shared
@pytest.mark.parametrize("name", ["plain", "truncation", "padding"])
def test_the_cases_give_67_tokens(tmp_path: Path, shared: Path, name: str) -> None:
    cases = shared / "cases" / "tok"
    corpus, tokenizer = cases / "two.jsonl", cases / f"{name}.json"
    words = ["--corpus", str(corpus), "--tokenizer", str(tokenizer), "--append-eod"]
    assert cli.run(tokenize_corpus.main, [*words, "--output-prefix", str(tmp_path / "x")]) == 0
    assert open_index(tmp_path / "x.idx").n_tokens == 67


def with_holes(content: dict[str, Any], beyond: int) -> dict[str, Any]:
    """The same tokenizer with ids above 100 moved up by ``beyond``."""
    vocab = {text: number + (beyond if number > 100 else 0) for text, number in content["model"]["vocab"].items()}
    return {**content, "model": {**content["model"], "vocab": vocab}}


@pytest.mark.parametrize(("beyond", "dtype"), [(1000, "uint16"), (70000, "int32")])
def test_ids_with_holes_are_taken(tmp_path: Path, plain: dict[str, Any], beyond: int, dtype: str) -> None:
    """The largest id decides the token type, not the number of entries."""
    corpus, tokenizer = tmp_path / "c.jsonl", written(tmp_path, with_holes(plain, beyond))
    corpus.write_text(json.dumps({"text": TEXTS[0]}) + "\n")
    opened = open_tokenizer(tokenizer)
    assert id_bound(opened) == opened.get_vocab_size() + beyond
    tokenize_corpus.tokenize_corpus([corpus], tokenizer, tmp_path / "x", None)
    index = open_index(tmp_path / "x.idx")
    assert index.dtype.name == dtype
    tokens = np.fromfile(tmp_path / "x.bin", index.dtype).tolist()
    assert max(tokens) > beyond
    assert opened.decode(tokens, skip_special_tokens=False) == TEXTS[0]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"dropout": 0.1}, "model.dropout is 0.1, which makes the tokens of a text random"),
        ({"type": "Nonesuch"}, "not a tokenizer that the tokenizers library can use"),
    ],
)
def test_random_and_unknown_tokenizers_are_refused(
    tmp_path: Path, plain: dict[str, Any], model: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, plain, model={**plain["model"], **model})
    with pytest.raises(DataError, match=message):
        open_tokenizer(path)


def test_no_other_module_opens_a_tokenizer(root: Path) -> None:
    """transformers' own (quickstart) sets truncation and padding on each call."""
    calls = ("Tokenizer.from_file", "Tokenizer.from_str", "Tokenizer.from_buffer", "PreTrainedTokenizerFast")
    package = root / "workflow_scripts"
    found = {path.name for path in package.rglob("*.py") if any(call in path.read_text("utf-8") for call in calls)}
    assert found == {"tokenizer_file.py"}
