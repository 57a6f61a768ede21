"""Checks a configuration against a JSON schema and says in one line what is wrong, with the nearest right name.

The schemas in ``config/schemas`` are the reference for users too: ``docs/configuration.md`` is made from them.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from workflow_scripts import ROOT
from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.suite.safe_yaml import AmbiguousNumberError, StrictLoader, load_yaml

SCHEMAS = ROOT / "config" / "schemas"
KINDS = {
    **{"object": "a mapping", "array": "a list", "string": "text", "null": "null"},
    **{"integer": "a whole number", "number": "a number", "boolean": "true or false"},
}
LONGEST_VALUE = 40  # characters of a value in a message
EMPTY = {"object": "{}", "array": "[]"}


def is_whole(_checker: object, value: object) -> bool:
    """True for a whole number; JSON Schema itself takes 5.0 for one, which no range and no file name does."""
    return isinstance(value, int) and not isinstance(value, bool)


STRICT = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", is_whole),
)


@functools.cache
def load_schema(name: str) -> JsonObject:
    """Schema ``config/schemas/<name>.schema.yaml``."""
    schema: JsonObject = yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))
    return schema


def check_schema(value: JsonMapping, name: str, where: str) -> None:
    """Raise ConfigError for the first violation of schema ``name``, by position in the file."""
    check_value(value, load_schema(name), where)


def check_value(value: JsonMapping, schema: JsonMapping, where: str) -> None:
    """Raise ConfigError for the first violation of ``schema``, by position in the file."""
    validator = STRICT(schema)
    errors = sorted(validator.iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path])
    if errors:
        raise explain(jsonschema.exceptions.best_match([errors[0]]), where)


def load_named(folder: Path, name: str, kind: str, schema: str) -> JsonObject:
    """Checked content of ``<name>.yaml`` in ``folder``, which messages call a ``kind``.

    Raises UnknownNameError for a name without a file, and ConfigError for content that ``schema`` refuses.
    """
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise UnknownNameError(kind, name, known)
    path = folder / f"{name}.yaml"
    facts = load_yaml(path)
    check_schema(facts, schema, str(path))
    return facts


def explain(error: Any, where: str) -> ConfigError:
    """One-line error for a schema violation."""
    at = ".".join(str(part) for part in error.absolute_path) or "top level"
    place = f"{where}: {at}"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        return UnknownNameError("key", unknown, known, place)
    if error.validator == "enum":
        return UnknownNameError("value", error.instance, error.validator_value, place)
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return ConfigError(f"{place}: key '{missing}' is missing")
    if error.validator == "type":
        return wrong_type(error, place)
    if error.validator == "pattern":
        rule, example = error.schema["title"], error.schema["examples"][0]
        return ConfigError(f"{place}: {error.instance!r} is not allowed here; write {rule}, such as {example}")
    return ConfigError(f"{place}: {error.message}")


def wrong_type(error: Any, place: str) -> ConfigError:
    """Error for a value of another type than the schema asks for, in YAML's words; YAML's empty value is null."""
    expected = [error.validator_value] if isinstance(error.validator_value, str) else list(error.validator_value)
    kinds = " or ".join(KINDS[name] for name in expected)
    if error.instance is not None:
        return ConfigError(f"{place}: expected {kinds}, not {shown(error.instance)}")
    nothing = next((f"write {EMPTY[name]} for none" for name in expected if name in EMPTY), f"write {kinds}")
    return ConfigError(f"{place} has no value (null); {nothing}, or remove the key")


def shown(value: object) -> str:
    """``value`` as a configuration writes it, cut where it is long.

    >>> shown(False), shown("no"), shown(["a"] * 99)
    ('false', '"no"', '["a", "a", "a", "a", "a", "a", "a", "a"...')
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."


def coerce(value: Any, schema: JsonMapping) -> Any:
    """``value`` with texts turned into what ``schema`` asks for, as far as that is unambiguous.

    Values given by ``snakemake --config`` arrive as text.

    >>> coerce("[0, 5]", {"type": "array", "items": {"type": "integer"}})
    [0, 5]
    >>> coerce(["0"], {"type": "array", "items": {"type": "integer"}})
    [0]
    >>> coerce(0, {"type": "array", "items": {"type": "integer"}})
    [0]
    >>> coerce("1e-3", {"type": "number"}), coerce("1e3", {"type": ["integer", "null"]})
    (0.001, '1e3')
    """
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        other = rest if isinstance(rest, dict) else {}
        return {key: coerce(item, properties.get(key, other)) for key, item in value.items()}
    if isinstance(value, list):
        return [coerce(item, schema.get("items", {})) for item in value]
    if isinstance(value, str):
        return coerce_text(value, schema)
    return [value] if schema.get("type") == "array" and isinstance(value, int | float) else value


def coerce_text(text: str, schema: JsonMapping) -> Any:
    """Text as the first type of ``schema`` that it can be read as; unchanged when none fits.

    >>> coerce_text("null", {"type": ["string", "null"]}) is None
    True
    """
    types = schema.get("type", [])
    wanted = [types] if isinstance(types, str) else list(types)
    if text == "null" and "null" in wanted:
        return None
    if not wanted or "string" in wanted:
        return text
    try:
        # Snakemake's own reader gives 1e-3 as text, ours as a number.
        parsed = yaml.load(text, Loader=StrictLoader)  # noqa: S506 - StrictLoader is a SafeLoader
    except AmbiguousNumberError as error:
        raise ConfigError(f"config: {text!r}: {error}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        return text
    if "array" in wanted and not isinstance(parsed, list):
        parsed = [part.strip() for part in text.split(",")]
    if isinstance(parsed, list):
        return coerce(parsed, schema) if "array" in wanted else text
    kinds = {"integer": int, "number": float | int, "boolean": bool, "object": dict}
    fits = any(name in kinds and isinstance(parsed, kinds[name]) for name in wanted)
    return parsed if fits else text
