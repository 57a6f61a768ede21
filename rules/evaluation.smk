# Evaluation: lm-eval builds the requests once, one job scores one checkpoint on all tasks, results are collected.


rule plan_evaluation:
    """Requests of all tasks, built by lm-eval, tokenised and packed once for every checkpoint."""
    input:
        data=GRAPH.made_task_files,
        tokenizer=GRAPH.tokenizer(),
    output:
        plan="results/plans/{suite}/{shots}-shot{kind}.plan",
    log:
        "results/logs/plan_evaluation/{suite}-{shots}-shot{kind}.log",
    benchmark:
        "results/timings/plan_evaluation/{suite}-{shots}-shot{kind}.tsv"
    priority: 40
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=lasts(60),
    params:
        tasks=GRAPH.task_names(),
        folders=RUN.section("evaluation").get("data"),
        length=GRAPH.longest_sequence(),
        limit=GRAPH.limit_arguments(),
        seed=RUN.section("evaluation").get("fewshot_seed", 1234),
        protocol=GRAPH.protocol_of,
        renewal=RUN.section("evaluation").get("renewal"),
    shell:
        "python -m workflow_scripts.evaluation.build_plan --tasks {params.tasks:q} --shots {wildcards.shots}"
        " --protocol {params.protocol} --data-dir {params.folders:q} --tokenizer {input.tokenizer:q} --max-length {params.length} {params.limit}"
        " --fewshot-seed {params.seed} --output {output.plan:q} > {log:q} 2>&1"


rule score_checkpoint:
    """One checkpoint on all tasks and all numbers of shots, under one protocol."""
    input:
        fetched="results/checkpoints/{model}/step{step}/fetched.json",
        plans=GRAPH.plans(),
    output:
        scores=expand(
            "results/scores/{{model}}/step{{step}}/{shots}-shot{{kind}}.json",
            shots=RUN.shots,
        ),
    log:
        "results/logs/score_checkpoint/{model}-step{step}{kind}.log",
    benchmark:
        "results/timings/score_checkpoint/{model}-step{step}{kind}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=RESOURCES.memory("evaluate"),
        runtime=RESOURCES.minutes("evaluate"),
        gpu=RESOURCES.gpus("evaluate"),
        evaluations=1,
        checkpoints_per_process=1,
    params:
        folder=lambda wildcards, input: str(Path(input.fetched).parent),
        renewal=RUN.section("evaluation").get("renewal"),
        bootstrap=RUN.section("evaluation").get("bootstrap_iters", 0),
        folders=RUN.section("evaluation").get("data"),
        engine=RESOURCES.engine_arguments(),
        goes_on=going_on(RUN.name),
    shell:
        "python -m workflow_scripts.evaluation.score --checkpoint {params.folder:q} --plan {input.plans:q}"
        " --output {output.scores:q} --threads {threads} --bootstrap-iters {params.bootstrap}"
        " --data-dir {params.folders:q} {params.engine} {params.goes_on:q} > {log:q} 2>&1"


rule score_stock_tasks:
    """One checkpoint on the run's further tasks by stock lm-eval, generation included."""
    input:
        fetched="results/checkpoints/{model}/step{step}/fetched.json",
        data=GRAPH.made_task_files,
    output:
        scores="results/scores/{model}/step{step}/{shots}-shot.stock.json",
    log:
        "results/logs/score_stock_tasks/{model}-step{step}-{shots}-shot.log",
    benchmark:
        "results/timings/score_stock_tasks/{model}-step{step}-{shots}-shot.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=RESOURCES.memory("evaluate"),
        runtime=RESOURCES.minutes("evaluate"),
        gpu=RESOURCES.gpus("evaluate"),
    params:
        folder=lambda wildcards: layout.checkpoint_folder(
            wildcards.model, wildcards.step
        ),
        tasks=GRAPH.stock_task_names,
        folders=RUN.section("evaluation").get("data"),
        definitions=GRAPH.task_folders(),
        limit=GRAPH.limit_arguments(),
        seed=RUN.section("evaluation").get("fewshot_seed", 1234),
        renewal=RUN.section("evaluation").get("renewal"),
        engine=RESOURCES.engine_arguments(),
    shell:
        "python -m workflow_scripts.evaluation.stock --checkpoint {params.folder:q} --tasks {params.tasks:q}"
        " --shots {wildcards.shots} --data-dir {params.folders:q} {params.definitions:q} {params.limit}"
        " --fewshot-seed {params.seed} --output {output.scores:q} --threads {threads} {params.engine} > {log:q} 2>&1"


rule crosscheck:
    """Stock lm-eval beside the fast path on a few documents of every task; fails when they differ."""
    input:
        fetched=[f"{folder}/fetched.json" for folder in GRAPH.sample_checkpoint()],
        data=GRAPH.made_task_files,
    output:
        verdict="results/runs/{run}/tables/crosscheck.json",
    log:
        "results/logs/crosscheck/{run}.log",
    benchmark:
        "results/timings/crosscheck/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=lasts(60),
    params:
        tasks=GRAPH.task_names(),
        folders=RUN.section("evaluation").get("data"),
        documents=RUN.section("evaluation").get("crosscheck_documents", 5),
        shots=list(RUN.shots),
        checkpoint=lambda wildcards, input: str(Path(input.fetched[0]).parent),
    shell:
        "python -m workflow_scripts.evaluation.crosscheck --checkpoint {params.checkpoint:q}"
        " --tasks {params.tasks:q} --shots {params.shots} --data-dir {params.folders:q} --limit {params.documents}"
        " --output {output.verdict:q} > {log:q} 2>&1"


rule collect_scores:
    """All results of the run in one tidy table."""
    input:
        scores=layout.score_files(RUN),
        released=ancient(GRAPH.released()),
        settings="results/runs/{run}/run.json",
    output:
        table="results/runs/{run}/tables/scores.parquet",
        csv="results/runs/{run}/tables/scores.csv",
    log:
        "results/logs/collect_scores/{run}.log",
    benchmark:
        "results/timings/collect_scores/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(30),
    shell:
        "python -m workflow_scripts.evaluation.collect --run {input.settings:q} --scores-root results/scores"
        " --output {output.table:q} > {log:q} 2>&1"


rule audit_scores:
    """Equal results of different checkpoints, spikes, wrong numbers of items: a table of defects."""
    input:
        scores="results/runs/{run}/tables/scores.parquet",
    output:
        defects="results/runs/{run}/tables/score_defects.tsv",
    log:
        "results/logs/audit_scores/{run}.log",
    benchmark:
        "results/timings/audit_scores/{run}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(30),
    shell:
        "python -m workflow_scripts.evaluation.audit_scores --scores {input.scores:q} --output {output.defects:q}"
        " > {log:q} 2>&1"


rule plan_probe:
    """The first items of one task, to try checkpoints on before a long sweep."""
    input:
        data=GRAPH.made_task_files,
        tokenizer=GRAPH.tokenizer(),
    output:
        plan="results/plans/{suite}/probe.plan",
    log:
        "results/logs/plan_probe/{suite}.log",
    benchmark:
        "results/timings/plan_probe/{suite}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=lasts(30),
    params:
        task=GRAPH.probe_task,
        documents=GRAPH.probe_items,
        folders=RUN.section("evaluation").get("data"),
        length=GRAPH.longest_sequence(),
    shell:
        "python -m workflow_scripts.evaluation.build_plan --tasks {params.task} --shots 0 --limit {params.documents}"
        " --data-dir {params.folders:q} --tokenizer {input.tokenizer:q} --max-length {params.length}"
        " --output {output.plan:q} > {log:q} 2>&1"


rule probe_checkpoint:
    """A checkpoint on the probe."""
    input:
        fetched="results/checkpoints/{model}/step{step}/fetched.json",
        plan=f"results/plans/{SUITE.name}/probe.plan",
    output:
        scores="results/probes/{model}/step{step}/0-shot.json",
    log:
        "results/logs/probe_checkpoint/{model}-step{step}.log",
    benchmark:
        "results/timings/probe_checkpoint/{model}-step{step}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(30),
    params:
        folder=lambda wildcards, input: str(Path(input.fetched).parent),
    shell:
        "python -m workflow_scripts.evaluation.score --checkpoint {params.folder:q} --plan {input.plan:q}"
        " --output {output.scores:q} --threads {threads} > {log:q} 2>&1"


rule collect_probes:
    """Results of all probes in one table."""
    input:
        scores=GRAPH.probes(),
    output:
        table="results/audit/{suite}/probes.parquet",
    log:
        "results/logs/collect_probes/{suite}.log",
    benchmark:
        "results/timings/collect_probes/{suite}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(30),
    shell:
        "python -m workflow_scripts.evaluation.collect --suite {wildcards.suite} --scores {input.scores:q}"
        " --output {output.table:q} > {log:q} 2>&1"


rule pass_gate:
    """Probes against the published curve; fails, by name, when a checkpoint does not behave as published."""
    input:
        scores="results/audit/{suite}/probes.parquet",
        published=GRAPH.published_table,
    output:
        defects="results/audit/{suite}/behaviour.tsv",
    log:
        "results/logs/pass_gate/{suite}.log",
    benchmark:
        "results/timings/pass_gate/{suite}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(30),
    params:
        task=GRAPH.probe_task,
    shell:
        "python -m workflow_scripts.evaluation.audit_scores --scores {input.scores:q} --published {input.published:q}"
        " --probe-task {params.task} --when-found refuse --output {output.defects:q} > {log:q} 2>&1"
