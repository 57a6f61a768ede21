# The run, checked; its grid; and what the wildcards may be. All logic is in workflow_scripts/suite, typed and tested.
import sys
from pathlib import Path

from workflow_scripts.cli import USER_ERROR
from workflow_scripts.errors import PipelineError
from workflow_scripts.suite import layout
from workflow_scripts.workflow.checkpoints import (
    commit_of,
    hold_to_ledger,
    leave_out_defects,
)
from workflow_scripts.workflow.sweep import plan_sweep
from workflow_scripts.workflow.tools import one_run
from workflow_scripts.workflow.experiment_graph import ExperimentGraph
from workflow_scripts.workflow.graph import (
    Graph,
    alternatives,
    collect_garbage_rarely,
    use_this_interpreter,
)
from workflow_scripts.workflow.original import Original
from workflow_scripts.workflow.resources import JobResources, grows, lasts
from workflow_scripts.suite.run import CURRENT, load_run
from workflow_scripts.training.recipe import recipe_of

use_this_interpreter()
collect_garbage_rarely()
try:
    RUN = hold_to_ledger(leave_out_defects(load_run(config, workflow.configfiles)))
    GRAPH = Graph(RUN)
    SWEEP = plan_sweep(RUN)
    PINNED_COMMIT = commit_of(RUN)
    RESOURCES = JobResources(RUN)
    EXPERIMENTS = ExperimentGraph(GRAPH)
    ORIGINAL = Original(GRAPH)
    one_run.claim(Path.cwd(), sys.argv)
except PipelineError as error:
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(USER_ERROR)

SUITE = RUN.suite
for line in RUN.left_out:
    sys.stderr.write(f"{line}\n")


wildcard_constraints:
    suite=alternatives([SUITE.name]),
    dataset=alternatives(SUITE.datasets),
    model=alternatives(GRAPH.models),
    organisation=alternatives([SUITE.organisation]),
    step="0|[1-9][0-9]*",
    shots=alternatives(sorted({shots for _, shots in RUN.score_kinds})),
    kind="|"
    + alternatives(
        layout.kind_suffix(name) for name in RUN.protocols if name != CURRENT
    ),
    run=alternatives([RUN.name]),
    figure=alternatives(GRAPH.figures),
    arm=alternatives(EXPERIMENTS.arm_names()),


# A profile says so with a resource, because a key of the configuration would be part of the run.
DOWNLOADS_HERE = workflow.global_resources.get("downloads_here").value is not None
if DOWNLOADS_HERE:

    localrules:
        download_dataset,
        download_published,
        fetch_tokenizer,
        observe_model,
