"""The recipes beside the results: what is wrong in the config files of EleutherAI/pythia (its folder ``models``).

They are GPT-NeoX configs in YAML's flow style. Looked at are: whether YAML can read them, whether layers, width and
heads are those of the model that the file is named after, whether the learning rate is the README's, and spellings of
one key that differ between files. Result files carry the recipes that were used; these files are what a reader copies.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from workflow_scripts.errors import MissingInputError
from workflow_scripts.published.claims import size_of
from workflow_scripts.published.rules.findings import Defect
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.registry import load_suite

RULE = "recipe-file"
KEY = re.compile(r'"([A-Za-z]+(?:[-_][A-Za-z]+)+)"\s*:')
SHAPE = {"num-layers": "layers", "hidden-size": "hidden_size", "num-attention-heads": "heads"}


def recipe_defects(folder: Path) -> list[Defect]:
    """What is wrong in the recipe files below ``folder``; raises MissingInputError when there are no such files."""
    texts = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*.yml"))
    }
    if not texts:
        raise MissingInputError(f"{folder}: no .yml files; give the folder 'models' of EleutherAI/pythia")
    models = {m.size: m for m in load_suite("pythia").models.values() if m.version == "v1" and m.arm == "baseline"}
    defects = []
    for name, text in texts.items():
        size = size_of(Path(name).name)[0]
        defects += [*unreadable(name, text), *(wrong_numbers(name, text, models[size]) if size in models else ())]
    return [*defects, *mixed_spellings(texts)]


def unreadable(name: str, text: str) -> Iterator[Defect]:
    """A file that YAML cannot read, with the place."""
    try:
        yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}: " if mark else ""
        yield Defect(RULE, f"{name} cannot be read as YAML", f"{place}{error.problem}", 1, "noted; not used here")


def wrong_numbers(name: str, text: str, model: Model) -> Iterator[Defect]:
    """Layers, width, heads and learning rate that are not those of the model."""
    for key, attribute in SHAPE.items():
        said, real = number_of(text, key), getattr(model, attribute)
        if said is None or said == real:
            continue
        width = number_of(text, "hidden-size")
        divides = key != "num-attention-heads" or width is None or width % said == 0
        evidence = "" if divides else f"; {said:g} heads do not even divide a width of {width:g}"
        yield Defect(RULE, f"{name}: {key} {said:g}, the model has {real}", f"{name}{evidence}", 1, "noted")
    rate = number_of(text, "lr")
    if rate is not None and model.readme_learning_rate is not None and rate != model.readme_learning_rate:
        evidence = f"README says {model.readme_learning_rate:g}"
        yield Defect(RULE, f"{name}: learning rate {rate:g}", evidence, 1, "noted")


def number_of(text: str, key: str) -> float | None:
    """Number behind a key in either spelling, None where there is none; works on files that YAML refuses.

    >>> number_of('{"num_layers": 36, "optimizer": {"params": {"lr": 0.00012}}}', "num-layers")
    36.0
    """
    spelled = re.escape(key).replace("\\-", "[-_]")
    found = re.search(rf'"{spelled}"\s*:\s*([0-9.]+(?:e-?[0-9]+)?)', text)
    return float(found[1]) if found else None


def mixed_spellings(texts: Mapping[str, str]) -> Iterator[Defect]:
    """Keys that some files spell with hyphens and others with underscores."""
    spellings: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, text in texts.items():
        for key in KEY.findall(text):
            spellings[key.replace("-", "_")][key].add(name)
    mixed = {key: found for key, found in spellings.items() if len(found) > 1}
    if mixed:
        shown = "; ".join(
            " and ".join(f"{spelling} ({len(files)})" for spelling, files in sorted(found.items()))
            for _, found in sorted(mixed.items())
        )
        files = {name for found in mixed.values() for names in found.values() for name in names}
        yield Defect(
            RULE, f"{len(mixed)} keys are spelled in two ways", f"spelling (files): {shown}", len(files), "noted"
        )
