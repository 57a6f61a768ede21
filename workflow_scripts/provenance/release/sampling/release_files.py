"""The files of a sealed release that lie in a folder here, and what their records say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.json_values import JsonMapping, read_object
from workflow_scripts.provenance.release.manifest import Manifest
from workflow_scripts.storage.records import record_path

FOREIGN = "restore the file as it was sealed"


@dataclass(frozen=True)
class Release:
    """``paths`` of a manifest, relative to ``folder``; what they hold was compared with the manifest before."""

    folder: Path
    paths: frozenset[str]

    @classmethod
    def of(cls, manifest: Manifest, folder: Path) -> Release:
        """The files of ``manifest`` in ``folder``."""
        return cls(folder, frozenset(file.path for file in manifest.files()))

    def matching(self, pattern: str) -> Iterator[re.Match[str]]:
        """Sealed paths that match a regular expression as a whole, sorted."""
        compiled = re.compile(pattern, re.ASCII)
        return (match for path in sorted(self.paths) if (match := compiled.fullmatch(path)))

    def has(self, path: str) -> bool:
        """Whether the file was sealed and lies here."""
        return path in self.paths and (self.folder / path).is_file()

    def place(self, path: str) -> Path:
        """Where the file lies here."""
        return self.folder / path

    def record(self, path: str) -> JsonMapping:
        """The record of an output, empty where none was sealed; raises DataError."""
        record = record_path(Path(path)).as_posix()
        if not self.has(record):
            return {}
        return read_object(self.place(record), "record", FOREIGN, "inputs", "parameters")

    def input_path(self, path: str, name: str) -> str | None:
        """Path of an input by its name in the record of the output ``path``; None where no record names it."""
        entry = self.record(path).get("inputs", {}).get(name)
        return str(entry["path"]) if isinstance(entry, dict) and "path" in entry else None
