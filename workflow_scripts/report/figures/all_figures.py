"""Every figure by name, with the tables it needs. A new figure is a short function over the tables and a line here.

``config/figures.yaml`` says for which runs a figure is drawn; a test holds the two lists together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workflow_scripts.errors import UnknownNameError
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.figures import (
    experiment_figures,
    final_tables,
    loss_figures,
    published_arithmetic,
    published_arms,
    published_bias,
    published_comparisons,
    published_figures,
    published_groups,
    published_memorization,
    published_versions,
    score_figures,
    term_heat_map,
)
from workflow_scripts.report.report_tables import Tables


@dataclass(frozen=True)
class FigureEntry:
    """How to draw one figure and what to read for it (published, own, scores, metrics, ..., or an experiment).

    ``own`` are our scores that are drawn over published ones, ``own_<experiment>`` a table of an experiment that is; a
    run without such draws the figure without them.
    """

    draw: Callable[[Tables], Drawing]
    needs: tuple[str, ...]


ARMS = ("published", "own", "own_interventions")
MEMORIZATION = ("published_memorization", "own_predictability")
FIGURES: dict[str, FigureEntry] = {
    "published_lambada": FigureEntry(published_figures.published_lambada, ("published", "own")),
    "published_arc_easy": FigureEntry(published_figures.published_arc_easy, ("published", "own")),
    "published_sciq": FigureEntry(published_figures.published_sciq, ("published", "own")),
    "published_final_zero_shot": FigureEntry(final_tables.published_final_zero_shot, ("published", "own")),
    "published_final_five_shot": FigureEntry(final_tables.published_final_five_shot, ("published", "own")),
    "published_against_parameters": FigureEntry(
        published_comparisons.published_against_parameters, ("published", "own")
    ),
    "published_deduped_minus_standard": FigureEntry(
        published_comparisons.published_deduped_minus_standard, ("published", "own")
    ),
    "published_batch_sizes": FigureEntry(published_comparisons.published_batch_sizes, ("published", "own")),
    "published_crows_pairs": FigureEntry(published_arms.published_crows_pairs, ARMS),
    "published_wsc": FigureEntry(published_figures.published_wsc, ("published", "own")),
    "published_winogrande": FigureEntry(published_figures.published_winogrande, ("published", "own")),
    "published_logiqa": FigureEntry(published_figures.published_logiqa, ("published", "own")),
    "published_piqa": FigureEntry(published_figures.published_piqa, ("published", "own")),
    "published_arc_challenge": FigureEntry(published_figures.published_arc_challenge, ("published", "own")),
    "published_five_shot": FigureEntry(published_figures.published_five_shot, ("published", "own")),
    "published_five_shot_deduped": FigureEntry(published_figures.published_five_shot_deduped, ("published", "own")),
    "published_mmlu": FigureEntry(published_groups.published_mmlu, ("published", "own")),
    "published_against_parameters_93000": FigureEntry(
        published_comparisons.published_against_parameters_93000, ("published", "own")
    ),
    "published_versions": FigureEntry(published_versions.published_versions, ("published", "own")),
    "published_blimp": FigureEntry(published_groups.published_blimp, ("published", "own")),
    "published_wikitext": FigureEntry(published_groups.published_wikitext, ("published", "own")),
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
}


def figure_entry(name: str) -> FigureEntry:
    """Figure by name; raises UnknownNameError with the nearest name."""
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)
    return FIGURES[name]
