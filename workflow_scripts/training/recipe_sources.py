"""Where each number of a recipe comes from, and what the sources disagree on.

Statements about the suite are carried over from reading EleutherAI/pythia at a19eecb8 (models/*.yml, README) and
EleutherAI/gpt-neox at v1.0 (71df4d5), v2.0 and main of May 2026. It must not change a number.
"""

from __future__ import annotations

from workflow_scripts.suite.models import Model

YML = "EleutherAI/pythia models/*.yml"
NEOX = "gpt-neox v1.0"
PYTHIA_SOURCES = {
    "layers": YML,
    "hidden_size": YML,
    "heads": YML,
    "vocab_size": "50277 entries of the tokenizer, padded to a multiple of 128 x tensor-parallel size by gpt-neox",
    "sequence_length": YML,
    "batch_rows": f"{YML}: micro-batch x GPUs / tensor-parallel size x accumulation = 1024 rows for every model of v1",
    "train_iterations": YML,
    "lr_decay_iterations": YML,
    "learning_rate": YML,
    "min_learning_rate": YML,
    "warmup_fraction": YML,
    "lr_schedule": f"{NEOX} megatron/learning_rates.py: a cosine cut off at min_lr, first step 0 (gpt-neox#1008)",
    "weight_decay": YML,
    "beta1": YML,
    "beta2": YML,
    "epsilon": YML,
    "gradient_clip": YML,
    "initialisation": f"{YML}: init_method small_init, output_layer_init_method wang_init; absent for 6.9b and 12b",
    "layer_norm_epsilon": f"default of {NEOX}",
    "rotary_fraction": YML,
    "rotary_base": f"default of {NEOX}",
    "rotary_precision": f"{NEOX}: module.half() also converts the buffer of inverse frequencies (gpt-neox#1003)",
    "weight_seed": f"default of {NEOX}; PolyPythias: models/polypythias",
    "data_seed": f"default of {NEOX}; PolyPythias: models/polypythias",
    "compute_dtype": f"{YML}; 1b: README and gpt-neox configs/pythia/1B.yml",
    "checkpoint_steps": "README: 0, powers of two to 512, every 1000 to 143000",
}


def sources(model: Model) -> dict[str, str]:
    """Source of each number of the model's recipe."""
    if model.suite != "pythia":
        return dict.fromkeys(PYTHIA_SOURCES, f"config/suites/{model.suite}.yaml")
    return dict(PYTHIA_SOURCES)


def disputes(model: Model) -> list[str]:
    """What is known to be disputed or unknown about the recipe of ``model``; empty outside the Pythia suite."""
    if model.suite != "pythia":
        return []
    return [*size_disputes(model), *version_disputes(model), *common_disputes(model)]


def size_disputes(model: Model) -> list[str]:
    """Disputes about one size."""
    found = {
        "1b": [
            "learning_rate: models/1B/*.yml say 2.5e-4, the README's table says 3e-4; 2.5e-4 is taken",
            "compute_dtype: models/1B/*.yml say fp16; README and gpt-neox configs/pythia/1B.yml say bfloat16 for 1b; "
            "1b-deduped is said to be fp16 (pythia#171, second hand)",
        ],
        "6.9b": ["initialisation: the yml has no init_method, so gpt-neox's defaults (0.02) are taken (pythia#135)"],
        "12b": [
            "initialisation: the yml has no init_method, so gpt-neox's defaults (0.02) are taken (pythia#135)",
            "layers, heads: pythia-12b.yml is not parseable (a comma is missing after attention-config, pythia#162) "
            "and pythia-12b-deduped.yml swaps them (40 layers, 36 heads); the weights have 36 layers, 40 heads",
        ],
        "14m": ["data: the yml points at a deduplicated folder, the README calls 14m standard; unsettled"],
        "31m": ["data: the yml points at a deduplicated folder, the README calls 31m standard; unsettled"],
    }
    return found.get(model.size, [])


def version_disputes(model: Model) -> list[str]:
    """Disputes about one version of the suite."""
    if model.version == "v0" and model.hub_steps_per_iteration == 2:
        return ["lr_decay_iterations: the v0 yml with 4M-token batches say 71250 for 71500 iterations (warm-up 712.5)"]
    if model.version == "polypythias" or model.size in {"14m", "31m"}:
        return ["lr_schedule: the date of the code that trained it is unknown; neox_2023_08 is possible"]
    return []


def common_disputes(model: Model) -> list[str]:
    """What holds for every model: the trained and the published network differ slightly."""
    return [
        "activation: trained with the tanh approximation of GELU, published with hidden_act gelu (exact); logits "
        "differ by about 4e-3",
        f"rotary_precision: trained with {model.training_dtype} angles, transformers evaluates with float32 angles",
        "starting weights: drawn on GPUs in half precision; the exact start is the published step0, not a new draw",
        "skipped fp16 steps: their number is only in the logs of the original runs",
    ]
