"""Options --suite, --data and --iteration: rows of a data set by its name, as a finished run left them.

A run's ``index_maps.json`` holds the numbers that decide the order, so that nothing need be typed. Where no run has
made the data here and the suite has them in the order of training on the Hub, they are read from there by ranges.
"""

import argparse
import json
from pathlib import Path

from workflow_scripts.dataset.files.shard_names import shard_name
from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.suite.models import Dataset
from workflow_scripts.suite.registry import load_suite

OTHER_PLACES = ("view", "index_maps", "preshuffled", "repository", "split", "conf_dir")
# Number of the run -> option that says another.
NUMBERS = {"seq_length": "seq_length", "seed": "seed", "train_iterations": "train_iters", "batch_rows": "batch_size"}
PRESHUFFLED_NAME = "document"
FIRST, END = 0, 143000


def add_finished_options(parser: argparse.ArgumentParser) -> None:
    """Options for data by name."""
    named = parser.add_argument_group("data of a finished run")
    named.add_argument("--suite", help="suite in config/suites; with --data nothing else need be said")
    named.add_argument("--data", help="data set of --suite: standard or deduped")
    named.add_argument("--iteration", type=int, help="one iteration, in place of --start-iteration and --end-iteration")


def use_finished_data(options: argparse.Namespace) -> None:
    """Fill in what ``--suite``, ``--data`` and ``--iteration`` stand for.

    Raises ConfigError for options that contradict them, UnknownNameError for unknown names, MissingInputError when
    there are no such data.
    """
    if options.iteration is not None:
        if (options.start_iteration, options.end_iteration) != (FIRST, END):
            raise ConfigError("--iteration is one; leave out --start-iteration and --end-iteration")
        options.start_iteration, options.end_iteration = options.iteration, options.iteration + 1
    if options.suite is None and options.data is None:
        return
    if options.suite is None or options.data is None:
        raise ConfigError("--suite and --data belong together, such as --suite pocket --data standard")
    other = next((name for name in OTHER_PLACES if getattr(options, name) is not None), None)
    if other is not None:
        spelt = other.replace("_", "-")
        raise ConfigError(f"--suite and --data already say where the rows are; leave out --{spelt}")
    dataset = load_suite(options.suite).dataset(options.data)
    folder = Path("results") / "data" / options.suite / dataset.key
    view, maps = folder / "view.json", folder / "index_maps" / "index_maps.json"
    missing = next((path for path in (view, maps) if not path.is_file()), None)
    if missing is None:
        use_run(options, view, maps)
    else:
        use_preshuffled(options, dataset, missing)
    tokenizer = Path("results") / "corpus" / options.suite / "tokenizer.json"
    if options.tokenizer is None and tokenizer.is_file():
        options.tokenizer = tokenizer


def use_run(options: argparse.Namespace, view: Path, maps: Path) -> None:
    """Take the view and the maps, and the numbers that the maps were made for; raises DataError for other files."""
    try:
        noted = json.loads(maps.read_text("utf-8"))
        numbers = {option: int(noted[name]) for name, option in NUMBERS.items()}
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{maps}: not a list of index maps; delete it and rerun snakemake") from error
    options.view, options.index_maps = view, maps
    for option, value in numbers.items():
        if getattr(options, option) is None:
            setattr(options, option, value)


def use_preshuffled(options: argparse.Namespace, dataset: Dataset, missing: Path) -> None:
    """Take the rows that lie in the order of training on the Hub; raises MissingInputError if none exist."""
    facts = dataset.preshuffled
    if facts is None:
        raise MissingInputError(
            f"{missing}: no run has made the data of suite {options.suite} here; make them with `snakemake -c2 data` "
            "(and --configfile with a run of that suite), or name others with --view"
        )
    options.preshuffled = shard_name(PRESHUFFLED_NAME, 0, facts["shards"])
    options.repository, options.revision = facts["repository"], facts["revision"]
