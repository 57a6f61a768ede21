"""What Snakemake hands to the functions of a rule; it ships no types of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Wildcards(Protocol):
    """Values of a job's wildcards by name."""

    def __getattr__(self, name: str) -> str:
        """The text that the wildcard ``name`` stands for."""

    def items(self) -> Iterable[tuple[str, str]]:
        """All names with their texts."""
