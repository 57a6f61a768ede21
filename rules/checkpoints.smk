# Checkpoints from wherever the run says they are, verified, one folder per model and step; with a disk budget each is
# deleted when it is scored, and a later one waits for that.


rule fetch_checkpoint:
    """Weights, configuration and tokenizer of one step, checked while they are copied."""
    input:
        published=GRAPH.published_model,
        room=ancient(GRAPH.room_for),
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
        ledger=GRAPH.ledger_arguments(),
        commit=GRAPH.pinned_commit,
    shell:
        "python -m workflow_scripts.checkpoints.fetch --source {params.source:q} --location={params.location:q}"
        " --repository {params.repository:q} --step {wildcards.step} {params.ledger:q} --output-dir {params.folder:q}"
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
        mem_mb=200,
        runtime=10,
    params:
        folder=lambda wildcards: layout.checkpoint_folder(
            wildcards.model, wildcards.step
        ),
    shell:
        "python -m workflow_scripts.checkpoints.release --checkpoint {params.folder:q} --scores {input.scores:q}"
        " --marker {output.marker:q} > {log:q} 2>&1"
