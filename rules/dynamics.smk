# What happens inside the models, checkpoint by checkpoint: from their weights, and from a probe of fixed rows.
from workflow_scripts.workflow import dynamics

DYNAMICS = dynamics.declaration_of(RUN)
# Rows of the training order need the data set; text and random tokens do not.
of_trained = of_data if DYNAMICS.reads_training_rows else lambda pattern: []

if DYNAMICS.probe:

    rule collect_probe:
        """Rows that every model on a data set is asked: of its training order, held-out text, random tokens."""
        input:
            tokenizer="results/corpus/{suite}/tokenizer.json",
            text=DYNAMICS.text or [],
            recipe=(
                of_any_model("results/training/{model}/recipe.json")
                if DYNAMICS.reads_training_rows
                else []
            ),
            view=of_trained("results/data/{suite}/{dataset}/view.json"),
            files=ancient(of_trained("results/data/{suite}/{dataset}/raw/{file}")),
            maps=ancient(
                of_trained("results/data/{suite}/{dataset}/index_maps/{train_map}")
            ),
        output:
            probe=f"results/experiments/dynamics/{DYNAMICS.name}/probes/{{suite}}/{{dataset}}.safetensors",
        log:
            f"results/logs/collect_probe/{DYNAMICS.name}-{{suite}}-{{dataset}}.log",
        benchmark:
            f"results/timings/collect_probe/{DYNAMICS.name}-{{suite}}-{{dataset}}.tsv"
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(4000),
            runtime=lasts(60),
        params:
            rows=dynamics.row_arguments(DYNAMICS),
            text=lambda wildcards, input: ["--text", input.text] if input.text else [],
            order=lambda wildcards, input: (
                ["--recipe", input.recipe, "--view", input.view]
                + ["--index-maps", str(Path(input.maps[0]).parent)]
                if input.view
                else []
            ),
        shell:
            "python -m workflow_scripts.experiments.dynamics.collect_probe --tokenizer {input.tokenizer:q}"
            " {params.rows:q} {params.text:q} {params.order:q} --output {output.probe:q} > {log:q} 2>&1"

    rule measure_probe:
        """What the layers and heads of one checkpoint do with the probe."""
        input:
            checkpoint=ancient(
                each_file("results/checkpoints/{model}/step{step}/{file}")
            ),
            hashes="results/checkpoints/{model}/step{step}/sha256.txt",
            probe=of_data(
                f"results/experiments/dynamics/{DYNAMICS.name}/probes/{{suite}}/{{dataset}}.safetensors"
            ),
        output:
            table=f"results/experiments/dynamics/{DYNAMICS.name}/{{model}}/step{{step}}/probe.parquet",
            states=f"results/experiments/dynamics/{DYNAMICS.name}/{{model}}/step{{step}}/fingerprints.safetensors",
        log:
            f"results/logs/measure_probe/{DYNAMICS.name}-{{model}}-step{{step}}.log",
        benchmark:
            f"results/timings/measure_probe/{DYNAMICS.name}-{{model}}-step{{step}}.tsv"
        conda:
            "../envs/conda.yaml"
        resources:
            **RESOURCES.devices("measure_probe"),
            mem_mb=RESOURCES.memory("measure_probe"),
            runtime=RESOURCES.minutes("measure_probe"),
        params:
            asked=dynamics.probe_arguments(DYNAMICS),
            device=RESOURCES.engine_arguments("float32"),
            folder=subpath(input.hashes, parent=True),
        shell:
            "python -m workflow_scripts.experiments.dynamics.measure_probe --checkpoint {params.folder:q}"
            " --probe {input.probe:q} {params.asked:q} --threads {threads} {params.device:q}"
            " --output {output.table:q} --fingerprints {output.states:q} > {log:q} 2>&1"


if DYNAMICS.weights:

    rule measure_weights:
        """Norms, ranks and sketches of the weights of one checkpoint, each file read once."""
        input:
            checkpoint=ancient(
                each_file("results/checkpoints/{model}/step{step}/{file}")
            ),
            hashes="results/checkpoints/{model}/step{step}/sha256.txt",
        output:
            table=f"results/experiments/dynamics/{DYNAMICS.name}/{{model}}/step{{step}}/weights.parquet",
            sketches=f"results/experiments/dynamics/{DYNAMICS.name}/{{model}}/step{{step}}/sketches.safetensors",
        log:
            f"results/logs/measure_weights/{DYNAMICS.name}-{{model}}-step{{step}}.log",
        benchmark:
            f"results/timings/measure_weights/{DYNAMICS.name}-{{model}}-step{{step}}.tsv"
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=RESOURCES.memory("measure_weights"),
            runtime=RESOURCES.minutes("measure_weights"),
        params:
            measured=dynamics.weight_arguments(DYNAMICS),
            folder=subpath(input.hashes, parent=True),
        shell:
            "python -m workflow_scripts.experiments.dynamics.measure_weights --checkpoint {params.folder:q}"
            " {params.measured:q} --output {output.table:q} --sketches {output.sketches:q} > {log:q} 2>&1"


rule dynamics:
    """Everything that was measured in one table, checkpoints compared with each other, and what it shows."""
    input:
        weights=dynamics.measured(RUN, "weights"),
        probe=dynamics.measured(RUN, "probe"),
        declaration=f"config/dynamics/{DYNAMICS.name}.yaml",
        settings="results/runs/{run}/run.json",
        facts=SUITE_FACTS,
        schemas=[SUITE_SCHEMA, ancient("config/schemas/dynamics.schema.yaml")],
    output:
        tables=experiments.tables_of("dynamics"),
        verdict="results/runs/{run}/tables/verdict_dynamics.json",
    log:
        "results/logs/dynamics/{run}.log",
    benchmark:
        "results/timings/dynamics/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=lasts(60),
    params:
        folder=subpath(output.verdict, parent=True),
    shell:
        "python -m workflow_scripts.experiments.dynamics.join_dynamics --run {input.settings:q} --results results"
        " --tables-dir {params.folder:q} > {log:q} 2>&1"
