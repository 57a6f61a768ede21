"""The world file: what the made-up world contains and how often each part of it occurs in both corpora.

A JSON object that the experiments read; docs/pocket.md describes its fields. Counts come from the documents' own
lists of mentions; a test finds the same numbers by searching the text.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from workflow_scripts.errors import DataError
from workflow_scripts.json_values import JsonObject, read_object
from workflow_scripts.pocket import arithmetic, facts, occupations, passages
from workflow_scripts.pocket.corpus import Corpora, mention_counts
from workflow_scripts.pocket.facts import Fact

FORMAT = "pocket-world-1"
Counts = Mapping[str, Counter[str]]


def describe(seed: int, corpora: Corpora) -> JsonObject:
    """The whole world as a JSON value; every count is given for both corpora."""
    counts = {"standard": mention_counts(corpora.standard), "deduped": mention_counts(corpora.deduped)}
    return {
        "format": FORMAT,
        "seed": seed,
        "documents": {name: len(getattr(corpora, name)) for name in counts},
        "characters": {name: sum(len(entry.document.text) for entry in getattr(corpora, name)) for name in counts},
        "documents_by_copies": copies_by_kind(corpora),
        "facts": [describe_fact(fact, counts) for fact in facts.make_facts(seed)],
        "occupations": [describe_occupation(name, counts) for name in occupations.OCCUPATIONS],
        "operands": [
            {"operand": operand, "count": count(counts, f"operand:{operand}")} for operand in range(arithmetic.OPERANDS)
        ],
        "sums": describe_sums(counts),
        "passages": [
            {"id": f"{document.kind}-{position:06d}", "copies": copies, "text": document.text}
            for position, (document, copies) in enumerate(corpora.copies)
            if document.kind == passages.KIND
        ],
    }


def count(counts: Counts, mention: str) -> dict[str, int]:
    """How often something is mentioned in each corpus."""
    return {name: counter[mention] for name, counter in counts.items()}


def describe_fact(fact: Fact, counts: Counts) -> JsonObject:
    """A country, both its facts, and how often each was stated or answered."""
    return {
        "rank": fact.rank,
        "country": fact.country,
        "capital": fact.capital,
        "river": fact.river,
        "split": fact.split,
        "capital_count": count(counts, f"capital:{fact.country}"),
        "river_count": count(counts, f"river:{fact.country}"),
    }


def describe_occupation(name: str, counts: Counts) -> JsonObject:
    """An occupation, its usual pronoun, the declared rate in per cent and the counts of both pronouns."""
    return {
        "occupation": name,
        "stereotype": occupations.stereotype(name),
        "stereotype_percent": occupations.STEREOTYPE_PERCENT,
        "he_count": count(counts, f"pronoun:{name}:he"),
        "she_count": count(counts, f"pronoun:{name}:she"),
    }


def describe_sums(counts: Counts) -> list[JsonObject]:
    """Each ordered pair of operands with its counts."""
    return [
        {"first_operand": first, "second_operand": second, "count": count(counts, f"sum:{first}+{second}")}
        for first, second in arithmetic.PAIRS
    ]


def copies_by_kind(corpora: Corpora) -> dict[str, dict[str, int]]:
    """For each kind of document: number of copies -> how many different documents have it."""
    table: dict[str, Counter[int]] = {}
    for document, copies in corpora.copies:
        table.setdefault(document.kind, Counter())[copies] += 1
    return {kind: {str(copies): row[copies] for copies in sorted(row)} for kind, row in sorted(table.items())}


def read_facts(path: Path) -> tuple[int, list[Fact]]:
    """Seed and facts of a world file.

    Raises MissingInputError when there is no such file and DataError when it is not a world file of this format.
    """
    world = read_object(path, "world file", "create it with workflow_scripts.pocket.generate_corpus")
    if world.get("format") != FORMAT:
        raise DataError(f"{path}: not a world file of format {FORMAT}; create it with pocket.generate_corpus")
    try:
        listed = [Fact(row["rank"], row["country"], row["capital"], row["river"]) for row in world["facts"]]
        return int(world["seed"]), listed
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a world file ({error}); create it with pocket.generate_corpus") from error
