"""Token splitting equals lm-eval's own code, called directly on the same strings."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import DataError, EvaluationError, MissingInputError
from workflow_scripts.evaluation.planning.encode import Encoder, encode_pairs, encode_requests, encode_rolling

TEXT = st.text(alphabet="ab the<|>.\n\t é世", max_size=30)


@pytest.fixture(scope="module")
def reference(tokenizer_file):
    """lm-eval's TemplateLM over the same tokenizer; collects the token lists it would run."""
    from lm_eval.api.model import TemplateLM
    from tokenizers import Tokenizer

    class Collector(TemplateLM):
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        eot_token_id = 0

        def tok_encode(self, string, add_special_tokens=None, **kwargs):
            return self.tokenizer.encode(string, add_special_tokens=False).ids

        def _loglikelihood_tokens(self, requests, **kwargs):
            return [(context, continuation) for _, context, continuation in requests]

        def loglikelihood_rolling(self, requests, disable_tqdm=False):
            raise NotImplementedError

        def generate_until(self, requests, disable_tqdm=False):
            raise NotImplementedError

    return Collector()


def hugging_face_input(context, continuation, max_length):
    """Input tokens and targets as HFLM._loglikelihood_tokens cuts them."""
    inputs = (context + continuation)[-(max_length + 1) :][:-1]
    return inputs, continuation


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(TEXT, TEXT.filter(bool)), min_size=1, max_size=5), max_length=st.integers(20, 40))
def test_pairs_split_as_in_lm_eval(reference, tokenizer_file, pairs, max_length):
    # A context of spaces only is an assertion error in lm-eval; no task has one.
    pairs = [(context, continuation) for context, continuation in pairs if not context or context.strip()]
    requests = [SimpleNamespace(args=pair) for pair in pairs]
    expected = reference.loglikelihood(requests, disable_tqdm=True)
    kept = [number for number, (_, continuation) in enumerate(expected) if 0 < len(continuation) <= max_length]
    encoder = Encoder(tokenizer_file, max_length)
    for number in kept:
        sequence = encode_pairs(encoder, [pairs[number]], [0])[0]
        inputs, targets = hugging_face_input(*expected[number], max_length)
        assert sequence.tokens[:-1].tolist() == inputs
        assert sequence.tokens[sequence.start + 1 :].tolist() == targets


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="ab the.", max_size=80), max_length=st.integers(2, 30))
def test_rolling_windows_are_lm_evals(reference, tokenizer_file, text, max_length):
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    windows = get_rolling_token_windows(reference.tok_encode(text), 0, max_length, 1)
    expected = [make_disjoint_window(window) for window in windows]
    sequences = list(encode_rolling(Encoder(tokenizer_file, max_length), text, 0))
    assert len(sequences) == len(expected)
    for sequence, (context, continuation) in zip(sequences, expected, strict=True):
        assert sequence.tokens.tolist() == context + continuation
        assert sequence.tokens[sequence.start + 1 :].tolist() == continuation


def test_an_empty_context_becomes_the_prefix_token(tokenizer_file):
    encoder = Encoder(tokenizer_file, 128)
    sequence = encode_pairs(encoder, [("", "the river")], [0])[0]
    assert sequence.tokens[0] == 0
    assert sequence.start == 0
    double = encode_pairs(encoder, [("", "<|endoftext|>the")], [0])[0]
    assert double.tokens[:2].tolist() == [0, encoder.texts(["the"])[0][0]]


def test_pieces_keep_the_order_of_requests(tokenizer_file):
    instances = [
        SimpleNamespace(request_type="loglikelihood_rolling", args=("the old miller walks " * 5,)),
        SimpleNamespace(request_type="loglikelihood", args=("the old", " miller")),
    ]
    pieces = encode_requests(Encoder(tokenizer_file, 8), instances, [0, 1])
    owners = [piece.request for piece in pieces]
    assert owners == sorted(owners)
    assert owners.count(1) == 1
    assert owners.count(0) > 1


def test_what_cannot_be_scored_is_refused(tokenizer_file):
    encoder = Encoder(tokenizer_file, 4)
    with pytest.raises(EvaluationError, match="a continuation has no tokens"):
        encode_pairs(encoder, [("the old", "")], [3])
    with pytest.raises(EvaluationError, match="longer than the model's 4"):
        encode_pairs(encoder, [("a", "the old miller walks near a small river")], [3])


def test_wrong_tokenizer_files_are_named(tmp_path, tokenizer_file):
    with pytest.raises(MissingInputError, match=r"none\.json"):
        Encoder(tmp_path / "none.json", 8)
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(DataError, match=r"broken\.json: not a tokenizer"):
        Encoder(broken, 8)
    broken.write_text("{}")
    with pytest.raises(DataError, match="has no 'model'"):
        Encoder(broken, 8)
    with pytest.raises(DataError, match="has no token '<nothing>'"):
        Encoder(tokenizer_file, 8, prefix_token="<nothing>")


def test_a_tokenizer_that_adds_tokens_is_refused(tmp_path, tokenizer_file):
    from tokenizers import Tokenizer, processors

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.post_processor = processors.TemplateProcessing("$A <|endoftext|>", None, [("<|endoftext|>", 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match="adds special tokens at the end of every text"):
        Encoder(tmp_path / "tokenizer.json", 8)


@pytest.fixture(scope="module")
def led(tmp_path_factory, tokenizer_file):
    """The tokenizer with a token before every text, as Llama's has, and lm-eval's own functions over it."""
    from lm_eval.models.huggingface import HFLM
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.post_processor = processors.TemplateProcessing("<|endoftext|> $A", None, [("<|endoftext|>", 0)])
    path = tmp_path_factory.mktemp("led") / "tokenizer.json"
    tokenizer.save(str(path))

    class Collector(HFLM):
        backend, add_bos_token, custom_prefix_token_id, batch_size, cache_hook = "causal", None, None, 4, None
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path), bos_token="<|endoftext|>")
        _rank, _world_size, enable_thinking, windows = 0, 1, None, ()

        def __init__(self):
            self.cache_hook = SimpleNamespace(add_partial=lambda *_: None)

        def _loglikelihood_tokens(self, requests, **kwargs):
            self.windows = [*self.windows, *((context, continuation) for _, context, continuation in requests)]
            return [(0.0, True)] * len(requests)

    return path, Collector()


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pair=st.tuples(TEXT, TEXT.filter(bool)), text=st.text(alphabet="ab the.", max_size=80), length=st.integers(8, 30)
)
def test_a_token_before_every_text_stands_where_lm_eval_has_it(led, pair, text, length):
    path, reference = led
    reference._max_length, reference.windows = length, ()
    encoder = Encoder(path, length)
    assert encoder.leading_ids == [0]
    reference.loglikelihood_rolling([SimpleNamespace(args=(text,))], disable_tqdm=True)
    for sequence, (context, continuation) in zip(encode_rolling(encoder, text, 0), reference.windows, strict=True):
        assert sequence.tokens.tolist() == context + continuation
    if pair[0] and not pair[0].strip():
        return
    reference.windows = ()
    reference.loglikelihood([SimpleNamespace(args=pair)], disable_tqdm=True)
    ((context, continuation),) = reference.windows
    if 0 < len(continuation) <= length:
        (sequence,) = encode_pairs(encoder, [pair], [0])
        assert sequence.tokens.tolist() == (context + continuation)[-(length + 1) :]
        assert sequence.tokens[sequence.start + 1 :].tolist() == continuation


def test_left_truncation_keeps_the_end(tokenizer_file):
    encoder = Encoder(tokenizer_file, 6)
    sequence = encode_pairs(encoder, [("the old miller walks near a small river and", " sings")], [0])[0]
    whole = encoder.texts(["the old miller walks near a small river and sings"])[0]
    assert np.array_equal(sequence.tokens, whole[-7:])
