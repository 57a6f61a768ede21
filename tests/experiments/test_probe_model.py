"""What the probe sees inside a model, against transformers' hidden states and attentions on three shapes."""

from __future__ import annotations

import pytest
import torch

from tests.experiments.dynamics_models import SHAPES, save_random
from workflow_scripts.experiments.dynamics.probe_model import ProbeModel


@pytest.fixture(scope="module", params=list(SHAPES))
def both(request, tmp_path_factory):
    """Ours, transformers' and a batch of tokens."""
    folder = tmp_path_factory.mktemp(request.param)
    reference = save_random(folder, request.param)
    tokens = torch.randint(0, 200, (3, 41), generator=torch.Generator().manual_seed(5))
    return ProbeModel(folder), reference, tokens


@torch.inference_mode()
def test_states_and_attention_are_transformers(both):
    ours, reference, tokens = both
    wanted = reference(tokens[:, :-1], output_hidden_states=True, output_attentions=True)
    places = list(ours.places(tokens))
    assert [place.layer for place in places] == list(range(ours.config.layers + 1))
    for place, states, attention in zip(places, wanted.hidden_states, [*wanted.attentions, None], strict=True):
        if attention is not None:
            torch.testing.assert_close(place.attention, attention, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(place.states, states, rtol=1e-4, atol=1e-4)
    assert places[-1].attention is None
    final = ours.normed("gpt_neox.final_layer_norm", places[-1].states)
    torch.testing.assert_close(final @ ours.head.t(), wanted.logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.final(tokens[:, :-1]), final, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_the_lens_reads_every_layer_as_transformers_head_would(both):
    ours, reference, tokens = both
    wanted = reference(tokens[:, :-1], output_hidden_states=True)
    for place, states in zip(ours.places(tokens), wanted.hidden_states, strict=True):
        # The last of transformers' states are normed already.
        normed = states if place.attention is None else reference.gpt_neox.final_layer_norm(states)
        logits = reference.lm_head(normed)
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)
        torch.testing.assert_close(ours.losses(place), loss, rtol=1e-4, atol=1e-4)


def test_causal_and_deterministic(both):
    ours, _, tokens = both
    changed = tokens.clone()
    changed[:, 30:] = 3
    with torch.inference_mode():
        for one, other in zip(ours.places(tokens), ours.places(changed), strict=True):
            torch.testing.assert_close(one.states[:, :30], other.states[:, :30])
        again = [place.states for place in ours.places(tokens)]
        assert all((a == b.states).all() for a, b in zip(again, ours.places(tokens), strict=True))
