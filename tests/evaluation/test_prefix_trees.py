"""Packing loses nothing: every sequence can be read back from the rows, and nodes see exactly their own prefix."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.evaluation.planning import prefix_trees as packing
from workflow_scripts.evaluation.planning.prefix_trees import Forest, ScoredSequence, pack


def make(tokens: list[int], scored: int, family: int) -> ScoredSequence:
    return ScoredSequence(np.array(tokens, dtype=np.int32), len(tokens) - 1 - min(scored, len(tokens) - 1), family)


# Few different tokens, so that prefixes are shared often.
SEQUENCES = st.lists(
    st.tuples(
        st.lists(st.integers(0, 3), min_size=2, max_size=40),
        st.integers(1, 5),
        st.integers(0, 4),
    ).map(lambda item: make(*item)),
    min_size=1,
    max_size=40,
)


def ancestors(forest: Forest, node: int) -> list[int]:
    """Nodes that ``node`` may attend to by the mask k <= q < end[k], within its row."""
    row = int(np.searchsorted(forest.row_start, node, side="right")) - 1
    begin = int(forest.row_start[row])
    place = node - begin
    return [begin + key for key in range(place + 1) if forest.end[begin + key] > place]


def read_back(forest: Forest, piece: int) -> tuple[list[int], list[int], int]:
    """Inputs, targets and first scored position of a piece, from the packed arrays alone."""
    edges = forest.piece_edge[forest.piece_start[piece] : forest.piece_start[piece + 1]]
    nodes = forest.slot_node[forest.edge_slot[edges]]
    path = ancestors(forest, int(nodes[-1]))
    assert path[-len(nodes) :] == nodes.tolist()
    return forest.token[path].tolist(), forest.edge_token[edges].tolist(), int(forest.depth[nodes[0]])


@settings(deadline=None, max_examples=150)
@given(SEQUENCES)
def test_every_sequence_can_be_read_back(sequences):
    forest = pack(sequences)
    for number, sequence in enumerate(sequences):
        inputs, targets, start = read_back(forest, number)
        assert inputs == sequence.tokens[:-1].tolist()
        assert targets == sequence.tokens[sequence.start + 1 :].tolist()
        assert start == sequence.start
        again = forest.sequence(number)
        assert (again.tokens.tolist(), again.start) == (sequence.tokens.tolist(), sequence.start)


@settings(deadline=None, max_examples=100)
@given(SEQUENCES)
def test_rows_are_trees_in_depth_first_order(sequences):
    forest = pack(sequences)
    for node in range(len(forest.token)):
        assert len(ancestors(forest, node)) == forest.depth[node] + 1
    lengths = np.diff(forest.row_start)
    assert (np.sort(lengths) == lengths).all()
    assert forest.counts["nodes"] <= sum(len(sequence.tokens) - 1 for sequence in sequences)


@settings(deadline=None, max_examples=100)
@given(SEQUENCES)
def test_nothing_is_computed_twice_or_for_nobody(sequences):
    forest = pack(sequences)
    pairs = list(zip(forest.edge_slot.tolist(), forest.edge_token.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert pairs == sorted(pairs)
    assert set(forest.piece_edge.tolist()) == set(range(len(pairs)))
    assert set(forest.edge_slot.tolist()) == set(range(len(forest.slot_node)))


@settings(deadline=None, max_examples=50)
@given(SEQUENCES)
def test_same_input_same_arrays(sequences):
    first, second = pack(sequences), pack(sequences)
    assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in first.__dataclass_fields__)


def test_choices_of_one_document_share_their_prompt():
    prompt = list(range(50))
    forest = pack([make([*prompt, 100 + choice, 7], 2, 0) for choice in range(4)])
    assert forest.counts["nodes"] == 50 + 4
    assert forest.counts["slots"] == 1 + 4
    assert forest.counts["edges"] == 4 + 4


def test_a_row_never_outgrows_its_capacity(monkeypatch):
    monkeypatch.setattr(packing, "SMALLEST_ROW", 16)
    rng = np.random.default_rng(0)
    sequences = [make(rng.integers(0, 1000, 9).tolist(), 2, number) for number in range(50)]
    forest = pack(sequences)
    assert forest.counts["longest_row"] <= 16
    assert forest.counts["rows"] == 25


def test_long_inputs_fit_their_row():
    tokens = np.arange(4001, dtype=np.int32)
    assert pack([ScoredSequence(tokens, 3990, 0)]).counts["longest_row"] == 4000
