# The Pythia suite from its pretokenised corpus to its figures, in data-flow order.
# `snakemake -c2` makes everything that the run in config/config.yaml asks for; `snakemake -n` says what that would be.
from itertools import chain

from snakemake.utils import min_version

min_version("9.27")


include: "rules/checkout.smk"


configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/dataset.smk"
include: "rules/training.smk"
include: "rules/checkpoints.smk"
include: "rules/evaluation.smk"
include: "rules/published.smk"
include: "rules/experiments.smk"
include: "rules/dynamics.smk"
include: "rules/report.smk"


rule data:
    """Data sets downloaded, verified, put into training order, with sample batches."""
    input:
        dataset.data_files(RUN),


rule retrain:
    """Every model of the run trained; nothing where checkpoints come from elsewhere."""
    input:
        training.trained_files(RUN),


rule checkpoints:
    """Every checkpoint of the run fetched and verified; those of models trained here are published before."""
    input:
        training.mirrored_files(RUN),
        lambda wildcards: checkpoints.fetched(RUN, SWEEP),


rule fetch:
    """Everything that the run takes from elsewhere, so that the rest needs no network."""
    input:
        rules.checkpoints.input,
        evaluation.fetched_files(RUN),
        rules.data.input if RUN.retrains else [],


rule audit:
    """Defects of what is served: duplicates, chimeras, gaps, damage."""
    input:
        checkpoints.audited(RUN),


rule gate:
    """A short probe of each published model, before a long sweep."""
    input:
        evaluation.gate(RUN),


rule quickstart:
    """Text that the last checkpoint of the first model generates."""
    input:
        checkpoints.quickstarts(RUN),


rule evaluate:
    """Every checkpoint scored on every task, in one table."""
    input:
        lambda wildcards: evaluation.evaluation_files(RUN),


rule published:
    """The authors' results in one table, with what is wrong with them."""
    input:
        expand(
            f"results/runs/{RUN.name}/tables/published{{end}}",
            end=[".parquet", "_defects.tsv", "_refused.tsv", ".files.tsv"],
        ),
        comparison_table(RUN),


rule experiments:
    """The experiments that the run lists."""
    input:
        experiments.experiment_files(RUN),


rule certificates:
    """Generation by the original procedure beside the teacher-forced scores, row by row."""
    input:
        experiments.certificates(RUN),


rule figures:
    """Every figure that the run has data for."""
    input:
        figure_files(RUN),


rule report:
    """The one-page report and its figures."""
    input:
        f"results/runs/{RUN.name}/run.json",
        f"results/runs/{RUN.name}/report.html",
        figure_files(RUN),


rule notebook:
    """The sample notebook with its outputs."""
    input:
        f"results/runs/{RUN.name}/explore.ipynb" if RUN.models else [],


# Of an intermediate file that is gone Snakemake takes no notice on its own, so all are named: file by file, and for
# checkpoints and their results, which are many, the last of each job and those that are gone.
rule all:
    """Everything that the run in the configuration asks for."""
    default_target: True
    input:
        rules.data.input if RUN.retrains else [],
        rules.retrain.input,
        training.published_files(RUN),
        rules.checkpoints.input,
        rules.evaluate.input,
        rules.published.input if RUN.shows_published else [],
        rules.experiments.input,
        rules.report.input,


# Only now all rules and files are known, so a target can be held to them. Rules of your own may follow below.
FILES = [path for path in rules.all.input if isinstance(path, str)]
FILES += chain(*checkpoints.stored(RUN, SWEEP), *evaluation.scored(RUN))
try:
    if not readiness.rules_follow(Path(workflow.main_snakefile)):
        readiness.check_targets(
            RUN, one_run.targets(sys.argv), list(workflow.rules), FILES
        )
except PipelineError as error:
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(USER_ERROR)


onstart:
    jobs = list(workflow.dag.needrun_jobs())
    fetched = [(job.rule.name, job.wildcards_dict) for job in jobs]
    try:
        if "slurm" in workflow.executor_plugin.name:
            partition_fit.require_partitions(jobs, RESOURCES.site, GROUPS)
        if not workflow.touch:
            readiness.require_places(places.places_of_jobs(RUN, fetched))
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(USER_ERROR)
