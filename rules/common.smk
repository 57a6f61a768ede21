# The run, checked; its grid; and what the wildcards may be. All logic is in workflow_scripts/workflow, typed and tested.
import os
import sys
from pathlib import Path

from snakemake.logging import logger

from workflow_scripts.cli import USER_ERROR
from workflow_scripts.errors import PipelineError
from workflow_scripts.snakemake_plugins.snakemake_logger_plugin_brief import listen
from workflow_scripts.suite import layout
from workflow_scripts.workflow import places, readiness
from workflow_scripts.workflow.requests import partition_fit
from workflow_scripts.workflow.checkpoints import (
    commit_of,
    hold_to_ledger,
    leave_out_defects,
)
from workflow_scripts.workflow.cluster import patient_executor
from workflow_scripts.workflow.sweep import plan_sweep
from workflow_scripts.workflow.tools import one_run
from workflow_scripts.workflow.planning_process import (
    alternatives,
    collect_garbage_rarely,
    use_this_interpreter,
)
from workflow_scripts.workflow.resources import JobResources, grows, lasts
from workflow_scripts.workflow.training import require_same_segments
from workflow_scripts.suite.run import CURRENT, load_run
from workflow_scripts.suite.experiment_files import experiments_of
from workflow_scripts.suite.figure_names import figure_names
from workflow_scripts.workflow.experiments import declaration_of

listen(logger, sys.argv)  # whatever the way of starting, a failed job is reported
use_this_interpreter()
collect_garbage_rarely()
patient_executor.take_over()  # what `executor: slurm` means here
try:
    RUN = hold_to_ledger(leave_out_defects(load_run(config, workflow.configfiles)))
    FIGURES = figure_names(RUN)
    EXPERIMENTS = experiments_of(RUN)
    readiness.require_experiment_names(RUN)
    SWEEP = plan_sweep(RUN)
    readiness.require_folders(RUN)
    readiness.require_own_tasks(RUN)
    PINNED_COMMIT = commit_of(RUN)
    # How many jobs share an allocation is the profile's choice; without a cluster there are no allocations.
    GROUPS = workflow.group_settings.group_components if workflow.group_settings else {}
    RESOURCES = JobResources(RUN, groups=GROUPS)
    require_same_segments(RUN)
    one_run.claim(Path.cwd(), sys.argv)
except PipelineError as error:
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(USER_ERROR)

SUITE = RUN.suite
for line in (*RUN.left_out, *RUN.renamed):
    sys.stderr.write(f"{line}\n")


# What says what the suite is, and beside it what the suite of the published results is.
SUITE_FACTS = [
    f"config/suites/{SUITE.name}.yaml",
    *filter(os.path.exists, SUITE.ledgers),
]
BOTH_FACTS = list(dict.fromkeys([*SUITE_FACTS, "config/suites/pythia.yaml"]))
# Who reads a file of config/ reads its schema too. That decides only what is refused: an edit makes nothing again.
SUITE_SCHEMA = ancient("config/schemas/suite.schema.yaml")


wildcard_constraints:
    suite=alternatives([SUITE.name]),
    dataset=alternatives(SUITE.datasets),
    model=alternatives(model.name for model in RUN.models),
    organisation=alternatives([SUITE.organisation]),
    step="0|[1-9][0-9]*",
    shots=alternatives(sorted({shots for _, shots in RUN.score_kinds})),
    kind="|"
    + alternatives(
        layout.kind_suffix(name) for name in RUN.protocols if name != CURRENT
    ),
    run=alternatives([RUN.name]),
    figure=alternatives(FIGURES),
    arm=alternatives(declaration_of(RUN).arms),


# A profile says so with a resource, because a key of the configuration would be part of the run.
DOWNLOADS_HERE = workflow.global_resources.get("downloads_here").value is not None
if DOWNLOADS_HERE:

    localrules:
        download_published,
        observe_model,
