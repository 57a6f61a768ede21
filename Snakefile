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
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        f"{layout.run_folder(RUN.name)}/report.html",


rule data:
    input:
        data_targets(),


rule retrain:
    input:
        [
            f"{layout.training_folder(name)}/trained.json"
            for name in MODELS
            if RUN.retrains
        ],


rule checkpoints:
    input:
        [
            f"{layout.checkpoint_folder(model.name, step)}/fetched.json"
            for model, step in layout.checkpoints_of(RUN)
        ],


rule evaluate:
    input:
        f"{layout.run_folder(RUN.name)}/tables/scores.parquet" if MODELS else [],


rule published:
    input:
        f"{layout.run_folder(RUN.name)}/tables/published.parquet",


rule figures:
    input:
        expand("results/runs/{run}/figures/{figure}.svg", run=RUN.name, figure=FIGURES),


rule report:
    input:
        f"{layout.run_folder(RUN.name)}/report.html",
