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
        mem_mb=RESOURCES.memory("memorize"),
        runtime=RESOURCES.minutes("memorize"),
        gpu=RESOURCES.gpus("memorize"),
    params:
        engine=RESOURCES.engine_arguments(RESOURCES.memorization_dtype),
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
        " --first-row {wildcards.first} --stop-row {wildcards.stop} {params.numbers:q} --threads {threads} {params.engine}"
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
        mem_mb=grows(8000),
        runtime=lasts(240),
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
        mem_mb=grows(4000),
        runtime=lasts(60),
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
        mem_mb=grows(4000),
        runtime=lasts(60),
    params:
        folder=lambda wildcards, output: str(Path(output.verdict).parent),
    shell:
        "python -m workflow_scripts.experiments.predictability --run {input.settings:q} --root results"
        " --published {input.published:q} --tables-dir {params.folder:q} > {log:q} 2>&1"


rule make_patch:
    """Tokens that an arm exchanges in the last part of training, as a list of places."""
    input:
        view=lambda wildcards: f"{GRAPH.training_data(wildcards)}/view.json",
        maps=lambda wildcards: f"{GRAPH.training_data(wildcards)}/index_maps/index_maps.json",
        tokenizer=GRAPH.tokenizer(),
        declaration=f"config/interventions/{EXPERIMENTS.declaration()}.yaml",
        function=EXPERIMENTS.arm_function,
    output:
        patch="results/experiments/interventions/{model}/{arm}/patch.safetensors",
    log:
        "results/logs/make_patch/{model}-{arm}.log",
    benchmark:
        "results/timings/make_patch/{model}-{arm}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(240),
    params:
        declaration=EXPERIMENTS.declaration(),
        kind=EXPERIMENTS.arm_arguments,
        start=EXPERIMENTS.arm_start,
        recipe=lambda wildcards: json.dumps(
            recipe_of(GRAPH.model(wildcards)).to_json(), sort_keys=True
        ),
    shell:
        "python -m workflow_scripts.experiments.make_patch --declaration {params.declaration:q}"
        " {params.kind} --recipe {params.recipe:q} --view {input.view:q} --index-maps {input.maps:q}"
        " --first-step {params.start} --tokenizer {input.tokenizer:q} --output {output.patch:q} > {log:q} 2>&1"


rule train_arm:
    """The last part of training again, from the baseline's own state, on the patched rows."""
    input:
        baseline="results/training/{model}/run.json",
        view=lambda wildcards: f"{GRAPH.training_data(wildcards)}/view.json",
        maps=lambda wildcards: f"{GRAPH.training_data(wildcards)}/index_maps/index_maps.json",
        patch="results/experiments/interventions/{model}/{arm}/patch.safetensors",
    output:
        receipt="results/experiments/interventions/{model}/{arm}/training/run.json",
    log:
        "results/logs/train_arm/{model}-{arm}.log",
    benchmark:
        "results/timings/train_arm/{model}-{arm}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=RESOURCES.memory("retrain"),
        runtime=RESOURCES.minutes("retrain"),
        gpu=RESOURCES.gpus("retrain"),
    params:
        recipe=lambda wildcards: json.dumps(
            recipe_of(GRAPH.model(wildcards))
            .saving(EXPERIMENTS.arm_iterations(wildcards))
            .to_json(),
            sort_keys=True,
        ),
        origin=EXPERIMENTS.arm_origin,
        device=RESOURCES.training_arguments,
        folder=lambda wildcards, output: str(Path(output.receipt).parent),
    shell:
        "python -m workflow_scripts.training.launch --processes {resources.gpu} -- --recipe {params.recipe:q}"
        " --view {input.view:q} --index-maps {input.maps:q} --start-from {params.origin:q} --patch {input.patch:q}"
        " --output-dir {params.folder:q} --threads {threads} {params.device} --when-different restart > {log:q} 2>&1"


rule publish_arm:
    """Checkpoints of an arm as Hugging Face folders."""
    input:
        trained="results/experiments/interventions/{model}/{arm}/training/run.json",
        tokenizer=GRAPH.tokenizer(),
    output:
        receipt="results/experiments/interventions/{model}/{arm}/published/published.json",
    log:
        "results/logs/publish_arm/{model}-{arm}.log",
    benchmark:
        "results/timings/publish_arm/{model}-{arm}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=lasts(60),
    params:
        training=lambda wildcards, input: str(Path(input.trained).parent),
        root=lambda wildcards, output: str(Path(output.receipt).parent),
        steps=EXPERIMENTS.arm_steps,
        dtype=lambda wildcards: GRAPH.model(wildcards).published_dtype,
    shell:
        "python -m workflow_scripts.training.publish --training-dir {params.training:q} --steps {params.steps}"
        " --tokenizer {input.tokenizer:q} --dtype {params.dtype} --output-root {params.root:q}"
        " --receipt {output.receipt:q} > {log:q} 2>&1"


rule score_bias:
    """Bias and guard items of all checkpoints of an arm, item by item."""
    input:
        published="results/experiments/interventions/{model}/{arm}/published/published.json",
        data=GRAPH.made_task_files,
    output:
        table="results/experiments/interventions/{model}/{arm}/items.parquet",
    log:
        "results/logs/score_bias/{model}-{arm}.log",
    benchmark:
        "results/timings/score_bias/{model}-{arm}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=RESOURCES.memory("evaluate"),
        runtime=RESOURCES.minutes("evaluate"),
        gpu=RESOURCES.gpus("evaluate"),
    params:
        engine=RESOURCES.engine_arguments(),
        checkpoints=EXPERIMENTS.arm_folders,
        benchmarks=EXPERIMENTS.benchmarks(),
        folders=RUN.section("evaluation").get("data"),
    shell:
        "python -m workflow_scripts.experiments.score_bias --checkpoint {params.checkpoints:q}"
        " --benchmarks {params.benchmarks} --data-dir {params.folders:q} --threads {threads} {params.engine}"
        " --output {output.table:q} > {log:q} 2>&1"


rule interventions:
    """Each arm against the untouched data, item by item."""
    input:
        arms=EXPERIMENTS.arm_items,
        published="config/suites/published/pythia-evals.parquet",
        settings="results/runs/{run}/run.json",
    output:
        tables=EXPERIMENTS.tables_of("interventions"),
        verdict=EXPERIMENTS.verdict_of("interventions"),
    log:
        "results/logs/interventions/{run}.log",
    benchmark:
        "results/timings/interventions/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=lasts(60),
    params:
        folder=lambda wildcards, output: str(Path(output.verdict).parent),
    shell:
        "python -m workflow_scripts.experiments.interventions --run {input.settings:q} --root results"
        " --published {input.published:q} --tables-dir {params.folder:q} > {log:q} 2>&1"


rule count_terms:
    """Cumulative counts of the terms at every asked checkpoint, in one pass over the training order."""
    input:
        view="results/data/{suite}/{dataset}/view.json",
        maps="results/data/{suite}/{dataset}/index_maps/index_maps.json",
        tokenizer=GRAPH.tokenizer(),
        world=EXPERIMENTS.world,
        terms=f"config/terms/{EXPERIMENTS.terms()}.yaml",
    output:
        counts="results/experiments/terms/{suite}/{dataset}.parquet",
    log:
        "results/logs/count_terms/{suite}-{dataset}.log",
    benchmark:
        "results/timings/count_terms/{suite}-{dataset}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(4320),
    params:
        terms=EXPERIMENTS.terms(),
        world=EXPERIMENTS.world_arguments,
        steps=EXPERIMENTS.count_steps,
        recipe=lambda wildcards: json.dumps(
            recipe_of(GRAPH.models[EXPERIMENTS.model_on(wildcards.dataset)]).to_json(),
            sort_keys=True,
        ),
    shell:
        "python -m workflow_scripts.experiments.count_terms --terms {params.terms:q} {params.world:q}"
        " --recipe {params.recipe:q} --view {input.view:q} --index-maps {input.maps:q}"
        " --tokenizer {input.tokenizer:q} --steps {params.steps} --output {output.counts:q} > {log:q} 2>&1"


rule score_terms:
    """Answers of a model's checkpoints to questions about the terms."""
    input:
        fetched=EXPERIMENTS.asked_receipts,
        data=GRAPH.made_task_files,
    output:
        answers="results/experiments/answers/{model}.parquet",
    log:
        "results/logs/score_terms/{model}.log",
    benchmark:
        "results/timings/score_terms/{model}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=RESOURCES.memory("evaluate"),
        runtime=RESOURCES.minutes("evaluate"),
        gpu=RESOURCES.gpus("evaluate"),
    params:
        engine=RESOURCES.engine_arguments(),
        checkpoints=EXPERIMENTS.asked_checkpoints,
        terms=EXPERIMENTS.terms(),
        shots=RUN.section("term_frequency").get("shots", [0]),
        folders=RUN.section("evaluation").get("data"),
    shell:
        "python -m workflow_scripts.experiments.score_terms --checkpoint {params.checkpoints:q}"
        " --terms {params.terms:q} --shots {params.shots} --data-dir {params.folders:q} --threads {threads} {params.engine}"
        " --output {output.answers:q} > {log:q} 2>&1"


rule term_frequency:
    """Accuracy against how often a term was met in training."""
    input:
        tables=EXPERIMENTS.term_tables,
        settings="results/runs/{run}/run.json",
    output:
        tables=EXPERIMENTS.tables_of("term_frequency"),
        verdict=EXPERIMENTS.verdict_of("term_frequency"),
    log:
        "results/logs/term_frequency/{run}.log",
    benchmark:
        "results/timings/term_frequency/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=lasts(60),
    params:
        folder=lambda wildcards, output: str(Path(output.verdict).parent),
    shell:
        "python -m workflow_scripts.experiments.term_frequency --run {input.settings:q} --root results"
        " --tables-dir {params.folder:q} > {log:q} 2>&1"


rule seeds:
    """Spread over seeds, agreement with the own last step and between seeds."""
    input:
        scores=layout.score_files(RUN),
        plans=EXPERIMENTS.plans(),
        published="config/suites/published/polypythias-training-map.csv",
        settings="results/runs/{run}/run.json",
    output:
        tables=EXPERIMENTS.tables_of("seeds"),
        verdict=EXPERIMENTS.verdict_of("seeds"),
    log:
        "results/logs/seeds/{run}.log",
    benchmark:
        "results/timings/seeds/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=lasts(60),
    params:
        folder=lambda wildcards, output: str(Path(output.verdict).parent),
    shell:
        "python -m workflow_scripts.experiments.seeds --run {input.settings:q} --root results --plans {input.plans:q}"
        " --training-map {input.published:q} --tables-dir {params.folder:q} > {log:q} 2>&1"


rule scaling:
    """Loss and scores against parameters, tokens and compute."""
    input:
        trained=GRAPH.trained(),
        scores="results/runs/{run}/tables/scores.parquet",
        settings="results/runs/{run}/run.json",
    output:
        tables=EXPERIMENTS.tables_of("scaling"),
        verdict=EXPERIMENTS.verdict_of("scaling"),
    log:
        "results/logs/scaling/{run}.log",
    benchmark:
        "results/timings/scaling/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(30),
    params:
        training=EXPERIMENTS.training_arguments(),
        folder=lambda wildcards, output: str(Path(output.verdict).parent),
    shell:
        "python -m workflow_scripts.experiments.scaling --run {input.settings:q} {params.training}"
        " --scores {input.scores:q} --tables-dir {params.folder:q} > {log:q} 2>&1"
