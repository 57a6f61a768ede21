r"""Measure the weights of one checkpoint: norms, ranks, isotropy, and a sketch of each tensor for distances.

    python -m workflow_scripts.experiments.dynamics.measure_weights --checkpoint results/checkpoints/pocket-1m/step600 \
        --metrics norm stable_rank --output weights.parquet --sketches sketches.safetensors

Each file is read once from its first byte to its last, and no more than one tensor is held. Distances between
checkpoints follow from the sketches (join_dynamics).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.evaluation.scoring.model_folder import Shapes, read_config, weights_identity
from workflow_scripts.experiments.dynamics.measured_files import Row, Sketches, write_rows
from workflow_scripts.experiments.dynamics.sketches import sketch
from workflow_scripts.experiments.dynamics.weight_metrics import WEIGHT_METRICS, Accuracy, Weight, measure
from workflow_scripts.experiments.dynamics.weight_stream import place_of, read_weights
from workflow_scripts.progress import Progress
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.dynamics_settings import WEIGHTS, chosen_layers

LOG = logging.getLogger(__name__)
COMPARISONS = ("distance", "cosine")


def add_layer_argument(parser: argparse.ArgumentParser) -> None:
    """Add --layers; all where it is left out."""
    parser.add_argument("--layers", type=int, nargs="+", help="layers to measure, negative from the last; default all")


def check_metrics(wanted: Sequence[str], known: Sequence[str]) -> None:
    """Raise UnknownNameError for a metric that is not known."""
    for name in wanted:
        if name not in known:
            raise UnknownNameError("metric", name, known)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line of this program."""
    parser = cli.parser(__doc__, epilog=f"metrics: {', '.join(WEIGHT_METRICS)}")
    parser.add_argument("--checkpoint", type=Path, required=True, help="Hugging Face folder of the checkpoint")
    parser.add_argument("--metrics", nargs="+", required=True, help="metrics to take, see below")
    add_layer_argument(parser)
    parser.add_argument("--exact-below", type=int, default=WEIGHTS["exact_below"], help="all singular values up to it")
    parser.add_argument("--rank", type=int, default=WEIGHTS["rank"], help="singular values of larger matrices")
    parser.add_argument("--sketch", type=int, default=WEIGHTS["sketch"], help="values kept of a tensor, a power of two")
    parser.add_argument("--near-zero", type=float, default=WEIGHTS["near_zero"], help="share of a layer's median norm")
    parser.add_argument("--output", type=Path, required=True, help="table to write, .parquet")
    parser.add_argument("--sketches", type=Path, required=True, help="sketches to write, .safetensors")
    options = parser.parse_args(arguments)
    check_metrics(options.metrics, [*WEIGHT_METRICS, *COMPARISONS])
    if options.sketch < 1 or options.sketch & (options.sketch - 1):
        raise ConfigError(f"--sketch {options.sketch}: give a power of two")
    return options


def measure_checkpoint(options: argparse.Namespace) -> tuple[list[Row], Sketches]:
    """Every metric of every tensor of the chosen layers, and the sketches of all tensors."""
    config = read_config(options.checkpoint)
    layers = chosen_layers(options.layers or "all", config.layers)
    accuracy = Accuracy(options.exact_below, options.rank, options.near_zero)
    rows: list[Row] = []
    sketches = Sketches(options.sketch, tensors := {}, norms := {}, sizes := {})
    title = f"measure {options.checkpoint.parent.name}/{options.checkpoint.name}"
    with Progress(title, len(Shapes(config)), "tensors") as progress:
        for name, values in read_weights(options.checkpoint, config):
            layer, part = place_of(name)
            weight = Weight(part, values, config.heads, accuracy)
            tensors[name], sizes[name] = sketch(name, values, options.sketch), values.size
            norms[name] = weight.squares**0.5
            if layer is None or layer in layers:
                found = measure(weight, options.metrics)
                rows += [Row(metric, number, part, layer) for metric, number in found.items()]
            progress.advance()
    return rows, sketches


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    options = parse(arguments)
    rows, sketches = measure_checkpoint(options)
    write_rows(options.output, rows)
    sketches.write(options.sketches)
    facts = {name: getattr(options, name) for name in ("metrics", "layers", *WEIGHTS)}
    identity = {"weights": weights_identity(options.checkpoint)}
    for output in (options.output, options.sketches):
        write_record(output, {"weights": options.checkpoint}, facts, known_hashes=identity)
    LOG.info("%d tensors, %d numbers", len(sketches.tensors), len(rows))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
