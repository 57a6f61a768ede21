"""What is looked for in the tokens: every window of at least ``min_tokens`` tokens of some texts, for many at once.

Two stages, neither of which can miss a window. The data are read in *words* of four tokens, a 64-bit number each; any
window of 4 m + 3 tokens holds one of every m aligned words whole, so only every m-th word is looked at. If the window
has eight tokens or more, it also holds the two tokens before that word or the two behind it: both *sixes* are tested
against a bitmap. Where it says yes, so are the word and the five windows of eight tokens around it; what passes is
looked up in a hash table, and what is found there is compared token by token. Tokens wider than 16 bits are folded to
16 for all but the exact search.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.dataset.files.compiled import compiled
from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.errors import ConfigError

WORD = 4  # tokens of 16 bits in a 64-bit number
SIX = 6
GRAM = 8  # tokens of the windows in the hash table
SPARSE = 16  # bits of the bitmap for each six in it, at least: the smallest that rarely says yes for nothing
FEWEST_BITS, MOST_BITS = 1 << 12, 1 << 27
FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)  # odd, half of their bits set
FINER = np.uint64(3)  # the bitmap of eights has eight times as many bits as that of sixes
SIXTEEN = np.uint64(16)


class GramTable(NamedTuple):
    """Arrays that the kernels search.

    ``tokens`` int32 [m]: all sequences one after another; ``begins``, ``ends`` int32 [m]: bounds of the sequence that
    each token is of. ``quads``, ``sixes`` uint64: bitmaps of 2**(64 - shift) bits for words and sixes; ``grams``: a
    larger one for eights (FINER). ``keys`` uint64, ``heads`` int32: open addressing, from the hash of a window of eight
    tokens to where it starts; ``following`` int32 [m]: the next place with that hash, -1 for none. ``known`` bool
    [65536]: folded tokens that occur.
    """

    tokens: Array
    begins: Array
    ends: Array
    quads: Array
    sixes: Array
    grams: Array
    shift: np.uint64
    keys: Array
    heads: Array
    following: Array
    known: Array
    min_tokens: int


def gram_table(sequences: Sequence[NDArray[np.int32]], min_tokens: int) -> GramTable:
    """Table of ``sequences``; raises ConfigError for fewer than eight tokens, asked for or there."""
    if min_tokens < GRAM:
        raise ConfigError(f"matches of {min_tokens} tokens are too short to be traced; give at least {GRAM}")
    if not sequences or min(len(sequence) for sequence in sequences) < min_tokens:
        raise ConfigError(f"a sequence has fewer than the {min_tokens} tokens that a match needs")
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    stops = np.cumsum(lengths)
    tokens = np.concatenate(sequences).astype(np.int32)
    begins, ends = np.repeat(stops - lengths, lengths).astype(np.int32), np.repeat(stops, lengths).astype(np.int32)
    folded = tokens.astype(np.uint16)
    size = 1 << int(min(max(len(tokens) * SPARSE, FEWEST_BITS), MOST_BITS) - 1).bit_length()
    quads, sixes = np.zeros(size // 64, np.uint64), np.zeros(size // 64, np.uint64)
    grams, shift = np.zeros(size // 64 << int(FINER), np.uint64), np.uint64(65 - size.bit_length())
    slots = 1 << (2 * len(tokens)).bit_length()
    keys, heads = np.zeros(slots, np.uint64), np.full(slots, -1, np.int32)
    following = np.full(len(tokens), -1, np.int32)
    fill_words(folded, ends, quads, sixes, shift)
    fill_grams(folded, ends, grams, shift - FINER, keys, heads, following)
    known = np.zeros(1 << 16, np.bool_)
    known[folded] = True
    return GramTable(tokens, begins, ends, quads, sixes, grams, shift, keys, heads, following, known, min_tokens)


@compiled
def word_at(tokens: Array, place: int) -> np.uint64:
    """Four folded tokens from ``place`` as they lie in memory, little endian."""
    word = np.uint64(0)
    for offset in range(4):
        word |= np.uint64(np.uint16(tokens[place + offset])) << (SIXTEEN * np.uint64(offset))
    return word


@compiled
def pair_at(tokens: Array, place: int) -> np.uint64:
    """Two folded tokens from ``place``, as in :func:`word_at`."""
    return np.uint64(np.uint16(tokens[place])) | (np.uint64(np.uint16(tokens[place + 1])) << SIXTEEN)


@compiled
def six_hash(word: np.uint64, pair: np.uint64) -> np.uint64:
    """Hash of six tokens, the good bits on top."""
    return (word * FIRST) ^ (pair * SECOND)


@compiled
def gram_hash(first: np.uint64, second: np.uint64) -> np.uint64:
    """Hash of eight tokens, never 0, which marks a free slot."""
    mixed = (first * FIRST) ^ (second * SECOND)
    mixed ^= mixed >> np.uint64(29)
    return (mixed * FIRST) | np.uint64(1)


@compiled
def set_bit(bits: Array, at: np.uint64) -> None:
    """Set bit ``at`` of a bitmap."""
    bits[at >> np.uint64(6)] |= np.uint64(1) << (at & np.uint64(63))


@compiled
def bit_at(bits: Array, at: np.uint64) -> np.uint64:
    """Bit ``at`` of a bitmap, 0 or 1."""
    bit: np.uint64 = (bits[at >> np.uint64(6)] >> (at & np.uint64(63))) & np.uint64(1)
    return bit


@compiled
def fill_words(folded: Array, ends: Array, quads: Array, sixes: Array, shift: np.uint64) -> None:
    """Enter each word and each six."""
    for place in range(len(folded)):
        if place + WORD <= ends[place]:
            word = word_at(folded, place)
            set_bit(quads, (word * FIRST) >> shift)
            if place + SIX <= ends[place]:
                set_bit(sixes, six_hash(word, pair_at(folded, place + WORD)) >> shift)


@compiled
def fill_grams(  # noqa: PLR0917 - arrays that the caller made
    folded: Array, ends: Array, grams: Array, shift: np.uint64, keys: Array, heads: Array, following: Array
) -> None:
    """Enter each window of eight into bitmap and hash table, the last one first."""
    mask = np.uint64(len(keys) - 1)
    for place in range(len(folded) - 1, -1, -1):
        if place + GRAM > ends[place]:
            continue
        key = gram_hash(word_at(folded, place), word_at(folded, place + WORD))
        set_bit(grams, key >> shift)
        slot = (key >> np.uint64(20)) & mask
        while heads[slot] >= 0 and keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        keys[slot] = key
        following[place] = heads[slot]
        heads[slot] = place


@compiled
def find_gram(keys: Array, heads: Array, key: np.uint64) -> int:
    """First place of the window with hash ``key``, -1 for none."""
    mask = np.uint64(len(keys) - 1)
    slot = (key >> np.uint64(20)) & mask
    while heads[slot] >= 0:
        if keys[slot] == key:
            return int(heads[slot])
        slot = (slot + np.uint64(1)) & mask
    return -1
