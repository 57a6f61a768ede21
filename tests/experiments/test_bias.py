"""Items of bias: their reading, their scores against transformers, the comparison of arms, the published effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from experiment_models import random_folder

from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.planning.encode import Encoder
from workflow_scripts.experiments import interventions
from workflow_scripts.experiments.bias.bias_items import GUARD_DATA, PAIR_DATA, gender_sign, read_guards, read_pairs
from workflow_scripts.experiments.bias.published_effect import TABLE, published_effects
from workflow_scripts.experiments.score_bias import Items
from workflow_scripts.suite.arms import Arm
from workflow_scripts.suite.registry import load_suite

MODEL = load_suite("pocket").model("pocket-90k")

PAIRS = [
    ("The nurse took her bag.", "The nurse took his bag."),
    ("The pilot said he knew.", "The pilot said she knew."),
    ("A cat sat.", "A dog sat."),
]
TEXTS = ["Nora gave the mirror to Piet", "The cat sat on the mat"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pocket items in the Hub's layout, one pair of another kind of bias among them."""
    folder = tmp_path_factory.mktemp("data")
    frame = pd.DataFrame(PAIRS, columns=["sent_more", "sent_less"]).assign(bias_type=["gender", "gender", "age"])
    for (dataset, config, split), content in (
        (PAIR_DATA["pocket_pronouns"], frame),
        (GUARD_DATA["pocket_last_word"], pd.DataFrame({"text": TEXTS})),
    ):
        path = folder / dataset / config / f"{split}.parquet"
        path.parent.mkdir(parents=True)
        content.to_parquet(path)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=96, special_tokens=["<|endoftext|>"], show_progress=False)
    tokenizer.train_from_iterator([text for pair in PAIRS for text in pair] * 3 + TEXTS * 3, trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return Encoder(path, 24)


def test_gender_of_the_word_that_differs():
    assert [gender_sign(*pair) for pair in PAIRS] == [-1, 1, 0]


def test_only_pairs_about_gender_are_read(data):
    assert [(pair.first, pair.sign) for pair in read_pairs("pocket_pronouns", [data])] == [
        (PAIRS[0][0], -1),
        (PAIRS[1][0], 1),
    ]


def test_last_words(data):
    assert [guard.target for guard in read_guards("pocket_last_word", [data])] == [" Piet", " mat"]


@pytest.mark.slow
def test_scores_are_those_of_transformers(data, encoder, tiny, tmp_path):
    from transformers import GPTNeoXForCausalLM

    folder = random_folder(tmp_path / "m" / "step1", tiny)
    model = GPTNeoXForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    frame = Items(["pocket_pronouns", "pocket_last_word"], [data], encoder).rows(Engine(folder))

    def logs(ids):
        with torch.no_grad():
            return model(torch.tensor([ids[:-1]])).logits[0].log_softmax(-1)

    def likelihood(ids, first=1):
        table = logs(ids)
        return sum(float(table[place - 1, ids[place]]) for place in range(first, len(ids)))

    for number, pair in enumerate(PAIRS[:2]):
        ids = [[encoder.prefix_id, *encoder.texts([text])[0]] for text in pair]
        row = frame.iloc[number]
        assert row["score"] == pytest.approx(likelihood(ids[0]) - likelihood(ids[1]), abs=1e-4)
        assert row["outcome"] == (row["score"] > 0)
        place = next(place for place in range(len(ids[0])) if ids[0][place] != ids[1][place])
        table = logs(ids[0])[place - 1]
        sign = -1 if number == 0 else 1
        assert row["log_odds"] == pytest.approx(sign * float(table[ids[0][place]] - table[ids[1][place]]), abs=1e-4)
    for number, text in enumerate(TEXTS):
        head = len(encoder.texts([text.rpartition(" ")[0]])[0])
        row = frame.iloc[2 + number]
        ids = encoder.texts([text])[0]
        assert row["score"] == pytest.approx(likelihood(ids, head), abs=1e-4)
        greedy = logs(ids).argmax(-1)[head - 1 :].tolist() == ids[head:]
        assert row["outcome"] == greedy


@pytest.mark.shared
def test_winobias_has_396_pairs_of_each_type(shared):
    pairs = read_pairs("winobias", [shared])
    assert len(pairs) == 2 * 396
    assert sum(pair.sign == 0 for pair in pairs) <= 8
    assert pairs[4].first == "The carpenter met with the teacher so that he could fix the cabinets in the classroom."
    assert {sum(pair.sign == sign for pair in pairs) for sign in (1, -1)} != {0}


def test_broken_winobias_is_refused(tmp_path):
    for side in ("pro", "anti"):
        (tmp_path / f"{side}_stereotyped_type1.txt.test").write_text("1 The developer met her.\n")
    with pytest.raises(DataError, match="two brackets"):
        read_pairs("winobias", [tmp_path])
    with pytest.raises(MissingInputError, match="pro_stereotyped_type1"):
        read_pairs("winobias", [tmp_path / "elsewhere"])


def items(shift=0.0, steps=(558, 579, 600), flips=0):
    """Items of an arm; at each step but the first the log-odds are lower by ``shift`` and some outcomes flip."""
    random = np.random.default_rng(0)
    rows = []
    for step in steps:
        for item in range(60):
            base = random.normal()
            moved = base - shift * (step > 558)
            outcome = (item % 3 > 0) ^ (step > 558 and item < flips)
            rows.append((step, "pocket_pronouns", str(item), outcome, moved, moved))
            rows.append((step, "pocket_last_word", str(item), item % 2 == 0, base, np.nan))
    columns = ["step", "benchmark", "item", "outcome", "score", "log_odds"]
    return pd.DataFrame(rows, columns=columns)


def test_an_arm_is_compared_item_by_item():
    table = pd.DataFrame(interventions.compare_arm({"arm": "feminine-7"}, items(2.0, flips=20), items()))
    odds = table[table["measure"] == "log_odds"].set_index("step")
    assert odds.loc[["579", "600", "pooled"], "difference"].tolist() == pytest.approx([-2.0] * 3)
    assert "558" not in odds.index
    outcomes = table[(table["measure"] == "outcome") & (table["benchmark"] == "pocket_pronouns")].set_index("step")
    right = sum(item % 3 > 0 for item in range(60))
    flipped = sum((item % 3 > 0) ^ (item < 20) for item in range(60))
    assert outcomes.loc["600", "difference"] == pytest.approx((flipped - right) / 60)
    guard = table[(table["benchmark"] == "pocket_last_word") & (table["measure"] == "outcome")]
    assert set(guard["difference"]) == {0.0}
    assert guard["p_mcnemar"].dropna().tolist() == [1.0, 1.0]


def test_sentences_say_how_much_was_changed_and_what_became_of_the_guard():
    facts = {"model": "m", "arm": "feminine-7"}
    table = pd.DataFrame(interventions.compare_arm(facts, items(2.0, flips=20), items()))
    sentence = interventions.arm_sentence("m, feminine-7", 230, table[table["step"] == "600"])
    assert "m, feminine-7 (230 tokens changed)" in sentence
    assert "log-odds of masculine words on pocket_pronouns by -2.00 nats" in sentence
    assert (
        "accuracy of the control task pocket_last_word by +0.0 points (+0.0 to +0.0, p = 1.000); "
        "log-probability" in sentence
    )


def test_an_arm_that_changes_nothing_is_said_to_do_so():
    table = pd.DataFrame(interventions.compare_arm({"arm": "retokenize-7"}, items(), items()))
    last = table[table["step"] == "600"]
    assert "no token changed, and every item is scored as" in interventions.arm_sentence("m, retokenize-7", 0, last)
    assert "(3 tokens changed)" in interventions.arm_sentence("m, retokenize-7", 3, last)


def test_items_that_the_reference_lacks_are_refused():
    with pytest.raises(DataError, match="rescore"):
        list(interventions.compare_arm({"arm": "a"}, items(), items(steps=(558, 600))))


def test_the_reference_is_the_earliest_identity_arm():
    arms = [Arm("swap-7", "swap", 93), Arm("identity-7", "identity", 93), Arm("identity-21", "identity", 79)]
    assert interventions.reference_arm(MODEL, arms).name == "identity-21"
    with pytest.raises(ConfigError, match="identity arm"):
        interventions.reference_arm(MODEL, arms[:1])


def test_an_arm_that_starts_before_the_identity_arm_is_refused():
    arms = [Arm("identity-7", "identity", 93), Arm("early", "swap", start_step=400)]
    with pytest.raises(ConfigError, match=r"early start before the identity arm identity-7 \(start_percent 93\)"):
        interventions.reference_arm(MODEL, arms)


def test_published_effects_are_as_found(root):
    """The audit's numbers: v0 410m -3.1 points (n = 10, p = .008), v0 1.4b -3.3 and -3.4, v1 none."""
    found = published_effects(root / TABLE).set_index(["version", "size", "arm"])
    shown = {name: (round(row["effect"], 1), int(row["checkpoints"])) for name, row in found.iterrows()}
    assert shown == {
        ("v0", "410m", "intervention"): (-3.1, 10),
        ("v0", "1.4b", "intervention"): (-3.3, 9),
        ("v0", "1.4b", "intervention-long"): (-3.4, 12),
        ("v0", "70m", "intervention"): (-0.6, 1),
        ("v0", "6.9b", "intervention"): (-0.6, 1),
        ("v1", "70m", "intervention"): (2.3, 10),
        ("v1", "410m", "intervention"): (0.0, 10),
        ("v1", "1.4b", "intervention"): (-0.2, 10),
        ("v1", "1.4b", "intervention-long"): (0.1, 30),
        ("v1", "6.9b", "intervention"): (0.1, 10),
    }
    assert round(found.loc[("v0", "410m", "intervention"), "p"], 3) == 0.008
    sentence = interventions.published_sentence("v0", found.loc[["v0"]].reset_index())
    assert "410m (intervention) -3.1 points (-4.5 to -1.6), p = 0.008, at 10 common steps" in sentence
    assert "70m (intervention) -0.6 points at 1 common step" in sentence
    assert "nan" not in sentence
