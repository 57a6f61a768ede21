"""`.idx/.bin`: every token type, every fault, and real files."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts import cli
from workflow_scripts.dataset import build_index_maps
from workflow_scripts.dataset.files.index_writer import constant_index_bytes, indexed_writer, with_suffix, write_index
from workflow_scripts.dataset.files.indexed import (
    CODES,
    DTYPES,
    check_token_range,
    dtype_for_vocabulary,
    open_index,
)
from workflow_scripts.dataset.files.token_view import open_data
from workflow_scripts.errors import ConfigError, DataError, MissingInputError


def plain_index(code: int, itemsize: int, sizes: list[int], doc_idx: list[int]) -> bytes:
    """The format spelt out with struct alone, as a second opinion."""
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(sizes), len(doc_idx))
    pointers, at = [], 0
    for size in sizes:
        pointers.append(at)
        at += size * itemsize
    body = struct.pack(f"<{len(sizes)}i", *sizes) + struct.pack(f"<{len(sizes)}q", *pointers)
    return head + body + struct.pack(f"<{len(doc_idx)}q", *doc_idx)


@given(
    code=st.sampled_from(sorted(DTYPES)),
    documents=st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_written_pairs_are_the_format_and_read_back(tmp_path_factory, code, documents, seed):
    prefix = tmp_path_factory.mktemp("pair") / "pile_0.87_deduped"
    rng = np.random.RandomState(seed)
    sequences = [[rng.randint(0, 100, size).astype(DTYPES[code]) for size in document] for document in documents]
    with indexed_writer(prefix, DTYPES[code]) as writer:
        for document in sequences:
            for sequence in document:
                writer.add(sequence)
            writer.end_document()
    flat = [sequence for document in sequences for sequence in document]
    starts = np.cumsum([0, *map(len, documents)]).tolist()
    sizes = [size for document in documents for size in document]
    assert with_suffix(prefix, ".idx").read_bytes() == plain_index(code, DTYPES[code].itemsize, sizes, starts)
    data = open_data(prefix)
    assert data.index.doc_idx.tolist() == starts
    for number, sequence in enumerate(flat):
        np.testing.assert_array_equal(data.sequence(number), sequence)
        assert data.sequence(number).dtype == DTYPES[code]


def test_an_empty_data_set_is_legal(tmp_path):
    with indexed_writer(tmp_path / "none", DTYPES[8]):
        pass
    data = open_data(tmp_path / "none")
    assert (data.index.n_sequences, data.index.n_tokens, data.index.doc_idx.tolist()) == (0, 0, [0])


@pytest.mark.parametrize(("size", "name"), [(1, "uint16"), (65499, "uint16"), (65500, "int32"), (10**6, "int32")])
def test_token_type_follows_the_vocabulary(size, name):
    assert dtype_for_vocabulary(size).name == name


@pytest.mark.parametrize(("token", "code"), [(65536, 8), (-1, 8), (2**31, 4), (256, 1), (-129, 2)])
def test_tokens_that_do_not_fit_are_refused_and_nothing_appears(tmp_path, token, code):
    def write():
        with indexed_writer(tmp_path / "x", DTYPES[code]) as writer:
            writer.add([1, 2])
            writer.add([token])

    with pytest.raises(DataError, match="does not fit"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_type_without_a_code_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no code"), indexed_writer(tmp_path / "x", np.dtype("f2")):
        pass


def test_a_failing_writer_keeps_the_old_pair(tmp_path):
    with indexed_writer(tmp_path / "x", DTYPES[8]) as writer:
        writer.add([1, 2, 3])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail():
        with indexed_writer(tmp_path / "x", DTYPES[8]) as writer:
            writer.add([9])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.fixture
def good() -> bytes:
    return plain_index(8, 2, [3, 0, 4], [0, 1, 3])


def with_header(content: bytes, offset: int, value: bytes) -> bytes:
    return content[:offset] + value + content[offset + len(value) :]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c[:20], "an .idx header alone has 34"),
        (lambda c: c[:-1], r"93 bytes, but .* need 94"),
        (lambda c: c + b"\0", r"95 bytes, but .* need 94"),
        (lambda c: c + b"\0\1\0", "modes of Megatron-Core's multimodal data sets, which are not supported"),
        (lambda c: with_header(c, 0, b"PK"), "another kind of file"),
        (lambda c: with_header(c, 9, struct.pack("<Q", 2)), "version 2"),
        (lambda c: with_header(c, 17, b"\x4d"), "unknown token type code 77; known are 1 uint8"),
        (lambda c: with_header(c, 17, b"\x04"), r"pointer of sequence 1 is 6, .*\(int32\) give 12"),
        (lambda c: with_header(c, 18, struct.pack("<Q", 2**40)), "need 13194139533370"),
        (lambda c: with_header(c, 34, struct.pack("<i", -3)), "sequence 0 has the negative size -3"),
        (lambda c: with_header(c, 46 + 8, struct.pack("<q", -6)), "pointer of sequence 1 is -6"),
        (lambda c: with_header(c, 46 + 16, struct.pack("<q", 10**9)), "pointer of sequence 2 is 1000000000"),
        (lambda c: with_header(c, 70, struct.pack("<q", 1)), "must start with 0"),
        (lambda c: with_header(c, 70 + 8, struct.pack("<q", 4)), "must increase and stay within 3"),
        (lambda c: with_header(c, 70 + 16, struct.pack("<q", 4)), "must increase and stay within 3"),
    ],
)
def test_every_fault_is_one_line(tmp_path, good, spoil, message):
    path = tmp_path / "x.idx"
    path.write_bytes(good)
    assert open_index(path).n_tokens == 7
    path.write_bytes(spoil(good))
    with pytest.raises(DataError, match=message) as caught:
        open_index(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.shared
def test_fault_34_a_multimodal_index(shared, tmp_path, capsys):
    """An .idx with modes of a multimodal data set: refused as such, not as a damaged file."""
    words = ["--prefix", str(shared / "cases" / "idx" / "multimodal_modes"), "--output-dir", str(tmp_path)]
    numbers = ["--seq-length", "2", "--seed", "1", "--train-iters", "1", "--batch-size", "1"]
    assert cli.run(build_index_maps.main, [*words, *numbers]) == 2
    message = capsys.readouterr().err
    assert "multimodal" in message
    assert "damaged" not in message


def test_missing_index_says_how_to_get_one(tmp_path):
    with pytest.raises(MissingInputError, match="fetch it"):
        open_index(tmp_path / "x.idx")


def test_token_range_names_token_and_position():
    tokens = np.array([5, 6, 70000, 7], np.int32)
    check_token_range(tokens, 70001, 0, Path("x.bin"))
    with pytest.raises(DataError, match=r"token 70000 at position 102 .* of 50277"):
        check_token_range(tokens, 50277, 100, Path("x.bin"))


def test_sizes_hash_depends_on_the_sizes_alone(tmp_path):
    write_index(tmp_path / "a.idx", DTYPES[8], np.array([3, 4], np.int32), [0, 2])
    write_index(tmp_path / "b.idx", DTYPES[4], np.array([3, 4], np.int32), [0, 1, 2])
    expected = hashlib.sha256(struct.pack("<2i", 3, 4)).hexdigest()
    assert open_index(tmp_path / "a.idx").sizes_sha256() == expected
    assert open_index(tmp_path / "b.idx").sizes_sha256() == expected


@pytest.mark.shared
def test_a_real_megatron_pair_opens_and_its_index_is_written_back_bit_for_bit(shared, tmp_path):
    prefix = shared / "megatron" / "meg-gpt2-openwebtext_text_document"
    data = open_data(prefix)
    assert (data.index.n_sequences, data.index.dtype.name) == (1000, "uint16")
    assert data.tokens.read(0, data.tokens.n_tokens).max() < 50257
    write_index(tmp_path / "again.idx", data.index.dtype, data.index.sizes, data.index.doc_idx)
    assert (tmp_path / "again.idx").read_bytes() == data.index.path.read_bytes()


def test_constant_index_is_what_the_general_writer_makes(tmp_path):
    content = b"".join(constant_index_bytes(DTYPES[8], 5, 2049))
    assert content == plain_index(8, 2, [2049] * 5, [0])


@pytest.mark.slow
def test_index_of_the_preshuffled_sets_has_the_published_hash():
    """document.idx of EleutherAI/pile-deduped-pythia-preshuffled (1,757,184,042 bytes) follows from two numbers."""
    digest = hashlib.sha256()
    length = 0
    for block in constant_index_bytes(DTYPES[8], 146_432_000, 2049):
        digest.update(block)
        length += len(block)
    assert length == 1_757_184_042
    assert digest.hexdigest() == "1d9fdd760295eb2007a4874440b27c559ca722239fa2814aa8a2ee6724b7852f"


def test_codes_are_the_inverse_of_the_types():
    assert {code: CODES[dtype] for code, dtype in DTYPES.items()} == {code: code for code in range(1, 9)}


def test_an_index_without_document_starts_is_refused(tmp_path):
    (tmp_path / "x.idx").write_bytes(plain_index(8, 2, [3], []))
    with pytest.raises(DataError, match="doc_idx is empty"):
        open_index(tmp_path / "x.idx")


def test_checks_go_on_over_blocks(tmp_path, monkeypatch):
    """With blocks of two sequences, a fault in any place is still found and numbered rightly."""
    monkeypatch.setattr("workflow_scripts.dataset.files.indexed.BLOCK", 2)
    sizes = [3, 0, 4, 2, 5]
    good = plain_index(8, 2, sizes, [0, 1, 3, 4, 5])
    path = tmp_path / "x.idx"
    path.write_bytes(good)
    assert open_index(path).n_tokens == 14
    assert open_index(path).sizes_sha256() == hashlib.sha256(struct.pack("<5i", *sizes)).hexdigest()
    assert open_index(path).read_sizes().tolist() == sizes
    for number in range(5):
        path.write_bytes(with_header(good, 34 + 20 + 8 * number, struct.pack("<q", 99)))
        with pytest.raises(DataError, match=f"pointer of sequence {number} is 99"):
            open_index(path)
        path.write_bytes(with_header(good, 34 + 4 * number, struct.pack("<i", -1)))
        with pytest.raises(DataError, match=f"sequence {number} has the negative size -1"):
            open_index(path)
    path.write_bytes(with_header(good, 34 + 60 + 8 * 2, struct.pack("<q", 0)))
    with pytest.raises(DataError, match="must increase"):
        open_index(path)
