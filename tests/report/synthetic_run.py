"""A made-up run with known curves: three sizes, two data sets, the tasks of the pocket suite."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.published.results_table import COLUMNS, to_frame, write_table
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.registry import load_suite

# Shown in the page of the tests; the others are only drawn.
FIGURES = ["agreement_over_training", "scores_over_training", "five_shot_minus_zero_shot", "published_lambada"]
ITEMS = 250
LAST = load_suite("pocket").model("pocket-1m").steps[-1]
BLIND = {"pocket_agreement": (0,), "pocket_pronouns": (0,)}  # tasks that are only scored zero-shot


def main_models() -> list[Model]:
    """The six models that ``models: all`` means."""
    return [model for model in load_suite("pocket").models.values() if model.version == "v1"]


def score(task: str, size: int, step: int, shots: int) -> float:
    """A curve that rises from chance with the step, later for smaller models."""
    chance = load_suite("pocket").tasks[task].chance or 0.0
    middle = 60 * 2 ** (2 - size)
    rise = step / (step + middle)
    top = (0.97, 0.55, 0.62, 0.85, 0.4)[list(load_suite("pocket").tasks).index(task)] - 0.05 * (2 - size)
    return float(min(1.0, chance + (top - chance) * rise + 0.08 * (shots > 0) * rise))


def scores_frame() -> pd.DataFrame:
    """Tidy table of a pocket run."""
    suite = load_suite("pocket")
    columns: dict[str, list[object]] = {name: [] for name in COLUMNS}
    for model in main_models():
        rank = list(dict.fromkeys(m.size for m in main_models())).index(model.size)
        for step in model.steps:
            for task in suite.tasks.values():
                for shots in BLIND.get(task.name, (0, 5)):
                    value = score(task.name, rank, step, shots) - 0.02 * (model.dataset == "deduped")
                    value = max(value, 0.0)
                    row = {
                        "suite": "pocket", "version": "v1", "model": model.name, "size": model.size,
                        "data": model.dataset, "arm": "baseline", "shots": shots, "step": step,
                        "tokens": model.step(step).tokens, "task": task.name, "task_version": "1",
                        "metric": task.metric, "value": value, "n": ITEMS,
                        "stderr": (value * (1 - value) / (ITEMS - 1)) ** 0.5,
                        "source_file": f"scores/{model.name}/step{step}/{shots}-shot.json", "source_sha256": "0" * 64,
                        "harness": "lm-eval 0.4.13", "note": "",
                    }  # fmt: skip
                    for name, item in row.items():
                        columns[name].append(item)
    return to_frame(columns)


def run_settings() -> dict[str, object]:
    """What ``run.json`` holds, as far as figures and report read it."""
    suite = load_suite("pocket")
    models = [
        {
            "name": m.name, "size": m.size, "dataset": m.dataset, "arm": m.arm, "version": m.version,
            "parameters": m.parameters, "batch_rows": m.batch_rows, "sequence_length": m.sequence_length,
            "steps": list(m.steps), "train_iterations": m.train_iterations, "layers": m.layers,
            "hidden_size": m.hidden_size, "heads": m.heads, "learning_rate": m.learning_rate,
        }
        for m in main_models()
    ]  # fmt: skip
    tasks = [{"name": t.name, "title": t.title, "metric": t.metric, "chance": t.chance} for t in suite.tasks.values()]
    steps = {m.name: list(m.steps) for m in main_models()}
    return {
        "run": "pocket",
        "suite": "pocket",
        "models": models,
        "steps": steps,
        "shots": [0, 5],
        "tasks": tasks,
        "settings": {},
    }


def write_run(folder: Path, published: Path) -> dict[str, Path]:
    """Write run.json, tables and training logs below ``folder``, laid out as the workflow does."""
    run_dir, training = folder / "runs" / "pocket", folder / "training"
    (run_dir / "tables").mkdir(parents=True)
    (run_dir / "run.json").write_text(json.dumps(run_settings()))
    write_table(scores_frame(), run_dir / "tables" / "scores.parquet")
    (run_dir / "tables" / "published.parquet").write_bytes(published.read_bytes())
    for number, model in enumerate(main_models()):
        log = training / model.name
        log.mkdir(parents=True)
        steps = np.arange(1, model.train_iterations + 1)
        loss = 1.5 + 5.4 * np.exp(-steps / (40 + 10 * (number % 3))) + 0.05 * np.sin(steps)
        frame = pd.DataFrame({"step": steps, "tokens": steps * model.batch_tokens, "loss": loss})
        frame.assign(gradient_norm=1.0, learning_rate=1e-3, tokens_per_second=1e4).to_csv(
            log / "metrics.csv", index=False
        )
        checkpoints = np.array(model.steps)
        bits = pd.DataFrame({"step": checkpoints, "bits_per_byte": 1.9 + 3 * np.exp(-checkpoints / 100)})
        bits.to_csv(log / "validation.csv", index=False)
    return {
        "run": run_dir / "run.json",
        "run_dir": run_dir,
        "tables": run_dir / "tables",
        "training": training,
        "root": folder,
    }


def draw_arguments(paths, figures, output_dir):
    """Command line of the drawing program."""
    return [
        "--figure", *figures, "--run", str(paths["run"]), "--tables", *map(str, inputs_below(paths)),
        "--output-dir", str(output_dir),
    ]  # fmt: skip


def inputs_below(paths: dict[str, Path]) -> list[Path]:
    """Everything that lies in the folders of a run and could be given to figures and page."""
    folders = [
        paths["run"].parent / "tables",
        paths.get("training", paths["root"] / "training"),
        paths["root"] / "data",
    ]
    return sorted(path for folder in folders for path in folder.rglob("*.*") if not path.name.endswith(".record.json"))


def build_arguments(paths: dict[str, Path], figures: list[str], output: Path) -> list[str]:
    """Arguments of the program that builds the page."""
    return [
        "--run", str(paths["run"]), "--run-dir", str(paths["run_dir"]), "--inputs", *map(str, inputs_below(paths)),
        "--figures", *figures, "--output", str(output),
    ]  # fmt: skip
