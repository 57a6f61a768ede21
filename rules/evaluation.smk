# Evaluation: lm-eval builds the requests of each task once, one job scores one checkpoint on all tasks, results are
# collected. Scores and plans are flagged update(): what is there and right is kept, so that a further task costs itself.
from workflow_scripts.workflow import evaluation

TASKS = evaluation.task_names(RUN)
TASK_FILES = evaluation.task_files(RUN, RUN.tasks)
TASK_FOLDERS = evaluation.data_folders(RUN)
PINNED_DATA = evaluation.locked_commits()


# A rule's outputs are the same for all of its jobs: one rule for each list of splits.
for LISTED in evaluation.split_lists():

    rule:
        """Documents of lm-eval's tasks: one configuration of a data set of the Hub, a parquet file per split."""
        name:
            LISTED.name
        input:
            lock=ancient(layout.TASK_LOCK),
        output:
            files=expand(
                "results/datasets/{{repository}}/{{configuration}}/{split}.parquet",
                split=LISTED.splits,
            ),
            receipt="results/datasets/{repository}/{configuration}/fetched.json",
        log:
            "results/logs/fetch_data/{repository}/{configuration}.log",
        benchmark:
            "results/timings/fetch_data/{repository}/{configuration}.tsv"
        wildcard_constraints:
            repository=alternatives(data.repository for data in LISTED.data_sets),
            configuration=alternatives(data.config for data in LISTED.data_sets),
        priority: 50
        localrule: DOWNLOADS_HERE
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(1000),
            runtime=lasts(60),
            downloads=1,
        params:
            source=evaluation.data_source(RUN),
            location=evaluation.data_location(RUN),
            splits=LISTED.splits,
            folder=subpath(output.receipt, parent=True),
            commit=PINNED_DATA,
        shell:
            "python -m workflow_scripts.evaluation.fetch_data --source {params.source:q} --location={params.location:q}"
            " --repository {wildcards.repository:q} --config {wildcards.configuration:q} --splits {params.splits:q}"
            " --lock {input.lock:q} --output-dir {params.folder:q} --receipt {output.receipt:q} > {log:q} 2>&1"


rule plan_evaluation:
    """Requests of each task, built by lm-eval, tokenised and packed once for every checkpoint."""
    input:
        data=TASK_FILES,
        definitions=evaluation.definition_files(RUN),
        tokenizer="results/corpus/{suite}/tokenizer.json",
    output:
        plans=update(
            expand(
                "results/plans/{{suite}}/{{shots}}-shot{{kind}}/{task}.plan",
                task=TASKS,
            )
        ),
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
        # Read off the outputs, so that a run with fewer tasks makes no plan again.
        tasks=lambda wildcards, output: [Path(plan).stem for plan in output.plans],
        folders=TASK_FOLDERS,
        length=evaluation.longest_sequence(RUN),
        limit=evaluation.limit_arguments(RUN),
        seed=evaluation.seed_arguments(RUN),
        protocol=evaluation.protocol_of,
        renewal=evaluation.renewal_arguments(RUN),
        include=evaluation.planning_arguments(RUN),
    shell:
        "python -m workflow_scripts.evaluation.build_plan --tasks {params.tasks:q} --shots {wildcards.shots:q}"
        " --protocol {params.protocol:q} --data-dir {params.folders:q} --tokenizer {input.tokenizer:q}"
        " --max-length {params.length:q} {params.limit:q} {params.seed:q} {params.renewal:q} {params.include:q}"
        " --output {output.plans:q} > {log:q} 2>&1"


rule score_checkpoint:
    """One checkpoint on all tasks and all numbers of shots, under one protocol."""
    input:
        # What the weights are, their hashes say; they may be fetched again, later than their scores.
        checkpoint=ancient(each_file("results/checkpoints/{model}/step{step}/{file}")),
        hashes="results/checkpoints/{model}/step{step}/sha256.txt",
        plans=expand(
            "results/plans/{suite}/{shots}-shot{{kind}}/{task}.plan",
            suite=SUITE.name,
            shots=RUN.shots,
            task=TASKS,
        ),
    output:
        scores=update(
            expand(
                "results/scores/{{model}}/step{{step}}/{shots}-shot{{kind}}.json",
                shots=RUN.shots,
            )
        ),
        loglikelihoods=update(
            expand(
                "results/scores/{{model}}/step{{step}}/{shots}-shot{{kind}}.json.loglikelihoods.npz",
                shots=RUN.shots,
            )
        ),
    log:
        "results/logs/score_checkpoint/{model}-step{step}{kind}.log",
    benchmark:
        "results/timings/score_checkpoint/{model}-step{step}{kind}.tsv"
    # On a cluster an allocation holds as many checkpoints of one model as the profile's group-components say. Not under
    # a disk budget: there a checkpoint waits until another is scored and released, which could be in its allocation.
    group:
        None if SWEEP.waits else "score_{model}"
    conda:
        "../envs/conda.yaml"
    resources:
        **RESOURCES.devices("evaluate"),
        mem_mb=RESOURCES.memory("evaluate"),
        runtime=RESOURCES.minutes("evaluate"),
        evaluations=1,
    params:
        folder=subpath(input.hashes, parent=True),
        tasks=evaluation.tasks_of_scores(RUN),
        renewal=evaluation.renewal_arguments(RUN),
        bootstrap=RUN.section("evaluation").get("bootstrap_iters", 0),
        engine=evaluation.engine_arguments(RUN, RESOURCES.engine_arguments()),
    shell:
        "python -m workflow_scripts.evaluation.score --checkpoint {params.folder:q} --plan {input.plans:q}"
        " --output {output.scores:q} --threads {threads} --bootstrap-iters {params.bootstrap:q}"
        " {params.engine:q} {params.renewal:q} > {log:q} 2>&1"


if RUN.stock_tasks:

    rule score_stock_tasks:
        """One checkpoint on the run's further tasks by stock lm-eval, generation included."""
        input:
            checkpoint=ancient(
                each_file(
                    "results/checkpoints/{model}/step{step}/{file}", transformers=True
                )
            ),
            hashes="results/checkpoints/{model}/step{step}/sha256.txt",
            data=evaluation.task_files(RUN, [*SUITE.made_tasks, *RUN.stock_tasks]),
        output:
            scores="results/scores/{model}/step{step}/{shots}-shot.stock.json",
        log:
            "results/logs/score_stock_tasks/{model}-step{step}-{shots}-shot.log",
        benchmark:
            "results/timings/score_stock_tasks/{model}-step{step}-{shots}-shot.tsv"
        conda:
            "../envs/conda.yaml"
        resources:
            **RESOURCES.devices("evaluate"),
            mem_mb=RESOURCES.memory("evaluate"),
            runtime=RESOURCES.minutes("evaluate"),
        params:
            folder=subpath(input.hashes, parent=True),
            tasks=evaluation.stock_tasks(RUN),
            folders=TASK_FOLDERS,
            definitions=evaluation.definition_arguments(RUN),
            limit=evaluation.limit_arguments(RUN),
            seed=evaluation.seed_arguments(RUN),
            renewal=RUN.section("evaluation").get("renewal"),
            engine=evaluation.engine_arguments(RUN, RESOURCES.engine_arguments()),
        shell:
            "python -m workflow_scripts.evaluation.stock --checkpoint {params.folder:q} --tasks {params.tasks:q}"
            " --shots {wildcards.shots:q} --data-dir {params.folders:q} {params.definitions:q} {params.limit:q}"
            " {params.seed:q} --output {output.scores:q} --threads {threads} {params.engine:q} > {log:q} 2>&1"


if RUN.models:
    SAMPLE_MODEL, SAMPLE_STEP = checkpoints.sample_checkpoint(RUN)

    rule crosscheck:
        """Stock lm-eval beside the fast path on a few documents of every task; fails when they differ."""
        input:
            checkpoint=ancient(
                expand(
                    "results/checkpoints/{model}/step{step}/{file}",
                    model=SAMPLE_MODEL,
                    step=SAMPLE_STEP,
                    file=RUN.models[0].files,
                )
            ),
            hashes=f"results/checkpoints/{SAMPLE_MODEL}/step{SAMPLE_STEP}/sha256.txt",
            data=TASK_FILES,
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
            tasks=TASKS,
            folders=TASK_FOLDERS,
            documents=RUN.section("evaluation").get("crosscheck_documents", 5),
            shots=RUN.shots,
            folder=subpath(input.hashes, parent=True),
            include=evaluation.crosscheck_arguments(RUN, SAMPLE_MODEL),
        shell:
            "python -m workflow_scripts.evaluation.crosscheck --checkpoint {params.folder:q} --tasks {params.tasks:q}"
            " --shots {params.shots:q} --data-dir {params.folders:q} --limit {params.documents:q} {params.include:q}"
            " --output {output.verdict:q} > {log:q} 2>&1"

    rule collect_scores:
        """All results of the run in one tidy table."""
        input:
            scores=evaluation.score_files(RUN),
            plans=evaluation.compared_plans(RUN),
            released=ancient(checkpoints.released(SWEEP)),
            settings="results/runs/{run}/run.json",
            facts=ancient(SUITE_FACTS),
            schema=SUITE_SCHEMA,
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
        params:
            # The files are those of the run in run.json; thousands of names would not fit on a command line.
            folder=lambda wildcards, input: str(Path(input.scores[0]).parents[2]),
        shell:
            "python -m workflow_scripts.evaluation.collect --run {input.settings:q} --scores-dir {params.folder:q}"
            " --plans {input.plans:q}"
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


if evaluation.probes(RUN):

    use rule plan_evaluation as plan_probe with:
        input:
            data=evaluation.task_files(RUN, [evaluation.PROBE_TASK]),
            tokenizer="results/corpus/{suite}/tokenizer.json",
        output:
            plans="results/plans/{suite}/probe/{shots}-shot{kind}.plan",
        log:
            "results/logs/plan_probe/{suite}-{shots}-shot{kind}.log",
        benchmark:
            "results/timings/plan_probe/{suite}-{shots}-shot{kind}.tsv"
        params:
            tasks=evaluation.PROBE_TASK,
            limit=["--limit", evaluation.PROBE_ITEMS],

    use rule score_checkpoint as probe_checkpoint with:
        input:
            checkpoint=ancient(
                each_file("results/checkpoints/{model}/step{step}/{file}")
            ),
            hashes="results/checkpoints/{model}/step{step}/sha256.txt",
            plans=f"results/plans/{SUITE.name}/probe/0-shot{{kind}}.plan",
        output:
            scores="results/probes/{model}/step{step}/0-shot{kind}.json",
            loglikelihoods="results/probes/{model}/step{step}/0-shot{kind}.json.loglikelihoods.npz",
        log:
            "results/logs/probe_checkpoint/{model}-step{step}{kind}.log",
        benchmark:
            "results/timings/probe_checkpoint/{model}-step{step}{kind}.tsv"
        params:
            tasks=evaluation.PROBE_TASK,

    rule collect_probes:
        """Results of all probes in one table."""
        input:
            scores=evaluation.probes(RUN),
            facts=ancient(SUITE_FACTS),
            schema=SUITE_SCHEMA,
        output:
            table="results/audit/{suite}/probes.parquet",
            csv="results/audit/{suite}/probes.csv",
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
            "python -m workflow_scripts.evaluation.collect --suite {wildcards.suite:q} --scores {input.scores:q}"
            " --output {output.table:q} > {log:q} 2>&1"

    rule pass_gate:
        """Probes against the published curve; fails, by name, when a checkpoint does not behave as published."""
        input:
            scores="results/audit/{suite}/probes.parquet",
            published="config/suites/published/pythia-evals.parquet",
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
            task=evaluation.PROBE_TASK,
        shell:
            "python -m workflow_scripts.evaluation.audit_scores --scores {input.scores:q} --published {input.published:q}"
            " --probe-task {params.task:q} --when-found refuse --output {output.defects:q} > {log:q} 2>&1"
