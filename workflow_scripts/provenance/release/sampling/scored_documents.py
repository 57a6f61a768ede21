"""Documents of an evaluation run again from the weights: each alone, without what stood beside it in the plan.

A document's token sequences are taken out of the rows of the plan, where they share prefixes with others, and are run
by themselves. So the packing is checked as well; the price is that sums are added in another order, and last bits
differ. ``Scores`` runs the whole plan as the scoring job did and gives the same bits on the same arithmetic.

What lm-eval made of the documents (texts, right choices) is in the plan, which is not checked here: a plan is rebuilt
from the data by its own rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from workflow_scripts.errors import EvaluationError
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.engine.row_tensors import make_batches
from workflow_scripts.evaluation.planning.plan_file import Plan
from workflow_scripts.evaluation.planning.prefix_trees import Forest, ScoredSequence, pack
from workflow_scripts.evaluation.scoring.metrics import Answers
from workflow_scripts.evaluation.scoring.results import read_answers, sum_requests
from workflow_scripts.provenance.release.sampling.evaluated_files import EvaluatedFile, Evaluations
from workflow_scripts.provenance.release.sampling.sample_result import Group, Item, Outcome, Verdict
from workflow_scripts.provenance.release.sampling.sampler import Sampler
from workflow_scripts.provenance.release.sampling.tolerances import FORWARD, Allowed

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def sequence_of(forest: Forest, piece: int) -> ScoredSequence:
    """The tokens of one scored sequence, read off its row; EvaluationError where the row does not hold it."""
    edges = forest.piece_edge[forest.piece_start[piece] : forest.piece_start[piece + 1]]
    nodes = forest.slot_node[forest.edge_slot[edges]]
    row = int(np.searchsorted(forest.row_start, nodes[-1], side="right")) - 1
    begin, last = int(forest.row_start[row]), int(nodes[-1])
    path = begin + np.flatnonzero(forest.end[begin : last + 1] > last - begin)
    start = len(path) - len(nodes)
    inside = np.array_equal(path[start:], nodes) and np.array_equal(
        forest.token[nodes[1:]], forest.edge_token[edges[:-1]]
    )
    if start < 0 or not inside or not np.array_equal(forest.depth[path], np.arange(len(path))):
        raise EvaluationError(f"sequence {piece} of the plan is not one path of its row; the plan is damaged")
    tokens = np.append(forest.token[path], forest.edge_token[edges[-1]]).astype(np.int32)
    return ScoredSequence(tokens, start, 0)


@dataclass(frozen=True)
class DocumentRun:
    """One document run alone: its ``requests``, and of each the loglikelihood, scored tokens and greedy margins.

    ``margins`` are logit of the token minus the best other logit, of each scored token of a request.
    """

    requests: Integers
    loglikelihood: Floats
    tokens: Integers
    margins: tuple[Floats, ...]


def run_document(engine: Engine, plan: Plan, document: int) -> DocumentRun:
    """Recompute ``document`` (its number in the plan)."""
    requests = np.flatnonzero(plan.table.document == document)
    pieces = np.flatnonzero(np.isin(plan.table.piece_request, requests))
    forest = pack([sequence_of(plan.forest, int(piece)) for piece in pieces])
    values, _ = engine.score(forest)
    margins = edge_margins(engine, forest)
    owner = np.searchsorted(requests, plan.table.piece_request[pieces])
    edges = [forest.piece_edge[a:b] for a, b in zip(forest.piece_start[:-1], forest.piece_start[1:], strict=True)]
    by_request = [np.concatenate([edges[k] for k in np.flatnonzero(owner == r)]) for r in range(len(requests))]
    return DocumentRun(
        requests,
        np.array([values[own].astype(np.float64).sum() for own in by_request]),
        np.array([len(own) for own in by_request]),
        tuple(margins[own] for own in by_request),
    )


@torch.inference_mode()
def edge_margins(engine: Engine, forest: Forest) -> Floats:
    """Logit of each edge's token minus the best logit of another token, float64 [edges]."""
    found = np.empty(len(forest.edge_token), dtype=np.float64)
    for batch in make_batches(forest, engine.tokens_per_pass()):
        logits = (engine.hidden(batch) @ engine.head.t()).float().cpu()
        low, high = np.searchsorted(forest.edge_slot, [batch.first_slot, batch.first_slot + len(logits)])
        rows = torch.from_numpy(forest.edge_slot[low:high].astype(np.int64) - batch.first_slot)
        columns = torch.from_numpy(forest.edge_token[low:high].astype(np.int64))
        own = logits[rows, columns]
        others = logits[rows].scatter(1, columns[:, None], -torch.inf).amax(1)
        found[low:high] = (own - others).double().numpy()
    return found


def compared(item: Item, run: DocumentRun, stored: Answers, allowed: Allowed) -> Outcome:
    """The stored loglikelihoods and greedy flags of a document beside the recomputed ones."""
    said = stored.loglikelihood[run.requests]
    off = np.abs(said - run.loglikelihood)
    largest = float(off.max())
    greedy = np.array([bool((margins >= 0).all()) for margins in run.margins])
    flags = np.array_equal(greedy, stored.greedy[run.requests])
    if largest == 0.0 and flags:
        return Outcome(item, Verdict.EQUAL)
    within = off <= allowed.loglikelihood * np.sqrt(run.tokens)
    flagged = stored.greedy[run.requests].tolist()
    possible = [is_possible(flag, margins, allowed.logit) for flag, margins in zip(flagged, run.margins, strict=True)]
    if within.all() and all(possible):
        return Outcome(item, Verdict.WITHIN, largest)
    if not within.all():
        worst = int(off.argmax())
        detail = f"loglikelihood {said[worst]:.6f}, recomputed {run.loglikelihood[worst]:.6f}"
    else:
        worst = possible.index(False)
        detail = f"greedy is {not greedy[worst]}, recomputed {greedy[worst]}"
    detail = f"request {run.requests[worst]}: {detail}"
    return Outcome(item, Verdict.WRONG, largest, detail)


def is_possible(greedy: bool, margins: Floats, logit: float) -> bool:
    """Whether rounding of logits by ``logit`` allows the flag: near-ties may fall either way."""
    return bool((margins >= -logit).all()) if greedy else bool(margins.min() <= logit)


class OfEvaluations(Sampler):
    """What kinds of items of scores files have in common; a group is called by its file and its plan."""

    unit = "nats per request"

    def __init__(self, evaluations: Evaluations) -> None:
        self.evaluations = evaluations
        self.not_checked = [*evaluations.not_checked, *evaluations.absent()]

    def plans(self) -> Iterator[tuple[str, EvaluatedFile, Plan]]:
        """Each plan with documents that can be run again here: its group's name, its scores file and itself."""
        for file in self.evaluations.recomputable():
            for name, plan in file.plans.items():
                if len(plan.table.words):
                    yield f"{file.path} {name}", file, plan

    def open(self, group: str) -> tuple[EvaluatedFile, Plan, Answers]:
        """A group's file, plan and stored answers; raises EvaluationError where they do not belong together."""
        path, _, name = group.partition(" ")
        file = self.evaluations.files[path]
        plan = file.plans[name]
        return file, plan, read_answers(self.evaluations.release.place(path), plan)


class Documents(OfEvaluations):
    """Documents, each run alone."""

    kind = "documents"
    title = "Documents of evaluations, run again from the weights"

    def __init__(self, evaluations: Evaluations) -> None:
        super().__init__(evaluations)
        self.groups = [
            Group(name, len(plan.table.words), file.loading + file.seconds(plan) / len(plan.table.words))
            for name, file, plan in self.plans()
        ]

    def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Run each document and compare."""
        file, plan, stored = self.open(group)
        engine = self.evaluations.engine(file)
        allowed = FORWARD[file.dtype]
        for number in numbers:
            yield compared(Item(group, number), run_document(engine, plan, number), stored, allowed)


class Scores(OfEvaluations):
    """Scores of a task, all of its documents run as the scoring job ran them."""

    kind = "scores"
    title = "Scores of a checkpoint on a task, all documents run again"

    def __init__(self, evaluations: Evaluations) -> None:
        super().__init__(evaluations)
        self.groups = [Group(name, 1, file.loading + file.seconds(plan)) for name, file, plan in self.plans()]

    def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Run the whole plan; where bits differ, those documents alone decide what is wrong."""
        file, plan, stored = self.open(group)
        engine = self.evaluations.engine(file)
        found = sum_requests(plan, *engine.score(plan.forest))
        item = Item(group, numbers[0])
        off = np.abs(found.loglikelihood - stored.loglikelihood)
        if not off.any() and np.array_equal(found.greedy, stored.greedy):
            yield Outcome(item, Verdict.EQUAL)
            return
        differing = np.flatnonzero((off != 0) | (found.greedy != stored.greedy))
        allowed = FORWARD[file.dtype]
        documents = np.unique(plan.table.document[differing])
        outcomes = [compared(item, run_document(engine, plan, int(number)), stored, allowed) for number in documents]
        wrong = [outcome for outcome in outcomes if outcome.verdict is Verdict.WRONG]
        detail = f"{len(wrong)} of its documents, first: {wrong[0].detail}" if wrong else ""
        yield Outcome(item, Verdict.WRONG if wrong else Verdict.WITHIN, float(off.max()), detail)
