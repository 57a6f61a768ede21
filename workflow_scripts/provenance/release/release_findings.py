"""What a verification found: parts, each with what is right, what is wrong and what could not be checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from workflow_scripts.json_values import JsonObject
from workflow_scripts.provenance.release.sampling.sample_result import SampleResult


@dataclass(frozen=True, order=True)
class Finding:
    """A thing and what is said of it."""

    subject: str
    text: str


@dataclass
class Part:
    """One kind of check: ``title``, what was ``asked``, how many comparisons were ``right``, and all others by name."""

    title: str
    asked: str
    right: int = 0
    wrong: list[Finding] = field(default_factory=list)
    unchecked: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def hold(self, subject: str, is_right: bool, text: str) -> None:
        """Count a comparison, or enter it under ``wrong`` with ``text``."""
        if is_right:
            self.right += 1
        else:
            self.wrong.append(Finding(subject, text))

    def leave(self, subject: str, reason: str) -> None:
        """Enter what could not be checked."""
        self.unchecked.append(Finding(subject, reason))

    @property
    def sentence(self) -> str:
        """The part in one line."""
        counts = [f"{self.right} right", f"{len(self.wrong)} WRONG" if self.wrong else "0 wrong"]
        if self.unchecked:
            counts.append(f"{len(self.unchecked)} not checked")
        return f"{self.title}: {', '.join(counts)}"

    def as_json(self) -> JsonObject:
        """For the file of findings."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Verification:
    """All findings about one manifest; ``seed`` drew the samples, ``here`` are versions of this machine."""

    manifest: str
    line: str
    run: str
    sealed: str
    limits: tuple[str, ...]
    seed: str
    budget: float
    here: JsonObject
    parts: tuple[Part, ...]
    samples: tuple[SampleResult, ...]

    @property
    def faults(self) -> int:
        """Number of differences found."""
        return sum(len(part.wrong) for part in self.parts) + sum(len(sample.wrong) for sample in self.samples)

    @property
    def verdict(self) -> str:
        """The whole in one sentence."""
        if self.faults:
            return f"{self.faults} differences found: this is not the release that was sealed, or not what it says."
        left = sum(len(part.unchecked) for part in self.parts) + sum(len(each.left) for each in self.samples)
        rest = f"; {left} could not be checked here" if left else ""
        drawn = sum(sample.checked for sample in self.samples)
        again = f" and {drawn:,} samples" if drawn else ""
        return f"Nothing wrong found in {sum(part.right for part in self.parts):,} comparisons{again}{rest}."

    def as_json(self) -> JsonObject:
        """Everything, for a program."""
        own = ("manifest", "line", "run", "sealed", "limits", "seed", "budget", "here")
        return {
            "format": "pythia-verification",
            "version": 1,
            **{name: getattr(self, name) for name in own},
            "verdict": self.verdict,
            "faults": self.faults,
            "parts": [part.as_json() for part in self.parts],
            "samples": [sample.to_json() for sample in self.samples],
        }


def in_groups(findings: Iterable[Finding]) -> list[tuple[str, list[str]]]:
    """Subjects of equal texts together, the largest group first.

    >>> in_groups([Finding("a", "absent"), Finding("b", "other"), Finding("c", "absent")])
    [('absent', ['a', 'c']), ('other', ['b'])]
    """
    groups: dict[str, list[str]] = {}
    for finding in findings:
        groups.setdefault(finding.text, []).append(finding.subject)
    return sorted(groups.items(), key=lambda group: -len(group[1]))
