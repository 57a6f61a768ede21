r"""Ask one checkpoint the probe: what its layers and heads do with fixed rows of tokens, in float32.

    python -m workflow_scripts.experiments.dynamics.measure_probe --checkpoint results/checkpoints/pocket-1m/step600 \
        --probe probe.safetensors --metrics induction logit_lens cka --output probe.parquet \
        --fingerprints states.safetensors

Means over rows with 95 % intervals (Student's t over rows). As many rows run at once as fit into --memory-mb beside the
weights. With the same number of threads the same bytes come out.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from scipy import stats
from torch import Tensor

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, DataError, EvaluationError
from workflow_scripts.evaluation.scoring.model_folder import weights_identity
from workflow_scripts.experiments.dynamics.gradients import batch_gradients
from workflow_scripts.experiments.dynamics.measure_weights import add_layer_argument, check_metrics
from workflow_scripts.experiments.dynamics.measured_files import Row, write_rows
from workflow_scripts.experiments.dynamics.probe_file import BATCH, Tokens, read_probe
from workflow_scripts.experiments.dynamics.probe_metrics import PROBE_METRICS
from workflow_scripts.experiments.dynamics.probe_model import Place, ProbeModel, rows_at_once
from workflow_scripts.experiments.dynamics.probe_texts import TEXTS
from workflow_scripts.experiments.dynamics.similarity import FEWEST_TOKENS, fingerprint
from workflow_scripts.experiments.dynamics.spectra import Bounded
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import write_bytes
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.dynamics_settings import OF_BATCH, PROBE, chosen_layers

LOG = logging.getLogger(__name__)
CKA = "cka"
KNOWN = (*PROBE_METRICS, CKA, *OF_BATCH)
Values = dict[tuple[str, str, int], list[Tensor]]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line of this program."""
    parser = cli.parser(__doc__, epilog=f"metrics: {', '.join(KNOWN)}")
    parser.add_argument("--checkpoint", type=Path, required=True, help="Hugging Face folder of the checkpoint")
    parser.add_argument("--probe", type=Path, required=True, help="file of collect_probe")
    parser.add_argument("--metrics", nargs="+", required=True, help="metrics to take, see below")
    add_layer_argument(parser)
    parser.add_argument("--cka-tokens", type=int, default=PROBE["cka_tokens"], help="tokens whose states are compared")
    parser.add_argument("--memory-mb", type=int, default=PROBE["memory_mb"], help="MB for a batch beside the weights")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--output", type=Path, required=True, help="table to write, .parquet")
    parser.add_argument("--fingerprints", type=Path, required=True, help="what CKA is computed from, .safetensors")
    options = parser.parse_args(arguments)
    check_metrics(options.metrics, KNOWN)
    if options.cka_tokens < FEWEST_TOKENS:
        raise ConfigError(f"--cka-tokens {options.cka_tokens}: give at least {FEWEST_TOKENS}")
    return options


def compared_tokens(rows: Mapping[str, Tokens], number: int) -> dict[str, NDArray[np.int64]]:
    """Places (row times length) of the tokens whose states are compared, spread evenly over all rows of text."""
    sizes = {kind: tokens.shape[0] * (tokens.shape[1] - 1) for kind, tokens in rows.items() if kind in TEXTS}
    if sum(sizes.values()) < number:
        raise ConfigError(f"--cka-tokens {number}: the probe has {sum(sizes.values())} tokens of text")
    places = np.linspace(0, sum(sizes.values()) - 1, number).round().astype(np.int64)
    found, start = {}, 0
    for kind, size in sizes.items():
        found[kind] = places[(places >= start) & (places < start + size)] - start
        start += size
    return found


def ask(
    model: ProbeModel, rows: Mapping[str, Tokens], options: argparse.Namespace
) -> tuple[Values, dict[int, list[NDArray[np.float32]]]]:
    """Values of every metric by (name, kind of rows, layer), and states of the compared tokens by layer."""
    layers = {*chosen_layers(options.layers or "all", model.config.layers), model.config.layers}
    picked = compared_tokens(rows, options.cka_tokens) if CKA in options.metrics else {}
    values: Values = defaultdict(list)
    states: dict[int, list[NDArray[np.float32]]] = defaultdict(list)
    total = sum(tokens.size for kind, tokens in rows.items() if kind != BATCH)
    with Progress(f"ask {options.checkpoint.parent.name}/{options.checkpoint.name}", total, "tokens") as progress:
        for kind, first, tokens in batches(model, rows, options.memory_mb):
            for place in model.places(tokens):
                if place.layer in layers:
                    for name, found in answers(place, kind, options.metrics):
                        values[name, kind, place.layer].append(found)
                    states[place.layer] += [picked_states(place, first, picked[kind])] if kind in picked else []
            progress.advance(tokens.numel())
    return values, states


def batches(model: ProbeModel, rows: Mapping[str, Tokens], memory_mb: int) -> Iterator[tuple[str, int, Tensor]]:
    """Kind, number of the first row and tokens of as many rows as fit."""
    for kind, tokens in sorted(rows.items()):
        if kind == BATCH:
            continue
        size = rows_at_once(model, tokens.shape[1] - 1, memory_mb)
        for first in range(0, len(tokens), size):
            yield kind, first, torch.from_numpy(tokens[first : first + size].astype(np.int64))


def answers(place: Place, kind: str, wanted: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Metrics of one place for one kind of rows."""
    for name, metric in PROBE_METRICS.items():
        if name in wanted and kind in metric.rows and (place.attention is not None or not metric.of_attention):
            found = metric.measure(place).cpu()
            if not bool(torch.isfinite(found).all()):
                raise EvaluationError(f"{name} on {kind} rows, layer {place.layer}: numbers that are not finite")
            yield name, found


def picked_states(place: Place, first_row: int, places: NDArray[np.int64]) -> NDArray[np.float32]:
    """States of the compared tokens among the rows of a batch."""
    rows, length, width = place.states.shape
    mine = places[(places >= first_row * length) & (places < (first_row + rows) * length)] - first_row * length
    found: NDArray[np.float32] = place.states.reshape(-1, width)[torch.from_numpy(mine)].cpu().numpy()
    return found


def rows_of(values: Values) -> Iterator[Row]:
    """Mean over rows, per head where there are heads."""
    for (name, kind, layer), parts in values.items():
        per_row = torch.cat(parts).double().numpy()
        for head in range(per_row.shape[1]) if per_row.ndim == 2 else [None]:
            yield Row(name, mean_of(per_row if head is None else per_row[:, head]), kind, layer, head)


def mean_of(values: NDArray[np.float64]) -> Bounded:
    """Mean with the 95 % interval of Student's t; without one for a single value.

    >>> mean_of(np.array([1.0, 3.0])).value, mean_of(np.array([2.0, 2.0])).upper
    (2.0, 2.0)
    """
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Bounded(mean, math.nan, math.nan)
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return Bounded(mean, mean - half, mean + half)


def gradient_rows(model: ProbeModel, rows: Mapping[str, Tokens], wanted: Sequence[str]) -> list[Row]:
    """Gradient norm and noise scale, as far as they are wanted."""
    if not set(OF_BATCH) & set(wanted):
        return []
    if BATCH not in rows:
        raise DataError("the probe has no batch for gradients; make it with --gradient")
    found = batch_gradients(model, torch.from_numpy(rows[BATCH].astype(np.int64)))
    numbers = dict(zip(OF_BATCH, (found.norm(), found.noise_scale()), strict=True))
    return [Row(name, number, BATCH) for name, number in numbers.items() if name in wanted]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(mode=True)
    model = ProbeModel(options.checkpoint, options.device)
    rows = read_probe(options.probe, model.config.vocabulary)
    with torch.inference_mode():
        values, states = ask(model, rows, options)
    table = [*rows_of(values), *gradient_rows(model, rows, options.metrics)]
    prints = {str(layer): fingerprint(np.concatenate(parts)) for layer, parts in sorted(states.items()) if parts}
    write_rows(options.output, table)
    write_bytes(options.fingerprints, save(prints))
    facts = {name: getattr(options, name) for name in ("metrics", "layers", "cka_tokens", "threads", "device")}
    identity = {"weights": weights_identity(options.checkpoint)}
    for output in (options.output, options.fingerprints):
        inputs = {"weights": options.checkpoint, "probe": options.probe}
        write_record(output, inputs, facts, known_hashes=identity)
    LOG.info("%d numbers, states of %d places", len(table), len(prints))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
