r"""Print the table of a suite's models, as the README of the original repository has it.

    python -m workflow_scripts.workflow.tools.models_table
    python -m workflow_scripts.workflow.tools.models_table --version v0

One row per size, from the registry (config/suites). Where the configuration files of the models have another learning
rate than the original README, the README's is in brackets. The batch is in tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from workflow_scripts import cli
from workflow_scripts.errors import UnknownNameError
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.registry import load_suite

COLUMNS = ("Params", "n_layers", "d_model", "n_heads", "d_head", "Batch Size", "Learning Rate", "Steps", "Checkpoints")
VERSIONS = ("v1", "added")  # the 16 models and the two that joined them
ONE_EACH = (*VERSIONS, "v0")  # one model for each size and data set
HUB = "https://huggingface.co"


def learning_rate(model: Model) -> str:
    """Peak of the learning rate, and the original README's where it is another."""
    told = "" if model.readme_learning_rate == model.learning_rate else f" ({model.readme_learning_rate:.1e})"
    return f"{model.learning_rate:.3g}{told}"


def link(model: Model) -> str:
    """Where the checkpoints are; a model that is trained here has no page."""
    if model.suite != "pythia":
        return model.name
    return f"[{model.dataset if model.version in ONE_EACH else model.name}]({HUB}/{model.repository})"


def cells(models: Sequence[Model]) -> tuple[str, ...]:
    """One row: models of one shape, which differ in their data or seeds."""
    model = models[0]
    shape = (model.layers, model.hidden_size, model.heads, model.head_size)
    links = ", ".join(map(link, models))
    return (model.size.upper(), *map(str, shape), str(model.batch_tokens), learning_rate(model),
            str(len(model.steps)), links)  # fmt: skip


def table(models: Sequence[Model]) -> Iterator[str]:
    """Lines of a Markdown table, smallest models first."""
    ordered = sorted(models, key=lambda model: (model.parameters, model.batch_tokens, model.size))
    groups = itertools.groupby(ordered, key=lambda model: (model.size, model.batch_tokens))
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(cells(list(group)) for _, group in groups)]
    return (f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and print the table."""
    parser = cli.parser(__doc__)
    parser.add_argument("--suite", default="pythia", help="suite in config/suites")
    parser.add_argument("--version", nargs="+", help="versions to show; default: the released suite, or all of another")
    options = parser.parse_args(arguments)
    models = load_suite(options.suite).models.values()
    known = sorted({model.version for model in models})
    wanted = options.version or ([name for name in VERSIONS if name in known] if options.suite == "pythia" else known)
    for name in wanted:
        if name not in known:
            raise UnknownNameError("version", name, known, f"suite {options.suite}")
    cli.say("\n".join(table([model for model in models if model.version in wanted])))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
