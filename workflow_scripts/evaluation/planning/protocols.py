"""Protocols: which definitions of a task a plan follows.

``current`` is what lm-eval 0.4.13 asks. ``pythia-2023`` is what the harness asked that produced the published Pythia
results (lm-evaluation-harness of 2023-05-20, ``lm_eval/tasks/*.py`` and ``lm_eval/base.py`` there): the same documents
and lm-eval's present task classes, with the prompts, draws of examples, tie rules, metric names and task names of then.
docs/evaluation.md has the mapping and its evidence. This module must not change what ``current`` asks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workflow_scripts.errors import ConfigError, MissingInputError
from workflow_scripts.json_values import JsonMapping

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

CURRENT, PYTHIA_2023 = "current", "pythia-2023"
PROTOCOLS = (CURRENT, PYTHIA_2023)
SHUFFLE_SEED = 42  # of the documents of each task, and of the examples drawn after that

MMLU, HENDRYCKS = "mmlu", "hendrycksTest"
SCIQ_TEXT = r"{{(support ~ '\nQuestion: ' ~ question ~ '\nAnswer:').strip()}}"
HENDRYCKS_TEXT = (
    r"Question: {{question}}\nChoices:\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}"
    r"\nAnswer:"
).replace(r"\n", "\n")
ACCURACIES = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")]
# What must be said to lm-eval's present definitions so that they ask as in 2023; nothing where they still do.
BLIMP_CHANGES = {"target_delimiter": ""}
HENDRYCKS_CHANGES = {
    "description": "",
    "doc_to_text": HENDRYCKS_TEXT,
    "doc_to_choice": "{{choices}}",
    "metric_list": ACCURACIES,
}


@dataclass(frozen=True)
class OldTask:
    """How a task was asked in 2023.

    ``changes`` to lm-eval's present configuration; ``examples`` says where shots come from: the ``training`` split,
    ``dev``, the evaluated documents ``themselves``, or ``none`` where shots were forbidden; ``label`` keeps only
    examples with that label; ``metrics`` maps present names of metrics to (name then, name of the definition here).
    """

    version: int = 0
    changes: JsonMapping = field(default_factory=dict)
    examples: str = "training"
    label: int | None = None
    metrics: Mapping[str, tuple[str, str]] = field(default_factory=dict)


OLD_TASKS = {
    # The present five-shot prompt puts two spaces before an example's last word, that of 2023 one.
    "lambada_openai": OldTask(
        changes={"target_delimiter": ""}, examples="themselves", metrics={"perplexity": ("ppl", "perplexity")}
    ),
    "piqa": OldTask(),
    "arc_easy": OldTask(),
    "arc_challenge": OldTask(),
    "winogrande": OldTask(),
    "logiqa": OldTask(),
    "sciq": OldTask(changes={"doc_to_text": SCIQ_TEXT.replace(r"\n", "\n")}),
    "wsc": OldTask(label=1),
    "wikitext": OldTask(version=1, examples="none"),
}
OLD_BLIMP = OldTask(changes=BLIMP_CHANGES, examples="none", metrics={"acc": ("acc", "acc_strict")})
OLD_HENDRYCKS = OldTask(changes=HENDRYCKS_CHANGES, examples="dev")
OLD_CROWS = OldTask(examples="none", metrics={"likelihood_diff": ("likelihood_difference", "likelihood_diff")})


def old_task(name: str) -> OldTask | None:
    """How the task that lm-eval now calls ``name`` was asked in 2023; None when it is not among the published ones.

    >>> old_task("mmlu_anatomy").examples, old_task("gsm8k")
    ('dev', None)
    """
    for prefix, task in (("blimp_", OLD_BLIMP), (f"{MMLU}_", OLD_HENDRYCKS), ("crows_pairs_", OLD_CROWS)):
        if name.startswith(prefix):
            return task
    return OLD_TASKS.get(name)


def name_in(protocol: str, name: str) -> str:
    """Name of a task or group of lm-eval 0.4 under ``protocol``.

    >>> name_in("pythia-2023", "mmlu_anatomy"), name_in("pythia-2023", "mmlu"), name_in("current", "mmlu_anatomy")
    ('hendrycksTest-anatomy', 'hendrycksTest', 'mmlu_anatomy')
    """
    if protocol == PYTHIA_2023 and (name == MMLU or name.startswith(f"{MMLU}_")):
        return HENDRYCKS + name.removeprefix(MMLU).replace("_", "-", 1)
    return name


def changes_to(protocol: str, name: str) -> JsonMapping:
    """Changes to lm-eval's configuration of task ``name`` under ``protocol``."""
    old = old_task(name) if protocol == PYTHIA_2023 else None
    return old.changes if old else {}


def select_known(protocol: str, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Tasks and groups of ``names`` that ``protocol`` has, and the others with the reason.

    :class:`ConfigError` for an unknown protocol, or when it has none of them.
    """
    known, unknown = split_known(protocol, names)
    if not known:
        raise ConfigError(f"protocol {protocol}: none of {', '.join(names)} was among the published tasks of 2023")
    return known, unknown


def split_known(protocol: str, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The same, also where it has none."""
    if protocol not in PROTOCOLS:
        raise ConfigError(f"unknown protocol '{protocol}'; known are {', '.join(PROTOCOLS)}")
    if protocol == CURRENT:
        return list(names), {}
    known = [name for name in names if name in ("blimp", MMLU) or old_task(name) is not None]
    return known, {name: "was not among the published tasks of 2023" for name in names if name not in known}


class Draw2023:
    """Takes the place of a task's sampler in lm-eval and gives out the examples of 2023, document by document."""

    def __init__(self, drawn: Iterator[Sequence[Any]]) -> None:
        """``drawn`` are the examples of each document, in the order in which lm-eval asks for them."""
        self.drawn = drawn

    def sample(self, n: int, eval_doc: Any = None, **_: Any) -> Sequence[Any]:  # noqa: ARG002 - lm-eval passes them
        """Examples of the next document."""
        return next(self.drawn)

    def set_rnd(self, seed: int | None) -> Draw2023:  # noqa: ARG002 - the seed of 2023 is fixed
        """Nothing: the seed belongs to the protocol."""
        return self


def draw_examples(documents: Sequence[Any], pool: Sequence[Any] | None, shots: int) -> list[list[Any]]:
    """Examples of each of ``documents`` as ``lm_eval/evaluator.py`` and ``base.py`` of 2023 drew them.

    One ``Random(42)`` shuffles the documents and then draws for each of them in shuffled order: ``shots`` of ``pool``,
    or, without a pool, ``shots + 1`` of the documents themselves, of which those equal to the document are dropped and
    the first ``shots`` stay.
    """
    generator = random.Random(SHUFFLE_SEED)
    order = list(range(len(documents)))
    generator.shuffle(order)
    drawn: list[list[Any]] = [[] for _ in documents]
    for number in order:
        if pool is not None:
            drawn[number] = generator.sample(pool, shots)
        else:
            others = generator.sample(documents, shots + 1)
            drawn[number] = [other for other in others if other != documents[number]][:shots]
    return drawn


def refuse_shots(task: ConfigurableTask) -> str | None:
    """Why ``task`` took no shots in 2023, or None when it did."""
    old = old_task(task.task_name)
    return "took no shots in 2023" if old is None or old.examples == "none" else None


def set_examples(task: ConfigurableTask, shots: int) -> None:
    """Replace the sampler of ``task`` by the draws of 2023; :class:`MissingInputError` when their split is not there.

    lm-eval would draw from the next split instead, which makes other prompts than the published ones.
    """
    old = old_task(task.task_name) or OldTask()
    documents = list(task.eval_docs)
    pool = None
    if old.examples != "themselves":
        split = task.config.training_split if old.examples == "training" else task.config.fewshot_split
        if split is None:
            raise MissingInputError(
                f"task '{task.task_name}': protocol {PYTHIA_2023} draws its {shots} examples from the {old.examples} "
                "split, which is not on disk; fetch it or leave the task out of this protocol's shots"
            )
        pool = [doc for doc in task.dataset[split] if old.label is None or doc["label"] == old.label]
    task.sampler = Draw2023(iter(draw_examples(documents, pool, shots)))
