"""JSON: names for the types of its values, and the one way in which a program reads an object from a file.

What a key of an object holds is known only when it was looked at, so to mypy a value is ``Any``. YAML gives the same
types, and tables take rows of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from workflow_scripts.errors import DataError, MissingInputError

JsonValue: TypeAlias = Any
JsonObject: TypeAlias = dict[str, JsonValue]
JsonMapping: TypeAlias = Mapping[str, JsonValue]  # an object that is only read


def read_object(path: Path, kind: str, remedy: str, *keys: str) -> JsonObject:
    """The JSON object in ``path`` with all of ``keys``; messages call the file a ``kind`` and end with ``remedy``.

    Raises MissingInputError when there is no such file, and DataError when it is not JSON, no object, or lacks a key.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such {kind}; {remedy}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a {kind} (not JSON: {error}); {remedy}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a {kind} (holds no JSON object); {remedy}")
    if missing := [key for key in keys if key not in content]:
        raise DataError(f"{path}: not a {kind} (lacks {', '.join(missing)}); {remedy}")
    return content
