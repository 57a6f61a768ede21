r"""Draw figures: each as svg, pdf and png, with the numbers it shows as csv and a record.

    python -m workflow_scripts.report.draw --figure published_lambada --run results/runs/pocket/run.json \
        --tables results/runs/pocket/tables/*.parquet --output-dir results/runs/pocket/figures

Several names draw several figures in one process; each is a set of files of its own. --tables lists the files that the
figures are drawn from, known by their names: scores.parquet, published.parquet, tables of experiments, and training
logs (<model>/metrics.csv, <model>/validation.csv). More than a figure needs may be listed.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from workflow_scripts import cli
from workflow_scripts.report.drawing.figure import save_drawing
from workflow_scripts.report.drawing.style import house_style
from workflow_scripts.report.figures.all_figures import FIGURES, figure_entry
from workflow_scripts.report.report_tables import Tables, load_tables
from workflow_scripts.storage.given_files import GivenFiles

logger = logging.getLogger(__name__)


def draw_figure(name: str, tables: Tables, output_dir: Path) -> None:
    """Draw one figure and write its files."""
    entry = figure_entry(name)
    with house_style(name):
        drawing = entry.draw(tables)
        save_drawing(drawing, output_dir / name, tables.files, {"figure": name, "run": tables.run["run"]})
        plt.close(drawing.figure)
    logger.info("%s: %d points", output_dir / name, len(drawing.data))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__, epilog=f"figures: {', '.join(FIGURES)}")
    parser.add_argument("--figure", nargs="+", required=True, help="names of figures, see below")
    parser.add_argument("--run", type=Path, required=True, help="the resolved run (run.json)")
    parser.add_argument("--tables", type=Path, nargs="*", default=[], help="tables and training logs to draw from")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the figures")
    options = parser.parse_args(arguments)
    entries = [figure_entry(name) for name in options.figure]
    needs = sorted({need for entry in entries for need in entry.needs})
    tables = load_tables(options.run, needs, GivenFiles(options.tables))
    for name in options.figure:
        draw_figure(name, tables, options.output_dir)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
