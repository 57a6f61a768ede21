"""A small finished release, made by the project's own programs in a few seconds: corpus, order, training, scores."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from tests.evaluation.evaluation_worlds import TASKS, plan_arguments, sentence, train_tokenizer, write_task_data
from workflow_scripts.dataset import build_index_maps, make_view, tokenize_corpus
from workflow_scripts.evaluation import build_plan, score
from workflow_scripts.experiments import score_memorization
from workflow_scripts.provenance.release.manifest import Manifest, Output, Revision
from workflow_scripts.provenance.release.sampling.release_files import Release
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training import publish, retrain
from workflow_scripts.training.recipe import Recipe, recipe_of

MODEL, LAST, KEPT = "tiny", 12, 8
SCORES = f"results/scores/{MODEL}/step{LAST}/0-shot.json"
TRAINING = f"results/training/{MODEL}"
MEMORIZED = f"results/experiments/memorization/{MODEL}/step{LAST}/rows-0-16.parquet"
VIEW = "results/data/made/standard/view.json"
DOCUMENTS = 40


def recipe() -> Recipe:
    """Two layers of width 32, rows of 128 tokens, four in a batch, twelve iterations."""
    numbers = {"layers": 2, "hidden_size": 32, "heads": 4, "vocab_size": 512, "sequence_length": 128, "batch_rows": 4}
    steps = {"train_iterations": LAST, "lr_decay_iterations": LAST, "checkpoint_steps": (0, 1, 2, 4, KEPT, LAST)}
    base = recipe_of(load_suite("pocket").model("pocket-90k"))
    return dataclasses.replace(base, name=MODEL, **numbers, **steps)


def make_release(root: Path) -> None:
    """Make everything below ``root``/results."""
    with contextlib.chdir(root):
        tokenizer = make_data(Path("results/corpus/made"))
        Path(TRAINING).mkdir(parents=True)
        made = recipe()
        Path(f"{TRAINING}/recipe.json").write_text(json.dumps(made.to_json()))
        maps = ["--view", VIEW, "--index-maps", str(Path(VIEW).parent / "index_maps")]
        retrain.main(
            [
                *("--recipe", f"{TRAINING}/recipe.json", *maps, "--output-dir", TRAINING),
                *("--keep-optimizer", str(KEPT)),
            ]
        )
        mirror = Path("results/mirror/models/made") / MODEL
        publish.main(
            [
                *("--training-dir", TRAINING, "--tokenizer", str(tokenizer), "--dtype", "float32"),
                *("--output-root", str(mirror), "--receipt", str(mirror / "published.json")),
            ]
        )
        make_scores(tokenizer, mirror / f"step{LAST}", maps)
        model = {**made.to_json(), "dataset": "standard", "parameters": 0}
        Path("results/runs/made").mkdir(parents=True)
        Path("results/runs/made/run.json").write_text(json.dumps({"suite": "made", "models": [model]}))


def make_data(corpus: Path) -> Path:
    """Texts, tokens, view and maps; returns the tokenizer."""
    corpus.mkdir(parents=True)
    texts = [sentence(number, 5 + number % 60) for number in range(DOCUMENTS)]
    tokenizer = train_tokenizer(corpus / "tokenizer.json", texts, 400)
    (corpus / "standard.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    arguments = ["--corpus", f"{corpus}/standard.jsonl", "--tokenizer", str(tokenizer), "--append-eod"]
    tokenize_corpus.main([*arguments, "--output-prefix", f"{corpus}/standard"])
    raw = Path(VIEW).parent / "raw"
    raw.mkdir(parents=True)
    for suffix in (".bin", ".idx"):
        (raw / f"made{suffix}").write_bytes((corpus / f"standard{suffix}").read_bytes())
    make_view.main(["--idx", f"{raw}/made.idx", "--bin", f"{raw}/made.bin", "--output", VIEW])
    made = recipe()
    build_index_maps.main(
        [
            *("--view", VIEW, "--output-dir", str(Path(VIEW).parent / "index_maps")),
            *("--seq-length", str(made.sequence_length), "--seed", str(made.data_seed)),
            *("--train-iters", str(made.train_iterations), "--batch-size", str(made.batch_rows)),
        ]
    )
    return tokenizer


def make_scores(tokenizer: Path, checkpoint: Path, maps: list[str]) -> None:
    """Plans, scores and memorized rows of the last checkpoint."""
    data = write_task_data(Path("results/datasets"), 12)
    plans = [f"results/plans/made/0-shot/{task}.plan" for task in TASKS]
    *arguments, _ = plan_arguments(TASKS, 0, data, tokenizer, Path())
    build_plan.main([*arguments, *plans])
    score.main(["--checkpoint", str(checkpoint), "--plan", *plans, "--output", SCORES])
    score_memorization.main(
        [
            *("--checkpoint", str(checkpoint), "--recipe", f"{TRAINING}/recipe.json", *maps),
            *("--first-row", "0", "--stop-row", "16", "--prompt", "8", "--continuation", "4", "--output", MEMORIZED),
        ]
    )


def sealed(root: Path) -> Manifest:
    """A manifest of everything below ``root``/results, as ``pythia seal`` would write it."""
    files = sorted(path for path in (root / "results").rglob("*") if path.is_file())
    outputs = tuple(
        Output(path.relative_to(root).as_posix(), path.stat().st_size, sha256_file(path), None, None) for path in files
    )
    return Manifest(
        kind="run",
        run="made",
        suite="made",
        sealed="2026-01-31T12:00:00Z",
        partial=False,
        missing=(),
        limits=(),
        settings={},
        code=(),
        libraries={},
        rules={},
        inputs=(),
        locks=(),
        ledger=(Revision(MODEL, LAST, f"made/{MODEL}", f"step{LAST}", None),),
        outputs=outputs,
        records=(),
    )


def release_of(root: Path) -> Release:
    """The files of a manifest of everything in ``root``."""
    return Release.of(sealed(root), root)
