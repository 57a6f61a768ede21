"""Figures that compare published results: their numbers against hand-made ones from the table."""

import pytest

from workflow_scripts.published.results_table import read_table
from workflow_scripts.report.figures.published_arms import gender_rows
from workflow_scripts.report.figures.published_comparisons import batch_rows, data_difference, final_by_family


@pytest.fixture(scope="module")
def published(compact_path):
    return read_table(compact_path)


def test_difference_of_data_sets_by_hand(published):
    rows = data_difference(published, "lambada_openai")
    assert len(rows) == 8 * 27
    last = rows[(rows["size"] == "12b") & (rows["step"] == 143000)]["value"]
    assert last.tolist() == [pytest.approx(0.710 - 0.705, abs=0.0006)]
    assert rows[rows["step"] <= 1].loc[rows["size"] != "1b", "value"].abs().max() == 0
    assert rows[rows["doubtful"]]["value"].abs().max() == 0
    assert set(rows[rows["doubtful"]]["size"]) == {"2.8b"}


def test_interventions_change_crows_pairs_in_v0_only(published):
    rows = gender_rows(published).set_index(["version", "size", "arm", "step"])["value"].sort_index()
    wanted = {("v0", "410m", "intervention"): -3.1, ("v0", "1.4b", "intervention-long"): -3.4,
              ("v1", "410m", "intervention"): 0.0, ("v1", "6.9b", "intervention"): 0.1}  # fmt: skip
    for (version, size, arm), mean in wanted.items():
        difference = (rows[version, size, arm] - rows[version, size, "baseline"]).dropna()
        assert difference.mean() == pytest.approx(mean, abs=0.06)


def test_families_hold_all_final_models(published):
    rows = final_by_family(published)
    assert rows.groupby("family")["model"].nunique().to_dict() == {
        "pythia": 8,
        "pythia-deduped": 8,
        "opt": 8,
        "bloom": 5,
    }
    opt = rows[(rows["model"] == "opt-6.7b") & (rows["task"] == "piqa")]
    assert round(float(opt["value"].iloc[0]), 3) == 0.763
    assert float(opt["place"].iloc[0]) == pytest.approx(9.826, abs=0.001)


def test_batch_variants_stand_beside_their_counterparts(published):
    rows = batch_rows(published)
    counts = rows.groupby(["size", "batch"]).size()
    assert counts["70m", "0.25M"] == 14
    assert counts["160m", "0.5M"] == counts["1.4b", "1M"] == counts["1b", "2M"] == 15
    assert rows[rows["step"] == 143000]["tokens"].unique().tolist() == [299892736000]
