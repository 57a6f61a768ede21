"""Rules about what is missing, mixed or varies within a series: steps, tasks, batch sizes, recipes, metrics."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from workflow_scripts.published.rules.findings import Defect, Result, grouped
from workflow_scripts.suite.registry import load_suite

EVERY_TEN_THOUSAND = (3000, *range(13000, 143001, 10000))
# What the README of EleutherAI/pythia lists as evaluated.
PROMISED = (
    "lambada_openai", "wikitext", "piqa", "sciq", "wsc", "winogrande", "arc_challenge", "arc_easy", "logiqa", "blimp",
    "hendrycksTest",
)  # fmt: skip
# PIQA accuracy of the final 1.4b as other papers quote it from the Pythia paper's table.
QUOTED_PIQA = 0.711


def missing_steps(results: Sequence[Result]) -> Iterator[Defect]:
    """Series that lack steps which all series of their kind have; runs of other people choose their own."""
    pythia = [
        r
        for r in results
        if r.identity.suite == "pythia"
        and not r.source_file.endswith(".csv")
        and not r.content.harness.startswith("lm-eval 0.4")
    ]
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
        yield recipe_defect(f"{size}: learning rate {rate:g}, README says {readme[size]:g}", members)
    for (hidden, heads), members in grouped(
        with_recipe, lambda r: (r.content.facts["hidden_size"], r.content.facts["num_attention_heads"])
    ).items():
        if hidden % heads:
            yield recipe_defect(f"{heads} heads do not divide a width of {hidden}", members)
    mixed = [r for r in with_recipe if has_mixed_keys(r.content.facts.get("config_text", ""))]
    if mixed:
        yield recipe_defect("config files spell keys with hyphens and with underscores", mixed)


def recipe_defect(what: str, members: Sequence[Result]) -> Defect:
    """A finding about the recipe inside some files, with the first of them as evidence."""
    return Defect("recipe", what, members[0].source_file, len(members), "noted")


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
