"""Questions whose answers depend on terms: sums with declared operands, and facts of the pocket world.

A question has a prompt, one or several answers and the term whose frequency may decide. Examples before it never share
its term. A question with one answer is answered when every token of it is the most likely one; a question with several
when the first, the correct one, is the likeliest.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.evaluation.planning.local_data import require_split

EXAMPLE_SEED = 1234
PYTHIA_OPERATIONS = {"multiplication": "times", "addition": "plus"}
PYTHIA_FIRST, PYTHIA_SECOND = range(100), range(1, 51)
NO_CONTROL = float("nan")


@dataclass(frozen=True)
class Question:
    """``answers[0]`` is correct. ``control`` is a number that may explain accuracy beside frequency (operand size)."""

    task: str
    item: str
    term: str
    prompt: str
    answers: tuple[str, ...]
    control: float = NO_CONTROL

    @property
    def solved(self) -> str:
        """The question with its right answer, as an example."""
        return self.prompt + self.answers[0]


@dataclass(frozen=True)
class Task:
    """Questions, the pool that examples come from, and the separator between examples."""

    name: str
    questions: tuple[Question, ...]
    pool: tuple[Question, ...]
    separator: str

    def prompts(self, shots: int) -> list[str]:
        """Prompt of each question with ``shots`` solved examples of other terms before it, the same in every run."""
        return [self.prompt(number, question, shots) for number, question in enumerate(self.questions)]

    def prompt(self, number: int, question: Question, shots: int) -> str:
        """Prompt of question ``number``; its examples are drawn from a stream of their own."""
        others = [example for example in self.pool if example.term != question.term]
        random = np.random.default_rng([EXAMPLE_SEED, number])
        drawn = random.permutation(len(others))[:shots]
        return self.separator.join([*(others[place].solved for place in drawn), question.prompt])


def pocket_arithmetic(folders: Sequence[Path]) -> Task:
    """Sums of the pocket suite; the term and the control are the first operand."""
    parts = []
    for split in ("test", "train"):
        frame = pd.read_parquet(require_split(folders, "pocket/arithmetic", "default", split, "arithmetic").path)
        rows = zip(frame["context"], frame["completion"], frame["first_operand"], frame["second_operand"], strict=True)
        parts.append(
            tuple(
                Question("arithmetic", f"{number}-{a}-{b}", str(a), context, (answer,), float(a))
                for number, (context, answer, a, b) in enumerate(rows)
            )
        )
    return Task("arithmetic", parts[0], parts[1], "\n")


def pocket_facts(folders: Sequence[Path]) -> Task:
    """Closed questions for capitals; the term is the country."""
    parts = []
    for split in ("test", "train"):
        frame = pd.read_parquet(require_split(folders, "pocket/facts", "default", split, "facts").path)
        closed = frame[frame["wording"] == "closed"]
        parts.append(tuple(fact_question(row) for row in closed.to_dict(orient="records")))
    return Task("facts", parts[0], parts[1], "\n\n")


def fact_question(row: Mapping[Hashable, object]) -> Question:
    """A question in ARC's layout with the right choice first."""
    choices = row["choices"]
    assert isinstance(choices, dict)
    texts = [f" {text}" for text in choices["text"]]
    gold = list(choices["label"]).index(row["answerKey"])
    answers = (texts[gold], *(text for place, text in enumerate(texts) if place != gold))
    return Question("facts", str(row["id"]), str(row["country"]), f"Question: {row['question']}\nAnswer:", answers)


def pythia_arithmetic(operation: str) -> Task:
    """``Q:What is 7 times 12? A:`` for x1 of 0..99 and x2 of 1..50; the term and the control are x1."""
    word = PYTHIA_OPERATIONS[operation]
    questions = tuple(
        Question(
            operation,
            f"{a}-{b}",
            str(a),
            f"Q:What is {a} {word} {b}? A:",
            (f" {a * b if word == 'times' else a + b}",),
            float(a),
        )
        for a in PYTHIA_FIRST
        for b in PYTHIA_SECOND
    )
    return Task(operation, questions, questions, "\n")


def load_tasks(terms: str, folders: Sequence[Path]) -> list[Task]:
    """Tasks that go with a list of terms."""
    if terms == "pocket":
        return [pocket_arithmetic(folders), pocket_facts(folders)]
    return [pythia_arithmetic(operation) for operation in PYTHIA_OPERATIONS]
