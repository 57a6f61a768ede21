"""Steps: arithmetic against published totals, and the language of step expressions."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.suite.steps import Step, hub_step_of_revision, parse_steps, require_every_step

SUITE_GRID = (0, *(2**k for k in range(10)), *range(1000, 143001, 1000))


def test_the_suite_trained_on_the_published_number_of_tokens():
    assert Step(143_000, 1024, 2048).tokens == 299_892_736_000
    assert Step(143_000, 1024, 2048).rows == 146_432_000


def test_a_4m_batch_model_has_half_the_trainer_steps_and_the_same_tokens():
    step = Step(143_000, 2048, 2048, hub_steps_per_iteration=2)
    assert (step.iteration, step.tokens) == (71_500, 299_892_736_000)
    with pytest.raises(ConfigError, match="falls between two trainer iterations"):
        Step(1001, 2048, 2048, hub_steps_per_iteration=2)


def test_epoch_fractions_of_the_real_data_sets():
    # data-order.md section 6: 90.30 % of the standard samples, 72.38 % of the deduplicated ones (two epochs)
    step = Step(143_000, 1024, 2048)
    assert round(step.epoch_fraction(162_165_686), 4) == 0.9030
    assert round(step.epoch_fraction(202_314_857), 4) == 0.7238


def test_the_suite_grid_has_154_checkpoints():
    assert len(SUITE_GRID) == 154


@pytest.mark.parametrize(
    ("expression", "steps"),
    [
        ("all", SUITE_GRID),
        ("last", (143_000,)),
        ("log", (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 143_000)),
        ("0..8", (0, 1, 2, 4, 8)),
        ("1000..5000:2000", (1000, 3000, 5000)),
        ("512, 0", (0, 512)),
        (3000, (3000,)),
        ([0, "1000..2000:1000"], (0, 1000, 2000)),
    ],
)
def test_expressions(expression, steps):
    assert parse_steps(expression, SUITE_GRID) == steps


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("999", "nearest are 512 and 1000"),
        ("143001", "no checkpoint at step 143001"),
        ("5..1", "is reversed"),
        ("0..10:0", "stride"),
        ("first", "cannot be parsed"),
        ("-1", "cannot be parsed"),
        ("٣", "cannot be parsed"),
        ("step3000", "cannot be parsed"),
        ("", "selects no step"),
        (True, "is not a step"),
        ("0..999999999:1", "more than"),
        (",".join(["1"] * 10_001), "a list of 10001 parts, more than 10000"),
        ("1" * 61, "'11111111111111111111...' cannot be parsed"),
    ],
)
def test_bad_expressions_are_one_line(expression, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_steps(expression, SUITE_GRID)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["main", "step01", "step", "step1\n", "../step1", "step-1", "step1; rm", "Step1"])
def test_revisions_that_are_none(name):
    with pytest.raises(ConfigError, match="is not of the form"):
        hub_step_of_revision(name)


@given(st.sampled_from(SUITE_GRID))
def test_revision_round_trip(hub):
    assert hub_step_of_revision(Step(hub, 1024, 2048).revision) == hub


@given(st.sets(st.sampled_from(SUITE_GRID), min_size=1))
def test_a_list_of_known_steps_is_itself_in_order(steps):
    assert parse_steps(list(steps), SUITE_GRID) == tuple(sorted(steps))
    assert parse_steps(", ".join(map(str, steps)), SUITE_GRID) == tuple(sorted(steps))


@given(st.integers(1, 1000), st.integers(2, 40), st.data())
def test_a_log_of_steps_has_each_once(first, count, data):
    steps = list(range(first, first + count))
    require_every_step(steps, Path("m.csv"))
    place = data.draw(st.integers(0, count - 1))
    with pytest.raises(DataError, match=r"m\.csv: step .* follows step"):
        require_every_step([*steps[: place + 1], *steps[place:]], Path("m.csv"))
    if 0 < place < count - 1:
        with pytest.raises(DataError, match="every step must occur once and in order"):
            require_every_step([*steps[:place], *steps[place + 1 :]], Path("m.csv"))
