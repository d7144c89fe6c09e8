"""What a decoder-only transformer weighs, from the numbers of its config.json. Pure.

`Architecture` holds those numbers; `parameters_of` counts the weights tensor by tensor, `active_parameters_of` those
that one token passes through, and `weight_bytes_of` the bytes of the safetensors. They follow the reference
implementations in transformers, one term per tensor, so that a wrong layer count, head count or vocabulary shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

FP8_BLOCK = 128  # FP8 weights carry one float32 scale per block of 128 × 128
MXFP4_BYTES_PER_WEIGHT = 17 / 32  # 32 weights of half a byte share one scale of a byte


class InvalidArchitecture(ValueError):
    """The numbers cannot be those of a model that this module can count."""


@dataclass(frozen=True)
class Architecture:
    """Numbers of config.json; whatever a model does not have keeps its default.

    `attention_bias`: on q, k and v; `output_bias`: on o. `qk_norm`: "head" (one norm of head_dim for q, one for k) or
    "full" (over all heads). `norms_per_layer`: vectors of hidden_size in a layer. `gated_mlp`: three matrices, not two.
    With `experts`, all but the first `first_dense_layers` layers are mixtures whose experts and `shared_experts` are
    `expert_intermediate_size` wide. `kv_lora_rank` makes the attention multi-head latent (MLA); then `head_dim` is
    qk_nope_head_dim + qk_rope_head_dim. `sliding_layers` layers see only `sliding_window` tokens. `mtp_layers` are
    stored after the model for multi-token prediction and not counted as its parameters.
    """

    kind: str
    layers: int
    hidden_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tied_embeddings: bool
    attention_bias: bool = False
    output_bias: bool = False
    attention_sinks: bool = False
    qk_norm: str = ""
    mlp_bias: bool = False
    gated_mlp: bool = True
    norms_per_layer: int = 2
    norm_bias: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate_size: int = 0
    shared_experts: int = 0
    first_dense_layers: int = 0
    router_bias: bool = False
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    v_head_dim: int = 0
    mtp_layers: int = 0
    sliding_window: int = 0
    sliding_layers: int = 0

    @property
    def moe_layers(self) -> int:
        return self.layers - self.first_dense_layers if self.experts else 0


@dataclass(frozen=True)
class Weights:
    """Numbers of weights by what they are: matrices are what a quantization packs, the rest keeps 16 bits."""

    embeddings: int = 0
    attention: int = 0
    mlp: int = 0
    experts: int = 0
    routers: int = 0
    vectors: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))

    def __add__(self, other: Weights) -> Weights:
        return Weights(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __mul__(self, times: int) -> Weights:
        return Weights(*(getattr(self, field.name) * times for field in fields(self)))


def parse(data: Mapping[str, Any]) -> Architecture:
    """Read an architecture as the catalog writes it. Raises `InvalidArchitecture`."""
    try:
        architecture = Architecture(**data)
    except TypeError as error:
        raise InvalidArchitecture(str(error)) from error
    for problem in _problems(architecture):
        raise InvalidArchitecture(f"{architecture.kind}: {problem}")
    return architecture


def parameters_of(architecture: Architecture) -> int:
    """All weights of the model; multi-token prediction layers are extra."""
    return _model(architecture, architecture.experts).total


def active_parameters_of(architecture: Architecture) -> int:
    """The weights that one token passes through: all but the experts that its router leaves out. Embeddings count."""
    return _model(architecture, architecture.experts_per_token).total


def weight_bytes_of(architecture: Architecture, dtype: str) -> int:
    """Bytes of the safetensors in `dtype` (BF16, FP16, F32, FP8, MXFP4): scales and prediction layers included."""
    weights = _model(architecture, architecture.experts) + _mtp_layer(architecture) * architecture.mtp_layers
    packed, byte_size = _packing(weights, dtype)
    plain = 4 if dtype == "F32" else 2
    return round(packed * byte_size + (weights.total - packed) * plain)


def _packing(weights: Weights, dtype: str) -> tuple[int, float]:
    """How many weights are packed, and bytes of each, scales included."""
    match dtype:
        case "BF16" | "FP16" | "F32":
            return 0, 0.0
        case "FP8":
            return weights.attention + weights.mlp + weights.experts, 1 + 4 / FP8_BLOCK**2
        case "MXFP4":
            return weights.experts, MXFP4_BYTES_PER_WEIGHT
    raise InvalidArchitecture(f"Weights of type {dtype!r} cannot be counted.")


def _model(a: Architecture, experts: int) -> Weights:
    """Embedding, layers, last norm and head, with `experts` experts in each mixture."""
    tables = 1 if a.tied_embeddings else 2
    ends = Weights(embeddings=tables * a.vocab_size * a.hidden_size, vectors=_norm(a))
    dense = (_attention(a) + _dense_mlp(a)) * (a.layers - a.moe_layers)
    mixtures = (_attention(a) + _mixture(a, experts)) * a.moe_layers
    return ends + dense + mixtures


def _mtp_layer(a: Architecture) -> Weights:
    """One more layer with its own copies of embedding and head, a projection of 2 × hidden and three norms."""
    own = Weights(embeddings=2 * a.vocab_size * a.hidden_size, routers=2 * a.hidden_size**2, vectors=3 * _norm(a))
    return own + _attention(a) + _mixture(a, a.experts)


def _norm(a: Architecture) -> int:
    return a.hidden_size * (2 if a.norm_bias else 1)


def _attention(a: Architecture) -> Weights:
    """Projections of one layer, with the norms of that layer."""
    matrices, vectors = _latent_attention(a) if a.kv_lora_rank else _grouped_attention(a)
    return Weights(attention=matrices, vectors=vectors + a.norms_per_layer * _norm(a))


def _grouped_attention(a: Architecture) -> tuple[int, int]:
    """Matrices q, k, v, o and vectors: biases, norms of q and k, sinks."""
    q, kv = a.attention_heads * a.head_dim, a.kv_heads * a.head_dim
    norms = {"": 0, "head": 2 * a.head_dim, "full": q + kv}[a.qk_norm]
    biases = (q + 2 * kv) * a.attention_bias + a.hidden_size * a.output_bias
    return a.hidden_size * (2 * q + 2 * kv), biases + norms + a.attention_heads * a.attention_sinks


def _latent_attention(a: Architecture) -> tuple[int, int]:
    """MLA: q and kv go down to their ranks, are normed there, and come up per head; the rope part of k is shared."""
    q = a.hidden_size * a.q_lora_rank + a.q_lora_rank * a.attention_heads * a.head_dim
    kv_down = a.hidden_size * (a.kv_lora_rank + a.qk_rope_head_dim)
    kv_up = a.kv_lora_rank * a.attention_heads * (a.qk_nope_head_dim + a.v_head_dim)
    return q + kv_down + kv_up + a.attention_heads * a.v_head_dim * a.hidden_size, a.q_lora_rank + a.kv_lora_rank


def _dense_mlp(a: Architecture) -> Weights:
    matrices, biases = _mlp(a, a.intermediate_size)
    return Weights(mlp=matrices, vectors=biases)


def _mlp(a: Architecture, width: int) -> tuple[int, int]:
    """Matrices and biases of one feed-forward block: up (and gate), then down."""
    ups = 2 if a.gated_mlp else 1
    return (ups + 1) * a.hidden_size * width, (ups * width + a.hidden_size) * a.mlp_bias


def _mixture(a: Architecture, experts: int) -> Weights:
    """Router, `experts` experts, and the shared ones, which are one wide block. The router keeps all its rows."""
    matrices, biases = _mlp(a, a.expert_intermediate_size)
    return Weights(
        experts=(experts + a.shared_experts) * matrices,
        routers=a.hidden_size * a.experts,
        vectors=(experts + a.shared_experts) * biases + a.experts * a.router_bias,
    )


def _problems(a: Architecture) -> list[str]:
    """What contradicts itself, in words."""
    sizes = (a.layers, a.hidden_size, a.attention_heads, a.kv_heads, a.head_dim, a.vocab_size, a.intermediate_size)
    checks = {
        "every size must be positive": min(sizes) > 0,
        "attention_heads must be a multiple of kv_heads": a.kv_heads > 0 and a.attention_heads % a.kv_heads == 0,
        'qk_norm must be "", "head" or "full"': a.qk_norm in ("", "head", "full"),
        "experts need experts_per_token and expert_intermediate_size": not a.experts
        or (0 < a.experts_per_token <= a.experts and a.expert_intermediate_size > 0),
        "first_dense_layers must leave a mixture": not a.experts or a.first_dense_layers < a.layers,
        "kv_lora_rank needs head_dim = qk_nope_head_dim + qk_rope_head_dim": not a.kv_lora_rank
        or a.head_dim == a.qk_nope_head_dim + a.qk_rope_head_dim,
        "sliding_layers need a sliding_window": bool(a.sliding_layers) == bool(a.sliding_window),
        "sliding_layers must not exceed layers": a.sliding_layers <= a.layers,
    }
    return [words for words, holds in checks.items() if not holds]
