"""Weights that a release was scored with, fetched from their repository at the commit that its manifest pins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts.checkpoints.content_store import STORE, Store
from workflow_scripts.checkpoints.fetch import bring, chosen_files, write_hashes
from workflow_scripts.provenance.release.manifest import Revision
from workflow_scripts.storage.http.retry import RetryPolicy
from workflow_scripts.storage.sources.catalog import open_source
from workflow_scripts.storage.sources.listing import known_files
from workflow_scripts.storage.sources.source import Repository


@dataclass(frozen=True)
class Fetcher:
    """Fetches what is drawn into ``folder``/<model>/step<N>; a checkpoint that lies there is not fetched again."""

    folder: Path
    pinned: Iterable[Revision]
    source: str = "hub"
    location: str = ""
    wanted: dict[tuple[str, str], Revision] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "wanted", {(each.model, f"step{each.step}"): each for each in self.pinned})

    def __contains__(self, checkpoint: tuple[str, str]) -> bool:
        """Whether the manifest pins this model and revision."""
        return checkpoint in self.wanted

    def fetch(self, model: str, step: str) -> Path:
        """The folder of a checkpoint that is pinned; raises TransferError, IntegrityError or DataError."""
        entry, folder = self.wanted[model, step], self.folder / model / step
        if (folder / "sha256.txt").is_file():
            return folder
        repository = Repository("model", entry.repository, entry.commit or entry.revision)
        store, policy = Store(folder.parent / STORE), RetryPolicy()
        with open_source(self.source, self.location, repository, policy) as source:
            write_hashes(folder, bring(source, chosen_files(known_files(source), source), folder, store, policy))
        return folder
