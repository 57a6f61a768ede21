# Retraining: each model on its data set in the exact order, then every checkpoint published into the local mirror.
from workflow_scripts.workflow import training

# of_grid("results/training/{model}/step{step}/state.json") is that file of every checkpoint of a job's model.
of_grid = training.in_grid(RUN)
MODELS = {model.name: model for model in RUN.models}
TRAINED = list(MODELS) if RUN.retrains else []


rule write_recipe:
    """Every number that the training of a model depends on, one parameter each."""
    output:
        recipe="results/training/{model}/recipe.json",
    log:
        "results/logs/write_recipe/{model}.log",
    benchmark:
        "results/timings/write_recipe/{model}.tsv"
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        **training.recipe_parameters(RUN),
    shell:
        "python -m workflow_scripts.training.write_recipe --output {output.recipe:q} {params:q} > {log:q} 2>&1"


# Which checkpoints a job makes depends on the model's grid and, with training.segments, on the segment; mostly that is
# one rule, train_model. While it runs its checkpoints are in the hidden folder .state, so that it can be interrupted.
# `exec`, so that Slurm's signal before the time limit finds the trainer and no shell that dies of it.
for JOB in training.training_jobs(RUN):

    rule:
        """A training, or a segment of it, that ends at a checkpoint; interrupted and started again it resumes."""
        name:
            f"train_{JOB.part}"
        input:
            recipe="results/training/{model}/recipe.json",
            before=expand(
                "results/training/{{model}}/step{step}/{file}",
                step=[] if JOB.before is None else [JOB.before],
                file=[*training.SAVED_FILES, *training.RESUME_FILES],
            ),
            view=of_data("results/data/{suite}/{dataset}/view.json"),
            files=ancient(of_data("results/data/{suite}/{dataset}/raw/{file}")),
            maps=ancient(
                of_data("results/data/{suite}/{dataset}/index_maps/{train_map}")
            ),
        output:
            checkpoints=expand(
                "results/training/{{model}}/step{step}/{file}",
                step=JOB.steps,
                file=training.SAVED_FILES,
            ),
            resumable=expand(
                "results/training/{{model}}/step{step}/{file}",
                step=JOB.resumable,
                file=training.RESUME_FILES,
            ),
            end=expand(
                "results/training/{{model}}/{file}",
                file=["metrics.csv", "run.json"] if JOB.is_last else [],
            ),
        log:
            f"results/logs/train_{JOB.part}/{{model}}.log",
        benchmark:
            f"results/timings/train_{JOB.part}/{{model}}.tsv"
        wildcard_constraints:
            model=alternatives(JOB.models),
        priority: 10
        conda:
            "../envs/conda.yaml"
        resources:
            **RESOURCES.training_devices(JOB.models),
            mem_mb=RESOURCES.memory("retrain"),
            runtime=RESOURCES.training_minutes(JOB.end),
        params:
            maps=lambda wildcards, input: str(Path(input.maps[0]).parent),
            end=JOB.end,
            keep=JOB.kept,
            before=lambda wildcards, input: (
                ["--continue-from", str(Path(input.before[0]).parent)]
                if input.before
                else []
            ),
            device=RESOURCES.training_arguments,
            folder=subpath(input.recipe, parent=True),
        shell:
            "exec python -m workflow_scripts.training.launch --processes {resources.processes:q}"
            " --nodes {resources.nodes:q} --recompute-activations {resources.recompute:q} --"
            " --recipe {input.recipe:q} --view {input.view:q} --index-maps {params.maps:q}"
            " --output-dir {params.folder:q} --threads {threads} --stop-at {params.end:q}"
            " --keep-optimizer {params.keep:q} {params.before:q} {params.device:q} --when-different restart"
            " > {log:q} 2>&1"


for ENDING, NAMES, REVISIONS in training.grouped(
    training.trainable(RUN), training.revisions_of
):

    rule:
        """Every checkpoint as an unmodified Hugging Face folder in the local mirror."""
        name:
            f"publish_model{ENDING}"
        input:
            checkpoints=of_grid("results/training/{model}/step{step}/model.safetensors"),
            states=of_grid("results/training/{model}/step{step}/state.json"),
            tokenizer=f"results/corpus/{SUITE.name}/tokenizer.json",
        output:
            files=expand(
                "results/mirror/models/{{organisation}}/{{model}}/{revision}/{file}",
                revision=REVISIONS,
                file=training.PUBLISHED_FILES,
            ),
            receipt="results/mirror/models/{organisation}/{model}/published.json",
        log:
            "results/logs/publish_model/{organisation}-{model}.log",
        benchmark:
            "results/timings/publish_model/{organisation}-{model}.tsv"
        wildcard_constraints:
            model=alternatives(NAMES),
        priority: 20
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(1000),
            runtime=lasts(60),
        params:
            training="results/training/{model}",
            root=subpath(output.receipt, parent=True),
            dtype=lambda wildcards: MODELS[wildcards.model].published_dtype,
        shell:
            "python -m workflow_scripts.training.publish --training-dir {params.training:q}"
            " --tokenizer {input.tokenizer:q} --dtype {params.dtype:q} --output-root {params.root:q}"
            " --receipt {output.receipt:q} > {log:q} 2>&1"


if CORPUS == "jsonl":

    rule validate_model:
        """Loss on held-out text at each checkpoint of a model, in nats per token and bits per byte."""
        input:
            checkpoints=of_grid("results/training/{model}/step{step}/model.safetensors"),
            states=of_grid("results/training/{model}/step{step}/state.json"),
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
            folders=lambda wildcards, input: [
                str(Path(path).parent) for path in input.states
            ],
            prefix=subpath(input.tokens, strip_suffix=".bin"),
        shell:
            "python -m workflow_scripts.training.validate --checkpoints {params.folders:q} --view {params.prefix:q}"
            " --text {input.text:q} --threads {threads} --output {output.table:q} > {log:q} 2>&1"


# Converted weights to start from, where the run names some.
NEOX_START = (
    [directory("results/neox/{model}/start")]
    if training.neox_settings(RUN).get("start_from")
    else []
)


rule prepare_neox:
    """What the original GPT-NeoX v1.0 needs to train a model: its file, data and maps where it looks, a start."""
    input:
        recipe="results/training/{model}/recipe.json",
        tokens=of_data("results/data/{suite}/{dataset}/joined/{prefix}.bin"),
        index=of_data("results/data/{suite}/{dataset}/joined/{prefix}.idx"),
        maps=ancient(of_data("results/data/{suite}/{dataset}/index_maps/{map}")),
        list=of_data("results/data/{suite}/{dataset}/index_maps/index_maps.json"),
        tokenizer=f"results/corpus/{SUITE.name}/tokenizer.json",
    output:
        data=directory("results/neox/{model}/data"),
        start=NEOX_START,
        config="results/neox/{model}/config.yml",
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
        prefix=subpath(input.tokens, strip_suffix=".bin"),
        maps=subpath(input.list, parent=True),
        gpus=training.neox_settings(RUN).get("gpus", 1),
        rows=training.neox_settings(RUN).get("micro_batch", 8),
        more=training.neox_options(RUN),
        folder=subpath(output.prepared, parent=True),
    shell:
        "python -m workflow_scripts.training.prepare_neox --recipe {input.recipe:q} --joined {params.prefix:q}"
        " --index-maps {params.maps:q} --tokenizer {input.tokenizer:q} --gpus {params.gpus:q}"
        " --micro-batch {params.rows:q} {params.more:q} --output-dir {params.folder:q} > {log:q} 2>&1"


rule launch_neox:
    """A training by the original itself, in a checkout of v1.0; refused where that or the GPUs are not there."""
    input:
        data="results/neox/{model}/data",
        start=NEOX_START,
        config="results/neox/{model}/config.yml",
        prepared="results/neox/{model}/prepared.json",
    output:
        checkpoints=directory("results/neox/{model}/checkpoints"),
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
        gpu=training.neox_gpus_per_node(RUN),
    params:
        checkout=training.neox_settings(RUN).get("checkout") or training.NO_CHECKOUT,
        python=training.neox_python(RUN),
    shell:
        "python -m workflow_scripts.training.launch_neox --prepared {input.prepared:q} --checkout {params.checkout:q}"
        " {params.python:q} --output-dir {output.checkpoints:q} --receipt {output.receipt:q} > {log:q} 2>&1"
