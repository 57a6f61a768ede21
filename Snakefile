# The Pythia suite from its pretokenised corpus to its figures, in data-flow order.
# `snakemake -c2` makes everything that the run in config/config.yaml asks for; `snakemake -n` says what that would be.
from snakemake.utils import min_version

min_version("9.27")


include: "rules/checkout.smk"


configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/dataset.smk"
include: "rules/training.smk"
include: "rules/checkpoints.smk"
include: "rules/evaluation.smk"
include: "rules/published.smk"
include: "rules/experiments.smk"
include: "rules/report.smk"


rule all:
    """Everything that the run in the configuration asks for."""
    default_target: True
    input:
        GRAPH.everything(),


rule data:
    """Data sets downloaded, verified, put into training order, with sample batches."""
    input:
        GRAPH.data_targets(),


rule retrain:
    """Every model of the run trained; nothing where checkpoints come from elsewhere."""
    input:
        GRAPH.trained(),


rule checkpoints:
    """Every checkpoint of the run fetched and verified."""
    input:
        GRAPH.fetched(),


rule audit:
    """Defects of what is served: duplicates, chimeras, gaps, damage."""
    input:
        GRAPH.audited(),


rule gate:
    """A short probe of each published model, before a long sweep."""
    input:
        GRAPH.gate(),


rule quickstart:
    """Text that the last checkpoint of the first model generates."""
    input:
        GRAPH.quickstarts(),


rule evaluate:
    """Every checkpoint scored on every task, in one table."""
    input:
        GRAPH.scores(),
        GRAPH.audited_scores(),


rule published:
    """The authors' results in one table, with what is wrong with them."""
    input:
        f"{GRAPH.tables}/published.parquet",


rule experiments:
    """The experiments that the run lists."""
    input:
        EXPERIMENTS.targets(),


rule certificates:
    """Generation by the original procedure beside the teacher-forced scores, row by row."""
    input:
        EXPERIMENTS.certificates(),


rule figures:
    """Every figure that the run has data for."""
    input:
        GRAPH.figure_files(),


rule report:
    """The one-page report and its figures."""
    input:
        GRAPH.report,
        GRAPH.figure_files(),


rule notebook:
    """The sample notebook with its outputs."""
    input:
        GRAPH.notebook(),
