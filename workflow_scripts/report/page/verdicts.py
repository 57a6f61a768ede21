"""The sentences at the top of the report: what this run shows, with its numbers. Computed, never typed.

Each rule looks at one part of the inputs and says nothing where that part is absent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from workflow_scripts.published.summary import final_scores
from workflow_scripts.report.drawing.style import ordered_sizes
from workflow_scripts.report.figures.final_tables import score_text
from workflow_scripts.report.page.comparison_section import comparison_sentence
from workflow_scripts.report.page.report_inputs import ReportInputs
from workflow_scripts.report.score_rows import TaskRows, at_last_step, by_task, shot_words


@dataclass(frozen=True)
class Verdict:
    """One sentence under a heading (``kind``)."""

    kind: str
    text: str


def find_verdicts(inputs: ReportInputs) -> list[Verdict]:
    """All verdicts, ours first."""
    ours = (deduplication, losses, held_out, crosscheck, comparison, experiments)
    rules = (*ours, published_range, published_defects)
    return [verdict for rule in rules for verdict in rule(inputs)]


def comparison(inputs: ReportInputs) -> Iterator[Verdict]:
    """Ours against the published numbers, where the run has some of the same models and tasks."""
    if len(inputs.comparison):
        yield Verdict("Reproduction", comparison_sentence(inputs.comparison))


def by_kind(verdicts: Sequence[Verdict]) -> list[tuple[str, list[str]]]:
    """Sentences under their headings, in the order of the first of each."""
    groups: dict[str, list[str]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.kind, []).append(verdict.text)
    return list(groups.items())


def scored(inputs: ReportInputs) -> list[TaskRows]:
    """Scores by task and shots, none for a run without models."""
    return list(by_task(inputs.scores, inputs.run)) if len(inputs.scores) else []


def deduplication(inputs: ReportInputs) -> Iterator[Verdict]:
    """Deduplicated minus standard at the last checkpoint, over all tasks and sizes."""
    differences = []
    for part in scored(inputs):
        last = at_last_step(part.rows).pivot_table(index="size", columns="data", values="value", observed=True)
        if {"standard", "deduped"} <= set(last.columns):
            differences += list((last["deduped"] - last["standard"]).dropna())
    if differences:
        higher = sum(difference > 0 for difference in differences)
        mean = sum(differences) / len(differences)
        yield Verdict(
            "Data sets",
            f"Deduplicated minus standard data at the last checkpoint: {mean:+.3f} on average over "
            f"{len(differences)} scores, higher in {higher} of them.",
        )


def losses(inputs: ReportInputs) -> Iterator[Verdict]:
    """Training loss at the end of each model."""
    if inputs.metrics.empty:
        return
    tail = inputs.metrics[inputs.metrics["step"] > 0.9 * inputs.metrics.groupby("model")["step"].transform("max")]
    means = tail.groupby("model", sort=False)["loss"].mean()
    words = ", ".join(f"{model} {loss:.2f}" for model, loss in means.items())
    yield Verdict("Loss", f"Training loss over the last tenth of the steps, nats per token: {words}.")


def held_out(inputs: ReportInputs) -> Iterator[Verdict]:
    """Bits per byte of held-out text, first and last checkpoint."""
    if inputs.validation.empty:
        return
    words = []
    for model, line in inputs.validation.groupby("model", sort=False):
        ordered = line.sort_values("step")["bits_per_byte"]
        words.append(f"{ordered.iloc[0]:.2f} to {ordered.iloc[-1]:.2f} for {model}")
    yield Verdict("Loss", f"Bits per byte of held-out text from the first to the last checkpoint: {', '.join(words)}.")


def crosscheck(inputs: ReportInputs) -> Iterator[Verdict]:
    """Agreement of the fast evaluation with stock lm-eval."""
    if inputs.crosscheck is not None:
        tasks, largest = inputs.crosscheck.get("tasks", []), inputs.crosscheck.get("largest_difference", 0.0)
        yield Verdict(
            "Check",
            f"Stock lm-eval was compared with the fast evaluation on {len(tasks)} tasks: log-likelihoods agree to "
            f"{largest:.1g} nats and all metrics are equal.",
        )


def experiments(inputs: ReportInputs) -> Iterator[Verdict]:
    """What each experiment concluded, in its own sentences."""
    for content in inputs.experiments:
        heading = str(content["experiment"]).replace("_", " ").capitalize()
        for sentence in content["sentences"]:
            yield Verdict(heading, str(sentence))


def published_range(inputs: ReportInputs) -> Iterator[Verdict]:
    """Range of the published final scores, and whether larger is always better."""
    if inputs.published.empty:
        return
    final = final_scores(inputs.published, shots=0)
    lambada = final[(final["task"] == "lambada_openai") & (final["data"] == "standard")].set_index("size")["value"]
    ordered = lambada[ordered_sizes(list(lambada.index))]
    monotone = "rises with every size" if ordered.is_monotonic_increasing else "does not rise with every size"
    yield Verdict(
        "Published",
        f"Published LAMBADA accuracy at step 143000 {monotone}: from {score_text(ordered.iloc[0])} "
        f"({ordered.index[0]}) to {score_text(ordered.iloc[-1])} ({ordered.index[-1]}).",
    )
    for shots in (0, 5):
        yield published_deduplication(final_scores(inputs.published, shots), shots)


def published_deduplication(final: pd.DataFrame, shots: int) -> Verdict:
    """Deduplicated against standard over all tasks and sizes of the published final scores."""
    wide = final.pivot_table(index=["task", "size"], columns="data", values="value")
    difference = wide["deduped"] - wide["standard"]
    return Verdict(
        "Published",
        f"Published final {shot_words(shots)} scores: deduplicated data scores higher than standard data in "
        f"{(difference > 0).sum()} of {len(difference)} pairs and lower in {(difference < 0).sum()}, "
        f"{difference.mean():+.3f} on average.",
    )


def published_defects(inputs: ReportInputs) -> Iterator[Verdict]:
    """What the audit of the published files found."""
    if inputs.defects:
        rules = {defect["rule"] for defect in inputs.defects}
        wrong = sum(int(d["files"]) for d in inputs.defects if d["rule"] == "five-shot-that-is-zero-shot")
        yield Verdict(
            "Doubt",
            f"The audit of the published files has {len(inputs.defects)} findings by {len(rules)} rules, among them "
            f"{wrong} files called five-shot that are zero-shot. Doubtful points are marked in the figures.",
        )
