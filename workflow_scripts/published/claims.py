"""What a published result says about itself, by its name and by its content, and which of the two wins.

A :class:`Claim` is one such statement; any part may be missing. The content always wins over the name, because folders
were renamed by hand and evaluation programs wrote the content. Parts that contradict each other are returned as notes
and never dropped. Names of three vocabularies are understood (``19m``, ``70m``, ``160M``), and two layouts of folders:
today's ``evals/`` and the older ``results/``, in which ``v1`` was what is ``v0`` today.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import PurePosixPath

from workflow_scripts.errors import DataError
from workflow_scripts.json_values import JsonMapping, JsonObject, JsonValue
from workflow_scripts.published.model_arguments import given_arguments, remade_by
from workflow_scripts.published.released_names import (
    NEUTRAL_FOLDERS,
    Released,
    is_authors_folder,
    released,
    without_step,
)
from workflow_scripts.suite.registry import load_suite

# "0.5MtokBS" is a batch size and "1bf16" does not occur, so no letter may follow a size.
SIZE = re.compile(r"(?<![0-9.a-z])([0-9]+(?:\.[0-9]+)?[mb])(?![a-z0-9])", re.IGNORECASE)
BATCH = re.compile(r"([0-9.]+)MtokBS", re.IGNORECASE)
STEP = re.compile(r"step_?([0-9]+)", re.IGNORECASE)
TRAILING_STEP = re.compile(r"_([0-9]+)\.json$")
OTHER_REPOSITORY = re.compile(r"(?:facebook/|bigscience/)(opt|bloom)-([0-9][0-9a-z.]*)")
OLD_REPOSITORY = re.compile(r"EleutherAI/pythia-([0-9.]+[mb])(-deduped)?")
OTHER_FAMILY = re.compile(r"(?:facebook/|bigscience/|^|/)(opt|bloom)-([0-9a-z.]+?)(?:\.json|,|$)")
SHOTS = ((re.compile(r"\b(?:zero-?shot|0-?shot)\b"), 0), (re.compile(r"\b(?:five-?shot|5-?shot)\b"), 5))
DEFAULT_BATCH = "2"  # millions of tokens in one Hub step
# Iterations of a whole training by the millions of tokens in each; 125M_newer of the older layout had 71250.
ITERATIONS = {"2": 143_000, "4": 71_500}
TOLERANCE = 0.01
# Folders by version, first match wins. ``json/v1`` and ``v1.0-evals`` of the older layout hold what is v0 today; v2 was
# a retraining of 160m, 410m and 1.4b with 2M tokens a step, whose weights were never published under that name.
VERSION_FOLDERS = (
    (re.compile(r"(?:^|/)json/v1/|v1\.0-evals|pythia-v0"), "v0"),
    (re.compile(r"(?:^|/)json/v2/|pythia-v2"), "v2"),
    (re.compile(r"v1\.1-evals|pythia-v1"), "v1"),
)
MAIN = "main"
OTHER = "other"  # family of models that are neither Pythia nor its baselines


@dataclass(frozen=True)
class Claim:
    """One statement about a result; None where it says nothing.

    ``family`` is pythia, opt, bloom or other; ``version`` v0, v1 or v2; ``size`` in today's names; ``data`` standard or
    deduped; ``arm`` baseline, intervention or intervention-long; ``batch`` the tokens per step in millions, as text;
    ``raw_step`` the trainer's step as written; ``name`` the model's name where it is released or the family is other.
    """

    family: str | None = None
    version: str | None = None
    size: str | None = None
    data: str | None = None
    arm: str | None = None
    batch: str | None = None
    raw_step: int | None = None
    shots: int | None = None
    name: str | None = None


def believe(content: Claim, name: Claim) -> tuple[Claim, list[str]]:
    """What to believe, and a note for each part in which the name contradicts the content.

    The name fills in what the content leaves out, unless the two speak of different families of models.
    """
    if content.family is not None and name.family not in (None, content.family):
        return content, [f"name-says-family-{name.family}"]
    merged: JsonObject = {}
    contradictions = []
    for field in fields(Claim):
        said, named = getattr(content, field.name), getattr(name, field.name)
        merged[field.name] = named if said is None else said
        if said is not None and named is not None and said != named:
            contradictions.append(f"name-says-{field.name}-{named}")
    return Claim(**merged), contradictions


@functools.cache
def sizes_today() -> Mapping[str, str]:
    """Today's size for each size ever written, in lower case; includes today's own."""
    models = [m for m in load_suite("pythia").models.values() if m.version == "v1" and m.dataset == "standard"]
    known = {alias.removeprefix("pythia-"): model.size for model in models for alias in model.aliases}
    return known | {model.size: model.size for model in models}


@functools.cache
def sizes_by_shape() -> Mapping[tuple[int, int], str]:
    """Size for each (layers, hidden size)."""
    models = [m for m in load_suite("pythia").models.values() if m.version == "v1"]
    return {(model.layers, model.hidden_size): model.size for model in models}


def size_of(text: str) -> tuple[str | None, str | None]:
    """Today's size named in ``text`` and the version its vocabulary belongs to.

    >>> size_of("1.3B_dedup"), size_of("1.4b_deduped"), size_of("70m-0.25MtokBS"), size_of("staged_model")
    (('1.4b', 'v0'), ('1.4b', 'v1'), ('70m', 'v1'), (None, None))
    """
    for written in SIZE.findall(text):
        today = sizes_today().get(written.lower())
        if today is not None:
            return today, "v1" if today == written.lower() else "v0"
    return None, None


def arm_of(text: str) -> str | None:
    """Arm named in ``text``; None by default.

    ``56500start`` is the trainer step at which the long v0 intervention began.
    """
    if "interven" in text:
        is_long = "long" in text or "56500start" in text or "intervene_21" in text
        return "intervention-long" if is_long else "intervention"
    return "baseline" if "baseline" in text else None


def claim_of_path(relative: str) -> Claim:
    """Claim of the path of a result below ``evals/``.

    >>> claim = claim_of_path("pythia-v0/pythia-70m-deduped/five-shot/pythia-70m-deduped-5shot-global_step3000.json")
    >>> claim.version, claim.size, claim.data, claim.raw_step, claim.shots
    ('v0', '70m', 'deduped', 3000, 5)
    >>> claim = claim_of_path("results/json/v2/160M/160M-0shot-global_step3000_eval_results_02-16-2023-01-37-08.json")
    >>> claim.version, claim.size, claim.data, claim.raw_step, claim.shots
    ('v2', '160m', 'standard', 3000, 0)
    """
    path = PurePosixPath(relative)
    other = OTHER_FAMILY.search(path.name) or OTHER_FAMILY.search(relative)
    if other:
        return Claim(family=other[1], size=other_size(other[2]))
    folder, lower = str(path.parent), relative.lower()
    version = next((version for pattern, version in VERSION_FOLDERS if pattern.search(f"{folder}/")), None)
    size = size_of(path.name)[0] or size_of(folder)[0]
    step = STEP.search(path.name) or TRAILING_STEP.search(path.name)
    batch = BATCH.search(relative)
    return Claim(
        family="pythia" if size else None,
        version=version,
        size=size,
        data=("deduped" if "dedup" in lower else "standard") if "winobias" not in lower and size else None,
        arm=arm_of(lower),
        batch=batch[1] if batch else None,
        raw_step=int(step[1]) if step else None,
        shots=shots_of_path(path),
    )


def shots_of_path(path: PurePosixPath) -> int | None:
    """Shots named by the folder or, where it names none, by the file."""
    for part in (path.parent.name, path.name.replace("_", "-")):
        for pattern, shots in SHOTS:
            if pattern.search(part):
                return shots
    return None


def other_size(written: str) -> str:
    """Size of an OPT or BLOOM model in Pythia's notation.

    >>> other_size("1b7"), other_size("560m"), other_size("6.7b")
    ('1.7b', '560m', '6.7b')
    """
    return re.sub(r"^([0-9]+)b([0-9]+)$", r"\1.\2b", written)


def claim_of_hub_arguments(arguments: str | JsonMapping) -> Claim:
    """Claim of lm-eval's ``model_args``, e.g. ``pretrained=EleutherAI/pythia-v1.1-70m,revision=step3000``.

    An argument that makes another model of the one named (an adapter, quantised weights) makes it another here.
    """
    given = given_arguments(arguments)
    claim = claim_of_hub_name(given.get("pretrained") or given.get("model", ""), given.get("revision", ""))
    remade = remade_by(given)
    if claim.family is None or not remade:
        return claim
    named = given.get("pretrained") or given["model"]
    return Claim(family=OTHER, name="+".join([named, *remade]), raw_step=claim.raw_step)


def claim_of_old_name(repository: str, step: int) -> Claim:
    """Claim of a repository as the term-frequency tables name it: before the names of v0 and v1 were told apart.

    >>> claim = claim_of_old_name("EleutherAI/pythia-1.3b-deduped", 13000)
    >>> claim.version, claim.size, claim.data
    ('v0', '1.4b', 'deduped')
    """
    found = OLD_REPOSITORY.fullmatch(repository)
    size, version = size_of(found[1]) if found else (None, None)
    if found is None or size is None:
        return Claim(family=OTHER, name=repository, raw_step=step)
    data = "deduped" if found[2] else "standard"
    return Claim("pythia", version, size, data, "baseline", DEFAULT_BATCH, step)


def claim_of_hub_name(pretrained: str, revision: str) -> Claim:
    """Claim of a name on the Hub and its revision, or of a folder that ends in ``EleutherAI/<model>/step<N>``.

    Only the exact name of a released model makes a claim of Pythia; a fine-tune, another owner's copy or a folder
    without its owner is a model of its own. Raises DataError for a step at which the released model has no checkpoint.

    >>> claim = claim_of_hub_name("mirror/EleutherAI/pythia-70m-deduped/step512", "main")
    >>> claim.size, claim.data, claim.raw_step
    ('70m', 'deduped', 512)
    >>> claim_of_hub_name("/scratch/u/pythia-70m-step512", "main")
    Claim(family='other', version=None, size=None, data=None, arm=None, batch=None, raw_step=512, shots=None, \
name='u/pythia-70m')
    >>> claim_of_hub_name("gpt2", "main").name
    'gpt2'
    """
    if not pretrained:
        return Claim()
    other = OTHER_REPOSITORY.fullmatch(pretrained)
    if other:
        return Claim(family=other[1], size=other_size(other[2]))
    path, step = without_step(pretrained)
    if step is None and STEP.fullmatch(revision):
        step = int(revision.removeprefix("step").lstrip("_"))
    repository = "/".join(path.split("/")[-2:])
    found = released().get(repository)
    # A longer path is a folder; without its step nothing tells a mirror of a checkpoint from what was trained on it.
    if found is None or pretrained == path != repository:
        return Claim(family=OTHER, name="/".join(PurePosixPath(path).parts[-2:]), raw_step=step)
    return claim_of_released(found, step)


def claim_of_released(found: Released, step: int | None) -> Claim:
    """Claim of a released model at a Hub step; raises DataError for a step that it does not have."""
    model = found.model
    if step is not None and found.batch is None and step not in model.steps:
        raise DataError(f"{model.repository} has no checkpoint at step {step}")
    is_variant = found.batch is not None
    return Claim(
        family="pythia",
        version="v1" if model.version == "intervention" else model.version,
        size=model.size,
        data=model.dataset,
        arm=model.arm,
        batch=found.batch or DEFAULT_BATCH,
        raw_step=step,
        name=None if is_variant else model.name,
    )


def last_step(claim: Claim) -> int | None:
    """Hub step of the last checkpoint of a Pythia model of 2M tokens a step, None for any other model."""
    return ITERATIONS[DEFAULT_BATCH] if claim.family == "pythia" and claim.batch == DEFAULT_BATCH else None


def claim_of_neox(config: JsonMapping) -> Claim:
    """Claim of a GPT-NeoX configuration (187 keys).

    The shape gives the size, the folder of the weights gives version, data and arm; where the weights were staged
    under a neutral name, the prefix of the result file does. A folder that the authors' words do not explain, or a
    shape that no Pythia model has, is another model.
    """
    folder = PurePosixPath(str(config.get("load") or ""))
    prefix = PurePosixPath(str(config.get("eval_results_prefix") or "")).name
    source = prefix if folder.name in NEUTRAL_FOLDERS else folder.name
    named_size, version = size_of(source)
    size = size_of_shape(config, named_size)
    iteration = config.get("iteration")
    if not is_authors_folder(source) or (named_size and not size):
        name = "/".join(folder.parts[-2:]) if source == folder.name else source
        return Claim(family=OTHER, name=name, raw_step=iteration if isinstance(iteration, int) else None)
    return Claim(
        family="pythia" if size else None,
        version="v2" if "pythia-v2" in source else version,
        size=size,
        data=data_of_neox(source, config),
        arm=arm_of(source) or "baseline",
        batch=batch_of(config.get("train_iters")),
        raw_step=iteration if isinstance(iteration, int) else None,
    )


def size_of_shape(config: JsonMapping, named: str | None) -> str | None:
    """Size of a GPT-NeoX configuration by its shape, ``named`` where it states none, None for an unknown shape."""
    layers, width = config.get("num_layers"), config.get("hidden_size")
    if not isinstance(layers, int) or not isinstance(width, int):
        return named
    return sizes_by_shape().get((layers, width))


def batch_of(iterations: JsonValue) -> str:
    """Millions of tokens in an iteration of a training that has so many; raises DataError for an unknown number.

    All of Pythia's trainings saw 300 billion tokens, so the number of iterations gives the tokens of each.

    >>> batch_of(143000), batch_of(71250)
    ('2', '4')
    """
    if iterations is None:
        return DEFAULT_BATCH
    near = [batch for batch, whole in ITERATIONS.items() if abs(iterations / whole - 1) < TOLERANCE]
    if not near:
        raise DataError(
            f"train_iters is {iterations}: Pythia's trainings have about {' or '.join(map(str, ITERATIONS.values()))}, "
            "so the tokens per step are unknown"
        )
    return near[0]


def data_of_neox(source: str, config: JsonMapping) -> str | None:
    """Data set by the folder of the weights, else by the paths of the training data."""
    if "dedup" in source:
        return "deduped"
    paths = str(config.get("train_data_paths") or "")
    if not paths and not source:
        return None
    return "deduped" if "dedup" in paths else "standard"


def claim_of_config_name(arguments: JsonMapping) -> Claim:
    """Claim of a file that carries only an iteration and the name of a config, e.g. ``1.4b-deduped-long``."""
    files, iteration = arguments.get("config_files"), arguments.get("iteration")
    name = next(iter(files), "") if isinstance(files, dict) else ""
    size, version = size_of(name)
    step = iteration if isinstance(iteration, int) else None
    if not is_authors_folder(name):
        return Claim(family=OTHER, name=name, raw_step=step)
    claim = Claim(family="pythia" if size else None, version=version, size=size, raw_step=step)
    return replace(claim, data="deduped" if "dedup" in name else None, batch=DEFAULT_BATCH)
