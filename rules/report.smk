# Figures and the report: everything on one page, readable without a network.
from workflow_scripts.workflow.report import settings_words


rule run_settings:
    """What the run asks for, with every name and step resolved."""
    input:
        suite=ancient(f"config/suites/{SUITE.name}.yaml"),
        defects=RUN.section("checkpoints").get("defects") or [],
    output:
        settings="results/runs/{run}/run.json",
    log:
        "results/logs/run_settings/{run}.log",
    priority: 60
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        **settings_words(RUN),
    shell:
        "python -m workflow_scripts.workflow.tools.write_run --settings {params:q} --output {output.settings:q}"
        " > {log:q} 2>&1"


rule draw_figure:
    """One figure: svg, pdf, png and the numbers it shows."""
    input:
        tables=GRAPH.figure_tables,
        settings=ancient("results/runs/{run}/run.json"),
        code=layout.report_code(),
    output:
        svg=report(
            "results/runs/{run}/figures/{figure}.svg",
            caption="../docs/captions/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        pdf="results/runs/{run}/figures/{figure}.pdf",
        png="results/runs/{run}/figures/{figure}.png",
        csv="results/runs/{run}/figures/{figure}.csv",
    log:
        "results/logs/draw_figure/{run}-{figure}.log",
    benchmark:
        "results/timings/draw_figure/{run}-{figure}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(1500),
        runtime=lasts(10),
    params:
        tables=lambda wildcards: f"{layout.run_folder(wildcards.run)}/tables",
        folder=lambda wildcards: f"{layout.run_folder(wildcards.run)}/figures",
    shell:
        "python -m workflow_scripts.report.draw --figure {wildcards.figure} --run {input.settings:q}"
        " --tables-dir {params.tables:q} --training-root results/training --output-dir {params.folder:q}"
        " > {log:q} 2>&1"


rule build_report:
    """The one-page report."""
    input:
        figures=expand(
            "results/runs/{{run}}/figures/{figure}.svg", figure=GRAPH.figures
        ),
        tables=GRAPH.report_tables(),
        experiments=EXPERIMENTS.targets(),
        settings="results/runs/{run}/run.json",
        data=GRAPH.data_targets() if RUN.retrains else [],
        audit=GRAPH.audit_of_report(),
        code=layout.report_code(),
    output:
        report=report(
            "results/runs/{run}/report.html",
            caption="../docs/captions/page.rst",
            category="Page",
        ),
    log:
        "results/logs/build_report/{run}.log",
    benchmark:
        "results/timings/build_report/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(1500),
        runtime=lasts(10),
    params:
        folder=lambda wildcards: layout.run_folder(wildcards.run),
        figures=list(GRAPH.figures),
        audit=GRAPH.audit_arguments(),
    shell:
        "python -m workflow_scripts.report.build --run {input.settings:q} --run-dir {params.folder:q}"
        " --results-root results --figures {params.figures} {params.audit:q} --output {output.report:q} > {log:q} 2>&1"


rule run_notebook:
    """The sample notebook, run from top to bottom on this run's tables and one of its checkpoints."""
    input:
        notebook="notebooks/explore.ipynb",
        scores="results/runs/{run}/tables/scores.parquet",
        published="results/runs/{run}/tables/published.parquet",
        fetched=[f"{folder}/fetched.json" for folder in GRAPH.sample_checkpoint()],
    output:
        notebook="results/runs/{run}/explore.ipynb",
    log:
        "results/logs/run_notebook/{run}.log",
    benchmark:
        "results/timings/run_notebook/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(10),
    params:
        folder=lambda wildcards: layout.run_folder(wildcards.run),
        checkpoint=lambda wildcards, input: str(Path(input.fetched[0]).parent),
    shell:
        "python -m workflow_scripts.report.run_notebook --notebook {input.notebook:q} --output {output.notebook:q}"
        " --set root=. run_dir={params.folder:q} checkpoint={params.checkpoint:q} > {log:q} 2>&1"
