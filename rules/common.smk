# Config, names and paths that all stages share. What has branches lives in workflow_scripts/suite and is tested there.
import re
import sys

from workflow_scripts.cli import USER_ERROR
from workflow_scripts.errors import PipelineError
from workflow_scripts.suite import layout
from workflow_scripts.suite.figures import figure_names, figure_needs
from workflow_scripts.suite.run import corpus_path, load_run

PYTHON = sys.executable

try:
    RUN = load_run(config, workflow.configfiles)
    FIGURES = figure_names(RUN)
except PipelineError as error:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(USER_ERROR)

SUITE = RUN.suite
MODELS = {model.name: model for model in RUN.models}


def alternatives(names):
    """Regular expression that matches exactly these names, and nothing when there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    suite=re.escape(SUITE.name),
    dataset=alternatives(SUITE.datasets),
    model=alternatives(MODELS),
    step="0|[1-9][0-9]*",
    shots=alternatives(map(str, RUN.shots)),
    run=re.escape(RUN.name),
    figure=alternatives(FIGURES),


def model_of(wildcards):
    """The model that the wildcards name."""
    return MODELS[wildcards.model]


def dataset_model(key):
    """A model of the run that was trained on data set `key`; all of them share the training order's numbers."""
    return next(model for model in RUN.models if model.dataset == key)
