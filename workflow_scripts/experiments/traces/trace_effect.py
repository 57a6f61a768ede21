r"""What an exposure does to the loss on a text: against matched controls, over time, and with exposures shuffled.

    python -m workflow_scripts.experiments.traces.trace_effect --run results/runs/pocket/run.json --traces pocket \
        --results results --tables-dir results/runs/pocket/tables

writes traces.parquet (the pooled effect of each model with its interval and its placebo), traces_forgetting.parquet
(the effect at later checkpoints), traces_events.parquet (every comparison), traces_texts.parquet (the texts),
traces_losses.parquet and traces_exposures.parquet (what they were made from) and verdict_traces.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts import cli
from workflow_scripts.evaluation.scoring.score_files import read_run
from workflow_scripts.experiments.memory.memorization_rows import placed
from workflow_scripts.experiments.outputs import Outcome, analysis_parser, read_frame
from workflow_scripts.experiments.traces.effect import (
    Histories,
    effect_row,
    exposure_counts,
    forgetting,
    frame_of_events,
)
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite.experiment_files import (
    models_of,
    trace_exposures_file,
    trace_losses_file,
    trace_steps,
    traced_models,
)
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.registry import load_suite

EXPOSURES = ("text", "domain", "step", "row", "length", "whole", "repeat")
LOSSES = ("step", "text", "domain", "tokens", "loss", "content")
LAGS = 4  # windows that an effect is followed
SEED = 0
FEWEST_TEXTS = 5  # of which a later effect is told


@dataclass(frozen=True)
class ModelTrace:
    """Losses and exposures of one model, with the files they came from."""

    model: Model
    losses: pd.DataFrame
    exposures: pd.DataFrame
    files: Mapping[str, Path]

    @property
    def texts(self) -> list[str]:
        """Names of the texts."""
        return list(dict.fromkeys(self.losses["text"].astype(str)))

    @property
    def named(self) -> dict[str, str]:
        """First columns of each table."""
        return {"model": self.model.name, "size": self.model.size, "data": self.model.dataset}

    def histories(self) -> Histories:
        """Losses and whole exposures by text, checkpoint and window."""
        texts, steps = self.texts, sorted({int(step) for step in self.losses["step"]})
        loss = self.losses.pivot_table(index="text", columns="step", values="loss").loc[texts, steps]
        facts = self.losses.drop_duplicates("text").set_index("text").loc[texts]
        whole = self.exposures[self.exposures["whole"]]
        rows = {str(text): part["row"].to_numpy(np.int64) for text, part in whole.groupby("text")}
        seen = np.array([self.model.step(step).rows for step in steps], np.int64)
        return Histories(
            loss.to_numpy(np.float64),
            np.array(steps, np.int64),
            exposure_counts(rows, texts, seen),
            facts["tokens"].to_numpy(np.int64),
            facts["domain"].to_numpy(object),
        )


def read_traces(resolved: JsonMapping, traces: str, root: Path) -> Iterator[ModelTrace]:
    """What was traced for each model of a resolved run, smallest first."""
    suite = load_suite(resolved["suite"])
    settings = resolved["settings"].get("traces", {})
    models = traced_models(models_of(suite, resolved), settings)
    for model in sorted(models, key=lambda each: each.parameters):
        losses = placed(trace_losses_file(traces, model.name), root)
        exposures = placed(trace_exposures_file(traces, suite.name, model.dataset), root)
        files = {f"losses of {model.name}": losses, f"exposures in {model.dataset}": exposures}
        wanted = read_frame(losses, LOSSES)
        wanted = wanted[wanted["step"].isin(trace_steps(model, settings, resolved["steps"][model.name]))]
        yield ModelTrace(model, wanted, read_frame(exposures, EXPOSURES), files)


def tables_of_model(trace: ModelTrace) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The effect, its course over later checkpoints, and the comparisons behind both."""
    histories = trace.histories()
    row, found = effect_row(histories, LAGS, SEED)
    events = frame_of_events(found, histories, trace.texts)
    course = [
        {
            "windows_later": lag,
            "steps_later": float((events["step_behind"] - first_end(events, histories))[found.lag == lag].mean()),
            "effect": part.mean,
            "lower": part.lower,
            "upper": part.upper,
            "texts": part.texts,
            "events": part.events,
        }
        for lag, part in forgetting(found, LAGS, SEED)
        if part.texts >= FEWEST_TEXTS
    ]
    return pd.DataFrame([row]), pd.DataFrame(course), events


def first_end(events: pd.DataFrame, histories: Histories) -> pd.Series:
    """The checkpoint at the end of each comparison's window."""
    behind = dict(zip(histories.steps[:-1].tolist(), histories.steps[1:].tolist(), strict=True))
    return events["step_before"].map(behind)


def sentence(row: pd.Series) -> str:
    """One line of the table of effects in words."""
    if not row["texts"]:
        return f"{row['model']}: no text with an exposure has controls, so no effect can be told."
    verb = "lowers" if row["effect"] < 0 else "raises"
    text = (
        f"{row['model']}: being seen between two checkpoints {verb} the loss on a text by {abs(row['effect']):.3f} "
        f"nats per token ({-row['upper']:.3f} to {-row['lower']:.3f} lower, 95 % over {row['texts']} texts)"
    )
    return (
        f"{text}; shuffled exposures give {row['placebo']:+.3f} ({row['placebo_lower']:+.3f} to "
        f"{row['placebo_upper']:+.3f})."
    )


def texts_of(trace: ModelTrace) -> pd.DataFrame:
    """Each text with its domain, tokens, exposures and whole ones, and its content."""
    texts = trace.losses.drop_duplicates("text")[["text", "domain", "tokens", "content"]]
    whole = trace.exposures[trace.exposures["whole"]]["text"].value_counts()
    partly = trace.exposures["text"].value_counts()
    counts = {name: texts["text"].map(found).fillna(0).astype(int) for name, found in
              (("exposures", partly), ("whole", whole))}  # fmt: skip
    return texts.assign(**counts)


def with_names(trace: ModelTrace, frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the model's name, size and data in front."""
    for place, (name, value) in enumerate(trace.named.items()):
        frame.insert(place, name, value)
    return frame


def outcome(traces: Sequence[ModelTrace]) -> Outcome:
    """All tables and sentences."""
    made = [[with_names(trace, frame) for frame in tables_of_model(trace)] for trace in traces]
    effect, course, events = (pd.concat(parts, ignore_index=True) for parts in zip(*made, strict=True))
    losses = pd.concat([with_names(trace, trace.losses.drop(columns="content")) for trace in traces], ignore_index=True)
    by_data = {trace.model.dataset: trace for trace in traces}
    seen = [trace.exposures.assign(data=data) for data, trace in by_data.items()]
    texts = [texts_of(trace).assign(data=data) for data, trace in by_data.items()]
    files = {name: path for trace in traces for name, path in trace.files.items()}
    frames = {
        "traces": effect,
        "traces_forgetting": course,
        "traces_events": events,
        "traces_texts": pd.concat(texts, ignore_index=True),
        "traces_losses": losses,
        "traces_exposures": pd.concat(seen, ignore_index=True),
    }
    sentences = [sentence(row) for _, row in effect.iterrows()]
    numbers = {"effects": effect.to_dict(orient="records")}
    return Outcome({name: (frame, files) for name, frame in frames.items()}, sentences, numbers, ["traces"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    parser = analysis_parser(__doc__)
    parser.add_argument("--traces", required=True, help="name of the declaration of traced texts")
    options = parser.parse_args(arguments)
    traces = list(read_traces(read_run(options.run), options.traces, options.results))
    outcome(traces).write(options.tables_dir, "traces")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
