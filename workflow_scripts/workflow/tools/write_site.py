r"""Write the site's file from what the cluster says about itself: partitions, limits, nodes, GPUs.

Memory and rates of GPUs are not known to Slurm: they are filled in for a few models by their names, with the smaller
one where there are two, and left open otherwise. Without --output the file is printed. Review it before use.

Example:
  python -m workflow_scripts.workflow.tools.write_site --output profiles/slurm/site.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from workflow_scripts import cli
from workflow_scripts.errors import MissingInputError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.suite.schema import check_schema
from workflow_scripts.workflow.requests.slurm_facts import NODES, PARTITIONS, Seen, ask, partitions_seen

HEAD = """\
# Written by workflow.tools.write_site from sinfo and scontrol; review it. All keys: config/schemas/site.schema.yaml.
# memory_mb and tflops (sustained, 1e12 FLOP per second) of a GPU are taken from its name, where that is known.
"""
# Memory in MB and sustained rates by the beginning of a GPU's name; longer beginnings first.
KNOWN: tuple[tuple[str, int, dict[str, float]], ...] = (
    ("h200", 141_000, {"float32": 45, "bfloat16": 400, "float16": 400}),
    ("h100", 80_000, {"float32": 45, "bfloat16": 400, "float16": 400}),
    ("a100", 40_000, {"float32": 13, "bfloat16": 125, "float16": 125}),
    ("l40", 48_000, {}),
    ("a40", 48_000, {}),
    ("v100", 16_000, {}),
    ("t4", 16_000, {}),
)


def site_of(seen: Iterable[Seen]) -> JsonObject:
    """The content of the file for partitions that were seen."""
    partitions, gpus = {}, {}
    for each in seen:
        limits: JsonObject = {} if each.time_limit == "infinite" else {"max_runtime": each.time_limit}
        limits |= {"max_mem_mb": each.memory_mb, "max_cpus_per_task": each.cpus}
        nodes = min(each.max_nodes or each.nodes, each.gpu_nodes if each.gpus else each.nodes)
        limits["max_nodes"] = max(nodes, 1)
        if each.gpus:
            model, per_node = max(each.gpus.items(), key=lambda item: item[1])
            limits["max_gpu"] = per_node * limits["max_nodes"]
            if names := sorted(name for name in each.gpus if name):
                limits["available_gpu_models"] = names
            gpus[each.name] = gpu_facts(model, per_node, several=len(each.gpus) > 1)
        partitions[each.name] = limits
    return {"partitions": partitions, "gpus": gpus, "gpu_option": "gpus"}


def gpu_facts(model: str, per_node: int, *, several: bool) -> JsonObject:
    """What is known about GPUs called ``model``; they are asked for by name where a partition has several kinds."""
    memory, rates = next(((mb, rate) for name, mb, rate in KNOWN if model.lower().startswith(name)), (None, {}))
    facts: JsonObject = {"per_node": per_node, "memory_mb": memory, "model": model if several and model else None}
    return {**facts, **({"tflops": rates} if rates else {})}


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask the cluster; print or write the file."""
    parser = cli.parser(__doc__)
    parser.add_argument("--output", type=Path, help="file to write, mostly profiles/slurm/site.yaml")
    options = parser.parse_args(arguments)
    seen = partitions_seen(ask(*NODES), ask(*PARTITIONS))
    if not seen:
        raise MissingInputError("sinfo named no node: run this where the cluster's sinfo and scontrol answer")
    site = site_of(seen)
    check_schema(site, "site", "sinfo")
    text = HEAD + yaml.safe_dump(site, sort_keys=False)
    if options.output is None:
        sys.stdout.write(text)
        return
    write_text(options.output, text)
    unknown = [name for name, facts in site["gpus"].items() if facts["memory_mb"] is None]
    open_points = f"; enter memory_mb and tflops of the GPUs of {', '.join(unknown)}" if unknown else ""
    cli.say(f"wrote {options.output}: {len(seen)} partitions{open_points}")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
