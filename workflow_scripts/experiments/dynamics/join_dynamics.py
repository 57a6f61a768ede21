r"""Join what was measured inside every checkpoint of a run, and compare checkpoints with each other.

    python -m workflow_scripts.experiments.dynamics.join_dynamics --run results/runs/experiments/run.json \
        --results results --tables-dir results/runs/experiments/tables

Writes dynamics.parquet (suite, model, step, layer, head, part, metric, value, lower, upper), dynamics_cka.parquet (CKA
of every two steps of a model, and of every two models on the same data at their last step) and verdict_dynamics.json.
Looks at the first model of each size and data set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workflow_scripts import cli
from workflow_scripts.evaluation.scoring.score_files import read_run
from workflow_scripts.experiments.dynamics.comparisons import (
    REFERENCES,
    Prints,
    between_models,
    distances,
    read_prints,
    references,
    similarities,
)
from workflow_scripts.experiments.dynamics.dynamics_findings import findings
from workflow_scripts.experiments.dynamics.measured_files import COLUMNS, Row, frame_of
from workflow_scripts.experiments.dynamics.spectra import Bounded
from workflow_scripts.experiments.outputs import Outcome, analysis_parser, read_frame
from workflow_scripts.progress import Progress
from workflow_scripts.suite.dynamics_settings import Dynamics, chosen_layers, dynamics_steps, load_dynamics
from workflow_scripts.suite.experiment_files import models_of, one_per_size
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import suite_of

KEY = ["suite", "model", "step"]
CKA_COLUMNS = ["model", "step", "layer", "other_model", "other_step", "other_layer", "value"]


@dataclass(frozen=True)
class Measured:
    """A model, its measured steps and the folder of each."""

    model: Model
    declaration: Dynamics
    folders: Mapping[int, Path]

    def files(self, name: str) -> dict[int, Path]:
        """File ``name`` of every step."""
        return {step: folder / name for step, folder in self.folders.items()}

    def prints(self) -> dict[int, Prints]:
        """Fingerprints of every step; none without CKA."""
        if "cka" not in self.declaration.probe.get("metrics", ()):
            return {}
        return {step: read_prints(path) for step, path in self.files("fingerprints.safetensors").items()}


def table_of(measured: Measured, pairs: pd.DataFrame) -> pd.DataFrame:
    """Everything about one model; ``pairs`` are its similarities."""
    kinds = [name for name in ("weights", "probe") if getattr(measured.declaration, name)]
    parts = [
        read_frame(path, list(COLUMNS)).assign(step=step)
        for kind in kinds
        for step, path in measured.files(f"{kind}.parquet").items()
    ]
    compared: dict[int, list[Row]] = defaultdict(list)
    for step, row in (*compared_weights(measured), *compared_states(measured, pairs)):
        compared[step].append(row)
    parts += [frame_of(rows).assign(step=step) for step, rows in compared.items()]
    joined = pd.concat([part for part in parts if len(part)], ignore_index=True)
    joined = joined.assign(suite=measured.model.suite, model=measured.model.name)
    return joined[[*KEY, *COLUMNS]].sort_values("step", kind="stable", ignore_index=True)


def compared_weights(measured: Measured) -> Iterator[tuple[int, Row]]:
    """Step and row of distances, where they are wanted."""
    wanted = [name for name in ("distance", "cosine") if name in measured.declaration.weights.get("metrics", ())]
    if wanted:
        layers = chosen_layers(measured.declaration.layers, measured.model.layers)
        yield from distances(measured.files("sketches.safetensors"), layers, wanted)


def compared_states(measured: Measured, pairs: pd.DataFrame) -> Iterator[tuple[int, Row]]:
    """Step and row of the CKA with the first, the previous and the last step."""
    if pairs.empty:
        return
    values = pairs.set_index(["layer", "step", "other_step"])["value"].to_dict()
    layers, steps = sorted(set(pairs["layer"])), list(measured.folders)
    for step in steps:
        for name, other in references(steps, step).items():
            for layer in layers:
                value = float(values[layer, min(step, other), max(step, other)])
                yield step, Row(f"cka_{name}", Bounded.exact(value), "", layer)


def last_prints(all_measured: Sequence[Measured], dataset: str) -> dict[tuple[str, int], Prints]:
    """Fingerprints of the last step of each model on a data set."""
    found: dict[tuple[str, int], Prints] = {}
    for measured in all_measured:
        if measured.model.dataset == dataset and "cka" in measured.declaration.probe.get("metrics", ()):
            last = max(measured.folders)
            found[measured.model.name, last] = read_prints(measured.folders[last] / "fingerprints.safetensors")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    options = analysis_parser(__doc__).parse_args(arguments)
    resolved = read_run(options.run)
    settings = resolved["settings"]["dynamics"]
    declaration = load_dynamics(settings["declaration"])
    models = one_per_size(models_of(suite_of(resolved), resolved))
    everything = [
        Measured(
            model,
            declaration,
            {
                step: options.results / Path(declaration.folder(model.name, step)).relative_to("results")
                for step in dynamics_steps(model, settings)
            },
        )
        for model in models
    ]
    tables: dict[str, pd.DataFrame] = {}
    similar = [pd.DataFrame(columns=CKA_COLUMNS)]
    files: dict[str, Path] = {}
    with Progress("join dynamics", len(everything), "models") as progress:
        for measured in everything:
            pairs = similarities(measured.model.name, measured.prints())
            similar += [pairs] if len(pairs) else []
            tables[measured.model.name] = table_of(measured, pairs)
            kind = "weights" if declaration.weights else "probe"
            files |= {f"{measured.model.name}/step{s}": p for s, p in measured.files(f"{kind}.parquet").items()}
            progress.advance()
    across = [between_models(last_prints(everything, key)) for key in dict.fromkeys(m.dataset for m in models)]
    similar += [pairs for pairs in across if len(pairs)]
    sentences, numbers = findings(models, tables)
    joined = pd.concat(tables.values(), ignore_index=True)
    cka = pd.concat(similar[1:] or similar, ignore_index=True)
    outputs = {"dynamics": (joined, files), "dynamics_cka": (cka, files)}
    facts = {"declaration": declaration.name, "references": list(REFERENCES)}
    Outcome(outputs, sentences, numbers, ["dynamics"], facts).write(options.tables_dir, "dynamics")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
