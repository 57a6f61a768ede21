"""What the rules look up for a training by the original GPT-NeoX, from the section ``training.neox`` of a run."""

from __future__ import annotations

from typing import Any

from workflow_scripts.suite import layout
from workflow_scripts.workflow.graph import Graph

GPUS_PER_NODE = 8
# The program refuses this folder by name; a run without a checkout still has a graph.
NO_CHECKOUT = "training.neox.checkout-is-not-set"


class Original:
    """The original's part of a run. Methods that take ``wildcards`` answer for one job."""

    def __init__(self, graph: Graph) -> None:
        """Remember the section; its values are checked by the schema and by the programs."""
        self.graph = graph
        self.settings = graph.run.section("training").get("neox") or {}

    def folder(self, wildcards: Any) -> str:
        """Folder of the joined data of a model."""
        model = self.graph.model(wildcards)
        return f"{layout.dataset_folder(self.graph.suite.name, model.dataset)}/joined"

    def joined(self, wildcards: Any) -> str:
        """Receipt of the joined data."""
        return f"{self.folder(wildcards)}/joined.json"

    def prefix(self, wildcards: Any) -> str:
        """Prefix of the joined .bin and .idx."""
        dataset = self.graph.suite.dataset(self.graph.model(wildcards).dataset)
        return f"{self.folder(wildcards)}/{dataset.prefix}"

    def launch_arguments(self, wildcards: Any) -> list[str]:
        """GPUs, rows, hosts and start as arguments."""
        given = {
            "--gpus": "gpus",
            "--micro-batch": "micro_batch",
            "--hostfile": "hostfile",
            "--start-step": "start_step",
        }
        values = {name: self.settings.get(key) for name, key in given.items()}
        start = self.settings.get("start_from")
        values["--start-from"] = start and str(start).replace("{model}", wildcards.model)
        return [text for name, value in values.items() if value is not None for text in (name, str(value))]

    def checkout_arguments(self, wildcards: Any) -> list[str]:  # noqa: ARG002 - Snakemake passes them
        """Checkout and interpreter as arguments."""
        python = self.settings.get("python")
        interpreter = ["--python", str(python)] if python else []
        return ["--checkout", str(self.settings.get("checkout") or NO_CHECKOUT), *interpreter]

    def gpus_per_node(self, wildcards: Any = None) -> int:  # noqa: ARG002 - Snakemake passes them
        """GPUs that the job asks for on its own node."""
        return min(int(self.settings.get("gpus", 1)), GPUS_PER_NODE)
