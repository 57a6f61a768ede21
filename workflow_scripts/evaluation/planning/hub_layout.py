"""Which parquet files of a data set repository hold one split of one configuration.

The Hub has three habits. A README may declare the files of each configuration (``configs:`` in its front matter); else
names tell, ``<config>/<split>-00000-of-00002.parquet`` and its relatives; and of data sets in any other format the Hub
itself keeps a copy on the branch ``refs/convert/parquet``, laid out ``<config>/<split>/0000.parquet``. Pure functions
over lists of paths; nothing is read or fetched here.
"""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.suite.safe_yaml import parse_yaml
from workflow_scripts.suite.task_facts import NO_CONFIG

CONVERTED = "refs/convert/parquet"
FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
PART = re.compile(r"-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?\.parquet")
END = r"(?:-\d{5}-of-\d{5}(?:-[0-9a-f]+)?|/\d{4,5}|)\.parquet"
# Folders that mean the configuration of a data set that has only one.
PLAIN_FOLDERS = ("data", "default", "plain_text")


def declared_configs(readme: str, where: str) -> list[Mapping[str, Any]]:
    r"""Entries of ``configs`` in the front matter of a README; none where it has none or they cannot be read.

    >>> declared_configs("---\nconfigs:\n- config_name: a\n  data_files: a/*.parquet\n---\n# A", "README.md")
    [{'config_name': 'a', 'data_files': 'a/*.parquet'}]
    """
    match = FRONT_MATTER.match(readme)
    try:
        front = parse_yaml(match[1], where) if match else {}
    except ConfigError:
        return []
    configs = front.get("configs")
    return [entry for entry in configs if isinstance(entry, Mapping)] if isinstance(configs, list) else []


def declared_patterns(configs: Sequence[Mapping[str, Any]], config: str, split: str) -> list[str]:
    """Patterns of the files of ``split`` that a README declares for ``config``; the only one is the default one."""
    named = {str(entry.get("config_name", NO_CONFIG)): entry for entry in configs}
    entry = named.get(config) or (named.get(default_config(configs)) if config == NO_CONFIG else None) or {}
    return [
        pattern for name, patterns in split_patterns(entry.get("data_files")) if name == split for pattern in patterns
    ]


def default_config(configs: Sequence[Mapping[str, Any]]) -> str:
    """Name of the configuration that is meant where none is named: the marked one, or the only one."""
    names = [str(entry.get("config_name", NO_CONFIG)) for entry in configs if entry.get("default") or len(configs) == 1]
    return names[0] if names else NO_CONFIG


def split_patterns(files: Any) -> Iterable[tuple[str, list[str]]]:
    """Each split of a ``data_files`` entry with its patterns; a plain pattern is the split train."""
    if isinstance(files, str):
        yield "train", [files]
    for item in files if isinstance(files, list) else []:
        if isinstance(item, str):
            yield "train", [item]
        elif isinstance(item, Mapping):
            paths = item.get("path", [])
            yield str(item.get("split", "train")), [paths] if isinstance(paths, str) else [str(path) for path in paths]


def find_split_files(paths: Iterable[str], configs: Sequence[Mapping[str, Any]], config: str, split: str) -> list[str]:
    """Parquet files among ``paths`` that hold ``split`` of ``config``, in order; empty if there are no such files.

    Raises DataError when some of the parts that the names tell of are missing.

    >>> find_split_files(["README.md", "data/test-00000-of-00001.parquet"], [], "default", "test")
    ['data/test-00000-of-00001.parquet']
    """
    parquet = sorted(path for path in paths if path.endswith(".parquet"))
    patterns = declared_patterns(configs, config, split)
    found = [path for path in parquet if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)]
    if not found:
        named = name_pattern(config, split)
        found = [path for path in parquet if named.fullmatch(path)]
    refuse_missing_parts(found)
    return found


def name_pattern(config: str, split: str) -> re.Pattern[str]:
    """Regular expression of the names that a split's files have where no README declares them."""
    folders = [config, f"data/{config}", *(PLAIN_FOLDERS if config == NO_CONFIG else ())]
    folder = "|".join(f"{re.escape(name)}/" for name in dict.fromkeys(folders))
    optional = "?" if config == NO_CONFIG else ""
    return re.compile(f"(?:{folder}){optional}{re.escape(split)}{END}")


def refuse_missing_parts(paths: Sequence[str]) -> None:
    """Raise DataError when ``-of-00003`` promises three files and there are fewer."""
    told = {int(match[2]) for path in paths if (match := PART.search(path))}
    numbers = sorted(int(match[1]) for path in paths if (match := PART.search(path)))
    if told and (len(told) > 1 or numbers != list(range(told.pop()))):
        raise DataError(f"{', '.join(paths)}: not all parts of one split; the repository is incomplete")
