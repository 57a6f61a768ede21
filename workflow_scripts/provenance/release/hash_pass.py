"""The bytes of a release against its manifest: every file that is here is read once."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts import ROOT
from workflow_scripts.provenance.release.file_hashes import Folder, hash_files, state
from workflow_scripts.provenance.release.manifest import Manifest, SealedFile
from workflow_scripts.provenance.release.release_findings import Part

SHORT = 12
ABSENT = "is not here"


def check_hashes(manifest: Manifest, folder: Path, *, complete: bool = False) -> tuple[Part, dict[str, Path]]:
    """Compare sizes and hashes; returns the findings and where the files lie that are what was sealed.

    Configuration and locks may be those of this checkout. What is absent is not checked, or wrong if the release has
    to be ``complete``. Raises DataError when a symbolic link leads out of ``folder``.
    """
    part = Part("Files", "Is every file that is here, byte for byte, the one that was sealed?")
    made, read = [*manifest.outputs, *manifest.records], [*manifest.inputs, *manifest.locks]
    here = Folder(folder)
    places = {file.path: here.place(file.path) for file in [*made, *read]}
    ours = {file.path: ROOT / file.path for file in read if not exists(places[file.path]) and exists(ROOT / file.path)}
    places |= ours
    candidates = [file for file in [*made, *read] if fits(file, places[file.path])]
    found = {file.path: file for file in hash_files((file.path, places[file.path]) for file in candidates)}
    right = {}
    for file in [*made, *read]:
        place = places[file.path]
        same = file.path in found and found[file.path].sha256 == file.sha256
        if same:
            part.right += 1
            right[file.path] = place
        elif file.path in ours:
            part.leave(file.path, "is not in the release, and this checkout has another version of it")
        elif exists(place):
            part.hold(file.path, False, difference(file, place, found.get(file.path)))
        elif complete:
            part.hold(file.path, False, f"{ABSENT}, and the release was said to be complete")
        else:
            part.leave(file.path, ABSENT)
    size = sum(file.bytes for file in [*made, *read] if file.path in right)
    part.notes.append(f"{len(right):,} files, {size / 1e6:,.1f} MB, are as sealed.")
    return part, right


def exists(path: Path) -> bool:
    """Whether anything lies there, a dangling link among others."""
    return path.exists() or path.is_symlink()


def fits(file: SealedFile, place: Path) -> bool:
    """A regular file of the right size; any other need not be read."""
    found = state(place)
    return found is not None and found.st_size == file.bytes


def difference(file: SealedFile, place: Path, found: SealedFile | None) -> str:
    """What is wrong with a file."""
    if found is not None:
        return f"has sha256 {found.sha256[:SHORT]}, sealed is {file.sha256[:SHORT]}"
    seen = state(place)
    return "is not a file" if seen is None else f"has {seen.st_size} bytes, sealed are {file.bytes}"
