"""Arithmetic lines whose operands differ in frequency: ``Sum: 3 plus 4 equals 7``.

Operands are drawn with Zipf-like weights, small numbers most often. Of three quarters of the pairs of different
operands documents use one order only; the test asks the other order, so that no test line stands in the corpus while
its operands and the same sum in the other order do, with known counts.
"""

from __future__ import annotations

from workflow_scripts.pocket.documents import Document, Sentence, join
from workflow_scripts.pocket.random_stream import RandomStream

KIND = "arithmetic"
OPERANDS = 20
LINES = (10, 14)
WEIGHTS = tuple(10_000 // (operand + 2) for operand in range(OPERANDS))
SEPARATOR = "\n"


def is_held_out(first: int, second: int) -> bool:
    """True for the sums that no document contains; the other order of the same operands may occur."""
    if first == second or not is_drawn(first, second):
        return False
    return first < second or not is_drawn(second, first)


def is_drawn(first: int, second: int) -> bool:
    """True for half of all ordered pairs, without a pattern that could tell a pair's sum."""
    return RandomStream(0, "held-out sums", first, second).below(2) == 0


HELD_OUT = {(first, second): is_held_out(first, second) for first in range(OPERANDS) for second in range(OPERANDS)}


def question(first: int, second: int) -> str:
    """The line without its answer."""
    return f"Sum: {first} plus {second} equals"


def line(stream: RandomStream) -> Sentence:
    """A true line in the order that documents use."""
    operands = range(OPERANDS)
    first, second = stream.pick_weighted(operands, WEIGHTS), stream.pick_weighted(operands, WEIGHTS)
    if HELD_OUT[first, second]:
        first, second = second, first
    mentions = (f"operand:{first}", f"operand:{second}", f"sum:{first}+{second}")
    return Sentence(f"{question(first, second)} {first + second}", mentions)


def document(stream: RandomStream) -> Document:
    """A document of several lines."""
    length = LINES[0] + stream.below(LINES[1] - LINES[0] + 1)
    return join(KIND, [line(stream) for _ in range(length)], SEPARATOR)


def items(held_out: bool) -> list[dict[str, str | int]]:
    """All sums that no document contains (test), or all that documents may contain (examples)."""
    return [
        {
            "context": question(first, second),
            "completion": f" {first + second}",
            "first_operand": first,
            "second_operand": second,
        }
        for (first, second), is_asked in HELD_OUT.items()
        if is_asked is held_out
    ]
