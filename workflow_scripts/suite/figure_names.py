"""Which figures a run draws: the list in ``config/figures.yaml`` against what the run has data for."""

import functools
from collections.abc import Iterable, Mapping

from workflow_scripts import ROOT
from workflow_scripts.errors import UnknownNameError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite.experiment_files import experiments_of
from workflow_scripts.suite.run import Run
from workflow_scripts.suite.safe_yaml import load_yaml

# Published numbers of other papers that are part of this project, by the name that figures need them under.
PUBLISHED_FILES = {
    "published_memorization": "config/suites/published/memorization-confusions.csv",
    "published_training_map": "config/suites/published/polypythias-training-map.csv",
}
# Suite, version and tasks (lm-eval's present names) of the published results; a test holds them to compare.py.
PUBLISHED_SUITE, PUBLISHED_VERSION = "pythia", "v1"
PUBLISHED_TASKS = (
    "lambada_openai", "piqa", "winogrande", "wsc", "arc_easy", "arc_challenge", "sciq", "logiqa", "crows_pairs_english",
    "crows_pairs_english_gender",
)  # fmt: skip
# Tables of experiments that figures draw over published numbers, by the name that figures need them under.
OWN_TABLES = {
    "own_interventions": ("interventions", "interventions"),
    "own_term_frequency": ("term_frequency", "term_frequency_terms"),
    "own_predictability": ("predictability", "predictability"),
}
LIST = ROOT / "config" / "figures.yaml"


@functools.cache
def known_figures() -> Mapping[str, JsonMapping]:
    """Every figure with what it needs and the suites it makes sense for."""
    figures: Mapping[str, JsonMapping] = load_yaml(LIST)["figures"]
    return figures


def figure_needs(name: str) -> tuple[str, ...]:
    """Kinds of tables that figure ``name`` is drawn from."""
    return tuple(known_figures()[name]["needs"])


def available_needs(run: Run) -> set[str]:
    """Kinds of tables that ``run`` makes."""
    needs = {"published", "own", *OWN_TABLES, *PUBLISHED_FILES} if run.shows_published else set()
    if run.models:
        needs.add("scores")
    if run.retrains:
        needs.add("metrics")
    if run.retrains and has_held_out_text(run):
        needs.add("validation")
    return needs | set(experiments_of(run))


def is_compared(suite: str, models: Iterable[tuple[str, str]], tasks: Iterable[str]) -> bool:
    """True for a run that scores published models, given as version and arm, on published tasks.

    >>> is_compared("pythia", [("v1", "baseline")], ["piqa"]), is_compared("pocket", [("v1", "baseline")], ["piqa"])
    (True, False)
    """
    is_published = suite == PUBLISHED_SUITE and (PUBLISHED_VERSION, "baseline") in set(models)
    return is_published and bool(set(tasks) & set(PUBLISHED_TASKS))


def own_table(need: str, suite: str, experiments: Iterable[str]) -> list[str]:
    """Name of the table that ``need`` stands for; none for a suite that was not published or without the experiment.

    >>> own_table("own_predictability", "pythia", ["predictability"]), own_table("own_predictability", "pocket", [])
    (['predictability'], [])
    """
    experiment, table = OWN_TABLES[need]
    return [table] if suite == PUBLISHED_SUITE and experiment in experiments else []


def has_held_out_text(run: Run) -> bool:
    """True when the suite keeps part of its corpus for validation."""
    return bool(run.suite.corpus and run.suite.corpus.get("held_out"))


def figure_names(run: Run) -> tuple[str, ...]:
    """Figures of ``run``: those it names, or all that it has data for; raises UnknownNameError."""
    wanted = run.settings["figures"]
    if wanted != "all":
        names = wanted.split(",") if isinstance(wanted, str) else wanted
        for name in names:
            if name.strip() not in known_figures():
                raise UnknownNameError("figure", name.strip(), known_figures())
        return tuple(name.strip() for name in names)
    available = available_needs(run)
    return tuple(name for name, figure in known_figures().items() if fits(figure, run, available))


def fits(figure: JsonMapping, run: Run, available: set[str]) -> bool:
    """True when ``run`` has the data for ``figure``: its tables, suite, numbers of shots and tasks."""
    suites, tasks = figure["suites"], {task.name for task in run.tasks}
    return (
        set(figure["needs"]) <= available
        and (suites == "all" or run.suite.name in suites)
        and set(figure.get("shots", ())) <= set(run.shots)
        and set(figure.get("tasks", ())) <= tasks
    )
