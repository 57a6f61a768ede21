"""Sections of the report about what was made: coverage of checkpoints, receipts of the data stage, sampled batches."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.report.page.report_inputs import ReportInputs, read_json
from workflow_scripts.storage.given_files import GivenFiles

SHOWN_TEXTS = 2
SHORT_HASH = 12


@dataclass(frozen=True)
class CoverageRow:
    """One model: for each step a state (full, part, none) and words for it."""

    model: str
    steps: Sequence[int]
    cells: Sequence[tuple[str, str]]


def coverage(inputs: ReportInputs) -> list[CoverageRow]:
    """Which checkpoints of the run are scored, with which numbers of shots."""
    if inputs.scores.empty:
        return []
    scored: dict[tuple[str, int], set[int]] = defaultdict(set)
    for model, step, shots in inputs.scores[["model", "step", "shots"]].drop_duplicates().itertuples(index=False):
        scored[str(model), int(step)].add(int(shots))
    wanted = set(inputs.run.get("shots", []))
    rows = []
    for model, steps in inputs.run["steps"].items():
        cells = [coverage_cell(step, scored.get((model, step), set()), wanted) for step in steps]
        rows.append(CoverageRow(model, steps, cells))
    return rows


def coverage_cell(step: int, found: set[int], wanted: set[int]) -> tuple[str, str]:
    """State and words of one checkpoint.

    >>> coverage_cell(512, {0}, {0, 5})
    ('part', 'step 512: 0-shot; missing 5-shot')
    """
    state = "full" if wanted <= found else "part" if found else "none"
    missing = ", ".join(f"{shots}-shot" for shots in sorted(wanted - found))
    present = ", ".join(f"{shots}-shot" for shots in sorted(found)) or "not scored"
    return state, f"step {step}: {present}" + (f"; missing {missing}" if missing else "")


@dataclass(frozen=True)
class DataBlock:
    """One data set of the run: facts as (name, value), sample texts as (title, text)."""

    name: str
    facts: Sequence[tuple[str, str]]
    samples: Sequence[tuple[str, str]]


def data_blocks(inputs: ReportInputs) -> list[DataBlock]:
    """Receipts of the data stage, for the data sets that the run's models were trained on."""
    blocks = []
    for key in dict.fromkeys(model["dataset"] for model in inputs.run["models"]):
        facts = data_facts(inputs.given, key)
        if facts:
            blocks.append(DataBlock(key, facts, batch_samples(inputs.given.find(f"{key}/batches/samples.jsonl"))))
    return blocks


def data_facts(given: GivenFiles, key: str) -> list[tuple[str, str]]:
    """Facts that the receipts of data set ``key`` hold; empty where none was given."""
    names = ("verified.json", "view.json", "index_maps/index_maps.json")
    verified, view, maps = (read_json(given.find(f"{key}/{name}")) for name in names)
    facts: list[tuple[str, str]] = []
    if verified:
        facts.append(("checked files", f"{len(verified['files'])} files, {verified['bytes']:,} bytes, all match"))
        facts.append(("sha256 of the list", str(verified["lock_sha256"])))
    if view:
        facts += [(name, f"{view[name]:,}") for name in ("sequences", "tokens") if name in view]
    for entry in (maps or {}).get("sets", []):
        facts.append((f"order, {entry['label']}", f"{entry['samples']:,} rows from {entry['epochs']} epochs"))
        facts += [(f"sha256 of {kind}", str(sha256)) for kind, sha256 in sorted(entry["files"].items())]
    return facts


def batch_samples(path: Path | None) -> list[tuple[str, str]]:
    """The first rows of the sampled batches, as text."""
    if path is None:
        return []
    samples = []
    for line in path.read_text(encoding="utf-8").splitlines():
        batch = json.loads(line)
        head = (
            f"iteration {batch['iteration']}, rows {batch['first_row']:,} to {batch['first_row'] + batch['rows'] - 1:,}"
        )
        texts = "\n\n".join(batch["texts"][:SHOWN_TEXTS])
        samples.append((f"{head}, sha256 {batch['sha256'][:SHORT_HASH]}", texts))
    return samples
