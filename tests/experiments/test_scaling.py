"""Power laws: known ones are found again, too little is refused, and a run's tables come out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import DataError
from workflow_scripts.experiments import scaling
from workflow_scripts.experiments.outputs import read_verdict
from workflow_scripts.experiments.predictability import compute_of
from workflow_scripts.experiments.statistics.power_law import describe, fit
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.suite.registry import load_suite

SIZES = np.array([7e7, 1.6e8, 4.1e8, 1e9, 2.8e9, 1.2e10])
TOKENS = np.array([3e10, 1e11, 3e11])
POCKET = load_suite("pocket")


@settings(deadline=None, max_examples=8)
@given(st.floats(1.2, 2.5), st.floats(0.2, 0.5))
def test_a_law_of_sizes_is_found_again(irreducible, exponent):
    losses = irreducible + 400 * SIZES**-exponent
    law = fit(losses, SIZES)
    assert law.exponents[0] == pytest.approx(exponent, abs=0.02)
    assert law.irreducible == pytest.approx(irreducible, abs=0.05)
    assert law(SIZES) == pytest.approx(losses, rel=1e-3)


def test_hoffmanns_law_is_found_again():
    """E = 1.69, A = 406.4, a = .34, B = 410.7, b = .28 (arXiv 2203.15556) on a grid of sizes and tokens."""
    sizes, tokens = (grid.ravel() for grid in np.meshgrid(SIZES, TOKENS))
    losses = 1.69 + 406.4 * sizes**-0.34 + 410.7 * tokens**-0.28
    law = fit(losses, sizes, tokens)
    assert law.exponents == pytest.approx((0.34, 0.28), abs=0.01)
    assert law.irreducible == pytest.approx(1.69, abs=0.02)
    assert law.degrees_of_freedom == 13
    assert law.ranges == ((7e7, 1.2e10), (3e10, 3e11))


def test_one_bad_point_does_not_move_the_fit():
    losses = 1.69 + 406.4 * SIZES**-0.34
    losses[2] *= 1.2
    assert fit(losses, SIZES).exponents[0] == pytest.approx(0.34, abs=0.08)


@pytest.mark.parametrize(
    ("losses", "columns", "words"),
    [
        ([3, 2], [[1e6, 1e7]], "at least 3 sizes"),
        ([3, 2, 1, 1], [[1e6, 1e6, 1e7, 1e7], [1, 2, 1, 2]], "at least 3 sizes"),
        ([3, 2, 1], [[1e6, 1e7, 1e8], [1, 2, 3]], "are not enough"),
        ([3, 2, 0], [[1e6, 1e7, 1e8]], "above 0"),
    ],
)
def test_too_little_is_refused(losses, columns, words):
    with pytest.raises(DataError, match=words):
        fit(losses, *columns)


def test_three_points_carry_a_warning():
    law = fit([3.0, 2.5, 2.2], [1e6, 1e7, 1e8])
    assert law.degrees_of_freedom == 0
    assert "the form is not tested" in describe(law, ("N",))
    assert law.exponent_bounds == ()
    assert "N from 1e+06 to 1e+08" in describe(law, ("N",))


def test_intervals_of_exponents_cover_the_true_ones():
    random = np.random.default_rng(5)
    parameters, tokens = (column.ravel() for column in np.meshgrid([1e5, 3e5, 1e6], [1e6, 2e6, 4e6, 8e6, 1.6e7]))
    exact = 1.0 + 300 * parameters**-0.5 + 3000 * tokens**-0.6
    law = fit(exact * np.exp(0.01 * random.standard_normal(len(exact))), parameters, tokens)
    for (low, high), exponent in zip(law.exponent_bounds, (0.5, 0.6), strict=True):
        assert low < exponent < high
        assert high - low > 0.01
    assert "95 % of the exponents over refits: N 0." in describe(law, ("N", "D"))


def test_compute_does_not_overflow():
    model = load_suite("pythia").model("pythia-12b")
    exact = 6 * model.parameters * model.step(143000).tokens
    assert exact > 2**63
    assert compute_of(model, 143000) == pytest.approx(float(exact))


def test_program_writes_points_and_fits(tmp_path):
    names = ["pocket-90k", "pocket-280k", "pocket-1m"]
    steps = [64, 256, 600]
    for name in names:
        model = POCKET.model(name)
        iterations = np.arange(1, 601)
        loss = 1.0 + 30 * model.parameters**-0.3 + 40 * (iterations * model.batch_tokens) ** -0.3
        (tmp_path / "training" / name).mkdir(parents=True)
        frame = pd.DataFrame({"step": iterations, "loss": loss})
        frame.to_csv(tmp_path / "training" / name / "metrics.csv", index=False)
    scores = [
        {"model": name, "step": step, "task": "pocket_facts", "metric": metric, "shots": 0, "value": step / 600}
        for name in names
        for step in steps
        for metric in ("acc", "acc_norm")
    ]
    pd.DataFrame(scores).to_parquet(tmp_path / "scores.parquet")
    run = {"run": "t", "suite": "pocket", "models": [{"name": name} for name in names], "shots": [0], "tasks": []}
    write_json(tmp_path / "run.json", {**run, "steps": dict.fromkeys(names, steps), "settings": {}})
    arguments = ["--run", tmp_path / "run.json", "--logs", *(tmp_path / "training").rglob("metrics.csv")]
    arguments += ["--scores", tmp_path / "scores.parquet", "--tables-dir", tmp_path / "tables"]
    scaling.main([str(argument) for argument in arguments])
    points = pd.read_parquet(tmp_path / "tables/scaling.parquet")
    fits = pd.read_parquet(tmp_path / "tables/scaling_fits.parquet").set_index("form")
    assert len(points) == 18
    assert points[points["measure"] == scaling.LOSS].groupby("model")["value"].is_monotonic_decreasing.all()
    assert fits.loc["N and D", "exponent_D"] == pytest.approx(0.3, abs=0.1)
    sentences = read_verdict(tmp_path / "tables/verdict_scaling.json")["sentences"]
    assert any("pocket_facts +0." in sentence for sentence in sentences)
    pd.concat([frame[:300], frame[290:]]).to_csv(tmp_path / "training" / names[0] / "metrics.csv", index=False)
    with pytest.raises(DataError, match="step 291 follows step 300"):
        scaling.main([str(argument) for argument in arguments])


def test_two_sizes_have_no_law(tmp_path):
    points = pd.DataFrame(
        [
            {**scaling.point(POCKET.model(name), 600), "measure": scaling.LOSS, "shots": 0, "value": 1.0}
            for name in ("pocket-90k", "pocket-1m")
        ]
    )
    fits = pd.DataFrame(list(scaling.fits_of(points)))
    assert fits.empty
    assert scaling.verdict(points, fits)[0].startswith("No power law")
