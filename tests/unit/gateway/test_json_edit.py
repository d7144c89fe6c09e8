"""Edits of JSON objects, compared with parsing and serializing them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import json_edit

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("usage"), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["a", "usage", "é", "b c", '"']) | st.text(max_size=3)
OBJECTS = st.lists(st.tuples(NAMES, VALUES | st.just({"a": 1})), max_size=5)


def serialize(members, indent: int | None, ascii_only: bool, escaped: bool) -> bytes:
    """Serialize members of which several may have one name; `escaped` writes the name `usage` with an escape."""
    comma, colon = (",\n ", " : ") if indent else (",", ":")

    def quote(name: str) -> str:
        return '"us\\u0061ge"' if escaped and name == "usage" else json.dumps(name, ensure_ascii=ascii_only)

    texts = [quote(name) + colon + json.dumps(value, indent=indent, ensure_ascii=ascii_only) for name, value in members]
    return ("{" + comma.join(texts) + " }").encode("utf-8", "surrogatepass")


@given(OBJECTS, st.sampled_from([None, 2]), st.booleans(), st.booleans())
def test_editing_members_equals_editing_the_parsed_object(members, indent, ascii_only, escaped):
    data = serialize(members, indent, ascii_only, escaped)
    fields = dict(members)
    expected = {name: value for name, value in fields.items() if name != "usage"}
    assert json.loads(json_edit.remove_members(data, "usage")) == expected
    spans = json_edit.find_values(data, ["usage"]) if "usage" in fields else {}
    assert [json.loads(data[start:end]) for start, end in spans.get("usage", [])] == [
        value for name, value in members if name == "usage"
    ]
    if members:
        edited = json_edit.set_members(data, {"usage": b"[1]"}, spans)
        assert json.loads(edited) == fields | {"usage": [1]}
        assert b"usage" not in data or spans.keys() != {"usage"} or edited.startswith(data[: spans["usage"][0][0]])


def test_several_members_are_set_at_once():
    data = b' {"a": null, "m":1, "a" :null,"b":{"c":2} }'
    spans = json_edit.find_values(data, ["a", "b"])
    assert spans == {"a": [(7, 11), (25, 29)], "b": [(34, 41)]}
    values = {"a": b"5", "b": b"{}", "c": b"true"}
    assert json_edit.set_members(data, values, spans) == b' {"c":true,"a": 5, "m":1, "a" :5,"b":{} }'


HIDDEN = {
    "in a nested object": b'{"x":{"options":{"a":1}},"model":"m"}',
    "in a text": b'{"x":"\\"options\\":{}"}',
    "as a text": b'{"x":"options"}',
    "as the last of texts": b'{"x":["options"]}',
}


@pytest.mark.parametrize("data", HIDDEN.values(), ids=HIDDEN.keys())
@pytest.mark.parametrize("name", [b"options", b"\\u006fptions"], ids=["plain", "escaped"])
def test_the_same_name_elsewhere_is_not_mistaken_for_the_member(data, name):
    behind = data[:-1] + b',"%b":{"a":2}}' % name
    ((start, end),) = json_edit.find_values(behind, ["options"])["options"]
    assert behind[start:end] == b'{"a":2}'
    assert start > len(data)
