"""The names under which Pythia's models were released, each one exact.

A repository of the Hub is a released model when organisation and name are those of the registry (old names included) or
of the evaluations of 2023 (``pythia-v1.1-70m``, ``intervention-pythia-v1.1-1.4b-deduped-long``, batch-size variants).
Folders of GPT-NeoX are read word by word. Anything with another word in it, such as a fine-tune, is another model.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workflow_scripts.suite.models import Model
from workflow_scripts.suite.registry import load_suite

ORGANISATION = "EleutherAI"
V11 = "pythia-v1.1"  # what today's v1 was called before its release
BATCHES = ("0.25", "0.5", "1")  # millions of tokens per step of the batch-size variants
STEP_SUFFIX = re.compile(r"(?P<name>.+)[-_/](?:global_)?step_?(?P<step>[0-9]+)", re.IGNORECASE)
# All words of the folders and prefixes behind the published GPT-NeoX evaluations, sizes and steps aside.
WORDS = frozenset(
    {
        *("pythia", "v2", "dedup", "deduped", "new", "newer", "bf16", "0shot", "5shot", "global", "baseline"),
        *("long", "intervention", "intervened", "genderintervention", "redux", "56500start"),
    }
)
WORD = re.compile(r"step[0-9]+|[0-9]+(?:\.[0-9]+)?[mb]", re.IGNORECASE)
NEUTRAL_FOLDERS = frozenset({"", "staged_model", "ckpts"})  # where weights lay under no name of their own


@dataclass(frozen=True)
class Released:
    """A released model: its entry in the registry, and the tokens per step in millions where they differ from it."""

    model: Model
    batch: str | None = None


@functools.cache
def released() -> Mapping[str, Released]:
    """Released models by the full name of their repository."""
    models = load_suite("pythia").models.values()
    today = {f"{ORGANISATION}/{name}": Released(m) for m in models for name in (m.name, *m.aliases)}
    return {f"{ORGANISATION}/{name}": found for m in models for name, found in names_of_2023(m)} | today


def names_of_2023(model: Model) -> Iterator[tuple[str, Released]]:
    """Names of the evaluations of 2023 for a model of today's v1 or of an intervention, variants in batch included."""
    name = model.name.removeprefix("pythia-")
    if model.arm != "baseline":
        is_long = model.arm.endswith("-long")
        base = name.removeprefix(f"{model.arm}-")
        yield f"intervention-{V11}-{base}{'-long' if is_long else ''}", Released(model)
    elif model.version == "v1":
        yield f"{V11}-{name}", Released(model)
        yield from ((f"{prefix}-{name}-{b}MtokBS", Released(model, b)) for b in BATCHES for prefix in (V11, "pythia"))
        if model.name == "pythia-1b":
            yield f"{V11}-{name}-bf16", Released(model)


def without_step(name: str) -> tuple[str, int | None]:
    """``name`` without the step at its end, and that step.

    >>> without_step("EleutherAI/pythia-70m/step512"), without_step("x/pythia-70m-step3000"), without_step("a/step1b")
    (('EleutherAI/pythia-70m', 512), ('x/pythia-70m', 3000), ('a/step1b', None))
    """
    found = STEP_SUFFIX.fullmatch(name)
    return (found["name"], int(found["step"])) if found else (name, None)


def is_authors_folder(name: str) -> bool:
    """True where each word of a GPT-NeoX folder or prefix is one that the authors used.

    >>> is_authors_folder("1.3B_dedup_genderintervention_redux"), is_authors_folder("pythia-160m-sft-tldr")
    (True, False)
    """
    words = [word for word in re.split(r"[_-]", name.lower()) if word]
    return all(word in WORDS or WORD.fullmatch(word) for word in words)
