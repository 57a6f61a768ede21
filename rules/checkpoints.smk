# Checkpoints from wherever the run says they are, verified, one folder per model and step.

rule fetch_checkpoint:
    """Weights, configuration and tokenizer of one step, checked while they are copied."""
    input:
        published=GRAPH.published_model,
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
        mem_mb=500,
        runtime=240,
        downloads=1,
    params:
        source=GRAPH.checkpoint_source(),
        location=GRAPH.checkpoint_location(),
        repository=lambda wildcards: GRAPH.model(wildcards).repository,
        folder=lambda wildcards: layout.checkpoint_folder(
            wildcards.model, wildcards.step
        ),
    shell:
        "python -m workflow_scripts.checkpoints.fetch --source {params.source:q} --location={params.location:q}"
        " --repository {params.repository:q} --step {wildcards.step} --output-dir {params.folder:q}"
        " --receipt {output.receipt:q} > {log:q} 2>&1"
