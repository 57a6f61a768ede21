r"""Write a recipe from its fields, one argument each, so that `snakemake -n` shows which number changed.

    python -m workflow_scripts.training.write_recipe --output recipe.json name=pocket-90k layers=2 hidden_size=48 ...

All fields of workflow_scripts.training.recipe.Recipe must be given. Steps are written as in a run's configuration:
checkpoint_steps=0,1,2,4,1000..143000:1000.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.records import write_record
from workflow_scripts.training.recipe import Recipe

TYPES = {field.name: str(field.type) for field in dataclasses.fields(Recipe)}
# Shorter stretches are as readable number by number.
SHORTEST_RANGE = 4


def fields_of(recipe: Recipe) -> dict[str, str]:
    """Every field of ``recipe`` as the argument ``name=value``, by name."""
    values = {name: getattr(recipe, name) for name in TYPES}
    texts = {name: steps_text(value) if isinstance(value, tuple) else str(value) for name, value in values.items()}
    return {name: f"{name}={text}" for name, text in texts.items()}


def recipe_from(arguments: Iterable[str]) -> Recipe:
    """Recipe from arguments ``name=value``; raises UnknownNameError or ConfigError."""
    values = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise ConfigError(f"{argument!r}: expected name=value")
        if name not in TYPES:
            raise UnknownNameError("field", name, list(TYPES), "recipe")
        values[name] = parsed(name, text)
    return Recipe.from_json(values)


def parsed(name: str, text: str) -> Any:
    """Value of the field ``name``; raises ConfigError for text of another type."""
    try:
        if TYPES[name] == "tuple[int, ...]":
            return steps_from(text)
        return {"int": int, "float": float, "str": str}[TYPES[name]](text)
    except ValueError:
        raise ConfigError(f"recipe: {name}={text[:40]}: expected a value of type {TYPES[name]}") from None


def steps_text(steps: Sequence[int]) -> str:
    """Rising steps in one short word; stretches with a constant distance become ranges.

    >>> steps_text([0, 1, 2, 4, 1000, 2000, 3000, 4000])
    '0,1,2,4,1000..4000:1000'
    """
    parts, start = [], 0
    while start < len(steps):
        stop = start + 1
        while stop + 1 < len(steps) and steps[stop + 1] - steps[stop] == steps[start + 1] - steps[start]:
            stop += 1
        if stop - start + 1 >= SHORTEST_RANGE and stop < len(steps):
            parts.append(f"{steps[start]}..{steps[stop]}:{steps[start + 1] - steps[start]}")
            start = stop + 1
        else:
            parts.append(str(steps[start]))
            start += 1
    return ",".join(parts)


def steps_from(text: str) -> list[int]:
    """Steps of a word that :func:`steps_text` wrote; raises ValueError.

    >>> steps_from("0,1,2,4,1000..4000:1000")
    [0, 1, 2, 4, 1000, 2000, 3000, 4000]
    """
    steps: list[int] = []
    for part in text.split(","):
        first, dots, rest = part.partition("..")
        last, _, distance = rest.partition(":")
        steps += range(int(first), int(last) + 1, int(distance)) if dots else [int(first)]
    return steps


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the fields and write the recipe."""
    parser = cli.parser(__doc__)
    parser.add_argument("fields", nargs="+", metavar="NAME=VALUE", help="every field of a recipe")
    parser.add_argument("--output", type=Path, required=True, help="recipe to write (JSON)")
    options = parser.parse_args(arguments)
    recipe = recipe_from(options.fields)
    write_json(options.output, recipe.to_json())
    write_record(options.output, {}, {"recipe_identity": recipe.identity})


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
