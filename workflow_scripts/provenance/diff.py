r"""Say why two outputs differ: which input, parameter, version or option is not the same, down to the raw inputs.

    python -m workflow_scripts.provenance.diff results/runs/pocket/figures/scores_over_training.csv \
        results/runs/books/figures/scores_over_training.csv

Inputs are matched by the name that the record gives them and compared by their hash; where one differs, its own
record is looked at in turn. Paths, times and memory are not compared. Exit code 0 whether they differ or not.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.provenance.lineage import Link, Node, trace

SHORT = 12
ABSENT = "absent"
LONGEST = 60  # characters of a value
# What follows from the inputs and says nothing about why.
CONSEQUENCES = ("sha256", "caption", "alternative")


@dataclass
class Comparison:
    """Lines about the differences of two graphs; a pair of files is explained once."""

    seen: set[tuple[Path, Path]] = field(default_factory=set)

    def lines(self, first: Node, second: Node, indent: str = "") -> Iterator[str]:
        """What differs between the two, own things first, then inputs."""
        if (first.path, second.path) in self.seen:
            yield f"{indent}(see above)"
            return
        self.seen.add((first.path, second.path))
        if first.where and first.where == second.where:
            yield f"{indent}two files that {first.where.name} made together"
            return
        if first.record is None or second.record is None:
            without = [str(node.path) for node in (first, second) if node.record is None]
            yield f"{indent}no record of {' and of '.join(without)}: the reason cannot be followed further"
            return
        yield from (f"{indent}{line}" for line in own_differences(first.record, second.record))
        yield from self.input_lines(by_name(first), by_name(second), indent)

    def input_lines(self, first: Mapping[str, Link], second: Mapping[str, Link], indent: str) -> Iterator[str]:
        """Inputs that only one has, and those with another hash."""
        for name in sorted(first.keys() | second.keys()):
            ours, theirs = first.get(name), second.get(name)
            if ours is None or theirs is None:
                yield f"{indent}input {name}: only in the {'second' if ours is None else 'first'}"
            elif ours.sha256 and theirs.sha256:
                if ours.sha256 != theirs.sha256:
                    yield f"{indent}input {name}: {ours.sha256[:SHORT]} -> {theirs.sha256[:SHORT]}, because"
                    yield from self.lines(ours.node, theirs.node, indent + "  ")
            else:
                below = list(self.lines(ours.node, theirs.node, indent + "  ")) if ours.node != theirs.node else []
                yield from [f"{indent}input {name}, not hashed:", *below] if below else ()


def by_name(node: Node) -> dict[str, Link]:
    """Inputs by the name in the record."""
    return {link.name: link for link in node.links}


def own_differences(first: JsonMapping, second: JsonMapping) -> Iterator[str]:
    """Differences of code, libraries, locks, options and parameters between two records."""
    yield from changes("code", {"version": first.get("code_version")}, {"version": second.get("code_version")})
    yield from changes("library", first.get("versions", {}), second.get("versions", {}))
    yield from changes("lock", first.get("lock_sha256", {}), second.get("lock_sha256", {}))
    yield from changes("option", options_of(first), options_of(second))
    yield from changes("parameter", parameters_of(first), parameters_of(second))


def changes(title: str, first: JsonMapping, second: JsonMapping) -> Iterator[str]:
    """One line for each key that differs.

    >>> list(changes("library", {"numpy": "2.4"}, {"numpy": "2.5"}))
    ['library numpy: 2.4 -> 2.5']
    """
    for key in sorted(first.keys() | second.keys()):
        old, new = first.get(key, ABSENT), second.get(key, ABSENT)
        if old != new:
            yield f"{title} {key}: {shortened(old)} -> {shortened(new)}"


def shortened(value: object) -> str:
    """A value for a line."""
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def parameters_of(record: JsonMapping) -> JsonObject:
    """Parameters that are causes."""
    return {key: value for key, value in record.get("parameters", {}).items() if key not in CONSEQUENCES}


def options_of(record: JsonMapping) -> JsonObject:
    """Program and options of the command; values that are paths are left out, JSON values are opened.

    >>> options_of({"command": ["a.py", "--seed", "1", "--recipe", '{"layers": 2}', "--view", "data/view.json"]})
    {'program': 'a.py', '--seed': '1', '--recipe layers': 2}
    """
    program, *words = record.get("command") or ["unknown"]
    found: JsonObject = {"program": program}
    option = ""
    for word in words:
        head, _, joined = word.partition("=")
        option, value = (head, joined) if word.startswith("--") else (option, word)
        if value.startswith("{"):
            found |= {f"{option} {key}": part for key, part in json.loads(value).items()}
        elif value and "/" not in value:
            found[option] = f"{found[option]} {value}" if option in found else value
    return found


def compared(first: Path, second: Path, root: Path) -> str:
    """Why the two files differ, as text; raises MissingInputError or DataError."""
    ours, theirs = trace(first, root), trace(second, root)
    if ours.sha256 and ours.sha256 == theirs.sha256:
        head = f"equal: both have sha256 {ours.sha256[:SHORT]}"
    else:
        digits = [(node.sha256 or "not a file that is hashed")[:SHORT] for node in (ours, theirs)]
        head = f"{first} -> {second}: sha256 {digits[0]} -> {digits[1]}"
    differences = list(Comparison().lines(ours, theirs))
    if not differences and not head.startswith("equal"):
        differences = ["nothing recorded differs: one of them was edited later, or its program is not deterministic"]
    return "\n".join([head, *differences])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("first", type=Path, help="an output")
    parser.add_argument("second", type=Path, help="the output to compare it with")
    parser.add_argument("--root", type=Path, default=Path(), help="folder that the workflow ran in")
    options = parser.parse_args(arguments)
    cli.say(compared(options.first, options.second, options.root))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
