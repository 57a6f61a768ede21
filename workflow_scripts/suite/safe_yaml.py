"""YAML as a configuration language: no surprises and no bombs.

Files are limited in size, nesting and aliases; a duplicate key is an error; only plain values are built.
Values that look like access tokens, or hold a password, are refused wherever they occur, because configurations are
logged and published.
"""

import math
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import yaml

from workflow_scripts.errors import ConfigError, MissingInputError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.secret_text import secret_in

MOST_BYTES = 2_000_000
MOST_NODES = 100_000  # after every alias is written out
MOST_DEPTH = 30


# YAML 1.1 reads 010 as 8, 1_0 as 10 and 1:30 as 90; readers of YAML 1.2, and most people, read something else.
DECIMAL_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
DECIMAL_FLOAT = re.compile(r"[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN)")
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


class AmbiguousNumberError(yaml.YAMLError):
    """A number that readers of YAML do not agree on."""


def plain_number(node: yaml.ScalarNode, decimal: re.Pattern[str], number: float) -> float:
    """``number``, when ``node`` writes it as ``decimal``; raises AmbiguousNumberError with the line."""
    if not decimal.fullmatch(str(node.value)):
        raise AmbiguousNumberError(
            f"line {node.start_mark.line + 1}: YAML reads {node.value} as {number}; write the number in plain decimal "
            "digits, or put the text in quotes"
        )
    return number


class StrictLoader(yaml.SafeLoader):
    """Safe loader that refuses duplicate keys and aliases that multiply."""

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document and measure it with every alias written out, before anything is built from it."""
        node = super().get_single_node()
        if node is not None and expanded_size(node, {}) > MOST_NODES:
            raise yaml.YAMLError(f"more than {MOST_NODES:,} values after expanding its aliases (*name)")
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number in decimal digits; other notations are refused."""
        return int(plain_number(node, DECIMAL_INTEGER, super().construct_yaml_int(node)))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """A number in decimal digits; other notations are refused."""
        return float(plain_number(node, DECIMAL_FLOAT, super().construct_yaml_float(node)))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """Build a mapping after checking that each key occurs once."""
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool) and key is not None:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: keys must be plain values")
            if key in seen:
                raise yaml.YAMLError(f"duplicate key '{key}', repeated in line {key_node.start_mark.line + 1}")
            seen.add(key)
        return super().construct_mapping(node, deep)


StrictLoader.add_constructor("tag:yaml.org,2002:int", StrictLoader.construct_yaml_int)
StrictLoader.add_constructor("tag:yaml.org,2002:float", StrictLoader.construct_yaml_float)
# A number such as 1e-3, which YAML 1.1 would read as text because the dot is missing.
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def expanded_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Number of nodes under ``node``, those behind an alias counted each time; ``sizes`` remembers shared ones.

    An alias inside its own anchor counts as endless.
    """
    if id(node) not in sizes:
        sizes[id(node)] = MOST_NODES + 1  # what a node that contains itself finds
        children = node.value if isinstance(node, yaml.SequenceNode | yaml.MappingNode) else []
        parts = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
        sizes[id(node)] = 1 + sum(expanded_size(part, sizes) for part in parts)
    return sizes[id(node)]


def load_yaml(path: Path) -> JsonObject:
    """Mapping in the YAML file at ``path``.

    Raises MissingInputError when there is no such file and ConfigError, with the line where it can be told, for
    anything that is not a plain mapping within the limits.
    """
    try:
        facts = path.stat()
        if facts.st_size > MOST_BYTES:
            raise ConfigError(f"{path}: larger than {MOST_BYTES:,} bytes, too large for a configuration")
        if not stat.S_ISREG(facts.st_mode):
            raise ConfigError(f"{path}: is a folder, a pipe or a device; a configuration must be a regular file")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such configuration file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> JsonObject:
    """Mapping in ``text``; ``where`` names its origin in errors."""
    try:
        value = yaml.load(text, Loader=StrictLoader)  # noqa: S506 - StrictLoader is a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{where}: {explain(error)}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: contains a {type(value).__name__}, expected a mapping of keys to values")
    refuse_what_no_run_may_hold(value, where)
    return value


def refuse_what_no_run_may_hold(value: object, where: str) -> None:
    """Refuse deep nesting, values that are not numbers, access tokens and passwords, wherever they occur."""
    refuse_deep(value, where)
    refuse_nonfinite(value, where)
    refuse_secrets(value, where)


def explain(error: Exception) -> str:
    """One line for a YAML error, with the line number where the library knows it."""
    if isinstance(error, RecursionError):
        return f"nested more than {MOST_DEPTH} levels deep"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    if problem == "found character '\\t' that cannot start any token":
        problem = "found a tab; write spaces instead"
    return f"line {mark.line + 1}: {problem}" if mark else " ".join(str(problem).split())


def refuse_deep(value: object, where: str) -> None:
    """Refuse nesting that no configuration needs; shared nodes are walked once."""
    stack = [(value, 0)]
    seen: set[int] = set()
    while stack:
        item, depth = stack.pop()
        if depth > MOST_DEPTH:
            raise ConfigError(f"{where}: nested more than {MOST_DEPTH} levels deep")
        if isinstance(item, dict | list) and id(item) not in seen:
            seen.add(id(item))
            children = item.values() if isinstance(item, dict) else item
            stack.extend((child, depth + 1) for child in children)


def refuse_nonfinite(value: object, where: str) -> None:
    """Refuse ``.nan`` and ``.inf``, which pass every comparison of a schema or none."""
    for key, item in leaves(value, "", set()):
        if isinstance(item, float) and not math.isfinite(item):
            raise ConfigError(f"{where}: the value at '{key}' is {item}, expected a finite number")


def refuse_control_characters(value: object, where: str) -> None:
    """Refuse line breaks and other control characters in any text: they end up in paths, commands and messages."""
    for key, text in leaves(value, "", set()):
        if isinstance(text, str) and CONTROL.search(text):
            raise ConfigError(
                f"{where}: the value at {key!r} contains a line break or another control character: {text!r}"
            )


def refuse_secrets(value: object, where: str) -> None:
    """Refuse any text that looks like an access token or holds a password; the message never repeats it."""
    for key, text in leaves(value, "", set()):
        if isinstance(text, str) and (found := secret_in(text)):
            what, remedy = found
            raise ConfigError(
                f"{where}: the value at '{key}' looks like {what}; configurations are logged, so {remedy} and revoke "
                "this one"
            )


def leaves(value: object, key: str, seen: set[int]) -> Iterator[tuple[str, object]]:
    """Every key and every plain value in ``value`` with its dotted key."""
    if not isinstance(value, dict | list):
        yield key, value
    elif id(value) not in seen:
        seen.add(id(value))
        children = value.items() if isinstance(value, dict) else enumerate(value)
        for name, child in children:
            if isinstance(value, dict):
                yield key, name
            yield from leaves(child, f"{key}.{name}".lstrip("."), seen)
