"""Documents alone give what the plan's rows give and what transformers gives; forgeries of them are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.provenance.sampling.forgeries import forge_documents
from tests.provenance.sampling.sampled_release import SCORES, release_of
from workflow_scripts.errors import EvaluationError
from workflow_scripts.evaluation.planning.prefix_trees import ScoredSequence, pack
from workflow_scripts.provenance.release.sampling.evaluated_files import Evaluations
from workflow_scripts.provenance.release.sampling.sample_result import Verdict
from workflow_scripts.provenance.release.sampling.scored_documents import (
    Documents,
    Scores,
    is_possible,
    run_document,
    sequence_of,
)

FACTS = f"{SCORES} pocket_facts"
LAST_WORD = f"{SCORES} pocket_last_word"


@st.composite
def sequences(draw: st.DrawFn) -> list[ScoredSequence]:
    """Sequences over a small alphabet, so that many share prefixes."""
    count = draw(st.integers(1, 12))
    found = []
    for family in range(count):
        tokens = np.array(draw(st.lists(st.integers(0, 2), min_size=2, max_size=9)), dtype=np.int32)
        found.append(ScoredSequence(tokens, draw(st.integers(0, len(tokens) - 2)), family))
    return found


@given(sequences())
def test_sequences_come_out_of_the_rows_as_they_went_in(given_sequences: list[ScoredSequence]) -> None:
    forest = pack(given_sequences)
    for number, expected in enumerate(given_sequences):
        found = sequence_of(forest, number)
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        assert found.start == expected.start


def test_a_sequence_that_is_no_path_of_its_row_is_refused() -> None:
    forest = pack([ScoredSequence(np.array([1, 2, 3, 4], dtype=np.int32), 0, 0)])
    forest.token[1] = 9
    with pytest.raises(EvaluationError, match="not one path"):
        sequence_of(forest, 0)


def test_a_document_alone_is_what_transformers_computes(release_folder: Path) -> None:
    from transformers import GPTNeoXForCausalLM

    evaluations = Evaluations(release_of(release_folder))
    file = evaluations.files[SCORES]
    assert file.checkpoint is not None
    model = GPTNeoXForCausalLM.from_pretrained(file.checkpoint).eval()
    for name in ("pocket_facts", "pocket_last_word"):
        plan = file.plans[name]
        run = run_document(evaluations.engine(file), plan, 5)
        for place, request in enumerate(run.requests):
            (piece,) = np.flatnonzero(plan.table.piece_request == request)
            sequence = sequence_of(plan.forest, int(piece))
            tokens = torch.from_numpy(sequence.tokens.astype(np.int64))
            with torch.inference_mode():
                logits = model(tokens[None, :-1]).logits[0].double()
            scored = torch.arange(sequence.start, len(tokens) - 1)
            own = logits.log_softmax(-1)[scored, tokens[scored + 1]]
            assert run.loglikelihood[place] == pytest.approx(float(own.sum()), abs=1e-4)
            assert run.tokens[place] == len(scored)
            greedy = bool((logits[scored].argmax(-1) == tokens[scored + 1]).all())
            assert greedy == bool((run.margins[place] >= 0).all())


def test_an_honest_release_agrees_everywhere(release_folder: Path) -> None:
    evaluations = Evaluations(release_of(release_folder))
    documents, scores = Documents(evaluations), Scores(evaluations)
    assert [(group.name, group.items) for group in documents.groups if "facts" in group.name] == [(FACTS, 12)]
    for group in documents.groups:
        found = list(documents.check(group.name, range(group.items)))
        assert all(each.verdict is not Verdict.WRONG for each in found)
        assert max(each.difference for each in found) < 2e-5
    for group in scores.groups:
        assert [each.verdict for each in scores.check(group.name, [0])] == [Verdict.EQUAL]
    assert documents.not_checked == []


@pytest.mark.parametrize("change", [{"loglikelihood": 0.01}, {"loglikelihood": float("nan")}])
def test_a_forged_loglikelihood_is_found(forged: Path, change: dict[str, float]) -> None:
    forge_documents(forged, "pocket_facts", [3], **change)
    evaluations = Evaluations(release_of(forged))
    verdicts = [each.verdict for each in Documents(evaluations).check(FACTS, range(12))]
    assert [number for number, verdict in enumerate(verdicts) if verdict is Verdict.WRONG] == [3]
    (score,) = Scores(evaluations).check(FACTS, [0])
    assert score.verdict is Verdict.WRONG
    assert "1 of its documents" in score.detail


def test_a_forged_greedy_flag_is_found(forged: Path) -> None:
    """Accuracy on the last word is made of flags alone."""
    forge_documents(forged, "pocket_last_word", [7], flip_greedy=True)
    evaluations = Evaluations(release_of(forged))
    found = list(Documents(evaluations).check(LAST_WORD, range(12)))
    assert [each.item.number for each in found if each.verdict is Verdict.WRONG] == [7]
    assert "greedy" in found[7].detail
    assert next(iter(Scores(evaluations).check(LAST_WORD, [0]))).verdict is Verdict.WRONG


def test_rounding_is_allowed(forged: Path) -> None:
    forge_documents(forged, "pocket_facts", [3], loglikelihood=1e-6)
    (found,) = Documents(Evaluations(release_of(forged))).check(FACTS, [3])
    assert found.verdict is Verdict.WITHIN


@pytest.mark.parametrize(
    ("greedy", "margins", "expected"),
    [
        (True, [1.0, 2.0], True),
        (True, [1.0, -0.0005], True),
        (True, [1.0, -0.5], False),
        (False, [1.0, -0.5], True),
        (False, [1.0, 0.0005], True),
        (False, [1.0, 0.5], False),
    ],
)
def test_near_ties_may_fall_either_way(greedy: bool, margins: list[float], expected: bool) -> None:
    assert is_possible(greedy, np.array(margins), 1e-3) is expected
