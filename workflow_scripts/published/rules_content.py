"""Rules about content: repeated, identical, missing and mixed results."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from workflow_scripts.published.findings import (
    SAME_AS_OTHER_DATA,
    SAME_AS_STEP_0,
    SUPERSEDED,
    Defect,
    Result,
    grouped,
    note_all,
)
from workflow_scripts.suite.registry import load_suite

TIMESTAMP = re.compile(r"(\d\d)-(\d\d)-(\d{4})-(\d\d)-(\d\d)-(\d\d)")
SAME_WEIGHTS = (0, 1)  # the two data sets start from the same weights, and the first update has a rate of almost 0
EVERY_TEN_THOUSAND = (3000, *range(13000, 143001, 10000))
# What the README of EleutherAI/pythia lists as evaluated.
PROMISED = (
    "lambada_openai",
    "wikitext",
    "piqa",
    "sciq",
    "wsc",
    "winogrande",
    "arc_challenge",
    "arc_easy",
    "logiqa",
    "blimp",
    "hendrycksTest",
)
# PIQA accuracy of the final 1.4b as other papers quote it from the Pythia paper's table.
QUOTED_PIQA = 0.711


def duplicates(results: Sequence[Result]) -> Iterator[Defect]:
    """Files of one folder for the same checkpoint and tasks: the newest timestamp wins."""

    def key(result: Result) -> tuple[object, ...]:
        return result.folder, result.identity, result.tasks, result.content.harness

    for members in grouped(results, key).values():
        if len(members) < 2:
            continue
        *older, newest = sorted(members, key=lambda r: timestamp(r.source_file))
        note_all(older, SUPERSEDED)
        equal = all(r.fingerprint() == newest.fingerprint() for r in older)
        yield Defect(
            "duplicate-files",
            f"{newest.folder}: {len(members)} files for step {newest.identity.step}",
            f"their results are {'equal' if equal else 'different'}; newest is {newest.source_file.rpartition('/')[2]}",
            len(older),
            "newest kept, older ones dropped from curves",
        )


def timestamp(name: str) -> tuple[str, ...]:
    """Sortable timestamp in a file name, year first; empty where there is none."""
    match = TIMESTAMP.search(name)
    if not match:
        return ()
    month, day, year, *clock = match.groups()
    return (year, month, day, *clock)


def identical_across_data(results: Sequence[Result]) -> Iterator[Defect]:
    """Standard and deduplicated models with identical results although they saw different data."""
    by_content = grouped(
        [r for r in results if r.identity.step not in SAME_WEIGHTS], lambda r: (r.fingerprint(), r.identity.step)
    )
    pairs = [members for members in by_content.values() if len({r.identity.data for r in members}) > 1]
    for (size, shots), members in grouped(
        [r for pair in pairs for r in pair], lambda r: (r.identity.size, r.identity.shots)
    ).items():
        note_all(members, SAME_AS_OTHER_DATA)
        steps = sorted({r.identity.step or 0 for r in members})
        yield Defect(
            "identical-across-data",
            f"{size} standard and deduplicated: identical {shots}-shot results at {len(steps)} steps",
            f"steps {', '.join(str(step) for step in steps)}; every number agrees to the last digit",
            len(members),
            "kept and marked: one of each pair is of the wrong model, which one cannot be told",
        )


def identical_to_step_0(results: Sequence[Result]) -> Iterator[Defect]:
    """Step 1 equals step 0: the first step of the schedule has a learning rate of almost 0."""
    first = {(r.identity.model, r.identity.shots): r.fingerprint() for r in results if r.identity.step == 0}
    same = [
        r
        for r in results
        if r.identity.step == 1 and first.get((r.identity.model, r.identity.shots)) == r.fingerprint()
    ]
    if same:
        note_all(same, SAME_AS_STEP_0)
        yield Defect(
            "identical-to-step-0",
            f"steps 0 and 1 give identical results for {len(same)} models",
            "the learning rate of the first step is 0 under GPT-NeoX v1.0's warm-up",
            len(same),
            "expected; noted",
        )


def equal_results(results: Sequence[Result]) -> Iterator[Defect]:
    """Groups of files with equal results, for whatever reason."""
    groups = [g for g in grouped(results, lambda r: r.fingerprint()).values() if len({r.source_file for r in g}) > 1]
    if groups:
        yield Defect(
            "equal-results",
            f"{len(groups)} groups of files hold equal results",
            f"sizes of the groups {sorted({len(group) for group in groups})}; the other rules say which are legitimate",
            sum(len(group) for group in groups),
            "noted",
        )


def missing_steps(results: Sequence[Result]) -> Iterator[Defect]:
    """Series that lack steps which all series of their kind have."""
    pythia = [r for r in results if r.identity.suite == "pythia" and not r.source_file.endswith(".csv")]
    for (folder, model), members in grouped(pythia, lambda r: (r.folder, r.identity.model)).items():
        present = {r.identity.step or 0 for r in members}
        wanted = expected_steps(members[0].identity.arm)
        missing = [step for step in wanted if step not in present]
        if missing and folder.rpartition("/")[2] != "baseline":
            yield Defect(
                "missing-steps",
                f"{folder}, {model}: {len(wanted) - len(missing)} of {len(wanted)} steps",
                f"no file for step {', '.join(str(step) for step in missing)} (Hub steps)",
                len(missing),
                "gap in the curve",
            )


def expected_steps(arm: str) -> tuple[int, ...]:
    """Steps at which every series of an arm was evaluated."""
    if arm == "baseline":
        return EVERY_TEN_THOUSAND
    return next(model.steps for model in load_suite("pythia").models.values() if model.arm == arm)


def missing_tasks(results: Sequence[Result]) -> Iterator[Defect]:
    """Tasks that the README promises or that the other models of the same set have."""
    suite = [r for r in results if r.named.shots == 0 and r.identity.arm == "baseline" and r.identity.suite == "pythia"]
    yield from tasks_not_everywhere(grouped(suite, lambda r: f"{r.identity.version} zero-shot"), PROMISED)
    arms = [
        r
        for r in results
        if "winobias" not in r.folder and ("bias-evals" in r.folder or r.folder.endswith(("baseline", "intervention")))
    ]
    yield from tasks_not_everywhere(grouped(arms, set_name), ())


def set_name(result: Result) -> str:
    """Name of the set of an arm: ``v1 baseline`` or ``bias-evals``."""
    return (
        "bias-evals"
        if "bias-evals" in result.folder
        else f"{result.identity.version} {result.folder.rpartition('/')[2]}"
    )


def tasks_not_everywhere(sets: dict[str, list[Result]], promised: Sequence[str]) -> Iterator[Defect]:
    """For each set, families of tasks that some of its models lack, those with the same gaps together."""
    for name, members in sets.items():
        held = {model: families(of_model) for model, of_model in grouped(members, lambda r: r.identity.model).items()}
        gaps: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for family in sorted(set(promised).union(*held.values())):
            gaps[tuple(sorted(model for model, tasks in held.items() if family not in tasks))].append(family)
        for lacking, missing in gaps.items():
            if lacking:
                shown = "all models" if len(lacking) == len(held) else ", ".join(lacking)
                promise = "; the README lists them as evaluated" if promised else ""
                evidence = f"{len(lacking)} of {len(held)} models{promise}"
                yield Defect(
                    "missing-tasks", f"{name}: no {', '.join(missing)} for {shown}", evidence, 0, "nothing to show"
                )


def families(results: Sequence[Result]) -> set[str]:
    """Families of tasks held by the results: ``blimp_x`` is blimp, ``hendrycksTest-x`` is hendrycksTest."""
    tasks = set().union(*(r.tasks for r in results))
    return {next((f for f in ("blimp", "hendrycksTest", "crows_pairs") if task.startswith(f)), task) for task in tasks}


def varying_batch_size(results: Sequence[Result]) -> Iterator[Defect]:
    """Evaluation batch sizes that differ within a series (16-bit sums may differ in the last digits)."""
    with_batch = [r for r in results if r.content.facts.get("batch_size") is not None]
    sizes = {
        folder: {r.content.facts["batch_size"] for r in rs}
        for folder, rs in grouped(with_batch, lambda r: r.folder).items()
    }
    varying = {folder: found for folder, found in sizes.items() if len(found) > 1}
    if varying:
        found = sorted({int(size) for batch in varying.values() for size in batch})
        yield Defect(
            "varying-batch-size",
            f"the evaluation's batch_size differs within {len(varying)} of {len(sizes)} folders",
            f"from {found[0]} to {found[-1]}",
            sum(r.folder in varying for r in with_batch),
            "noted; changes a score by rounding only",
        )


def recipes(results: Sequence[Result]) -> Iterator[Defect]:
    """Training recipes inside the files: against the README, impossible head counts, mixed spellings of keys."""
    readme = {m.size: m.readme_learning_rate for m in load_suite("pythia").models.values() if m.version == "v1"}
    with_recipe = [r for r in results if r.content.facts.get("lr")]
    other_rate = [r for r in with_recipe if r.content.facts["lr"] != readme.get(r.identity.size)]
    for (size, rate), members in grouped(other_rate, lambda r: (r.identity.size, r.content.facts["lr"])).items():
        yield Defect(
            "recipe",
            f"{size}: learning rate {rate:g}, README says {readme[size]:g}",
            members[0].source_file,
            len(members),
            "noted",
        )
    for (hidden, heads), members in grouped(
        with_recipe, lambda r: (r.content.facts["hidden_size"], r.content.facts["num_attention_heads"])
    ).items():
        if hidden % heads:
            yield Defect(
                "recipe",
                f"{heads} heads do not divide a width of {hidden}",
                members[0].source_file,
                len(members),
                "noted",
            )
    mixed = [r for r in with_recipe if has_mixed_keys(r.content.facts.get("config_text", ""))]
    if mixed:
        yield Defect(
            "recipe",
            "config files spell keys with hyphens and with underscores",
            mixed[0].source_file,
            len(mixed),
            "noted",
        )


def has_mixed_keys(config_text: str) -> bool:
    """True when the same config uses both spellings of multi-word keys, e.g. ``rotary_pct`` and ``hidden-size``."""
    keys = set(re.findall(r'"([a-z]+[-_][a-z-_]+)"\s*:', config_text))
    return any("_" in key for key in keys) and any("-" in key for key in keys)


def mixed_metrics(results: Sequence[Result]) -> Iterator[Defect]:
    """The final 1.4b's PIQA as quoted is acc_norm, while the other columns of that table are acc."""
    for result in results:
        identity = result.identity
        if (identity.model, identity.step, identity.shots) != ("pythia-1.4b", 143000, 0):
            continue
        plain, normed = result.value("piqa", "acc"), result.value("piqa", "acc_norm")
        if plain is None or normed is None:
            continue
        if round(plain, 3) != QUOTED_PIQA and round(normed, 3) == QUOTED_PIQA:
            yield Defect(
                "mixed-metrics",
                f"final 1.4b PIQA is quoted as {QUOTED_PIQA}, its accuracy is {plain:.3f}",
                f"acc_norm is {normed:.3f}: quoted tables mix acc and acc_norm",
                1,
                "tables here name their metric",
            )
