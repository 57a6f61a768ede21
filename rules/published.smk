# The results that the Pythia authors published: the table that is part of this project, or an import of the originals.
from workflow_scripts.workflow.published import (
    comparison_table,
    beside_source,
    published_source,
    source_arguments,
    upstream_arguments,
)


rule download_published:
    """The original result files and configs from a git repository, at the commit that the run names."""
    output:
        folder=directory("results/published/upstream"),
        receipt="results/published/downloaded.json",
    log:
        "results/logs/download_published.log",
    benchmark:
        "results/timings/download_published.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=lasts(60),
        downloads=1,
    params:
        where=upstream_arguments(RUN),
    shell:
        "python -m workflow_scripts.storage.download --source git-lfs {params.where:q} --kind dataset"
        " --repository EleutherAI/pythia --include 'evals/*' 'models/*.yml' --output-dir {output.folder:q}"
        " --receipt {output.receipt:q} > {log:q} 2>&1"


rule import_published:
    """Tidy table of the published results, and the files that were refused with the reason."""
    input:
        source=published_source(RUN),
        beside=beside_source(RUN),
    output:
        table="results/runs/{run}/tables/published.parquet",
        files="results/runs/{run}/tables/published.files.tsv",
        refused="results/runs/{run}/tables/published_refused.tsv",
        defects="results/runs/{run}/tables/published_defects.tsv",
    log:
        "results/logs/import_published/{run}.log",
    benchmark:
        "results/timings/import_published/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(1500),
        runtime=lasts(10),
    params:
        where=source_arguments(RUN),
    shell:
        "python -m workflow_scripts.published.import_results {params.where:q} --output {output.table:q}"
        " --files {output.files:q} --refused {output.refused:q} --defects {output.defects:q} > {log:q} 2>&1"


rule compare_published:
    """Our scores beside the published ones: a verdict for each number."""
    input:
        scores="results/runs/{run}/tables/scores.parquet",
        published="results/runs/{run}/tables/published.parquet",
    output:
        table="results/runs/{run}/tables/comparison.parquet",
        csv="results/runs/{run}/tables/comparison.csv",
        scoreboard=report(
            "results/runs/{run}/tables/comparison.scoreboard.csv",
            caption="../docs/captions/comparison.rst",
            category="Comparison",
        ),
    log:
        "results/logs/compare_published/{run}.log",
    benchmark:
        "results/timings/compare_published/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(1500),
        runtime=lasts(10),
    shell:
        "python -m workflow_scripts.published.compare --scores {input.scores:q} --published {input.published:q}"
        " --output {output.table:q} > {log:q} 2>&1"
