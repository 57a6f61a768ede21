"""Readers of result files: what is read, and what is refused with which reason."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import DataError
from workflow_scripts.published.formats.measurements import count_of, flat_metrics
from workflow_scripts.published.formats.older_layouts import read_result

HF = {"model": "hf-causal", "model_args": "pretrained=EleutherAI/pythia-v1.1-70m,revision=step3000", "num_fewshot": 5,
      "batch_size": 16, "limit": None}  # fmt: skip


def harness(results, **changes):
    return json.dumps({"results": results, "versions": dict.fromkeys(results, 0), "config": HF | changes}).encode()


def test_flat_metrics_and_item_count():
    stderr = (0.3 * 0.7 / 999) ** 0.5
    (content,) = read_result("x.json", harness({"sciq": {"acc": 0.3, "acc_stderr": stderr}}))
    (measured,) = content.measurements
    assert (measured.task, measured.metric, measured.value, measured.stderr, measured.n) == (
        "sciq",
        "acc",
        0.3,
        stderr,
        1000,
    )
    assert (content.claim.size, content.claim.shots, content.claim.raw_step) == ("70m", 5, 3000)


def test_perplexity_takes_its_count_from_the_accuracy_beside_it():
    stderr = (0.25 / 5152) ** 0.5
    results = {"lambada_openai": {"ppl": 9.0, "ppl_stderr": 0.1, "acc": 0.5, "acc_stderr": stderr}}
    (content,) = read_result("x.json", harness(results))
    assert {m.metric: m.n for m in content.measurements} == {"ppl": 5153, "acc": 5153}


def test_count_is_unknown_where_all_items_agree():
    (content,) = read_result("x.json", harness({"wsc": {"acc": 0.0, "acc_stderr": 0.0}}))
    assert content.measurements[0].n is None


def test_limit_is_noted():
    (content,) = read_result("x.json", harness({"sciq": {"acc": 0.5, "acc_stderr": 0.1}}, limit=20))
    assert content.notes == ("limited-items",)


def test_winobias_list_and_table_give_the_same_numbers():
    entry = {"task_name": "wino_bias_type1_pro", "prompt_name": "refers_to", "em": 0.5, "em_stderr": 0.1, "comment": ""}
    neox = {
        "load": "/x/1.4b_deduped",
        "num_layers": 24,
        "hidden_size": 2048,
        "train_iters": 143000,
        "iteration": 134000,
    }
    config = {"model": "neox", "model_args": neox, "num_fewshot": 0, "batch_size": 1, "limit": None}
    listed = {"results": [entry], "versions": {"wino_bias_type1_pro+refers_to": 0}, "config": config}
    table = {"table_results": {"wino_bias_type1_pro+refers_to": entry},
             "model_args": {"iteration": 134000, "config_files": {"1.4b-deduped": None}}}  # fmt: skip
    (first,) = read_result("a.json", json.dumps(listed).encode())
    (second,) = read_result("b.json", json.dumps(table).encode())
    assert first.measurements[0][2:4] == second.measurements[0][2:4] == ("em", 0.5)
    assert first.claim.shots == 0
    assert second.claim.shots is None
    assert second.notes == ("shots-not-stated",)


def test_lm_eval_04_has_filters_and_shots_per_task():
    document = {
        "results": {
            "lambada_openai": {
                "alias": "lambada_openai",
                "acc,none": 0.5,
                "acc_stderr,none": 0.01,
                "perplexity,none": 9.0,
            },
            "blimp_x": {"alias": "x", "acc,none": 0.7, "acc_stderr,none": 0.02},
        },
        "n-shot": {"lambada_openai": 5, "blimp_x": 0},
        "versions": {"lambada_openai": 1.0},
        "config": {"model": "hf", "model_args": {"pretrained": "EleutherAI/pythia-70m", "revision": "step3000"}},
    }
    contents = read_result("x.json", json.dumps(document).encode())
    assert {c.claim.shots: [m.metric for m in c.measurements] for c in contents} == {
        5: ["acc", "perplexity"],
        0: ["acc"],
    }
    assert {c.claim.size for c in contents} == {"70m"}


REFUSED = {
    b"{": "broken JSON",
    b"[]": "unknown shape \\(list\\)",
    b'{"rows": 1}': "unknown shape \\(rows\\)",
    harness({}): "holds no number",
    harness({"sciq": {"acc": 1.5, "acc_stderr": 0.1}}): "outside \\[0, 1\\]",
    harness({"sciq": {"acc": "0.5"}}): "not a finite number",
    harness({"sciq": {"acc": 0.5, "acc_stderr": -1.0}}): "not a standard error",
    harness({"sciq": {"ppl": float("nan")}}): "not a finite number",
}


@pytest.mark.parametrize("raw", REFUSED)
def test_refused_with_the_reason(raw):
    with pytest.raises(DataError, match=REFUSED[raw]):
        read_result("x.json", raw)


def test_other_suffixes_and_other_columns_are_refused():
    with pytest.raises(DataError, match=r"neither a \.json nor a \.csv"):
        read_result("plot.pdf", b"%PDF")
    with pytest.raises(DataError, match="unknown CSV columns"):
        read_result("x.csv", b"a,b\n1,2\n")


@given(st.integers(2, 100_000), st.data())
@settings(deadline=None, max_examples=80)
def test_count_of_recovers_every_n(n, data):
    right = data.draw(st.integers(1, n - 1))
    share = right / n
    assert count_of(share, (share * (1 - share) / (n - 1)) ** 0.5) == n


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["results", "versions", "config", "n-shot", "table_results", "model_args", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(JSON)
@settings(deadline=None, max_examples=150)
def test_any_json_is_read_or_refused(document):
    with contextlib.suppress(DataError):
        read_result("x.json", json.dumps(document).encode())


@pytest.mark.parametrize("stderr", ['{"a": 1}', "9" * 400, '"x"', "-1"])
def test_a_standard_error_that_is_none_is_refused(stderr):
    with pytest.raises(DataError, match="not a standard error"):
        list(flat_metrics("arc_easy", None, {"acc": 0.5, "acc_stderr": json.loads(stderr)}))


def test_an_error_too_small_for_any_sample_counts_no_items():
    assert [m.n for m in flat_metrics("arc_easy", None, {"acc": 0.5, "acc_stderr": 1e-200})] == [None]
