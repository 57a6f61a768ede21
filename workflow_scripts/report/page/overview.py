"""The top of the report: what this run is in one sentence, what its models learnt as a table, and what words mean."""

from __future__ import annotations

import pandas as pd

from workflow_scripts.evaluation.scoring.engine_choice import LM_EVAL
from workflow_scripts.report.drawing.axes import amount_label
from workflow_scripts.report.drawing.curve_panels import Z95
from workflow_scripts.report.drawing.style import ordered_sizes
from workflow_scripts.report.figures.final_tables import score_text
from workflow_scripts.report.page.report_inputs import ReportInputs
from workflow_scripts.report.page.sections import Table
from workflow_scripts.report.score_rows import TaskRows, by_task, shot_difference, shot_words

# Metrics of lm-eval of which less is better.
LOSSES = ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score")
TERMS = (
    ("checkpoint", "The weights of a model after a number of training steps."),
    ("step", "One update of the weights, from one batch of training rows."),
    ("zero-shot, five-shot", "Questions asked with no, or five, solved examples before them."),
    ("chance", "The score of guessing."),
    ("standard, deduplicated", "Training data with and without its repeated documents."),
    ("±", "A standard error, from the number of questions; brackets hold 95 % intervals."),
)


def run_sentence(inputs: ReportInputs) -> str:
    """What this run is, in words that need no knowledge of the project.

    A run without models shows published results only.
    """
    models, steps, tasks = inputs.run["models"], inputs.run.get("steps", {}), inputs.run.get("tasks", [])
    if not models:
        return "This run trains and scores nothing. It shows what the authors of Pythia published."
    sizes = sorted({(int(model["parameters"]), str(model["size"])) for model in models})
    checkpoints = sum(len(of_model) for of_model in steps.values())
    retrains = inputs.run.get("settings", {}).get("checkpoints", {}).get("source") == "retrain"
    shots = " and ".join(shot_words(int(k)) for k in inputs.run.get("shots", []))
    spread = sizes[0][1] if len(sizes) == 1 else f"{sizes[0][1]} to {sizes[-1][1]}"
    data = {str(model["dataset"]) for model in models}
    return (
        f"This run {'trains' if retrains else 'fetches'} {plural(len(models), 'model')} of the suite "
        f"{inputs.run['suite']} ({spread} parameters{', on two data sets' if len(data) > 1 else ''}) and scores "
        f"{plural(checkpoints, 'checkpoint')} on {plural(len(tasks), 'task')}{', ' + shots if shots else ''}."
        f"{engine_sentence(inputs.scores)}"
    )


def engine_sentence(scores: pd.DataFrame) -> str:
    """Which of the scores lm-eval's own model gave; empty where none."""
    engines = set(scores["engine"].astype(str)) if "engine" in scores else set()
    if LM_EVAL not in engines:
        return ""
    which = "The scores" if engines == {LM_EVAL} else f"Scores with the engine {LM_EVAL} in scores.csv"
    return f" {which} are those of lm-eval's own Hugging Face model."


def plural(count: int, noun: str) -> str:
    """Count and noun.

    >>> plural(1, "task"), plural(2464, "checkpoint")
    ('1 task', '2,464 checkpoints')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def learning_table(inputs: ReportInputs) -> Table | None:
    """Per task and shots: chance, the first and last score of the largest model, the last of the smallest, halfway.

    ``halfway`` is the step at which half of the improvement is passed, where noise does not explain it.
    """
    parts = list(by_task(inputs.scores, inputs.run)) if len(inputs.scores) else []
    if not parts:
        return None
    by_name = {(part.task.name, part.shots): part for part in parts}
    sizes = ordered_sizes([str(size) for part in parts for size in part.rows["size"]])
    head = ["task", "metric", "chance", f"{sizes[-1]}, first", f"{sizes[-1]}, last", "halfway at step"]
    head[5:5] = [f"{sizes[0]}, last"] if len(sizes) > 1 else []
    has_shots = any(shots and (name, 0) in by_name for name, shots in by_name)
    head += ["more than zero-shot"] if has_shots else []
    rows = []
    for part in parts:
        line = standard_line(part, sizes[-1])
        row = [part.title, part.metric, score_text(part.task.chance) if part.task.chance else ""]
        row += [with_error(line.iloc[0]), with_error(line.iloc[-1])] if len(line) else ["", ""]
        if len(sizes) > 1:
            small = standard_line(part, sizes[0])
            row.append(with_error(small.iloc[-1]) if len(small) else "")
        row.append(halfway(line, is_loss=part.task.metric in LOSSES))
        if has_shots:
            row.append(gain_over_zero(part, by_name.get((part.task.name, 0))))
        rows.append(row)
    last = max(int(part.rows["step"].max()) for part in parts)
    note = (
        f"Scores ± standard error of the smallest and the largest model at the first and the last checkpoint (step "
        f"{amount_label(last)}), standard data. Halfway: where half of the largest model's improvement is passed; "
        "empty where that is within its error."
        + (" More than zero-shot: difference of the largest model with its 95 % interval." if has_shots else "")
    )
    return Table("What the models learnt", head, rows, note)


def standard_line(part: TaskRows, size: str) -> pd.DataFrame:
    """Scores of one size over training, on the standard data where there are two data sets; maybe empty.

    Of several such models, as seeds, the first by name.
    """
    rows = part.rows[part.rows["size"] == size]
    standard = rows[rows["data"] == "standard"]
    rows = standard if len(standard) else rows
    return rows[rows["model"].astype(str) == min(rows["model"].astype(str), default="")].sort_values("step")


def with_error(row: pd.Series) -> str:
    """Score and its standard error."""
    return score_text(row["value"]) + ("" if pd.isna(row["stderr"]) else f" ± {score_text(row['stderr'])}")


def halfway(line: pd.DataFrame, *, is_loss: bool) -> str:
    """First step with half of the line's rise, of a loss its fall; empty where that is within 95 % of its error."""
    if line.empty:
        return ""
    first, last = line.iloc[0], line.iloc[-1]
    if direction(last["value"] - first["value"], first["stderr"], last["stderr"]) != ("falls" if is_loss else "rises"):
        return ""
    middle, values = (float(first["value"]) + float(last["value"])) / 2, line["value"]
    return str(int(line[values <= middle if is_loss else values >= middle]["step"].iloc[0]))


def direction(change: float, first_error: float, last_error: float) -> str:
    """Rises, falls or stays, judged at 95 %; errors that are not known count as 0."""
    errors = [0.0 if pd.isna(error) else float(error) for error in (first_error, last_error)]
    if abs(change) <= Z95 * (errors[0] ** 2 + errors[1] ** 2) ** 0.5:
        return "stays"
    return "rises" if change > 0 else "falls"


def gain_over_zero(part: TaskRows, zero: TaskRows | None) -> str:
    """Difference from the zero-shot score of the largest model's last checkpoint, with its 95 % interval."""
    if part.shots == 0 or zero is None:
        return ""
    difference = TaskRows(part.task, part.shots, shot_difference(zero.rows, part.rows))
    line = standard_line(difference, ordered_sizes(list(part.rows["size"]))[-1])
    if line.empty:
        return ""
    row = line.iloc[-1]
    value, half, remark = float(row["value"]), Z95 * float(row["stderr"]), "" if row["is_paired"] else ", unpaired"
    return f"{value:+.3f} ({value - half:+.3f} to {value + half:+.3f}{remark})"
