"""numpy's ``RandomState.shuffle`` bit for bit, faster and in place, for the arrays of index maps.

GPT-NeoX shuffles with ``numpy.random.RandomState(seed)``: a Mersenne Twister MT19937 (Matsumoto and Nishimura 1998)
seeded by its integer initialiser. For i = n-1 down to 1 the shuffle draws 32-bit numbers, keeps the lowest
``bit_length(i)`` bits, rejects values above i and swaps entries i and j. numpy guarantees this stream (NEP 19).
Here the partners of a block are drawn first and swapped afterwards, so that the misses of many swaps overlap. Must
never be used for anything but reproducing that order.
"""

import numpy as np

from workflow_scripts.dataset.files.compiled import compiled
from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.errors import ConfigError

WORDS = 624  # 32-bit words of generator state
MAX_SEED = 2**32 - 1
MAX_LENGTH = 2**32  # above it numpy draws 64-bit numbers
SWAPS = 4096  # partners drawn ahead: 16 KiB, half of a first-level cache


class LegacyShuffle:
    """A ``RandomState(seed)`` of which only ``shuffle`` is used; successive shuffles go on in one stream."""

    def __init__(self, seed: int) -> None:
        """``seed`` in [0, 2**32)."""
        if not 0 <= seed <= MAX_SEED:
            raise ConfigError(f"seed {seed} is outside 0 to {MAX_SEED}, the range of the original generator")
        self._state = seeded_state(seed)
        self._output = np.empty(WORDS, np.uint32)
        self._next = WORDS

    def shuffle(self, values: Array) -> None:
        """Shuffle a 1-D array in place, exactly as ``RandomState.shuffle`` would."""
        if len(values) > MAX_LENGTH:
            raise ConfigError(f"{len(values)} entries to shuffle; more than {MAX_LENGTH} are not supported")
        self._next = shuffle_in_place(values, self._state, self._output, self._next)


@compiled
def seeded_state(seed: int) -> Array:
    """State of MT19937 after its integer initialiser: uint32 [624]."""
    state = np.empty(624, np.uint32)
    word = np.uint64(seed)
    for index in range(624):
        state[index] = word
        word = (np.uint64(1812433253) * (word ^ (word >> np.uint64(30))) + np.uint64(index + 1)) & np.uint64(0xFFFFFFFF)
    return state


@compiled
def twist_word(upper: np.uint32, lower: np.uint32, far: np.uint32) -> np.uint32:
    """One word of the recurrence."""
    mixed = (upper & np.uint32(0x80000000)) | (lower & np.uint32(0x7FFFFFFF))
    return far ^ (mixed >> np.uint32(1)) ^ ((np.uint32(0) - (mixed & np.uint32(1))) & np.uint32(0x9908B0DF))


@compiled
def refill(state: Array, output: Array) -> None:
    """Advance ``state`` by 624 words and write them, tempered, to ``output``."""
    for index in range(227):
        state[index] = twist_word(state[index], state[index + 1], state[index + 397])
    for index in range(227, 623):
        state[index] = twist_word(state[index], state[index + 1], state[index - 227])
    state[623] = twist_word(state[623], state[0], state[396])
    for index in range(624):
        word = state[index]
        word ^= word >> np.uint32(11)
        word ^= (word << np.uint32(7)) & np.uint32(0x9D2C5680)
        word ^= (word << np.uint32(15)) & np.uint32(0xEFC60000)
        output[index] = word ^ (word >> np.uint32(18))


@compiled
def shuffle_in_place(values: Array, state: Array, output: Array, position: int) -> int:
    """The shuffle; returns the position in ``output`` after the last number used."""
    last = len(values) - 1
    partners = np.empty(SWAPS + 1, np.uint32)
    while last >= 1:
        mask = np.uint32(last)
        for shift in (1, 2, 4, 8, 16):
            mask |= mask >> np.uint32(shift)
        # All indices down to half of the mask use the same mask.
        wanted = int(min(SWAPS, last - (int(mask) >> 1)))
        found = 0
        while found < wanted:
            if position == 624:
                refill(state, output)
                position = 0
            draws = int(min(624 - position, wanted - found))
            found = draw_partners(output[position : position + draws], mask, last, partners, found)
            position += draws
        swap_block(values, partners, last, wanted)
        last -= wanted
    return position


@compiled
def draw_partners(numbers: Array, mask: np.uint32, last: int, partners: Array, found: int) -> int:
    """Turn random ``numbers`` into partners of entries last - found, last - found - 1, ...; returns how many there are.

    A partner is written always but counted only when it is not above its bound: no branch to mispredict.
    """
    place = np.uint64(found)
    bound = np.uint32(last - found)
    for k in range(len(numbers)):
        partner = numbers[k] & mask
        partners[place] = partner
        accepted = partner <= bound
        place += np.uint64(accepted)
        bound -= np.uint32(accepted)
    return int(place)


@compiled
def swap_block(values: Array, partners: Array, last: int, count: int) -> None:
    """Swap entries ``last - q`` and ``partners[q]`` for q = 0 .. count-1, in that order."""
    top = np.uint64(last)
    for q in range(np.uint64(count)):
        partner = partners[q]
        kept = values[partner]
        values[partner] = values[top - q]
        values[top - q] = kept
