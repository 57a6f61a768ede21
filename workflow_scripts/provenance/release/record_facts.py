"""What the records of a release say together: parameters by rule, versions of code and libraries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from workflow_scripts.json_values import JsonMapping, JsonValue
from workflow_scripts.provenance.diff import CONSEQUENCES
from workflow_scripts.provenance.release.manifest import Output, Rule

Records = Mapping[str, JsonMapping]  # by path of the record


def rules_of(outputs: Iterable[Output], records: Records) -> dict[str, Rule]:
    """Each rule with what all records of its outputs agree on."""
    by_rule: dict[str, list[Output]] = defaultdict(list)
    for output in outputs:
        if output.rule is not None:
            by_rule[output.rule].append(output)
    return {name: rule_of(by_rule[name], records) for name in sorted(by_rule)}


def rule_of(outputs: list[Output], records: Records) -> Rule:
    """One rule, from the records of its ``outputs``."""
    found = [records[path] for path in sorted({output.record for output in outputs if output.record})]
    programs = {str(record["command"][0]) for record in found if record.get("command")}
    values: dict[str, list[JsonValue]] = defaultdict(list)
    for record in found:
        for name, value in record.get("parameters", {}).items():
            if name not in CONSEQUENCES:
                values[name].append(value)
    same = {name: each[0] for name, each in sorted(values.items()) if each == [each[0]] * len(found)}
    return Rule(len(outputs), tuple(sorted(programs)), same, tuple(sorted(values.keys() - same.keys())))


def code_versions(records: Records) -> tuple[str, ...]:
    """Commits that the records name."""
    return tuple(sorted({str(record.get("code_version", "unknown")) for record in records.values()}))


def library_versions(records: Records) -> dict[str, tuple[str, ...]]:
    """Versions by library."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in records.values():
        for name, version in record.get("versions", {}).items():
            found[name].add(str(version))
    return {name: tuple(sorted(found[name])) for name in sorted(found)}
