r"""When did a model see a text, and what did it do to its loss? Exposures, losses and, for many texts, the effect.

    pythia trace --run results/runs/pocket/run.json --text "The capital of Toravia is Begrad. Sordia has its river in"
    pythia trace --run results/runs/pocket/run.json --texts mine.txt --min-tokens 16 --output-dir results/mine
    pythia trace --text "It was the best of times, it was the worst of times" --tokenizer tokenizer.json \
        --preshuffled document-00000-of-00020.bin --repository EleutherAI/pile-standard-pythia-preshuffled \
        --first-step 0 --last-step 100

With --run, the data of the run's models are scanned and its checkpoints scored, those that are on the disk. Without,
rows come from --view or --preshuffled, on disk or by ranges from a Hub; --first-step (exclusive) and --last-step bound
what is looked at. Printed are a line for each exposure (the first ones of many) and for each checkpoint; --output-dir
gets all of it as tables, and keeps each finished part of a scan, so that a rerun resumes where it was interrupted.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from workflow_scripts import cli
from workflow_scripts.dataset.order.batch_options import (
    RunNumbers,
    add_number_options,
    add_source_options,
    numbers_of,
    opened_rows,
)
from workflow_scripts.dataset.order.preshuffled_rows import PreshuffledRows
from workflow_scripts.dataset.order.row_source import check_range
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.evaluation.planning.encode import Encoder
from workflow_scripts.evaluation.scoring.engine_choice import read_own_config
from workflow_scripts.evaluation.scoring.score_files import read_run
from workflow_scripts.experiments.engine_options import add_engine_arguments, open_engine
from workflow_scripts.experiments.memory.memorization_rows import placed
from workflow_scripts.experiments.outputs import write_frame
from workflow_scripts.experiments.traces.losses import TracedForest
from workflow_scripts.experiments.traces.placement import exposures, find_matches
from workflow_scripts.experiments.traces.scanning import (
    Order,
    Scan,
    Stored,
    joined,
    load_scan,
    save_scan,
    scan_tokens,
    stored_tokens,
)
from workflow_scripts.experiments.traces.trace_effect import ModelTrace, outcome
from workflow_scripts.experiments.traces.trace_options import Traced, add_text_arguments, part_bounds, traced
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.progress import Progress
from workflow_scripts.published.frame_rows import rows_of
from workflow_scripts.suite import layout
from workflow_scripts.suite.experiment_files import models_of, traced_models
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.registry import load_suite

LOG = logging.getLogger(__name__)
PART_TOKENS = 1 << 32  # stored tokens of a part that is kept: 8 GB
PRINTED = 20
SEVERAL = 10  # texts from which on an effect may be told


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line of this program."""
    parser = cli.parser(__doc__)
    add_text_arguments(parser)
    where = parser.add_argument_group("of a run")
    where.add_argument("--run", type=Path, help="the resolved run (run.json) whose data and checkpoints are looked at")
    where.add_argument("--results", type=Path, default=Path("results"), help="folder of all results")
    where.add_argument("--model", nargs="+", help="models of the run (default: the first of each size)")
    where.add_argument("--no-losses", action="store_true", help="look for exposures only")
    add_number_options(parser)
    add_source_options(parser)
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json of the data, where there is no --run")
    parser.add_argument("--first-step", type=int, default=0, help="look at what was trained on after this step")
    parser.add_argument("--last-step", type=int, help="and up to this one (default: the last)")
    add_engine_arguments(parser)
    parser.add_argument("--output-dir", type=Path, help="folder for tables and finished parts of a scan")
    return parser.parse_args(arguments)


def scanned(what: Traced, order: Order, first_row: int, stop_row: int, folder: Path) -> Scan:
    """Scan what rows [first_row, stop_row) may hold, in parts that are kept in ``folder``."""
    if isinstance(order, PreshuffledRows):  # rows lie in the order of training, documents anywhere
        stored: Stored = order
        begin, total = first_row * order.row_tokens, (stop_row - first_row) * order.row_tokens
    else:
        stored, begin, total = order.data, 0, stored_tokens(order.data)
    parts = -(-total // PART_TOKENS)
    found = []
    with Progress("scan", total, "tokens") as progress:
        for part in range(parts):
            first, stop = (begin + bound for bound in part_bounds(total, part, parts))
            identity = what.identity(stored, first, stop)
            path = folder / f"scan-{identity[:12]}.npz"
            if path.is_file():
                progress.advance(stop - first)
            else:
                save_scan(path, scan_tokens(stored, what.table, first, stop, progress.advance), identity)
            found.append(load_scan(path, identity))
    return joined(found)


def exposures_of(what: Traced, order: Order, options: argparse.Namespace, numbers: RunNumbers) -> pd.DataFrame:
    """Exposures between the steps that the options name; raises ConfigError for steps that do not exist."""
    if numbers.seq_length + 1 != order.row_tokens:
        raise ConfigError(f"rows have {order.row_tokens} tokens, not {numbers.seq_length + 1}; give --seq-length")
    last = min(numbers.train_iterations, order.n_rows // numbers.batch_rows)
    last = last if options.last_step is None else options.last_step
    first_row, stop_row = options.first_step * numbers.batch_rows, last * numbers.batch_rows
    check_range(first_row, stop_row, order.n_rows)
    with kept_folder(options.output_dir) as folder:
        scan = scanned(what, order, first_row, stop_row, folder)
    matches = find_matches(order, what.table, scan, first_row, stop_row)
    return exposures(matches, what.forms, what.texts, numbers.batch_rows)


@contextmanager
def kept_folder(output: Path | None) -> Iterator[Path]:
    """``output``, made where it is not there, or a folder that is deleted afterwards."""
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        yield output
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def losses_of(what: Traced, folders: Sequence[tuple[int, Path]], options: argparse.Namespace) -> pd.DataFrame:
    """Losses of the texts at checkpoints, given as (step, folder)."""
    first = folders[0][1]
    forest = TracedForest(Encoder(first / "tokenizer.json", read_own_config(first).context), what.texts)
    parts = [forest.token_losses(open_engine(folder, options), step) for step, folder in folders]
    return forest.text_losses(pd.concat(parts, ignore_index=True))


def say_exposures(frame: pd.DataFrame, texts: Sequence[str]) -> None:
    """Print the exposures of each text, whole ones first."""
    for text in texts:
        mine = frame[frame["text"] == text].sort_values(["whole", "row"], ascending=[False, True], kind="stable")
        whole = int(mine["whole"].sum())
        cli.say(f"{text}: {whole} exposures of the whole text, {len(mine) - whole} of a part of it")
        for row in rows_of(mine.head(PRINTED)):
            place = f", document {row.document} token {row.document_token}" if row.document >= 0 else ""
            again = f", copy {row.repeat + 1} of it" if row.repeat > 0 else ""
            cli.say(
                f"  step {row.step} row {row.row} position {row.position}: {row.length} of {row.text_tokens} tokens"
                f"{place}{again}"
            )
        if len(mine) > PRINTED:
            cli.say(f"  and {len(mine) - PRINTED} more")


def say_losses(model: str, losses: pd.DataFrame, texts: Sequence[str]) -> None:
    """Print the loss on each text at each checkpoint of a model."""
    for text in texts:
        line = losses[losses["text"] == text].sort_values("step")
        values = ", ".join(f"{row.step}: {row.loss:.3f}" for row in rows_of(line))
        cli.say(f"{text}, {model}, loss in nats per token by step: {values}")


def trace_of_run(options: argparse.Namespace) -> None:
    """Exposures and losses in the models of a run."""
    resolved = read_run(options.run)
    suite = load_suite(resolved["suite"])
    models = chosen_models(models_of(suite, resolved), options.model)
    what = traced(options, options.tokenizer or options.results / "corpus" / suite.name / "tokenizer.json")
    names = [text.name for text in what.texts]
    found: dict[str, pd.DataFrame] = {}
    traces = []
    for model in models:
        if model.dataset not in found:
            numbers = RunNumbers(
                model.sequence_length, model.training_facts.data_seed, model.train_iterations, model.batch_rows, None
            )
            order = order_of(options.results / "data" / suite.name / model.dataset, numbers)
            found[model.dataset] = exposures_of(what, order, options, numbers)
            cli.say(f"{model.dataset} data, {model.train_iterations} steps")
            say_exposures(found[model.dataset], names)
        folders = [] if options.no_losses else checkpoints_of(resolved, model, options.results)
        if folders:
            losses = losses_of(what, folders, options)
            say_losses(model.name, losses, names)
            traces.append(ModelTrace(model, losses, found[model.dataset], {}))
    if options.output_dir is None:
        return
    for data, frame in found.items():
        write_frame(options.output_dir / f"exposures_{data}.parquet", frame, {"run": options.run, **what.files}, {})
    if traces and len(names) >= SEVERAL:
        outcome(traces).write(options.output_dir, "traces")


def order_of(folder: Path, numbers: RunNumbers) -> TrainingRows:
    """The order over a data set of the run, by its stored index maps."""
    view = folder / "view.json"
    if not view.is_file():
        raise MissingInputError(f"{view}: the data set is not there; make it with snakemake data")
    return TrainingRows.open(
        view, folder / "index_maps", numbers.seq_length, numbers.seed, numbers.train_iterations, numbers.batch_rows
    )


def chosen_models(models: Sequence[Model], wanted: Sequence[str] | None) -> list[Model]:
    """Models by name; raises ConfigError for one that the run does not have."""
    known = [model.name for model in models]
    missing = next((name for name in wanted or () if name not in known), None)
    if missing is not None:
        raise ConfigError(f"--model {missing}: the run has {', '.join(known)}")
    return traced_models(models, {"models": wanted})


def checkpoints_of(resolved: JsonMapping, model: Model, results: Path) -> list[tuple[int, Path]]:
    """Steps and folders of the run's checkpoints of a model that are on the disk."""
    steps = [int(step) for step in resolved["steps"][model.name]]
    folders = [(step, placed(layout.checkpoint_folder(model.name, step), results)) for step in steps]
    present = [(step, folder) for step, folder in folders if (folder / "config.json").is_file()]
    if len(present) < len(folders):
        LOG.info("%s: %d of %d checkpoints are on the disk", model.name, len(present), len(folders))
    return present


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    options = parse(arguments)
    if options.run is not None:
        trace_of_run(options)
        return
    if options.tokenizer is None:
        raise ConfigError("give --run, or --tokenizer and where the rows are (--view, --preshuffled)")
    numbers, what = numbers_of(options), traced(options, options.tokenizer)
    with opened_rows(options, numbers) as order:
        if not isinstance(order, TrainingRows | PreshuffledRows):
            raise DataError("these rows cannot be scanned")
        frame = exposures_of(what, order, options, numbers)
    say_exposures(frame, [text.name for text in what.texts])
    if options.output_dir is not None:
        write_frame(options.output_dir / "exposures.parquet", frame, dict(what.files), {})


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
