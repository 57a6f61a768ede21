"""Defects that show when revisions and models are compared. Pure functions of what was observed.

    missing         the suite says that there is such a step, the repository does not serve it
    duplicate       the same weights as another step, or as another model at any step but its start
    chimera         some tensors, or a shard, of another step among tensors of its own
    start-differs   step 0 of runs with the same seed and shape is not the same
    outlier         norms jump against both neighbours
    final-differs   main is not the last step
    moved           the branch points to another commit than the ledger says

Step 0 and step 1 may be equal: the learning rate of the first update is zero. Where one of two equal revisions fits the
curve of its model clearly better, only the other is named; otherwise all are.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from workflow_scripts.checkpoints.defect_table import Defect
from workflow_scripts.checkpoints.inspection import Observation
from workflow_scripts.checkpoints.ledger_file import MAIN, Ledger
from workflow_scripts.checkpoints.neighbour_fit import Samples, misfit, outliers
from workflow_scripts.checkpoints.tensor_samples import MATRICES, SKETCH
from workflow_scripts.suite.models import Model

# The start of training: equal there proves nothing.
START = frozenset({0, 1})
# How much better one of two must fit to be called the right one.
CLEARLY = 1.3
Member = tuple[str, int]


@dataclass(frozen=True)
class Seen:
    """All that was observed of one model."""

    model: Model
    revisions: Mapping[str, Observation]

    def steps(self) -> dict[int, Observation]:
        """Observations by step, ``main`` left out, rising."""
        found = ((self.model.step_of(name), seen) for name, seen in self.revisions.items())
        return dict(sorted((step, seen) for step, seen in found if step is not None))

    def revision(self, step: int) -> str:
        """Name of the revision of a step."""
        return self.model.step(step).revision

    def curve(self) -> dict[int, Samples]:
        """Samples of the steps that have no problem of their own."""
        return {step: found.samples for step, found in self.steps().items() if found.samples and not found.problems}

    def identity(self, revision: str) -> tuple[tuple[str, str], ...]:
        """Names and hashes of a revision's weights; empty when it is not there or has none."""
        found = self.revisions.get(revision)
        return tuple(sorted(found.weights.items())) if found is not None else ()


def own_problems(seen: Seen) -> Iterator[Defect]:
    """What each revision showed by itself, and the steps that are not served."""
    for step in seen.model.steps:
        if seen.revision(step) not in seen.revisions:
            yield Defect(seen.model.name, seen.revision(step), "missing", "the repository has no such branch")
    for name, found in seen.revisions.items():
        for kind, detail in found.problems:
            # main repeats what is wrong with the last step.
            if name != MAIN or seen.identity(name) != seen.identity(seen.revision(seen.model.steps[-1])):
                yield Defect(seen.model.name, name, kind, detail)


def moved(seen: Seen, ledger: Ledger) -> Iterator[Defect]:
    """Branches that are not at the commit in the ledger."""
    for name, entered in ledger.of(seen.model.name).items():
        found = seen.revisions.get(name)
        if found is not None and found.commit != entered.commit:
            yield Defect(seen.model.name, name, "moved", f"commit {entered.commit} in the ledger, now {found.commit}")


def final_differs(seen: Seen) -> Iterator[Defect]:
    """Main, when its weights are not those of the last step."""
    last = seen.revision(seen.model.steps[-1])
    ours, theirs = dict(seen.identity(last)), dict(seen.identity(MAIN))
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if ours and theirs and names:
        yield Defect(seen.model.name, MAIN, "final-differs", f"{', '.join(names)} is not that of {last}")


def start_differs(all_seen: Sequence[Seen]) -> Iterator[Defect]:
    """Models whose step 0 is not that of the others with the same seed and shape."""
    groups: dict[tuple[object, ...], list[Seen]] = defaultdict(list)
    for seen in all_seen:
        if seen.identity(seen.revision(0)):
            model = seen.model
            shape = (model.layers, model.hidden_size, model.heads, model.vocab_size)
            groups[(*shape, model.initialisation, model.published_dtype, model.weight_seed)].append(seen)
    for group in groups.values():
        kinds: dict[tuple[tuple[str, str], ...], list[Seen]] = defaultdict(list)
        for seen in group:
            kinds[seen.identity(seen.revision(0))].append(seen)
        most = max(len(members) for members in kinds.values())
        majority = [members for members in kinds.values() if len(members) == most]
        for members in kinds.values():
            if len(kinds) > 1 and (len(majority) > 1 or members is not majority[0]):
                for seen in members:
                    others = ", ".join(other.model.name for other in group if other is not seen)
                    yield Defect(seen.model.name, seen.revision(0), "start-differs", f"same seed and shape as {others}")


def guilty(
    members: Collection[Member], curves: Mapping[str, Mapping[int, Samples]], names: Collection[str]
) -> list[Member]:
    """Those of some members with equal content that do not fit their curve; all but one when one fits clearly."""
    fits: dict[Member, float | None] = {}
    for model, step in members:
        curve = curves[model]
        without = {other for name, other in members if name == model}
        fits[model, step] = misfit(curve, step, names, without, curve[step]) if step in curve else None
    known = {member: value for member, value in fits.items() if value is not None}
    if not known:
        return sorted(members)
    best = min(known, key=lambda member: known[member])
    rest = [member for member in members if member != best]
    clear = all(known.get(member, float("inf")) > CLEARLY * known[best] for member in rest)
    return sorted(rest if clear else members)


def duplicates(all_seen: Sequence[Seen]) -> Iterator[Defect]:
    """Revisions with exactly the weights of another one, within a model and between models."""
    groups: dict[tuple[tuple[str, str], ...], list[Member]] = defaultdict(list)
    for seen in all_seen:
        for step in seen.steps():
            identity = seen.identity(seen.revision(step))
            if identity:
                groups[identity].append((seen.model.name, step))
    curves = {seen.model.name: seen.curve() for seen in all_seen}
    owners = {seen.model.name: seen for seen in all_seen}
    for members in groups.values():
        if len(members) > 1 and not {step for _, step in members} <= START:
            names = {name for model, step in members for name in curves[model].get(step, {})}
            for model, step in guilty(members, curves, names):
                others = ", ".join(f"{other} step{at}" for other, at in members if (other, at) != (model, step))
                yield Defect(model, owners[model].revision(step), "duplicate", f"same weights as {others}")


def evidence(samples: Samples) -> dict[str, str]:
    """Digests of the tensors that change at every update: the matrices inside the layers."""
    return {n: s.digest for n, s in samples.items() if n.endswith(MATRICES) and len(s.sketch) == SKETCH}


def shared_tensors(curve: Mapping[int, Samples]) -> dict[tuple[int, int], set[str]]:
    """Tensors with equal samples, for each pair of steps that has any."""
    holders: dict[tuple[str, str], list[int]] = defaultdict(list)
    for step, samples in curve.items():
        for name, digest in evidence(samples).items():
            holders[name, digest].append(step)
    shared: dict[tuple[int, int], set[str]] = defaultdict(set)
    for (name, _), steps in holders.items():
        for first, second in combinations(sorted(steps), 2):
            shared[first, second].add(name)
    return shared


def chimeras(seen: Seen) -> Iterator[Defect]:
    """Revisions that hold a part of another step: tensors with equal samples, or a shard with an equal hash."""
    curve = seen.curve()
    for pair, names in shared_tensors(curve).items():
        compared = evidence(curve[pair[0]]).keys() & evidence(curve[pair[1]]).keys()
        if names < compared and not set(pair) <= START:
            members = [(seen.model.name, step) for step in pair]
            for model, step in guilty(members, {model: curve for model, _ in members}, names):
                other = pair[0] if step == pair[1] else pair[1]
                what = f"{len(names)} of {len(compared)} sampled matrices are those of step{other}"
                yield Defect(model, seen.revision(step), "chimera", f"{what}, first {sorted(names)[0]}")
    yield from mixed_shards(seen)


def mixed_shards(seen: Seen) -> Iterator[Defect]:
    """Sharded revisions of which some shards, and not all, are another step's; only where no samples tell."""
    steps = {step: found for step, found in seen.steps().items() if len(found.weights) > 1 and not found.samples}
    for (first, ours), (second, theirs) in combinations(steps.items(), 2):
        equal = {name for name, digest in ours.weights.items() if theirs.weights.get(name) == digest}
        if equal and equal != set(ours.weights) and not {first, second} <= START:
            for step, other in ((first, second), (second, first)):
                detail = f"{sorted(equal)[0]} is that of step{other}, other shards are not"
                yield Defect(seen.model.name, seen.revision(step), "chimera", detail)


def norm_outliers(seen: Seen, known: Collection[str]) -> Iterator[Defect]:
    """Steps whose norms jump; revisions in ``known`` have other defects and say nothing about their neighbours."""
    curve = {step: samples for step, samples in seen.curve().items() if seen.revision(step) not in known}
    for step, jump in outliers(curve).items():
        yield Defect(
            seen.model.name,
            seen.revision(step),
            "outlier",
            f"norms lie {jump:.0%} off the interpolation of its neighbours",
        )


def all_defects(all_seen: Sequence[Seen], ledger: Ledger) -> list[Defect]:
    """Every defect of the observed models."""
    found = [*start_differs(all_seen), *duplicates(all_seen)]
    for seen in all_seen:
        found += [*own_problems(seen), *moved(seen, ledger), *final_differs(seen), *chimeras(seen)]
    for seen in all_seen:
        known = {defect.revision for defect in found if defect.model == seen.model.name}
        found += norm_outliers(seen, known)
    return found
