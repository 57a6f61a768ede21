r"""Build the index maps that decide the training order, bit-identical to GPT-NeoX's.

    python -m workflow_scripts.dataset.build_index_maps --prefix data/pile_20B_tokenizer_text_document \
        --seq-length 2048 --seed 1234 --train-iters 143000 --batch-size 1024 --output-dir index_maps

Writes {P}_{set}_indexmap_{samples}ns_{L}sl_{seed}s_{doc_idx,sample_idx,shuffle_idx}.npy for train, valid and test,
a record beside each set, and index_maps.json, the list of what belongs to this run. Maps that are there and were made
from the same sequence lengths are kept, all others are built again. Only X.idx is read; --view or --idx may name it.
With --split, one data set is cut into train, valid and test by documents; without it each --prefix serves all three.
--conf-dir takes the numbers, the data set and its split from GPT-NeoX configuration files, as view_batches does.
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workflow_scripts import cli
from workflow_scripts.dataset.files.index_writer import with_suffix
from workflow_scripts.dataset.files.indexed import Array, Index, check_bin_bytes, open_index
from workflow_scripts.dataset.files.token_view import read_view
from workflow_scripts.dataset.order.batch_options import RunNumbers, configured, read_configuration
from workflow_scripts.dataset.order.index_maps import (
    build_maps,
    current_hashes,
    link_maps,
    map_key,
    same_content,
    write_map_record,
)
from workflow_scripts.dataset.order.set_plan import (
    SETS,
    Schedule,
    SetPlan,
    normalized,
    plan_set,
    requested_in_paths_mode,
    split_bounds,
    tokens_between,
)
from workflow_scripts.errors import ConfigError
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.neox_settings import Settings

log = logging.getLogger(__name__)
MANIFEST = "index_maps.json"


@dataclass(frozen=True)
class Recipe:
    """What index maps are wanted for."""

    schedule: Schedule
    seq_length: int
    seed: int
    split: str | None = None
    weights: tuple[float, ...] = field(default=())

    def check(self, n_data: int) -> None:
        """Raise ConfigError for settings that do not fit together."""
        if self.split is not None and n_data != 1:
            raise ConfigError(
                f"--split works on one data set, but {n_data} prefixes are given; give one prefix or drop --split"
            )
        if self.weights and len(self.weights) != n_data:
            raise ConfigError(f"{len(self.weights)} weights for {n_data} prefixes; give one weight each")
        positive = {
            "--seq-length": self.seq_length,
            "--train-iters": self.schedule.train_iterations,
            "--batch-size": self.schedule.batch_rows,
            "--eval-interval": self.schedule.eval_interval,
        }
        for name, value in positive.items():
            if value < 1:
                raise ConfigError(f"{name} {value} must be at least 1")
        if self.schedule.eval_iterations < 0:
            raise ConfigError(f"--eval-iters {self.schedule.eval_iterations} must not be negative")


def plans_in_paths_mode(recipe: Recipe, number: int, n_data: int, sizes: Array) -> list[SetPlan]:
    """Train, valid and test of data set ``number`` of ``n_data``."""
    weight = normalized(recipe.weights or [1.0] * n_data)[number]
    tokens = tokens_between(sizes, 0, len(sizes))
    return [
        plan_set(
            f"{label}_{number}",
            0,
            len(sizes),
            tokens=tokens,
            requested=requested_in_paths_mode(wanted, weight),
            seq_length=recipe.seq_length,
        )
        for label, wanted in zip(SETS, recipe.schedule.wanted(), strict=True)
    ]


def plans_in_split_mode(recipe: Recipe, split: str, sizes: Array) -> list[SetPlan]:
    """Train, valid and test of one data set cut by documents; a set without documents is left out."""
    bounds = split_bounds(split, len(sizes))
    return [
        plan_set(
            label,
            first,
            stop,
            tokens=tokens_between(sizes, first, stop),
            requested=wanted,
            seq_length=recipe.seq_length,
        )
        for label, first, stop, wanted in zip(SETS, bounds, bounds[1:], recipe.schedule.wanted(), strict=False)
        if stop > first
    ]


def build_for(index: Index, prefix: str, number: int, *, n_data: int, recipe: Recipe, folder: Path) -> Iterator[Any]:
    """Build or keep the maps of one data set; yields a description of each set."""
    # In memory, because random access to a mapped file is slower; released before the next data set.
    sizes = index.read_sizes()
    if recipe.split is None:
        plans = plans_in_paths_mode(recipe, number, n_data, sizes)
    else:
        plans = plans_in_split_mode(recipe, recipe.split, sizes)
    sizes_sha256, idx = index.sizes_sha256(), (index.path, sha256_file(index.path))
    known: dict[str, dict[str, str]] = {}
    for done, plan in enumerate(plans):
        stem = plan.stem(prefix, recipe.seq_length, recipe.seed)
        key = map_key(plan, sizes_sha256, recipe.seq_length, recipe.seed)
        twin = same_content(plans[:done], plan)
        hashes = current_hashes(folder, stem, key)
        if hashes is None and twin is not None:
            source = twin.stem(prefix, recipe.seq_length, recipe.seed)
            hashes = link_maps(folder, source, stem, known[source]) if source != stem else known[source]
            write_map_record(folder, stem, key, hashes, idx)
        elif hashes is None:
            hashes = build_maps(folder, stem, plan, key, sizes)
            write_map_record(folder, stem, key, hashes, idx)
        known[stem] = hashes
        log.info("%s: %d documents x %d epochs, %d samples", stem, plan.stop - plan.first, plan.epochs, plan.samples)
        yield {"label": plan.label, "stem": stem, "epochs": plan.epochs, "samples": plan.samples, "files": hashes}


def build_index_maps(data: Sequence[tuple[str, Index]], recipe: Recipe, folder: Path, summary: Path) -> None:
    """Build the maps of all data sets (base name, index) in ``folder`` and list them in ``summary``."""
    recipe.check(len(data))
    names = [name for name, _ in data]
    if len(set(names)) != len(names):
        raise ConfigError(f"data sets must have different base names, got {', '.join(names)}")
    folder.mkdir(parents=True, exist_ok=True)
    sets = []
    for number, (name, index) in enumerate(data):
        sets += list(build_for(index, name, number, n_data=len(data), recipe=recipe, folder=folder))
    schedule = recipe.schedule
    parameters = {
        "seq_length": recipe.seq_length,
        "seed": recipe.seed,
        "split": recipe.split,
        "weights": normalized(recipe.weights or [1.0] * len(data)),
        "train_iterations": schedule.train_iterations,
        "batch_rows": schedule.batch_rows,
        "eval_interval": schedule.eval_interval,
        "eval_iterations": schedule.eval_iterations,
    }
    write_json(summary, {"version": 1, **parameters, "sets": sets})
    write_record(summary, {name: index.path for name, index in data}, parameters)


def numbers_of(options: argparse.Namespace) -> RunNumbers:
    """The numbers of the run: command line first, then --conf-dir; raises ConfigError for one that neither says."""
    if options.conf_dir is not None:
        settings = read_configuration(options.conf_dir)
        refuse_other_sets(settings)
        numbers = configured(settings, options)
    else:
        required = {name: getattr(options, name) for name in ("seq_length", "seed", "train_iters", "batch_size")}
        missing = [f"--{name.replace('_', '-')}" for name, value in required.items() if value is None]
        if missing:
            raise ConfigError(f"{', '.join(missing)} missing; give the numbers of the run, or --conf-dir")
        length, seed, iterations, rows = required.values()
        numbers = RunNumbers(length, seed, iterations, rows, data_path=None, split=options.split)
    said = {"eval_interval": options.eval_interval, "eval_iterations": options.eval_iters}
    return replace(numbers, **{name: value for name, value in said.items() if value is not None})


def refuse_other_sets(settings: Settings) -> None:
    """Each data set serves train, valid and test here; raises ConfigError where the files have others for two."""
    for name in ("valid_data_paths", "test_data_paths"):
        if settings.get(name, settings.get("train_data_paths")) != settings.get("train_data_paths"):
            raise ConfigError(
                f"{settings.where}: {name.replace('_', '-')} are not the train-data-paths; build the maps of each data "
                "set by itself, with --prefix and the numbers of the run"
            )


def opened(options: argparse.Namespace, data_path: Path | None) -> list[tuple[str, Index]]:
    """The data sets named on the command line, or the one of the configuration files."""
    if options.view or options.idx:
        return [opened_alone(options)]
    prefixes = options.prefix or ([data_path] if data_path else [])
    if not prefixes:
        raise ConfigError("no data set named; give --prefix, --view, --idx, or --conf-dir with a data path")
    found = []
    for prefix in prefixes:
        index = open_index(with_suffix(prefix, ".idx"))
        tokens = with_suffix(prefix, ".bin")
        if tokens.is_file():
            check_bin_bytes(index, tokens.stat().st_size, tokens)
        found.append((prefix.name, index))
    return found


def opened_alone(options: argparse.Namespace) -> tuple[str, Index]:
    """The data set of --view or --idx; --prefix may repeat its base name and must then be right."""
    if options.view:
        view = read_view(options.view)
        name, index = view["name"], open_index(options.view.parent / view["idx"])
    else:
        name, index = options.idx.name.removesuffix(".idx"), open_index(options.idx)
    if options.prefix and [prefix.name for prefix in options.prefix] != [name]:
        raise ConfigError(f"--prefix {options.prefix[0]}: the base name of this data set is {name}; leave it out")
    return name, index


def arguments_parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--prefix", type=Path, nargs="+", help="path without .idx and .bin; several are blended")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--view", type=Path, help="view.json of dataset.make_view")
    source.add_argument("--idx", type=Path, help="an .idx alone; the tokens are not needed")
    parser.add_argument("--seq-length", type=int, help="tokens predicted per row")
    parser.add_argument("--seed", type=int, help="seed of the run, 0 to 2**32 - 1")
    parser.add_argument("--train-iters", type=int, help="iterations (optimizer steps) of the whole run")
    parser.add_argument("--batch-size", type=int, help="rows per iteration over all devices")
    parser.add_argument("--eval-interval", type=int, help="iterations between evaluations (default: 1000)")
    parser.add_argument("--eval-iters", type=int, help="iterations of each evaluation (default: 10)")
    parser.add_argument("--conf-dir", type=Path, help="GPT-NeoX configuration file, or folder of .yml files")
    parser.add_argument("--split", help="split one data set by documents, such as '969, 30, 1'")
    parser.add_argument("--weights", type=float, nargs="+", default=(), help="share of each prefix; default: equal")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the maps")
    parser.add_argument("--summary", type=Path, help=f"list of what was built; default: {MANIFEST} in --output-dir")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_parser().parse_args(arguments)
    numbers = numbers_of(options)
    schedule = Schedule(numbers.train_iterations, numbers.batch_rows, numbers.eval_interval, numbers.eval_iterations)
    recipe = Recipe(schedule, numbers.seq_length, numbers.seed, numbers.split, tuple(options.weights))
    summary = options.summary or options.output_dir / MANIFEST
    build_index_maps(opened(options, numbers.data_path), recipe, options.output_dir, summary)
    log.info("wrote %s", summary)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
