"""Holds an import to the files that are known: the table of this project lists the sha256 of every one.

A folder that was downloaded or copied later may hold changed, new or fewer files. That is no error, but each is said:
otherwise numbers would change without a word.
"""

from collections.abc import Mapping
from pathlib import Path

from workflow_scripts.published.results_table import read_table
from workflow_scripts.published.rules.findings import Defect

RULE = "not-the-known-files"
SHOWN = 3


def known_hashes(table: Path) -> dict[str, str]:
    """Hash of each source file of an imported table."""
    pairs = read_table(table)[["source_file", "source_sha256"]].drop_duplicates().astype(str)
    return dict(pairs.itertuples(index=False))


def differences(seen: Mapping[str, str], known: Mapping[str, str]) -> list[Defect]:
    """Changed, missing and new files of ``seen`` (path -> sha256) against ``known``; nothing when they are equal."""
    groups = {
        "changed": sorted(path for path in seen.keys() & known.keys() if seen[path] != known[path]),
        "missing": sorted(known.keys() - seen.keys()),
        "new": sorted(seen.keys() - known.keys()),
    }
    return [
        Defect(
            RULE,
            f"{len(paths)} of {len(known)} known files are {kind}" if kind != "new" else f"{len(paths)} files are new",
            ", ".join(paths[:SHOWN]) + (" ..." if len(paths) > SHOWN else ""),
            len(paths),
            "imported as they are here",
        )
        for kind, paths in groups.items()
        if paths
    ]
