# Checkpoints from wherever the run says they are, verified, one folder per model and step.

CHECKPOINTS = RUN.section("checkpoints")


def checkpoint_inputs(wildcards):
    """The published model, when it is this workflow that publishes it."""
    if not RUN.retrains:
        return []
    return f"{layout.MIRROR}/models/{model_of(wildcards).repository}/published.json"


rule fetch_checkpoint:
    """Weights, configuration and tokenizer of one step, checked while they are copied."""
    input:
        published=checkpoint_inputs,
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
        source=lambda wildcards: "mirror" if RUN.retrains else CHECKPOINTS["source"],
        location=CHECKPOINTS.get("location") or "",
        repository=lambda wildcards: model_of(wildcards).repository,
        folder=lambda wildcards: layout.checkpoint_folder(
            wildcards.model, wildcards.step
        ),
    shell:
        "{PYTHON:q} -m workflow_scripts.checkpoints.fetch --source {params.source:q} --location={params.location:q}"
        " --repository {params.repository:q} --step {wildcards.step} --output-dir {params.folder:q}"
        " --receipt {output.receipt:q} > {log:q} 2>&1"
