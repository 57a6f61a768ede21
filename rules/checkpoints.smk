# Checkpoints from wherever the run says they are, verified, one folder per model and step; with a disk budget each is
# deleted when it is scored, and a later one waits for that.
from functools import partial

from workflow_scripts.workflow import checkpoints, training
from workflow_scripts.workflow.dynamics import of_checkpoint as measured_inside
from workflow_scripts.workflow.evaluation import score_names

# A pattern with {file} for all files of the checkpoint of a job's model.
each_file = partial(checkpoints.each_file, RUN)
# Models that are trained here are fetched from the local mirror. The list of a revision fixes what its files hold.
MIRRORED_CHECKPOINT = (
    [f"results/mirror/models/{SUITE.organisation}/{{model}}/step{{step}}"]
    if RUN.retrains
    else []
)
of_mirror = training.in_mirror(RUN)


# A rule's outputs are the same for all of its jobs: one rule for each list of files, and nearly all models share one.
for LISTED in checkpoints.file_lists(RUN):

    rule:
        """Weights, configuration and tokenizer of one step, verified while they are copied."""
        name:
            LISTED.name
        input:
            list=expand("{mirrored}/sha256.txt", mirrored=MIRRORED_CHECKPOINT),
            files=ancient(
                expand(
                    "{mirrored}/{file}",
                    mirrored=MIRRORED_CHECKPOINT,
                    file=LISTED.files,
                )
            ),
            ledger=ancient(checkpoints.ledger_of(RUN)),
            room=ancient(checkpoints.room_for(SWEEP)),
        output:
            files=expand(
                "results/checkpoints/{{model}}/step{{step}}/{file}", file=LISTED.files
            ),
            hashes="results/checkpoints/{model}/step{step}/sha256.txt",
            receipt="results/checkpoints/{model}/step{step}/fetched.json",
        log:
            "results/logs/fetch_checkpoint/{model}-step{step}.log",
        benchmark:
            "results/timings/fetch_checkpoint/{model}-step{step}.tsv"
        wildcard_constraints:
            model=alternatives(LISTED.models),
        priority: 30
        localrule: DOWNLOADS_HERE
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=RESOURCES.memory("fetch"),
            runtime=RESOURCES.minutes("fetch"),
            disk_mb=RESOURCES.disk("fetch"),
            downloads=1,
        params:
            source=checkpoints.source_of(RUN),
            location=lambda wildcards: checkpoints.location_of(RUN),
            repository=f"{SUITE.organisation}/{{model}}",
            folder=subpath(output.receipt, parent=True),
            files=LISTED.files,
            ledger=checkpoints.fetch_arguments(RUN),
            commit=PINNED_COMMIT,
        shell:
            "python -m workflow_scripts.checkpoints.fetch --source {params.source:q} --location={params.location:q}"
            " --repository {params.repository:q} --step {wildcards.step:q} {params.ledger:q} --files {params.files:q}"
            " --output-dir {params.folder:q} --receipt {output.receipt:q} > {log:q} 2>&1"


if SWEEP.waits:

    rule release_checkpoint:
        """Delete a scored checkpoint, so that the next one of the sweep has room; only in runs with a disk budget."""
        input:
            scores=expand(
                "results/scores/{{model}}/step{{step}}/{scores}.json",
                scores=score_names(RUN),
            ),
            measured=measured_inside(RUN),
        output:
            marker="results/checkpoints/{model}/released/step{step}.json",
        log:
            "results/logs/release_checkpoint/{model}-step{step}.log",
        benchmark:
            "results/timings/release_checkpoint/{model}-step{step}.tsv"
        priority: 50
        localrule: True
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=grows(500),
            runtime=lasts(10),
        params:
            folder="results/checkpoints/{model}/step{step}",
        shell:
            "python -m workflow_scripts.checkpoints.release --checkpoint {params.folder:q} --scores {input.scores:q}"
            " --marker {output.marker:q} > {log:q} 2>&1"


rule checkpoint_ledger:
    """Commit, sizes and hashes of everything that the mirror serves; a Hub's ledger is part of this project."""
    input:
        lists=training.each_revision(
            RUN, "results/mirror/models/{organisation}/{model}/{revision}/sha256.txt"
        ),
        files=ancient(
            training.each_revision(
                RUN, "results/mirror/models/{organisation}/{model}/{revision}/{file}"
            )
        ),
        facts=ancient(SUITE_FACTS),
        schema=SUITE_SCHEMA,
    output:
        ledger="results/audit/{suite}/ledger.tsv",
    log:
        "results/logs/checkpoint_ledger/{suite}.log",
    benchmark:
        "results/timings/checkpoint_ledger/{suite}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(60),
    params:
        models=[model.name for model in RUN.models],
        changes=lambda wildcards: checkpoints.changes_of(RUN),
        source=checkpoints.source_of(RUN),
        location=lambda wildcards: checkpoints.location_of(RUN),
    shell:
        "python -m workflow_scripts.checkpoints.ledger --suite {wildcards.suite:q} --models {params.models:q}"
        " {params.changes:q} --source {params.source:q} --location={params.location:q} --ledger {output.ledger:q} > {log:q} 2>&1"


rule observe_model:
    """Lists of files, headers and samples of every revision of a model; a few megabytes of its terabytes."""
    input:
        lists=of_mirror(
            "results/mirror/models/{organisation}/{model}/{revision}/sha256.txt"
        ),
        files=ancient(
            of_mirror("results/mirror/models/{organisation}/{model}/{revision}/{file}")
        ),
        facts=ancient(SUITE_FACTS),
        schema=SUITE_SCHEMA,
    output:
        observed="results/audit/{suite}/{model}.json",
    log:
        "results/logs/observe_model/{suite}-{model}.log",
    benchmark:
        "results/timings/observe_model/{suite}-{model}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(500),
        runtime=lasts(240),
        downloads=1,
    params:
        changes=lambda wildcards: checkpoints.changes_of(RUN, wildcards.model),
        source=checkpoints.source_of(RUN),
        location=lambda wildcards: checkpoints.location_of(RUN),
    shell:
        "python -m workflow_scripts.checkpoints.observe --suite {wildcards.suite:q} --model {wildcards.model:q}"
        " {params.changes:q} --source {params.source:q} --location={params.location:q} --output {output.observed:q} > {log:q} 2>&1"


rule audit_checkpoints:
    """Duplicates, chimeras, gaps and damage among the checkpoints of a run, as a table that a run can obey."""
    input:
        observed=expand(
            "results/audit/{{suite}}/{model}.json",
            model=[model.name for model in RUN.models],
        ),
        ledger=checkpoints.ledger_of(RUN),
        facts=ancient(SUITE_FACTS),
        schema=SUITE_SCHEMA,
    output:
        defects="results/audit/{suite}/defects.tsv",
    log:
        "results/logs/audit_checkpoints/{suite}.log",
    benchmark:
        "results/timings/audit_checkpoints/{suite}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=lasts(30),
    params:
        ledger=checkpoints.ledger_arguments(RUN),
    shell:
        "python -m workflow_scripts.checkpoints.audit --observed {input.observed:q} {params.ledger:q}"
        " --output {output.defects:q} > {log:q} 2>&1"


rule run_quickstart:
    """The suite's quickstart: load a checkpoint with transformers, generate, decode."""
    input:
        checkpoint=ancient(
            each_file(
                "results/checkpoints/{model}/step{step}/{file}", transformers=True
            )
        ),
        hashes="results/checkpoints/{model}/step{step}/sha256.txt",
    output:
        text="results/quickstart/{model}/step{step}.txt",
    log:
        "results/logs/run_quickstart/{model}-step{step}.log",
    benchmark:
        "results/timings/run_quickstart/{model}-step{step}.tsv"
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=RESOURCES.memory("quickstart"),
        runtime=lasts(30),
    params:
        folder=subpath(input.hashes, parent=True),
    shell:
        "python -m workflow_scripts.evaluation.quickstart --checkpoint {params.folder:q} --output {output.text:q}"
        " > {log:q} 2>&1"
