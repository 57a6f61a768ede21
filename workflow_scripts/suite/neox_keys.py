"""Every key of a GPT-NeoX configuration file: read, without effect on the result, or fixed to what is done here.

The names are those of GPT-NeoX's own argument tables (``megatron/neox_arguments``) at tag v1.0 and on main in May 2026,
with underscores. A key that is in none of the three lists is refused by name, because it might decide a result. What is
without effect may still change the rounding (kernels, partitions, the order of sums), never the arithmetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NETWORK, TRAINING, DATA = "network", "training", "data"
ERAS = ("neox_v1", "neox_2023_08", "neox_2026_05")  # versions of the code, named by their learning-rate schedule


@dataclass(frozen=True)
class Fixed:
    """A key that may only say what is done here; ``allowed`` holds the values, ``areas`` what another one changes.

    ``silent`` is what GPT-NeoX takes where a file does not have the key: one value for all versions of its code, or one
    for each era with None where it changed within the era.
    """

    areas: frozenset[str]
    allowed: tuple[object, ...]
    silent: tuple[object, ...] = ()

    def permits(self, value: object) -> bool:
        """True for an allowed value, and where None is allowed for a section that is empty or switched off."""
        if any(value == known and isinstance(value, str) == isinstance(known, str) for known in self.allowed):
            return True
        return None in self.allowed and isinstance(value, dict) and (not value or value.get("enabled") is False)


def fixed(areas: str, *allowed: object, silent: tuple[object, ...] = ()) -> Fixed:
    """Entry of the table; the areas are separated by spaces."""
    return Fixed(frozenset(areas.split()), allowed, silent)


def names(text: str) -> frozenset[str]:
    """The words of ``text``."""
    return frozenset(text.split())


def all_fixed(keys: str, areas: str, *allowed: object, silent: tuple[object, ...] = ()) -> dict[str, Fixed]:
    """Entries of several ``keys``, separated by spaces, that are fixed alike."""
    return dict.fromkeys(keys.split(), fixed(areas, *allowed, silent=silent))


FIXED: Mapping[str, Fixed] = {
    # The one network that is trained and converted here.
    "pos_emb": fixed(NETWORK, "rotary", silent=("learned",)),
    **all_fixed("no_weight_tying gpt_j_residual", NETWORK, True, silent=(False,)),
    "norm": fixed(NETWORK, "layernorm"),
    "activation": fixed(NETWORK, "gelu"),
    "mlp_type": fixed(NETWORK, "regular"),
    **all_fixed("use_bias_in_norms use_bias_in_attn_linear use_bias_in_mlp", NETWORK, True),
    **all_fixed("gpt_j_tied use_qk_layernorm", NETWORK, False),
    **all_fixed("mlp_multiple_of moe_num_experts", NETWORK, 1),
    **all_fixed("sliding_window_width num_unique_layers soft_prompt_tuning dim_att head_size ffn_dim", NETWORK, None),
    "use_mup": fixed(f"{NETWORK} {TRAINING}", False),
    "sparse_attention": fixed(f"{NETWORK} {TRAINING}", None),
    # The arithmetic of a training step.
    "bias_gelu_fusion": fixed(TRAINING, True, silent=(False,)),
    **all_fixed("hidden_dropout attention_dropout", TRAINING, 0, silent=(0.1, None, 0.0)),
    "lr_decay_style": fixed(TRAINING, "cosine", silent=("linear",)),
    **all_fixed("coord_check save_base_shapes use_bnb_optimizer fp16_lm_cross_entropy", TRAINING, False),
    **all_fixed("apply_query_key_layer_scaling eod_mask_loss sparse_gradients", TRAINING, False),
    **all_fixed("te_columnparallel te_rowparallel te_layernorm_mlp te_mha te_fp8_mha", TRAINING, False),
    **all_fixed("z_loss curriculum_seqlen", TRAINING, 0),
    "train_impl": fixed(TRAINING, "normal"),
    "deepspeed": fixed(TRAINING, True),
    **all_fixed("scheduler amp loss_scale curriculum_learning data_efficiency compression_training", TRAINING, None),
    **all_fixed("elasticity autotuning autotuning_run deepspeed_extra_args", TRAINING, None),
    "data_types": fixed(TRAINING, None, {"grad_accum_dtype": "fp32"}),
    # What a run starts from, and where it ends.
    **all_fixed("finetune no_load_optim", TRAINING, False),
    **all_fixed("iteration exit_interval", TRAINING, None),
    "do_train": fixed(TRAINING, None, True),
    "train_epochs": fixed(f"{TRAINING} {DATA}", None),
    # What the rows are.
    "dataset_impl": fixed(f"{TRAINING} {DATA}", "gpt2"),
    "pack_impl": fixed(f"{TRAINING} {DATA}", "packed"),
    "allow_chopped": fixed(f"{TRAINING} {DATA}", True),
    "weight_by_num_documents": fixed(f"{TRAINING} {DATA}", False),
    **{
        f"{prefix}{part}_{kind}data_paths": fixed(f"{TRAINING} {DATA}", None)
        for part in ("train", "valid", "test")
        for prefix, kind in (("", "label_"), ("", "reward_"), ("pos_", ""), ("neg_", ""), ("pos_", "label_"),
                             ("neg_", "label_"))
    },
}  # fmt: skip

# Read by the modules that take a recipe, a network or the order of the rows from a file.
UNDERSTOOD = names(
    """
    num_layers hidden_size num_attention_heads num_kv_heads intermediate_size expansion_factor seq_length
    max_position_embeddings rotary_pct rotary_emb_base layernorm_epsilon attention_config
    make_vocab_size_divisible_by model_parallel_size pipe_parallel_size
    init_method output_layer_init_method init_method_std seed
    optimizer weight_decay gradient_clipping min_lr warmup lr_decay_iters lr_decay_fraction train_iters
    precision fp16 bf16
    train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps global_num_gpus
    checkpoint_factor checkpoint_scale extra_save_iters save_interval
    data_path split train_data_paths eval_interval eval_iters
    """
)

# Paths, logs, kernels, partitions, launching, evaluation and generation; values that GPT-NeoX computes and overwrites;
# numbers of features that FIXED switches off.
NEUTRAL = names(
    """
    pipe_partition_method world_size is_pipe_parallel sequence_parallel output_layer_parallelism
    layernorm_fusion rmsnorm_fusion rms_norm_epsilon scalenorm_epsilon rpe_num_buckets rpe_max_distance
    opt_pos_emb_offset sparsity_config param_sharing_style use_flashattn_swiglu rope_fusion rotary_save_freqs_buffer
    scaled_upper_triang_masked_softmax_fusion scaled_masked_softmax_fusion bias_dropout_fusion
    fused_kernels_build_path use_cpu_initialization attention_softmax_in_fp32 gmlp_attn_dim
    serve_model_weights weight_server_port base_shapes_file optimizer_type lr
    override_lr_scheduler use_checkpoint_lr_scheduler
    use_wandb git_hash tensorboard_writer tensorboard_dir use_comet peak_theoretical_tflops profile
    distributed_backend local_rank rank lazy_mpu_init short_seq_prob onnx_safe
    deepscale deepscale_config deepspeed_mpi deepspeed_slurm user_script do_valid do_test save_iters
    tokenizer_type padded_vocab_size tokenizer vocab_file merge_file
    use_shared_fs valid_data_paths test_data_paths train_data_weights valid_data_weights test_data_weights
    weighted_sampler_alpha data_impl mmap_warmup num_workers
    fp32_reinforce reinforce_leave_one_out
    save load config_files checkpoint_validation_with_forward_pass no_save_optim no_save_rng no_load_rng
    batch_size keep_last_n_checkpoints gas clip_grad
    checkpoint_activations checkpoint_num_layers deepspeed_activation_checkpointing contiguous_checkpointing
    checkpoint_in_cpu synchronize_each_layer profile_backward partition_activations
    hysteresis dynamic_loss_scale loss_scale_window min_scale char_level_ppl
    text_gen_type precompute_model_name temperature top_p top_k return_logits maximum_tokens prompt_end
    sample_input_file sample_output_file num_samples recompute eval_results_prefix eval_tasks
    fp32_allreduce prescale_gradients gradient_predivide_factor zero_optimization
    steps_per_print wall_clock_breakdown dump_state flops_profiler communication_data_type activation_checkpointing
    tensorboard wandb csv_monitor comms_logger checkpoint
    hostfile include exclude num_nodes num_gpus master_port master_addr launcher force_multi no_ssh_check comment
    account detect_nvlink_pairs
    """
)
# From mup_ on: numbers of features that are switched off above (use_mup, moe_num_experts, te_*, attention_config,
# train_impl).
NEUTRAL_PREFIXES = tuple(
    names(
        """
        wandb_ comet_ log_ gradient_noise_scale_ memory_profiling profile_step_ adlr_autoresume s3_ zero_
        online_dataserver_ mup_ moe_ te_fp8_ mamba_ dpo_ kto_ kl_
        """
    )
)


def is_neutral(name: str) -> bool:
    """True for a key that changes no result.

    >>> is_neutral("wandb_project"), is_neutral("moe_top_k"), is_neutral("moe_num_experts"), is_neutral("fim_rate")
    (True, True, False, False)
    """
    known = name in FIXED or name in UNDERSTOOD
    return not known and (name in NEUTRAL or name.startswith(NEUTRAL_PREFIXES))
