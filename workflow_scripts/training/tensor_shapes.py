"""Names and shapes of the weights of a GPT-NeoX model in Hugging Face's layout, from three numbers.

    gpt_neox.embed_in.weight                                    [vocabulary, width]
    gpt_neox.layers.<i>.{input,post_attention}_layernorm.*      [width]
    gpt_neox.layers.<i>.attention.query_key_value.*             [3 width, width]; rows go head by head: q, k, v
    gpt_neox.layers.<i>.attention.dense.*                       [width, width]
    gpt_neox.layers.<i>.mlp.dense_h_to_4h.*                     [4 width, width]
    gpt_neox.layers.<i>.mlp.dense_4h_to_h.*                     [width, 4 width]
    gpt_neox.final_layer_norm.*                                 [width]
    embed_out.weight                                            [vocabulary, width]

Pure functions; nothing is loaded, and torch is not imported.
"""

from __future__ import annotations

MLP_FACTOR = 4
EMBED_IN, FINAL_NORM, EMBED_OUT = "gpt_neox.embed_in.weight", "gpt_neox.final_layer_norm", "embed_out.weight"
# Constants that old transformers releases saved beside the weights.
BUFFERS = (".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq")
Shape = tuple[int, ...]


def layer_prefix(layer: int) -> str:
    """Start of the names of one layer's weights.

    >>> layer_prefix(3)
    'gpt_neox.layers.3.'
    """
    return f"gpt_neox.layers.{layer}."


def layer_shapes(width: int) -> dict[str, Shape]:
    """Names within a layer and shapes of its weights, in the order of the module docstring."""
    inner = MLP_FACTOR * width
    shapes: dict[str, Shape] = {}
    for norm in ("input_layernorm", "post_attention_layernorm"):
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    for name, out, into in (
        ("attention.query_key_value", 3 * width, width),
        ("attention.dense", width, width),
        ("mlp.dense_h_to_4h", inner, width),
        ("mlp.dense_4h_to_h", width, inner),
    ):
        shapes |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    return shapes


def tensor_shapes(layers: int, width: int, vocabulary: int) -> dict[str, Shape]:
    """Name and shape of every weight, embedding first, unembedding last."""
    shapes: dict[str, Shape] = {EMBED_IN: (vocabulary, width)}
    for layer in range(layers):
        shapes |= {layer_prefix(layer) + name: shape for name, shape in layer_shapes(width).items()}
    shapes |= {f"{FINAL_NORM}.weight": (width,), f"{FINAL_NORM}.bias": (width,)}
    return shapes | {EMBED_OUT: (vocabulary, width)}
