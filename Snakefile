# The Pythia suite from its pretokenised corpus to its figures, in data-flow order.
# `snakemake -c2` makes everything that the run in config/config.yaml asks for; `snakemake -n` says what that would be.
from snakemake.utils import min_version

min_version("9.27")


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
    default_target: True
    input:
        GRAPH.everything(),


rule data:
    input:
        GRAPH.data_targets(),


rule retrain:
    input:
        GRAPH.trained(),


rule checkpoints:
    input:
        GRAPH.fetched(),


rule audit:
    input:
        GRAPH.audited(),


rule gate:
    input:
        GRAPH.gate(),


rule quickstart:
    input:
        GRAPH.quickstarts(),


rule evaluate:
    input:
        GRAPH.scores(),
        GRAPH.audited_scores(),


rule published:
    input:
        f"{GRAPH.tables}/published.parquet",


rule experiments:
    input:
        EXPERIMENTS.targets(),


rule figures:
    input:
        GRAPH.figure_files(),


rule report:
    input:
        GRAPH.report,
        GRAPH.figure_files(),


rule notebook:
    input:
        GRAPH.notebook(),
