"""Arithmetic lines whose operands differ in frequency: ``Sum: 3 plus 4 equals 7``.

Operands are drawn with Zipf-like weights, small numbers most often. A line begins with one of two words that mean the
same; documents use only one of them for a pair of operands and the test the other, so that no test line stands in
the corpus while how often its sum does is known.
"""

from workflow_scripts.pocket.documents import Document, Sentence, join
from workflow_scripts.pocket.random_stream import RandomStream

KIND = "arithmetic"
OPERANDS = 16
PAIRS = tuple((first, second) for first in range(OPERANDS) for second in range(OPERANDS))
LINES = (10, 14)
WEIGHTS = tuple(10_000 // (operand + 2) for operand in range(OPERANDS))
SEPARATOR = "\n"
WORDINGS = ("Sum", "Total")
POOL_CYCLE = 8  # One pair in eight gives examples and is never asked in the test.


def held_out_wording(first: int, second: int) -> int:
    """The position in ``WORDINGS`` of the word that no document uses for these operands."""
    return RandomStream(0, "held-out wording", first, second).below(len(WORDINGS))


HELD_OUT = {pair: held_out_wording(*pair) for pair in PAIRS}


def split(first: int, second: int) -> str:
    """``train`` when a sum gives examples for prompts, ``test`` when it is asked."""
    return "train" if RandomStream(0, "example sums", first, second).below(POOL_CYCLE) == 0 else "test"


def question(first: int, second: int, wording: int) -> str:
    """The line without its answer."""
    return f"{WORDINGS[wording]}: {first} plus {second} equals"


def line(stream: RandomStream) -> Sentence:
    """A true line in the wording that documents use."""
    first = stream.pick_weighted(range(OPERANDS), WEIGHTS)
    second = stream.pick_weighted(range(OPERANDS), WEIGHTS)
    mentions = (f"operand:{first}", f"operand:{second}", f"sum:{first}+{second}")
    return Sentence(f"{question(first, second, 1 - HELD_OUT[first, second])} {first + second}", mentions)


def document(stream: RandomStream) -> Document:
    """A document of several lines."""
    length = LINES[0] + stream.below(LINES[1] - LINES[0] + 1)
    return join(KIND, [line(stream) for _ in range(length)], SEPARATOR)


def items(wanted: str) -> list[dict[str, str | int]]:
    """All sums of a split (``train`` or ``test``), in the wording that no document uses."""
    return [
        {
            "context": question(first, second, HELD_OUT[first, second]),
            "completion": f" {first + second}",
            "first_operand": first,
            "second_operand": second,
        }
        for first, second in PAIRS
        if split(first, second) == wanted
    ]
