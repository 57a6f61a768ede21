"""The audit of published results: each known defect is a rule that fires with its evidence, or stays silent.

Rules only look and append notes; they never change a number. ``RULES`` is the list of all.
"""

from collections.abc import Callable, Iterator, Sequence

from workflow_scripts.published.rules import rules_bias, rules_content, rules_gaps, rules_names
from workflow_scripts.published.rules.findings import Defect, Result

Rule = Callable[[Sequence[Result]], Iterator[Defect]]

RULES: tuple[Rule, ...] = (
    rules_names.five_shot_that_is_zero_shot,
    rules_names.misleading_file_names,
    rules_names.size_vocabularies,
    rules_names.trainer_steps,
    rules_names.disagreeing_data_paths,
    rules_content.copies,
    rules_content.duplicates,
    rules_content.identical_across_data,
    rules_content.identical_to_step_0,
    rules_content.equal_results,
    rules_gaps.missing_steps,
    rules_gaps.missing_tasks,
    rules_gaps.varying_batch_size,
    rules_gaps.recipes,
    rules_gaps.mixed_metrics,
    rules_bias.controls,
    rules_bias.interventions_without_effect,
    rules_bias.winobias_harness,
    rules_bias.winobias_measure,
)


def find_defects(results: Sequence[Result]) -> list[Defect]:
    """Run every rule over the results, in order; appends notes to them."""
    return [defect for rule in RULES for defect in rule(results)]
