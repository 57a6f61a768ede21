"""lm-eval 0.4's metrics from loglikelihoods, vectorised over all documents of a task; imports numpy only.

A task is seen as its requests in order (documents in order, choices in order) and a few numbers per request. Values per
document, aggregations and standard errors follow lm-eval 0.4.13 (``api/task.py`` process_results, ``api/metrics.py``,
``api/group.py``), except the standard error of a perplexity, which is the delta method's instead of 100,000 bootstrap
rounds. A metric that is not listed here is refused when the plan is made, never guessed.
"""

import functools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import EvaluationError
from workflow_scripts.json_values import JsonMapping

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
NOT_AVAILABLE = "N/A"
BOOTSTRAP_CHUNK = 1000


@dataclass(frozen=True)
class TaskRequests:
    """What the metrics need to know about the R requests of D documents of one task.

    ``document`` [R] counts documents from 0 and never falls; ``gold`` [R] marks right choices; ``characters`` and
    ``bytes`` [R] are choice lengths; ``words`` and ``text_bytes`` [D] are counts of rolling texts.
    """

    output_type: str
    document: Integers
    gold: Booleans
    characters: Integers
    bytes: Integers
    words: Integers
    text_bytes: Integers

    @classmethod
    def of_task(cls, table: object, task: JsonMapping) -> Self:
        """Part of ``task`` in ``table``, which has lists or arrays of these names over all tasks of a plan."""
        requests, documents = slice(*task["requests"]), slice(*task["documents"])
        rows = {"words": documents, "text_bytes": documents}
        names = ("document", "gold", "characters", "bytes", "words", "text_bytes")
        document, gold, *counts = (np.asarray(getattr(table, name)[rows.get(name, requests)]) for name in names)
        integers = [count.astype(np.int64) for count in counts]
        return cls(task["output_type"], document.astype(np.int64) - documents.start, gold.astype(np.bool_), *integers)

    @property
    def documents(self) -> int:
        """Number of documents D."""
        return len(self.words)

    @functools.cached_property
    def table(self) -> Integers:
        """Request index of each choice, int64 [D, largest number of choices]; -1 where a document has fewer."""
        counts = np.bincount(self.document, minlength=self.documents)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        table = np.full((self.documents, counts.max()), -1, dtype=np.int64)
        table[self.document, np.arange(len(self.document)) - starts[self.document]] = np.arange(len(self.document))
        return table


@dataclass(frozen=True)
class Answers:
    """Loglikelihood (natural logarithm, float64 [R]) and greedy flag (bool [R]) of each request of one task."""

    loglikelihood: Floats
    greedy: Booleans

    def of_task(self, task: JsonMapping) -> Self:
        """The part that belongs to ``task`` of a plan."""
        rows = slice(*task["requests"])
        return replace(self, loglikelihood=self.loglikelihood[rows], greedy=self.greedy[rows])


def best_choice(requests: TaskRequests, scores: Floats) -> Integers:
    """Request index of the choice with the highest of ``scores`` [R] per document; the first one when several are."""
    padded = np.append(scores, -np.inf)  # index -1, a missing choice, reads this
    best = np.argmax(padded[requests.table], axis=1)
    return np.asarray(requests.table[np.arange(requests.documents), best])


def choice_accuracy(requests: TaskRequests, scores: Floats) -> Floats:
    """1 where the choice with the highest score is a right one, else 0; float64 [D]."""
    return requests.gold[best_choice(requests, scores)].astype(np.float64)


def pair(requests: TaskRequests, answers: Answers) -> tuple[Floats, Floats]:
    """Loglikelihoods of the first and second sentence of documents with exactly two."""
    if requests.table.shape[1] != 2 or (requests.table < 0).any():
        raise EvaluationError("a pair metric needs exactly two choices per document")
    both = answers.loglikelihood[requests.table]
    return both[:, 0], both[:, 1]


def accuracy(requests: TaskRequests, answers: Answers) -> Floats:
    """Share of right choices by loglikelihood; of greedy continuations where there are no choices."""
    if requests.output_type == "loglikelihood":
        return answers.greedy.astype(np.float64)
    return choice_accuracy(requests, answers.loglikelihood)


def strict_accuracy(requests: TaskRequests, answers: Answers) -> Floats:
    """1 where a right choice is strictly likelier than every wrong one: a tie is wrong, as in lm-eval 0.3's BLiMP."""
    padded = np.append(answers.loglikelihood, -np.inf)[requests.table]
    gold = np.append(requests.gold, [False])[requests.table]
    right = np.where(gold, padded, -np.inf).max(axis=1)
    wrong = np.where(gold, -np.inf, padded).max(axis=1)
    return np.asarray(right > wrong, dtype=np.float64)


def accuracy_by_character(requests: TaskRequests, answers: Answers) -> Floats:
    """Right choices by loglikelihood per character of the choice (without the delimiter before it)."""
    return choice_accuracy(requests, answers.loglikelihood / requests.characters)


def accuracy_by_byte(requests: TaskRequests, answers: Answers) -> Floats:
    """Right choices by loglikelihood per UTF-8 byte of the choice."""
    return choice_accuracy(requests, answers.loglikelihood / requests.bytes)


def likelihood_difference(requests: TaskRequests, answers: Answers) -> Floats:
    """Absolute difference of the two loglikelihoods of a pair."""
    first, second = pair(requests, answers)
    return np.abs(first - second)


def stereotype(requests: TaskRequests, answers: Answers) -> Floats:
    """1 where the first (stereotyped) sentence of a pair is strictly likelier."""
    first, second = pair(requests, answers)
    return (first > second).astype(np.float64)


def loglikelihood(requests: TaskRequests, answers: Answers) -> Floats:  # noqa: ARG001
    """Loglikelihood itself; for perplexities."""
    return answers.loglikelihood


Metric = Callable[[TaskRequests, Answers], Floats]
CHOICE_METRICS: dict[str, Metric] = {
    "acc": accuracy,
    "acc_strict": strict_accuracy,
    "acc_norm": accuracy_by_character,
    "acc_bytes": accuracy_by_byte,
    "likelihood_diff": likelihood_difference,
    "pct_stereotype": stereotype,
}
METRICS: dict[str, dict[str, Metric]] = {
    "multiple_choice": CHOICE_METRICS,
    "loglikelihood": {"acc": accuracy, "perplexity": loglikelihood},
    "loglikelihood_rolling": dict.fromkeys(("word_perplexity", "byte_perplexity", "bits_per_byte"), loglikelihood),
}
WEIGHTS = {"word_perplexity": "words", "byte_perplexity": "text_bytes", "bits_per_byte": "text_bytes"}
AGGREGATIONS = ("mean", "perplexity", "weighted_perplexity", "bits_per_byte")


def check_supported(task: str, output_type: str, metric: str, aggregation: str) -> None:
    """Refuse, naming ``task``, what this module does not define."""
    known = METRICS.get(output_type)
    if known is None:
        raise EvaluationError(
            f"task '{task}': output type '{output_type}' needs generation; run it with lm-eval itself"
        )
    if metric not in known or aggregation not in AGGREGATIONS:
        raise EvaluationError(
            f"task '{task}': metric '{metric}' ({aggregation}) is not one of {', '.join(sorted(known))}; "
            "run it with lm-eval itself"
        )


def definition_of(metric: JsonMapping) -> str:
    """Name in :data:`METRICS` of a plan's ``metric``; its own name unless the plan says otherwise."""
    return str(metric.get("definition", metric["name"]))


def document_values(requests: TaskRequests, metric: str, answers: Answers) -> Floats:
    """Value of ``metric`` per document before aggregation, float64 [D]."""
    return METRICS[requests.output_type][metric](requests, answers)


def standard_error(values: Floats) -> float | str:
    """Standard error of the mean with Bessel's correction; ``N/A`` for fewer than two values, as in lm-eval."""
    if len(values) < 2:
        return NOT_AVAILABLE
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def aggregate(
    aggregation: str, values: Floats, weights: Integers | None, bootstrap: int = 0
) -> tuple[float, float | str]:
    """Value and standard error of a metric.

    ``perplexity`` = exp(-mean), its standard error by the delta method is perplexity x standard error of the mean
    loglikelihood, or with ``bootstrap`` rounds what lm-eval finds; the weighted ones divide the summed loglikelihood by
    summed ``weights`` and have none, as in lm-eval.
    """
    if aggregation == "mean":
        return float(values.mean()), standard_error(values)
    if aggregation == "perplexity":
        value = safe_exp(-float(values.mean()))
        if bootstrap:
            return value, bootstrap_error(values, bootstrap)
        error = standard_error(values)
        return value, error if isinstance(error, str) else value * error
    if weights is None:
        raise EvaluationError(f"aggregation '{aggregation}' needs word or byte counts")
    rate = -float(values.sum()) / float(weights.sum())
    return (safe_exp(rate) if aggregation == "weighted_perplexity" else rate / math.log(2)), NOT_AVAILABLE


def bootstrap_error(values: Floats, rounds: int) -> float:
    """Deviation of the perplexities of ``rounds`` samples with replacement, drawn as lm-eval draws them.

    lm-eval (``api/metrics.py``, ``bootstrap_stderr``) draws chunks of up to 1,000 samples with ``random.choices``, one
    ``Random(i)`` per chunk, and takes the sample deviation. NumPy's Mersenne Twister with the same state gives the same
    numbers; the sums are in another order, so the results agree to about 1e-12.
    """
    chunk = min(BOOTSTRAP_CHUNK, rounds)
    found = [sampled_perplexities(values, seed, chunk) for seed in range(rounds // chunk)]
    return float(np.concatenate(found).std(ddof=1))


def sampled_perplexities(values: Floats, seed: int, rounds: int) -> Floats:
    """Perplexities of ``rounds`` samples of ``values`` from ``random.Random(seed)``; float64 [rounds]."""
    state = random.Random(seed).getstate()[1]
    generator = np.random.RandomState()
    generator.set_state(("MT19937", np.array(state[:-1], dtype=np.uint32), state[-1], 0, 0.0))
    means = np.empty(rounds, dtype=np.float64)
    for number in range(rounds):
        drawn = (generator.random_sample(len(values)) * len(values)).astype(np.int64)
        means[number] = values[drawn].mean()
    return np.asarray(np.exp(-means), dtype=np.float64)


def safe_exp(exponent: float) -> float:
    """E to the ``exponent``; :class:`EvaluationError` instead of an overflow."""
    try:
        return math.exp(exponent)
    except OverflowError as error:
        raise EvaluationError(f"a perplexity of e^{exponent:.0f} does not fit a number; the model is broken") from error


def task_metrics(
    requests: TaskRequests, metrics: Sequence[JsonMapping], answers: Answers, bootstrap: int = 0
) -> dict[str, float | str]:
    """``{"acc,none": value, "acc_stderr,none": error, ...}`` for the ``metrics`` that the plan lists for a task."""
    results: dict[str, float | str] = {}
    for metric in metrics:
        name, definition = metric["name"], definition_of(metric)
        values = document_values(requests, definition, answers)
        weights = getattr(requests, WEIGHTS[definition]) if definition in WEIGHTS else None
        value, error = aggregate(metric["aggregation"], values, weights, bootstrap)
        results[f"{name},none"], results[f"{name}_stderr,none"] = value, error
    return results


def group_metrics(aggregations: Sequence[JsonMapping], members: Sequence[JsonMapping]) -> dict[str, float | str]:
    """Mean of each of a group's ``aggregations`` over its leaf tasks' results (with ``sample_len``), and its error.

    The metric's own name holds the mean that lm-eval's definition of the group asks for; ``<metric>_by_item``
    (weighted by size) and ``<metric>_by_task`` (unweighted) are both means. The error is that of lm-eval's: weighted by
    size, pooled variance; unweighted, sqrt(sum of squared errors) / number of tasks.
    """
    results: dict[str, float | str] = {}
    for item in aggregations:
        key, error_key = f"{item['metric']},none", f"{item['metric']}_stderr,none"
        having = [member for member in members if key in member]
        if not having:
            continue
        values = np.array([member[key] for member in having])
        sizes = np.array([member["sample_len"] for member in having], dtype=np.float64)
        weights = sizes if item["weight_by_size"] else np.ones_like(sizes)
        results[key] = float((values * weights).sum() / weights.sum())
        # Not in lm-eval: both means, so that none has to be computed again from the tasks.
        results[f"{item['metric']}_by_item,none"] = float((values * sizes).sum() / sizes.sum())
        results[f"{item['metric']}_by_task,none"] = float(values.mean())
        errors = [member[error_key] for member in having]
        known = all(not isinstance(error, str) for error in errors)
        results[error_key] = pooled_error(np.array(errors), sizes, item["weight_by_size"]) if known else NOT_AVAILABLE
    return results


def pooled_error(errors: Floats, sizes: Floats, weight_by_size: bool) -> float:
    """Standard error of a (size-weighted) mean of task scores whose standard errors are ``errors``."""
    if not weight_by_size:
        return float(np.sqrt((errors**2).sum()) / len(errors))
    variance = ((sizes - 1) * errors**2 * sizes).sum() / (sizes.sum() - len(sizes))
    return float(np.sqrt(variance / sizes.sum()))
