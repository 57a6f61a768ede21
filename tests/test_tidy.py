"""The tree reads as one hand's: every module says what it is, nothing lies about unused, one name is one thing."""

import ast
import re
from collections import Counter

import pytest

# Called from outside this project: by Snakemake's plugin interface, by lm-eval, or by readers of docs/data-order.md and
# docs/training.md in their own Python.
CALLED_FROM_OUTSIDE = {
    "BlendedRows", "_get_help_string", "_submit_job", "cancel_jobs", "check_active_jobs", "constant_index_bytes",
    "epoch_fraction", "has_filter", "has_formatter", "iteration_rows", "needs_rulegraph", "print_job_error",
    "read_metrics", "set_rnd", "writes_to_file", "writes_to_stream",
}  # fmt: skip

MOST_FILES = 18  # in one folder, __init__.py included


@pytest.fixture(scope="module")
def modules(root):
    """Syntax trees of the package by path below the top folder."""
    found = sorted((root / "workflow_scripts").rglob("*.py"))
    return {str(path.relative_to(root)): ast.parse(path.read_text(encoding="utf-8")) for path in found}


def definitions(tree):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def test_every_module_says_what_it_is_in_sentences(modules):
    assert not [path for path, tree in modules.items() if "." not in (ast.get_docstring(tree) or "")]


def test_every_public_function_says_what_it_does(modules):
    # What a program does, and with which arguments, is in the docstring of its module and in the helps.
    programs = {"main", "parse", "argument_parser", "arguments_parser"}
    silent = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in modules.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in programs
        if not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_function_or_class_is_left_without_a_use(root, modules):
    folders = [*(root / "rules").glob("*.smk"), root / "Snakefile", *(root / "benchmarks").glob("*.py")]
    folders += [*(root / "config").rglob("*.yaml"), *(root / "envs").glob("*.py"), *(root / "docs").glob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in [*(root / "workflow_scripts").rglob("*.py"), *folders]]
    words = Counter(word for text in texts for word in re.findall(r"\w+", text))
    defined = Counter(node.name for tree in modules.values() for node in definitions(tree))
    unused = {name for name, times in defined.items() if words[name] <= times and not name.startswith("__")}
    assert unused <= CALLED_FROM_OUTSIDE
    assert unused == CALLED_FROM_OUTSIDE, "the list of what is called from outside holds too much"


def test_most_functions_are_short(modules):
    lengths = [
        node.end_lineno - node.lineno + 1
        for tree in modules.values()
        for node in definitions(tree)
        if not isinstance(node, ast.ClassDef)
    ]
    assert sum(length <= 40 for length in lengths) / len(lengths) > 0.9


def test_no_notes_to_ourselves_and_no_catch_all(modules, root):
    for path, tree in modules.items():
        text = (root / path).read_text(encoding="utf-8")
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text), path
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and not isinstance(node.body[-1], ast.Raise):
                caught = ast.unparse(node.type) if node.type else ""
                assert caught not in ("", "Exception", "BaseException"), f"{path}:{node.lineno}"


def test_modules_are_named_for_what_they_do(modules, root):
    # The roof has a module for each rules file, of the same name; rules/common.smk is called as Snakemake's guide says.
    roof = {f"workflow_scripts/workflow/{path.stem}.py" for path in (root / "rules").glob("*.smk")}
    assert not [
        path for path in modules if re.search(r"/(utils?|helpers?|common|misc)\.py$", path) and path not in roof
    ]


def test_no_folder_is_a_heap_of_files(modules):
    files = Counter(path.rpartition("/")[0] for path in modules)
    assert {folder: count for folder, count in files.items() if count > MOST_FILES} == {}


def test_module_names_are_used_once(modules):
    names = Counter(path.rpartition("/")[2] for path in modules if not path.endswith("/__init__.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_two_functions_of_the_package_are_copies(modules):
    bodies = {}
    for path, tree in modules.items():
        for node in definitions(tree):
            inside = node.body[1:] if ast.get_docstring(node) else node.body
            text = "\n".join(ast.unparse(each) for each in inside)
            if len(text) > 200 and not isinstance(node, ast.ClassDef):
                bodies.setdefault(text, []).append(f"{path}:{node.name}")
    assert not [places for places in bodies.values() if len(places) > 1]


def test_test_files_have_names_of_their_own(root):
    names = Counter(path.name for path in (root / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_configuration_and_no_page_names_a_path_outside_the_checkout(root):
    """What `grep -rn "\\.\\./shared" config Makefile README.md docs` would find."""
    files = [root / "Makefile", root / "README.md", *(root / "config").rglob("*"), *(root / "docs").rglob("*")]
    named = [path for path in files if path.is_file() and b"../shared" in path.read_bytes()]
    assert not named
