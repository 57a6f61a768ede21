r"""Link the profiles of this project where ``snakemake --profile NAME`` looks for them; part of the set-up.

Snakemake searches the user's configuration folder (XDG_CONFIG_HOME or ~/.config, then snakemake/) and never profiles/.
A folder or file that somebody made there is left alone and named; a link of another checkout is turned to this one. A
second call changes nothing. Without any link, ``snakemake --workflow-profile profiles/slurm`` does the same.

Example:
  python -m workflow_scripts.workflow.tools.link_profiles
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from workflow_scripts import ROOT, cli
from workflow_scripts.errors import StorageError


def search_folder() -> Path:
    """Folder in which Snakemake looks for the profiles of this user."""
    configured = os.environ.get("XDG_CONFIG_HOME")
    return Path(configured or Path.home() / ".config") / "snakemake"


def profiles_of(root: Path) -> list[Path]:
    """Profile folders of a checkout, by name; ``default`` is found by Snakemake without a link."""
    found = (path.parent for path in (root / "profiles").glob("*/profile.v9+.yaml"))
    return sorted(folder for folder in found if folder.name != "default")


def link(profile: Path, folder: Path) -> str:
    """Link one profile into ``folder``; returns what was done: linked, turned, kept, or in the way."""
    place = folder / profile.name
    if place.is_symlink():
        if place.resolve() == profile:
            return "kept"
        if place.exists() and not is_profile_of_a_checkout(place.resolve()):
            return "in the way"
        place.unlink()
        place.symlink_to(profile, target_is_directory=True)
        return "turned to this checkout"
    if place.exists():
        return "in the way"
    place.symlink_to(profile, target_is_directory=True)
    return "linked"


def is_profile_of_a_checkout(folder: Path) -> bool:
    """True for a profile folder of this project in any checkout."""
    return folder.parent.name == "profiles" and (folder.parents[1] / "workflow_scripts" / "suite").is_dir()


def link_all(root: Path, folder: Path) -> Iterator[str]:
    """Link every profile of ``root`` into ``folder``; a line for each that changed or could not be linked."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for profile in profiles_of(root):
            done = link(profile, folder)
            if done == "in the way":
                yield (
                    f"{folder / profile.name}: not created by this project, left unchanged; use "
                    f"--workflow-profile {profile.name}"
                )
            elif done != "kept":
                yield f"{folder / profile.name}: {done}"
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}; use --workflow-profile profiles/slurm instead") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Link, and say what changed."""
    cli.parser(__doc__).parse_args(arguments)
    for line in link_all(ROOT, search_folder()):
        cli.say(line)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
