"""Text in: JSON lines, plain text, import, deduplication; every fault names its line."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts import cli
from workflow_scripts.dataset import deduplicate, import_corpus, tokenize_corpus, train_tokenizer
from workflow_scripts.dataset.corpus.corpus_reader import read_documents, write_documents
from workflow_scripts.dataset.files.token_view import open_data
from workflow_scripts.errors import DataError, MissingInputError, UnknownNameError
from workflow_scripts.storage.hashing import sha256_file

LINES = [
    {"text": "The cat sat on the mat. The cat sat.", "meta": {"source": "g", "id": 1, "part": 0, "title": "Cats"}},
    {"text": "A dog, the dog; dogs in the fog.", "meta": {"source": "g", "id": 2, "part": 0, "title": "Dogs"}},
    {"text": "", "title": "Nothing"},
    {"text": "Ünïcode naïve 漢字 \U0001f600\r\nline", "title": "Cats"},
    {"text": "A dog, the dog; dogs in the fog.", "title": "Copies"},
]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES), encoding="utf-8")
    return path


@pytest.fixture
def tokenizer(corpus, tmp_path):
    words = ["--corpus", str(corpus), "--vocab-size", "280", "--output", str(tmp_path / "tokenizer.json")]
    train_tokenizer.main(words)
    return tmp_path / "tokenizer.json"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=8))
@settings(deadline=None, max_examples=60)
def test_documents_written_are_read_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("c") / "x.jsonl"
    assert write_documents(path, ({"text": text, "id": number} for number, text in enumerate(texts))) == len(texts)
    found = list(read_documents(path))
    assert [document.text for document in found] == texts
    assert [document.line for document in found] == list(range(1, len(texts) + 1))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "x"', "not JSON"),
        (b"[1]", "expected a JSON object with a string 'text'"),
        (b'{"tekst": "x"}', "expected a JSON object with a string 'text'"),
        (b'{"text": 3}', "expected a JSON object"),
        (b'{"text": "\xff"}', "not UTF-8 at byte 10"),
        (b'{"text": "ab\\ud800"}', "lone surrogate at character 2"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_faulty_lines_are_named(tmp_path, line, message):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "fine"}\n\n' + line + b"\n")
    with pytest.raises(DataError, match=message) as caught:
        list(read_documents(path))
    assert f"{path}:3: " in str(caught.value)


def test_plain_text_in_three_ways(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes("one\r\ntwo\n\n \nthrée\nfour".encode())
    texts = {how: [doc.text for doc in read_documents(path, how)] for how in ("file", "lines", "paragraphs")}
    assert texts["file"] == ["one\r\ntwo\n\n \nthrée\nfour"]
    assert texts["lines"] == ["one", "two", "thrée", "four"]
    assert texts["paragraphs"] == ["one\r\ntwo", "thrée\nfour"]
    assert [doc.line for doc in read_documents(path, "paragraphs")] == [1, 5]


def test_unknown_files_and_ways_are_refused(tmp_path):
    (tmp_path / "x.csv").touch()
    (tmp_path / "x.txt").touch()
    with pytest.raises(UnknownNameError, match="corpus format"):
        read_documents(tmp_path / "x.csv")
    with pytest.raises(UnknownNameError, match="did you mean 'lines'"):
        read_documents(tmp_path / "x.txt", "line")
    with pytest.raises(MissingInputError):
        read_documents(tmp_path / "none.jsonl")


def test_tokenised_documents_are_the_tokenizers_own(corpus, tokenizer, tmp_path):
    from tokenizers import Tokenizer

    words = ["--corpus", str(corpus), "--tokenizer", str(tokenizer), "--output-prefix", str(tmp_path / "p")]
    tokenize_corpus.main([*words, "--append-eod"])
    data = open_data(tmp_path / "p")
    encoder = Tokenizer.from_file(str(tokenizer))
    for number, line in enumerate(LINES):
        assert data.sequence(number).tolist() == [*encoder.encode(line["text"]).ids, 0]
    assert data.index.doc_idx.tolist() == list(range(len(LINES) + 1))
    assert data.index.dtype == np.uint16
    tokenize_corpus.main([*words, "--no-eod"])
    assert open_data(tmp_path / "p").sequence(2).tolist() == []


def test_threads_do_not_change_the_bytes(corpus, tokenizer, tmp_path):
    for jobs in ("1", "3"):
        words = ["--corpus", str(corpus), str(corpus), "--tokenizer", str(tokenizer), "--append-eod", "--jobs", jobs]
        tokenize_corpus.main([*words, "--output-prefix", str(tmp_path / f"p{jobs}")])
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"p1{suffix}").read_bytes() == (tmp_path / f"p3{suffix}").read_bytes()


def test_end_of_document_must_be_said_and_must_exist(corpus, tokenizer, tmp_path, capsys):
    words = ["--corpus", str(corpus), "--tokenizer", str(tokenizer), "--output-prefix", str(tmp_path / "p")]
    with pytest.raises(SystemExit):
        tokenize_corpus.main(words)
    assert cli.run(tokenize_corpus.main, [*words, "--append-eod", "<|endoftexd|>"]) == 2
    assert "did you mean '<|endoftext|>'" in capsys.readouterr().err
    assert not (tmp_path / "p.bin").exists()


def test_end_of_document_spelt_in_a_text_is_counted(tokenizer, tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a<|endoftext|>b"}\n')
    words = ["--corpus", str(tmp_path / "x.jsonl"), "--tokenizer", str(tokenizer), "--append-eod"]
    tokenize_corpus.main([*words, "--output-prefix", str(tmp_path / "p")])
    record = json.loads((tmp_path / "p.idx.record.json").read_text())
    assert record["parameters"]["eod_in_text"] == 1
    assert open_data(tmp_path / "p").sequence(0).tolist().count(0) == 2


def test_a_corpus_without_documents_is_refused(tokenizer, tmp_path, capsys):
    (tmp_path / "x.jsonl").write_text("\n")
    words = ["--corpus", str(tmp_path / "x.jsonl"), "--tokenizer", str(tokenizer), "--append-eod"]
    assert cli.run(tokenize_corpus.main, [*words, "--output-prefix", str(tmp_path / "p")]) == 2
    assert "contains no documents" in capsys.readouterr().err
    assert not (tmp_path / "p.idx").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"model": 3}', "\ud800".encode("utf-8", "surrogatepass")])
def test_files_that_are_no_tokenizer_are_one_line(corpus, tmp_path, content, capsys):
    path = tmp_path / "t.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    words = ["--corpus", str(corpus), "--tokenizer", str(path), "--append-eod", "--output-prefix", str(tmp_path / "p")]
    assert cli.run(tokenize_corpus.main, words) == 2
    assert "t.json" in capsys.readouterr().err


@pytest.mark.shared
def test_20b_tokenizer_gives_uint16_and_known_tokens(shared, tmp_path):
    (tmp_path / "x.txt").write_text("Hello world")
    words = ["--corpus", str(tmp_path / "x.txt"), "--tokenizer", str(shared / "tokenizer" / "20B_tokenizer.json")]
    tokenize_corpus.main([*words, "--append-eod", "--output-prefix", str(tmp_path / "p")])
    data = open_data(tmp_path / "p")
    assert data.index.dtype == np.uint16
    assert data.sequence(0).tolist() == [12092, 1533, 0]  # published with the tokenizer: "Hello" 12092, " world" 1533


def test_trained_tokenizer_is_of_the_20b_kind(tokenizer):
    from tokenizers import Tokenizer

    content = json.loads(tokenizer.read_text(encoding="utf-8"))
    assert content["normalizer"] == {"type": "NFC"}
    assert content["pre_tokenizer"]["add_prefix_space"] is False
    assert [(token["id"], token["content"]) for token in content["added_tokens"]] == [
        (0, "<|endoftext|>"),
        (1, "<|padding|>"),
    ]
    trained = Tokenizer.from_str(tokenizer.read_text(encoding="utf-8"))
    assert trained.get_vocab_size() == 280
    assert trained.token_to_id("Ġthe") is not None


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@settings(deadline=None, max_examples=60)
def test_any_text_survives_up_to_nfc(text):
    from tokenizers import trainers

    tokenizer = train_tokenizer.empty_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=258,
        initial_alphabet=train_tokenizer.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(train_tokenizer.SPECIAL),
        show_progress=False,
    )
    tokenizer.train_from_iterator([], trainer)
    decoded = tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False)
    assert decoded == unicodedata.normalize("NFC", text)


def test_training_is_byte_reproducible_over_processes(corpus, tokenizer, tmp_path, monkeypatch, root):
    import subprocess
    import sys

    monkeypatch.setenv("PYTHONPATH", str(root))
    for threads in ("1", "2"):
        monkeypatch.setenv("RAYON_NUM_THREADS", threads)
        out = tmp_path / f"t{threads}.json"
        program = [sys.executable, "-m", "workflow_scripts.dataset.train_tokenizer"]
        words = ["--corpus", str(corpus), "--vocab-size", "280", "--output", str(out)]
        subprocess.run([*program, *words], check=True, capture_output=True)
        assert out.read_bytes() == tokenizer.read_bytes()


def test_vocabulary_too_small_is_refused_and_too_large_is_told(corpus, tmp_path, capsys, caplog):
    words = ["--corpus", str(corpus), "--output", str(tmp_path / "t.json")]
    assert cli.run(train_tokenizer.main, [*words, "--vocab-size", "257"]) == 2
    assert "256 bytes need 258" in capsys.readouterr().err
    train_tokenizer.main([*words, "--vocab-size", "5000"])
    record = json.loads((tmp_path / "t.json.record.json").read_text())
    assert 258 < record["parameters"]["vocab_size_reached"] < 5000
    assert "yields only" in caplog.text


def test_import_holds_whole_titles_out(corpus, tmp_path):
    outputs = ["--output-train", str(tmp_path / "a.jsonl"), "--output-validation", str(tmp_path / "b.jsonl")]
    import_corpus.main(["--corpus", str(corpus), "--held-out", "Cats", *outputs])
    train = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    held = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["kind"] for line in train] == ["Dogs", "Nothing", "Copies"]
    assert [line["id"] for line in held] == ["g-1-0", "line-4"]
    assert [line["text"] for line in held] == [LINES[0]["text"], LINES[3]["text"]]


def test_import_refuses_unknown_and_missing_titles(corpus, tmp_path, capsys):
    outputs = ["--output-train", str(tmp_path / "a.jsonl"), "--output-validation", str(tmp_path / "b.jsonl")]
    assert cli.run(import_corpus.main, ["--corpus", str(corpus), "--held-out", "Cat", *outputs]) == 2
    assert "unknown title 'Cat'; did you mean 'Cats'?" in capsys.readouterr().err
    corpus.write_text('{"text": "x"}\n')
    assert cli.run(import_corpus.main, ["--corpus", str(corpus), *outputs]) == 2
    assert "c.jsonl:1: no title" in capsys.readouterr().err


def test_import_is_held_to_the_hash_of_the_suite(corpus, tmp_path, capsys):
    outputs = ["--output-train", str(tmp_path / "a.jsonl"), "--output-validation", str(tmp_path / "b.jsonl")]
    words = ["--corpus", str(corpus), *outputs, "--sha256"]
    assert cli.run(import_corpus.main, [*words, "0" * 64]) == 2
    assert "the suite says 0000" in capsys.readouterr().err
    assert not (tmp_path / "a.jsonl").exists()
    assert cli.run(import_corpus.main, [*words, sha256_file(corpus)]) == 0


@pytest.mark.shared
def test_the_books_have_31_titles_and_two_are_held_out(shared, tmp_path):
    counts = import_corpus.import_corpus(
        shared / "corpora" / "gutenberg31_pd.jsonl",
        ["The Railway Children", "Anne of the Island"],
        tmp_path / "a.jsonl",
        tmp_path / "b.jsonl",
    )
    assert counts == (1086, 63)


def test_deduplication_keeps_the_first_of_equal_texts(corpus, tmp_path):
    deduplicate.main(["--corpus", str(corpus), "--output", str(tmp_path / "d.jsonl")])
    kept = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text(encoding="utf-8").splitlines()]
    assert kept == LINES[:4]
