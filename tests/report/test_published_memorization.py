"""Figures over the numbers of the memorization paper: the numbers that the paper's text gives."""

import json

import pandas as pd
import pytest

SIZES = ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b"]
PRECISION = [0.956, 0.948, 0.940, 0.931, 0.926, 0.909, 0.884]  # its figure 2
RECALL = [0.197, 0.289, 0.401, 0.512, 0.554, 0.658, 0.795]
RATES = [0.318, 0.472, 0.660, 0.851, 0.926, 1.119, 1.391, 1.546]  # per cent, at the end
RECALL_OF_EARLY_6_9B = [0.513, 0.587, 0.658, 0.721, 0.816, 0.918]  # its table 2


@pytest.fixture(scope="module")
def shown(drawn):
    return pd.read_csv(drawn / "published_memorization.csv")


def test_small_models_for_the_largest(shown):
    small = shown[shown["kind"] == "small"].set_index("size").loc[SIZES]
    assert list(small["precision"].round(3)) == PRECISION
    assert list(small["recall"].round(3)) == RECALL


def test_early_checkpoints_for_the_last(shown):
    early = shown[(shown["kind"] == "early") & (shown["size"] == "6.9b")].sort_values("step")
    assert list(early["recall"].round(3)) == RECALL_OF_EARLY_6_9B


def test_rates(drawn):
    rates = pd.read_csv(drawn / "published_memorization_rates.csv")
    last = rates[rates["step"] == 143000].set_index("size")["memorized"]
    assert list(last.loc[[*SIZES, "12b"]].round(3)) == RATES
    words = json.loads((drawn / "published_memorization_rates.record.json").read_text())["parameters"]["alternative"]
    assert "from 0.318 % (70m) to 1.546 % (12b)" in words


def test_the_training_map_names_its_outliers(drawn):
    assert "outliers: seeds 3, 4" in (drawn / "published_training_map.svg").read_text()
