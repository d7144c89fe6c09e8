"""Predibase's accelerator ids stand for a GPU type and a count."""

import pytest

from console.api.predibase import translate_accelerator
from deployments.schema.errors import InvalidConfiguration


@pytest.mark.parametrize(
    ("gpu", "translated"),
    [
        ({"type": "l40s_48gb_100"}, {"type": "l40s-48gb", "count": 1}),
        ({"type": "h100_80gb_sxm_400"}, {"type": "h100-sxm-80gb", "count": 4}),
        ({"type": "l40s_48gb_200", "count": 2}, {"type": "l40s-48gb", "count": 2}),
        ({"type": "l40s-48gb", "count": 2}, {"type": "l40s-48gb", "count": 2}),
        ({"type": "tpu_8gb_100"}, {"type": "tpu_8gb_100"}),
        ({"type": 7}, {"type": 7}),
        ("l40s_48gb_100", "l40s_48gb_100"),
    ],
)
def test_an_accelerator_id_says_type_and_count(gpu, translated):
    assert translate_accelerator({"name": "chat", "gpu": gpu}) == {"name": "chat", "gpu": translated}


@pytest.mark.parametrize("body", [[], None, "text", {"name": "chat"}])
def test_what_has_no_accelerator_stays_as_it_is(body):
    assert translate_accelerator(body) == body


def test_a_count_that_contradicts_the_id_is_refused_at_the_count():
    with pytest.raises(InvalidConfiguration) as caught:
        translate_accelerator({"gpu": {"type": "l40s_48gb_200", "count": 1}})
    assert [(error.field, error.code) for error in caught.value.errors] == [("gpu.count", "contradiction")]
