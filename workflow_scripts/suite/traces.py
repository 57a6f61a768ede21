"""Which texts a run traces: ``config/traces/<name>.yaml``, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import ROOT
from workflow_scripts.errors import UnknownNameError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.suite.schema import check_schema

FOLDER = ROOT / "config" / "traces"


@dataclass(frozen=True)
class TraceDeclaration:
    """``sources`` are entries of the list of texts, ``files`` the files among them."""

    name: str
    min_tokens: int
    scan_jobs: int
    sources: Sequence[JsonMapping]

    @property
    def files(self) -> list[str]:
        """Files that hold texts."""
        return [str(source["file"]) for source in self.sources if "file" in source]


def traces_names() -> list[str]:
    """Names of all declarations."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_traces(name: str) -> TraceDeclaration:
    """The declaration called ``name``; raises UnknownNameError or ConfigError."""
    if name not in traces_names():
        raise UnknownNameError("declaration of traces", name, traces_names())
    return read_traces(FOLDER / f"{name}.yaml")


def read_traces(path: Path) -> TraceDeclaration:
    """A declaration from its file; raises ConfigError."""
    facts = load_yaml(path)
    check_schema(facts, "traces", str(path))
    return TraceDeclaration(facts["traces"], int(facts["min_tokens"]), int(facts.get("scan_jobs", 1)), facts["texts"])
