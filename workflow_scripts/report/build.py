r"""Build the report: one HTML file with every figure, table and finding of a run, readable without a network.

    python -m workflow_scripts.report.build --run results/runs/pocket/run.json --run-dir results/runs/pocket \
        --figures published_lambada scores_over_training --inputs results/runs/pocket/tables/* --output report.html

Reads figures/ and records below --run-dir and, of the files in --inputs, the tables, verdicts, receipts of the data
and training logs that it knows by their names. What was not given is left out; a figure that is named and not drawn is
an error.
"""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

import jinja2

from workflow_scripts import cli
from workflow_scripts.errors import DataError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.report.page import data_sections, overview, sections
from workflow_scripts.report.page.checkpoint_notes import checkpoint_notes
from workflow_scripts.report.page.comparison_section import comparison_tables
from workflow_scripts.report.page.explorer_data import explore_data
from workflow_scripts.report.page.report_inputs import AUDIT, ReportInputs, read_inputs
from workflow_scripts.report.page.verdicts import by_kind, find_verdicts
from workflow_scripts.report.traces.trace_box import box_data
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.given_files import GivenFiles
from workflow_scripts.storage.records import write_record

logger = logging.getLogger(__name__)
TEMPLATES = Path(__file__).parent / "templates"
SCORE_DEFECTS = "score_defects.tsv"
DYNAMICS = "dynamics_"
SECTIONS = ("published_", DYNAMICS)  # figures with a section of their own, by the beginning of their names
LARGEST_PAGE = 6_000_000  # bytes; a page that a phone still opens


def render(inputs: ReportInputs, configfiles: Sequence[str] = ()) -> str:
    """The page as text; ``configfiles`` were given to Snakemake, and are part of the commands that the page shows."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        page_content(inputs), start=" ".join(["snakemake -c2", *start_words(configfiles)])
    )


def start_words(configfiles: Sequence[str]) -> list[str]:
    """Options of Snakemake that name the run; targets follow.

    >>> start_words([]), start_words(["config/runs/my run.yaml"])
    ([], ["--configfile 'config/runs/my run.yaml' --"])
    """
    return [f"--configfile {shlex.join(configfiles)} --"] if configfiles else []


def page_content(inputs: ReportInputs) -> JsonObject:
    """Everything that the template shows."""
    blocks = [sections.figure_block(inputs, name) for name in inputs.figures if name not in sections.FINAL_TABLES]
    return {
        "run": inputs.run["run"],
        "facts": sections.run_facts(inputs),
        "sentence": overview.run_sentence(inputs),
        "learning": overview.learning_table(inputs),
        "terms": overview.TERMS,
        "verdicts": by_kind(find_verdicts(inputs)),
        "own_figures": [block for block in blocks if not block.name.startswith(SECTIONS)],
        "dynamics_figures": [block for block in blocks if block.name.startswith(DYNAMICS)],
        "published_figures": [block for block in blocks if block.name.startswith("published_")],
        "models": sections.model_table(inputs),
        "own_table": sections.own_final_table(inputs),
        "published_tables": sections.published_tables(inputs),
        "comparison_tables": comparison_tables(inputs.comparison),
        "coverage": data_sections.coverage(inputs),
        "explore": explore_data(inputs),
        "traces": box_data(inputs.traces),
        "data": data_sections.data_blocks(inputs),
        "defects": sections.defect_groups(inputs),
        "checkpoint_notes": checkpoint_notes(
            [model["name"] for model in inputs.run["models"]],
            inputs.given.find(SCORE_DEFECTS),
            inputs.files.get(AUDIT),
        ),
        "provenance": sections.provenance(inputs),
        "versions": sections.versions(inputs),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the resolved run (run.json)")
    parser.add_argument("--run-dir", type=Path, required=True, help="folder with figures/ of the run and its records")
    parser.add_argument("--figures", nargs="*", default=[], help="figures to show, in this order")
    parser.add_argument(
        "--inputs",
        type=Path,
        nargs="*",
        default=[],
        help="tables, verdicts, receipts, training logs; defects.tsv of an audit of the checkpoints",
    )
    parser.add_argument(
        "--configfiles", nargs="*", default=[], help="what Snakemake was given, for the page's commands"
    )
    parser.add_argument("--output", type=Path, required=True, help="the page (.html)")
    options = parser.parse_args(arguments)
    inputs = read_inputs(options.run, options.run_dir, options.figures, GivenFiles(options.inputs))
    page = render(inputs, options.configfiles)
    size = len(page.encode("utf-8"))
    if size > LARGEST_PAGE:
        raise DataError(
            f"{options.output}: the page would have {size:,} bytes, more than {LARGEST_PAGE:,}; show fewer figures"
        )
    write_text(options.output, page)
    write_record(options.output, inputs.files, {"figures": list(options.figures), "bytes": size})
    logger.info("%s: %d figures, %d bytes", options.output, len(options.figures), size)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
