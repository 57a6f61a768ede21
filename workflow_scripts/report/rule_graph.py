r"""Draw the graph of rules from what `snakemake --rulegraph` prints, without graphviz.

Each stage (a file in rules/) has a lane; in it a rule stands right of what it waits for. Implied arrows are left out.

Example:
  snakemake --rulegraph > rules.dot && python -m workflow_scripts.report.rule_graph --dot rules.dot \
    --rules-dir rules --output docs/images/rule-graph.svg
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import networkx as nx
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from workflow_scripts import cli
from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.storage.atomic import atomic_path

NODE = re.compile(r'^\s*(\d+)\[label = "([^"\\]+)')
EDGE = re.compile(r"^\s*(\d+) -> (\d+)")
RULE = re.compile(r"^rule (\w+):", re.MULTILINE)
STAGES = ("dataset", "training", "checkpoints", "evaluation", "published", "report")
# Okabe-Ito, told apart by colour-blind readers.
COLOURS = dict(zip(STAGES, ("#0072B2", "#D55E00", "#CC79A7", "#009E73", "#56B4E9", "#E69F00"), strict=True))
COLUMN_INCHES, LANE_INCHES = 0.95, 0.72


def parse(dot: str) -> nx.DiGraph:
    """Graph of rule names with arrows from producer to consumer; raises DataError when there are no rules."""
    names = {match[1]: match[2] for line in dot.splitlines() if (match := NODE.match(line))}
    graph = nx.DiGraph()
    graph.add_nodes_from(names.values())
    for line in dot.splitlines():
        if match := EDGE.match(line):
            graph.add_edge(names[match[1]], names[match[2]])
    if not graph:
        raise DataError("--dot: holds no rules; make it with: snakemake --rulegraph > FILE")
    graph.remove_nodes_from([name for name in graph if graph.out_degree(name) == 0])  # the target itself
    return nx.transitive_reduction(graph)


def stages(rules: Path) -> dict[str, str]:
    """Stage of each rule: the name of the file it stands in."""
    return {name: stage for stage in STAGES for name in RULE.findall((rules / f"{stage}.smk").read_text("utf-8"))}


def positions(graph: nx.DiGraph, stage_of: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """Column and lane of each rule: right of its lane's last rule, and not left of anything it waits for."""
    lanes = {stage: index for index, stage in enumerate(STAGES)}
    taken: dict[int, float] = {}
    place: dict[str, tuple[float, float]] = {}
    written = {name: index for index, name in enumerate(stage_of)}
    for name in nx.lexicographical_topological_sort(graph, key=lambda rule: written.get(rule, len(written))):
        lane = lanes[stage_of[name]]
        waits = max((place[producer][0] for producer in graph.pred[name]), default=0.0)
        column = max(taken.get(lane, -1.0) + 1, waits)
        place[name], taken[lane] = (column, float(lane)), column
    return place


def draw(graph: nx.DiGraph, stage_of: Mapping[str, str]) -> Figure:
    """Picture of the graph."""
    place = positions(graph, stage_of)
    columns = 1 + max(x for x, _ in place.values())
    figure = Figure(figsize=((columns + 1) * COLUMN_INCHES, len(STAGES) * LANE_INCHES))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1.6, columns - 0.4), ylim=(len(STAGES) - 0.5, -0.5))
    axes.axis("off")
    for producer, consumer in sorted(graph.edges):
        arrow = FancyArrowPatch(
            place[producer], place[consumer], arrowstyle="-|>", mutation_scale=9, color="#aaaaaa",
            connectionstyle="arc3,rad=-0.08", shrinkA=20, shrinkB=21, linewidth=0.9, zorder=1,
        )  # fmt: skip
        axes.add_patch(arrow)
    for name, (x, y) in sorted(place.items()):
        colour = COLOURS[stage_of[name]]
        box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": colour, "linewidth": 1.4}
        axes.text(x, y, name.replace("_", "\n", 1), ha="center", va="center", fontsize=8.5, bbox=box, zorder=3)
    for lane, stage in enumerate(STAGES):
        axes.text(-1.5, lane, stage, color=COLOURS[stage], fontsize=10, va="center", weight="bold")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and draw."""
    parser = cli.parser(__doc__)
    parser.add_argument("--dot", type=Path, required=True, help="what snakemake --rulegraph printed")
    parser.add_argument("--rules-dir", type=Path, default=Path("rules"), help="folder with the rule files")
    parser.add_argument("--output", type=Path, required=True, help="svg, png or pdf to write")
    options = parser.parse_args(arguments)
    if not options.dot.is_file():
        raise MissingInputError(f"{options.dot}: there is no such file; make it with: snakemake --rulegraph > FILE")
    mpl.rcParams.update({"svg.hashsalt": "pythia-workflow", "svg.fonttype": "none", "font.family": "DejaVu Sans"})
    figure = draw(parse(options.dot.read_text("utf-8")), stages(options.rules_dir))
    kind = options.output.suffix.removeprefix(".")
    with atomic_path(options.output) as temporary:
        figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None, facecolor="white")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
