"""What the arguments of an lm-eval run mean for the model that it scored.

Every argument of lm-eval's Hugging Face model is in one of four groups: it names the model, it makes another model of
it (adapters, quantised weights), it changes how the model is asked (tokenizer, length, precision of the softmax), or it
changes nothing but speed and memory. An argument of none of these groups could decide a result; a run that has one is
not believed to be of a released checkpoint. ``tests/published/test_model_arguments.py`` holds the groups to the
signature of the installed lm-eval.
"""

import re
from collections.abc import Mapping

NAMING = frozenset({"pretrained", "model", "revision"})
NEUTRAL = frozenset(
    {
        *("device", "batch_size", "max_batch_size", "parallelize", "max_memory_per_gpu", "max_cpu_memory"),
        *("offload_folder", "tp_plan", "logits_cache", "low_cpu_mem_usage"),
        *("use_accelerate", "device_map_option", "max_memory", "device_map", "num_proc"),  # lm-eval up to 0.3
    }
)
# Value by value what is no change; anything else becomes a note on each row.
ASKED: Mapping[str, frozenset[str]] = {
    "backend": frozenset({"default", "causal"}),
    "tokenizer": frozenset(),
    "truncation": frozenset({"false"}),
    "max_length": frozenset({"2048"}),
    "dtype": frozenset({"auto", "float16", "half", "fp16", "bfloat16", "bf16", "float32", "float", "fp32"}),
    "softmax_dtype": frozenset(),
    "mixed_precision_dtype": frozenset(),
    "trust_remote_code": frozenset({"false", "true"}),  # no repository of the suite has code
    "use_fast_tokenizer": frozenset({"true"}),
    "add_bos_token": frozenset({"false"}),
    "prefix_token_id": frozenset({"0"}),
    "think_end_token": frozenset(),
    "enable_thinking": frozenset({"false"}),
    "chat_template_args": frozenset({"{}"}),
    "attn_implementation": frozenset({"eager", "sdpa", "flash_attention_2"}),
}
# Off at these values; anything else loads other weights.
REMAKING: Mapping[str, frozenset[str]] = {
    "subfolder": frozenset(),
    "peft": frozenset(),
    "delta": frozenset(),
    "autogptq": frozenset({"false"}),
    "gptqmodel": frozenset({"false"}),
    "gguf_file": frozenset(),
    "load_in_4bit": frozenset({"false"}),
    "load_in_8bit": frozenset({"false"}),
    "quantization_config": frozenset({"{}"}),
}
ABSENT = frozenset({"", "none"})  # how lm-eval writes "not given"


def given_arguments(written: object) -> dict[str, str]:
    """Arguments of a run as text, from lm-eval's ``model_args`` as a table or as ``key=value,key=value``.

    A shell's quotes that were passed on are taken off, as lm-eval takes them off.

    >>> given_arguments('pretrained="EleutherAI/pythia-70m",revision=step3000')
    {'pretrained': 'EleutherAI/pythia-70m', 'revision': 'step3000'}
    """
    if isinstance(written, dict):
        pairs = [(str(key), "" if value is None else str(value)) for key, value in written.items()]
    else:
        pairs = [(key, value) for key, _, value in (part.partition("=") for part in str(written or "").split(","))]
    return {key.strip(): unquoted(value) for key, value in pairs if key.strip()}


def unquoted(text: str) -> str:
    """``text`` without the blanks and the pair of quotes around it."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def remade_by(given: Mapping[str, str]) -> list[str]:
    """Arguments, as ``key=value``, that make another model of the one named, or that are not known.

    >>> remade_by({"pretrained": "x", "load_in_4bit": "True", "peft": "", "dtype": "float16", "new_thing": "1"})
    ['load_in_4bit=True', 'new_thing=1']
    """
    known = NAMING | NEUTRAL | ASKED.keys()
    found = (key for key in given if key not in known and not is_off(REMAKING.get(key, frozenset()), given[key]))
    return [f"{key}={given[key]}" for key in found]


def asking_notes(given: Mapping[str, str]) -> tuple[str, ...]:
    """A note for each argument that changes how the model is asked.

    >>> asking_notes({"pretrained": "x", "max_length": "128", "dtype": "float32", "tokenizer": "gpt2"})
    ('asked-with-max_length-128', 'asked-with-tokenizer-gpt2')
    """
    changed = (key for key in given if key in ASKED and not is_off(ASKED[key], given[key]))
    return tuple(f"asked-with-{key}-{slug(given[key])}" for key in changed)


def is_off(neutral: frozenset[str], value: str) -> bool:
    """True where ``value`` leaves everything as it is."""
    return value.lower().removeprefix("torch.") in neutral | ABSENT


def slug(value: str) -> str:
    """``value`` as a part of a note: no blanks, no separators of notes, at most 60 characters."""
    return re.sub(r"[^\w.+/-]+", "_", value)[:60]
