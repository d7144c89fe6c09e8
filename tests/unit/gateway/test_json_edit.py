"""Edits of JSON objects, compared with parsing and serializing them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway import json_edit

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "usage", "é", "b c", '"']) | st.text(max_size=3), VALUES, max_size=5)


@given(OBJECTS, st.sampled_from([None, 2]), st.booleans())
def test_editing_members_equals_editing_the_parsed_object(fields, indent, ascii_only):
    text = json.dumps(fields, indent=indent, ensure_ascii=ascii_only)
    expected = {name: value for name, value in fields.items() if name != "usage"}
    removed = json_edit.remove_members(text, "usage")
    assert json.loads(removed) == expected
    assert list(json.loads(json_edit.insert_member(removed, "usage", [1]))) == ["usage", *expected]
    assert json.loads(json_edit.set_members_to_null(text, "usage")) == {
        **fields,
        **({"usage": None} if "usage" in fields else {}),
    }
    assert "usage" in fields or removed == text
