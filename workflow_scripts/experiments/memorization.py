r"""Does the place of a sequence in the training order decide whether it is memorized? Tables and a verdict.

    python -m workflow_scripts.experiments.memorization --run results/runs/pocket/run.json --results results \
        --tables-dir results/runs/pocket/tables

reads the row scores of every model and step of the run and writes memorization.parquet (one row per model, step,
exposure and bin size), memorization_deciles.parquet, memorization_quantiles.parquet (the Q-Q plot with its envelope)
and verdict_memorization.json. Rows whose text was seen before through another epoch are analysed apart.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts import cli
from workflow_scripts.evaluation.scoring.score_files import read_run
from workflow_scripts.experiments.memory.memorization_rows import MemorizedRows, read_rows
from workflow_scripts.experiments.outputs import Outcome, analysis_parser, probability
from workflow_scripts.experiments.statistics.poisson import (
    bin_counts,
    dispersion,
    holm,
    quantile_plot,
    rate_interval,
    trend,
)
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.suite.experiment_files import memorization_steps, models_of, one_per_size
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import suite_of

DECILES = 10
LEVEL = 0.05
FEWEST_BINS = 4
FEWEST_EVENTS = 10  # memorized rows below which no test of their place has any power
MOST_DRAWN = 20_000_000  # counts that the simulated envelopes of one plot may hold: 160 MB


def bin_sizes(main: int) -> tuple[int, ...]:
    """Sizes at which the counts are looked at: a quarter, a half, once, twice and eight times the main one.

    >>> bin_sizes(512)
    (128, 256, 512, 1024, 4096)
    """
    return tuple(max(1, size) for size in (main // 4, main // 2, main, 2 * main, 8 * main))


def exposures_of(rows: MemorizedRows) -> dict[str, MemorizedRows]:
    """All rows, and first and second exposures apart where there are any second ones."""
    if not rows.repeated.any():
        return {"all": rows}
    return {"all": rows, "first": rows.where(~rows.repeated), "second": rows.where(rows.repeated)}


def statistics(rows: MemorizedRows, bin_rows: int, seed: int) -> JsonObject:
    """Rate, dispersion, envelope and trend of one set of rows at one bin size."""
    counts = bin_counts(rows.memorized, bin_rows)
    spread, slope = dispersion(counts), trend(rows.row, rows.memorized, rows.span)
    is_enough = len(counts) >= FEWEST_BINS and counts.sum() > 0
    envelope = quantile_plot(counts, seed, simulations(len(counts))).p if is_enough else float("nan")
    lower, upper = rate_interval(int(rows.memorized.sum()), len(rows.row))
    low, high = slope.ratio_interval
    return {
        "rows": len(rows.row),
        "memorized": int(rows.memorized.sum()),
        "rate": float(rows.memorized.mean()) if len(rows.row) else float("nan"),
        "rate_lower": lower,
        "rate_upper": upper,
        "bin_rows": bin_rows,
        "bins": spread.bins,
        "mean_count": float(counts.mean()) if len(counts) else float("nan"),
        "dispersion": spread.index,
        "p_dispersion": spread.p if is_enough else float("nan"),
        "p_envelope": envelope,
        "rate_ratio": slope.ratio,
        "rate_ratio_lower": low,
        "rate_ratio_upper": high,
        "trend_z": slope.z,
        "p_trend": slope.p,
    }


def simulations(bins: int) -> int:
    """Simulated orders for a Q-Q plot of so many bins: 999, fewer (at least 99) where they would not fit in memory."""
    return int(np.clip(MOST_DRAWN // max(bins, 1), 99, 999))


def quantiles(rows: MemorizedRows, bin_rows: int, seed: int) -> pd.DataFrame:
    """Q-Q plot, equal points joined: observed, theoretical, multiplicity and the envelope over the joined ranks."""
    counts = bin_counts(rows.memorized, bin_rows)
    columns = ["observed", "theoretical", "lower", "upper"]
    if len(counts) < FEWEST_BINS or counts.sum() == 0:
        return pd.DataFrame(columns=[*columns, "multiplicity"], dtype=float)
    plot = quantile_plot(counts, seed, simulations(len(counts)))
    frame = pd.DataFrame({name: getattr(plot, name) for name in columns})
    joined = frame.groupby(["observed", "theoretical"], as_index=False)
    return joined.agg(lower=("lower", "min"), upper=("upper", "max"), multiplicity=("lower", "size"))


def deciles(rows: MemorizedRows) -> pd.DataFrame:
    """Rate in each tenth of the order, with 95 % intervals."""
    tenth = np.minimum((rows.row * DECILES / rows.span).astype(np.int64), DECILES - 1)
    number = np.bincount(tenth, minlength=DECILES)
    events = np.bincount(tenth, weights=rows.memorized, minlength=DECILES).astype(np.int64)
    bounds = [rate_interval(int(k), int(n)) for k, n in zip(events, number, strict=True)]
    with np.errstate(invalid="ignore"):
        rate = events / np.where(number > 0, number, np.nan)
    return pd.DataFrame(
        {
            "decile": np.arange(1, DECILES + 1),
            "rows": number,
            "memorized": events,
            "rate": rate,
            "rate_lower": [low for low, _ in bounds],
            "rate_upper": [high for _, high in bounds],
        }
    )


def analyse(model: Model, step: int, rows: MemorizedRows, settings: JsonMapping) -> dict[str, pd.DataFrame]:
    """The three tables of one checkpoint."""
    main = int(settings["bin_rows"])
    facts: dict[str, str | int] = {"model": model.name, "size": model.size, "data": model.dataset, "step": step}
    tables: dict[str, list[pd.DataFrame]] = {"memorization": [], "deciles": [], "quantiles": []}
    for exposure, part in exposures_of(rows).items():
        named = {**facts, "exposure": exposure}
        lines = [statistics(part, size, seed=step) for size in bin_sizes(main)]
        tables["memorization"].append(pd.DataFrame(lines).assign(**named))
        tables["deciles"].append(deciles(part).assign(**named))
        tables["quantiles"].append(quantiles(part, main, seed=step).assign(**named, bin_rows=main))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def verdict_line(line: pd.Series) -> tuple[str, bool]:
    """A sentence about one checkpoint, and whether uniformity is rejected (Holm over the three tests at 5 %)."""
    which = "" if line["exposure"] == "all" else f" ({line['exposure']} exposures)"
    head = f"{line['model']}, step {line['step']}{which}: {line['memorized']} of {line['rows']} rows memorized"
    if line["memorized"] < FEWEST_EVENTS:
        return f"{head}, too few to test their position (at least {FEWEST_EVENTS}).", False
    adjusted = holm([line["p_dispersion"], line["p_envelope"], line["p_trend"]])
    is_rejected = bool(np.nanmin(adjusted) < LEVEL) if not np.isnan(adjusted).all() else False
    words = "is not uniform" if is_rejected else "is compatible with uniform"
    return (
        f"{head} ({100 * line['rate']:.2f} %, 95 % interval {100 * line['rate_lower']:.2f} to "
        f"{100 * line['rate_upper']:.2f}); "
        f"per {line['bin_rows']} rows the index of dispersion is {line['dispersion']:.2f} "
        f"({probability(line['p_dispersion'])}); from the first to the last row the rate changes by a factor "
        f"{line['rate_ratio']:.2f} ({line['rate_ratio_lower']:.2f} to {line['rate_ratio_upper']:.2f}, "
        f"{probability(line['p_trend'])}): the position in training {words}."
    ), is_rejected


def verdict(table: pd.DataFrame, main: int) -> tuple[list[str], JsonObject]:
    """Sentences and numbers for the report: last step of each model, repetitions apart where there are any."""
    last = table["step"] == table.groupby("model")["step"].transform("max")
    has_first = table.groupby("model")["exposure"].transform(lambda column: (column == "first").any())
    chosen = table[last & (table["bin_rows"] == main) & (table["exposure"] == np.where(has_first, "first", "all"))]
    lines = [verdict_line(line) for _, line in chosen.iterrows()]
    rejected = sum(is_rejected for _, is_rejected in lines)
    known = int((chosen["memorized"] >= FEWEST_EVENTS).sum())
    head = (
        f"A uniform position of memorized sequences in training is rejected for {rejected} of {known} models with at "
        f"least {FEWEST_EVENTS} memorized rows (dispersion, Q-Q envelope and trend, Holm at 5 % within a model)."
    )
    return [head, *(sentence for sentence, _ in lines)], {
        "models": known,
        "rejected": rejected,
        "lines": chosen.to_dict(orient="records"),
    }


def collect(resolved: JsonMapping, root: Path) -> tuple[dict[str, pd.DataFrame], dict[str, Path]]:
    """Tables of all models and steps of a resolved run, and the files they were made from."""
    suite, settings = suite_of(resolved), resolved["settings"]["memorization"]
    parts: list[dict[str, pd.DataFrame]] = []
    files: dict[str, Path] = {}
    for model in one_per_size(models_of(suite, resolved)):
        for step in memorization_steps(model, settings):
            rows, read = read_rows(model, step, settings, root)
            files |= {str(path.relative_to(root)): path for path in read}
            parts.append(analyse(model, step, rows, settings))
    joined = {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}
    return joined, files


def main(arguments: Sequence[str] | None = None) -> None:
    options = analysis_parser(__doc__).parse_args(arguments)
    resolved = read_run(options.run)
    found, files = collect(resolved, options.results)
    settings = resolved["settings"]["memorization"]
    names = {name: "memorization" if name == "memorization" else f"memorization_{name}" for name in found}
    sentences, numbers = verdict(found["memorization"], int(settings["bin_rows"]))
    tables = {names[name]: (frame, files) for name, frame in found.items()}
    outcome = Outcome(tables, sentences, numbers, ["memorization"], {"settings": dict(settings)})
    outcome.write(options.tables_dir, "memorization")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
