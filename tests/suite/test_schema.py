"""Schemas: patterns hold whole texts, and nothing that a shell or a path would take apart is a name."""

import copy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError, PipelineError
from workflow_scripts.suite.registry import build_suite, checked_name
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.suite.schema import SCHEMAS, check_schema, coerce, load_schema

NAMES = sorted(path.name.removesuffix(".schema.yaml") for path in SCHEMAS.glob("*.schema.yaml"))
PROSE = {"title", "held_out", "steps", "grids"}  # shown or parsed, never a word of a command


def nodes(value):
    """Every mapping inside a schema."""
    if isinstance(value, dict):
        yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from nodes(child)


@pytest.mark.parametrize("name", NAMES)
def test_every_pattern_holds_the_whole_text(name):
    patterns = [node["pattern"] for node in nodes(load_schema(name)) if isinstance(node.get("pattern"), str)]
    assert patterns
    assert [pattern for pattern in patterns if not (pattern.startswith(r"\A") and pattern.endswith(r"\Z"))] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_pattern_is_said_in_words_with_an_example_that_fits(name):
    for node in nodes(load_schema(name)):
        if isinstance(node.get("pattern"), str):
            assert "\\" not in node["title"]
            assert [bool(re.search(node["pattern"], example)) for example in node["examples"]] == [True], node


def test_a_wrong_name_is_refused_in_words_with_an_example(root):
    default = load_yaml(root / "config" / "config.yaml")
    with pytest.raises(ConfigError) as caught:
        load_run({**default, "run": "My Run"})
    words = "lower-case letters, digits and dashes, starting with a letter, at most 41 of them, such as small-2"
    assert str(caught.value) == f"config: run: 'My Run' is not allowed here; write {words}"


def test_every_text_of_a_suite_is_held_to_a_pattern():
    for node in nodes(load_schema("suite")):
        if node.get("type") == "string":
            assert "pattern" in node or "enum" in node, node
        if "additionalProperties" in node and isinstance(node["additionalProperties"], dict):
            assert "propertyNames" in node, node


def changes(value, end, path=()):
    """(path, copy of ``value`` with ``end`` after one key or text) for each of its keys and texts."""
    if isinstance(value, str):
        yield path, value + end
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for where, changed in changes(item, end, (*path, index)):
                yield where, [*value[:index], changed, *value[index + 1 :]]
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*path, f"key {key}"), {(k + end if k == key else k): v for k, v in value.items()}
            for where, changed in changes(item, end, (*path, key)):
                yield where, {**value, key: changed}


@pytest.mark.parametrize("suite", ["pythia", "pocket"])
@pytest.mark.parametrize("end", ["\n", "; touch x", "$(touch x)", "`x`", "/../x", " x"])
def test_no_key_or_text_of_a_suite_file_reaches_a_shell(root, suite, end):
    facts = load_yaml(root / "config" / "suites" / f"{suite}.yaml")
    check_schema(facts, "suite", "x")
    for path, changed in changes(facts, end):
        prose = end != "\n" and PROSE & {path[-1], *path[:1], *path[-2:-1]} and not str(path[-1]).startswith("key")
        if prose or (path[-1] in ("lock", "path", "published") and end in (" x", "/../x")):
            continue
        with pytest.raises(ConfigError) as caught:
            check_schema(changed, "suite", "x")
        assert "\n" not in str(caught.value), path


def test_a_size_that_is_a_command_is_refused(root):
    facts = copy.deepcopy(load_yaml(root / "config" / "suites" / "pocket.yaml"))
    facts["sizes"]["1m;id"] = facts["sizes"].pop("1m")
    with pytest.raises(ConfigError, match="x: sizes: '1m;id' is not allowed here; write letters, digits"):
        check_schema(facts, "suite", "x")


def test_a_finished_name_is_checked_again(root):
    facts = load_yaml(root / "config" / "suites" / "pocket.yaml")
    facts["families"][0]["name"] = "{suffix}-{size}"
    check_schema(facts, "suite", "x")
    with pytest.raises(ConfigError, match="'-90k' is not a valid model name; allowed are letters"):
        build_suite(facts)


@given(st.text(max_size=12))
def test_a_checked_name_is_one_plain_word(text):
    try:
        name = checked_name(text)
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    assert name == text
    assert name.isascii()
    assert not set(name) & set(" \t\n\r;&|<>$`'\"\\/*?[]{}()!#~=%")
    assert not name.startswith(("-", "."))
    assert ".." not in name


@pytest.mark.parametrize("value", [5.0, "5.0", True, "010", "0x5", "1_0"])
def test_a_whole_number_is_written_as_one(root, value):
    default = load_yaml(root / "config" / "config.yaml")
    with pytest.raises(PipelineError) as caught:
        load_run({**default, "shots": [value]})
    assert "\n" not in str(caught.value)


def test_ambiguous_numbers_of_the_command_line_are_refused():
    array = {"type": "array", "items": {"type": "integer"}}
    with pytest.raises(ConfigError, match=r"config: '\[010\]': line 1: YAML reads 010 as 8"):
        coerce("[010]", array)
    assert coerce("[10]", array) == [10]


def test_a_task_of_stock_lm_eval_is_no_option_and_no_command(root):
    default = load_yaml(root / "config" / "config.yaml")
    for name in ("--model_args", "gsm8k;id", "gsm8k\n", "a b"):
        with pytest.raises(ConfigError):
            load_run({**default, "evaluation": {**default["evaluation"], "stock_tasks": {name: [5]}}})
    evaluation = {**default["evaluation"], "stock_tasks": {"gsm8k": [5]}}
    assert load_run({**default, "evaluation": evaluation}).stock_tasks == {"gsm8k": [5]}
