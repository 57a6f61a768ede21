r"""Prepare a training of one model with the original GPT-NeoX v1.0: everything that its train.py reads, in one folder.

    python -m workflow_scripts.training.prepare_neox --recipe recipe.json --gpus 8 --micro-batch 16 \
        --joined results/data/pythia/standard/joined/pile_20B_tokenizer_text_document \
        --index-maps results/data/pythia/standard/index_maps --tokenizer tokenizer.json \
        --output-dir results/neox/pythia-70m

writes config.yml, data/ (links to the joined .bin and .idx and to the index maps, under the exact names that GPT-NeoX
looks for beside them, so that it builds none) and prepared.json, which launch_neox starts from. GPT-NeoX itself writes
into the hidden folder .checkpoints until its training is complete. With --start-from (a Hugging Face folder, or a
step<N> of ours) the weights are converted into start/global_step<N>, with which launch_neox begins.

Weights alone have no optimizer state: moments start at zero. From step 0 GPT-NeoX is told to fine-tune, because its
loader refuses iteration 0; from a later step the learning rate and the order of the rows go on.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, DataError, IntegrityError, MissingInputError, ModelError
from workflow_scripts.json_values import JsonMapping, JsonObject, read_object
from workflow_scripts.storage.atomic import write_json, write_text
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import write_record
from workflow_scripts.training.convert import hugging_face_to_neox
from workflow_scripts.training.neox_config import config_text
from workflow_scripts.training.recipe import Recipe, read_recipe

LOG = logging.getLogger(__name__)
SUMMARY, CONFIG, PREPARED = "index_maps.json", "config.yml", "prepared.json"
DATA, CHECKPOINTS, START = "data", ".checkpoints", "start"
SETS = ("train_0", "valid_0", "test_0")


def read_summary(folder: Path, recipe: Recipe) -> JsonObject:
    """List of the index maps in ``folder``; raises ConfigError where they are not those of ``recipe``."""
    path = folder / SUMMARY
    wanted = {
        "seq_length": recipe.sequence_length,
        "seed": recipe.data_seed,
        "train_iterations": recipe.train_iterations,
        "batch_rows": recipe.batch_rows,
    }
    remedy = "make the maps with workflow_scripts.dataset.build_index_maps"
    summary = read_object(path, "list of index maps", remedy, "sets", *wanted)
    seen = {key: summary[key] for key in wanted}
    try:
        labels = tuple(item["label"] for item in summary["sets"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not a list of index maps ({error}); {remedy}") from None
    different = [f"{key} {seen[key]} instead of {value}" for key, value in wanted.items() if seen[key] != value]
    if different or labels != SETS:
        raise ConfigError(f"{path}: the maps are for another run ({'; '.join(different) or f'sets {labels}'})")
    return summary


def link(target: Path, source: Path) -> None:
    """Make ``target`` a link to ``source``, in place of an older one; raises MissingInputError."""
    if not source.is_file():
        raise MissingInputError(f"{source}: no such file, which GPT-NeoX would look for as {target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(source.resolve())


def link_data(folder: Path, joined: Path, maps: Path, summary: JsonMapping) -> Path:
    """Fill ``folder`` with data and maps; returns the prefix that GPT-NeoX is given.

    Maps are named <prefix>_<set>_indexmap_<samples>ns_<length>sl_<seed>s_<map>.npy by GPT-NeoX. Raises IntegrityError
    for a map whose content is not what was built, ConfigError for maps of a data set with another name.
    """
    for suffix in (".bin", ".idx"):
        link(folder / f"{joined.name}{suffix}", joined.with_name(f"{joined.name}{suffix}"))
    for item in summary["sets"]:
        if not str(item["stem"]).startswith(f"{joined.name}_{item['label']}_indexmap_"):
            raise ConfigError(f"{maps}: the maps are those of {item['stem']}, the data are {joined.name}")
        for name, digest in item["files"].items():
            link(folder / name, maps / name)
            if sha256_file(maps / name) != digest:
                raise IntegrityError(f"{maps / name}: not the map that was built; delete it and build it again")
    return (folder / joined.name).resolve()


def launch_settings(
    recipe: Recipe, summary: JsonMapping, *, tokenizer: Path, gpus: int, hostfile: Path | None, start: int | None
) -> JsonObject:
    """Settings beside the recipe; the evaluation's numbers decide the names of the maps of two of the three sets.

    ``train_batch_size`` makes GPT-NeoX itself refuse another number of GPUs.
    """
    where = {"num_gpus": gpus} if hostfile is None else {"hostfile": str(hostfile.resolve())}
    settings: JsonObject = {
        **where,
        "train_batch_size": recipe.batch_rows,
        "vocab-file": str(tokenizer.resolve()),
        "eval-interval": summary["eval_interval"],
        "eval-iters": summary["eval_iterations"],
        "scaled-upper-triang-masked-softmax-fusion": True,
        "log-interval": 10,
        "steps_per_print": 10,
    }
    if start == 0:
        settings["finetune"] = True
    elif start is not None:
        settings |= {"no-load-rng": True, "use_checkpoint_lr_scheduler": True}
    return settings


def convert_start(recipe: Recipe, source: Path, step: int | None, folder: Path) -> None:
    """Put the weights in ``source`` where GPT-NeoX starts from; raises ConfigError or ModelError."""
    if step is None or not 0 <= step < recipe.train_iterations:
        raise ConfigError(f"--start-from needs --start-step between 0 and {recipe.train_iterations - 1}")
    if recipe.lr_schedule != "neox_v1":
        raise ModelError(f"{recipe.name} has schedule {recipe.lr_schedule}; GPT-NeoX v1.0 only has neox_v1")
    hugging_face_to_neox(recipe, source, folder, 1, step)
    LOG.warning(
        "WEIGHTS ALONE from %s: the optimizer's moments start at zero. Compare the losses of the first two iterations: "
        "a DeepSpeed that does not take its float32 copies from the loaded weights goes back to the initialisation",
        source,
    )


def argument_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--recipe", required=True, help="file with a recipe, or the JSON object itself")
    parser.add_argument("--joined", type=Path, required=True, help="prefix of the joined .bin and .idx")
    parser.add_argument("--index-maps", type=Path, required=True, help="folder of the index maps (build_index_maps)")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--gpus", type=int, required=True, help="GPUs of the launch")
    parser.add_argument("--micro-batch", type=int, required=True, help="rows per GPU at once")
    parser.add_argument("--hostfile", type=Path, help="hosts of several nodes, in lines <host> slots=<GPUs>")
    parser.add_argument("--start-from", type=Path, help="folder with the weights to start from")
    parser.add_argument("--start-step", type=int, help="step of these weights")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to fill, e.g. results/neox/<model>")
    return parser


def config_of(options: argparse.Namespace, recipe: Recipe, summary: JsonMapping) -> str:
    """GPT-NeoX's own file for the launch."""
    more = launch_settings(
        recipe,
        summary,
        tokenizer=options.tokenizer,
        gpus=options.gpus,
        hostfile=options.hostfile,
        start=options.start_step if options.start_from else None,
    )
    return config_text(
        recipe,
        gpus=options.gpus,
        micro_batch=options.micro_batch,
        data_path=str((options.output_dir / DATA / options.joined.name).resolve()),
        save=str((options.output_dir / CHECKPOINTS).resolve()),
        more=more,
    )


def write_prepared(options: argparse.Namespace, recipe: Recipe, prefix: Path) -> None:
    """Say in prepared.json what launch_neox needs."""
    config = options.output_dir / CONFIG
    prepared = {
        "model": recipe.name,
        "recipe_identity": recipe.identity,
        "config": str(config.resolve()),
        "config_sha256": sha256_file(config),
        "data_prefix": str(prefix),
        "checkpoints": str((options.output_dir / CHECKPOINTS).resolve()),
        "gpus": options.gpus,
        "hostfile": str(options.hostfile.resolve()) if options.hostfile else None,
        "start": str((options.output_dir / START).resolve()) if options.start_from else None,
        "start_step": options.start_step if options.start_from else None,
        "last_step": recipe.train_iterations,
    }
    write_json(options.output_dir / PREPARED, prepared)
    inputs = {"index": options.joined.with_name(f"{options.joined.name}.idx"), "maps": options.index_maps / SUMMARY}
    write_record(options.output_dir / PREPARED, inputs, {"recipe_identity": recipe.identity, "gpus": options.gpus})


def main(arguments: Sequence[str] | None = None) -> None:
    """Check what is there, then prepare."""
    options = argument_parser().parse_args(arguments)
    recipe = read_recipe(options.recipe)
    if not options.tokenizer.is_file():
        raise MissingInputError(f"{options.tokenizer}: no such tokenizer")
    if options.hostfile is not None and not options.hostfile.is_file():
        raise MissingInputError(f"{options.hostfile}: no such hostfile")
    summary = read_summary(options.index_maps, recipe)
    text = config_of(options, recipe, summary)
    prefix = link_data(options.output_dir / DATA, options.joined, options.index_maps, summary)
    (options.output_dir / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    if options.start_from is not None:
        convert_start(recipe, options.start_from, options.start_step, options.output_dir / START)
    write_text(options.output_dir / CONFIG, text)
    write_prepared(options, recipe, prefix)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
