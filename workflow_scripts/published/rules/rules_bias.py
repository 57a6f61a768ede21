"""Rules about the gender experiments: controls, interventions without effect, WinoBias runs that do not compare."""

import statistics
from collections.abc import Iterator, Sequence

from workflow_scripts.published.rules.findings import (
    CONTROL,
    NO_EFFECT,
    OTHER_HARNESS,
    Defect,
    Result,
    grouped,
    note_all,
)

GENDER_TASK, GENDER_METRIC = "crows_pairs_english_gender", "pct_stereotype"
CLEAR = 2.0  # standard errors of a paired mean difference that count as a change


def controls(results: Sequence[Result]) -> Iterator[Defect]:
    """Baseline runs made beside the interventions: a second measurement of checkpoints of the suite."""
    beside = [
        r
        for r in results
        if r.identity.arm == "baseline" and ("bias-evals" in r.folder or r.folder.endswith("/baseline"))
    ]
    main = {r.identity for r in results if r.named.shots == 0 and r not in beside}
    note_all(beside, CONTROL)
    again = sum(r.identity in main for r in beside)
    if again:
        yield Defect(
            "measured-twice",
            f"{again} checkpoints of the suite were evaluated a second time as controls of the interventions",
            "folders baseline and bias-evals",
            again,
            "kept as controls; curves of the suite use the main files",
        )


def interventions_without_effect(results: Sequence[Result]) -> Iterator[Defect]:
    """CrowS-Pairs gender, arm minus control at the same checkpoints: v0 falls, v1 does not move."""
    effects = {key: effect_text(key, differences) for key, differences in gender_differences(results).items()}
    still = {key for key, (changed, _) in effects.items() if key[0] == "v1" and not changed}
    moved = {key for key, (changed, _) in effects.items() if key[0] == "v0" and changed}
    if not (still and moved):
        return
    members = [r for r in results if arm_key(r) in still and GENDER_TASK in r.tasks]
    note_all(members, NO_EFFECT)
    yield Defect(
        "interventions-without-effect",
        f"CrowS-Pairs gender does not change in {len(still)} of the v1 interventions, while v0's fall",
        "; ".join(text for _, text in effects.values()),
        len(members),
        "marked: the v1 arms may hold data that were not swapped",
    )


def arm_key(result: Result) -> tuple[str | None, str, str]:
    """Version, size and arm."""
    return result.identity.version, result.identity.size, result.identity.arm


def gender_differences(results: Sequence[Result]) -> dict[tuple[str | None, str, str], list[float]]:
    """Differences arm - control in points, one per common checkpoint, for each version, size and arm."""
    scored = [
        (r, r.value(GENDER_TASK, GENDER_METRIC))
        for r in results
        if GENDER_TASK in r.tasks and r.identity.data == "deduped"
    ]
    control = {
        (r.identity.version, r.identity.size, r.identity.step): v for r, v in scored if r.identity.arm == "baseline"
    }
    differences: dict[tuple[str | None, str, str], list[float]] = {}
    for result, value in scored:
        base = control.get((result.identity.version, result.identity.size, result.identity.step))
        if result.identity.arm != "baseline" and base is not None and value is not None:
            differences.setdefault(arm_key(result), []).append(100 * (value - base))
    return differences


def effect_text(key: tuple[str | None, str, str], differences: Sequence[float]) -> tuple[bool, str]:
    """Whether the mean falls clearly, and the numbers in words."""
    mean, count = statistics.fmean(differences), len(differences)
    error = statistics.stdev(differences) / count**0.5 if count > 1 else float("inf")
    shown = f" +- {error:.1f}" if count > 1 else ""
    return mean < -CLEAR * error, f"{' '.join(str(part) for part in key)} {mean:+.1f}{shown} points (n={count})"


def winobias_harness(results: Sequence[Result]) -> Iterator[Defect]:
    """WinoBias of v1: baseline and intervention files come from different evaluation programs."""
    wino = [r for r in results if any(task.startswith("wino_bias") for task in r.tasks)]
    for (version, size), members in grouped(wino, lambda r: (r.identity.version, r.identity.size)).items():
        base = [r for r in members if r.identity.arm == "baseline"]
        arms = [r for r in members if r.identity.arm != "baseline"]
        if not base or not arms or {r.content.harness for r in base} == {r.content.harness for r in arms}:
            continue
        note_all(arms, OTHER_HARNESS)
        steps = {r.identity.step for r in base} & {r.identity.step for r in arms}
        shift = {kind: level(arms, kind, steps) - level(base, kind, steps) for kind in ("pro", "anti")}
        yield Defect(
            "winobias-harness",
            f"WinoBias {version} {size}: intervention files carry no config, baselines do: different programs",
            f"at {len(steps)} common steps pro shifts by {shift['pro']:+.3f} and anti by {shift['anti']:+.3f}",
            len(arms),
            "not compared with the baseline",
        )


def level(results: Sequence[Result], kind: str, steps: set[int | None]) -> float:
    """Mean exact match of the pro- or anti-stereotypical tasks at the given steps."""
    values = [
        m.value
        for r in results if r.identity.step in steps
        for m in r.content.measurements if m.metric == "em" and f"_{kind}+" in m.task
    ]  # fmt: skip
    return statistics.fmean(values)


def winobias_measure(results: Sequence[Result]) -> Iterator[Defect]:
    """The paper's WinoBias figure compares pronouns by log-probability; the files only hold exact match."""
    wino = [r for r in results if any(task.startswith("wino_bias") for task in r.tasks)]
    metrics = {m.metric for r in wino for m in r.content.measurements}
    if metrics == {"em"}:
        yield Defect(
            "winobias-measure",
            "the measure of the paper's WinoBias figure (which of two pronouns is likelier) is in no file",
            f"{len(wino)} files hold exact match of the generated referent only",
            len(wino),
            "figure not redrawn from these files",
        )
