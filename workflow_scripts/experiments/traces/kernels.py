"""Compiled search for the windows of a :class:`GramTable`: a fast pass that flags places, an exact one over rows."""

from __future__ import annotations

import sys

import numpy as np

from workflow_scripts.dataset.files.compiled import compiled
from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.experiments.traces.gram_table import (
    FINER,
    FIRST,
    GRAM,
    SIXTEEN,
    WORD,
    GramTable,
    bit_at,
    find_gram,
    gram_hash,
    pair_at,
    six_hash,
    word_at,
)

# What is known of a document's first and last tokens, for matches that cross into a neighbour in the training order.
STARTS_LIKE, ENDS_LIKE, STARTS_KNOWN, ENDS_KNOWN, IS_SHORT = 1, 2, 4, 8, 16
ROOM = 1 << 14  # spans or matches at a time
CHUNK = 4096  # words between the two passes over them: 32 KiB, which stay in a first-level cache
HALF, LOWER = np.uint64(32), np.uint64(0xFFFFFFFF)


def flagged_spans(tokens: Array, table: GramTable) -> Array:
    """Where ``tokens`` [n] hold a window of the table, int64 [k, 2]: rising spans [first, stop) of whole words.

    Each window of ``min_tokens`` tokens that occurs within ``tokens`` shares four tokens with a span. The spans say
    where to look closer: where spans touch they are joined, and a window in int32 tokens may agree in 16 bits only.
    """
    folded = tokens if tokens.dtype == np.dtype("<u2") and sys.byteorder == "little" else tokens.astype(np.uint16)
    # Words may begin at any token; those are taken that a processor likes to read.
    lead = -(folded.ctypes.data // folded.itemsize) % WORD
    words = folded[lead : lead + max(len(folded) - lead, 0) // WORD * WORD].view(np.uint64)
    parts, begin = [], 0
    while begin < len(words):
        spans = np.empty((ROOM + CHUNK, 2), np.int64)
        count, begin = flag_words(words, folded, lead, table, begin, spans)
        parts.append(spans[:count] * WORD + lead)
    return np.concatenate([np.empty((0, 2), np.int64), *parts])


@compiled
def flag_words(  # noqa: PLR0917 - a compiled function takes no keywords
    words: Array, folded: Array, lead: int, table: GramTable, begin: int, spans: Array
) -> tuple[int, int]:
    """Write runs of flagged words as [first, stop) to ``spans``, from word ``begin`` on while there is room.

    Word w is token ``lead`` + 4 w and three more. Returns how many runs there are and the word to go on with.
    """
    quads, sixes, grams, shift = table.quads, table.sixes, table.grams, table.shift
    stride = (table.min_tokens - WORD + 1) // WORD
    likely = np.empty(CHUNK, np.int64)
    count = 0
    last = np.int64(-2) - stride
    while begin < len(words) and count + CHUNK <= len(spans):
        end = min(begin + CHUNK * stride, len(words))
        number = 0
        for place in range(begin, end, stride):
            # A word is written down always and counted only where it may match: no branch to mispredict.
            likely[number] = place
            if place == 0 or place == len(words) - 1:
                number += 1
                continue
            here, before, behind = words[place], words[place - 1], words[place + 1]
            left = six_hash((before >> HALF) | (here << HALF), here >> HALF) >> shift
            right = six_hash(here, behind & LOWER) >> shift
            number += int(bit_at(sixes, left) | bit_at(sixes, right))
        words_known = 0
        for index in range(number):
            place = likely[index]
            likely[words_known] = place
            words_known += int(bit_at(quads, (words[place] * FIRST) >> shift))
        likelier = 0
        for index in range(words_known):
            place = likely[index]
            likely[likelier] = place
            if place == 0 or place == len(words) - 1:
                likelier += 1
                continue
            here, before, behind = words[place], words[place - 1], words[place + 1]
            found = np.uint64(0)
            for offset in range(5):
                key = gram_hash(shifted(before, here, offset), shifted(here, behind, offset))
                found |= bit_at(grams, key >> (shift - FINER))
            likelier += int(found)
        for index in range(likelier):
            place = likely[index]
            if not is_in_window(folded, lead + place * WORD, table):
                continue
            if place > last + stride:
                spans[count, 0] = place
                count += 1
            spans[count - 1, 1] = place + 1
            last = place
        begin += CHUNK * stride
    return count, begin


@compiled
def shifted(first: np.uint64, second: np.uint64, offset: int) -> np.uint64:
    """Four tokens from token ``offset`` (0 to 4) of two neighbouring words on."""
    if offset == 0:
        return first
    if offset == WORD:
        return second
    low = SIXTEEN * np.uint64(offset)
    return (first >> low) | (second << (np.uint64(64) - low))


@compiled
def is_in_window(folded: Array, place: int, table: GramTable) -> bool:
    """True where the four tokens from ``place`` are in an occurrence of ``min_tokens`` tokens of some sequence."""
    for start in range(max(place - WORD, 0), min(place, len(folded) - GRAM) + 1):
        key = gram_hash(word_at(folded, start), word_at(folded, start + WORD))
        if bit_at(table.grams, key >> (table.shift - FINER)) == np.uint64(0):
            continue
        found = find_gram(table.keys, table.heads, key)
        while found >= 0:
            if table.min_tokens == GRAM or match_length(folded, start, table, found, 0xFFFF) >= table.min_tokens:
                return True
            found = table.following[found]
    return False


@compiled
def match_length(tokens: Array, start: int, table: GramTable, place: int, mask: int) -> int:
    """Tokens that agree around ``tokens[start]`` and place ``place`` of the table, both ways; 0 where those differ."""
    left = 0
    limit = min(start, place - table.begins[place])
    while left < limit and tokens[start - left - 1] == table.tokens[place - left - 1] & mask:
        left += 1
    return left + agreeing(tokens, start, table, place, mask)


@compiled
def agreeing(tokens: Array, start: int, table: GramTable, place: int, mask: int) -> int:
    """Tokens that agree from ``tokens[start]`` and place ``place`` of the table on."""
    right = 0
    limit = min(len(tokens) - start, table.ends[place] - place)
    while right < limit and tokens[start + right] == table.tokens[place + right] & mask:
        right += 1
    return right


def matches_in_rows(rows: Array, table: GramTable) -> Array:
    """Every longest match inside the rows, int64 [k, 4]: row, position in it, place in the table, length.

    A match is as long as row and sequence agree, at least ``min_tokens``; ``rows`` [n, row tokens] of any integer type.
    Order: row, position, place.
    """
    found = np.empty((ROOM, 4), np.int64)
    count = match_rows(rows, table, found)
    if count > len(found):
        found = np.empty((count, 4), np.int64)
        match_rows(rows, table, found)
    return found[:count]


@compiled
def match_rows(rows: Array, table: GramTable, found: Array) -> int:
    """The same into ``found``; returns how many there are, room or not."""
    count = 0
    everything = 0x7FFFFFFF
    for number in range(len(rows)):
        row = rows[number]
        for start in range(len(row) - GRAM + 1):
            if not may_begin(row, start, table):
                continue
            place = find_gram(table.keys, table.heads, gram_hash(word_at(row, start), word_at(row, start + WORD)))
            while place >= 0:
                # A match begins where the tokens before it differ, or where row or sequence begins.
                begins = start == 0 or place == table.begins[place] or row[start - 1] != table.tokens[place - 1]
                if begins:
                    length = agreeing(row, start, table, place, everything)
                    if length >= table.min_tokens:
                        if count < len(found):
                            found[count, 0] = number
                            found[count, 1] = start
                            found[count, 2] = place
                            found[count, 3] = length
                        count += 1
                place = table.following[place]
    return count


@compiled
def flag_documents(tokens: Array, starts: Array, sizes: Array, table: GramTable, flags: Array) -> None:
    """Say of each document, ``tokens[starts[d] : starts[d] + sizes[d]]``, whether a match may cross its borders."""
    for document in range(len(starts)):
        size = sizes[document]
        start = starts[document]
        flag = STARTS_KNOWN | ENDS_KNOWN if size == 0 else 0
        if size > 0:
            last = start + size - 1
            flag |= STARTS_KNOWN * table.known[np.uint16(tokens[start])]
            flag |= ENDS_KNOWN * table.known[np.uint16(tokens[last])]
            if size >= WORD:
                flag |= STARTS_LIKE * may_hold(tokens, start, table)
                flag |= ENDS_LIKE * may_hold(tokens, last + 1 - WORD, table)
        if size < table.min_tokens:
            flag |= IS_SHORT
        flags[document] = flag


@compiled
def may_begin(tokens: Array, place: int, table: GramTable) -> bool:
    """False where the six tokens from ``place`` are in no sequence."""
    at = six_hash(word_at(tokens, place), pair_at(tokens, place + WORD)) >> table.shift
    return bool(bit_at(table.sixes, at))


@compiled
def may_hold(tokens: Array, place: int, table: GramTable) -> bool:
    """False where the four tokens from ``place`` are in no sequence."""
    return bool(bit_at(table.quads, (word_at(tokens, place) * FIRST) >> table.shift))
