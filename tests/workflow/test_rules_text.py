"""What rules/*.smk show without a look at Python: where files come from, what a rule is for, where its log is."""

import ast
import re
from dataclasses import dataclass, field

import pytest

SECTION = re.compile(r"( *)(\w+):\s*$")
RULE = re.compile(r"( *)(use rule|rule|checkpoint)\b(.*):\s*$")
HIDDEN_SHARE = 0.15


@dataclass
class RuleText:
    """A rule as it is written: where, its docstring, and its sections as expressions (a call's arguments)."""

    file: str
    name: str
    derived: bool
    docstring: str = ""
    sections: dict[str, ast.Call] = field(default_factory=dict)

    @property
    def is_target(self):
        return "shell" not in self.sections and not self.derived

    @property
    def is_local(self):
        return "localrule" in self.sections


def indent_of(line):
    return len(line) - len(line.lstrip())


def below(lines, start, indent):
    """Lines from ``start`` on that are indented deeper than ``indent``, up to the first that is not."""
    found = []
    for line in lines[start:]:
        if line.strip() and indent_of(line) <= indent:
            break
        found.append(line)
    return found


def rules_in(path):
    """All rules of a file, by its indentation; snakefmt holds every file to one form."""
    lines = path.read_text().splitlines()
    found = []
    for number, line in enumerate(lines):
        head = RULE.match(line)
        if not head:
            continue
        indent = len(head[1])
        body = below(lines, number + 1, indent)
        rule = RuleText(path.name, head[3].strip(), derived=head[2] == "use rule")
        rule.docstring = body[0].strip().strip('"') if body[0].strip().startswith('"""') else ""
        for at, inner in enumerate(body):
            section = SECTION.match(inner)
            if section and len(section[1]) == indent + 4:
                text = "\n".join(below(body, at + 1, indent + 4))
                rule.sections[section[2]] = ast.parse(f"f(\n{text}\n)", mode="eval").body
            elif inner.strip().startswith("localrule:"):
                rule.sections["localrule"] = ast.parse("f()", mode="eval").body
        if "name" in rule.sections:
            rule.name = ast.unparse(rule.sections["name"].args[0])
        found.append(rule)
    return found


def bindings_in(path):
    """Names in capitals that a file binds, each with the expressions it is bound to (two, where an ``if`` decides)."""
    lines, found = path.read_text().splitlines(), []
    for number, line in enumerate(lines):
        bound = re.match(r" *([A-Z][A-Z_]*) = (.+)", line)
        if not bound:
            continue
        text, after = bound[2], number + 1
        while text.count("(") + text.count("[") > text.count(")") + text.count("]"):
            text, after = f"{text}\n{lines[after]}", after + 1
        found.append((bound[1], ast.parse(text, mode="eval").body))
    return found


def shown_constants(files):
    """Names that the rules bind to a path, or to something that is made from such a name."""
    bindings, shown = [pair for path in files for pair in bindings_in(path)], set()
    for _ in bindings:
        shown |= {name for name, value in bindings if shows_a_path(value, shown)}
    return shown


@pytest.fixture(scope="module")
def files(root):
    return [root / "Snakefile", *sorted((root / "rules").glob("*.smk"))]


@pytest.fixture(scope="module")
def rules(files):
    return [rule for path in files for rule in rules_in(path)]


def shows_a_path(value, constants):
    """Whether an input says in the rules where it is: a text with a slash, a name for one, or another rule's file."""
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "/" in node.value:
            return True
        if isinstance(node, ast.Name) and (node.id in constants or node.id == "rules"):
            return True
    return False


def test_most_inputs_show_where_they_come_from(files, rules):
    constants = shown_constants(files)
    named = [(rule, word) for rule in rules if "input" in rule.sections for word in rule.sections["input"].keywords]
    hidden = [
        f"{rule.file} {rule.name}: {word.arg}={ast.unparse(word.value)}"
        for rule, word in named
        if not shows_a_path(word.value, constants)
    ]
    assert len(named) > 150
    share = len(hidden) / len(named)
    assert share <= HIDDEN_SHARE, f"{len(hidden)} of {len(named)} inputs hide their path in Python:\n" + "\n".join(
        hidden
    )


def test_every_rule_says_what_it_is_for(rules):
    assert len(rules) > 50
    assert not [f"{rule.file} {rule.name}" for rule in rules if not rule.docstring and not rule.derived]


def test_every_job_has_a_log_and_is_measured(rules):
    jobs = [rule for rule in rules if not rule.is_target]
    assert len(jobs) > 40
    assert not [f"{rule.file} {rule.name}" for rule in jobs if "log" not in rule.sections]
    assert not [f"{rule.file} {rule.name}" for rule in jobs if "benchmark" not in rule.sections and not rule.is_local]


def test_every_job_names_what_it_asks_of_a_machine(rules):
    jobs = [rule for rule in rules if not rule.is_target and not rule.is_local and not rule.derived]
    for rule in jobs:
        asked = {word.arg for word in rule.sections["resources"].keywords} if "resources" in rule.sections else set()
        assert {"mem_mb", "runtime"} <= asked, f"{rule.file} {rule.name}"


def test_an_unnamed_file_is_only_a_targets(rules):
    """Jobs name their inputs and outputs, so that a shell command says which of them goes where."""
    for rule in rules:
        if not rule.is_target:
            unnamed = [key for key in ("input", "output") if key in rule.sections and rule.sections[key].args]
            assert not unnamed, f"{rule.file} {rule.name}: {unnamed}"
