"""Which folder a graph belongs to: its code is what jobs import, and its paths are relative to that folder."""

from __future__ import annotations

import os
from pathlib import Path

from workflow_scripts.errors import ConfigError

# Read by rules and programs under these names, relative to the working directory.
READ = ("config", "workflow_scripts")


def require_place(place: Path, folder: Path) -> None:
    """Raise ConfigError unless the working directory ``place`` is ``folder``, or sees its code and files by links."""
    if not all(is_same(place / name, folder / name) for name in READ):
        raise ConfigError(
            f"started in {place}, but the paths of this workflow are relative to {folder}; cd there first, or add "
            "--directory with that folder"
        )


def is_same(path: Path, other: Path) -> bool:
    """True when both names lead to one file or folder."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def use_code_of(folder: Path) -> None:
    """Make jobs import the code of ``folder``; they inherit the variable, and on other nodes it is set anew.

    Raises ConfigError for a path that the variable cannot hold.
    """
    own = str(folder)
    if os.pathsep in own:
        raise ConfigError(f"{own}: a path containing '{os.pathsep}' cannot be on PYTHONPATH; rename the folder")
    rest = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each not in ("", own)]
    os.environ["PYTHONPATH"] = os.pathsep.join([own, *rest])
