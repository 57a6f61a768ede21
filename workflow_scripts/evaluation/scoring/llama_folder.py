"""What ``config.json`` of a Llama or OLMo-2 checkpoint says of the network, without its weights being loaded.

transformers' LlamaConfig and Olmo2Config are the reference. A key that is not known here could decide a number, so it
is refused by name; the checkpoint is then scored by lm-eval's own model (engine_choice.py). Imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from workflow_scripts.evaluation.scoring.model_folder import NetworkConfig, TensorNames, positive, shown, switch, whole
from workflow_scripts.json_values import JsonMapping

LLAMA_HEAD = "lm_head.weight"
# Norms of a layer in the order of the computation, and the eps that transformers takes where none is given.
NORMS = {
    "llama": ("input_layernorm", "post_attention_layernorm"),
    "olmo2": (
        *("self_attn.q_norm", "self_attn.k_norm"),
        *("post_attention_layernorm", "post_feedforward_layernorm"),
    ),
}
NORM_EPS = {"llama": 1e-6, "olmo2": 1e-5}
READ = frozenset(
    {
        *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
        *("num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings"),
        *("rope_parameters", "rope_scaling", "rope_theta"),
    }
)
# Keys that may say only one thing here.
ONLY: JsonMapping = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "rope_interleaved": False,
    "quantization_config": None,
    "pruned_heads": None,
    "chunk_size_feed_forward": 0,
}
# Keys without effect on a log-likelihood; neither has one that begins with an underscore.
WITHOUT_EFFECT = frozenset(
    {
        *("architectures", "transformers_version", "torch_dtype", "dtype", "auto_map", "attn_implementation"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "use_cache", "initializer_range"),
        *("attention_dropout", "pretraining_tp", "max_sequence_length", "tokenizer_class", "is_llama_config"),
        *("output_attentions", "output_hidden_states", "return_dict", "id2label", "label2id", "problem_type"),
        *("transformers.js_config", "torchscript", "name_or_path"),
    }
)


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(NetworkConfig):
    """What Llama and OLMo-2 have beside it; ``key_heads`` are shared by the ``heads`` of queries."""

    architecture: str
    key_heads: int
    head_size: int
    norm_eps: float

    @property
    def rotary_size(self) -> int:
        """Dimensions of each head that are rotated: all."""
        return self.head_size

    @property
    def head_name(self) -> str:
        """Name of the output matrix."""
        return LLAMA_HEAD

    @property
    def query_width(self) -> int:
        """Width of all queries of a token."""
        return self.heads * self.head_size

    @property
    def key_width(self) -> int:
        """Width of all keys of a token, and of all values."""
        return self.key_heads * self.head_size

    @property
    def norms(self) -> tuple[str, ...]:
        """Names of a layer's norms."""
        return NORMS[self.architecture]

    @property
    def tensor_names(self) -> TensorNames:
        """Names and shapes of all weights."""
        width, inner = self.hidden_size, self.intermediate_size
        special = {"self_attn.q_norm": self.query_width, "self_attn.k_norm": self.key_width}
        layer: dict[str, tuple[int, ...]] = {f"{name}.weight": (special.get(name, width),) for name in self.norms}
        layer |= {
            "self_attn.q_proj.weight": (self.query_width, width),
            "self_attn.k_proj.weight": (self.key_width, width),
            "self_attn.v_proj.weight": (self.key_width, width),
            "self_attn.o_proj.weight": (width, self.query_width),
            "mlp.gate_proj.weight": (inner, width),
            "mlp.up_proj.weight": (inner, width),
            "mlp.down_proj.weight": (width, inner),
        }
        embedding = (self.vocabulary, width)
        last: dict[str, tuple[int, ...]] = {"model.norm.weight": (width,)}
        last |= {} if self.tied else {LLAMA_HEAD: embedding}
        return TensorNames("model.layers.", {"model.embed_tokens.weight": embedding}, layer, last)


def parse_llama(raw: JsonMapping) -> LlamaConfig:
    """Configuration from the JSON object; raises ValueError, by name, for what is not understood."""
    for key, value in raw.items():
        known = key in READ or key in WITHOUT_EFFECT or key.startswith("_")
        if key in ONLY:
            same = value == ONLY[key] and type(value) is type(ONLY[key])
            if not same and not (ONLY[key] is None and value == {}):
                raise ValueError(f"{key} is {shown(value)}, only {ONLY[key]!r} is understood")
        elif not known:
            raise ValueError(f"{key[:60]} is not understood")
    try:
        heads, width = whole(raw, "num_attention_heads"), whole(raw, "hidden_size")
        config = LlamaConfig(
            architecture=str(raw["model_type"]),
            hidden_size=width,
            layers=whole(raw, "num_hidden_layers"),
            heads=heads,
            key_heads=heads if raw.get("num_key_value_heads") is None else whole(raw, "num_key_value_heads"),
            head_size=max(1, width // heads) if raw.get("head_dim") is None else whole(raw, "head_dim"),
            intermediate_size=whole(raw, "intermediate_size"),
            vocabulary=whole(raw, "vocab_size"),
            context=whole(raw, "max_position_embeddings"),
            rotary_base=rotary_base(raw),
            norm_eps=positive(raw, "rms_norm_eps", NORM_EPS[str(raw["model_type"])]),
            tied=switch(raw, "tie_word_embeddings", default=False),
        )
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from error
    if width % heads or heads % config.key_heads or config.head_size % 2:
        raise ValueError(
            f"hidden_size {width}, num_attention_heads {heads}, num_key_value_heads {config.key_heads} and head_dim "
            f"{config.head_size} do not fit together"
        )
    return config


def rotary_base(raw: JsonMapping) -> float:
    """Base of the rotary frequencies; ValueError for positions that are scaled or rotate a part of a head only."""
    given = [value for key in ("rope_parameters", "rope_scaling") if (value := raw.get(key))]
    rope = given[0] if given else {}
    if len(given) > 1 or not isinstance(rope, Mapping):
        raise ValueError(f"rope_parameters and rope_scaling are {shown(given)}, expected one object")
    kind = rope.get("rope_type", rope.get("type", "default"))
    others = sorted(rope.keys() - {"rope_type", "type", "rope_theta", "partial_rotary_factor"})
    if kind != "default" or others or rope.get("partial_rotary_factor", 1) != 1:
        raise ValueError(f"rotary positions of the type {shown(kind)} with {shown(dict(rope))} are not understood")
    return positive(rope, "rope_theta", positive(raw, "rope_theta", 10000))
