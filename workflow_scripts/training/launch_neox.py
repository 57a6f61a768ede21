r"""Start a training that prepare_neox has prepared, in a checkout of the original GPT-NeoX v1.0.

    python -m workflow_scripts.training.launch_neox --prepared results/neox/pythia-70m/prepared.json \
        --checkout ../gpt-neox --python ../gpt-neox/venv/bin/python --output-dir results/neox/pythia-70m/checkpoints \
        --receipt results/neox/pythia-70m/trained.json

runs ``deepy.py train.py config.yml`` there and, when its last checkpoint is written, links all checkpoints to
--output-dir and leaves a receipt. GPT-NeoX resumes from the newest checkpoint when it is started again. It must not
start another version: there the learning rate and the first step are different.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, MissingInputError, ModelError
from workflow_scripts.git_process import run_git
from workflow_scripts.json_values import JsonObject, read_object
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.hard_links import copy_whole, link_file
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import write_record

# Tag v1.0 of EleutherAI/gpt-neox, which the README of EleutherAI/pythia says to check out.
VERSION = "71df4d5017f9f4919566a11454fe3a507ffdc632"
PROGRAMS = ("deepy.py", "train.py")
LATEST = "latest"
SLOTS = re.compile(r"slots=(\d+)")
KEYS = ("config", "config_sha256", "checkpoints", "gpus", "hostfile", "last_step")


def read_prepared(path: Path) -> JsonObject:
    """What prepare_neox wrote; raises MissingInputError, DataError, or ModelError where the configuration changed."""
    prepared = read_object(path, "prepared run", "create it with workflow_scripts.training.prepare_neox", *KEYS)
    config = Path(prepared["config"])
    if not config.is_file() or sha256_file(config) != prepared["config_sha256"]:
        raise ModelError(f"{config}: missing or changed since it was prepared; run prepare_neox again")
    return prepared


def check_checkout(folder: Path) -> None:
    """Refuse what is not GPT-NeoX v1.0; raises MissingInputError or ConfigError with how to get it."""
    lost = [name for name in PROGRAMS if not (folder / name).is_file()]
    if lost:
        raise MissingInputError(
            f"{folder}: no {lost[0]}, so this is not a checkout of GPT-NeoX; git clone "
            f"https://github.com/EleutherAI/gpt-neox and "
            "check out v1.0"
        )
    answer = run_git(folder, "rev-parse", "HEAD")
    seen = answer.stdout.decode().strip() if answer.returncode == 0 else "no git checkout"
    if seen != VERSION:
        raise ConfigError(f"{folder}: is {seen[:15]}, not GPT-NeoX v1.0 ({VERSION[:9]}); git checkout v1.0 there")


def gpus_here(hostfile: str | None) -> int:
    """GPUs that the launch can use: of the hosts in ``hostfile``, or of this machine."""
    if hostfile is not None:
        if not Path(hostfile).is_file():
            raise MissingInputError(f"{hostfile}: no such hostfile")
        return sum(int(number) for number in SLOTS.findall(Path(hostfile).read_text(encoding="utf-8")))
    import torch

    return torch.cuda.device_count()


def link_checkpoints(source: Path, target: Path) -> None:
    """Give every file of the checkpoints in ``source`` a second name under ``target``.

    ``latest`` is copied, because GPT-NeoX writes it in place.
    """
    for path in sorted(source.rglob("*")):
        if path.is_file():
            place = copy_whole if path.name == LATEST else link_file
            place(path, target / path.relative_to(source))


def newest_checkpoint(folder: Path) -> str:
    """Name of the checkpoint that GPT-NeoX wrote last; empty when there is none."""
    latest = folder / LATEST
    return latest.read_text(encoding="utf-8").strip() if latest.is_file() else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Check, run, and write the receipt."""
    parser = cli.parser(__doc__)
    parser.add_argument("--prepared", type=Path, required=True, help="prepared.json of prepare_neox")
    parser.add_argument("--checkout", type=Path, required=True, help="folder with GPT-NeoX v1.0")
    parser.add_argument("--python", default=sys.executable, help="interpreter with GPT-NeoX's requirements installed")
    parser.add_argument("--output-dir", type=Path, help="folder for the finished checkpoints")
    parser.add_argument("--receipt", type=Path, required=True, help="file to write when the training is done")
    options = parser.parse_args(arguments)
    prepared = read_prepared(options.prepared)
    check_checkout(options.checkout)
    found = gpus_here(prepared["hostfile"])
    if found < prepared["gpus"]:
        raise ConfigError(f"prepared for {prepared['gpus']} GPUs, but {found} are available; prepare again with --gpus")
    working = Path(prepared["checkpoints"])
    if prepared.get("start") and not newest_checkpoint(working):
        link_checkpoints(Path(prepared["start"]), working)
    command = [options.python, *PROGRAMS, str(prepared["config"])]
    done = subprocess.run(command, cwd=options.checkout, check=False)
    last, newest = f"global_step{prepared['last_step']}", newest_checkpoint(working)
    if done.returncode or newest != last:
        raise ModelError(
            f"GPT-NeoX ended with code {done.returncode}, its newest checkpoint is {newest or 'none'}, not {last}; "
            "rerun to resume from there"
        )
    if options.output_dir is not None:
        link_checkpoints(working, options.output_dir)
    write_json(options.receipt, {"model": prepared.get("model"), "checkpoint": newest, "version": VERSION})
    write_record(options.receipt, {"prepared": options.prepared}, {"command": command})


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
