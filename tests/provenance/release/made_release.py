"""A release that is made up: a file of each kind with its record, small enough to be sealed and changed many times."""

from __future__ import annotations

import hashlib
import json
import random

from workflow_scripts.provenance.release import sealing
from workflow_scripts.provenance.release.graph import GraphOutput, State
from workflow_scripts.provenance.release.manifest import content_of, parse
from workflow_scripts.storage.hashing import sha256_file, sha256_text

RUN = "small"
SETTINGS = {"run": RUN, "suite": "pocket", "seed": 1234, "learning_rate": 0.008, "shots": [0]}
FOLDER = "results/checkpoints/m/step1"
# Kind of thing that a change is made to, and the file that holds it.
PLACES = {
    "score": "results/scores/m/step1/0-shot.json",
    "loglikelihood": "results/scores/m/step1/0-shot.json.loglikelihoods.npz",
    "token": "results/corpus/pocket/standard.bin",
    "weight": f"{FOLDER}/model.safetensors",
    "point of a figure": f"results/runs/{RUN}/figures/loss.csv",
    "stroke of a figure": f"results/runs/{RUN}/figures/loss.svg",
    "table": f"results/runs/{RUN}/tables/scores.parquet",
    "configuration": "config/suites/made.yaml",
    "lock": "envs/made.lock",
    "record of a score": "results/scores/m/step1/0-shot.json.record.json",
    "parameter of a figure": f"results/runs/{RUN}/figures/loss.record.json",
    "receipt": f"{FOLDER}/fetched.json",
    "list of hashes": f"{FOLDER}/sha256.txt",
    "setting of the run": f"results/runs/{RUN}/run.json",
}
RULES = {
    "scores": "score_checkpoint", "corpus": "tokenize_corpus", "checkpoints": "fetch_checkpoint",
    "figures": "draw_figure", "tables": "collect_scores", "run.json": "run_settings",
}  # fmt: skip


def write(folder, path, content):
    """Write bytes, text or JSON; returns the sha256."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        target.write_bytes(content)
    else:
        target.write_text(content if isinstance(content, str) else json.dumps(content, indent=1, sort_keys=True) + "\n")
    return sha256_file(target)


def write_record(folder, output, program, inputs, **parameters):
    """The record of an output; ``inputs`` are names and paths, of files or of a checkpoint's folder with its hash."""
    listed = {
        name: {"path": path, "sha256": known or sha256_file(folder / path)} for name, (path, known) in inputs.items()
    }
    record = {
        "output": output.rpartition("/")[2],
        "output_sha256": sha256_file(folder / output) if (folder / output).is_file() else None,
        "inputs": listed,
        "parameters": parameters,
        "command": [program, "--output", output],
        "code_version": "0123456789ab",
        "lock_sha256": {},
        "versions": {"python": "3.11.7", "numpy": "2.4.6"},
        "seconds": 1.0,
        "peak_memory_bytes": 1000,
    }
    write(folder, f"{output}.record.json", record)


def make_release(folder):
    """All files of a run in ``folder``; returns the outputs as Snakemake would list them."""
    numbers = random.Random(0)
    write(folder, PLACES["configuration"], "name: made\nsteps: [0, 1]\n")
    write(folder, PLACES["lock"], "numpy==2.4.6\n")
    write(folder, PLACES["token"], numbers.randbytes(4000))
    write_record(
        folder, PLACES["token"], "tokenize_corpus.py", {"suite": (PLACES["configuration"], None)}, vocabulary=9
    )
    weights = write(folder, PLACES["weight"], numbers.randbytes(9000))
    config = write(folder, f"{FOLDER}/config.json", {"layers": 2})
    write(folder, PLACES["list of hashes"], f"{config}  config.json\n{weights}  model.safetensors\n")
    commit = hashlib.sha1(b"commit").hexdigest()
    write(folder, PLACES["receipt"], {"repository": "made/m", "revision": "step1", "commit": commit})
    write_record(folder, PLACES["receipt"], "fetch.py", {}, revision="step1")
    identity = sha256_text(f"{config}  config.json\n{weights}  model.safetensors")
    scores = {"task": {"acc,none": 0.25, "acc_stderr,none": 0.01}}
    write(folder, PLACES["score"], {"config": {"weights_sha256": identity}, "results": scores})
    write(folder, PLACES["loglikelihood"], numbers.randbytes(800))
    made_from = {"weights": (FOLDER, identity), "tokens": (PLACES["token"], None)}
    write_record(folder, PLACES["score"], "score.py", made_from, dtype="float32", threads=1)
    write(folder, PLACES["table"], numbers.randbytes(600))
    write_record(folder, PLACES["table"], "gather.py", {"m/step1": (PLACES["score"], None)}, rows=1)
    hashes = {"csv": write(folder, PLACES["point of a figure"], "step,loss\n0,6.9\n1,6.8\n")}
    hashes["svg"] = write(folder, PLACES["stroke of a figure"], '<svg><path d="M 0 6.9 L 1 6.8"/></svg>\n')
    figure = PLACES["point of a figure"].removesuffix(".csv")
    write_record(folder, figure, "picture.py", {"scores": (PLACES["table"], None)}, figure="loss", sha256=hashes)
    models = [{"name": "m", "repository": "made/m"}]
    resolved = {"run": RUN, "suite": "pocket", "settings": SETTINGS, "models": models, "steps": {"m": [1]}}
    write(folder, PLACES["setting of the run"], resolved)
    return graph_of(folder)


def read_manifest(path):
    """The manifest at ``path``, whose root must be that of its content."""
    manifest, root = parse(content_of(path), str(path))
    assert manifest.root == root
    return manifest


def graph_of(folder):
    """Every file below results/ that is no record, as a finished output of a rule."""
    paths = sorted(path.relative_to(folder).as_posix() for path in (folder / "results").rglob("*") if path.is_file())
    made = [path for path in paths if not path.endswith(".record.json")]
    rules = {path: next(rule for part, rule in RULES.items() if part in path.split("/")) for path in made}
    return [GraphOutput(path, rules[path], State.DONE, (PLACES["configuration"],)) for path in made]


def seal(folder, monkeypatch, graph=None, **options):
    """The manifest of the made-up run; Snakemake is not asked, and nothing is stale."""
    listed = make_release(folder) if graph is None else graph
    monkeypatch.setattr(sealing, "outputs_of", lambda settings, root: listed)
    monkeypatch.setattr(sealing, "stale_outputs", lambda results: [])
    return sealing.seal_run(RUN, folder, **options)
