"""Precision and loss scale that a GPT-NeoX configuration file asks for, by the version of GPT-NeoX's code."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from workflow_scripts.errors import ConfigError, ModelError
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.suite.neox_keys import ERAS
from workflow_scripts.suite.neox_settings import Settings

LOG = logging.getLogger(__name__)
# The loss scaling that training has; 'fp16', 'bf16' and 'auto_cast' say nothing about it.
LOSS_SCALE = {
    "loss_scale": (0, 0),  # key: (DeepSpeed's default, what it must be)
    "initial_scale_power": (None, 12),
    "loss_scale_window": (1000, 1000),
    "hysteresis": (2, 2),
    "min_loss_scale": (1, 1),
}
PRECISION_NAMES = {"fp16": "float16", "bfloat16": "bfloat16", "fp32": "float32"}


def precision_of(settings: Settings, told: str | None, era: str) -> str:
    """Precision of the run; raises ConfigError where the files, ``told`` and the era's code do not agree.

    Until May 2023 GPT-NeoX obeyed fp16.type, then fp16.enabled, and looked at ``precision`` only for bfloat16. Since
    then it obeys ``precision``, and the two sections where there is none. Both versions fall into the first era, and
    a file with fp16.type bfloat16 is of the first version, whatever era is named.
    """
    sections = {name: section(settings, name) for name in ("fp16", "bf16")}
    said = settings.get("precision")
    if said is not None and said not in PRECISION_NAMES:
        raise ConfigError(f"{settings.where}: precision is {said!r}; known are {', '.join(PRECISION_NAMES)}")
    if said is None and not any(sections.values()) and told is not None:
        if told != "float32":
            LOG.warning("%s: says no precision, so GPT-NeoX would train in float32; taken: %s", settings.where, told)
        possible = {told}
    else:
        later = later_precision(settings.where, said, sections)
        is_old = era == ERAS[0] or sections["fp16"].get("type") == "bfloat16"
        possible = {later, earlier_precision(said, sections)} if is_old else {later}
    if told not in possible and (told is not None or len(possible) > 1):
        found = f"{' or '.join(sorted(possible))}{' by the version of the code' if len(possible) > 1 else ''}"
        raise ConfigError(f"{settings.where}: the precision is {found}; --compute-dtype says {told or 'nothing'}")
    dtype = told or possible.pop()
    if dtype == "float16" and (said is not None or any(sections.values())):
        check_loss_scale(settings.where, sections["fp16"])
    return dtype


def section(settings: Settings, name: str) -> JsonObject:
    """Section ``fp16`` or ``bf16``; raises ConfigError where 'enabled' is no truth value."""
    found = settings.get(name, {})
    if not isinstance(found, dict) or not isinstance(found.get("enabled", False), bool):
        raise ConfigError(
            f"{settings.where}: {name} is {found!r}; it must be a section whose 'enabled' is true or false"
        )
    return found


def earlier_precision(said: str | None, sections: Mapping[str, JsonMapping]) -> str:
    """Precision by the code of tag v1.0."""
    if sections["fp16"].get("type", said) == "bfloat16":
        return "bfloat16"
    return "float16" if sections["fp16"].get("enabled") else "float32"


def later_precision(where: str, said: str | None, sections: Mapping[str, JsonMapping]) -> str:
    """Precision by the code since May 2023; raises ConfigError for what it refuses."""
    claims = {said} if said else set()
    claims |= {name for name, key in (("fp16", "fp16"), ("bfloat16", "bf16")) if sections[key].get("enabled")}
    if len(claims) > 1:
        raise ConfigError(f"{where}: the precision is said to be {' and '.join(sorted(claims))}; leave one")
    return PRECISION_NAMES[claims.pop() if claims else "fp32"]


def check_loss_scale(where: str, fp16: JsonMapping) -> None:
    """Refuse another dynamic loss scale than the suite's, which decides the iterations that are skipped."""
    for key in fp16:
        if key not in {*LOSS_SCALE, "enabled", "type", "fp16", "auto_cast"}:
            raise ModelError(f"{where}: fp16.{key} is not known here; known are {', '.join(LOSS_SCALE)}")
    for key, (silent, wanted) in LOSS_SCALE.items():
        if fp16.get(key, silent) != wanted:
            said = f"is {fp16[key]!r}" if key in fp16 else "is missing, and DeepSpeed's default is another"
            raise ModelError(f"{where}: fp16.{key} {said}; only {wanted} is done here")
