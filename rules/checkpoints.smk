# Checkpoints from wherever the run says they are, verified, one folder per model and step; with a disk budget each is
# deleted when it is scored, and a later one waits for that.


rule fetch_checkpoint:
    """Weights, configuration and tokenizer of one step, checked while they are copied."""
    input:
        published=GRAPH.published_model(),
        room=ancient(GRAPH.room()),
    output:
        receipt="results/checkpoints/{model}/step{step}/fetched.json",
    log:
        "results/logs/fetch_checkpoint/{model}-step{step}.log",
    benchmark:
        "results/timings/fetch_checkpoint/{model}-step{step}.tsv"
    priority: 30
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=RESOURCES.memory("fetch"),
        runtime=RESOURCES.minutes("fetch"),
        disk_mb=RESOURCES.disk("fetch"),
        downloads=1,
    params:
        source=GRAPH.checkpoint_source(),
        location=lambda wildcards: GRAPH.checkpoint_location(),
        repository=GRAPH.repository(),
        folder=layout.checkpoint_folder("{model}", "{step}"),
        ledger=GRAPH.ledger_arguments(),
        commit=GRAPH.pinned_commit,
    shell:
        "python -m workflow_scripts.checkpoints.fetch --source {params.source:q} --location={params.location:q}"
        " --repository {params.repository:q} --step {wildcards.step:q} {params.ledger:q} --output-dir {params.folder:q}"
        " --receipt {output.receipt:q} > {log:q} 2>&1"


rule release_checkpoint:
    """Delete a scored checkpoint, so that the next one of the sweep has room; only in runs with a disk budget."""
    input:
        scores=GRAPH.score_files_of,
    output:
        marker="results/checkpoints/{model}/released/step{step}.json",
    log:
        "results/logs/release_checkpoint/{model}-step{step}.log",
    benchmark:
        "results/timings/release_checkpoint/{model}-step{step}.tsv"
    priority: 50
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(10),
    params:
        folder=layout.checkpoint_folder("{model}", "{step}"),
    shell:
        "python -m workflow_scripts.checkpoints.release --checkpoint {params.folder:q} --scores {input.scores:q}"
        " --marker {output.marker:q} > {log:q} 2>&1"


rule checkpoint_ledger:
    """Commit, sizes and hashes of everything that the mirror serves; a Hub's ledger is part of this project."""
    input:
        published=GRAPH.published_models,
    output:
        ledger="results/audit/{suite}/ledger.tsv",
    log:
        "results/logs/checkpoint_ledger/{suite}.log",
    benchmark:
        "results/timings/checkpoint_ledger/{suite}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(60),
    params:
        models=list(GRAPH.models),
        source=GRAPH.checkpoint_source(),
        location=lambda wildcards: GRAPH.checkpoint_location(),
    shell:
        "python -m workflow_scripts.checkpoints.ledger --suite {wildcards.suite:q} --models {params.models:q}"
        " --source {params.source:q} --location={params.location:q} --ledger {output.ledger:q} > {log:q} 2>&1"


rule observe_model:
    """Lists of files, headers and samples of every revision of a model; a few megabytes of its terabytes."""
    input:
        published=GRAPH.published_model(),
    output:
        observed="results/audit/{suite}/{model}.json",
    log:
        "results/logs/observe_model/{suite}-{model}.log",
    benchmark:
        "results/timings/observe_model/{suite}-{model}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(240),
        downloads=1,
    params:
        source=GRAPH.checkpoint_source(),
        location=lambda wildcards: GRAPH.checkpoint_location(),
    shell:
        "python -m workflow_scripts.checkpoints.observe --suite {wildcards.suite:q} --model {wildcards.model:q}"
        " --source {params.source:q} --location={params.location:q} --output {output.observed:q} > {log:q} 2>&1"


rule audit_checkpoints:
    """Duplicates, chimeras, gaps and damage among the checkpoints of a run, as a table that a run can obey."""
    input:
        observed=GRAPH.observations(),
    output:
        defects="results/audit/{suite}/defects.tsv",
    log:
        "results/logs/audit_checkpoints/{suite}.log",
    benchmark:
        "results/timings/audit_checkpoints/{suite}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(30),
    params:
        ledger=GRAPH.ledger_arguments(),
    shell:
        "python -m workflow_scripts.checkpoints.audit --observed {input.observed:q} {params.ledger:q}"
        " --output {output.defects:q} > {log:q} 2>&1"


rule run_quickstart:
    """The suite's quickstart: load a checkpoint with transformers, generate, decode."""
    input:
        fetched="results/checkpoints/{model}/step{step}/fetched.json",
    output:
        text="results/quickstart/{model}/step{step}.txt",
    log:
        "results/logs/run_quickstart/{model}-step{step}.log",
    benchmark:
        "results/timings/run_quickstart/{model}-step{step}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=RESOURCES.memory("quickstart"),
        runtime=lasts(30),
    params:
        folder=lambda wildcards, input: str(Path(input.fetched).parent),
    shell:
        "python -m workflow_scripts.evaluation.quickstart --checkpoint {params.folder:q} --output {output.text:q}"
        " > {log:q} 2>&1"
