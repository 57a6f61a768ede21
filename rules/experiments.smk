# Experiments: questions that the suite was made for, each with tables and a verdict that is computed.
rule score_memorization:
    """Which rows of a range of the training order a checkpoint knows by heart."""
    input:
        fetched="results/checkpoints/{model}/step{step}/fetched.json",
        view=lambda wildcards: f"{GRAPH.training_data(wildcards)}/view.json",
        maps=lambda wildcards: f"{GRAPH.training_data(wildcards)}/index_maps/index_maps.json",
    output:
        scores="results/experiments/memorization/{model}/step{step}/rows-{first}-{stop}.parquet",
    log:
        "results/logs/score_memorization/{model}-step{step}-rows-{first}-{stop}.log",
    benchmark:
        "results/timings/score_memorization/{model}-step{step}-rows-{first}-{stop}.tsv"
    wildcard_constraints:
        first="[0-9]+",
        stop="[0-9]+",
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        folder=lambda wildcards: layout.checkpoint_folder(
            wildcards.model, wildcards.step
        ),
        recipe=lambda wildcards: json.dumps(
            recipe_of(GRAPH.model(wildcards)).to_json(), sort_keys=True
        ),
        numbers=EXPERIMENTS.score_arguments,
    shell:
        "python -m workflow_scripts.experiments.score_memorization --checkpoint {params.folder:q}"
        " --recipe {params.recipe:q} --view {input.view:q} --index-maps {input.maps:q}"
        " --first-row {wildcards.first} --stop-row {wildcards.stop} {params.numbers:q} --threads {threads}"
        " --output {output.scores:q} > {log:q} 2>&1"


rule find_exposures:
    """Rows of the training order that start in a document met before through another epoch."""
    input:
        view="results/data/{suite}/{dataset}/view.json",
        maps="results/data/{suite}/{dataset}/index_maps/index_maps.json",
    output:
        rows="results/experiments/exposures/{suite}/{dataset}.npz",
    log:
        "results/logs/find_exposures/{suite}-{dataset}.log",
    benchmark:
        "results/timings/find_exposures/{suite}-{dataset}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        recipe=lambda wildcards: json.dumps(
            recipe_of(GRAPH.models[EXPERIMENTS.model_on(wildcards.dataset)]).to_json(),
            sort_keys=True,
        ),
    shell:
        "python -m workflow_scripts.experiments.find_exposures --view {input.view:q} --index-maps {input.maps:q}"
        " --recipe {params.recipe:q} --output {output.rows:q} > {log:q} 2>&1"


rule memorization:
    """Is the place of a memorized sequence in the order of training uniform?"""
    input:
        scores=EXPERIMENTS.memorization_scores,
        exposures=EXPERIMENTS.exposures,
        settings="results/runs/{run}/run.json",
    output:
        tables=EXPERIMENTS.tables_of("memorization"),
        verdict=EXPERIMENTS.verdict_of("memorization"),
    log:
        "results/logs/memorization/{run}.log",
    benchmark:
        "results/timings/memorization/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folder=lambda wildcards, output: str(Path(output.verdict).parent),
    shell:
        "python -m workflow_scripts.experiments.memorization --run {input.settings:q} --root results"
        " --tables-dir {params.folder:q} > {log:q} 2>&1"


rule predictability:
    """What small models and early checkpoints tell about the memorization of the largest model."""
    input:
        scores=EXPERIMENTS.memorization_scores,
        exposures=EXPERIMENTS.exposures,
        published="config/suites/published/memorization-confusions.csv",
        settings="results/runs/{run}/run.json",
    output:
        tables=EXPERIMENTS.tables_of("predictability"),
        verdict=EXPERIMENTS.verdict_of("predictability"),
    log:
        "results/logs/predictability/{run}.log",
    benchmark:
        "results/timings/predictability/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folder=lambda wildcards, output: str(Path(output.verdict).parent),
    shell:
        "python -m workflow_scripts.experiments.predictability --run {input.settings:q} --root results"
        " --published {input.published:q} --tables-dir {params.folder:q} > {log:q} 2>&1"
