"""Which folder a graph belongs to: its code is what jobs import, and its paths are relative to that folder."""

import filecmp
import os
from pathlib import Path

from workflow_scripts.errors import ConfigError

# Rules and programs read CONFIG relative to the working directory, and Python would import CODE from there.
CONFIG, CODE = "config", "workflow_scripts"


def require_place(place: Path, folder: Path) -> None:
    """Raise ConfigError unless the working directory ``place`` is ``folder``, or sees the same files.

    Its configuration may be a link or an unchanged copy, as in the unit tests that Snakemake generates; other code
    must not be there.
    """
    code, config = place / CODE, (place / CONFIG, folder / CONFIG)
    has_own_code = os.path.lexists(code) and not is_same(code, folder / CODE)
    if has_own_code or not (is_same(*config) or is_copy(*config)):
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


def is_copy(copy: Path, original: Path) -> bool:
    """True when ``copy`` holds every file of the folder ``original``, byte by byte."""
    names = [path.relative_to(original) for path in sorted(original.rglob("*")) if path.is_file()]
    return all((copy / name).is_file() and filecmp.cmp(copy / name, original / name, shallow=False) for name in names)


def use_code_of(folder: Path) -> None:
    """Make jobs import the code of ``folder``; they inherit the variable, and on other nodes it is set anew.

    Raises ConfigError for a path that the variable cannot hold.
    """
    own = str(folder)
    if os.pathsep in own:
        raise ConfigError(f"{own}: a path containing '{os.pathsep}' cannot be on PYTHONPATH; rename the folder")
    rest = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each not in ("", own)]
    os.environ["PYTHONPATH"] = os.pathsep.join([own, *rest])
