"""The formulae, on models small enough to count by hand: hidden size 4, two heads of 2, vocabulary 10, width 6."""

from dataclasses import replace

import pytest

from deployments.catalog import model_architecture
from deployments.catalog.model_architecture import Architecture, InvalidArchitecture

DENSE = Architecture("llama", 1, 4, 2, 1, 2, 6, 10, tied_embeddings=True)
MIXTURE = replace(DENSE, experts=3, experts_per_token=1, expert_intermediate_size=5)

EMBEDDING, NORMS, QUERY_AND_OUTPUT, KEY_AND_VALUE, MLP = 10 * 4, 2 * 4 + 4, 2 * 4 * 4, 2 * 4 * 2, 3 * 4 * 6
ATTENTION = QUERY_AND_OUTPUT + KEY_AND_VALUE
BASE = EMBEDDING + NORMS + ATTENTION + MLP

VARIANTS = [
    ("tied embeddings", {}, 0),
    ("own head", {"tied_embeddings": False}, EMBEDDING),
    ("bias on q, k and v", {"attention_bias": True}, 4 + 2 + 2),
    ("bias on o", {"output_bias": True}, 4),
    ("norm of each head", {"qk_norm": "head"}, 2 + 2),
    ("norm over all heads", {"qk_norm": "full"}, 4 + 2),
    ("sinks", {"attention_sinks": True}, 2),
    ("bias in the feed-forward", {"mlp_bias": True}, 6 + 6 + 4),
    ("no gate", {"gated_mlp": False}, -4 * 6),
    ("no gate, with bias", {"gated_mlp": False, "mlp_bias": True}, -4 * 6 + 6 + 4),
    ("four norms", {"norms_per_layer": 4}, 2 * 4),
    ("norms with bias", {"norm_bias": True}, 2 * 4 + 4),
    ("second layer", {"layers": 2}, ATTENTION + MLP + 2 * 4),
    ("prediction layers do not count", {"mtp_layers": 1}, 0),
    ("a window changes nothing", {"sliding_window": 4, "sliding_layers": 1}, 0),
]


@pytest.mark.parametrize(("change", "more"), [v[1:] for v in VARIANTS], ids=[v[0] for v in VARIANTS])
def test_every_tensor_is_counted(change: dict[str, object], more: int) -> None:
    assert model_architecture.parameters_of(replace(DENSE, **change)) == BASE + more  # type: ignore[arg-type]


def test_a_mixture_counts_all_experts_and_its_router() -> None:
    expert, router = 3 * 4 * 5, 4 * 3
    assert model_architecture.parameters_of(MIXTURE) == BASE - MLP + 3 * expert + router
    assert model_architecture.active_parameters_of(MIXTURE) == BASE - MLP + expert + router


def test_shared_experts_are_always_active_and_first_layers_may_be_dense() -> None:
    shared = replace(MIXTURE, shared_experts=1, layers=2, first_dense_layers=1, router_bias=True)
    expert, router = 3 * 4 * 5, 4 * 3 + 3
    layer = ATTENTION + 2 * 4
    assert model_architecture.parameters_of(shared) == BASE + layer + 4 * expert + router
    assert model_architecture.active_parameters_of(shared) == BASE + layer + 2 * expert + router


def test_latent_attention_goes_down_to_its_ranks_and_up_per_head() -> None:
    latent = replace(
        DENSE, head_dim=3, q_lora_rank=3, kv_lora_rank=5, qk_nope_head_dim=2, qk_rope_head_dim=1, v_head_dim=2
    )
    query = 4 * 3 + 3 + 3 * 2 * 3
    key_and_value = 4 * (5 + 1) + 5 + 5 * 2 * (2 + 2)
    output = 2 * 2 * 4
    assert model_architecture.parameters_of(latent) == BASE - ATTENTION + query + key_and_value + output


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("FP16", 2), ("F32", 4)])
def test_plain_types_weigh_the_same_for_every_tensor(dtype: str, size: int) -> None:
    assert model_architecture.weight_bytes_of(DENSE, dtype) == BASE * size


def test_fp8_keeps_embeddings_and_norms_at_16_bits_and_adds_scales() -> None:
    packed = ATTENTION + MLP
    wanted = packed * (1 + 4 / 128**2) + (EMBEDDING + NORMS) * 2
    assert model_architecture.weight_bytes_of(DENSE, "FP8") == round(wanted)


def test_mxfp4_packs_the_experts_only() -> None:
    packed = 3 * 3 * 4 * 5
    assert model_architecture.weight_bytes_of(MIXTURE, "MXFP4") == round(
        packed * 17 / 32 + (model_architecture.parameters_of(MIXTURE) - packed) * 2
    )


def test_prediction_layers_weigh_but_are_not_parameters() -> None:
    with_layer = replace(MIXTURE, mtp_layers=1)
    more = model_architecture.weight_bytes_of(with_layer, "BF16") - model_architecture.weight_bytes_of(MIXTURE, "BF16")
    projection, own_norms = 2 * 4 * 4, 3 * 4
    layer = ATTENTION + 2 * 4 + 3 * 3 * 4 * 5 + 4 * 3
    assert more == 2 * (layer + projection + own_norms + 2 * EMBEDDING)


GOOD = {
    "kind": "llama",
    "layers": 1,
    "hidden_size": 4,
    "attention_heads": 2,
    "kv_heads": 1,
    "head_dim": 2,
    "intermediate_size": 6,
    "vocab_size": 10,
    "tied_embeddings": True,
}

CONTRADICTIONS = [
    ("unknown number", {"depth": 3}, "depth"),
    ("nothing there", {"layers": 0}, "positive"),
    ("heads do not divide", {"attention_heads": 3, "kv_heads": 2}, "multiple"),
    ("unknown norm", {"qk_norm": "some"}, "qk_norm"),
    ("experts without a width", {"experts": 4, "experts_per_token": 2}, "expert_intermediate_size"),
    ("more chosen than there are", {"experts": 4, "experts_per_token": 5, "expert_intermediate_size": 2}, "experts"),
    ("latent heads of another size", {"kv_lora_rank": 4, "qk_nope_head_dim": 4}, "head_dim"),
    ("a window without layers", {"sliding_window": 4}, "sliding_window"),
]


@pytest.mark.parametrize(("change", "words"), [c[1:] for c in CONTRADICTIONS], ids=[c[0] for c in CONTRADICTIONS])
def test_numbers_that_contradict_each_other_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidArchitecture, match=words):
        model_architecture.parse(GOOD | change)


def test_a_missing_number_is_refused() -> None:
    with pytest.raises(InvalidArchitecture, match="layers"):
        model_architecture.parse({name: value for name, value in GOOD.items() if name != "layers"})


def test_an_unknown_type_cannot_be_weighed() -> None:
    with pytest.raises(InvalidArchitecture, match="INT3"):
        model_architecture.weight_bytes_of(DENSE, "INT3")
