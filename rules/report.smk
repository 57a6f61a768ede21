# Figures and the report: everything on one page, readable without a network.
from workflow_scripts.suite.figure_names import has_held_out_text
from workflow_scripts.workflow.report import (
    figure_tables,
    figure_files,
    given_configs,
    page_tables,
    report_code,
    settings_words,
)

# What the page shows of the data stage, and whether it shows the table of defects.
DATA_RECEIPTS = [
    "verified.json",
    "view.json",
    "index_maps/index_maps.json",
    "batches/samples.jsonl",
]
SHOWS_AUDIT = RUN.models and RUN.section("checkpoints").get("audit")


rule run_settings:
    """What the run asks for, with every name and step resolved."""
    input:
        suite=ancient(SUITE_FACTS),
        schemas=[SUITE_SCHEMA, ancient("config/schemas/run.schema.yaml")],
        defects=RUN.section("checkpoints").get("defects") or [],
        ledger=ancient(checkpoints.ledger_of(RUN)),
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
        tables=lambda wildcards: figure_tables(RUN, wildcards.figure),
        settings=ancient("results/runs/{run}/run.json"),
        figures="config/figures.yaml",
        facts=BOTH_FACTS,
        schema=SUITE_SCHEMA,
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
        folder=subpath(output.svg, parent=True),
        code=report_code(Path(workflow.basedir)),
    shell:
        "python -m workflow_scripts.report.draw --figure {wildcards.figure:q} --run {input.settings:q}"
        " --tables {input.tables:q} --output-dir {params.folder:q} > {log:q} 2>&1"


rule build_report:
    """The one-page report."""
    input:
        figures=expand(
            "results/runs/{{run}}/figures/{figure}.{kind}",
            figure=FIGURES,
            kind=["svg", "png", "csv"],
        ),
        tables=page_tables(RUN),
        verdicts=expand(
            "results/runs/{{run}}/tables/verdict_{experiment}.json",
            experiment=EXPERIMENTS,
        ),
        settings="results/runs/{run}/run.json",
        logs=expand(
            "results/training/{model}/{log}.csv",
            log=["metrics", "validation"] if has_held_out_text(RUN) else ["metrics"],
            model=TRAINED,
        ),
        data=expand(
            "results/data/{suite}/{dataset}/{receipt}",
            suite=SUITE.name,
            dataset=RUN.datasets if RUN.retrains else [],
            receipt=DATA_RECEIPTS,
        ),
        audit=f"results/audit/{SUITE.name}/defects.tsv" if SHOWS_AUDIT else [],
        facts=BOTH_FACTS,
        schema=SUITE_SCHEMA,
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
        folder=subpath(output.report, parent=True),
        # Words on the page. Snakemake takes what depends on an output for derived, so other words change nothing.
        configs=lambda wildcards, output: given_configs(workflow.overwrite_configfiles),
        figures=FIGURES,
        code=report_code(Path(workflow.basedir)),
    shell:
        "python -m workflow_scripts.report.build --run {input.settings:q} --run-dir {params.folder:q}"
        " --figures {params.figures:q} --inputs {input.tables:q} {input.verdicts:q} {input.logs:q} {input.data:q}"
        " {input.audit:q} --configfiles {params.configs:q} --output {output.report:q} > {log:q} 2>&1"


if RUN.models:

    rule run_notebook:
        """The sample notebook, run from top to bottom on this run's tables and one of its checkpoints."""
        input:
            notebook="notebooks/explore.ipynb",
            tables=expand(
                "results/runs/{{run}}/tables/{name}.parquet",
                name=["scores", "published"],
            ),
            checkpoint=rules.crosscheck.input.checkpoint,
            hashes=rules.crosscheck.input.hashes,
            # Of our scores and of the published ones; the last cell follows the records, whatever they name.
            facts=BOTH_FACTS,
            schema=SUITE_SCHEMA,
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
            folder=subpath(output.notebook, parent=True),
            checkpoint=subpath(input.hashes, parent=True),
        shell:
            "python -m workflow_scripts.report.run_notebook --notebook {input.notebook:q} --output {output.notebook:q}"
            " --set root=. run_dir={params.folder:q} checkpoint={params.checkpoint:q} > {log:q} 2>&1"
