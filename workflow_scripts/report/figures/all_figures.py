"""Every figure by name, with the tables it needs. A new figure is a short function over the tables and a line here.

``config/figures.yaml`` says for which runs a figure is drawn; a test holds the two lists together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from workflow_scripts.errors import UnknownNameError
from workflow_scripts.published.scoreboard import EARLIER_STEP
from workflow_scripts.published.summary import LAST_STEP
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.figures import (
    experiment_figures,
    loss_figures,
    published_arithmetic,
    published_arms,
    published_bias,
    published_comparisons,
    published_groups,
    published_memorization,
    published_versions,
    score_figures,
    term_heat_map,
)
from workflow_scripts.report.figures.dynamics import dynamics_figures
from workflow_scripts.report.figures.final_tables import published_final
from workflow_scripts.report.figures.published_comparisons import against_parameters
from workflow_scripts.report.figures.published_figures import five_shot_grid, published_over_training
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.report.traces import trace_figure


@dataclass(frozen=True)
class FigureEntry:
    """How to draw one figure and what to read for it (published, own, scores, metrics, ..., or an experiment).

    ``own`` are our scores that are drawn over published ones, ``own_<experiment>`` a table of an experiment that is; a
    run without such draws the figure without them.
    """

    draw: Callable[[Tables], Drawing]
    needs: tuple[str, ...]


def over_training(task: str) -> FigureEntry:
    """Published scores of one task over training."""
    return FigureEntry(partial(published_over_training, task=task), PUBLISHED)


PUBLISHED = ("published", "own")
ARMS = (*PUBLISHED, "own_interventions")
MEMORIZATION = ("published_memorization", "own_predictability")
# Figures 8 to 15 and tables 7, 8, 11 and 12 of the Pythia paper are listed in docs/report.md.
FIGURES: dict[str, FigureEntry] = {
    "published_lambada": over_training("lambada_openai"),
    "published_arc_easy": over_training("arc_easy"),
    "published_sciq": over_training("sciq"),
    "published_final_zero_shot": FigureEntry(partial(published_final, shots=0), PUBLISHED),
    "published_final_five_shot": FigureEntry(partial(published_final, shots=5), PUBLISHED),
    "published_against_parameters": FigureEntry(partial(against_parameters, step=LAST_STEP), PUBLISHED),
    "published_deduped_minus_standard": FigureEntry(published_comparisons.published_deduped_minus_standard, PUBLISHED),
    "published_batch_sizes": FigureEntry(published_comparisons.published_batch_sizes, PUBLISHED),
    "published_crows_pairs": FigureEntry(published_arms.published_crows_pairs, ARMS),
    "published_wsc": over_training("wsc"),
    "published_winogrande": over_training("winogrande"),
    "published_logiqa": over_training("logiqa"),
    "published_piqa": over_training("piqa"),
    "published_arc_challenge": over_training("arc_challenge"),
    "published_five_shot": FigureEntry(partial(five_shot_grid, data="standard"), PUBLISHED),
    "published_five_shot_deduped": FigureEntry(partial(five_shot_grid, data="deduped"), PUBLISHED),
    "published_mmlu": FigureEntry(published_groups.published_mmlu, PUBLISHED),
    "published_against_parameters_93000": FigureEntry(partial(against_parameters, step=EARLIER_STEP), PUBLISHED),
    "published_versions": FigureEntry(published_versions.published_versions, PUBLISHED),
    "published_blimp": FigureEntry(published_groups.published_blimp, PUBLISHED),
    "published_wikitext": FigureEntry(published_groups.published_wikitext, PUBLISHED),
    "published_intervention_lambada": FigureEntry(published_arms.published_intervention_lambada, ARMS),
    "published_winobias": FigureEntry(published_bias.published_winobias, ("published", "own_interventions")),
    "published_arithmetic": FigureEntry(published_arithmetic.published_arithmetic, ("published", "own_term_frequency")),
    "published_memorization": FigureEntry(published_memorization.published_memorization, MEMORIZATION),
    "published_memorization_rates": FigureEntry(published_memorization.published_memorization_rates, MEMORIZATION),
    "published_training_map": FigureEntry(published_memorization.published_training_map, ("published_training_map",)),
    "agreement_over_training": FigureEntry(score_figures.agreement_over_training, ("scores",)),
    "scores_over_training": FigureEntry(score_figures.scores_over_training, ("scores",)),
    "five_shot_minus_zero_shot": FigureEntry(score_figures.five_shot_minus_zero_shot, ("scores",)),
    "scores_against_parameters": FigureEntry(score_figures.scores_against_parameters, ("scores",)),
    "loss_over_training": FigureEntry(loss_figures.loss_over_training, ("metrics",)),
    "bits_per_byte": FigureEntry(loss_figures.bits_per_byte, ("validation",)),
    "memorization_quantiles": FigureEntry(experiment_figures.memorization_quantiles, ("memorization",)),
    "memorization_deciles": FigureEntry(experiment_figures.memorization_deciles, ("memorization",)),
    "predictability": FigureEntry(experiment_figures.predictability, ("predictability",)),
    "predictability_published": FigureEntry(experiment_figures.predictability_published, ("predictability",)),
    "term_frequency": FigureEntry(experiment_figures.term_frequency, ("term_frequency",)),
    "term_heat_map": FigureEntry(term_heat_map.term_heat_map, ("term_frequency",)),
    "interventions": FigureEntry(experiment_figures.interventions, ("interventions",)),
    "seeds_training_map": FigureEntry(experiment_figures.seeds_training_map, ("seeds",)),
    "scaling": FigureEntry(experiment_figures.scaling, ("scaling",)),
    "traces": FigureEntry(trace_figure.traces, ("traces",)),
    "dynamics_heads": FigureEntry(dynamics_figures.dynamics_heads, ("dynamics",)),
    "dynamics_weights": FigureEntry(dynamics_figures.dynamics_weights, ("dynamics",)),
    "dynamics_cka": FigureEntry(dynamics_figures.dynamics_cka, ("dynamics",)),
    "dynamics_logit_lens": FigureEntry(dynamics_figures.dynamics_logit_lens, ("dynamics",)),
    "dynamics_noise_scale": FigureEntry(dynamics_figures.dynamics_noise_scale, ("dynamics",)),
}


def figure_entry(name: str) -> FigureEntry:
    """Figure by name; raises UnknownNameError with the nearest name."""
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)
    return FIGURES[name]
