"""The page of a verification: one HTML file that needs no network, in the style of the report."""

from __future__ import annotations

from pathlib import Path

import jinja2

from workflow_scripts.json_values import JsonObject
from workflow_scripts.provenance.release.release_findings import Finding, Part, Verification, in_groups
from workflow_scripts.provenance.release.sampling.sample_result import (
    CONFIDENCE,
    SampleResult,
    Verdict,
    floor_chance,
    floor_percent,
)
from workflow_scripts.report.build import TEMPLATES

SHOWN = 20  # names of a group
NOT_PROVED = (
    "Who sealed it and when. A manifest can be made at any time by anyone; a signature and the line in a published "
    "paper bind it to a person and to a date.",
    "That the code is right. The checks run the same programs as the authors did; a mistake in them is in both.",
    "Anything about files that are not here and about what is listed under “Not checked”.",
    "That no single number is wrong where samples were taken: the table says what share is right at least.",
    "That a score was made in the number type that its file names: the type is the author's word, and it sets the "
    "tolerance of the samples. In half precision that tolerance is wide.",
    "That the programs of this checkout are what you think they are. Get the code from a place that you trust.",
)


def render(verification: Verification, command: str) -> str:
    """The page as text; ``command`` repeats the verification."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("verification.html.j2").render(page_content(verification, command))


def page_content(verification: Verification, command: str) -> JsonObject:
    """Everything that the template shows."""
    samples = [sample for sample in verification.samples if sample.population or sample.left]
    wrong = [(part.title, shown(part.wrong)) for part in verification.parts if part.wrong]
    wrong += [(each.title, shown(wrong_items(each))) for each in samples if each.wrong]
    unchecked = [(part.title, shown(part.unchecked)) for part in verification.parts if part.unchecked]
    unchecked += [(each.title, shown(left_out(each))) for each in samples if each.left]
    return {
        "verification": verification,
        "facts": facts_of(verification),
        "wrong": wrong,
        "unchecked": unchecked,
        "parts": [part_row(part) for part in verification.parts],
        "notes": [note for part in verification.parts for note in part.notes],
        "samples": [sample_row(each) for each in samples if each.population],
        "confidence": f"{CONFIDENCE:.0%}",
        "not_proved": NOT_PROVED,
        "command": command,
    }


def facts_of(verification: Verification) -> list[tuple[str, str]]:
    """Names and values at the top of the page."""
    here = verification.here
    return [
        ("run", verification.run),
        ("sealed", verification.sealed),
        ("code here", str(here["code"])),
        ("machine", f"{here['system']} {here['machine']}, Python {here['python']}"),
        ("seed", verification.seed),
    ]


def part_row(part: Part) -> JsonObject:
    """One row of the table of checks."""
    numbers = {"right": f"{part.right:,}", "wrong": f"{len(part.wrong):,}", "unchecked": f"{len(part.unchecked):,}"}
    return {"title": part.title, "asked": part.asked, "seconds": f"{part.seconds:.1f}", **numbers}


def sample_row(sample: SampleResult) -> list[str]:
    """One row of the table of samples."""
    counts = [f"{sample.count(verdict):,}" for verdict in Verdict]
    largest = f"{sample.largest_difference:.2g} {sample.unit}" if sample.largest_difference else "none"
    bounds = [floor_percent(sample.share_right), floor_chance(sample.chance)] if sample.checked else ["0.0 %", "0.000"]
    return [sample.title, f"{sample.population:,}", f"{sample.checked:,}", *counts, largest, *bounds]


def wrong_items(sample: SampleResult) -> list[Finding]:
    """Items of a sample that are wrong, as findings."""
    return [Finding(f"{each.item.group} {each.item.number}", each.detail) for each in sample.wrong]


def left_out(sample: SampleResult) -> list[Finding]:
    """What of a kind could not be sampled, as findings."""
    return [Finding(each.name, each.reason) for each in sample.left]


def shown(findings: list[Finding]) -> list[JsonObject]:
    """Findings by their text, each with the first names and how many more there are."""
    groups = in_groups(findings)
    return [{"text": text, "names": names[:SHOWN], "more": max(0, len(names) - SHOWN)} for text, names in groups]
