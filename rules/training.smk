# Retraining: each model on its data set in the exact order, then every checkpoint published into the local mirror.


rule train_segment:
    """A part of a training that ends at a checkpoint of the grid; only runs with training.segments have it."""
    input:
        before=RESOURCES.segments.before,
        view=lambda wildcards: f"{GRAPH.training_data(wildcards)}/view.json",
        maps=lambda wildcards: f"{GRAPH.training_data(wildcards)}/index_maps/index_maps.json",
    output:
        receipt="results/training/{model}/segments/step{step}.json",
    log:
        "results/logs/train_segment/{model}-step{step}.log",
    benchmark:
        "results/timings/train_segment/{model}-step{step}.tsv"
    priority: 10
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=RESOURCES.memory("retrain"),
        runtime=RESOURCES.segment_minutes,
        gpu=RESOURCES.gpus("retrain"),
    params:
        recipe=lambda wildcards: recipe_of(GRAPH.model(wildcards))
        .saving(EXPERIMENTS.kept_steps(wildcards))
        .argument,
        folder=lambda wildcards: layout.training_folder(wildcards.model),
        maps=lambda wildcards: f"{GRAPH.training_data(wildcards)}/index_maps",
        keep=EXPERIMENTS.kept_arguments,
        device=RESOURCES.training_arguments,
    shell:
        "python -m workflow_scripts.training.launch --processes {resources.gpu:q} -- --recipe {params.recipe:q}"
        " --view {input.view:q} --index-maps {params.maps:q} --output-dir {params.folder:q} --threads {threads}"
        " --stop-at {wildcards.step:q} --segment-receipt {output.receipt:q}"
        " {params.keep:q} {params.device:q} --when-different restart > {log:q} 2>&1"


rule train_model:
    """One model to its last step, after its other segments; killed and started again, it goes on where it stopped."""
    input:
        before=RESOURCES.segments.before,
        view=lambda wildcards: f"{GRAPH.training_data(wildcards)}/view.json",
        maps=lambda wildcards: f"{GRAPH.training_data(wildcards)}/index_maps/index_maps.json",
    output:
        receipt="results/training/{model}/run.json",
    log:
        "results/logs/train_model/{model}.log",
    benchmark:
        "results/timings/train_model/{model}.tsv"
    priority: 10
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=RESOURCES.memory("retrain"),
        runtime=RESOURCES.minutes("retrain"),
        gpu=RESOURCES.gpus("retrain"),
    params:
        recipe=lambda wildcards: recipe_of(GRAPH.model(wildcards))
        .saving(EXPERIMENTS.kept_steps(wildcards))
        .argument,
        folder=lambda wildcards: layout.training_folder(wildcards.model),
        maps=lambda wildcards: f"{GRAPH.training_data(wildcards)}/index_maps",
        keep=EXPERIMENTS.kept_arguments,
        device=RESOURCES.training_arguments,
    shell:
        "python -m workflow_scripts.training.launch --processes {resources.gpu:q} -- --recipe {params.recipe:q}"
        " --view {input.view:q} --index-maps {params.maps:q} --output-dir {params.folder:q} --threads {threads}"
        " {params.keep:q} {params.device:q} --when-different restart > {log:q} 2>&1"


rule publish_model:
    """Every checkpoint as an unmodified Hugging Face folder in the local mirror."""
    input:
        trained="results/training/{model}/run.json",
        tokenizer=layout.tokenizer_file(SUITE.name),
    output:
        receipt="results/mirror/models/{organisation}/{model}/published.json",
    log:
        "results/logs/publish_model/{organisation}-{model}.log",
    benchmark:
        "results/timings/publish_model/{organisation}-{model}.tsv"
    priority: 20
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=lasts(60),
    params:
        training=lambda wildcards: layout.training_folder(wildcards.model),
        root=lambda wildcards: f"{layout.MIRROR}/models/{wildcards.organisation}/{wildcards.model}",
        steps=lambda wildcards: list(GRAPH.model(wildcards).steps),
        dtype=lambda wildcards: GRAPH.model(wildcards).published_dtype,
    shell:
        "python -m workflow_scripts.training.publish --training-dir {params.training:q} --steps {params.steps:q}"
        " --tokenizer {input.tokenizer:q} --dtype {params.dtype:q} --output-root {params.root:q}"
        " --receipt {output.receipt:q} > {log:q} 2>&1"


rule validate_model:
    """Loss on held-out text at each step of the run, in nats per token and bits per byte."""
    input:
        trained="results/training/{model}/run.json",
        tokens=f"results/corpus/{SUITE.name}/validation.bin",
        index=f"results/corpus/{SUITE.name}/validation.idx",
        text=f"results/corpus/{SUITE.name}/validation.jsonl",
    output:
        table="results/training/{model}/validation.csv",
    log:
        "results/logs/validate_model/{model}.log",
    benchmark:
        "results/timings/validate_model/{model}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(60),
    params:
        folders=GRAPH.trained_steps,
        prefix=lambda wildcards, input: str(Path(input.tokens).with_suffix("")),
    shell:
        "python -m workflow_scripts.training.validate --checkpoints {params.folders:q} --view {params.prefix:q}"
        " --text {input.text:q} --threads {threads} --output {output.table:q} > {log:q} 2>&1"


rule prepare_neox:
    """What the original GPT-NeoX v1.0 needs to train a model: its file, data and maps where it looks, a start."""
    input:
        joined=ORIGINAL.joined,
        maps=lambda wildcards: f"{GRAPH.training_data(wildcards)}/index_maps/index_maps.json",
        tokenizer=GRAPH.tokenizer(),
    output:
        prepared="results/neox/{model}/prepared.json",
    log:
        "results/logs/prepare_neox/{model}.log",
    benchmark:
        "results/timings/prepare_neox/{model}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=lasts(240),
    params:
        recipe=lambda wildcards: recipe_of(GRAPH.model(wildcards)).argument,
        prefix=ORIGINAL.prefix,
        maps=lambda wildcards, input: str(Path(input.maps).parent),
        launch=ORIGINAL.launch_arguments,
        folder=lambda wildcards, output: str(Path(output.prepared).parent),
    shell:
        "python -m workflow_scripts.training.prepare_neox --recipe {params.recipe:q} --joined {params.prefix:q}"
        " --index-maps {params.maps:q} --tokenizer {input.tokenizer:q} {params.launch:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule launch_neox:
    """A training by the original itself, in a checkout of v1.0; refused where that or the GPUs are not there."""
    input:
        prepared="results/neox/{model}/prepared.json",
    output:
        receipt="results/neox/{model}/trained.json",
    log:
        "results/logs/launch_neox/{model}.log",
    benchmark:
        "results/timings/launch_neox/{model}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=RESOURCES.memory("retrain_arm"),
        runtime=RESOURCES.minutes("retrain_arm"),
        gpu=ORIGINAL.gpus_per_node,
    params:
        checkout=ORIGINAL.checkout_arguments,
    shell:
        "python -m workflow_scripts.training.launch_neox --prepared {input.prepared:q} {params.checkout:q}"
        " --receipt {output.receipt:q} > {log:q} 2>&1"
